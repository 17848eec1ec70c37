"""Workers that answer and consume nothing count once that lasts, and not while they are emptied."""

from __future__ import annotations

import pytest
from celery import Celery

from autoscaler.daemon.without_consumers import REPORT_AFTER_SECONDS, WithoutConsumers
from tests.autoscaler.daemon.test_daemon import W1, W2, size
from tests.support.builders import look, worker
from tests.support.cluster import started

LONG = REPORT_AFTER_SECONDS
NONE = {"queues": (), "consuming": False}


def noted(*ticks, cancelled=()):
    """What is reported after the last tick of (seconds, fields of the worker; None where it is silent)."""
    memory, found = WithoutConsumers(), ()
    for at, fields in ticks:
        shown = () if fields is None else (worker("w", **fields),)
        found = memory.note(look(0, *(shown or (worker("other"),)), at=at), cancelled)
    return found


@pytest.mark.parametrize(
    ("ticks", "found"),
    [
        pytest.param([(0, NONE), (LONG, NONE)], ("w",), id="for long"),
        pytest.param([(0, NONE), (LONG - 1, NONE)], (), id="not for long yet"),
        pytest.param([(0, NONE), (20, {}), (LONG + 10, NONE)], (), id="it consumed in between"),
        pytest.param([(0, NONE), (20, None), (LONG, NONE)], ("w",), id="it was silent in between"),
        pytest.param([(0, NONE), (4000, None), (4001, NONE)], (), id="it was gone for an hour"),
        pytest.param([(0, {"queues": ()}), (LONG, {"queues": ()})], ("w",), id="without companion"),
        pytest.param(
            [(0, {"queues": (), "queues_known": False}), (LONG, {"queues": (), "queues_known": False})],
            (),
            id="its queues are not known",
        ),
    ],
)
def test_it_counts_once_it_lasts(ticks, found):
    assert noted(*ticks) == found


def test_a_worker_that_is_emptied_on_purpose_does_not_count():
    assert noted((0, NONE), (LONG, NONE), cancelled={"w"}) == ()


@pytest.mark.slow
def test_two_workers_without_queues_have_each_series_once(cluster):
    for name in (W1, W2):
        cluster.worker(name)
    app = Celery("operator", broker=cluster.server.url, set_as_current=False)
    app.control.broadcast("cancel_consumer", arguments={"queue": "celery"}, reply=True, timeout=10, limit=2)
    app.close()
    daemon = cluster.daemon()
    started(lambda: (size(daemon, W1), size(daemon, W2)) == (1, 1), what="the first reading of both")
    assert [worker["queues"] for worker in daemon.status()["workers"]] == [[], []]
    lines = [line for line in daemon.get("/metrics")[1].splitlines() if not line.startswith("#")]
    series = [line.rpartition(" ")[0] for line in lines]
    assert sorted(series) == sorted(set(series))
