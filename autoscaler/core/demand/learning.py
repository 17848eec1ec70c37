"""What is learnt of the work: arrivals, service time, and how long each waiting task has waited.

Pure. Arrivals are what is in the system now, less what was in it at the last signal, plus what ended
since. The backlog is the newest of the arrivals, first come first served, so each position has a latest start
of its own. The service time is the utilization law: busy seconds over tasks ended.
"""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core.demand import retention, standing
from autoscaler.core.demand.backlog import Backlog, fewer, moved, moved_backlog, spread, starting_after
from autoscaler.core.demand.retention import Retention
from autoscaler.core.demand.standing import Standing, faded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autoscaler.core.demand.backlog import Batches
    from autoscaler.core.demand.parameters import TargetWaitPolicy
    from autoscaler.core.demand.signal import Signal

#: Minimum time over which service time and arrivals are averaged, however many tasks there are.
MIN_WINDOW_SECONDS = 30.0
_MIN_SERVICE_SECONDS = 0.001
_UNKNOWN_SERVICE_SECONDS = 1.0
#: So many times as many tasks as could have run by the learnt mean are a fault of a count, once the mean
#: rests on so many tasks.
_MAX_SPEED_UP = 20.0
_MIN_KNOWN_TASKS = 10.0
#: So many times as many as processes that are busy throughout could have run are one, too.
_MAX_FASTER = 2.0


#: Two signals have a gap between them where they are further apart than both: so many seconds, so many ticks.
_MIN_GAP_SECONDS, _GAP_TICKS = 10.0, 4
#: So many ticks change what is known of the length of one, however long it took.
_MAX_TICKS = 10


class TargetWaitState(NamedTuple):
    """What is remembered between two signals: bounded, and opaque but for its properties.

    ``batches`` has (earliest arrival, count) of the backlog, oldest first, and ``runs`` (started at, count)
    of the tasks that run. ``busy_seconds`` and ``ended`` are the fading sums of the service time.
    ``pending_seconds`` were spent busy since a task was last seen to end; after a count that was ``doubted``
    the next one is believed. ``starting`` has (ready at, count) of the processes that are not ready, and
    ``due_at`` is when the next decision is due. ``standing`` is what is learnt while growth comes too late,
    and rests where several workers are planned for.
    ``backlog`` takes the place of ``batches`` and ``runs``, and ``gaps`` (by worker) that of ``retention``,
    where several workers or targets are planned for. Before it is ``settled``, the needs that are remembered
    are guesses: nobody knew how long a start and a task take.
    """

    last: Signal | None = None
    tick_seconds: float = 1.0
    batches: tuple[tuple[float, int], ...] = ()
    runs: tuple[tuple[float, int], ...] = ()
    busy_seconds: float = 0.0
    ended: float = 0.0
    pending_seconds: float = 0.0
    doubted: bool = False
    arrivals_per_second: float = 0.0
    starting: Batches = ()
    due_at: float = math.inf
    retention: Retention = Retention()
    standing: Standing = Standing()
    backlog: Backlog = Backlog()
    gaps: Mapping[str, Retention] = MappingProxyType({})
    settled: bool = False

    @property
    def service_seconds(self) -> float:
        """Mean service time as learnt; before the first task ended, no less than it has run."""
        running = self.last.busy if self.last else 0
        return mean_service_seconds(self.busy_seconds, self.ended, self.pending_seconds, running)

    def oldest_wait_seconds(self, at: float, target_seconds: float) -> float:
        """How long the oldest task that has not started has waited, 0 where all have; an estimate.

        Where queues have targets of their own, it is the wait that is late by as much against
        ``target_seconds``.
        """
        since = [self.batches[0][0]] if self.batches else []
        several = (*self.backlog.queues.values(), *self.backlog.held.values())
        since += [batches[0][0] - target_seconds for batches in several if batches]
        return max(0.0, at - min(since, default=at))


