"""Which idle processes are worth keeping."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.demand.retention import Pool, Retention, learn_gap, passed, retained, track
from autoscaler.core.demand.target_wait import TargetWaitState, advance
from tests.support.target_wait import PARAMETERS, learnt, play, signal

#: What happens within a second where a task takes one.
SECOND = passed(1.0, service_seconds=1.0, slack_seconds=1.0, tick_seconds=1.0)
#: The gaps of a size that has learnt nothing.
EMPTY = track(PARAMETERS, Retention(), Pool(0.0, 1, 0, 0), SECOND).gaps[0]


def test_an_idle_process_is_removed_where_nothing_says_that_it_is_needed_again():
    state, done = learnt(10, 4)
    idle = [signal(600.0 + tick, 0, 1, 4, completed=done + 3) for tick in range(30)]
    assert play(idle, state=state)[1][-1] == 1


@pytest.mark.parametrize(
    ("pause_seconds", "kept"),
    [
        pytest.param(10, True, id="the next burst comes before a start's worth is spent"),
        pytest.param(120, False, id="the pause costs more than a start"),
    ],
)
def test_whether_idle_processes_wait_for_the_next_burst_is_learnt_from_the_gaps(
    pause_seconds: int, *, kept: bool
):
    state, at, completed = TargetWaitState(), 0.0, 0
    for _ in range(40):
        for _ in range(10):  # busy with four tasks that end together
            state, _ = advance(PARAMETERS, state, signal(at, 0, 4, 4, completed=completed))
            at += 1
        completed += 4
        sizes = []
        for _ in range(pause_seconds):
            state, size = advance(PARAMETERS, state, signal(at, 0, 0, 4, completed=completed))
            sizes.append(size)
            at += 1
    assert set(sizes[5:60]) == ({4} if kept else {1})


def test_no_process_is_removed_while_a_task_waits():
    state, done = learnt(10, 4)
    assert play([signal(600.0, 1, 1, 4, completed=done + 3)], state=state)[1] == [4]


def test_of_sizes_that_are_held_one_that_was_never_needed_is_not_however_much_longer_they_are_held():
    held = track(PARAMETERS, Retention(), Pool(0.0, 8, 0, 0), SECOND, hold_seconds=3600.0)
    pool = Pool(10.0, 8, 0, 0)
    assert retained(PARAMETERS, held, pool, 1, hold_seconds=86_400.0) == 1
    # Nor is the time before its first need a gap.
    needed = track(PARAMETERS, held, Pool(10.0, 8, 16, 16), SECOND, hold_seconds=3600.0)
    assert (set(needed.gaps), retained(PARAMETERS, needed, pool, 1, hold_seconds=3600.0)) == ({EMPTY}, 8)


@given(st.lists(st.floats(0.01, 40), max_size=60))
def test_a_process_is_worth_keeping_where_some_time_to_keep_it_on_saves_more_than_it_costs(ages: list[float]):
    gaps = learn_gap(PARAMETERS, EMPTY, 0.2)
    for age in ages:
        gaps = learn_gap(PARAMETERS, gaps, age)
    widths = (1 / 8, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
    gains, still_idle = [], 1.0
    for live, needs, width in zip(gaps.exposure, gaps.needs, widths, strict=True):
        hazard = needs / live
        needed = 1 - math.exp(-hazard * width)
        gains.append((gains[-1] if gains else 0.0) + still_idle * needed * (1 - 1 / hazard))
        still_idle *= 1 - needed
    assert gaps.worth_at(0.0) is (max(gains) > 1e-6)
    assert not gaps.worth_at(16.0), "beyond the last age"


def test_a_gap_that_goes_on_is_evidence_against_what_one_gap_has_taught():
    gaps = learn_gap(PARAMETERS, EMPTY, 4.1)  # one need in the bin from 4 to 8, after 0.1
    assert gaps.worth_at(4.5)
    assert not gaps.worth_at(5.0), "for as long again as was known of that bin nothing was needed"
    for _ in range(20):
        gaps = learn_gap(PARAMETERS, gaps, 4.1)
    assert gaps.worth_at(7.9), "many have ended there"


def test_an_empty_pool_that_stays_empty_changes_nothing():
    known = track(PARAMETERS, Retention(), Pool(0.0, 4, 0, 0), SECOND)
    assert track(PARAMETERS, known, Pool(1.0, 4, 0, 0), SECOND) is known
    assert retained(PARAMETERS, known, Pool(1.0, 4, 0, 0), 4) == 4


def test_what_is_left_of_a_task_in_an_imagined_pool_is_gone_some_time():
    learnt = track(PARAMETERS, Retention(), Pool(0.0, 4, 9, 9), SECOND)
    for tick in range(1, 40):
        learnt = track(PARAMETERS, learnt, Pool(float(tick), 4, 0, 0), SECOND)
    assert learnt.tasks_at == (0, 0, 0, 0)


def test_sizes_that_were_too_small_at_the_same_times_have_learnt_the_same():
    learnt = Retention()
    for tick in range(60):
        tasks = 40 if tick % 20 == 0 else 0
        learnt = track(PARAMETERS, learnt, Pool(float(tick), 4, tasks, tasks), SECOND)
    assert learnt.gaps[0] != EMPTY
    assert all(gaps is learnt.gaps[0] for gaps in learnt.gaps)
