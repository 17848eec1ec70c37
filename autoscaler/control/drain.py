"""Takes workers out of service without losing or repeating a task.

For each worker: cancel its consumers, wait until it runs and holds nothing (ETA tasks are left out: its
shutdown gives them back), wait out a fetch that may be under way, look again, and only then shut it down. A
plain shutdown under traffic repeats tasks, since fetched messages go back to the queue while some have begun.
A worker that does not become empty by the deadline gets its consumers back and is left running.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from autoscaler.control.consumers import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from autoscaler.control.consumers import Consumers
    from autoscaler.core.model import WorkerReading

#: kombu's fetch blocks for 1 s; one that began before the cancelling may still bring a message.
_FETCH_SECONDS = 1.2
_LOOK_EVERY_SECONDS = 0.25
#: How long a worker that was told to shut down may take to be gone.
_GONE_WITHIN_SECONDS = 20.0
#: The note outlives the deadline by this, so that nobody gives back what is still being active_cancellations.
_NOTE_MARGIN_SECONDS = 30.0


_FAULTS = (OSError, RedisError, KombuError)


class Phase(StrEnum):
    """How far a worker's drain has come."""

    EMPTYING = "emptying"
    SETTLING = "settling"
    STOPPING = "stopping"
    DRAINED = "drained"
    GIVEN_BACK = "given_back"
    GONE = "gone"


_ENDED = frozenset({Phase.DRAINED, Phase.GIVEN_BACK, Phase.GONE})


@dataclass(slots=True)
class Progress:
    """One worker's drain. ``busy`` and ``reserved`` are as last read, None where the worker did not tell."""

    worker: str
    queues: tuple[str, ...]
    phase: Phase = Phase.EMPTYING
    busy: int | None = None
    reserved: int | None = None
    since: float = 0.0


class DrainError(RuntimeError):
    """A drain that must not begin; the message says why and what to do."""


class RemoteCast(Protocol):
    """One remote-control command to named workers that is not answered."""

    def cast(self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]) -> None:
        """Send it."""


class Readings(Protocol):
    """Reads the workers that are to be drained or, for the look before it begins, all there are."""

    def __call__(self, *, everyone: bool) -> Sequence[WorkerReading]:
        """Those that answer now."""


def refuse(named: Collection[str], workers: Sequence[WorkerReading], *, force: bool) -> None:
    """Refuse what would leave a queue without a worker, or names a worker that does not answer.

    Raises:
        DrainError: in one line.
    """
    answering = {reading.name for reading in workers}
    unknown = sorted(set(named) - answering)
    if unknown:
        there = ", ".join(sorted(answering)) or "none"
        raise DrainError(f"worker {unknown[0]!r} does not answer; those that do: {there}")
    kept = {queue for reading in workers if reading.name not in named for queue in reading.queues}
    left = sorted({queue for reading in workers if reading.name in named for queue in reading.queues} - kept)
    if left and not force:
        raise DrainError(
            f"queue {left[0]!r} would be left without a worker; start another one, or drain it by force"
        )


def _united(some: Collection[str], others: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted({*some, *others}))


