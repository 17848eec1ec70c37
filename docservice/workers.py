"""What administrators ask of Celery workers, in bounded time: thin, over ``autoscaler.api``.

What belongs here: the asynchronous side (threads, locks between API processes, holding the autoscaler off).
Never: how a command is sent or what a reply means; that is one implementation, the autoscaler's.

No reply means *unknown*: what was sent may still happen, so nothing is sent twice. Sizes are processes.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from autoscaler.api import (
    CANCELLED_KEY,
    MAILBOXES_KEY,
    MAX_PROCESSES,
    BrokerError,
    Consumers,
    Drain,
    Keys,
    OverrideError,
    OverrideRequest,
    Remote,
    ResizeRequest,
    Result,
    WorkerResizer,
    ask,
    broker_errors,
    override_changes,
    read_mailboxes,
    read_override,
    read_status,
    redis_client,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from threading import Event

    import celery
    import redis

    from autoscaler.api import Outcome, Progress, WorkerReading
    from docservice.config import Settings

Answer = TypeVar("Answer")
_TIMEOUT_SECONDS = 2.0
_LOCK_SECONDS = 30


class ResizeResult(StrEnum):
    """The result of resizing one worker."""

    RESIZED = "resized"
    REFUSED = "refused"  # the worker, or a rule, said no; nothing happened
    BUSY = "busy"  # another command to this worker is in progress
    UNKNOWN_WORKER = "unknown_worker"
    NO_ANSWER = "no_answer"  # the detail says whether it may still happen


class StoredOverrideError(RuntimeError):
    """The override that is stored for the autoscaler is invalid, so it is not changed.

    It may be a pause that somebody mistyped, which the autoscaler still keeps: to replace it would end that.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerResize:
    """What became of resizing one worker. ``after`` is read back from the worker; None where unknown."""

    worker: str
    outcome: ResizeResult
    before: int | None = None
    after: int | None = None
    lossless: bool = False
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizePlan:
    """A resize that is decided and not sent yet, from the size just read to ``target``."""

    before: int
    target: int


