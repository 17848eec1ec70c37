"""Which workers share work, and how much of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.demand.thresholds import Work
from autoscaler.core.groups import Group, Scope, measure, split
from autoscaler.core.state import KnownWorker
from tests.support.builders import queue, worker


def known(*readings, at=5.0):
    return {reading.name: KnownWorker(reading=reading, read_at=at) for reading in readings}


def on(name, *queues, **fields):
    return worker(name, queues=queues, **fields)


def by_name(*queues):
    return {one.name: one for one in queues}


def group(workers, queues):
    return Group(workers=tuple(workers.split()), queues=tuple(queues.split()))


@pytest.mark.parametrize(
    ("readings", "scope", "expected"),
    [
        pytest.param([], Scope(), [], id="nobody"),
        pytest.param(
            [on("a", "x"), on("b", "y")], Scope(), [group("a", "x"), group("b", "y")], id="nothing in common"
        ),
        pytest.param(
            [on("a", "x"), on("b", "y"), on("c", "x", "y")],
            Scope(),
            [group("a b c", "x y")],
            id="through a third",
        ),
        pytest.param(
            [on("a"), on("b")], Scope(), [group("a", ""), group("b", "")], id="no queue, each alone"
        ),
        pytest.param(
            [on("a", "x", "z"), on("b", "y", "z")],
            Scope(queues=frozenset("xy")),
            [group("a", "x"), group("b", "y")],
            id="a queue that does not count joins nobody",
        ),
        pytest.param(
            [on("a", "x"), on("b", "z")],
            Scope(queues=frozenset("x")),
            [group("a", "x")],
            id="a worker without a queue that counts is left out",
        ),
        pytest.param(
            [on("a", "x"), on("b", "z")],
            Scope(queues=frozenset("x"), workers=frozenset("b")),
            [group("a", "x"), group("b", "")],
            id="unless it is named",
        ),
        pytest.param(
            [on("a", "x"), on("b", "x")],
            Scope(workers=frozenset("a")),
            [group("a b", "x")],
            id="a sidecar sees those that share its queue",
        ),
    ],
)
def test_workers_that_share_queues_are_one_group(readings, scope, expected):
    assert split(known(*readings), scope) == expected


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.sets(st.sampled_from("uvwxyz")), max_size=9)
)
def test_groups_share_no_queue_and_leave_no_worker_out(consumed):
    found = split(known(*(on(name, *sorted(queues)) for name, queues in consumed.items())), Scope())
    members = [name for one in found for name in one.workers]
    queues = [name for one in found for name in one.queues]
    assert sorted(members) == sorted(consumed)
    assert sorted(queues) == sorted(set().union(*consumed.values()))
    assert len({one.key for one in found}) == len(found)


def test_the_work_of_a_group_is_what_waits_what_is_fetched_and_what_runs():
    workers = known(
        on("a", "x", processes=4, busy=3, reserved=2, scheduled=70),
        on("b", "x", "y", processes=2, busy=5, retiring=4),
        on("c", "z", processes=9, busy=9),
    )
    found = measure(group("a b", "x y"), workers, by_name(queue(10, "x"), queue(5, "y"), queue(99, "z")), 5.0)
    assert found == (Work(waiting=15, reserved=2, running=4, processes=6, complete=True), True)


@pytest.mark.parametrize(
    ("readings", "queues", "at", "expected"),
    [
        pytest.param([on("a", "x")], [queue(None, "x")], 5.0, (0, False, False), id="no queue is known"),
        pytest.param([on("a", "x")], [], 5.0, (0, False, False), id="its queue was not read"),
        pytest.param(
            [on("a", "x", "y")], [queue(3, "x"), queue(None, "y")], 5.0, (3, False, True), id="one is known"
        ),
        pytest.param([on("a", "x", busy=None)], [queue(3, "x")], 5.0, (3, False, True), id="busy is unknown"),
        pytest.param(
            [on("a", "x", processes=None)], [queue(3, "x")], 5.0, (3, False, True), id="so is the size"
        ),
        pytest.param([on("a", "x")], [queue(3, "x")], 6.0, (3, False, True), id="the worker kept silent"),
        pytest.param([on("a", "x")], [queue(3, "x")], 5.0, (3, True, True), id="everything is known"),
        pytest.param([on("a")], [], 5.0, (0, True, True), id="there is no queue to be known"),
    ],
)
def test_what_is_not_known_makes_the_work_incomplete(readings, queues, at, expected):
    workers = known(*readings)
    (only,) = split(workers, Scope())
    work, any_known = measure(only, workers, by_name(*queues), at)
    assert (work.waiting, work.complete, any_known) == expected
