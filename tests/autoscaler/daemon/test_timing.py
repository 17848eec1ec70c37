"""The periods of the loop follow from its interval, and fit each other at every interval."""

from __future__ import annotations

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
