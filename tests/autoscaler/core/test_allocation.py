"""One total to a target for each worker: sums, bounds, evenness, the same for everyone who asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.allocation import Room, allocate

if TYPE_CHECKING:
    import random


def room(worker, base, floor=0, roof=100, idle=0):
    return Room(worker=worker, base=base, floor=floor, roof=roof, idle=idle)


@st.composite
def fleets(draw):
    rooms = []
    for name in draw(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8)):
        floor, base, roof = sorted(draw(st.tuples(*[st.integers(0, 20)] * 3)))
        rooms.append(room(name, base, floor, roof, draw(st.integers(0, 20))))
    return rooms


@pytest.mark.parametrize(
    ("rooms", "total", "expected"),
    [
        pytest.param([], 7, {}, id="nobody is there"),
        pytest.param([room("a", 1), room("b", 5)], 6, {"a": 1, "b": 5}, id="uneven, but nothing is moved"),
        pytest.param([room("a", 1), room("b", 5)], 9, {"a": 4, "b": 5}, id="growth goes to the smallest"),
        pytest.param([room("b", 2), room("a", 2)], 5, {"b": 2, "a": 3}, id="a tie goes by name"),
        pytest.param([room("a", 1, roof=2), room("b", 5)], 9, {"a": 2, "b": 7}, id="and where there is room"),
        pytest.param([room("a", 3), room("b", 5)], 6, {"a": 3, "b": 3}, id="a shrink is the largest's"),
        pytest.param([room("a", 3, idle=1), room("b", 5)], 6, {"a": 2, "b": 4}, id="but an idle one's first"),
        pytest.param([room("a", 3, floor=2), room("b", 3, floor=1)], 0, {"a": 2, "b": 1}, id="floors hold"),
        pytest.param([room("a", 3, roof=4)], 99, {"a": 4}, id="roofs hold"),
    ],
)
def test_a_total_is_shared_out(rooms, total, expected):
    assert allocate(rooms, total) == expected


@pytest.mark.parametrize(("floor", "base", "roof"), [(2, 1, 3), (0, 4, 3), (-1, 0, 1)])
def test_bounds_that_fall_are_refused(floor, base, roof):
    with pytest.raises(ValueError, match=r"'a'.* must not fall and start at 0 or more"):
        allocate([room("a", base, floor, roof)], 1)


@given(fleets(), st.integers(-5, 200))
def test_the_sum_is_as_near_to_the_total_as_floors_and_roofs_allow(rooms, total):
    found = sum(allocate(rooms, total).values())
    assert found == min(max(total, sum(one.floor for one in rooms)), sum(one.roof for one in rooms))


@given(fleets(), st.integers(0, 200))
def test_each_worker_stays_in_its_bounds_and_none_goes_against_the_others(rooms, total):
    found = allocate(rooms, total)
    grows = total >= sum(one.base for one in rooms)
    assert found.keys() == {one.worker for one in rooms}
    for one in rooms:
        low, high = (one.base, one.roof) if grows else (one.floor, one.base)
        assert low <= found[one.worker] <= high


@given(fleets(), st.integers(0, 200), st.randoms(use_true_random=False))
def test_the_order_in_which_workers_were_found_does_not_matter(rooms, total, order: random.Random):
    shuffled = list(rooms)
    order.shuffle(shuffled)
    assert allocate(shuffled, total) == allocate(rooms, total)


@given(fleets(), st.integers(0, 200))
def test_growth_evens_workers_out(rooms, total):
    found = allocate(rooms, total)
    grown = [one for one in rooms if found[one.worker] > one.base]
    with_room = [one for one in rooms if found[one.worker] < one.roof]
    if grown and with_room:
        assert max(found[one.worker] for one in grown) <= min(found[one.worker] for one in with_room) + 1


@given(fleets(), st.integers(0, 200))
def test_no_busy_process_is_given_up_while_an_idle_one_could_be(rooms, total):
    found = allocate(rooms, total)
    gave_busy = any(one.base - found[one.worker] > one.idle for one in rooms)
    could_give_idle = any(
        found[one.worker] > one.floor and one.base - found[one.worker] < one.idle for one in rooms
    )
    assert not (gave_busy and could_give_idle)
