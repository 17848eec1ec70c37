"""What is learnt of the work: service time, arrivals and how long tasks have waited."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from autoscaler.core.demand.fleet import Channel, Fleet, Member
from autoscaler.core.demand.learning import step_since
from autoscaler.core.demand.target_wait import (
    TargetWaitPolicy,
    TargetWaitState,
    advance,
    advance_fleet,
)
from tests.support.target_wait import learnt, play, signal


def test_time_in_which_other_workers_ran_says_nothing_about_the_service_time():
    state, done = learnt(4, 4)
    before = state.service_seconds
    state, _ = play([signal(700.0, 0, 4, 4, completed=done, continuous=False)], state=state)
    assert state.service_seconds == before


@pytest.mark.parametrize("completed", [None, 3])  # unknown, or of a worker that restarted
def test_a_time_that_nobody_saw_says_nothing_about_the_work(completed: int | None):
    state, _ = learnt(4, 4)
    before = state.service_seconds, state.arrivals_per_second
    state, _ = play([signal(4300.0, 0, 4, 4, completed=completed)], state=state)
    assert (state.service_seconds, state.arrivals_per_second) == before


def test_what_waits_in_a_queue_that_was_unreadable_did_not_come_at_once():
    state, done = learnt(4, 4)
    before = state.arrivals_per_second
    looks = [signal(600.0, 0, 4, 4, completed=done, complete=False), signal(601.0, 900, 4, 4, completed=done)]
    state, _ = play(looks, state=state)
    assert state.arrivals_per_second == before


def test_the_age_of_the_oldest_message_overrules_what_was_counted():
    state, done = learnt(300, 2)
    young = signal(600.0, 1, 2, 2, completed=done)
    old = signal(600.0, 1, 2, 2, completed=done, oldest_age_seconds=4.5)
    assert (play([young], state=state)[1], play([old], state=state)[1]) == ([2], [3])


def test_service_time_is_busy_seconds_over_tasks_ended():
    state, _ = learnt(4, 3)
    assert state.service_seconds == pytest.approx(4.0, rel=0.05)


def test_a_first_task_that_has_not_ended_is_taken_for_as_long_as_it_has_run():
    state, _ = play([signal(float(at), 0, 1, 1, completed=0) for at in range(61)])
    assert state.service_seconds == pytest.approx(60.0)


def test_a_worker_that_restarted_and_counts_from_zero_is_no_negative_arrival():
    state, done = learnt(2, 2)
    state, sizes = play([signal(600.0, 0, 2, 2, completed=0)], state=state)
    assert (done > 0, sizes, math.isfinite(state.service_seconds)) == (True, [2], True)


# Disturbances: what is learnt is right again, within 20 %, once 50 tasks have ended.

SERVICE_SECONDS = 2.0


def disturbed(change, *, ticks: int = 400):
    """Two tasks of 2 s run all the time; ``change`` (at, signal) stands for what is seen. What is learnt."""
    state, found = TargetWaitState(), []
    for at in range(ticks):
        seen = signal(float(at), 0, 2, 2, completed=at)
        state, _ = advance(TargetWaitPolicy(), state, change(at, seen))
        found.append(state.service_seconds)
    return found


def frozen(at, seen):
    return replace(seen, completed=200) if 200 <= at < 260 else seen


def jumped(at, seen):
    return replace(seen, completed=seen.completed + 1_000_000) if at >= 200 else seen


def clock_back(at, seen):
    return replace(seen, at=seen.at - 100) if at >= 200 else seen


@pytest.mark.parametrize(
    ("change", "over_at"), [(frozen, 260), (jumped, 200), (clock_back, 200)], ids=["frozen", "jump", "clock"]
)
def test_after_a_disturbance_the_service_time_is_right_within_fifty_tasks(change, over_at):
    later = disturbed(change)[over_at + 50 :]
    assert all(learnt == pytest.approx(SERVICE_SECONDS, rel=0.2) for learnt in later)


@pytest.mark.parametrize(("ended", "counted"), [(900, True), (3000, False)])
def test_what_came_and_ended_between_two_looks_is_counted_where_all_processes_could_have_run_it(
    ended: int, *, counted: bool
):
    # 20 tasks a second of 0.1 s, then nothing, and at a look later what 50 processes run 1000 of in 2 s.
    state = TargetWaitState()
    for number in range(60):
        shown = signal(2.0 * number, 0, 2 * (number < 50), 50, completed=min(40 * number, 2000))
        state, _ = advance(TargetWaitPolicy(), state, shown)
    shown = signal(120.0, 0, 0, 50, completed=2000 + ended)
    step = step_since(TargetWaitPolicy(), state, shown)
    assert (step.arrived, step.doubted) == ((ended, False) if counted else (0, True))


def test_a_clock_that_went_back_does_not_stop_growth():
    state, done = learnt(300, 2)
    state, _ = advance(TargetWaitPolicy(), state, signal(500.0, 1, 2, 2, completed=done))
    sizes = []
    for at in range(501, 507):
        state, size = advance(TargetWaitPolicy(), state, signal(float(at), 1, 2, 2, completed=done))
        sizes.append(size)
    assert sizes[-1] == 3


def sizes_in_burst(slip_at, *, target_seconds, start_seconds):
    """The sizes of a pool that 20 tasks of 2 s meet at 10 s; from ``slip_at`` on the clock is 30 s behind."""
    parameters = TargetWaitPolicy(target_wait_seconds=target_seconds)
    state, sizes = TargetWaitState(), [1]
    ready_at, ends, waiting, completed = [0.0], [], 0, 0
    for at in range(40):
        waiting += 20 * (at == 10)
        completed += sum(end <= at for end in ends)
        ends = [end for end in ends if end > at]
        begun = min(waiting, sum(ready <= at for ready in ready_at) - len(ends))
        waiting, ends = waiting - begun, ends + [at + 2] * begun
        shown = signal(1000.0 + at - 30 * (at >= slip_at), waiting, len(ends), sizes[-1], completed=completed)
        state, size = advance(parameters, state, replace(shown, start_seconds=start_seconds))
        ready_at = [*ready_at, *[at + start_seconds] * (size - sizes[-1])][:size]
        sizes.append(size)
    return sizes


@pytest.mark.parametrize("target_seconds", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("start_seconds", [1.0, 4.0])
@pytest.mark.parametrize("slip_at", [11, 12, 13, 16, 25])
def test_a_clock_that_went_back_asks_for_nothing_twice_and_forgets_no_deadline(
    slip_at, target_seconds, start_seconds
):
    usual = sizes_in_burst(math.inf, target_seconds=target_seconds, start_seconds=start_seconds)
    assert max(usual) > 5
    assert sizes_in_burst(slip_at, target_seconds=target_seconds, start_seconds=start_seconds) == usual


def test_a_clock_that_went_back_moves_each_moment_of_several_workers():
    def follow(slip):
        state, found = TargetWaitState(), []
        for at in range(30):
            size = 1 if at < 6 else 7
            members = [
                Member("a", size, min(size, 3), 2, at, (0,)),
                Member("b", 1, 1, 2, at, (0,)),
            ]
            waiting = 0 if at < 5 else 20
            fleet = Fleet.of(members, [Channel(("q",), 5.0, waiting, (0, 1), waiting)])
            shown = signal(1000.0 + at - slip * (at >= 7), waiting, 4, size + 1, completed=2 * at)
            shown = replace(shown, reserved=4)
            state, needs = advance_fleet(TargetWaitPolicy(), state, shown, fleet)
            found.append((needs, state.oldest_wait_seconds(shown.at, 5.0)))
        return found

    assert follow(slip=512) == follow(slip=0)


def test_a_service_time_that_really_falls_is_believed_at_the_second_look():
    state, done = learnt(10, 4)
    for tick in range(1, 21):
        state, _ = advance(
            TargetWaitPolicy(), state, signal(600.0 + tick, 0, 4, 4, completed=done + 400 * tick)
        )
    assert state.service_seconds == pytest.approx(0.01, rel=0.5)