class Step(NamedTuple):
    """What happened since the last signal, and what a plan has to allow for from now on.

    ``arrived`` counts all that came, ``net_arrived`` what a process will run; that is below 0 where tasks
    left without having ended, such as revoked or expired ones. ``gap_seconds`` is 0 but where the signals are
    far further apart than usual: tasks came within that time from ``since`` on, and not all at once.
    ``counted`` is False where that is so, or where a part of one of the signals is not known: the counts then
    give no rates. ``busy_seconds`` and ``ended`` are those of this step that tell how long a task takes.
    """

    since: float
    seconds: float
    gap_seconds: float
    tick_seconds: float
    arrived: int
    net_arrived: int
    started: int
    start_seconds: float
    start_known: bool
    starting: Batches
    busy_total_seconds: float
    ended_total: float
    pending_seconds: float
    running: int
    doubted: bool
    counted: bool
    ended: int
    busy_seconds: float

    @property
    def service_seconds(self) -> float:
        """Mean service time with this step in it."""
        return mean_service_seconds(
            self.busy_total_seconds, self.ended_total, self.pending_seconds, self.running
        )


def step_since(parameters: TargetWaitPolicy, state: TargetWaitState, signal: Signal) -> Step:
    """What happened since the last signal; the first one is taken for one tick."""
    last = state.last
    since, seconds = signal.at - state.tick_seconds, state.tick_seconds
    ended, arrived, net_arrived = 0, signal.unended, signal.in_system
    busy_seconds, doubted = 0.0, False
    if last is None:
        # Nobody saw these tasks arrive: the oldest is as old as it is said to be, else new.
        since = signal.at - (signal.oldest_age_seconds or 0.0)
    else:
        since, seconds = last.at, signal.at - last.at
        busy_seconds = (last.busy + signal.busy) / 2 * seconds
        ended, doubted = _ended(state, last, signal, busy_seconds)
        net_arrived = ended + signal.in_system - last.in_system
        arrived = max(0, ended + signal.unended - last.unended)
    started = max(0, signal.busy - (0 if last is None else last.busy) + ended)
    gap_seconds = seconds if seconds > max(_MIN_GAP_SECONDS, _GAP_TICKS * state.tick_seconds) else 0.0
    counted = not gap_seconds and signal.complete and (last is None or last.complete)
    # Time in which other workers ran says nothing of how long a task takes.
    learnt, told = (ended, busy_seconds) if counted and signal.continuous and not doubted else (0, 0.0)
    pending = 0.0 if doubted else state.pending_seconds + told
    # The sums fade by tasks ended, not by time, so that a task of an hour raises the mean as it runs.
    remembered = max(parameters.remembered_tasks, state.arrivals_per_second * MIN_WINDOW_SECONDS)
    busy_total, ended_total = faded(state.busy_seconds, state.ended, pending, learnt, remembered)
    return Step(
        since=since,
        seconds=seconds,
        gap_seconds=gap_seconds,
        tick_seconds=0.8 * state.tick_seconds + 0.2 * min(seconds, _MAX_TICKS * state.tick_seconds),
        arrived=arrived,
        net_arrived=net_arrived,
        started=started,
        doubted=doubted,
        start_seconds=start_seconds(parameters, signal),
        start_known=signal.start_seconds is not None,
        starting=_starting(parameters, state, signal),
        busy_total_seconds=busy_total,
        ended_total=ended_total,
        pending_seconds=0.0 if learnt else pending,
        running=signal.busy,
        counted=counted,
        ended=learnt,
        busy_seconds=told,
    )


def _starting(parameters: TargetWaitPolicy, state: TargetWaitState, signal: Signal) -> Batches:
    """The processes that are not ready yet; those that are new were asked for at the last signal.

    Where a part of a signal is not known, its processes say nothing of how many are new.
    """
    last = state.last
    if last is None or not signal.complete:
        return state.starting
    ready_at = last.at + start_seconds(parameters, signal)
    idle, more = signal.processes - signal.busy, signal.processes - last.processes if last.complete else 0
    known = signal.start_seconds is not None
    return starting_after(state.starting, more, ready_at, idle=idle, at=signal.at, start_known=known)


