"""What the daemon has learnt of real workers stays sane while they come and go."""

from __future__ import annotations

import signal

import pytest

from tests.autoscaler.daemon.test_daemon import W1, W2
from tests.autoscaler.daemon.test_two_daemons import ticks
from tests.support.cluster import started
from tests.support.scripted_replies import STOCK, script


def group(daemon):
    """The one group of the last tick; nothing before there is one."""
    return next(iter(daemon.status()["groups"]), {})


def seen_over(daemon, more, *fields):
    """The values that these fields of the group had at each look over so many ticks."""
    found, until = [], ticks(daemon) + more

    def passed():
        now = group(daemon)
        found.append([now.get(field) for field in fields])
        return ticks(daemon) >= until

    started(passed, what="more ticks")
    return list(zip(*found, strict=True))


def answering(daemon):
    return group(daemon).get("workers") if not daemon.status()["unresponsive"] else None


@pytest.mark.slow
def test_a_worker_that_was_silent_and_comes_back_teaches_nothing_wrong(cluster):
    silent = cluster.worker(W1, PREFETCH="4")
    cluster.send(400, 0.0)
    started(lambda: len(cluster.ended()) == 400, what="its long past")
    cluster.worker(W2)
    daemon = cluster.daemon("--target-wait", "5s", max="1", stale_after="1")
    for sent in (404, 408):
        cluster.send(4, 0.3)
        started(lambda count=sent: len(cluster.ended()) == count, what="the tasks to learn from")
    started(lambda: group(daemon).get("service_seconds"), what="the learnt service time")
    learnt = group(daemon)["service_seconds"]
    silent.send(signal.SIGSTOP)
    started(lambda: group(daemon).get("workers") == [W2], what="the loss of it")
    silent.send(signal.SIGCONT)
    started(lambda: answering(daemon) == [W1, W2], what="its return", within_seconds=60)
    services, arrivals = seen_over(daemon, 10, "service_seconds", "arrivals_per_second")
    assert min(services) > learnt / 2
    assert max(arrivals) < 20  # 400 tasks in a look of 0.3 s would be more than a thousand


@pytest.mark.slow
def test_missed_replies_about_queues_wipe_nothing_that_a_group_has_learnt(cluster):
    cluster.worker(W1, *STOCK, companion=False)
    daemon = cluster.daemon("--target-wait", "5s", max="1")
    for sent in (3, 6):
        cluster.send(3, 0.3)
        started(lambda count=sent: len(cluster.ended()) == count, what="the tasks to learn from")
    started(lambda: group(daemon).get("service_seconds"), what="the learnt service time")
    script(cluster, W1, "active_queues", reply={"error": "busy"})
    missed = seen_over(daemon, 5, "queues", "service_seconds")
    script(cluster, W1, "active_queues")
    after = seen_over(daemon, 5, "queues", "service_seconds")
    for queues, services in (missed, after):
        assert set(map(tuple, queues)) == {("celery",)}
        assert min(services) > 0.15
