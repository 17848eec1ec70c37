"""The target wait, fed with signals by hand; what it is worth on traces is in test_workloads.py."""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.decider import Decider
from autoscaler.core.demand.fleet import Channel, Fleet, Member
from autoscaler.core.demand.pace import Looks
from autoscaler.core.demand.target_wait import (
    Signal,
    TargetWaitPolicy,
    TargetWaitState,
    advance,
    advance_fleet,
)
from autoscaler.core.policy import Policy
from autoscaler.simulation.decided import DecidedScaler
from autoscaler.simulation.engine import PoolModel, simulate
from autoscaler.simulation.report import summarize
from autoscaler.simulation.traces import ServiceModel, Trace
from tests.support.target_wait import PARAMETERS, learnt, play, signal


def test_an_idle_fleet_sizes_for_one_process():
    assert play([signal(0.0, 0, 0, 1), signal(1.0, 0, 0, 1)])[1] == [1, 1]


def test_a_long_task_that_waits_gets_its_process_at_the_last_moment_and_no_sooner():
    state, done = learnt(300, 2)
    seen = [signal(600.0 + tick, 1, 2, 2, completed=done) for tick in range(6)]
    # Arrived after 599: a start at 604 is safe, a process takes 1 s to start, the next look is 1 s away.
    assert play(seen, state=state)[1] == [2, 2, 2, 3, 3, 3]


def test_a_process_that_is_starting_is_not_requested_again():
    state, done = learnt(300, 2)
    waiting = [signal(600.0 + tick, 1, 2, 2, completed=done) for tick in range(4)]
    state, sizes = play(waiting, state=state)
    assert sizes[-1] == 3
    assert play([signal(604.0, 1, 2, 3, completed=done)], state=state)[1] == [3]


def test_processes_that_start_are_not_requested_again_when_more_tasks_come():
    parameters = replace(PARAMETERS, target_wait_seconds=40.0)
    state, done = learnt(10, 2)
    processes, sizes = 2, set()
    for tick in range(28):  # a start takes 30 s: the last moment for the first 30 tasks is at 610
        shown = signal(600.0 + tick, 30 if tick < 18 else 40, 2, processes, completed=done)
        state, processes = advance(parameters, state, replace(shown, start_seconds=30.0))
        sizes.add(processes)
    assert len(sizes) == 2


def test_processes_that_were_not_known_for_a_look_are_not_new():
    state, done = learnt(10, 16)
    unknown = signal(600.0, 0, 0, 0, completed=done, complete=False)
    state, _ = play([unknown, signal(601.0, 9, 16, 24, completed=done, start_seconds=20.0)], state=state)
    assert state.starting == ()


def test_tasks_that_start_before_a_new_process_is_ready_need_none():
    parameters = replace(PARAMETERS, target_wait_seconds=30.0)
    state, done = learnt(1, 4)
    # A start takes 20 s, in which the 4 that run start 80 tasks; nothing can start these 60 in the 5 s left.
    late = signal(600.0, 60, 4, 4, completed=done, oldest_age_seconds=25.0)
    assert advance(parameters, state, replace(late, start_seconds=20.0))[1] == 4


def test_a_burst_of_short_tasks_is_spread_over_the_time_that_is_left():
    state, done = learnt(1, 1)
    _, sizes = play([signal(600.0, 40, 1, 1, completed=done)], state=state)
    # 40 positions; 4 s are left. A task runs for 0.9 s at least and then ends at a rate of 1 a second: the
    # one that runs is older, its process comes free 4 times; a new one, 3 s after its start, starts 1 + 2.1.
    assert sizes == [1 + math.ceil((40 - 4) / 3.1)]


@pytest.mark.parametrize(("caution", "more"), [(0.0, 37 / 3.1), (2.0, 41 / 3.1)])
def test_the_less_is_expected_of_busy_processes_the_more_new_ones_are_requested(caution: float, more: float):
    state, done = learnt(1, 1)
    careful = replace(PARAMETERS, release_caution=caution)
    # The one process becomes free 4 times on average, and 4 - caution * 2 times is what is counted on.
    _, sizes = play([signal(600.0, 41, 1, 1, completed=done)], careful, state=state)
    assert sizes == [1 + math.ceil(more)]


