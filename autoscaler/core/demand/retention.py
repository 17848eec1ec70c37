"""Which idle processes are worth keeping, learnt from the gaps between two needs of each size.

Pure. It is a ski-rental problem for each size (Lin, Wierman, Andrew and Thereska, "Dynamic right-sizing for
power-proportional data centers", 2011): an idle process is kept while the learnt gaps make keeping it cheaper
than starting another one later, of which ``start_worth_seconds`` is the price.
"""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core.policy import MAX_PROCESSES

if TYPE_CHECKING:
    from autoscaler.core.demand.parameters import TargetWaitPolicy

#: A size is tracked exactly up to here, and in steps of about an eighth above.
_EXACT_SIZES = 64
#: Ages of a gap, in units of a start's worth, at which one bin ends and the next begins. Beyond the last of
#: them no process is kept.
_BIN_ENDS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0, 16.0)
_BIN_WIDTHS = (1 / 8, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
#: Gain of keeping a process, as a share of a start's worth, below which it is rounding.
_MIN_GAIN = 1e-6


class Gaps(NamedTuple):
    """How often a size was needed again at each age of its gap, one entry for each bin.

    ``needs`` over ``exposure`` is the hazard; exposure and age are in units of a start's worth, so that
    keeping a process pays where the hazard is above 1.
    """

    exposure: tuple[float, ...]
    needs: tuple[float, ...]


class Pool(NamedTuple):
    """A pool at one moment: its size, the tasks that have not ended, and those that came since the last."""

    at: float
    processes: int
    in_system: int
    arrived: int


class Retention(NamedTuple):
    """What is remembered of each rung of sizes seen so far, one entry each.

    ``tasks_at`` are the tasks that a pool of that size would have in it, ``needed_at`` is when it was last
    too small, and ``gaps`` are its gaps.
    """

    tasks_at: tuple[float, ...] = ()
    needed_at: tuple[float, ...] = ()
    gaps: tuple[Gaps, ...] = ()


def since_then(before: Retention, at: float) -> Retention:
    """The same where no moment is later than ``at``."""
    return before._replace(needed_at=tuple(min(when, at) for when in before.needed_at))


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


def track(parameters: TargetWaitPolicy, before: Retention, pool: Pool, passed: Passed) -> Retention:
    """Carry the imagined pool of each size on by what has ``passed``, and learn where one was too small.

    A pool of ``n`` processes is too small when more tasks are in it than start within the slack: ``n`` run
    and ``n * slack / service`` follow. It has never fewer tasks in it than the real pool.
    """
    tasks_at, needed_at, gaps = list(before.tasks_at), list(before.needed_at), list(before.gaps)
    at, in_system, arrived = pool.at, pool.in_system, pool.arrived
    while len(tasks_at) < rungs_up_to(pool.processes):
        tasks_at.append(float(in_system))
        needed_at.append(at)
        gaps.append(_PRIOR)
    ended_each, refilled_each, crowd, tick_seconds = passed
    for rung, (tasks_before, processes) in enumerate(zip(tasks_at, _SIZES, strict=False)):
        tasks = tasks_before + arrived
        if tasks <= processes:
            tasks -= tasks * ended_each
        else:
            tasks -= processes * ended_each + min(tasks - processes, processes * refilled_each)
        if tasks < in_system:  # noqa: PLR1730 - this is the innermost loop, and max() is twice as slow
            tasks = in_system
        if tasks > processes * crowd:
            tasks = processes * crowd  # larger sizes take the rest
            pause = at - needed_at[rung]
            if pause > 1.5 * tick_seconds:  # else the need goes on
                gaps[rung] = learn_gap(parameters, gaps[rung], pause / parameters.start_worth_seconds)
            needed_at[rung] = at
        tasks_at[rung] = tasks
    return Retention(tasks_at=tuple(tasks_at), needed_at=tuple(needed_at), gaps=tuple(gaps))


#: One need at the break-even hazard in each bin: keeping is neither gain nor loss until more is known.
_PRIOR = Gaps(exposure=(1.0,) * len(_BIN_ENDS), needs=(1.0,) * len(_BIN_ENDS))


def learn_gap(parameters: TargetWaitPolicy, gaps: Gaps, age: float) -> Gaps:
    """Add a gap that has just ended at ``age``."""
    last = bisect.bisect_right(_BIN_ENDS, age)
    lived = [*_BIN_WIDTHS[:last], age - (_BIN_ENDS[last - 1] if last else 0.0)]
    lived += [0.0] * len(_BIN_ENDS)
    fade = 1 - 1 / parameters.remembered_gaps
    return Gaps(
        exposure=tuple(1 + (before - 1) * fade + lived[index] for index, before in enumerate(gaps.exposure)),
        needs=tuple(1 + (before - 1) * fade + (index == last) for index, before in enumerate(gaps.needs)),
    )


def retained(
    parameters: TargetWaitPolicy, learnt: Retention, pool: Pool, smallest: int, *, hold_seconds: float = 0.0
) -> int:
    """Return the largest size worth keeping, no less than ``smallest`` and no more than there is.

    What was needed within ``hold_seconds`` is kept whatever it costs.
    """
    for rung in range(min(len(learnt.tasks_at), rungs_up_to(pool.processes)) - 1, -1, -1):
        size = min(_SIZES[rung] + 1, pool.processes)  # the size that is needed where this rung is too small
        if size <= smallest:
            break
        age = pool.at - learnt.needed_at[rung]
        if age < hold_seconds or _worth_keeping(learnt.gaps[rung], age / parameters.start_worth_seconds):
            return size
    return smallest


def _worth_keeping(gaps: Gaps, age: float) -> bool:
    """Tell whether there is a time to keep on for whose saved starts outweigh the idle seconds."""
    gain, still_idle = 0.0, 1.0
    for index in range(bisect.bisect_right(_BIN_ENDS, age), len(_BIN_ENDS)):
        hazard = gaps.needs[index] / gaps.exposure[index]
        needed = -math.expm1(-hazard * _BIN_WIDTHS[index])
        gain += still_idle * needed * (1 - 1 / hazard)
        if gain > _MIN_GAIN:
            return True
        still_idle *= 1 - needed
    return False


def _sizes() -> tuple[int, ...]:
    sizes = list(range(1, _EXACT_SIZES + 1))
    while sizes[-1] < MAX_PROCESSES:
        sizes.append(min(MAX_PROCESSES, sizes[-1] + sizes[-1] // 8))
    return tuple(sizes)


_SIZES = _sizes()


def rungs_up_to(size: int) -> int:
    """Return how many rungs lead to ``size``: all below it and the first that is not."""
    return min(len(_SIZES), bisect.bisect_left(_SIZES, size) + 1)
