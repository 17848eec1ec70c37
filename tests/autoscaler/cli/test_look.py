"""``check``, ``once`` and the start of ``run`` on a real worker: slips are named, the policy is said."""

from __future__ import annotations

import json

import pytest

from tests.support.cluster import command

W1 = "w1@h"
TARGET = "nobody: no worker consumes it and it holds no message; queues that workers consume: celery"

UNKNOWN = "AUTOSCALER_TARGET_WAT is not a setting and has no effect; did you mean AUTOSCALER_TARGET_WAIT?"


@pytest.fixture
def autoscaler(cluster):
    cluster.worker()

    def run(*words, **environment):
        return command(*words, REDIS_URL=cluster.server.url, **environment)

    return run


@pytest.mark.slow
def test_once_decides_as_run_would_and_says_what_it_has_not_learnt(cluster, autoscaler):
    cluster.hold(9)
    code, out, err = autoscaler("once", "--max", "5", "--target-wait", "off")
    assert (code, err, out.splitlines()[1].split()[-3:]) == (0, "", ["1", "5", "at_max"])
    assert "Not learnt yet" not in out
    code, out, err = autoscaler("once", "--max", "5", "--interval", "1")
    assert (code, err) == (0, "")
    assert (
        out.splitlines()[2:][0] == "Not learnt yet: how often tasks arrive; run learns it from tick to tick"
    )
    assert "Not learnt yet: how long a task runs; 1 s is assumed" in out.splitlines()
    code, out, _ = autoscaler("once", "--max", "5", "--json")
    found = json.loads(out)
    assert (code, found["target_wait_seconds"], len(found["not_learnt"])) == (0, 5.0, 3)


@pytest.mark.slow
def test_what_nobody_has_is_a_finding_of_once_and_check(autoscaler):
    words = ("--max", "5", "--target-wait", "nobody=3s", "--queue", "celery", "--queue", "nope")
    slip = {"AUTOSCALER_TARGET_WAT": "3s"}
    code, out, err = autoscaler("once", *words, **slip)
    assert (code, W1 in out) == (1, True)
    assert err.splitlines() == [
        f"autoscaler: {UNKNOWN}",
        f"autoscaler: --queue {TARGET.replace('nobody', 'nope')}",
        f"autoscaler: --target-wait {TARGET}",
    ]
    code, out, err = autoscaler("check", *words, "--json", **slip)
    found = [one for one in json.loads(out)["findings"] if one["level"] in ("fail", "warn")]
    assert (code, err, [one["subject"] for one in found]) == (
        1,
        "",
        ["variable AUTOSCALER_TARGET_WAT", "--queue nope", "--target-wait nobody"],
    )
    code, out, _ = autoscaler("check", "--max", "5", "--worker", "nope@vm")
    assert code == 1
    assert (
        f"fail  --worker nope@vm: no worker of this name answers\n      -> workers that answer: {W1}" in out
    )


@pytest.mark.slow
def test_the_start_line_says_the_policy_and_what_is_ignored(cluster):
    daemon = cluster.daemon("--max-step-up", "3", "--dry-run", target_wait="5s", interval="1")
    (line,) = daemon.events("daemon.started")
    said = ("demand", "target_wait_seconds", "min", "min_from", "max", "max_from", "interval_seconds")
    assert [line[key] for key in said] == ["target_wait", 5.0, 1, "default", 6, "--max", 1.0]
    ignored = {"--scale-up-cooldown", "--scale-down-delay", "--stabilization-window", "--max-step-up"}
    assert set(line["ignored"]) == ignored
    (warning,) = daemon.events("settings.ignored")
    assert warning["why"] == (
        "the target wait decides; these are used by the thresholds only (--target-wait off)"
    )
