"""What is learnt of the work: service time, arrivals and how long tasks have waited."""

from __future__ import annotations

import math

import pytest

from tests.support.target_wait import learnt, play, signal


def test_time_in_which_other_workers_ran_says_nothing_about_the_service_time():
    state, done = learnt(4, 4)
    before = state.service_seconds
    state, _ = play([signal(700.0, 0, 4, 4, completed=done, continuous=False)], state=state)
    assert state.service_seconds == before


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
