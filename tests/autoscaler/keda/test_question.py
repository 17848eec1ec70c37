"""The metadata of a trigger, checked."""

from __future__ import annotations

import pytest
import yaml

from autoscaler.core.policy import Policy
from autoscaler.keda.question import Question, QuestionError, ScaleIn, parse_question
from tests.support.cluster import ROOT

NOBODY = Question(queues=())


def test_metadata_overrides_what_the_settings_say_and_keys_of_keda_are_left_alone():
    given = {"scalerAddress": "a:1", "enableTLS": "false", "queue": "mails, celery", "scaleIn": "spare"}
    default = Question(queues=("x",), processes_per_worker=8)
    assert parse_question(given, default) == Question(
        queues=("celery", "mails"), processes_per_worker=8, scale_in=ScaleIn.SPARE
    )
    assert parse_question({}, default) == default
    with pytest.raises(QuestionError, match="'Queue' is not known"):
        parse_question({"Queue": "celery"}, NOBODY)


def test_the_shipped_scaled_object_asks_what_is_legal_and_is_slower_than_any_pool():
    (spec,) = [
        one["spec"] for one in yaml.safe_load_all((ROOT / "deploy/keda/scaledobject.yaml").read_text())
    ]
    (trigger,) = spec["triggers"]
    assert parse_question(trigger["metadata"], NOBODY) == Question(
        queues=("celery",), processes_per_worker=8, scale_in=ScaleIn.IDLE
    )
    policy = Policy()
    slowest = max(policy.stabilization_seconds, policy.scale_down_cooldown_seconds)
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 10 * slowest
    assert spec["cooldownPeriod"] > behavior["scaleDown"]["stabilizationWindowSeconds"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] > policy.scale_up_cooldown_seconds
