"""How many processes start every task within a target wait, from what is learnt of the work.

The law: no I/O, no logger, no clock. :func:`advance` takes what is remembered and one :class:`Signal` and
returns what to remember and the wish; the same input gives the same wish.

Three things are learnt. *Deadlines*: arrivals are counted between two signals, and the backlog is the newest
of them, so each position has a latest start of its own. *Service time*: the utilization law, busy seconds
over tasks ended. *Gaps*: for each size, how long it was until that size was needed again.

Growing is lazy: processes are asked for at the last moment, unless more would be needed a tick later.
Shrinking is a ski-rental problem for each size (Lin, Wierman, Andrew and Thereska, "Dynamic right-sizing for
power-proportional data centers", 2011): an idle process is kept while the learnt gaps make keeping it cheaper
than starting another one later, of which ``start_worth_seconds`` is the price.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field, fields
from typing import Any

from autoscaler.core.policy import PolicyError

#: A size is tracked exactly up to here, and in steps of about an eighth above.
_EXACT_SIZES = 64
_MAX_SIZE = 10_000
#: Groups of one age that the backlog is remembered in; above it the two oldest are merged.
_MAX_GROUPS = 64
#: Ages of a gap, in units of a start's worth, at which one bin ends and the next begins. Beyond the last of
#: them no process is kept.
_BIN_ENDS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0, 16.0)
_BIN_WIDTHS = (1 / 8, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
#: Least time over which service time and arrivals are averaged, however many tasks there are.
_MIN_WINDOW_SECONDS = 30.0
#: Gain of keeping a process, as a share of a start's worth, below which it is rounding.
_MIN_GAIN = 1e-6
_MIN_SERVICE_SECONDS = 0.001
_UNKNOWN_SERVICE_SECONDS = 1.0


def _parameter(default: float, *, low: float, high: float, unit: str, about: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "unit": unit, "about": about})


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetWaitPolicy:
    """What may be chosen; everything else is learnt.

    Raises:
        PolicyError: with every fault, when a value is out of its bounds.
    """

    target_wait_seconds: float = _parameter(
        5.0, low=0.1, high=86400, unit="seconds", about="Every task starts within this time of its arrival."
    )
    start_worth_seconds: float = _parameter(
        25.0,
        low=0.1,
        high=86400,
        unit="seconds",
        about="Seconds of an idle process that one start is worth: more starts fewer and keeps more idle.",
    )
    assumed_start_seconds: float = _parameter(
        1.0,
        low=0,
        high=3600,
        unit="seconds",
        about="Time from a resize to a ready process, until it is learnt.",
    )
    margin_seconds: float = _parameter(
        0.2,
        low=0,
        high=3600,
        unit="seconds",
        about="How late a tick or a start may come: planned off the target.",
    )
    release_caution: float = _parameter(
        1.5,
        low=0,
        high=10,
        unit="standard deviations",
        about="How far below its mean the number of busy processes that come free is reckoned.",
    )
    remembered_tasks: float = _parameter(
        50, low=1, high=1_000_000, unit="tasks", about="Ended tasks that the service time is learnt from."
    )
    remembered_gaps: float = _parameter(
        30, low=1, high=1_000_000, unit="gaps", about="Gaps between two needs that each size learns from."
    )

    def __post_init__(self) -> None:
        faults = []
        for parameter in fields(self):
            value = getattr(self, parameter.name)
            low, high, unit = (
                parameter.metadata["low"],
                parameter.metadata["high"],
                parameter.metadata["unit"],
            )
            legal = isinstance(value, int | float) and not isinstance(value, bool)
            if not (legal and math.isfinite(value) and low <= value <= high):
                faults.append(f"{parameter.name} is {value!r}; it must be from {low:g} to {high:g} ({unit})")
        if faults:
            raise PolicyError(faults)

    @property
    def planned_wait_seconds(self) -> float:
        """The wait that is planned for."""
        return max(0.0, self.target_wait_seconds - self.margin_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What one fleet shows at ``at`` monotonic seconds.

    ``waiting`` counts messages that no worker has fetched, ``reserved`` those fetched and not running,
    ``busy`` tasks that run (in retiring processes too). ``processes`` is the size, retiring ones left out.
    ``completed`` counts all tasks that ever ended; ``oldest_age_seconds`` is the age of the oldest of
    ``waiting``; ``start_seconds`` the learnt time from a resize to a ready process. Unknown is None.
    """

    at: float
    waiting: int
    busy: int
    reserved: int
    processes: int
    completed: int | None = None
    oldest_age_seconds: float | None = None
    start_seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("waiting", "busy", "reserved", "processes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it is 0 or more")

    @property
    def backlog(self) -> int:
        """Tasks that have not started."""
        return self.waiting + self.reserved

    @property
    def in_system(self) -> int:
        """Tasks that have not ended."""
        return self.waiting + self.reserved + self.busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """How often a size was needed again at each age of its gap, one entry for each bin.

    ``needs`` over ``exposure`` is the hazard; exposure and age are in units of a start's worth, so that
    keeping a process pays where the hazard is above 1.
    """

    exposure: tuple[float, ...]
    needs: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetWaitState:
    """What is remembered between two signals: bounded, and to be treated as opaque but for its properties.

    ``groups`` has (earliest arrival, count) of the backlog, oldest first. ``busy_seconds`` and ``ended`` are
    the fading sums of the service time. ``tasks_at``, ``needed_at`` and ``gaps`` have one entry for each rung
    of sizes seen so far: the tasks a pool of that size would have in it, when it was last too small, and
    its gaps.
    """

    last: Signal | None = None
    tick_seconds: float = 1.0
    groups: tuple[tuple[float, int], ...] = ()
    busy_seconds: float = 0.0
    ended: float = 0.0
    arrivals_per_second: float = 0.0
    ready_at: float = -math.inf
    tasks_at: tuple[float, ...] = ()
    needed_at: tuple[float, ...] = ()
    gaps: tuple[Gaps, ...] = ()

    @property
    def service_seconds(self) -> float:
        """Mean service time as learnt; before the first task ended, no less than it has run."""
        return _mean_service_seconds(self.busy_seconds, self.ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What happened since the last signal, and what a plan has to reckon with from now on."""

    since: float
    seconds: float
    tick_seconds: float
    arrived: int
    start_seconds: float
    spare_in_seconds: float
    busy_total_seconds: float
    ended_total: float

    @property
    def service_seconds(self) -> float:
        return _mean_service_seconds(self.busy_total_seconds, self.ended_total)


def advance(
    parameters: TargetWaitPolicy, state: TargetWaitState, signal: Signal
) -> tuple[TargetWaitState, int]:
    """Return what to remember and how many processes are wanted, 1 or more.

    The wish holds the size while the tasks that wait will start in time; bounds, cooldowns and ceilings are
    the caller's. A signal that is not newer than the last one changes nothing and holds.
    """
    if state.last is not None and signal.at <= state.last.at:
        return state, max(1, signal.processes)
    step = _step(parameters, state, signal)
    groups = _regroup(state.groups, step, signal)
    size = max(signal.processes, signal.busy)
    size += _missing(parameters, signal, step, groups)
    growing = size > signal.processes and bool(signal.backlog)
    tasks_at, needed_at, gaps = _track(parameters, state, signal, step)
    fresh = -math.expm1(-step.seconds / _MIN_WINDOW_SECONDS)
    after = TargetWaitState(
        last=signal,
        tick_seconds=step.tick_seconds,
        groups=groups,
        busy_seconds=step.busy_total_seconds,
        ended=step.ended_total,
        arrivals_per_second=state.arrivals_per_second * (1 - fresh) + step.arrived / step.seconds * fresh,
        ready_at=signal.at + step.start_seconds if growing else state.ready_at,
        tasks_at=tasks_at,
        needed_at=needed_at,
        gaps=gaps,
    )
    if growing:
        return after, size
    if signal.backlog:
        return after, max(1, signal.processes)
    return after, _retained(parameters, after, signal)


def _step(parameters: TargetWaitPolicy, state: TargetWaitState, signal: Signal) -> _Step:
    last = state.last
    since, seconds = signal.at - state.tick_seconds, state.tick_seconds
    ended, arrived, busy_seconds = 0, signal.in_system, 0.0
    if last is None:
        # Nobody saw these tasks arrive: the oldest is as old as it is said to be, else new.
        since = signal.at - (signal.oldest_age_seconds or 0.0)
    else:
        since, seconds = last.at, signal.at - last.at
        more = signal.in_system - last.in_system
        if signal.completed is None or last.completed is None:
            ended = max(0, -more)
        else:
            ended = max(0, signal.completed - last.completed)  # a worker that restarted counts from 0 again
        arrived = max(0, ended + more)
        busy_seconds = (last.busy + signal.busy) / 2 * seconds
    # The sums fade by tasks ended, not by time, so that a task of an hour raises the mean as it runs.
    remembered = max(parameters.remembered_tasks, state.arrivals_per_second * _MIN_WINDOW_SECONDS)
    fade = math.exp(-ended / remembered)
    return _Step(
        since=since,
        seconds=seconds,
        tick_seconds=0.8 * state.tick_seconds + 0.2 * seconds,
        arrived=arrived,
        start_seconds=parameters.assumed_start_seconds
        if signal.start_seconds is None
        else signal.start_seconds,
        spare_in_seconds=max(0.0, state.ready_at - signal.at),
        busy_total_seconds=state.busy_seconds * fade + busy_seconds,
        ended_total=state.ended * fade + ended,
    )


def _mean_service_seconds(busy_seconds: float, ended: float) -> float:
    """Return the mean as learnt; before the first task ended, no less than what has run."""
    if ended <= 0:
        return max(busy_seconds, _UNKNOWN_SERVICE_SECONDS)
    return max(busy_seconds / ended, _MIN_SERVICE_SECONDS)


def _regroup(
    groups: tuple[tuple[float, int], ...], step: _Step, signal: Signal
) -> tuple[tuple[float, int], ...]:
    """Return the backlog by earliest arrival: first come first served, so it is the newest arrivals."""
    remaining = signal.backlog
    if not remaining:
        return ()
    kept: list[tuple[float, int]] = []
    for since, count in ((step.since, step.arrived), *reversed(groups)):
        taken = min(count, remaining)
        if taken:
            kept.append((since, taken))
            remaining -= taken
    kept.reverse()
    if remaining:  # tasks that came back to the queue: as old as the oldest known
        kept.insert(0, (kept[0][0] if kept else step.since, remaining))
    if signal.oldest_age_seconds is not None:
        kept[0] = (min(kept[0][0], signal.at - signal.oldest_age_seconds), kept[0][1])
    while len(kept) > _MAX_GROUPS:
        kept[:2] = [(kept[0][0], kept[0][1] + kept[1][1])]
    return tuple(kept)


def _missing(
    parameters: TargetWaitPolicy, signal: Signal, step: _Step, groups: tuple[tuple[float, int], ...]
) -> int:
    """Return how many processes must be asked for now so that each position starts by its deadline.

    Before the deadline of a position, each busy process comes free at a rate of one over the service time;
    each idle or starting one takes a task once it is ready and goes on at that rate, and so does each new
    one. None is asked for while the same number would still do a tick later.
    """
    service = step.service_seconds
    spare, spare_in = max(0, signal.processes - signal.busy), step.spare_in_seconds
    now = later = 0.0
    due = False
    position = 0
    for since, count in groups:
        position += count
        left = parameters.planned_wait_seconds - (signal.at - since)
        horizon = max(0.0, left)
        freed = signal.busy * horizon / service
        freed = max(0.0, freed - parameters.release_caution * math.sqrt(freed))
        short = position - freed
        if horizon >= spare_in:
            short -= spare * (1 + (horizon - spare_in) / service)
        if short <= 0:
            continue
        slack = horizon - step.start_seconds
        now = max(now, short / (1 + max(0.0, slack) / service))
        later = max(later, short / (1 + max(0.0, slack - step.tick_seconds) / service))
        due = due or left - step.start_seconds < step.tick_seconds
    wanted = math.ceil(now - 1e-9)
    if not (due or math.ceil(later - 1e-9) > wanted):
        return 0
    return max(0, min(wanted, signal.in_system - max(signal.processes, signal.busy)))


def _track(
    parameters: TargetWaitPolicy, state: TargetWaitState, signal: Signal, step: _Step
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[Gaps, ...]]:
    """Carry the imagined pool of each size on by this step, and learn where one was too small.

    A pool of ``n`` processes is too small when more tasks are in it than start within the slack: ``n`` run
    and ``n * slack / service`` follow. It has never fewer tasks in it than the real pool.
    """
    service = step.service_seconds
    tasks_at, needed_at, gaps = list(state.tasks_at), list(state.needed_at), list(state.gaps)
    while len(tasks_at) < _rungs_up_to(signal.processes):
        tasks_at.append(float(signal.in_system))
        needed_at.append(signal.at)
        gaps.append(_PRIOR)
    slack = parameters.planned_wait_seconds - step.start_seconds - step.tick_seconds
    crowd = 1 + max(0.0, slack) / service
    ended_each = -math.expm1(-step.seconds / service)
    refilled_each = step.seconds / service - ended_each  # by processes that end one task and take the next
    in_system, arrived = signal.in_system, step.arrived
    for rung, (before, processes) in enumerate(zip(tasks_at, _SIZES, strict=False)):
        tasks = before + arrived
        if tasks <= processes:
            tasks -= tasks * ended_each
        else:
            tasks -= processes * ended_each + min(tasks - processes, processes * refilled_each)
        if tasks < in_system:  # noqa: PLR1730 - this is the innermost loop, and max() is twice as slow
            tasks = in_system
        if tasks > processes * crowd:
            tasks = processes * crowd  # larger sizes take the rest
            pause = signal.at - needed_at[rung]
            if pause > 1.5 * step.tick_seconds:  # else the need goes on
                gaps[rung] = _learn_gap(parameters, gaps[rung], pause / parameters.start_worth_seconds)
            needed_at[rung] = signal.at
        tasks_at[rung] = tasks
    return tuple(tasks_at), tuple(needed_at), tuple(gaps)


#: One need at the break-even hazard in each bin: keeping is neither gain nor loss until more is known.
_PRIOR = Gaps(exposure=(1.0,) * len(_BIN_ENDS), needs=(1.0,) * len(_BIN_ENDS))


def _learn_gap(parameters: TargetWaitPolicy, gaps: Gaps, age: float) -> Gaps:
    """Add a gap that has just ended at ``age``."""
    last = bisect.bisect_right(_BIN_ENDS, age)
    lived = [*_BIN_WIDTHS[:last], age - (_BIN_ENDS[last - 1] if last else 0.0)]
    lived += [0.0] * len(_BIN_ENDS)
    fade = 1 - 1 / parameters.remembered_gaps
    return Gaps(
        exposure=tuple(1 + (before - 1) * fade + lived[index] for index, before in enumerate(gaps.exposure)),
        needs=tuple(1 + (before - 1) * fade + (index == last) for index, before in enumerate(gaps.needs)),
    )


def _retained(parameters: TargetWaitPolicy, state: TargetWaitState, signal: Signal) -> int:
    """Return the largest size worth keeping, no less than what is busy and no more than there is."""
    least = max(1, min(signal.busy, signal.processes))
    for rung in range(min(len(state.tasks_at), _rungs_up_to(signal.processes)) - 1, -1, -1):
        size = min(_SIZES[rung] + 1, signal.processes)  # the size that is needed where this rung is too small
        if size <= least:
            break
        if _worth_keeping(
            state.gaps[rung], (signal.at - state.needed_at[rung]) / parameters.start_worth_seconds
        ):
            return size
    return least


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
    while sizes[-1] < _MAX_SIZE:
        sizes.append(min(_MAX_SIZE, sizes[-1] + sizes[-1] // 8))
    return tuple(sizes)


_SIZES = _sizes()


def _rungs_up_to(size: int) -> int:
    """Return how many rungs lead to ``size``: all below it and the first that is not."""
    return min(len(_SIZES), bisect.bisect_left(_SIZES, size) + 1)
