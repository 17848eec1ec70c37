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
from autoscaler.control.evacuate import Evacuation, Stage, cancel, restore
from autoscaler.control.given_back import GivenBack
from autoscaler.control.resize import ResizeRequest
from autoscaler.core.model import Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from autoscaler.control.consumers import Cancellation, Consumers
    from autoscaler.control.resize import WorkerResizer
    from autoscaler.core.model import WorkerReading

_LOOK_FOR_ORPHANS_EVERY_SECONDS = 30.0
_STILL_CANCELLED = "its consumers are still cancelled; they are restored when it answers"


@dataclass(frozen=True, slots=True)
class _Pending:
    evacuation: Evacuation
    target: int

    @property
    def name(self) -> str:
        return self.evacuation.worker


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
        begun = iter(self._begin([request for request in requests if self._must_empty(request)], now))
        return [next(begun if self._must_empty(request) else outcomes) for request in requests]

    def _must_empty(self, request: ResizeRequest) -> bool:
        reading = request.reading
        return (
            self._quiesces
            and not reading.companion
            and reading.processes is not None
            and request.target < reading.processes
        )

    def _begin(self, requests: Sequence[ResizeRequest], now: float) -> list[Outcome]:
        until = now + self._deadline_seconds
        evacuations = {
            one.reading.name: Evacuation(one.reading.name, one.reading.queues, deadline=until)
            for one in requests
        }
        fault, begun = None, frozenset(evacuations)
        try:
            begun = cancel(self._consumers, list(evacuations.values()), now)
        except BrokerError as error:
            fault = str(error)  # it may have been sent: it goes on, and ends at the deadline at the latest
        for one in requests:
            if one.reading.name in begun:
                self._pending[one.reading.name] = _Pending(evacuations[one.reading.name], one.target)
                self._given_back.forget(one.reading.name)
        return [_begun(one, until, fault, emptied=one.reading.name not in begun) for one in requests]

    def advance(
        self,
        readings: Mapping[str, WorkerReading],
        left_alone: Callable[[str], bool],
        *,
        since: float,
        now: float,
    ) -> list[Outcome]:
        """Go on with what has begun, by what was read no earlier than ``since``.

        What an administrator has paused or held meanwhile (``left_alone``) is not shrunk any more.
        """
        ended = [one for one in self._pending.values() if left_alone(one.name)]
        outcomes = self._finish(
            ended, readings, "an administrator pauses the autoscaler or holds this worker"
        )
        pending = list(self._pending.values())
        stages = {one.name: one.evacuation.advance(readings.get(one.name), since, now) for one in pending}
        empty = [one for one in pending if stages[one.name] is Stage.EMPTY]
        late = [one for one in pending if one not in empty and now > one.evacuation.deadline]
        again = [one.evacuation for one in pending if one.evacuation.must_cancel_again(now)]
        outcomes += self._shrink([(one, readings[one.name]) for one in empty])
        outcomes += self._finish(empty, readings)
        outcomes += self._finish(late, readings, "it did not become empty in time")
        with suppress(BrokerError):
            cancel(self._consumers, again, now)
        return outcomes

    def close(self) -> None:
        """Restore all that is cancelled now; what cannot be restored stays recorded for the next start."""
        evacuations = [pending.evacuation for pending in self._pending.values()]
        self._pending.clear()
        restore(self._consumers, evacuations)

    def _shrink(self, empty: Sequence[tuple[_Pending, WorkerReading]]) -> list[Outcome]:
        requests = [
            ResizeRequest(reading=reading, target=one.target)
            for one, reading in empty
            if reading.unsupported is None and (reading.processes or 0) > one.target
        ]
        return self._resizer.resize(requests)

    def _finish(
        self, ended: Sequence[_Pending], readings: Mapping[str, WorkerReading], why: str | None = None
    ) -> list[Outcome]:
        """Restore the consumers of all these; an outcome for each that did not go as it should.

        ``why`` is why they were not shrunk, None where they were.
        """
        for one in ended:
            del self._pending[one.name]
        restored = restore(self._consumers, [one.evacuation for one in ended])
        outcomes = []
        for one in ended:
            if one.name in restored:
                self._given_back.note(one.evacuation.cancellation)
            detail = why if one.name in restored else _STILL_CANCELLED
            if detail is not None:
                outcomes.append(_ended(one, readings.get(one.name), detail))
        return outcomes

    def restore_lost(
        self, readings: Mapping[str, WorkerReading], left_alone: Callable[[str], bool]
    ) -> list[Cancellation]:
        """Restore again what was restored here and a reconnect has lost; what was restored.

        ``left_alone`` says of a worker whether an administrator wants nothing done with it.

        Raises:
            BrokerError: when the broker fails; it is tried again the next time.
        """
        found = self._given_back.lost(readings, left_alone)
        return self._restore_all([one for one in found if one.worker not in self.cancelled])

    def restore_orphans(self, readings: Mapping[str, WorkerReading], now: float) -> list[Cancellation]:
        """Restore what a run that died left cancelled, all within one timeout: many may be gone for good.

        A worker that has started since needs nothing.

        Raises:
            BrokerError: when the broker fails; it is tried again the next time.
        """
        if self._look_at is not None and now < self._look_at:
            return []
        recorded = self._consumers.cancellations()
        found = self._consumers.orphaned(recorded, just_started=self._look_at is None)
        self._cancelled = frozenset({one.worker for one in recorded} - {one.worker for one in found})
        obsolete = {one for one in found if self._has_started_since(one, readings)}
        self._consumers.forget([one.worker for one in obsolete])
        found = [one for one in found if one.worker not in self._pending and one not in obsolete]
        done = self._restore_all(found)
        # Only after a try: for long no daemon may have been there.
        self._consumers.forget_old(one for one in found if one not in done)
        self._look_at = now + _LOOK_FOR_ORPHANS_EVERY_SECONDS
        return done

    def _has_started_since(self, one: Cancellation, readings: Mapping[str, WorkerReading]) -> bool:
        reading = readings.get(one.worker)
        return reading is not None and self._consumers.is_of_another(one, reading)

    def _restore_all(self, found: Sequence[Cancellation]) -> list[Cancellation]:
        restored = self._consumers.restore_all(found)
        done = [one for one in found if one.worker in restored]
        for one in done:
            self._given_back.note(one)
        return done


def _begun(request: ResizeRequest, until: float, fault: str | None, *, emptied: bool) -> Outcome:
    """What came of the beginning; ``emptied`` is True where somebody else empties the worker."""
    result = Result.REFUSED if emptied else Result.BEGUN if fault is None else Result.UNKNOWN
    return Outcome(
        worker=request.reading.name,
        before=request.reading.processes,
        target=request.target,
        command="quiesce",
        result=result,
        detail="somebody else is emptying it, such as a drain" if emptied else fault,
        settles_at=None if emptied else until,
    )


def _ended(pending: _Pending, reading: WorkerReading | None, detail: str) -> Outcome:
    """What came of one that was not shrunk, or whose consumers could not be restored."""
    return Outcome(
        worker=pending.name,
        before=reading.processes if reading else None,
        target=pending.target,
        command="quiesce",
        result=Result.UNKNOWN if detail == _STILL_CANCELLED else Result.REFUSED,
        detail=detail,
    )
