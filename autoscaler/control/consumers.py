"""Stops and resumes what a worker consumes, and forgets nothing about it.

What is to be cancelled is written down in Redis *before* it is cancelled: whoever dies in between leaves a
worker deaf, and the next to start finds the note and gives the queues back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from redis import Redis

#: A note that nobody could act on for so long speaks of a worker that is gone.
_FORGET_SECONDS = 3600.0


class RemoteCall(Protocol):
    """One remote-control command to named workers, with bounded time."""

    def call(
        self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]
    ) -> dict[str, list[Any]]:
        """The replies by worker; one that is missing did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What was cancelled on a worker, by whom, and until when (epoch seconds) that one minds it."""

    worker: str
    queues: tuple[str, ...]
    until: float = 0.0
    owner: str = ""


class Consumers:
    """Cancels and adds consumers, with notes of ``owner`` under ``key``.

    ``wall`` is a clock of epoch seconds.
    """

    def __init__(
        self,
        remote: RemoteCall,
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
        """Write the note, then cancel; True where the worker answered for every queue.

        Raises:
            OSError, kombu and redis errors: when the broker fails; the note tells what may be cancelled.
        """
        until = self._wall() + for_seconds
        note = json.dumps({"queues": list(queues), "until": until, "owner": self._owner})
        self._redis().hset(self._key, worker, note)
        return self._each("cancel_consumer", worker, queues)

    def restore(self, note: Note) -> bool:
        """Add the consumers again; True, and the note is gone, where the worker answered for every queue.

        Raises:
            OSError, kombu and redis errors: when the broker fails; the note stays.
        """
        if not self._each("add_consumer", note.worker, note.queues):
            return False
        self.forget(note.worker)
        return True

    def forget(self, worker: str) -> None:
        """Drop the note of a worker that needs nothing back."""
        self._redis().hdel(self._key, worker)

    def notes(self) -> list[Note]:
        """All notes that can be acted on; those that nobody can are dropped.

        Raises:
            redis.RedisError: when Redis fails.
        """
        found = []
        stored: Any = self._redis().hgetall(self._key)
        for name, text in stored.items():
            worker = name.decode(errors="replace")
            try:
                told = json.loads(text)
                note = Note(
                    worker=worker,
                    queues=tuple(map(str, told["queues"])),
                    until=float(told["until"]),
                    owner=str(told["owner"]),
                )
            except (ValueError, TypeError, KeyError):
                self.forget(worker)
                continue
            if self._wall() - note.until > _FORGET_SECONDS:
                self.forget(worker)
            else:
                found.append(note)
        return found

    def active_cancellations(self, notes: Iterable[Note]) -> list[Note]:
        """Those of the notes that somebody minds now."""
        return [note for note in notes if note.until > self._wall()]

    def orphaned(self, *, just_started: bool) -> list[Note]:
        """The notes that nobody minds: those past their time and, after a start, our own earlier ones."""
        now = self._wall()
        return [
            note for note in self.notes() if note.until < now or (just_started and note.owner == self._owner)
        ]

    def _each(self, command: str, worker: str, queues: Sequence[str]) -> bool:
        for queue in queues:
            replies = self._remote.call(command, {"queue": queue}, [worker]).get(worker, [])
            if not replies or any("error" in reply for reply in replies):
                return False  # silence costs the whole timeout: it is not asked again for each queue
        return True
