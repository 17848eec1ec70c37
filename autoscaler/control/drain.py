"""Takes workers out of service without losing or repeating a task.

For each worker: empty it (:mod:`autoscaler.control.evacuate`) and only then shut it down. A plain shutdown
under traffic repeats tasks, since fetched messages go back to the queue while some have begun. A worker that
does not become empty by the deadline gets its consumers back and is left running. A worker counts as drained
only by evidence: its mailbox is gone, another worker of its name has started, or it stays unresponsive for
long; in the last case the record of the cancellation is kept, in case it is alive after all.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from autoscaler.broker.errors import BrokerError
from autoscaler.control.evacuate import Evacuation, Stage, cancel, restore

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from autoscaler.control.consumers import Consumers
    from autoscaler.control.remote import RemoteCast
    from autoscaler.core.model import WorkerReading

#: Whose records those of the command ``autoscaler drain`` are: a pod that leaves runs it.
OWNER = "drain"
_LOOK_EVERY_SECONDS = 0.25
#: How long a worker that was sent a shutdown may take to be gone.
_GONE_WITHIN_SECONDS = 20.0
#: Without other evidence, so many looks in a row and so long without an answer count as gone.
_GONE_AFTER_MISSES = 5
_GONE_AFTER_SECONDS = 10.0
#: Celery tries to connect again every 30 s at last: by then those that lost the broker have found it.
_RECONNECT_SECONDS = 35.0
#: The record outlives the deadline by this, so that nobody restores what is still being drained.
_RECORD_MARGIN_SECONDS = 30.0


class Phase(StrEnum):
    """How far a worker's drain has come. The values are public: they are written in JSON."""

    EMPTYING = "emptying"
    SETTLING = "settling"
    STOPPING = "stopping"
    DRAINED = "drained"
    RESTORED = "given_back"  # not drained: its consumers were added again, and it runs on
    GONE = "gone"  # not drained, and it did not answer when its consumers were to be added again


_ENDED = frozenset({Phase.DRAINED, Phase.RESTORED, Phase.GONE})
_PHASE_OF = {Stage.EMPTYING: Phase.EMPTYING, Stage.SETTLING: Phase.SETTLING, Stage.EMPTY: Phase.STOPPING}


@dataclass(slots=True)
class Progress:
    """One worker's drain. ``busy`` and ``reserved`` are as last read, None where unknown.

    ``since`` is when the phase began, in seconds of the drain's monotonic clock.
    """

    worker: str
    queues: tuple[str, ...]
    phase: Phase = Phase.EMPTYING
    busy: int | None = None
    reserved: int | None = None
    since: float = 0.0

    def enter(self, phase: Phase, now: float) -> None:
        """Go on to a phase, which begins now."""
        if phase is not self.phase:
            self.phase, self.since = phase, now


class DrainError(RuntimeError):
    """A drain that must not begin; the message says why and what to do.

    ``forcible`` is whether force begins it nevertheless. How force is asked for is the caller's to say.
    """

    def __init__(self, message: str, *, forcible: bool = False) -> None:
        super().__init__(message)
        self.forcible = forcible

    def with_advice(self, force: str) -> str:
        """The message, and ``force`` as what else may be done where force helps."""
        return f"{self}, or {force}" if self.forcible else str(self)


class Readings(Protocol):
    """Reads the workers that are to be drained or, for the look before it begins, all there are."""

    def __call__(self, *, everyone: bool) -> Sequence[WorkerReading]:
        """Those that answer now."""


def refuse(named: Collection[str], workers: Sequence[WorkerReading], *, force: bool) -> None:
    """Refuse what would or could leave a queue without a worker, or names one that does not answer.

    Raises:
        DrainError: in one line.
    """
    answering = {reading.name for reading in workers}
    unknown = sorted(set(named) - answering)
    if unknown:
        others = f"; those that do: {', '.join(sorted(answering))}"
        if not answering:
            others = ", nor does any other; does the URL name Celery's broker and its database?"
        raise DrainError(f"worker {unknown[0]!r} does not answer{others}")
    unsaid = sorted(one.name for one in workers if one.name in named and not one.queues_known)
    if unsaid and not force:
        raise DrainError(
            f"worker {unsaid[0]!r} does not say which queues it consumes, so that one could be left without a"
            " worker; try again",
            forcible=True,
        )
    kept = {queue for reading in workers if reading.name not in named for queue in reading.queues}
    left = sorted({queue for reading in workers if reading.name in named for queue in reading.queues} - kept)
    if left and not force:
        raise DrainError(
            f"queue {left[0]!r} would be left without a worker; start another one", forcible=True
        )


