"""Which workers share work.

Pure. Workers that consume a queue in common, directly or through others, are one group: they are sized
together, and a backlog they cannot reach does not count for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from autoscaler.core.state import KnownWorker


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
