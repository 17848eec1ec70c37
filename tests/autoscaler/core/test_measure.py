"""How much work there is for a group, and what makes it incomplete."""

from __future__ import annotations

import pytest

from autoscaler.core.demand.work import Work
from autoscaler.core.groups import Group, Scope, split
from autoscaler.core.measure import measure
from autoscaler.core.model import Reason
from autoscaler.core.state import KnownWorker
from tests.support.builders import queue, worker


def known(*readings, at=5.0):
    return {reading.name: KnownWorker(reading=reading, read_at=at) for reading in readings}


def on(name, *queues, **fields):
    return worker(name, queues=queues, **fields)


def measured(group, workers, queues, at=5.0):
    found = {one.name: one for one in queues}
    return measure(group, [workers[name] for name in group.workers], found, at)


def test_the_work_of_a_group_is_what_waits_what_is_fetched_and_what_runs():
    workers = known(
        on("a", "x", processes=4, busy=3, reserved=2, scheduled=70),
        on("b", "x", "y", processes=2, busy=5, retiring=4),
        on("c", "z", processes=9, busy=9),
    )
    group = Group(workers=("a", "b"), queues=("x", "y"))
    found = measured(group, workers, [queue(10, "x"), queue(5, "y"), queue(99, "z")])
    assert found == Work(waiting=15, reserved=2, running=4, processes=6)


STALE, PEER = Reason.STALE, Reason.PEER_UNRESPONSIVE


@pytest.mark.parametrize(
    ("readings", "queues", "at", "expected"),
    [
        pytest.param([on("a", "x")], [queue(None, "x")], 5.0, (0, STALE, False), id="no queue is known"),
        pytest.param([on("a", "x")], [], 5.0, (0, STALE, False), id="its queue was not read"),
        pytest.param(
            [on("a", "x", "y")], [queue(3, "x"), queue(None, "y")], 5.0, (3, STALE, True), id="one is known"
        ),
        pytest.param([on("a", "x", busy=None)], [queue(3, "x")], 5.0, (3, PEER, True), id="busy is unknown"),
        pytest.param(
            [on("a", "x", processes=None)], [queue(3, "x")], 5.0, (3, PEER, True), id="so is the size"
        ),
        pytest.param(
            [on("a", "x", queues_known=False)], [queue(3, "x")], 5.0, (3, PEER, True), id="or its queues"
        ),
        pytest.param([on("a", "x")], [queue(3, "x")], 6.0, (3, PEER, True), id="it did not answer"),
        pytest.param([on("a", "x")], [queue(3, "x")], 5.0, (3, None, True), id="everything is known"),
        pytest.param([on("a")], [], 5.0, (0, None, True), id="there is no queue to be known"),
    ],
)
def test_what_is_not_known_makes_the_work_incomplete_and_says_why(readings, queues, at, expected):
    workers = known(*readings)
    (only,) = split(workers, Scope())
    work = measured(only, workers, queues, at)
    assert (work.waiting, work.unknown, work.readable) == expected
    assert work.complete is (work.unknown is None)