@pytest.mark.parametrize("variation", [0.0, 0.3])
@pytest.mark.parametrize("service", [3.0, 8.0])
def test_a_batch_of_alike_tasks_starts_in_time(service: float, variation: float):
    """60 tasks at once on one process: those that have just begun free no process in time."""
    rng, shape = random.Random(1), ServiceModel(mean_seconds=service, variation=variation or 1.0)
    arrivals = [300.0 * batch + 0.005 * task for batch in range(1, 9) for task in range(60)]
    made = Trace(
        name="batches",
        arrivals_seconds=arrivals,
        services_seconds=[shape.draw(rng) if variation else service for _ in arrivals],
        duration_seconds=2700.0,
    )
    decider = Decider(
        policy=Policy(max_processes=64), target_wait=TargetWaitPolicy(), min_interval_seconds=0.5
    )
    scaler = DecidedScaler(decider, name="ours", start_seconds=1.0, interval_seconds=2.0)
    assert summarize(simulate(made, scaler, PoolModel()), 5.0).within_target >= 0.999


def test_the_next_decision_is_due_when_the_most_urgent_task_needs_its_process():
    state, done = learnt(300, 2)
    waits = [signal(600.0, 1, 2, 2, completed=done), signal(602.5, 1, 2, 2, completed=done)]
    found = []
    for each in waits:
        state, _ = advance(PARAMETERS, state, each, Looks(0.5))
        found.append(state.due_at)
    # It came after 599, so it starts by 604, and 1 s passes until a process is ready; 0.5 s is the next look.
    assert found == [602.5, 602.5]
    state, _ = advance(PARAMETERS, state, signal(603.0, 0, 2, 2, completed=done), Looks(0.5))
    assert state.due_at == math.inf


@pytest.mark.parametrize(
    ("target_seconds", "start_seconds", "next_look"),
    [
        (5.0, 1.0, math.inf),  # the usual one, 2 s later, comes in time
        (3.2, 1.0, math.inf),
        (3.0, 1.0, 1.8),
        (1.7, 1.0, 0.5),
        (1.6, 1.0, math.inf),  # no look comes in time
        (5.0, 3.5, 1.3),
        (5.0, 4.5, math.inf),
    ],
)
def test_although_nothing_waits_the_next_look_comes_in_time_for_a_short_target(
    target_seconds, start_seconds, next_look
):
    shown = replace(signal(600.0, 0, 0, 1), start_seconds=start_seconds)
    target = TargetWaitPolicy(target_wait_seconds=target_seconds)
    state, _ = advance(target, TargetWaitState(), shown, Looks(0.5, 2.0))
    assert state.due_at - shown.at == pytest.approx(next_look)


def test_before_it_is_known_how_long_a_start_takes_a_growth_does_not_wait():
    state, done = learnt(300, 2)
    waits = signal(600.0, 1, 2, 2, completed=done, start_seconds=None)
    assert [advance(PARAMETERS, state, one)[1] for one in (waits, replace(waits, start_seconds=1.0))] == [
        3,
        2,
    ]


def _sizes_after_a_burst(target_seconds: float, *, looks: Looks) -> list[int]:
    """Sizes 10 minutes, 50 minutes and 2 days after a minute in which 8 processes were needed."""
    parameters = TargetWaitPolicy(target_wait_seconds=target_seconds)
    state, sizes = TargetWaitState(), []
    for at in (*range(0, 60, 2), *range(60, 3700, 10), 200_000):
        burst = at < 60
        shown = signal(float(at), 0, 8 if burst else 1, 8, completed=at * 8 if burst else 420 + at)
        state, size = advance(parameters, state, shown, looks)
        if at in {660, 3060, 200_000}:
            sizes.append(size)
    return sizes


def test_where_growth_comes_too_late_what_was_needed_is_kept_for_an_hour_and_a_spare_at_any_time():
    usual = Looks(0.5, 2.0)
    assert [_sizes_after_a_burst(target, looks=usual) for target in (1.0, 1.6, 1.7)] == [
        [8, 8, 6],
        [8, 8, 5],
        [1, 1, 1],
    ]
    assert _sizes_after_a_burst(1.0, looks=Looks(0.5)) == [1, 1, 1]


def test_what_a_worker_of_a_fleet_needed_is_kept_once_the_others_have_gone():
    """Two workers, a burst of 12 tasks each 5 minutes; then one of them leaves."""
    parameters, looks = TargetWaitPolicy(target_wait_seconds=1.0), Looks(0.5, 2.0)
    state, done, size = TargetWaitState(tick_seconds=2.0), 0, 16
    for number in range(700):
        busy = 12 if number % 150 in {10, 11} else 0
        done += 12 * (number % 150 == 12)
        shown = signal(2.0 * number, 0, busy, size, completed=done, start_seconds=5.0)
        if number < 600:
            fleet = Fleet.of(
                [Member("a", size, busy, 0, done, (0,)), Member("b", 1, 0, 0, 0, (0,))],
                [Channel(("q",), 1.0, 0, (0, 1), 0)],
            )
            state, _ = advance_fleet(parameters, state, replace(shown, processes=size + 1), fleet, looks)
        else:
            state, size = advance(parameters, state, replace(shown, continuous=number != 600), looks)
    assert size >= 12


