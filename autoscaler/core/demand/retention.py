"""Which idle processes are worth keeping, learnt from the gaps between two needs of each size.

Pure. It is a ski-rental problem for each size (Lin, Wierman, Andrew and Thereska, "Dynamic right-sizing for
power-proportional data centers", 2011): an idle process is kept while the learnt gaps make keeping it cheaper
than starting another one later, of which ``start_worth_seconds`` is the price.
"""

from __future__ import annotations

import bisect
import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core.policy import MAX_PROCESSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.core.demand.parameters import TargetWaitPolicy

#: A size is tracked exactly up to here, and in steps of about an eighth above.
_EXACT_SIZES = 64
#: Ages of a gap, in units of a start's worth, at which one bin ends and the next begins. Beyond the last of
#: them no process is kept.
_BIN_ENDS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0, 16.0)
_BIN_WIDTHS = (1 / 8, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
#: The last bin first: its number, its width and its end.
_BACKWARDS = tuple(zip(range(len(_BIN_ENDS)), _BIN_WIDTHS, _BIN_ENDS, strict=True))[::-1]
#: Gain of keeping a process, as a share of a start's worth, below which it is rounding.
_MIN_GAIN = 1e-6
#: Share of a task below which an imagined pool has no more tasks in it than the real one.
_NOTHING = 1e-9


class Gaps(NamedTuple):
    """How often a size was needed again at each age of its gap, one entry for each bin.

    ``needs`` over ``exposure`` is the hazard; exposure and age are in units of a start's worth, so that
    keeping a process pays where the hazard is above 1. ``kept_until`` is what follows for a gap whose age is
    in each bin: the age up to which a process is worth keeping, 0 where it is not.
    """

    exposure: tuple[float, ...]
    needs: tuple[float, ...]
    kept_until: tuple[float, ...]

    def worth_at(self, age: float) -> bool:
        """Whether a process that was not needed for so long is worth keeping."""
        place = bisect.bisect_right(_BIN_ENDS, age)
        return place < len(_BIN_ENDS) and age < self.kept_until[place]


class Pool(NamedTuple):
    """A pool at one moment: its size, the tasks that have not ended, and those that came since the last."""

    at: float
    processes: int
    in_system: float
    arrived: int


class Retention(NamedTuple):
    """What is remembered of each rung of sizes seen so far, one entry each.

    ``tasks_at`` are the tasks that a pool of that size would have in it, ``needed_at`` is when it was last
    too small (infinitely long ago where that is not known), and ``gaps`` are its gaps.
    """

    tasks_at: tuple[float, ...] = ()
    needed_at: tuple[float, ...] = ()
    gaps: tuple[Gaps, ...] = ()


def moved(before: Retention, seconds: float) -> Retention:
    """The same where each moment is so many seconds later."""
    return before._replace(needed_at=tuple(when + seconds for when in before.needed_at))


class Passed(NamedTuple):
    """What happens to a pool in the time between two looks, the same for each size.

    Each busy process ends ``ended_each`` tasks, and ``refilled_each`` more where others follow. A pool is too
    small with more than ``crowd`` tasks for each process. Looks are ``tick_seconds`` apart as a rule.
    """

    ended_each: float
    refilled_each: float
    crowd: float
    tick_seconds: float


def passed(seconds: float, *, service_seconds: float, slack_seconds: float, tick_seconds: float) -> Passed:
    """What happens in ``seconds``."""
    ended_each = -math.expm1(-seconds / service_seconds)
    return Passed(
        ended_each=ended_each,
        # By processes that end one task and take the next.
        refilled_each=seconds / service_seconds - ended_each,
        crowd=1 + max(0.0, slack_seconds) / service_seconds,
        tick_seconds=tick_seconds,
    )


def track(
    parameters: TargetWaitPolicy,
    before: Retention,
    pool: Pool,
    passed: Passed,
    *,
    hold_seconds: float = 0.0,
) -> Retention:
    """Carry the imagined pool of each size on by what has ``passed``, and learn where one was too small.

    A pool of ``n`` processes is too small when more tasks are in it than start within the slack: ``n`` run
    and ``n * slack / service`` follow. It has never fewer tasks in it than the real pool.
    A new size counts as needed just now; where sizes are held, as never needed.
    """
    at, processes, in_system, arrived = pool
    if len(before.tasks_at) < rungs_up_to(processes):
        before = _with_rungs(before, pool, held=hold_seconds > 0)
    if not (in_system or arrived or any(before.tasks_at)):
        return before  # nothing is left in any of them, and nothing has come
    ended_each, refilled_each, crowd, _ = passed
    least = in_system + _NOTHING
    tasks_at, crowded = [], []
    for rung, (tasks_before, size) in enumerate(zip(before.tasks_at, _SIZES, strict=False)):
        tasks = tasks_before + arrived
        if tasks <= size:
            tasks -= tasks * ended_each
        else:
            tasks -= size * ended_each + min(tasks - size, size * refilled_each)
        if tasks < least:
            tasks = in_system
        if tasks > size * crowd:
            tasks = size * crowd  # larger sizes take the rest
            crowded.append(rung)
        tasks_at.append(tasks)
    needed_at, gaps = before.needed_at, before.gaps
    if crowded:
        needed_at, gaps = _needed_again(parameters, before, crowded, at, passed)
    return Retention(tuple(tasks_at), needed_at, gaps)


def _with_rungs(before: Retention, pool: Pool, *, held: bool) -> Retention:
    """The same with the rungs that lead to the pool's size: they begin with what is in the real pool."""
    needed_at = -math.inf if held else pool.at
    more = rungs_up_to(pool.processes) - len(before.tasks_at)
    return Retention(
        before.tasks_at + (float(pool.in_system),) * more,
        before.needed_at + (needed_at,) * more,
        before.gaps + (_PRIOR,) * more,
    )


def _needed_again(
    parameters: TargetWaitPolicy, before: Retention, crowded: Sequence[int], at: float, passed: Passed
) -> tuple[tuple[float, ...], tuple[Gaps, ...]]:
    """When each rung was last too small and its gaps, where those that are ``crowded`` were until now."""
    needed_at = list(before.needed_at)
    for rung in crowded:
        needed_at[rung] = at
    # Where one was too small at the look before, the need goes on.
    long = 1.5 * passed.tick_seconds
    paused = [rung for rung in crowded if long < at - before.needed_at[rung] < math.inf]
    if not paused:
        return tuple(needed_at), before.gaps
    gaps = list(before.gaps)
    same = learnt = _PRIOR
    same_pause = 0.0
    for rung in paused:
        pause, known = at - before.needed_at[rung], gaps[rung]
        if known is not same or pause != same_pause:  # rungs with one past have one value
            same, same_pause = known, pause
            learnt = learn_gap(parameters, known, pause / parameters.start_worth_seconds)
        gaps[rung] = learnt
    return tuple(needed_at), tuple(gaps)


def learn_gap(parameters: TargetWaitPolicy, gaps: Gaps, age: float) -> Gaps:
    """Add a gap that has just ended at ``age``."""
    last = bisect.bisect_right(_BIN_ENDS, age)
    fade = 1 - 1 / parameters.remembered_gaps
    exposure = [1 + (before - 1) * fade for before in gaps.exposure]
    needs = [1 + (before - 1) * fade for before in gaps.needs]
    for index, width in enumerate(_BIN_WIDTHS[:last]):
        exposure[index] += width
    if last < len(_BIN_ENDS):
        exposure[last] += age - (_BIN_ENDS[last - 1] if last else 0.0)
        needs[last] += 1
    return _gaps(exposure, needs)


def _gaps(exposure: Sequence[float], needs: Sequence[float]) -> Gaps:
    """Gaps, with the time to keep on for whose saved starts outweigh the idle seconds.

    A gap that is still open has an exposure of its own: what a later bin does not justify is kept only until
    that has made the hazard 1.
    """
    kept_until, gain = [0.0] * len(_BIN_ENDS), 0.0
    for index, width, end in _BACKWARDS:
        hazard = needs[index] / exposure[index]
        needed = -math.expm1(-hazard * width)
        # To the end of this age, and on where that gains more.
        later = gain if gain > 0 else 0.0
        gain = needed * (1 - 1 / hazard) + (1 - needed) * later
        if gain > _MIN_GAIN:
            open_until = end - width + needs[index] - exposure[index]
            kept_until[index] = end if later > _MIN_GAIN else min(open_until, end)
    return Gaps(tuple(exposure), tuple(needs), tuple(kept_until))


#: One need at the break-even hazard in each bin: keeping is neither gain nor loss until more is known.
_PRIOR = _gaps((1.0,) * len(_BIN_ENDS), (1.0,) * len(_BIN_ENDS))


def retained(
    parameters: TargetWaitPolicy, learnt: Retention, pool: Pool, smallest: int, *, hold_seconds: float = 0.0
) -> int:
    """Return the largest size worth keeping, no less than ``smallest`` and no more than there is.

    What was needed within ``hold_seconds`` is kept whatever it costs.
    """
    if pool.processes <= smallest:
        return smallest
    for rung in range(min(len(learnt.tasks_at), rungs_up_to(pool.processes)) - 1, -1, -1):
        size = min(_SIZES[rung] + 1, pool.processes)  # the size that is needed where this rung is too small
        if size <= smallest:
            break
        age = pool.at - learnt.needed_at[rung]
        if age < hold_seconds or learnt.gaps[rung].worth_at(age / parameters.start_worth_seconds):
            return size
    return smallest


def _sizes() -> tuple[int, ...]:
    sizes = list(range(1, _EXACT_SIZES + 1))
    while sizes[-1] < MAX_PROCESSES:
        sizes.append(min(MAX_PROCESSES, sizes[-1] + sizes[-1] // 8))
    return tuple(sizes)


_SIZES = _sizes()


@lru_cache
def rungs_up_to(size: int) -> int:
    """Return how many rungs lead to ``size``: all below it and the first that is not."""
    return min(len(_SIZES), bisect.bisect_left(_SIZES, size) + 1)
