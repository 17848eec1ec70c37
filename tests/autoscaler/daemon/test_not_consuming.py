"""Workers that answer and take nothing: said, no reason to grow, and restored where that is safe."""

from __future__ import annotations

import os

import pytest
from celery import Celery

from autoscaler.broker.keys import CANCELLED_KEY
from autoscaler.report.deployment import NO_CONSUMER_STATE
from tests.autoscaler.daemon.test_daemon import W1, size
from tests.autoscaler.daemon.test_deployment_daemon import conditions
from tests.autoscaler.daemon.test_two_daemons import resizes
from tests.support.cluster import started
from tests.support.other_celery import python_with_celery


def ask(cluster, command, **arguments):
    """Have W1 obey; it may be without its mailbox for a moment after a cut."""
    app = Celery("operator", broker=cluster.server.url, set_as_current=False)
    asked = {"arguments": arguments, "destination": [W1], "reply": True, "timeout": 5}
    try:
        started(lambda: app.control.broadcast(command, **asked), within_seconds=60, what=command)
    finally:
        app.close()


def cut(cluster):
    """Cut every connection, as a proxy does: also the one that waits for messages."""
    for kind in ("pubsub", "normal"):
        cluster.redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_consumers_that_an_operator_cancelled_are_reported_and_left_alone(cluster):
    cluster.worker()
    cluster.worker("w2@h")
    daemon = cluster.daemon()
    started(lambda: size(daemon) == 1, what="the first reading")
    cut(cluster)  # Celery connects again by itself, and takes tasks again
    cluster.send(2, 0.0)
    started(lambda: len(cluster.ended()) == 2, what="tasks after the cut", within_seconds=60)
    ask(cluster, "cancel_consumer", queue="celery")
    before = resizes(daemon)
    started(lambda: ("not_consuming", W1) in conditions(daemon), within_seconds=120, what="the condition")
    assert conditions(daemon)["not_consuming", W1] == NO_CONSUMER_STATE
    assert daemon.metric("condition", kind="not_consuming") == 1
    assert (size(daemon), resizes(daemon)) == (1, before)
    assert daemon.events("consumers.restored") == []
    ask(cluster, "add_consumer", queue="celery")
    started(lambda: daemon.metric("condition", kind="not_consuming") == 0, what="its end")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_consumers_that_were_restored_and_lost_at_a_reconnect_are_restored_again(cluster, tmp_path):
    # Celery before 5.7 forgets them (celery#7733).
    python = os.fspath(python_with_celery(tmp_path / "other", "5.6"))
    cluster.worker(companion=False, processes=2, python=python)
    cluster.hold(1)
    started(lambda: cluster.redis.hlen("started") == 1, what="the start of the task")
    daemon = cluster.daemon("--shrink-without-companion", "quiesce", scale_down_threshold="0.9")
    started(lambda: cluster.redis.hkeys(CANCELLED_KEY) == [W1.encode()], what="the cancelling")
    cluster.release()
    started(lambda: size(daemon) == 1, what="the shrink")
    started(lambda: cluster.redis.hgetall(CANCELLED_KEY) == {}, what="the restoring")
    cluster.send(1, 0.0)
    started(lambda: len(cluster.ended()) == 2, what="a task after it")
    cut(cluster)
    started(lambda: daemon.events("consumers.restored"), within_seconds=60, what="the second restoring")
    cluster.send(3, 0.0)
    started(lambda: len(cluster.ended()) == 5, what="tasks after that")
    line = daemon.events("consumers.restored")[0]
    assert {key: line[key] for key in ("worker", "queues", "why")} == {
        "worker": W1,
        "queues": ["celery"],
        "why": "lost, as by a reconnect of the worker",
    }