def test_a_burst_of_long_tasks_needs_a_process_for_almost_every_task():
    state, done = learnt(300, 1)
    waiting = [signal(600.0 + tick, 40, 1, 1, completed=done) for tick in range(4)]
    assert play(waiting, state=state)[1][-1] == 41


def test_it_never_sizes_for_more_processes_than_there_are_tasks():
    state, done = learnt(300, 1)
    assert play([signal(700.0, 3, 1, 1, completed=done, oldest_age_seconds=90.0)], state=state)[1] == [4]


def test_a_retiring_process_that_is_busy_does_not_count_as_a_free_one():
    state, done = learnt(300, 2)
    # Three run, one of them in a process that goes when it is done: the size is 2, so 4 takes one new one.
    assert play([signal(600.0, 1, 3, 2, completed=done, oldest_age_seconds=4.0)], state=state)[1] == [4]


def test_a_learnt_start_time_moves_the_last_moment():
    state, done = learnt(300, 2)
    slow = [signal(600.0 + tick, 1, 2, 2, completed=done, start_seconds=3.0) for tick in range(3)]
    assert play(slow, state=state)[1] == [2, 3, 3]


def test_tripled_service_times_are_learnt_within_the_remembered_tasks():
    state, done = learnt(2, 5)
    for at in range(600, 700):
        completed = done + (at - 600) // 6 * 5
        state, _ = advance(PARAMETERS, state, signal(float(at), 0, 5, 5, completed=completed))
    # 80 tasks of 6 s ended since. At 2.5 tasks a second 75 are remembered, later 50.
    assert 2 + 4 * (1 - math.exp(-80 / 75)) < state.service_seconds < 2 + 4 * (1 - math.exp(-80 / 50)) + 0.5


def test_without_a_count_of_completions_arrivals_follow_from_the_backlog():
    state, sizes = play([signal(float(at), 1, 1, 1) for at in range(6)])
    assert (sizes[-1], sum(count for _, count in state.batches)) == (2, 1)


def test_a_signal_that_is_not_newer_changes_nothing():
    state, done = learnt(300, 2)
    again = signal(599.0, 50, 2, 2, completed=done)
    assert advance(PARAMETERS, state, again) == (state, 2)


counts = st.integers(min_value=0, max_value=10**6)
signals = st.builds(
    Signal,
    at=st.floats(min_value=0, max_value=1e9),
    waiting=counts,
    busy=counts,
    reserved=counts,
    processes=st.integers(min_value=0, max_value=10_000),
    completed=st.none() | counts,
    oldest_age_seconds=st.none() | st.floats(min_value=0, max_value=1e9),
    start_seconds=st.none() | st.floats(min_value=0, max_value=3600),
)
parameters = st.builds(
    TargetWaitPolicy,
    target_wait_seconds=st.floats(min_value=0.1, max_value=86400),
    start_worth_seconds=st.floats(min_value=0.1, max_value=86400),
    release_caution=st.floats(min_value=0, max_value=10),
    remembered_tasks=st.floats(min_value=1, max_value=1e6),
    remembered_gaps=st.floats(min_value=1, max_value=1e6),
)


@given(parameters=parameters, seen=st.lists(signals, max_size=30))
def test_any_signals_give_a_sane_recommendation_and_a_bounded_state(
    parameters: TargetWaitPolicy, seen: list[Signal]
):
    state = TargetWaitState()
    for each in seen:
        state, size = advance(parameters, state, each)
        assert 1 <= size <= max(1, each.processes, each.in_system)
        assert len(state.batches) <= 64
        assert sum(count for _, count in state.batches) in {each.backlog, state.last.backlog}
        assert (
            len(state.retention.tasks_at) == len(state.retention.needed_at) == len(state.retention.gaps) < 128
        )
        assert state.service_seconds > 0
        assert all(
            math.isfinite(number) for number in (*state.retention.tasks_at, *state.retention.needed_at)
        )


@given(seen=st.lists(signals, max_size=10))
def test_the_same_signals_give_the_same_state(seen: list[Signal]):
    assert repr(play(seen)) == repr(play(seen))  # a drawn rate may be no number


def test_a_decision_for_a_fleet_of_ten_thousand_takes_under_a_millisecond():
    state, _ = play([signal(0.0, 10_000, 10_000, 10_000, completed=0)])
    spent = math.inf
    for round_ in range(1, 21):
        each = signal(float(round_), 5000, 10_000, 10_000, completed=round_ * 100)
        begin = time.perf_counter()
        state, _ = advance(PARAMETERS, state, each)
        spent = min(spent, time.perf_counter() - begin)
    assert spent < 0.001
