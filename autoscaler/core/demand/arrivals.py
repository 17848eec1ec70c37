"""How tasks come: at which rate, whether that rises, and in which surges beyond it.

Pure. Tasks that come at once are a surge and no part of the rate, unless they go on coming.
"""

from __future__ import annotations

import math
from typing import NamedTuple

#: Time over which arrivals are averaged.
WINDOW_SECONDS = 30.0
#: Standard deviations above the mean that the arrivals of one look in a thousand exceed.
_RARE = 3.1
#: Standard deviations by which a rate must have risen so that it is taken to rise on.
_SURELY_RISES = 2.0
#: Arrivals are a surge where they are at least so many, and beyond chance so many times what was expected.
_MIN_SURGE_TASKS, _MIN_SURGE_RATIO = 4, 4
#: What goes on for more looks and longer than this is a rate that has changed.
_SURGE_LOOKS, _SURGE_SECONDS = 2, 4.0
#: A surge that is smaller than this share of the largest says nothing of when the next large one comes.
_LARGE = 0.5
#: The largest surge is exceeded by no more than this share of it.
_MAX_INCREASE = 0.5


class Surges(NamedTuple):
    """``largest`` tasks came in the largest surge, at ``largest_at``, and ``second`` in the next one."""

    largest: float = 0.0
    largest_at: float = 0.0
    second: float = 0.0

    @property
    def next_largest(self) -> float:
        """The tasks to be ready for: sizes that differ may do so once more."""
        more = self.largest - self.second if self.second else 0.0
        return self.largest + min(more, _MAX_INCREASE * self.largest)


class Arrivals(NamedTuple):
    """What is known of how tasks come.

    They came at ``per_second`` in the last of ``watched_seconds``; ``lagging_per_second`` is what that was on
    average, and so some time ago. At the last look ``excess`` more came than usual, and so in each of
    ``surge_looks``, since ``began_at``. ``surges`` are remembered, and ``earlier`` are those before the one
    that goes on. The last large one came at ``surge_at``; two were never less than ``shortest_gap`` apart.
    """

    watched_seconds: float = 0.0
    per_second: float = 0.0
    lagging_per_second: float = 0.0
    excess: float = 0.0
    surge_looks: int = 0
    began_at: float = -math.inf
    surges: Surges = Surges()
    earlier: Surges = Surges()
    surge_at: float = -math.inf
    shortest_gap: float = math.inf

    def forecast_per_second(self, within_seconds: float) -> float:
        """The rate; where it rises by more than chance explains, what it will be on average in that time."""
        chance = _SURELY_RISES * math.sqrt(self.per_second / (4 * WINDOW_SECONDS))
        rises = max(0.0, self.per_second - self.lagging_per_second - chance)
        return self.per_second + rises * (1 + min(within_seconds, WINDOW_SECONDS) / 2 / WINDOW_SECONDS)


def moved(before: Arrivals, seconds: float) -> Arrivals:
    """The same where each moment is so many seconds later."""
    return before._replace(
        began_at=before.began_at + seconds,
        surges=before.surges._replace(largest_at=before.surges.largest_at + seconds),
        earlier=before.earlier._replace(largest_at=before.earlier.largest_at + seconds),
        surge_at=before.surge_at + seconds,
    )


def follow(
    before: Arrivals, seconds: float, arrived: int, at: float, *, growth_seconds: float, hold_seconds: float
) -> Arrivals:
    """What is known after ``seconds`` in which ``arrived`` came.

    Surges are remembered for ``hold_seconds``, and near where less than ``growth_seconds`` are between them.
    """
    watched = before.watched_seconds + seconds
    weight = math.expm1(-seconds / WINDOW_SECONDS) / math.expm1(-watched / WINDOW_SECONDS)
    expected = seconds * before.per_second
    if before.watched_seconds <= WINDOW_SECONDS:
        # Until a window has been seen, what comes is taken for the rate.
        expected = max(expected, expected + (arrived - expected) * weight)
    usual = expected + _RARE * math.sqrt(expected)
    is_surge = arrived >= _MIN_SURGE_TASKS and arrived > usual + _MIN_SURGE_RATIO * expected
    excess = arrived - expected if is_surge else max(0.0, arrived - usual)
    looks = 0
    if before.surge_looks and excess:
        looks = before.surge_looks + 1
    elif is_surge:
        # Where the last surge is near, they are a rate together.
        looks = 1 if at - before.surge_at > growth_seconds else _SURGE_LOOKS + 1
    counted = arrived - excess if is_surge and looks <= _SURGE_LOOKS else arrived
    per_second = before.per_second + (counted / seconds - before.per_second) * weight
    after = before._replace(
        watched_seconds=watched,
        per_second=per_second,
        lagging_per_second=before.lagging_per_second + (per_second - before.lagging_per_second) * weight,
        excess=excess,
        surge_looks=looks,
    )
    return _surged(before, after, at, growth_seconds=growth_seconds, hold_seconds=hold_seconds)


def _surged(
    before: Arrivals, after: Arrivals, at: float, *, growth_seconds: float, hold_seconds: float
) -> Arrivals:
    """The same with the surges that are remembered."""
    known, excess = before.surges, after.excess
    if not excess:
        old = known.largest and at - known.largest_at > hold_seconds
        return after._replace(surges=Surges(), shortest_gap=math.inf) if old else after
    goes_on = bool(before.excess)
    began_at, earlier = (before.began_at, before.earlier) if goes_on else (at, known)
    if after.surge_looks > _SURGE_LOOKS and at - began_at > _SURGE_SECONDS:
        return after._replace(began_at=began_at, earlier=earlier, surges=earlier)
    size = excess + before.excess  # it may have begun before the last look
    if at - earlier.largest_at > hold_seconds:
        earlier = Surges()
    second = max(earlier.second, min(size, earlier.largest))
    surges = Surges(size, at, second) if size >= earlier.largest else earlier._replace(second=second)
    if known.largest > surges.largest and goes_on:
        surges = known  # its first looks were larger
    after = after._replace(began_at=began_at, earlier=earlier, surges=surges)
    if size < _LARGE * surges.largest:
        return after
    apart = at - before.surge_at
    gap = min(before.shortest_gap, apart) if apart > growth_seconds else before.shortest_gap
    return after._replace(surge_at=at, shortest_gap=gap)
