"""Counting ended tasks over workers that join, leave, restart and count a little backwards."""

from __future__ import annotations

import pytest

from autoscaler.core.demand.completions import Completions
from tests.support.builders import worker


def counted(*ticks):
    """Totals and continuity over ticks of ``{worker: completed}``."""
    state, found = Completions(), []
    for tick in ticks:
        state = state.add([worker(name, completed=count) for name, count in tick.items()]) or state
        found.append((state.total, state.continuous))
    return found


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        pytest.param([{"a": 10}, {"a": 13}], [(0, False), (3, True)], id="what it ended since"),
        pytest.param(
            [{"a": 10}, {"a": 13, "b": 10**6}, {"a": 14, "b": 10**6 + 2}],
            [(0, False), (3, False), (6, True)],
            id="a worker that joins brings none of its past",
        ),
        pytest.param(
            [{"a": 10, "b": 5}, {"a": 13}, {"a": 14, "b": 900}],
            [(0, False), (3, False), (4, False)],
            id="nor does one that comes back, and what it ended before it left is not known",
        ),
        pytest.param(
            [{"a": 500}, {"a": 2}, {"a": 5}], [(0, False), (0, False), (3, True)], id="it restarted"
        ),
        pytest.param(
            [{"a": 500}, {"a": None}, {"a": 503}],
            [(0, False), (0, False), (3, True)],
            id="one count is missing",
        ),
    ],
)
def test_only_the_differences_of_each_worker_are_added_up(ticks, expected):
    assert counted(*ticks) == expected


def test_a_burst_that_a_stock_worker_began_between_two_of_its_readings_is_counted_once():
    state, totals = Completions(), []
    # Started less busy: 30 were busy at the second of the readings and not started at the first.
    for completed, busy in ((500, 0), (470, 30), (500, 30), (531, 0)):
        reading = worker("a", 40, completed=completed, busy=busy, companion=False)
        state = state.add([reading]) or state
        totals.append((state.total, state.continuous))
    assert totals == [(0, False), (0, True), (0, True), (31, True)]


@pytest.mark.parametrize("companion", [False, True])
def test_a_worker_that_restarted_after_few_tasks_is_no_other_than_one_that_restarted_after_many(companion):
    state = Completions()
    for completed, busy in ((20, 4), (0, 1)):
        reading = worker("a", 40, completed=completed, busy=busy, companion=companion)
        state = state.add([reading]) or state
    assert (state.total, state.continuous) == (0, False)