def _ended(state: TargetWaitState, last: Signal, signal: Signal, busy_seconds: float) -> tuple[int, bool]:
    """How many tasks ended since the last signal, and whether their count is doubted."""
    gone = max(0, last.in_system - signal.in_system)
    if signal.completed is None or last.completed is None:
        return gone, False
    ended = max(0, signal.completed - last.completed)  # a worker that restarted counts from 0 again
    # All that there was may have run between two looks at which nothing did.
    max_busy_seconds = max(last.processes, signal.processes) * (signal.at - last.at)
    doubted = _is_implausible(state, ended, state.pending_seconds + busy_seconds, max_busy_seconds)
    return (gone if doubted else ended), doubted


def start_seconds(parameters: TargetWaitPolicy, signal: Signal) -> float:
    """Time from a resize to a ready process, as learnt or else as assumed."""
    return parameters.assumed_start_seconds if signal.start_seconds is None else signal.start_seconds


def _is_implausible(state: TargetWaitState, ended: int, busy_seconds: float, max_busy_seconds: float) -> bool:
    """Whether far more tasks are said to have ended than could have run; believed where it goes on."""
    if state.doubted or state.ended < _MIN_KNOWN_TASKS:
        return False
    seen = _MAX_SPEED_UP * (1 + busy_seconds / state.service_seconds)
    return ended > max(seen, _MAX_FASTER * max_busy_seconds / state.service_seconds)


def after_slip(state: TargetWaitState, last: Signal, at: float) -> TargetWaitState:
    """The state after the clock went back to ``at``: each moment went with it, as if a tick had passed.

    ``last`` is the state's last signal. What was asked for and still starts is not asked for again, and what
    waits is as old as it was.
    """
    seconds = at - state.tick_seconds - last.at
    return state._replace(
        last=replace(last, at=last.at + seconds),
        batches=moved(state.batches, seconds),
        runs=moved(state.runs, seconds),
        starting=moved(state.starting, seconds),
        due_at=state.due_at + seconds,
        retention=retention.moved(state.retention, seconds),
        standing=standing.moved(state.standing, seconds),
        backlog=moved_backlog(state.backlog, seconds),
        gaps={name: retention.moved(known, seconds) for name, known in state.gaps.items()},
    )


def mean_service_seconds(busy_seconds: float, ended: float, pending_seconds: float, running: int) -> float:
    """Return the mean as learnt, no less than what runs now makes it at least.

    ``pending_seconds`` were spent since the last task ended, by ``running`` tasks.
    """
    if ended <= 0:
        return max(pending_seconds / max(1, running), _UNKNOWN_SERVICE_SECONDS)
    learnt = busy_seconds / ended
    return max(learnt, (busy_seconds + pending_seconds) / (ended + running), _MIN_SERVICE_SECONDS)


def batches_after(
    batches: tuple[tuple[float, int], ...], step: Step, signal: Signal
) -> tuple[tuple[float, int], ...]:
    """Return the backlog by earliest arrival: first come first served, so it is the newest arrivals."""
    remaining = signal.backlog
    if not remaining:
        return ()
    kept: list[tuple[float, int]] = []
    for since, count in reversed((*batches, *spread(step.since, step.gap_seconds, step.arrived))):
        taken = min(count, remaining)
        if taken:
            kept.append((since, taken))
            remaining -= taken
    kept.reverse()
    if remaining:  # tasks that came back to the queue: as old as the oldest known
        kept.insert(0, (kept[0][0] if kept else step.since, remaining))
    if signal.oldest_age_seconds is not None:
        kept[0] = (min(kept[0][0], signal.at - signal.oldest_age_seconds), kept[0][1])
    return fewer(kept)
