"""Shrinking a worker without companion by emptying it first, over real workers."""

from __future__ import annotations

import signal

from autoscaler.contract import CANCELLED_KEY
from tests.cluster import started
from tests.test_daemon import W1, size

QUIESCE = ("--shrink-without-companion", "quiesce")


def quiescing(cluster):
    return cluster.redis.hkeys(CANCELLED_KEY) == [W1.encode()]


def test_a_busy_worker_is_emptied_shrunk_and_given_its_queues_back(cluster):
    cluster.worker(companion=False, processes=4, PREFETCH="4")
    daemon = cluster.daemon(*QUIESCE, scale_down_threshold="0.9", min="2")
    cluster.send(2, 4.0)
    started(lambda: quiescing(cluster), what="the cancelling")
    cluster.send(20, 0.1)
    started(lambda: size(daemon) == 2, what="the shrink")
    started(lambda: len(cluster.ended()) == 22, what="all tasks, also those sent meanwhile")
    assert cluster.lost_and_twice(22) == (0, 0)
    started(lambda: cluster.redis.hgetall(CANCELLED_KEY) == {}, what="the end of the note")
    told = [(line["command"], line["result"]) for line in daemon.events("pool.resize_begun")]
    assert told[0] == ("quiesce", "begun")


def test_a_daemon_that_is_ended_meanwhile_gives_the_queues_back_at_once(cluster):
    cluster.worker(companion=False, processes=4)
    daemon = cluster.daemon(*QUIESCE, scale_down_threshold="0.9", min="2")
    cluster.send(1, 5.0)
    started(lambda: quiescing(cluster), what="the cancelling")
    daemon.process.send(signal.SIGTERM)
    assert daemon.process.wait(within_seconds=5) == 0
    assert cluster.redis.hgetall(CANCELLED_KEY) == {}
    cluster.send(1, 0.1)
    started(lambda: len(cluster.ended()) == 1, within_seconds=4, what="the short task")


def test_a_daemon_that_is_killed_meanwhile_is_followed_by_one_that_gives_them_back(cluster):
    cluster.worker(companion=False, processes=4)
    first = cluster.daemon(*QUIESCE, scale_down_threshold="0.9", min="2")
    cluster.send(1, 20.0)
    started(lambda: quiescing(cluster), what="the cancelling")
    first.process.kill()
    cluster.send(1, 0.1)
    cluster.daemon()
    started(lambda: len(cluster.ended()) == 1, what="the short task")
    started(lambda: cluster.redis.hgetall(CANCELLED_KEY) == {}, what="the end of the note")


def test_a_worker_that_does_not_become_empty_in_time_is_left_as_it_was(cluster):
    cluster.worker(companion=False, processes=4)
    daemon = cluster.daemon(*QUIESCE, scale_down_threshold="0.9", min="2", quiesce_deadline="2")
    cluster.send(1, 8.0)
    started(lambda: daemon.events("pool.resize_refused"), what="the deadline")
    assert daemon.events("pool.resize_refused")[0]["detail"] == "it did not become empty in time"
    assert size(daemon) == 4
