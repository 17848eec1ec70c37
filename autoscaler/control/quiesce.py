"""A shrink without the companion that loses nothing: empty the worker first. Asked for, never the default.

Cancel the worker's consumers, wait over the next ticks until it runs and holds nothing, shrink, and give the
consumers back. Other workers of the queue go on; this one takes nothing in meanwhile. ETA tasks that fire in
between can still be hit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from autoscaler.control.consumers import Note
from autoscaler.core.model import Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autoscaler.control.consumers import Consumers
    from autoscaler.control.resize import WorkerResizer
    from autoscaler.core.model import WorkerReading

_FAULTS = (OSError, RedisError, KombuError)
#: kombu's fetch blocks for 1 s; one that began before the cancelling may still bring a message.
_FETCH_SECONDS = 1.2
_LOOK_FOR_NOTES_EVERY_SECONDS = 30.0


@dataclass(slots=True)
class _Pending:
    note: Note
    target: int
    deadline: float
    empty_since: float | None = None


class QuiescingResizer:
    """Resizes by ``actuator`` and, where ``quiesces``, empties a worker without companion before a shrink.

    It also gives back what a run that died has left cancelled. Times are monotonic seconds, given by the
    caller.
    """

    def __init__(
        self, actuator: WorkerResizer, consumers: Consumers, *, quiesces: bool, deadline_seconds: float
    ) -> None:
        self._actuator = actuator
        self._consumers = consumers
        self._quiesces = quiesces
        self._deadline_seconds = deadline_seconds
        self._pending: dict[str, _Pending] = {}
        self._look_at: float | None = None
        self._tried: dict[str, float] = {}

    def resize(self, reading: WorkerReading, target: int, now: float) -> Outcome:
        """Resize at once or, where the worker must be emptied first, begin with that."""
        before = reading.processes
        if reading.companion or not self._quiesces or before is None or target > before:
            return self._actuator.resize(reading, target)
        until = now + self._deadline_seconds
        note = Note(worker=reading.name, queues=reading.queues)
        self._pending[reading.name] = _Pending(note=note, target=target, deadline=until)
        result, detail = Result.BEGUN, None
        try:
            self._consumers.cancel(reading.name, reading.queues, for_seconds=self._deadline_seconds)
        except _FAULTS as fault:
            result, detail = Result.UNKNOWN, f"{type(fault).__name__}: {fault}"
        return Outcome(
            worker=reading.name,
            before=before,
            target=target,
            command="quiesce",
            result=result,
            detail=detail,
            settles_at=until,
        )

    def advance(self, readings: Mapping[str, WorkerReading], now: float) -> list[Outcome]:
        """Go on with what has begun, by what was just read."""
        outcomes = []
        for name, pending in list(self._pending.items()):
            reading = readings.get(name)
            empty = reading is not None and _is_empty(reading)
            pending.empty_since = (pending.empty_since or now) if empty else None
            if empty and reading is not None and now - (pending.empty_since or now) >= _FETCH_SECONDS:
                outcomes += self._shrink(reading, pending)
            elif now > pending.deadline:
                outcomes += self._finish(pending, reading, "it did not become empty in time")
        return outcomes

    def close(self) -> None:
        """Give back all that is cancelled now; what cannot be given back stays noted for the next start."""
        for pending in list(self._pending.values()):
            if not self._give_back(pending):
                return  # a silent worker or broker costs its timeout: once, not for each

    def _shrink(self, reading: WorkerReading, pending: _Pending) -> list[Outcome]:
        outcomes = []
        if reading.unsupported is None and (reading.processes or 0) > pending.target:
            outcomes.append(self._actuator.resize(reading, pending.target))
        return outcomes + self._finish(pending, reading, None)

    def _finish(self, pending: _Pending, reading: WorkerReading | None, why: str | None) -> list[Outcome]:
        given_back = self._give_back(pending)
        if given_back and why is None:
            return []
        size = reading.processes if reading and reading.processes is not None else pending.target
        detail = (
            why if given_back else "its consumers are still cancelled; they are given back when it answers"
        )
        return [
            Outcome(
                worker=pending.note.worker,
                before=size,
                target=pending.target,
                command="quiesce",
                result=Result.REFUSED if given_back else Result.UNKNOWN,
                detail=detail,
            )
        ]

    def _give_back(self, pending: _Pending) -> bool:
        """Whether the consumers were given back; if not, the note sees to it later."""
        self._pending.pop(pending.note.worker, None)
        try:
            return self._consumers.restore(pending.note)
        except _FAULTS:
            return False

    def restore_orphans(self, now: float) -> None:
        """Give back what a run that died has left cancelled: one worker a time, the longest untried first."""
        if self._look_at is not None and now < self._look_at:
            return
        try:
            left = self._consumers.orphaned(just_started=self._look_at is None)
            left = [note for note in left if note.worker not in self._pending]
            if left:
                note = min(left, key=lambda note: self._tried.get(note.worker, -1.0))
                self._tried[note.worker] = now
                if self._consumers.restore(note) and len(left) > 1:
                    return  # the next one in the next tick
        except _FAULTS:
            return
        self._look_at = now + _LOOK_FOR_NOTES_EVERY_SECONDS


def _is_empty(reading: WorkerReading) -> bool:
    """Whether the worker runs and holds nothing and, as it says itself, fetches nothing either."""
    return reading.busy == 0 and reading.reserved == 0 and reading.queues_known and not reading.queues