class WorkerControl:
    """Commands to the workers of one Celery application. The public methods are for the event loop."""

    def __init__(self, application: celery.Celery, settings: Settings) -> None:
        self._remote = Remote(application.connection_for_write, timeout_seconds=_TIMEOUT_SECONDS)
        self._resizer = WorkerResizer(self._remote)
        self._name = settings.autoscaler_name
        self._redis: redis.Redis = redis_client(settings.redis, settings.redis_tuning)
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="control")

    def close(self) -> None:
        """Wait for calls in progress, so that no reply is left in Redis, and close."""
        self._threads.shutdown()
        self._redis.close()

    async def _run(self, work: Callable[..., Answer], *arguments: Any) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    # Reading

    async def workers(self) -> dict[str, WorkerReading | None]:
        """Every worker that has a mailbox; None for those that do not answer.

        Raises:
            BrokerError: when the broker does not answer.
        """
        return await self._run(self._workers)

    def _workers(self) -> dict[str, WorkerReading | None]:
        names = self._names()
        found = {reading.name: reading for reading in ask(self._remote, names)}
        return {name: found.get(name) for name in names}

    async def status(self) -> dict[str, Any] | None:
        """The last tick of the autoscaler; None when none of its name reported lately."""
        return await self._run(read_status, self._redis, self._name)

    async def override(self) -> OverrideRequest:
        """What administrators set for the autoscaler.

        Raises:
            BrokerError: when the broker does not answer.
            StoredOverrideError: when what is stored is invalid.
        """
        return await self._run(self._override)

    def _override(self) -> OverrideRequest:
        try:
            return read_override(self._redis, self._name)
        except OverrideError as fault:
            key = Keys(name=self._name).override
            raise StoredOverrideError(f"stored {fault}; correct or delete the Redis key {key}") from fault

    def _names(self) -> list[str]:
        with broker_errors():
            members: Any = self._redis.smembers(MAILBOXES_KEY)
        return sorted(read_mailboxes(members))

    # Overrides

    async def set_override(self, change: Callable[[OverrideRequest], OverrideRequest]) -> OverrideRequest:
        """Change the override of the autoscaler; changes by others in the meantime are kept.

        Raises:
            BrokerError: when the broker does not answer.
            StoredOverrideError: when what is stored is invalid; nothing is changed.
            OverrideError: when what it would become is invalid; nothing is changed.
        """
        return await self._run(self._set_override, change)

    def _set_override(self, change: Callable[[OverrideRequest], OverrideRequest]) -> OverrideRequest:
        try:
            return override_changes.change_override(self._redis, self._name, change, now=time.time())
        except OverrideError:
            self._override()  # raises where it is what is stored that is invalid
            raise

    # Resizing

    async def resize(
        self,
        name: str,
        change: int,
        *,
        hold_seconds: float,
        before_sending: Callable[[ResizePlan], None],
    ) -> WorkerResize:
        """Add ``change`` processes to one worker, or remove them, and hold the autoscaler off for a while.

        ``before_sending`` is called, in another thread, with the plan; when it raises, nothing is sent.

        A broker that fails while the command is sent is no exception: the outcome is ``NO_ANSWER`` with the
        fault as its detail, since the command may still arrive.

        Raises:
            BrokerError: when the broker does not answer; nothing was sent.
            StoredOverrideError: when the autoscaler cannot be held off; nothing was sent.
        """

        def size(reading: WorkerReading) -> int | None:
            return None if reading.processes is None else reading.processes + change

        return await self._run(self._resize, name, size, hold_seconds, before_sending)

    async def resume(self, name: str, plan: ResizePlan, *, hold_seconds: float) -> WorkerResize:
        """Finish a resize that was planned, and perhaps sent, by a process that is gone.

        Where the size is the planned one, it was sent. With the companion it is sent again, since it is
        absolute; a relative command is not.

        Raises:
            BrokerError, StoredOverrideError: as :meth:`resize`.
        """
        return await self._run(self._resume, name, plan, hold_seconds)

    def _resume(self, name: str, plan: ResizePlan, hold_seconds: float) -> WorkerResize:
        reading = self._read(name)
        if reading is not None and reading.processes == plan.target:
            return WorkerResize(
                worker=name,
                outcome=ResizeResult.RESIZED,
                before=plan.before,
                after=plan.target,
                lossless=reading.companion or plan.target > plan.before,
            )
        if reading is None or not reading.companion:
            detail = "an earlier attempt was interrupted; it may have been sent: inspect before another"
            return WorkerResize(
                worker=name, outcome=ResizeResult.NO_ANSWER, before=plan.before, detail=detail
            )
        done = self._resize(name, lambda _: plan.target, hold_seconds, lambda _: None)
        return replace(done, before=plan.before)

    def _resize(
        self,
        name: str,
        size: Callable[[WorkerReading], int | None],
        hold_seconds: float,
        before_sending: Callable[[ResizePlan], None],
    ) -> WorkerResize:
        if name not in self._names():
            detail = f"no worker is called {name}"
            return WorkerResize(worker=name, outcome=ResizeResult.UNKNOWN_WORKER, detail=detail)
        with self._lock(name) as locked:
            if not locked:
                detail = "another command to this worker is in progress"
                return WorkerResize(worker=name, outcome=ResizeResult.BUSY, detail=detail)
            reading = self._read(name)
            if reading is None:
                detail = "it did not answer; nothing was sent"
                return WorkerResize(worker=name, outcome=ResizeResult.NO_ANSWER, detail=detail)
            before, target = reading.processes, size(reading)
            no = _refusal(reading, target)
            if no is not None or before is None or target is None:
                return WorkerResize(
                    worker=name, outcome=ResizeResult.REFUSED, before=before, after=before, detail=no
                )
            self._hold(name, hold_seconds)
            before_sending(ResizePlan(before=before, target=target))
            return self._send(reading, before, target)

    @contextmanager
    def _lock(self, name: str) -> Iterator[bool]:
        """Whether this process may send a command to the worker, for the time of the block."""
        lock = self._redis.lock(f"docservice:resize:{name}", timeout=_LOCK_SECONDS, blocking=False)
        with broker_errors():
            locked = lock.acquire()
        try:
            yield locked
        finally:
            if locked:
                with suppress(BrokerError), broker_errors():  # it may have expired, and it expires anyway
                    lock.release()

    def _send(self, reading: WorkerReading, before: int, target: int) -> WorkerResize:
        name, lossless = reading.name, reading.companion or target > before
        (sent,) = self._resizer.resize([ResizeRequest(reading=reading, target=target)])
        if sent.result is Result.REFUSED:
            detail = (sent.detail or "")[:300]
            return WorkerResize(worker=name, outcome=ResizeResult.REFUSED, before=before, detail=detail)
        if sent.result is not Result.DONE:
            return unknown_resize(sent, lossless=lossless)
        now: WorkerReading | None = None
        with suppress(BrokerError):  # it is resized, whether or not its size can be read now
            now = self._read(name)
        return WorkerResize(
            worker=name,
            outcome=ResizeResult.RESIZED,
            before=before,
            after=None if now is None else now.processes,
            lossless=lossless,
        )

    def _read(self, name: str) -> WorkerReading | None:
        return next(iter(ask(self._remote, [name])), None)

    def _hold(self, name: str, seconds: float) -> None:
        def held(request: OverrideRequest) -> OverrideRequest:
            return replace(request, hold_until={**request.hold_until, name: time.time() + seconds})

        self._set_override(held)

    # Draining

    async def drain(
        self,
        names: Sequence[str],
        *,
        deadline_seconds: float,
        force: bool,
        on_progress: Callable[[Progress], None],
        stop: Event,
    ) -> list[Progress]:
        """Drain workers as ``autoscaler drain`` does, until all have ended, the deadline or ``stop``.

        Raises:
            BrokerError: when the broker fails; cancelled consumers are recorded, and a daemon restores them.
            DrainError: when it must not begin.
        """
        consumers = Consumers(
            self._remote, lambda: self._redis, CANCELLED_KEY, owner="docservice", wall=time.time
        )

        def read(*, everyone: bool) -> list[WorkerReading]:
            return ask(self._remote, self._names() if everyone else names)

        drain = Drain(
            self._remote,
            consumers,
            read,
            on_progress=on_progress,
            mailboxes=self._names,
            wait=stop.wait,
            stopped=stop.is_set,
        )
        # Not in the threads of the short calls: it takes as long as the running tasks.
        return await asyncio.to_thread(drain.run, names, deadline_seconds=deadline_seconds, force=force)


def _out_of_range(processes: int, change: int) -> str:
    """Why a worker cannot change by so many processes, and by how many it can."""
    has = f"{processes} process" + "es" * (processes != 1)
    if change < 0:
        return (
            f"{has}, asked to remove {-change}; {max(0, processes - 1)} can be removed, for one has to stay"
        )
    free = max(0, MAX_PROCESSES - processes)
    return f"{has}, asked to add {change}; {free} can be added, for {MAX_PROCESSES} is the most"


def unknown_resize(sent: Outcome, *, lossless: bool) -> WorkerResize:
    """The answer for a command that was sent, perhaps, and of which nobody knows what became."""
    return WorkerResize(
        worker=sent.worker,
        outcome=ResizeResult.NO_ANSWER,
        before=sent.before,
        lossless=lossless,
        detail=f"{sent.detail}; the resize may still happen: inspect before sending another",
    )


def _refusal(reading: WorkerReading, target: int | None) -> str | None:
    """Why a worker must not be resized so, or None."""
    if target is None:
        return "its size cannot be read, so nothing is sent"
    if reading.processes is not None and not 1 <= target <= MAX_PROCESSES:
        return _out_of_range(reading.processes, target - reading.processes)
    return refusal(reading, target)
