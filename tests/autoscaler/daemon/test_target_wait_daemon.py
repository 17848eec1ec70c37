"""The latency demand as the daemon has it: ages read from messages, a target kept on a real worker."""

from __future__ import annotations

import re
import time

import pytest
from celery import Celery

from autoscaler.companion import stamp_published
from autoscaler.sensors.queues import KeyLayout, QueueSensor
from tests.autoscaler.daemon.test_daemon import W1, size
from tests.autoscaler.daemon.test_deployment_daemon import conditions
from tests.support.cluster import started


def test_the_age_of_the_oldest_message_is_reported_where_the_publisher_adds_the_time(cluster):
    stamp_published()
    app = Celery("publisher", broker=cluster.server.url, set_as_current=False)
    before = time.time()
    app.send_task("nap", args=[0], queue="celery", ignore_result=True)
    app.send_task("nap", args=[0], queue="celery", priority=9, ignore_result=True)
    app.close()
    client = cluster.redis
    sensor = QueueSensor(lambda: client, KeyLayout(), "override", wall=lambda: before + 100)
    reading = sensor.read(["celery"]).queues[0]
    assert (reading.waiting, reading.error) == (2, None)
    assert 95 < reading.oldest_age_seconds <= 100


@pytest.mark.slow
def test_it_grows_for_the_target_and_reports_what_it_has_learnt(cluster):
    cluster.worker()
    daemon = cluster.daemon("--target-wait", "3s", max="12")
    cluster.send(60, 0.5)
    started(lambda: (size(daemon) or 0) >= 4, what="growth by the latency demand")
    started(lambda: len(cluster.ended()) == 60, what="all tasks")
    assert {line["reason"] for line in daemon.events("pool.resized")} <= {"latency", "at_max", "at_min"}
    started(lambda: daemon.metric("service_time_seconds", queues="celery"), what="the learnt service time")
    assert 0.3 < daemon.metric("service_time_seconds", queues="celery") < 1.5
    assert daemon.metric("shadow_processes_target", queues="celery") is not None
    assert cluster.lost_and_twice(60) == (0, 0)


@pytest.mark.slow
def test_in_the_shadow_it_is_exported_and_the_thresholds_decide(cluster):
    cluster.worker()
    daemon = cluster.daemon("--target-wait", "600s", "--shadow", "latency")
    cluster.send(20, 0.3)
    started(lambda: size(daemon) == 6, what="growth by the thresholds")
    assert daemon.metric("shadow_processes_target", queues="celery") is not None
    assert {line["reason"] for line in daemon.events("pool.resized")} <= {"load_high", "at_max"}
    assert daemon.reason(W1) is not None


@pytest.mark.slow
def test_a_worker_grows_for_what_it_has_fetched_and_an_idle_one_beside_it_does_not(cluster):
    cluster.worker("w1@h", PREFETCH="4")
    cluster.hold(4)  # one runs and three are fetched: nobody else can start them
    started(lambda: len(cluster.redis.hgetall("started")) == 1, what="the first task")
    cluster.worker("w2@h", PREFETCH="4")
    daemon = cluster.daemon("--target-wait", "2s", max="8")
    started(lambda: size(daemon) == 4, what="growth for the fetched tasks")
    assert size(daemon, "w2@h") == 1
    cluster.release()
    started(lambda: len(cluster.ended()) == 4, what="all tasks")
    assert cluster.lost_and_twice(4) == (0, 0)


@pytest.mark.slow
def test_a_target_that_the_bounds_cannot_keep_is_reported_with_what_it_would_take(cluster):
    cluster.worker()
    daemon = cluster.daemon("--target-wait", "2s", max="2")
    for sent in (4, 8):
        cluster.send(4, 0.3)
        started(lambda count=sent: len(cluster.ended()) == count, what="the tasks to learn from")
    cluster.send(60, 0.3)  # 18 s of work, of which two processes start 4 s within the target
    started(lambda: daemon.metric("condition", kind="target_out_of_reach") == 1, what="the condition")
    state = conditions(daemon)["target_out_of_reach", W1]
    found = re.fullmatch(
        r"tasks arrive faster than they can start within 2 s: it takes about (\d+) processes on celery, more"
        r" than --max and the limits allow; raise them, add workers, or set a longer --target-wait",
        state,
    )
    assert found is not None
    assert 3 <= int(found[1]) <= 20
