"""Which workers share work, and how much of it there is for them.

Pure. Workers that consume a queue in common, directly or through others, are one group: they are sized
together, and a backlog they cannot reach does not count for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.core.demand.target_wait import Signal
from autoscaler.core.demand.thresholds import Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from autoscaler.core.model import QueueReading
    from autoscaler.core.state import KnownWorker


#: A stock pool starts what `pool_grow` asks for when it next looks after its children, every 5 s, and it does
#: not tell how long that took.
STOCK_START_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is looked at and what may be touched; an empty set means all that is found.

    ``workers`` names those that may be resized: others that share their queues are seen, never touched.
    ``queues`` names the queues that count.
    """

    workers: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()

    def counts(self, consumed: Iterable[str]) -> frozenset[str]:
        """Those of the queues consumed that count."""
        queues = frozenset(consumed)
        return queues & self.queues if self.queues else queues

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
    # A fleet has many workers and few sets of queues: those of one set are joined at once.
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, worker in workers.items():
        alike.setdefault(worker.reading.queues, []).append(name)
    single: list[str] = []
    joined: dict[int, tuple[set[str], list[str]]] = {}
    owner: dict[str, int] = {}
    for number, (consumed, names) in enumerate(alike.items()):
        queues, members = set(scope.counts(consumed)), list(names)
        if not queues:
            single += [name for name in names if not scope.queues or name in scope.workers]
            continue
        for other in {owner[queue] for queue in queues if queue in owner}:
            more_queues, more_members = joined.pop(other)
            queues |= more_queues
            members += more_members
        joined[number] = queues, members
        owner.update(dict.fromkeys(queues, number))
    groups = [Group(queues=(), workers=(name,)) for name in single]
    groups += [
        Group(queues=tuple(sorted(queues)), workers=tuple(sorted(members)))
        for queues, members in joined.values()
    ]
    return sorted(groups, key=lambda group: group.workers)


def measure(
    group: Group, workers: Mapping[str, KnownWorker], queues: Mapping[str, QueueReading], at: float
) -> tuple[Work, bool]:
    """The group's work, and whether any of its queues could be read; ``queues`` are by name.

    A worker that kept silent in this tick counts as it was last seen, and makes the work incomplete.
    """
    members = [workers[name] for name in group.workers]
    waiting = [queues[name].waiting if name in queues else None for name in group.queues]
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
    group: Group,
    workers: Mapping[str, KnownWorker],
    queues: Mapping[str, QueueReading],
    work: Work,
    at: float,
) -> Signal:
    """What the latency demand learns from; the work has to be complete."""
    readings = [workers[name].reading for name in group.workers]
    completed = [reading.completed for reading in readings]
    starts = [reading.start_seconds for reading in readings if reading.start_seconds is not None]
    if not all(reading.companion for reading in readings):
        starts.append(STOCK_START_SECONDS)
    found = (queues.get(name) for name in group.queues)
    ages = [queue.oldest_age_seconds for queue in found if queue and queue.oldest_age_seconds is not None]
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
