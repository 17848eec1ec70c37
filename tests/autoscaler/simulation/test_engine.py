"""The engine on traces counted by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.simulation.engine import PoolModel, PoolView, ReplayResult, simulate
from autoscaler.simulation.peers import Fixed
from tests.support.traces import MODEL, trace


class Script:
    """Sizes by the second, and what was seen when each was asked for."""

    name = "script"
    interval_seconds = 1.0
    on_message = False

    def __init__(self, sizes: dict[int, int], *, initial: int = 1) -> None:
        self.initial_processes = initial
        self.sizes = sizes
        self.seen: list[PoolView] = []

    def desired(self, view: PoolView) -> int:
        self.seen.append(view)
        return self.sizes.get(int(view.at), view.size)


def test_one_process_takes_tasks_in_order_of_arrival():
    outcome = simulate(trace((0.0, 3.0), (1.0, 2.0), (2.0, 1.0)), Fixed(1), MODEL)
    assert outcome == ReplayResult(
        scaler="fixed 1",
        waits_seconds=[0.0, 2.0, 3.0],
        work_seconds=6.0,
        process_seconds=6.0,
        starts=0,
        changes=0,
        peak_processes=1,
        timeline=[(0.0, 0, 1), (6.0, 0, 1)],
    )


def test_a_process_is_paid_from_the_request_and_works_after_the_start_delay():
    outcome = simulate(trace((0.5, 10.0), (0.6, 4.0)), Script({1: 2}), PoolModel(start_seconds=2.0))
    assert (outcome.waits_seconds, outcome.starts, outcome.changes) == ([0.0, pytest.approx(2.4)], 1, 1)
    assert outcome.process_seconds == pytest.approx(10.5 + 9.5)


def test_an_idle_process_goes_at_once_and_a_busy_one_when_its_task_ends():
    outcome = simulate(trace((0.0, 6.0), (0.0, 4.0)), Script({2: 1}, initial=3), MODEL)
    # The idle third goes at 2; one of the busy two is given up and goes first: at 4. The last works to 6.
    assert (outcome.process_seconds, outcome.starts) == (2 + 4 + 6, 0)


def test_a_growth_takes_back_a_process_that_still_finishes_its_task():
    script = Script({1: 1, 2: 2}, initial=2)
    outcome = simulate(trace((0.0, 6.0), (0.0, 4.0)), script, MODEL)
    assert (outcome.process_seconds, outcome.starts, outcome.changes) == (12.0, 0, 2)
    assert [seen.size for seen in script.seen[:4]] == [2, 2, 1, 2]


def test_a_process_that_is_retired_before_it_is_ready_ends_once_it_is():
    outcome = simulate(trace((0.0, 4.0), (0.1, 1.0)), Script({1: 2, 2: 1}), PoolModel(start_seconds=3.0))
    assert (outcome.waits_seconds[1], outcome.process_seconds) == (pytest.approx(3.9), 5.0 + 3.0)


def test_the_bounds_of_the_pool_are_kept():
    script = Script({0: 100, 2: 0})
    simulate(trace((0.0, 5.0)), script, PoolModel(min_processes=2, max_processes=4))
    assert [seen.size for seen in script.seen[:4]] == [2, 4, 4, 2]


def test_what_is_seen_separates_reserved_from_waiting_by_the_prefetch():
    script = Script({}, initial=2)
    tasks = trace(*[(0.25, 10.0)] * 9)
    simulate(tasks, script, PoolModel(prefetch=2))
    assert script.seen[1] == PoolView(
        at=1.0,
        waiting=3,
        reserved=4,
        busy=2,
        size=2,
        starting=0,
        completed=0,
        oldest_age_seconds=0.75,
    )


def test_the_pool_is_paid_to_the_end_of_the_trace():
    assert simulate(trace((0.0, 1.0), lasts=30.0), Fixed(2), MODEL).process_seconds == 60.0


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        pytest.param({"min_processes": 5, "max_processes": 4}, "5 to 4 processes", id="bounds crossed"),
        pytest.param({"start_seconds": math.nan}, "start_seconds is nan", id="no number"),
        pytest.param({"prefetch": -1}, "prefetch is -1", id="negative"),
    ],
)
def test_an_impossible_pool_is_refused(parts: dict[str, float], fault: str):
    with pytest.raises(ValueError, match=fault):
        PoolModel(**parts)


tasks_drawn = st.lists(
    st.tuples(st.floats(min_value=0, max_value=50), st.floats(min_value=0, max_value=20)),
    min_size=1,
    max_size=40,
)


@given(
    tasks=tasks_drawn,
    sizes=st.dictionaries(st.integers(0, 60), st.integers(-3, 9)),
    bounds=st.tuples(st.integers(1, 5), st.integers(0, 4)),
    start_seconds=st.floats(min_value=0, max_value=5),
)
def test_whatever_the_sizes_every_task_runs_once_within_the_bounds(
    tasks: list[tuple[float, float]],
    sizes: dict[int, int],
    bounds: tuple[int, int],
    start_seconds: float,
):
    low, high = bounds[0], sum(bounds)
    model = PoolModel(min_processes=low, max_processes=high, start_seconds=start_seconds)
    script = Script(sizes)
    drawn = trace(*sorted(tasks))
    outcome = simulate(drawn, script, model)
    assert all(wait >= 0 for wait in outcome.waits_seconds)
    assert len(outcome.waits_seconds) == len(tasks)
    assert all(low <= seen.size <= high for seen in script.seen)
    assert outcome.process_seconds >= outcome.work_seconds - 1e-6


@given(tasks=tasks_drawn, processes=st.integers(1, 6))
def test_a_fixed_pool_waits_as_a_queue_with_so_many_servers_does(
    tasks: list[tuple[float, float]], processes: int
):
    drawn = trace(*sorted(tasks))
    free = [0.0] * processes
    expected = []
    for arrival, service in zip(drawn.arrivals_seconds, drawn.services_seconds, strict=True):
        start = max(arrival, min(free))
        free[free.index(min(free))] = start + service
        expected.append(start - arrival)
    outcome = simulate(drawn, Fixed(processes), MODEL)
    assert outcome.waits_seconds == pytest.approx(expected)
