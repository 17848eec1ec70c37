"""A daemon on a deployment that lacks something says what, in its log, its metric and ``check``."""

from __future__ import annotations

import json

import pytest

from autoscaler.report.deployment import EMPTY_STATE, MISSING_WORKER_STATE, NO_WORKER_STATE, WAITING_STATE
from tests.support.cluster import command, started


def conditions(daemon):
    """The conditions that were logged, by (kind, name)."""
    return {(line["subject"], line["name"]): line["state"] for line in daemon.events("condition")}


def findings(cluster, *words):
    """The failed findings of ``check``, and its exit code."""
    code, out, _ = command("check", "--json", *words, REDIS_URL=cluster.server.url)
    return code, {
        one["subject"]: one["found"] for one in json.loads(out)["findings"] if one["level"] == "fail"
    }


@pytest.mark.slow
def test_a_worker_without_remote_control_is_a_fleet_without_workers(cluster):
    settings = json.dumps({"worker_enable_remote_control": False})
    cluster.worker(SETTINGS=settings)
    daemon = cluster.daemon()
    started(lambda: daemon.metric("condition", kind="no_worker") == 1, what="the metric")
    assert conditions(daemon) == {("no_worker", "all"): NO_WORKER_STATE}
    assert findings(cluster) == (1, {"workers": "none answered"})


@pytest.mark.slow
def test_unknown_names_are_reported_and_cleared_once_they_exist(cluster):
    cluster.worker()
    cluster.send(3, 0.0, queue="mails")
    words = ("--queue", "celery", "--queue", "mails", "--queue", "mistyped")
    daemon = cluster.daemon(*words)
    started(lambda: daemon.metric("condition", kind="not_consumed") == 2, what="the metric")
    assert conditions(daemon) == {
        ("not_consumed", "mails"): WAITING_STATE,
        ("not_consumed", "mistyped"): EMPTY_STATE,
    }
    code, found = findings(cluster, *words)
    assert (code, found) == (
        1,
        {
            "--queue mails": "3 waiting, and no worker that answers consumes it",
            "--queue mistyped": "no worker consumes it and it holds no message",
        },
    )
    cluster.worker("w2@h", "-Q", "mails,mistyped")

    def cleared():
        lines = daemon.events("condition.cleared")
        return sorted(line["name"] for line in lines if line["subject"] == "not_consumed")

    started(lambda: cleared() == ["mails", "mistyped"], what="the end of both")
    assert daemon.metric("condition", kind="not_consumed") == 0


@pytest.mark.slow
def test_a_named_worker_that_is_missing_is_named(cluster):
    cluster.worker()
    daemon = cluster.daemon("--worker", "w1@h", "--worker", "x@h")
    started(lambda: daemon.metric("condition", kind="missing_worker") == 1, what="the metric")
    assert conditions(daemon)["missing_worker", "x@h"] == MISSING_WORKER_STATE


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{}, {"broker_transport_options": {"priority_steps": [0, 5], "sep": "|"}}]
)
def test_a_queue_is_read_on_when_its_last_worker_is_gone(cluster, settings):
    worker = cluster.worker(SETTINGS=json.dumps(settings))
    daemon = cluster.daemon(stale_after="1")
    started(lambda: daemon.metric("queue_depth", queue="celery") == 0, what="the first reading")
    worker.kill()
    started(lambda: daemon.metric("condition", kind="no_worker") == 1, what="the loss")
    cluster.send(7, 0.0)
    if settings:
        cluster.redis.rename("celery", "celery|5")  # where this worker's other priority is
    started(lambda: daemon.metric("queue_depth", queue="celery") == 7, what="its depth")
    assert conditions(daemon)["not_consumed", "celery"] == WAITING_STATE
