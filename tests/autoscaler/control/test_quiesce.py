"""Shrinking a worker without companion by emptying it first, over real workers."""

from __future__ import annotations

import signal

import pytest

from autoscaler.broker.keys import CANCELLED_KEY
from autoscaler.control.quiesce import QuiescingResizer
from autoscaler.core.model import Outcome, Result
from tests.autoscaler.daemon.test_daemon import W1, size
from tests.support.builders import worker
from tests.support.cluster import started

QUIESCE = ("--shrink-without-companion", "quiesce")


def running(cluster, count):
    """Hold so many tasks, and return when they run: an idle worker would be shrunk before they come."""
    cluster.hold(count)
    started(lambda: cluster.redis.hlen("started") == count, what="the start of the tasks")


def quiescing(cluster):
    return cluster.redis.hkeys(CANCELLED_KEY) == [W1.encode()]


def test_a_busy_worker_is_emptied_shrunk_and_given_its_queues_back(cluster):
    cluster.worker(companion=False, processes=4, PREFETCH="4")
    running(cluster, 2)
    daemon = cluster.daemon(*QUIESCE, scale_down_threshold="0.9", min="2")
    started(lambda: quiescing(cluster), what="the cancelling")
    cluster.send(20, 0.1)
    cluster.release()
    started(lambda: size(daemon) == 2, what="the shrink")
    started(lambda: len(cluster.ended()) == 22, what="all tasks, also those sent meanwhile")
    assert cluster.lost_and_twice(22) == (0, 0)
    started(lambda: cluster.redis.hgetall(CANCELLED_KEY) == {}, what="the end of the note")
    told = [(line["command"], line["result"]) for line in daemon.events("pool.resize_begun")]
    assert told[0] == ("quiesce", "begun")


class _Told:
    """Consumers and an actuator that write down what they are told, and answer as a test says."""

    def __init__(self, *, heard):
        self.heard, self.sent = heard, []

    def cancel(self, worker, queues, *, for_seconds):
        del queues, for_seconds
        self.sent.append(("cancel", worker))
        return self.heard

    def restore(self, note):
        self.sent.append(("give back", note.worker))
        return True

    def resize(self, reading, target):
        self.sent.append(("shrink", reading.name))
        done = {"command": "pool_shrink", "result": Result.DONE}
        return Outcome(worker=reading.name, before=reading.processes, target=target, **done)


@pytest.mark.parametrize(
    ("consumes", "expected"),
    [
        pytest.param((), ["cancel", "shrink", "give back"], id="deaf and empty: it shrinks"),
        pytest.param(("celery",), ["cancel", "give back"], id="it consumes all the same: it does not"),
    ],
)
def test_only_a_worker_that_says_it_consumes_nothing_is_shrunk(consumes, expected):
    told = _Told(heard=False)
    actuator = QuiescingResizer(told, told, quiesces=True, deadline_seconds=5)
    assert actuator.resize(worker(W1, 4, companion=False, busy=1), 2, 0.0).result is Result.BEGUN
    for at in (2.0, 4.0, 6.0):
        actuator.advance({W1: worker(W1, 4, companion=False, queues=consumes)}, at)
    assert [what for what, _ in told.sent] == expected


def test_a_disabled_daemon_gives_back_what_an_earlier_one_has_left(cluster):
    cluster.worker(companion=False, processes=4)
    running(cluster, 1)
    first = cluster.daemon(*QUIESCE, scale_down_threshold="0.9", min="2")
    started(lambda: quiescing(cluster), what="the cancelling")
    first.process.kill()
    cluster.send(1, 0.1)
    cluster.daemon("--enabled", "false")
    started(lambda: len(cluster.ended()) == 1, what="the short task")


def test_a_daemon_that_is_ended_meanwhile_gives_the_queues_back_at_once(cluster):
    cluster.worker(companion=False, processes=4)
    running(cluster, 1)
    daemon = cluster.daemon(*QUIESCE, scale_down_threshold="0.9", min="2")
    started(lambda: quiescing(cluster), what="the cancelling")
    daemon.process.send(signal.SIGTERM)
    assert daemon.process.wait(within_seconds=5) == 0
    assert cluster.redis.hgetall(CANCELLED_KEY) == {}
    cluster.send(1, 0.1)
    started(lambda: len(cluster.ended()) == 1, what="the short task")


def test_a_daemon_that_is_killed_meanwhile_is_followed_by_one_that_gives_them_back(cluster):
    cluster.worker(companion=False, processes=4)
    running(cluster, 1)
    first = cluster.daemon(*QUIESCE, scale_down_threshold="0.9", min="2")
    started(lambda: quiescing(cluster), what="the cancelling")
    first.process.kill()
    cluster.send(1, 0.1)
    cluster.daemon()
    started(lambda: len(cluster.ended()) == 1, what="the short task")
    started(lambda: cluster.redis.hgetall(CANCELLED_KEY) == {}, what="the end of the note")


def test_a_worker_that_does_not_become_empty_in_time_is_left_as_it_was(cluster):
    cluster.worker(companion=False, processes=4)
    running(cluster, 1)
    daemon = cluster.daemon(*QUIESCE, scale_down_threshold="0.9", min="2", quiesce_deadline="2")
    started(lambda: daemon.events("pool.resize_refused"), what="the deadline")
    assert daemon.events("pool.resize_refused")[0]["detail"] == "it did not become empty in time"
    assert size(daemon) == 4
