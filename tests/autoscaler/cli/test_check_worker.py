"""The liveness probe of a worker: who is alive, and who is to be restarted."""

from __future__ import annotations

import signal

import pytest
from celery import Celery

from autoscaler.cli.check_worker import fault_of
from autoscaler.core.model import WorkerLayout
from tests.support.builders import worker
from tests.support.cluster import command, started

STUCK = "takes none of the 5 messages that wait"


@pytest.mark.parametrize(
    ("reading", "waiting", "expected"),
    [
        (None, 0, "does not answer"),
        (worker(), 0, None),
        (worker(), 5, STUCK),
        (worker(busy=1), 5, None),
        (worker(reserved=1), 5, None),
        (worker(rate_limited=1), 5, None),
        (worker(scheduled=9, layout=WorkerLayout(eta_task_limit=9)), 5, None),
        (worker(completed=9), 5, None),  # it has ended some since the first look
        (worker(queues=()), 0, "consumes no queue"),
        (worker(queues=(), busy=1), 0, None),  # a drain: it ends its task
        (worker(queues=(), queues_known=False), 0, None),
        (worker(consuming=False), 5, "consumes no queue"),
    ],
)
def test_what_is_wrong_with_a_worker(reading, waiting, expected):
    assert fault_of(reading, waiting, worker(completed=0)) == expected


def probe(cluster, name="w1@h", within="2"):
    code, out, err = command("check-worker", name, "--within", within, REDIS_URL=cluster.server.url)
    return code, (out + err).strip()


@pytest.mark.slow
def test_a_worker_is_alive_until_it_hangs_or_is_gone(cluster):
    process = cluster.worker()
    assert probe(cluster) == (0, "w1@h is alive")
    cluster.hold(3)
    started(lambda: cluster.redis.hlen("started") == 1, what="the task")
    assert probe(cluster) == (0, "w1@h is alive")
    process.send(signal.SIGSTOP)
    assert probe(cluster) == (1, "autoscaler: w1@h does not answer")
    mistyped = "autoscaler: w1 does not answer; did you mean w1@h? workers that exist: w1@h"
    assert probe(cluster, "w1", within="1") == (1, mistyped)
    process.send(signal.SIGCONT)


@pytest.mark.slow
def test_a_worker_whose_consumers_are_cancelled_is_to_be_restarted(cluster):
    cluster.worker()
    app = Celery("by-hand", broker=cluster.server.url, set_as_current=False)
    app.control.cancel_consumer("celery", destination=["w1@h"], reply=True)
    app.close()
    assert probe(cluster) == (1, "autoscaler: w1@h consumes no queue")


def test_a_broker_that_is_down_is_no_fault_of_the_worker():
    code, out, _ = command("check-worker", "w1@h", "--within", "1", REDIS_URL="redis://127.0.0.1:1")
    assert (code, out.partition(":")[0]) == (0, "not known")
