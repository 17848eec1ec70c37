"""At which rate tasks come, whether it rises, and in which surges."""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING

import pytest

from autoscaler.core.demand.arrivals import Arrivals, follow, moved

if TYPE_CHECKING:
    from collections.abc import Iterable


NOTHING = Arrivals()


def learnt(arrived: Iterable[int], *, before: Arrivals = NOTHING, begin: float = 0.0) -> Arrivals:
    """What is known after looks each 2 s, of which each found so many new tasks; a growth takes 6 s."""
    for number, count in enumerate(arrived, 1):
        before = follow(before, 2.0, count, begin + 2.0 * number, growth_seconds=6.0, hold_seconds=3600.0)
    return before


def quiet(looks: int = 30, each: int = 0) -> Iterable[int]:
    return repeat(each, looks)


@pytest.mark.parametrize(("many", "rate"), [(41, 0.0), (42, 1.0)])
def test_many_tasks_that_come_at_once_are_a_surge_and_no_rate(many: int, rate: float):
    known = learnt(chain(quiet(each=int(2 * rate)), [many]))
    assert known.per_second == pytest.approx(rate, abs=0.1)
    assert known.surges.largest == pytest.approx(many - 2 * rate, abs=1)


def test_a_surge_that_is_seen_at_two_looks_is_one():
    known = learnt(chain(quiet(), [30, 20], quiet()))
    assert (known.surges.largest, known.surges.second) == (pytest.approx(50), 0)


def test_what_goes_on_coming_is_a_rate_and_no_surge():
    known = learnt(chain(quiet(), quiet(90, 40)))
    assert (known.per_second, known.surges.largest) == (pytest.approx(20, rel=0.1), 0)
    assert known.surge_looks == 0


def test_what_comes_in_bursts_that_are_near_is_a_rate():
    known = learnt(chain(quiet(), *repeat([20, 0, 0], 40)))  # 20 each 6 s
    assert known.per_second == pytest.approx(20 / 6, rel=0.3)
    apart = learnt(chain(quiet(), *repeat([20, *quiet(29)], 6)))  # 20 each minute
    assert apart.per_second == pytest.approx(0, abs=0.1)


def test_surges_that_grow_may_grow_once_more_and_those_that_are_alike_may_not():
    def sizes(*found: int) -> float:
        return learnt(chain(quiet(), *([size, *quiet(60)] for size in found))).surges.next_largest

    assert sizes(20) == 20
    assert (sizes(20, 24), sizes(20, 24, 24), sizes(24, 20, 24)) == (28, 24, 24)
    assert sizes(24, 20) == 28  # sizes that differ by 4
    assert sizes(4, 40) == 60  # by no more than half


def test_a_small_surge_says_nothing_of_when_the_next_large_one_comes():
    known = learnt(chain(quiet(), [40], quiet(59), [40], quiet(29), [10], quiet(9)))
    assert (known.shortest_gap, known.surge_at) == (120.0, 2.0 * (30 + 1 + 59 + 1))


def test_a_surge_is_forgotten_after_the_time_to_hold_it():
    surge = [*quiet(), 41, *quiet(60)]
    assert learnt(surge).surges.largest == pytest.approx(41)
    assert learnt([*surge, *quiet(1800)]).surges.largest == 0
    assert learnt([*surge, *quiet(1800), 8]).surges.largest == pytest.approx(8)


def test_a_rate_that_rises_is_taken_to_rise_on_and_one_that_stays_is_not():
    even = learnt(quiet(90, 40))
    assert even.forecast_per_second(6.0) == even.per_second == pytest.approx(20)
    rising = learnt(
        chain(quiet(60, 40), (40 + 2 * look for look in range(20)))
    )  # 0.5 a second more each second
    # They come at 39 a second by now; the average lags behind.
    assert rising.per_second < 30
    assert 33 < rising.forecast_per_second(6.0) < 41
    # Nobody knows of more than as long before.
    assert rising.forecast_per_second(300.0) == rising.forecast_per_second(30.0)


def test_each_moment_moves_with_a_clock_that_goes_back():
    looks = [*quiet(), 41, *quiet(20), 12]
    later = [*quiet(5), 45]
    after = learnt(later, before=learnt(looks), begin=2.0 * len(looks))
    back = learnt(later, before=moved(learnt(looks), -50.0), begin=2.0 * len(looks) - 50)
    assert moved(after, -50.0) == back
