"""A shrink without the companion that loses nothing: empty the worker first. Off unless configured.

Cancel the worker's consumers, wait over the next ticks until it runs and holds nothing, shrink, and restore
the consumers. Other workers of the queue go on; this one fetches nothing meanwhile. ETA tasks that fire in
between can still be lost.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.broker.errors import BrokerError
from autoscaler.control.evacuate import Evacuation, Stage
from autoscaler.control.given_back import GivenBack
from autoscaler.control.resize import ResizeRequest
from autoscaler.core.model import Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from autoscaler.control.consumers import Cancellation, Consumers
    from autoscaler.control.resize import WorkerResizer
    from autoscaler.core.model import WorkerReading

_LOOK_FOR_ORPHANS_EVERY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Pending:
    evacuation: Evacuation
    target: int


class QuiescingResizer:
    """Resizes by ``resizer`` and, where ``quiesces``, empties a worker without companion before a shrink.

    It also restores the consumers that a run that died has left cancelled, and again those that it restored
    and a reconnect has lost. Times are monotonic seconds, given by the caller.
    """

    def __init__(
        self, resizer: WorkerResizer, consumers: Consumers, *, quiesces: bool, deadline_seconds: float
    ) -> None:
        self._resizer = resizer
        self._consumers = consumers
        self._quiesces = quiesces
        self._deadline_seconds = deadline_seconds
        self._pending: dict[str, _Pending] = {}
        self._look_at: float | None = None
        self._tried_at: dict[str, float] = {}
        self._given_back = GivenBack()
        #: The workers whose consumers are cancelled by somebody at work, as last read.
        self._cancelled: frozenset[str] = frozenset()

    @property
    def cancelled(self) -> frozenset[str]:
        """The workers whose consumers are cancelled on purpose and will be restored: here or by a drain."""
        return self._cancelled | self._pending.keys()

    def resize(self, requests: Sequence[ResizeRequest], now: float) -> list[Outcome]:
        """An outcome for each request, in their order; a worker that must be emptied first is begun with.

        It never raises for what the broker or a worker does.
        """
        direct = [request for request in requests if not self._must_empty(request)]
        outcomes = iter(self._resizer.resize(direct))
        return [
            self._begin(request, now) if self._must_empty(request) else next(outcomes) for request in requests
        ]

    def _must_empty(self, request: ResizeRequest) -> bool:
        reading = request.reading
        return (
            self._quiesces
            and not reading.companion
            and reading.processes is not None
            and request.target < reading.processes
        )

    def _begin(self, request: ResizeRequest, now: float) -> Outcome:
        reading, until = request.reading, now + self._deadline_seconds
        evacuation = Evacuation(self._consumers, reading.name, reading.queues, deadline=until)
        self._pending[reading.name] = _Pending(evacuation, request.target)
        self._given_back.forget(reading.name)
        result, detail = Result.BEGUN, None
        try:
            evacuation.cancel(now)
        except BrokerError as fault:
            result, detail = Result.UNKNOWN, str(fault)
        return Outcome(
            worker=reading.name,
            before=reading.processes,
            target=request.target,
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
            try:
                stage = pending.evacuation.advance(reading, now)
            except BrokerError:
                stage = Stage.EMPTYING
            if stage is Stage.EMPTY and reading is not None:
                outcomes += self._shrink(reading, pending)
            elif now > pending.evacuation.deadline:
                outcomes += self._finish(pending, reading, "it did not become empty in time")
        return outcomes

    def close(self) -> None:
        """Restore all that is cancelled now; what cannot be restored stays recorded for the next start."""
        cancellations = [pending.evacuation.cancellation for pending in self._pending.values()]
        self._pending.clear()
        with suppress(BrokerError):
            self._consumers.restore_all(cancellations)

    def _shrink(self, reading: WorkerReading, pending: _Pending) -> list[Outcome]:
        outcomes = []
        if reading.unsupported is None and (reading.processes or 0) > pending.target:
            outcomes += self._resizer.resize([ResizeRequest(reading=reading, target=pending.target)])
        return outcomes + self._finish(pending, reading, None)

    def _finish(self, pending: _Pending, reading: WorkerReading | None, why: str | None) -> list[Outcome]:
        restored = self._restore(pending)
        if restored and why is None:
            return []
        detail = why if restored else "its consumers are still cancelled; they are restored when it answers"
        return [
            Outcome(
                worker=pending.evacuation.worker,
                before=reading.processes if reading else None,
                target=pending.target,
                command="quiesce",
                result=Result.REFUSED if restored else Result.UNKNOWN,
                detail=detail,
            )
        ]

    def _restore(self, pending: _Pending) -> bool:
        """Whether the consumers were restored; if not, the record remains and it is tried again later."""
        self._pending.pop(pending.evacuation.worker, None)
        restored = pending.evacuation.restore()
        if restored:
            self._given_back.note(pending.evacuation.cancellation)
        return restored

    def restore_lost(
        self, readings: Mapping[str, WorkerReading], left_alone: Callable[[str], bool]
    ) -> list[Cancellation]:
        """Restore again what was restored here and a reconnect has lost; what was restored.

        ``left_alone`` says of a worker whether an administrator wants nothing done with it.
        """
        found = self._given_back.lost(readings, left_alone)
        lost = [one for one in found if one.worker not in self.cancelled]
        if not lost:
            return []
        with suppress(BrokerError):
            restored = self._consumers.restore_all(lost)
            done = [one for one in lost if one.worker in restored]
            for one in done:
                self._given_back.note(one)
            return done
        return []

    def restore_orphans(self, now: float) -> list[Cancellation]:
        """Restore what a run that died left cancelled: one worker at a time, the longest untried first."""
        if self._look_at is not None and now < self._look_at:
            return []
        restored: list[Cancellation] = []
        try:
            recorded = self._consumers.cancellations()
            found = self._consumers.orphaned(recorded, just_started=self._look_at is None)
            self._cancelled = frozenset({one.worker for one in recorded} - {one.worker for one in found})
            found = [one for one in found if one.worker not in self._pending]
            self._tried_at = {
                one.worker: self._tried_at[one.worker] for one in found if one.worker in self._tried_at
            }
            if found:
                orphan = min(found, key=lambda one: self._tried_at.get(one.worker, -1.0))
                self._tried_at[orphan.worker] = now
                if self._consumers.restore(orphan):
                    self._given_back.note(orphan)
                    restored.append(orphan)
                    if len(found) > 1:
                        return restored  # the next one in the next tick
        except BrokerError:
            return restored
        self._look_at = now + _LOOK_FOR_ORPHANS_EVERY_SECONDS
        return restored
