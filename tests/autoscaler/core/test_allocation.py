"""One total to a target for each worker: sums, bounds, evenness, the same for everyone who asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.allocation import TargetRange, allocate

if TYPE_CHECKING:
    import random


def a_range(worker, current, min_target=0, max_target=100, idle=0):
    return TargetRange(
        worker=worker, current=current, min_target=min_target, max_target=max_target, idle=idle
    )


@st.composite
def fleets(draw):
    ranges = []
    for name in draw(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8)):
        low, current, high = sorted(draw(st.tuples(*[st.integers(0, 20)] * 3)))
        ranges.append(a_range(name, current, low, high, draw(st.integers(0, 20))))
    return ranges


@pytest.mark.parametrize(
    ("ranges", "total", "expected"),
    [
        pytest.param([], 7, {}, id="nobody is there"),
        pytest.param(
            [a_range("a", 1), a_range("b", 5)], 6, {"a": 1, "b": 5}, id="uneven, but nothing is moved"
        ),
        pytest.param(
            [a_range("a", 1), a_range("b", 5)], 9, {"a": 4, "b": 5}, id="growth goes to the smallest"
        ),
        pytest.param([a_range("b", 2), a_range("a", 2)], 5, {"b": 2, "a": 3}, id="a tie goes by name"),
        pytest.param(
            [a_range("a", 1, max_target=2), a_range("b", 5)],
            9,
            {"a": 2, "b": 7},
            id="and where there is room",
        ),
        pytest.param([a_range("a", 3), a_range("b", 5)], 6, {"a": 3, "b": 3}, id="a shrink is the largest's"),
        pytest.param(
            [a_range("a", 3, idle=1), a_range("b", 5)], 6, {"a": 2, "b": 4}, id="but an idle one's first"
        ),
        pytest.param(
            [a_range("a", 3, min_target=2), a_range("b", 3, min_target=1)],
            0,
            {"a": 2, "b": 1},
            id="no range is left below",
        ),
        pytest.param([a_range("a", 3, max_target=4)], 99, {"a": 4}, id="nor above"),
    ],
)
def test_a_total_is_shared_out(ranges, total, expected):
    assert allocate(ranges, total) == expected


@pytest.mark.parametrize(("low", "current", "high"), [(2, 1, 3), (0, 4, 3), (-1, 0, 1)])
def test_bounds_that_fall_are_refused(low, current, high):
    with pytest.raises(ValueError, match=r"'a'.* must not fall and start at 0 or more"):
        allocate([a_range("a", current, low, high)], 1)


@given(fleets(), st.integers(-5, 200))
def test_the_sum_is_as_near_to_the_total_as_the_ranges_allow(ranges, total):
    found = sum(allocate(ranges, total).values())
    assert found == min(
        max(total, sum(one.min_target for one in ranges)), sum(one.max_target for one in ranges)
    )


@given(fleets(), st.integers(0, 200))
def test_each_worker_stays_in_its_bounds_and_none_goes_against_the_others(ranges, total):
    found = allocate(ranges, total)
    grows = total >= sum(one.current for one in ranges)
    assert found.keys() == {one.worker for one in ranges}
    for one in ranges:
        low, high = (one.current, one.max_target) if grows else (one.min_target, one.current)
        assert low <= found[one.worker] <= high


@given(fleets(), st.integers(0, 200), st.randoms(use_true_random=False))
def test_the_order_in_which_workers_were_found_does_not_matter(ranges, total, order: random.Random):
    shuffled = list(ranges)
    order.shuffle(shuffled)
    assert allocate(shuffled, total) == allocate(ranges, total)


@given(fleets(), st.integers(0, 200))
def test_growth_evens_workers_out(ranges, total):
    found = allocate(ranges, total)
    grown = [one for one in ranges if found[one.worker] > one.current]
    with_room = [one for one in ranges if found[one.worker] < one.max_target]
    if grown and with_room:
        assert max(found[one.worker] for one in grown) <= min(found[one.worker] for one in with_room) + 1


@given(fleets(), st.integers(0, 200))
def test_no_busy_process_is_removed_while_an_idle_one_could_be(ranges, total):
    found = allocate(ranges, total)
    gave_busy = any(one.current - found[one.worker] > one.idle for one in ranges)
    could_give_idle = any(
        found[one.worker] > one.min_target and one.current - found[one.worker] < one.idle for one in ranges
    )
    assert not (gave_busy and could_give_idle)
