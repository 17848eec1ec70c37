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
            [{"a": 500}, {"a": 498}, {"a": 501}],
            [(0, False), (0, True), (3, True)],
            id="two readings that were not taken at once",
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
