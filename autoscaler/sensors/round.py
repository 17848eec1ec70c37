"""One look at some workers: the calls it takes, and what they answer.

A worker with the companion answers ``pool_report``: one call, counts only. One without is asked by stock
commands: ``stats`` for the true size, ``active`` for what runs and, only where every process is busy,
``reserved``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from autoscaler.control.remote import UnreadableReply
from autoscaler.sensors import values
from autoscaler.sensors.reports import Layouts, is_unknown_command, parse_report, parse_stats, with_tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from autoscaler.control.remote import RemoteCall
    from autoscaler.core.model import WorkerReading

_Shape = TypeVar("_Shape", dict[str, Any], list[Any])


@dataclass(slots=True)
class Round:
    """The calls of one look at some workers, and what they showed beside the readings."""

    remote: RemoteCall
    duplicates: set[str]
    unreadable: dict[str, str] = field(default_factory=dict)

    def _call(self, command: str, workers: Sequence[str], shape: type[_Shape]) -> dict[str, _Shape]:
        """The replies of the expected shape; a name that answered twice is nobody's reading."""
        replies = self.remote.call(command, {}, workers) if workers else {}
        self.duplicates.update(name for name, several in replies.items() if len(several) > 1)
        for name, several in replies.items():
            if (content_type := _unreadable(several)) is not None:
                self.unreadable[name] = content_type
        asked = set(workers)
        return {
            name: several[0]
            for name, several in replies.items()
            if name not in self.duplicates and name in asked and several and isinstance(several[0], shape)
        }

    def reports(self, names: Sequence[str]) -> tuple[list[WorkerReading], list[str]]:
        """The readings of those with the companion, and the names of those that do not know it."""
        readings, without, layouts = [], [], Layouts()
        for name, reply in self._call("pool_report", names, dict).items():
            if is_unknown_command(reply):
                without.append(name)
            elif "error" not in reply:
                readings.append(parse_report(name, reply, layouts))
        return readings, without

    def stock(self, names: Sequence[str]) -> list[WorkerReading]:
        """The readings of those without the companion."""
        stats = {
            name: parse_stats(name, reply)
            for name, reply in self._call("stats", names, dict).items()
            if "error" not in reply
        }
        active = self._call("active", sorted(stats), list)
        # An idle process takes a fetched task at once: only a full pool can hold reserved ones back.
        full = [name for name, tasks in active.items() if len(tasks) >= (stats[name].processes or 0)]
        reserved = self._call("reserved", sorted(full), list)
        # Never remembered: whether a worker consumes decides whether it may be shrunk or shut down.
        consumed = self._call("active_queues", sorted(stats), list)
        readings = []
        for name in sorted(stats.keys() - self.duplicates):
            busy = len(active[name]) if name in active else None
            fetched = len(reserved[name]) if name in reserved else None if name in full or busy is None else 0
            reading = with_tasks(stats[name], busy, fetched)
            readings.append(
                reading._replace(queues=_names(consumed.get(name)), queues_known=name in consumed)
            )
        return readings


def _unreadable(replies: Iterable[object]) -> str | None:
    return next((reply.content_type for reply in replies if isinstance(reply, UnreadableReply)), None)


def _names(queues: list[Any] | None) -> tuple[str, ...]:
    found = (queue.get("name") for queue in queues or () if isinstance(queue, dict))
    return values.names([queue for queue in found if queue])
