"""Cancels and restores the consumers of a worker, with a record of each cancellation in Redis.

The record is written *before* the consumers are cancelled. A process that dies in between leaves a worker
that consumes nothing, and the next daemon to start finds the record and restores its consumers. A record only
grows until its consumers are restored: who cancels after somebody else finds nothing consumed, and must not
forget what was. Nothing here waits or decides when: that is :mod:`autoscaler.control.evacuate`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoscaler.broker.errors import broker_errors
from autoscaler.control.remote import RemoteCommand
from autoscaler.core import foreign_json

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from redis import Redis

    from autoscaler.control.remote import RemoteCalls
    from autoscaler.core.model import WorkerReading

#: A worker that does not answer so long after it was to be restored is gone.
_FORGET_SECONDS = 3600.0
#: Nobody empties a worker for longer than a drain's longest deadline, a day: its clock is wrong.
_MAX_ACTIVE_SECONDS = 90_000.0
#: How far the clocks of those who write and read records may be apart.
_MAX_SKEW_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """Cancel these queues of a worker; the record says that it is at work for so many seconds."""

    worker: str
    queues: tuple[str, ...]
    for_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """The queues whose consumers were cancelled on a worker, and by whom.

    Until ``until`` (epoch seconds) ``owner`` is at work and restores them itself.
    """

    worker: str
    queues: tuple[str, ...]
    until: float = 0.0
    owner: str = ""


class Consumers:
    """Cancels and adds consumers, with records of ``owner`` under ``key``.

    ``wall`` is a clock of epoch seconds.
    """

    def __init__(
        self,
        remote: RemoteCalls,
        redis: Callable[[], Redis],
        key: str,
        *,
        owner: str,
        wall: Callable[[], float],
    ) -> None:
        self._owner = owner
        self._remote = remote
        self._redis = redis
        self._key = key
        self._wall = wall

    def cancel_all(self, requests: Sequence[CancelRequest], *, force: bool = False) -> frozenset[str]:
        """Write the records, then cancel, within one timeout for all; the workers that this was done for.

        A worker that somebody else is emptying is left out, unless by ``force``. Whether a worker did what
        it was asked shows in its next reading.

        Raises:
            BrokerError: when the broker fails; the records say what may be cancelled.
        """
        if not requests:
            return frozenset()
        recorded = self._recorded()
        others = {
            one.worker
            for one in self.active_cancellations(filter(None, recorded.values()))
            if one.owner != self._owner and not force
        }
        mine = {one.worker: one for one in requests if one.worker not in others}
        if not mine:
            return frozenset()
        records: Any = {name: self._record(one, recorded.get(name)) for name, one in mine.items()}
        with broker_errors():
            self._redis().hset(self._key, mapping=records)
        self._send("cancel_consumer", {name: one.queues for name, one in mine.items()})
        return frozenset(mine)

    def _record(self, request: CancelRequest, before: Cancellation | None) -> str:
        queues = {*request.queues, *(before.queues if before else ())}
        until = self._wall() + request.for_seconds
        return json.dumps({"queues": sorted(queues), "until": until, "owner": self._owner})

    def restore_all(self, cancellations: Sequence[Cancellation]) -> set[str]:
        """Add the consumers of all of them again, and those that are recorded, within one timeout for all.

        The workers that answered for every queue; their records are gone.

        Raises:
            BrokerError: when the broker fails; the records stay.
        """
        if not cancellations:
            return set()
        recorded = self._recorded()
        queues = {
            one.worker: sorted({*one.queues, *(before.queues if before else ())})
            for one in cancellations
            for before in (recorded.get(one.worker),)
        }
        restored = self._send("add_consumer", queues)
        self.forget(restored)
        return restored

    def forget(self, workers: Collection[str]) -> None:
        """Drop the records of workers that need nothing restored.

        Raises:
            BrokerError: when Redis fails; the records stay.
        """
        if workers:
            with broker_errors():
                self._redis().hdel(self._key, *sorted(workers))

    def is_of_another(self, cancellation: Cancellation, reading: WorkerReading) -> bool:
        """Whether the worker has started after all this: it consumes what it was started with."""
        uptime = reading.uptime_seconds
        return uptime is not None and self._wall() - uptime > cancellation.until + _MAX_SKEW_SECONDS

    def forget_old(self, cancellations: Iterable[Cancellation]) -> None:
        """Drop those of these records that were to be restored an hour ago: their workers are gone.

        Raises:
            BrokerError: when Redis fails; the records stay.
        """
        oldest = self._wall() - _FORGET_SECONDS
        self.forget({one.worker for one in cancellations if one.until < oldest})

    def cancellations(self) -> list[Cancellation]:
        """All records that can be acted on; unreadable ones are dropped.

        Raises:
            BrokerError: when Redis fails.
        """
        recorded = self._recorded()
        self.forget({name for name, one in recorded.items() if one is None})
        return [one for one in recorded.values() if one is not None]

    def _recorded(self) -> dict[str, Cancellation | None]:
        """All records by worker, None for one that cannot be read."""
        with broker_errors():
            stored: Any = self._redis().hgetall(self._key)
        names = ((name.decode(errors="replace"), text) for name, text in stored.items())
        return {worker: _parse(worker, text) for worker, text in names}

    def emptied_by(self, owner: str) -> frozenset[str]:
        """The workers that ``owner`` is emptying now. Only reads.

        Raises:
            BrokerError: when Redis fails.
        """
        found = filter(None, self._recorded().values())
        return frozenset(one.worker for one in self.active_cancellations(found) if one.owner == owner)

    def active_cancellations(self, cancellations: Iterable[Cancellation]) -> list[Cancellation]:
        """Those whose owner is still at work."""
        now = self._wall()
        return [one for one in cancellations if 0 < one.until - now <= _MAX_ACTIVE_SECONDS]

    def orphaned(self, cancellations: Iterable[Cancellation], *, just_started: bool) -> list[Cancellation]:
        """Those whose owner is gone: past their time and, after a start, our own earlier ones."""
        found = list(cancellations)
        active = set(self.active_cancellations(found))
        return [one for one in found if one not in active or (just_started and one.owner == self._owner)]

    def _send(self, command: str, queues: Mapping[str, Sequence[str]]) -> set[str]:
        """Send ``command`` for the queues of each worker; the workers that answered for all of theirs."""
        workers: dict[str, list[str]] = {}
        for worker, names in queues.items():
            for queue in names:
                workers.setdefault(queue, []).append(worker)
        commands = [
            RemoteCommand(name=command, arguments={"queue": queue}, workers=tuple(names))
            for queue, names in workers.items()
        ]
        done = set(queues)
        for sent, replies in zip(commands, self._remote.call_all(commands), strict=True):
            done -= {worker for worker in sent.workers or () if not _succeeded(replies.get(worker, []))}
        return done


def _succeeded(replies: Sequence[Any]) -> bool:
    """Whether each reply is Celery's plain ok; an error, and what is neither, leaves the record in place."""
    return bool(replies) and all(isinstance(reply, dict) and "ok" in reply for reply in replies)


def _parse(worker: str, text: str | bytes) -> Cancellation | None:
    try:
        stored = foreign_json.loads(text)
        queues, until, owner = stored["queues"], float(stored["until"]), str(stored["owner"])
        if not isinstance(queues, list) or not math.isfinite(until):
            return None
        return Cancellation(worker=worker, queues=tuple(map(str, queues)), until=until, owner=owner)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
