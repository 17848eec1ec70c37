"""Cancels and restores the consumers of a worker, with a record of each cancellation in Redis.

The record is written *before* the consumers are cancelled. A process that dies in between leaves a worker
that consumes nothing, and the next daemon to start finds the record and restores its consumers. Nothing here
waits or decides when: that is :mod:`autoscaler.control.evacuate`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoscaler.broker.errors import broker_errors
from autoscaler.control.remote import RemoteCommand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from redis import Redis

    from autoscaler.control.remote import RemoteCalls

#: A record that nobody could act on for so long is of a worker that is gone.
_FORGET_SECONDS = 3600.0


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

    def cancel(self, worker: str, queues: Sequence[str], *, for_seconds: float) -> bool:
        """Write the record, then cancel; True where the worker answered for every queue.

        Raises:
            BrokerError: when the broker fails; the record says what may be cancelled.
        """
        until = self._wall() + for_seconds
        record = json.dumps({"queues": list(queues), "until": until, "owner": self._owner})
        with broker_errors():
            self._redis().hset(self._key, worker, record)
        return worker in self._send("cancel_consumer", {worker: queues})

    def restore(self, cancellation: Cancellation) -> bool:
        """Add the consumers again; True, and the record is gone, where the worker answered for every queue.

        Raises:
            BrokerError: when the broker fails; the record stays.
        """
        return cancellation.worker in self.restore_all([cancellation])

    def restore_all(self, cancellations: Sequence[Cancellation]) -> set[str]:
        """Add the consumers of all of them again, within one timeout for all.

        The workers that answered for every queue; their records are gone.

        Raises:
            BrokerError: when the broker fails; the records stay.
        """
        restored = self._send("add_consumer", {one.worker: one.queues for one in cancellations})
        for worker in sorted(restored):
            self.forget(worker)
        return restored

    def forget(self, worker: str) -> None:
        """Drop the record of a worker that needs nothing restored.

        Raises:
            BrokerError: when Redis fails; the record stays.
        """
        with broker_errors():
            self._redis().hdel(self._key, worker)

    def cancellations(self) -> list[Cancellation]:
        """All records that can be acted on; unreadable and very old ones are dropped.

        Raises:
            BrokerError: when Redis fails.
        """
        found = []
        with broker_errors():
            stored: Any = self._redis().hgetall(self._key)
        for name, text in stored.items():
            worker = name.decode(errors="replace")
            cancellation = _parse(worker, text)
            if cancellation is None or self._wall() - cancellation.until > _FORGET_SECONDS:
                self.forget(worker)
            else:
                found.append(cancellation)
        return found

    def emptied_by(self, owner: str) -> frozenset[str]:
        """The workers that ``owner`` is emptying now. Only reads.

        Raises:
            BrokerError: when Redis fails.
        """
        with broker_errors():
            stored: Any = self._redis().hgetall(self._key)
        found = [_parse(name.decode(errors="replace"), text) for name, text in stored.items()]
        return frozenset(
            one.worker for one in self.active_cancellations(filter(None, found)) if one.owner == owner
        )

    def active_cancellations(self, cancellations: Iterable[Cancellation]) -> list[Cancellation]:
        """Those whose owner is still at work."""
        return [one for one in cancellations if one.until > self._wall()]

    def orphaned(self, cancellations: Iterable[Cancellation], *, just_started: bool) -> list[Cancellation]:
        """Those whose owner is gone: past their time and, after a start, our own earlier ones."""
        now = self._wall()
        return [
            one for one in cancellations if one.until < now or (just_started and one.owner == self._owner)
        ]

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
    return bool(replies) and not any("error" in reply for reply in replies if isinstance(reply, dict))


def _parse(worker: str, text: str | bytes) -> Cancellation | None:
    try:
        stored = json.loads(text)
        return Cancellation(
            worker=worker,
            queues=tuple(map(str, stored["queues"])),
            until=float(stored["until"]),
            owner=str(stored["owner"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