class Drain:
    """The drain of some workers. ``read`` reads them; ``tell`` is called when something has changed."""

    def __init__(
        self,
        remote: RemoteCast,
        consumers: Consumers,
        read: Readings,
        *,
        tell: Callable[[Progress], None],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._stopped = stopped
        self._remote = remote
        self._consumers = consumers
        self._read = read
        self._tell = tell
        self._monotonic = monotonic
        self._sleep = sleep
        self._minded_seconds = 0.0

    def run(self, named: Sequence[str], *, deadline_seconds: float, force: bool = False) -> list[Progress]:
        """Drain the named workers and return how each ended: drained, gone or given back.

        Raises:
            DrainError: before anything is cancelled, when it must not begin.
            OSError, kombu and redis errors: when the broker fails; notes tell what is cancelled.
        """
        workers = self._read(everyone=True)
        refuse(named, workers, force=force)
        found = {reading.name: reading for reading in workers}
        noted = {note.worker: note for note in self._consumers.notes()}
        active_cancellations = sorted(
            set(named) & {note.worker for note in self._consumers.active_cancellations(noted.values())}
        )
        if active_cancellations and not force:
            owner = noted[active_cancellations[0]].owner
            raise DrainError(
                f"worker {active_cancellations[0]!r} is emptied already, by {owner}; wait for that, or drain it by force"
            )
        deadline = self._monotonic() + deadline_seconds
        drains = [
            # What somebody else has cancelled is given back with the rest.
            Progress(
                worker=name, queues=_united(found[name].queues, noted[name].queues if name in noted else ())
            )
            for name in sorted(set(named))
        ]
        self._minded_seconds = deadline_seconds + _NOTE_MARGIN_SECONDS
        try:
            for drain in drains:
                self._consumers.cancel(drain.worker, drain.queues, for_seconds=self._minded_seconds)
                self._tell(drain)
            while open_drains := [drain for drain in drains if drain.phase not in _ENDED]:
                self._look(open_drains, deadline)
                self._sleep(_LOOK_EVERY_SECONDS)
        finally:
            # Interrupted, or the broker failed for good: nobody is left deaf who need not be.
            for drain in drains:
                if drain.phase in {Phase.EMPTYING, Phase.SETTLING}:
                    self._give_back(drain)
                    self._tell(drain)
        return drains

    def _look(self, drains: Sequence[Progress], deadline: float) -> None:
        over = self._monotonic() > deadline or self._stopped()
        try:
            readings = {reading.name: reading for reading in self._read(everyone=False)}
            for drain in drains:
                self._advance(drain, readings.get(drain.worker), over=over)
        except _FAULTS:
            if over:
                raise

    def _advance(self, drain: Progress, reading: WorkerReading | None, *, over: bool) -> None:
        now, before = self._monotonic(), (drain.phase, drain.busy, drain.reserved)
        drain.busy = reading.busy if reading else None
        drain.reserved = reading.reserved if reading else None
        if drain.phase is Phase.STOPPING:
            self._await_end(drain, reading, now)
        elif over:
            self._give_back(drain)
        elif reading is None or drain.busy != 0 or drain.reserved != 0 or not reading.queues_known:
            drain.phase, drain.since = Phase.EMPTYING, now
        elif reading.queues:
            # It did not hear, or came back in the meantime and consumes again.
            drain.phase, drain.since = Phase.EMPTYING, now
            drain.queues = _united(drain.queues, reading.queues)
            self._consumers.cancel(drain.worker, drain.queues, for_seconds=self._minded_seconds)
        elif drain.phase is Phase.EMPTYING:
            drain.phase, drain.since = Phase.SETTLING, now
        elif now - drain.since >= _FETCH_SECONDS:
            self._remote.cast("shutdown", {}, [drain.worker])
            drain.phase, drain.since = Phase.STOPPING, now
        if before != (drain.phase, drain.busy, drain.reserved):
            self._tell(drain)

    def _await_end(self, drain: Progress, reading: WorkerReading | None, now: float) -> None:
        uptime = reading.uptime_seconds if reading else None
        if reading is None or (uptime is not None and uptime < now - drain.since):
            drain.phase = Phase.DRAINED  # silent for good, or its supervisor has started another one already
            self._consumers.forget(drain.worker)
        elif now - drain.since > _GONE_WITHIN_SECONDS:
            drain.phase = Phase.GIVEN_BACK  # it did not hear: it must not stay deaf
            self._give_back(drain)

    def _give_back(self, drain: Progress) -> None:
        note = Note(worker=drain.worker, queues=drain.queues)
        try:
            given_back = self._consumers.restore(note)
        except _FAULTS:
            given_back = False
        drain.phase = Phase.GIVEN_BACK if given_back else Phase.GONE
