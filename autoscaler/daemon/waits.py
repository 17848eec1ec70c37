"""How long the oldest task of each group of queues has waited, from one tick to the next.

A queue is first in, first out: what arrived is what is there now and was not there before, beside what was
started. Where publishers stamp their messages the stamp counts as well. No I/O and no clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autoscaler.report.waits import Wait, cause_of_group, cause_without_group

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from autoscaler.core.decider import Decider
    from autoscaler.core.model import Decision, Observation, QueueReading, WorkerReading
    from autoscaler.core.plan import Plan
    from autoscaler.report.waits import Cause

#: Arrivals of more ticks than that are taken together, as the older of them: memory is bounded.
_MAX_ARRIVALS = 500
#: How much longer than its target a task may wait before that counts as missed: a tick and a late start.
_SLACK_SECONDS = 1.0


@dataclass(slots=True)
class _Line:
    """The tasks of one group of queues that have not started: (when they arrived at the latest, count)."""

    waiting: int = 0
    started: Mapping[str, int | None] = field(default_factory=dict)
    arrivals: deque[tuple[float, int]] = field(default_factory=deque)
    missed_since: float | None = None

    def note(self, waiting: int, started: Mapping[str, int | None], at: float) -> None:
        """Take in how many tasks have not started, and how many each worker has started so far.

        Where that is unknown of a worker the last count holds; a worker that is not named is forgotten.
        """
        known = {name: self.started.get(name) if count is None else count for name, count in started.items()}
        more = sum(
            max(0, now - then)
            for name, now in known.items()
            if now is not None and (then := self.started.get(name)) is not None
        )
        gone = max(more, self.waiting - waiting)
        arrived = waiting - self.waiting + gone
        if arrived:
            self.arrivals.append((at, arrived))
        while gone > 0 and self.arrivals:
            since, count = self.arrivals.popleft()
            if count > gone:
                self.arrivals.appendleft((since, count - gone))
            gone -= count
        while len(self.arrivals) > _MAX_ARRIVALS:
            (since, first), (_, second) = self.arrivals.popleft(), self.arrivals.popleft()
            self.arrivals.appendleft((since, first + second))
        self.waiting, self.started = waiting, known

    def seconds(self, at: float) -> float:
        """At least how long the oldest of them has waited."""
        return at - self.arrivals[0][0] if self.arrivals else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One group of queues in one tick; ``waiting`` is None where it could not be read."""

    queues: tuple[str, ...]
    waiting: int | None
    oldest_age_seconds: float
    started: Mapping[str, int | None]
    cause: str | None


class WaitTracker:
    """What is remembered of each group of queues; ``decider`` says what their target wait is."""

    def __init__(self, decider: Decider) -> None:
        self._decider = decider
        self._lines: dict[tuple[str, ...], _Line] = {}

    def note(
        self,
        observation: Observation,
        plan: Plan,
        workers: Mapping[str, WorkerReading],
        unresponsive: Sequence[str],
    ) -> tuple[Wait, ...]:
        """Take in one tick. ``workers`` are the last readings of those that count, by name."""
        at = observation.at
        found = [*_groups(observation, plan, workers), *_unconsumed(observation, plan, workers, unresponsive)]
        self._lines = {one.queues: self._lines.get(one.queues, _Line()) for one in found}
        return tuple(self._wait(one, self._lines[one.queues], at) for one in found)

    def _wait(self, seen: _Seen, line: _Line, at: float) -> Wait:
        if seen.waiting is not None:
            line.note(seen.waiting, seen.started, at)
        seconds = max(line.seconds(at), seen.oldest_age_seconds if line.waiting else 0.0)
        target = self._target_of(seen.queues)
        if seen.cause is None or target is None or seconds <= target + _SLACK_SECONDS:
            line.missed_since = None
            return Wait(queues=seen.queues, seconds=seconds, target_seconds=target)
        line.missed_since = at if line.missed_since is None else line.missed_since
        return Wait(
            queues=seen.queues,
            seconds=seconds,
            target_seconds=target,
            missed_seconds=at - line.missed_since,
            cause=seen.cause,
        )

    def _target_of(self, queues: Iterable[str]) -> float | None:
        if self._decider.target_wait is None:
            return None
        own = self._decider.target_wait.target_wait_seconds
        return min(self._decider.target_waits.get(queue, own) for queue in queues)


def _groups(observation: Observation, plan: Plan, workers: Mapping[str, WorkerReading]) -> Iterator[_Seen]:
    queues = {queue.name: queue for queue in observation.queues}
    answering = frozenset(reading.name for reading in observation.workers)
    group_of = {name: place for place, group in enumerate(plan.groups) for name in group.group.workers}
    decisions: list[list[Decision]] = [[] for _ in plan.groups]
    for one in (*plan.decisions, *plan.peers):
        if one.worker in group_of:
            decisions[group_of[one.worker]].append(one)
    for place, group in enumerate(plan.groups):
        names = set(group.group.workers)
        if not group.group.queues:
            continue
        readings = [workers[name] for name in names & workers.keys()]
        yield _Seen(
            queues=group.group.queues,
            waiting=group.work.waiting + group.work.reserved if group.work.readable else None,
            oldest_age_seconds=_oldest(queues[name] for name in group.group.queues if name in queues),
            started={one.name: _started(one) for one in readings},
            cause=cause_of_group(group, decisions[place], answering),
        )


def _started(reading: WorkerReading) -> int | None:
    return None if reading.completed is None or reading.busy is None else reading.completed + reading.busy


def _unconsumed(
    observation: Observation,
    plan: Plan,
    workers: Mapping[str, WorkerReading],
    unresponsive: Sequence[str],
) -> Iterator[_Seen]:
    consumed = {queue for group in plan.groups for queue in group.group.queues}
    cause: Cause = cause_without_group(any_worker=bool(workers), unresponsive=bool(unresponsive))
    for queue in observation.queues:
        if queue.name not in consumed:
            yield _Seen(
                queues=(queue.name,),
                waiting=queue.waiting,
                oldest_age_seconds=_oldest([queue]),
                started={},
                cause=cause,
            )


def _oldest(queues: Iterable[QueueReading]) -> float:
    return max((queue.oldest_age_seconds or 0.0 for queue in queues), default=0.0)