@dataclass(slots=True)
class _Worker:
    progress: Progress
    evacuation: Evacuation
    reading: WorkerReading | None = None
    misses: int = 0
    missed_since: float | None = None

    @property
    def shown(self) -> tuple[Phase, int | None, int | None]:
        """What a change of is reported."""
        return self.progress.phase, self.progress.busy, self.progress.reserved

    def take(self, reading: WorkerReading | None) -> None:
        """Take in what was read of it, None where it did not answer."""
        self.reading = reading
        self.progress.busy = reading.busy if reading else None
        self.progress.reserved = reading.reserved if reading else None


class Drain:
    """The drain of some workers. ``read`` reads them; ``on_progress`` is called when something has changed.

    ``mailboxes`` names the workers that have a mailbox now, None where that is unknown. ``wait`` may return
    early once ``stopped``, as ``Event.wait`` does; from then on ``sleep`` is the pause between two looks.

    A fault of the broker is waited for until the deadline, unless it ``is_final``. After each look
    ``on_fault`` is called with its fault, None where it had none.
    """

    def __init__(
        self,
        remote: RemoteCast,
        consumers: Consumers,
        read: Readings,
        *,
        on_progress: Callable[[Progress], None],
        on_fault: Callable[[BrokerError | None], None] = lambda _: None,
        is_final: Callable[[BrokerError], bool] = lambda fault: fault.permanent,
        mailboxes: Callable[[], Collection[str] | None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        wait: Callable[[float], object] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._remote = remote
        self._consumers = consumers
        self._read = read
        self._on_progress = on_progress
        self._on_fault = on_fault
        self._is_final = is_final
        self._mailboxes = mailboxes
        self._monotonic = monotonic
        self._sleep = sleep
        self._wait = wait or sleep
        self._stopped = stopped

    def run(self, named: Sequence[str], *, deadline_seconds: float, force: bool = False) -> list[Progress]:
        """Drain the named workers and return how each ended: drained, gone, or its consumers restored.

        Raises:
            DrainError: before anything is cancelled, when it must not begin.
            BrokerError: when the broker fails at the deadline or for good; what is cancelled is recorded.
        """
        workers = self._begin(named, self._monotonic() + deadline_seconds, force=force)
        try:
            try:
                self._cancel(workers)
            except BrokerError as fault:  # the next look cancels again
                self._take_fault(fault, over=self._stopped())
            for one in workers:
                self._on_progress(one.progress)
            while running := [one for one in workers if one.progress.phase not in _ENDED]:
                self._look(running)
                pause = self._sleep if self._stopped() else self._wait
                pause(_LOOK_EVERY_SECONDS)
        finally:
            # Interrupted, or the broker failed for good: no worker stays without consumers that need not.
            left = [one for one in workers if one.progress.phase in {Phase.EMPTYING, Phase.SETTLING}]
            self._restore(left)
            for one in left:
                self._on_progress(one.progress)
        return [one.progress for one in workers]

    def _begin(self, named: Sequence[str], deadline: float, *, force: bool) -> list[_Worker]:
        """What is to be drained, once the broker answers.

        Where it did not, the workers have lost it too: they are refused by what they answer only after they
        have had the time to find it again.
        """
        answer_by = -math.inf
        while True:
            at = self._monotonic()
            over = self._stopped() or at > deadline
            try:
                workers = self._prepare(named, deadline, force=force)
            except BrokerError as fault:
                self._take_fault(fault, over=over)
                answer_by = math.inf
            except DrainError:
                self._on_fault(None)
                answer_by = min(answer_by, at + _RECONNECT_SECONDS)
                if over or at > answer_by:
                    raise
            else:
                self._on_fault(None)
                return workers
            self._wait(_LOOK_EVERY_SECONDS)

    def _prepare(self, named: Sequence[str], deadline: float, *, force: bool) -> list[_Worker]:
        readings = self._read(everyone=True)
        refuse(named, readings, force=force)
        recorded = {one.worker: one for one in self._consumers.cancellations()}
        active = {one.worker for one in self._consumers.active_cancellations(recorded.values())}
        others = sorted(set(named) & active)
        if others and not force:
            owner = recorded[others[0]].owner
            raise DrainError(
                f"worker {others[0]!r} is emptied already, by {owner}; wait for that", forcible=True
            )
        consumed = {reading.name: reading.queues for reading in readings}
        workers = []
        for name in sorted(set(named)):
            # What somebody else has cancelled is restored with the rest.
            queues = {*consumed[name], *(recorded[name].queues if name in recorded else ())}
            evacuation = Evacuation(name, queues, deadline=deadline, margin_seconds=_RECORD_MARGIN_SECONDS)
            progress = Progress(worker=name, queues=evacuation.queues, since=self._monotonic())
            workers.append(_Worker(progress, evacuation))
        return workers

    def _look(self, workers: Sequence[_Worker]) -> None:
        since = self._monotonic()
        over = self._stopped() or since > workers[0].evacuation.deadline
        before = [one.shown for one in workers]
        try:
            readings = {reading.name: reading for reading in self._read(everyone=False)}
            for one in workers:
                one.take(readings.get(one.progress.worker))
            self._advance(workers, since, over=over)
        except BrokerError as fault:
            self._take_fault(fault, over=over)
        else:
            self._on_fault(None)
        for one, shown in zip(workers, before, strict=True):
            if shown != one.shown:
                self._on_progress(one.progress)

    def _take_fault(self, fault: BrokerError, *, over: bool) -> None:
        """Report a fault that is waited for; raise one that is not."""
        if over or self._is_final(fault):
            raise fault
        self._on_fault(fault)

    def _advance(self, workers: Sequence[_Worker], since: float, *, over: bool) -> None:
        """Go on with all of them by what was read no earlier than ``since``."""
        now = self._monotonic()
        stopping = [one for one in workers if one.progress.phase is Phase.STOPPING]
        evacuated = [one for one in workers if one.progress.phase is not Phase.STOPPING]
        # A shutdown that did not reach a worker: it must consume again.
        ignored = [one for one in stopping if not self._await_end(one, now)]
        self._restore([*ignored, *evacuated] if over else ignored)
        if not over:
            self._empty(evacuated, since, now)

    def _empty(self, workers: Sequence[_Worker], since: float, now: float) -> None:
        """Shut down those that are empty, and cancel again what the others consume."""
        phases = [_PHASE_OF[one.evacuation.advance(one.reading, since, now)] for one in workers]
        empty = [one for one, phase in zip(workers, phases, strict=True) if phase is Phase.STOPPING]
        if empty:
            self._remote.cast("shutdown", {}, [one.progress.worker for one in empty])
        for one, phase in zip(workers, phases, strict=True):
            one.progress.queues = one.evacuation.queues
            one.progress.enter(phase, now)
        self._cancel([one for one in workers if one.evacuation.must_cancel_again(now)])

    def _await_end(self, one: _Worker, now: float) -> bool:
        """Whether a worker that was sent a shutdown has ended, or still may."""
        progress, reading = one.progress, one.reading
        if reading is None:
            one.misses += 1
            one.missed_since = now if one.missed_since is None else one.missed_since
            self._judge_silence(one, now, now - one.missed_since)
            return True
        one.misses, one.missed_since = 0, None
        if reading.uptime_seconds is not None and reading.uptime_seconds < now - progress.since:
            progress.enter(Phase.DRAINED, now)  # its supervisor has started another one already
            self._consumers.forget([progress.worker])
            return True
        return now - progress.since <= _GONE_WITHIN_SECONDS

    def _judge_silence(self, one: _Worker, now: float, seconds: float) -> None:
        """One missed reply proves nothing: the worker may be busy, or its reply may have come too late."""
        mailboxes = self._mailboxes()
        if mailboxes is not None and one.progress.worker not in mailboxes and one.misses > 1:
            self._consumers.forget([one.progress.worker])
            one.progress.enter(Phase.DRAINED, now)
        elif one.misses >= _GONE_AFTER_MISSES and seconds >= _GONE_AFTER_SECONDS:
            one.progress.enter(Phase.DRAINED, now)  # the record stays, for a worker that is alive after all

    def _cancel(self, workers: Sequence[_Worker]) -> None:
        # By force: that nobody else is at it was looked at in the beginning.
        cancel(self._consumers, [one.evacuation for one in workers], self._monotonic(), force=True)

    def _restore(self, workers: Sequence[_Worker]) -> None:
        restored = restore(self._consumers, [one.evacuation for one in workers])
        now = self._monotonic()
        for one in workers:
            one.progress.enter(Phase.RESTORED if one.progress.worker in restored else Phase.GONE, now)
