"""Tasks that wait for their time or their rate limit, on a real worker: the pool does not grow for them."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery

from autoscaler.report.deployment import CLOCK_STATE
from autoscaler.worker.published_at import PUBLISHED_HEADER
from tests.autoscaler.daemon.test_daemon import W1, size
from tests.autoscaler.daemon.test_two_daemons import resizes, ticks
from tests.support.cluster import started


def send(cluster, count, seconds, **options):
    app = Celery("sender", broker=cluster.server.url, set_as_current=False)
    for _ in range(count):
        app.send_task("nap", args=[seconds], ignore_result=True, **options)
    app.close()


def flood(cluster, count, **options):
    """Put copies of one message into the queue at once, faster than any worker takes them."""
    send(cluster, 1, 0.0, queue="original", **options)
    message = json.loads(cluster.redis.lpop("original"))
    message["properties"]["delivery_info"]["routing_key"] = "celery"

    def copy():
        message["headers"]["id"] = message["properties"]["correlation_id"] = str(uuid.uuid4())
        message["properties"]["delivery_tag"] = str(uuid.uuid4())
        return json.dumps(message)

    cluster.redis.lpush("celery", *(copy() for _ in range(count)))


def after_ticks(daemon, more=12):
    until = ticks(daemon) + more
    started(lambda: ticks(daemon) >= until, what="more ticks")


@pytest.mark.slow
def test_a_flood_of_countdowns_beyond_the_eta_limit_is_no_backlog(cluster):
    cluster.worker(SETTINGS=json.dumps({"worker_eta_task_limit": 10}), PREFETCH="4")
    send(cluster, 10, 0.0, countdown=3600)
    daemon = cluster.daemon()

    def scheduled():
        workers = daemon.status()["workers"]
        return workers[0]["scheduled"] if workers else None

    started(lambda: scheduled() == 10, what="the tasks that the worker may hold")
    send(cluster, 300, 0.0, countdown=3600)
    started(lambda: (daemon.metric("queue_depth", queue="celery") or 0) >= 290, what="the flood")
    after_ticks(daemon)
    assert (size(daemon), resizes(daemon)) == (1, 0)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("demand", "prefetch", "workers"),
    [((), "4", 1), (("--target-wait", "5s"), "1", 1), (("--target-wait", "5s"), "4", 2)],
    ids=["thresholds", "target-wait", "two-workers"],
)
def test_thousands_of_countdowns_without_an_eta_limit_grow_no_pool(cluster, demand, prefetch, workers):
    for number in range(workers):
        cluster.worker(f"w{number + 1}@h", PREFETCH=prefetch)
    daemon = cluster.daemon(*demand, max="8")
    after_ticks(daemon, 3)

    def kept_in_timers():
        return sum(worker["scheduled"] or 0 for worker in daemon.status()["workers"])

    flood(cluster, 3000, countdown=3600)
    started(lambda: kept_in_timers() == 3000, within_seconds=200, what="the flood in the workers' timers")
    after_ticks(daemon, 3)
    assert resizes(daemon) == 0
    cluster.send(60, 0.5)  # real work behind it: 30 s of it for one process
    started(lambda: (size(daemon) or 0) > 2, what="growth for the burst")
    started(lambda: len(cluster.ended()) == 60, what="the end of all tasks")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [-600.0, 600.0], ids=["behind", "ahead"])
def test_a_publisher_whose_clock_is_ten_minutes_off_is_reported_once_and_not_believed(cluster, seconds):
    cluster.worker()
    daemon = cluster.daemon("--target-wait", "5s", max="8")
    after_ticks(daemon, 3)
    for _ in range(2):
        send(cluster, 12, 0.5, headers={PUBLISHED_HEADER: time.time() + seconds})
        started(lambda: daemon.metric("condition", kind="clock") == 1, what="the condition")
        started(lambda: daemon.metric("queue_depth", queue="celery") == 0, what="an empty queue")
    assert [line["state"] for line in daemon.events("condition") if line["subject"] == "clock"] == [
        CLOCK_STATE
    ]
    # 12 tasks of half a second take 6 s of one process. Ten minutes late, they would ask for all there are.
    assert max([line["target"] for line in daemon.events("pool.resized")], default=1) < 8


@pytest.mark.slow
def test_tasks_that_wait_for_their_rate_limit_grow_no_pool(cluster):
    settings = json.dumps({"task_annotations": {"nap": {"rate_limit": "1/m"}}})
    cluster.worker(SETTINGS=settings, PREFETCH="4")
    send(cluster, 100, 0.0)
    daemon = cluster.daemon()
    started(lambda: daemon.reason(W1) == "rate_limited", what="the reason")
    before = resizes(daemon)
    after_ticks(daemon)
    assert (daemon.reason(W1), resizes(daemon)) == ("rate_limited", before)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("prefetch", ["1", "4"])
def test_thousands_of_expired_tasks_grow_no_pool_and_teach_nothing_wrong(cluster, prefetch):
    cluster.worker(PREFETCH=prefetch)
    daemon = cluster.daemon("--target-wait", "5s", max="8")
    for _ in range(4):
        cluster.send(3, 0.2)
        after_ticks(daemon, 3)
    started(lambda: len(cluster.ended()) == 12, what="the end of the first tasks")
    after_ticks(daemon, 2)
    before = daemon.status()["groups"][0]
    resized = resizes(daemon)

    def discarded():
        return daemon.status()["workers"][0]["discarded"]

    for round_ in (1, 2):
        flood(cluster, 3000, expires=datetime.now(UTC) - timedelta(hours=1))
        started(
            lambda count=3000 * round_: discarded() == count, within_seconds=90, what="the end of the flood"
        )
        after_ticks(daemon, 3)
        assert resizes(daemon) == resized
    after = daemon.status()["groups"][0]
    assert after["service_seconds"] == pytest.approx(before["service_seconds"], rel=0.5)
    assert after["arrivals_per_second"] <= before["arrivals_per_second"]
    cluster.send(100, 0.5)  # real work after it: 50 s of it for one process
    started(lambda: size(daemon) > 4, what="growth for the burst")
    started(lambda: len(cluster.ended()) == 112, what="the end of all tasks")
