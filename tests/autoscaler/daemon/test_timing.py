"""The periods of the loop follow from its interval, and fit each other at every interval."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.daemon.timing import Timing


@given(st.floats(0.1, 3600))
def test_a_lease_outlives_what_its_holder_may_still_act_on(interval):
    timing = Timing(interval_seconds=interval)
    assert timing.lease_seconds > timing.fresh_seconds >= 2 * interval
    assert timing.live_seconds >= 5 * interval
    assert timing.ready_seconds >= 3 * interval


def test_a_stored_status_lasts_for_three_ticks_of_the_length_that_they_have():
    timing = Timing(interval_seconds=2.0)
    assert (timing.status_seconds(0.1), timing.status_seconds(7.0)) == (6.0, 21.0)
    short = Timing(interval_seconds=0.3, inspect_timeout_seconds=1.5)
    assert (short.status_seconds(0.1), short.status_seconds(7.0)) == (4.5, 21.0)


@pytest.mark.parametrize(
    ("due_at", "next_at"),
    [
        pytest.param(math.inf, 102.0, id="nothing is due: the usual distance"),
        pytest.param(101.2, 101.2, id="as soon as it is due"),
        pytest.param(90.0, 100.5, id="overdue: no sooner than the shortest distance"),
        pytest.param(500.0, 102.0, id="far away: the usual distance"),
    ],
)
def test_the_next_tick_comes_when_a_decision_is_due(due_at, next_at):
    assert Timing(interval_seconds=2.0, min_interval_seconds=0.5).next_at(100.0, due_at) == next_at


def test_an_interval_below_the_shortest_one_is_kept():
    assert Timing(interval_seconds=0.3, min_interval_seconds=0.5).next_at(100.0, 0.0) == 100.3
