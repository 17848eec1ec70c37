"""Tasks that wait for their time or their rate limit, on a real worker: the pool does not grow for them."""

from __future__ import annotations

import json

from celery import Celery

from tests.autoscaler.daemon.test_daemon import W1, size
from tests.autoscaler.daemon.test_two_daemons import resizes, ticks
from tests.support.cluster import started


def send(cluster, count, seconds, **options):
    app = Celery("sender", broker=cluster.server.url, set_as_current=False)
    for _ in range(count):
        app.send_task("nap", args=[seconds], ignore_result=True, **options)
    app.close()


def after_ticks(daemon, more=12):
    until = ticks(daemon) + more
    started(lambda: ticks(daemon) >= until, what="more ticks")


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


def test_tasks_that_wait_for_their_rate_limit_grow_no_pool(cluster):
    settings = json.dumps({"task_annotations": {"nap": {"rate_limit": "1/m"}}})
    cluster.worker(SETTINGS=settings, PREFETCH="4")
    send(cluster, 100, 0.0)
    daemon = cluster.daemon()
    started(lambda: daemon.reason(W1) == "rate_limited", what="the reason")
    before = resizes(daemon)
    after_ticks(daemon)
    assert (daemon.reason(W1), resizes(daemon)) == ("rate_limited", before)
