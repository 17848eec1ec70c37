"""Which workers share work, and how much of it there is for them.

Pure. Workers that consume a queue in common, directly or through others, are one group: they are sized
together, and a backlog they cannot reach does not count for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.demand import Work
from autoscaler.latency import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from autoscaler.model import QueueReading
    from autoscaler.state import KnownWorker


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is looked at and what may be touched; an empty set means all that is found.

    ``workers`` names those that may be resized: others that share their queues are seen, never touched.
    ``queues`` names the queues that count.
    """

    workers: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()

    def counts(self, worker: KnownWorker) -> frozenset[str]:
        """The queues of ``worker`` that count."""
        consumed = frozenset(worker.reading.queues)
        return consumed & self.queues if self.queues else consumed

    def may_touch(self, name: str) -> bool:
        """Whether the worker of that name may be resized."""
        return not self.workers or name in self.workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Workers that share queues; both in the order of their names."""

    queues: tuple[str, ...]
    workers: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """What its memory is kept under: the queues, or for a worker without any its name."""
        return self.queues or ("", *self.workers)


def split(workers: Mapping[str, KnownWorker], scope: Scope) -> list[Group]:
    """The groups, leaving out workers that neither consume a queue that counts nor are named in the scope."""
    queues_of = {}
    for name, worker in workers.items():
        queues = scope.counts(worker)
        if queues or not scope.queues or name in scope.workers:
            queues_of[name] = queues
    groups: list[tuple[set[str], set[str]]] = []
    for name, queues in queues_of.items():
        shared = [group for group in groups if group[0] & queues]
        merged_queues = set(queues).union(*(group[0] for group in shared))
        merged_workers = {name}.union(*(group[1] for group in shared))
        groups = [group for group in groups if group not in shared] + [(merged_queues, merged_workers)]
    found = [
        Group(queues=tuple(sorted(queues)), workers=tuple(sorted(members))) for queues, members in groups
    ]
    return sorted(found, key=lambda group: group.workers)


def measure(
    group: Group, workers: Mapping[str, KnownWorker], queues: Iterable[QueueReading], at: float
) -> tuple[Work, bool]:
    """The group's work, and whether any of its queues could be read.

    A worker that kept silent in this tick counts as it was last seen, and makes the work incomplete.
    """
    members = [workers[name] for name in group.workers]
    depths = {queue.name: queue.waiting for queue in queues}
    waiting = [depths.get(name) for name in group.queues]
    readings = [member.reading for member in members]
    counts = [count for reading in readings for count in (reading.processes, reading.busy, reading.reserved)]
    fresh = all(member.read_at == at for member in members)
    work = Work(
        waiting=sum(depth or 0 for depth in waiting),
        reserved=sum(reading.reserved or 0 for reading in readings),
        # A retiring process does its own task; that task asks for no other process.
        running=sum(max(0, (reading.busy or 0) - reading.retiring) for reading in readings),
        processes=sum(reading.processes or 0 for reading in readings),
        complete=fresh
        and None not in waiting
        and None not in counts
        and all(reading.queues_known for reading in readings),
    )
    return work, not waiting or any(depth is not None for depth in waiting)


def signal(
    group: Group, workers: Mapping[str, KnownWorker], queues: Iterable[QueueReading], work: Work, at: float
) -> Signal:
    """What the latency demand learns from; the work has to be complete."""
    readings = [workers[name].reading for name in group.workers]
    completed = [reading.completed for reading in readings]
    starts = [reading.start_seconds for reading in readings if reading.start_seconds is not None]
    ages = [
        queue.oldest_age_seconds
        for queue in queues
        if queue.name in group.queues and queue.oldest_age_seconds is not None
    ]
    return Signal(
        at=at,
        waiting=work.waiting,
        busy=sum(reading.busy or 0 for reading in readings),
        reserved=work.reserved,
        processes=work.processes,
        completed=None if None in completed else sum(count or 0 for count in completed),
        oldest_age_seconds=max(ages, default=None),
        start_seconds=max(starts, default=None),
    )
