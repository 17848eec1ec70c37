"""Two daemons of different names on one worker: one yields, both say so, and the resizes are few."""

from __future__ import annotations

import pytest
from celery import Celery

from tests.autoscaler.daemon.test_daemon import W1, size
from tests.autoscaler.daemon.test_deployment_daemon import conditions
from tests.support.cluster import started


def resizes(daemon):
    return len(daemon.events("pool.resized"))


def ticks(daemon):
    return daemon.metric("tick_duration_seconds_count") or 0


@pytest.mark.slow
def test_of_two_daemons_one_yields_and_the_size_stays(cluster):
    cluster.worker(processes=1)
    second = cluster.daemon("--name", "b", min="5")
    started(lambda: size(second) == 5, what="the resize by the second")
    first = cluster.daemon("--name", "a", min="1", max="2")
    started(lambda: second.reason(W1) == "yielding", what="the second's yielding")
    started(lambda: size(first) == 2 or size(first) == 1, what="the first's size")
    before, until = resizes(first) + resizes(second), ticks(second) + 20
    started(lambda: ticks(second) >= until, what="20 more ticks")
    assert second.reason(W1) == "yielding"
    assert resizes(first) + resizes(second) - before <= 1
    assert before <= 8
    assert "this one holds while a acts" in conditions(second)["rival", W1]
    assert "autoscaler b resizes it too" in conditions(first)["rival", W1]


@pytest.mark.slow
def test_resizes_by_hand_are_noticed_on_a_worker_without_companion(cluster):
    cluster.worker(processes=2, companion=False)
    daemon = cluster.daemon(min="2", scale_down_delay="600")
    started(lambda: size(daemon) == 2, what="the first reading")
    app = Celery("by-hand", broker=cluster.server.url, set_as_current=False)
    app.control.pool_grow(2, destination=[W1], reply=True)
    app.close()
    started(lambda: daemon.metric("condition", kind="foreign_resize") == 1, what="the condition")
    assert "somebody else resizes it" in conditions(daemon)["foreign_resize", W1]
