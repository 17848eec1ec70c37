"""The workers' remote control: what administrators ask of pools, in bounded time.

With the companion in a worker, growing and shrinking are one absolute resize from a size just read, which
loses no task. Without it there are the stock commands: growing is as good, shrinking is only done in an idle
worker, since Celery's own way kills tasks (celery#7266). No reply means *unknown*: what was sent may still
happen, so nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from kombu.exceptions import KombuError
from redis.exceptions import LockError, RedisError

from autoscaler.api import (
    CANCELLED_KEY,
    MAILBOXES_KEY,
    MAX_PROCESSES,
    BrokerError,
    Consumers,
    Drain,
    OverrideError,
    OverrideRequest,
    Remote,
    ask,
    parse_mailbox,
    read_override,
    read_status,
    write_override,
)
from docservice.connections import sync_redis_client

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Event
    from typing import Any

    import celery
    import redis

    from autoscaler.api import Progress, WorkerReading
    from docservice.config import Settings

Answer = TypeVar("Answer")
_TIMEOUT_SECONDS = 2.0
_LOCK_SECONDS = 30
_FAULTS = (BrokerError, KombuError, RedisError, OSError)


class ControlError(RuntimeError):
    """The broker does not answer, so that nothing is known of the workers."""


class Outcome(StrEnum):
    """What came of a command to one worker."""

    RESIZED = "resized"
    REFUSED = "refused"  # the worker, or a rule here, said no; nothing happened
    BUSY = "busy"  # another command to this worker is under way
    UNKNOWN_WORKER = "unknown_worker"
    NO_ANSWER = "no_answer"  # it may still happen


@dataclass(frozen=True, slots=True, kw_only=True)
class Resized:
    """What came of growing or shrinking one worker; sizes are processes, None where unknown."""

    outcome: Outcome
    before: int | None = None
    after: int | None = None
    lossless: bool = False
    detail: str | None = None


class WorkerControl:
    """Commands to the workers of one Celery application. The public methods are for the event loop."""

    def __init__(self, application: celery.Celery, settings: Settings) -> None:
        self._remote = Remote(application.connection_for_write, timeout_seconds=_TIMEOUT_SECONDS)
        self._name = settings.autoscaler_name
        self._redis: redis.Redis = sync_redis_client(settings.redis, settings.redis_tuning)
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="control")

    def close(self) -> None:
        """Let calls that are under way end, so that no reply is left behind, and close."""
        self._threads.shutdown()
        self._redis.close()

    async def _run(self, work: Callable[..., Answer], *arguments: Any) -> Answer:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        except _FAULTS as fault:
            raise ControlError(f"the broker does not answer ({type(fault).__name__})") from fault

    # What is

    async def workers(self) -> dict[str, WorkerReading | None]:
        """Every worker that has a mailbox; None for those that do not answer.

        Raises:
            ControlError: when the broker does not answer.
        """
        return await self._run(self._workers)

    def _workers(self) -> dict[str, WorkerReading | None]:
        names = self._names()
        found = {reading.name: reading for reading in ask(self._remote, names)}
        return {name: found.get(name) for name in names}

    async def status(self) -> dict[str, Any] | None:
        """The autoscaler's last tick; None when none of its name has told one lately."""
        return await self._run(read_status, self._redis, self._name)

    async def override(self) -> OverrideRequest:
        """What administrators asked of the autoscaler; an empty one where what is stored is not legal."""
        return await self._run(self._override)

    def _override(self) -> OverrideRequest:
        try:
            return read_override(self._redis, self._name)
        except OverrideError:
            return OverrideRequest()

    def _names(self) -> list[str]:
        members: Any = self._redis.smembers(MAILBOXES_KEY)
        return sorted({name for member in members if (name := parse_mailbox(member)) is not None})

    # What shall be

    async def set_override(self, change: Callable[[OverrideRequest], OverrideRequest]) -> OverrideRequest:
        """Change what the autoscaler is asked to keep to; one at a time.

        Raises:
            ControlError: when the broker does not answer.
            OverrideError: when the changed one is not legal.
        """
        return await self._run(self._set_override, change)

    def _set_override(self, change: Callable[[OverrideRequest], OverrideRequest]) -> OverrideRequest:
        with self._redis.lock(f"docservice:override:{self._name}", timeout=5, blocking_timeout=2):
            now = time.time()
            before = self._override()
            held = {name: until for name, until in before.hold_until.items() if until > now}
            if before.expires_at is not None and before.expires_at <= now:
                before = OverrideRequest()
            request = change(replace(before, hold_until=held))
            write_override(self._redis, self._name, request, now=now)
            return request

    async def resize(self, name: str, change: int, *, hold_seconds: float) -> Resized:
        """Give one worker ``change`` processes more, or fewer, and hold the autoscaler off for a while.

        Raises:
            ControlError: when the broker does not answer; what was sent before may still happen.
        """
        return await self._run(self._resize, name, change, hold_seconds)

    def _resize(self, name: str, change: int, hold_seconds: float) -> Resized:
        if name not in self._names():
            return Resized(outcome=Outcome.UNKNOWN_WORKER, detail=f"no worker is called {name}")
        lock = self._redis.lock(f"docservice:resize:{name}", timeout=_LOCK_SECONDS, blocking=False)
        if not lock.acquire():
            return Resized(outcome=Outcome.BUSY, detail="another command to this worker is under way")
        try:
            return self._resize_alone(name, change, hold_seconds)
        finally:
            with suppress(LockError):  # it expired by itself
                lock.release()

    def _resize_alone(self, name: str, change: int, hold_seconds: float) -> Resized:
        reading = next(iter(ask(self._remote, [name])), None)
        if reading is None:
            return Resized(outcome=Outcome.NO_ANSWER, detail="it did not answer; nothing was sent")
        before, refusal = reading.processes, _refusal(reading, change)
        if refusal is not None or before is None:
            return Resized(outcome=Outcome.REFUSED, before=before, after=before, detail=refusal)
        self._hold(name, hold_seconds)
        target = before + change
        if reading.companion:
            replies = self._remote.call("pool_resize", {"size": target}, [name])
        elif change > 0:
            replies = self._remote.call("pool_grow", {"n": change}, [name])
        else:
            replies = self._remote.call("pool_shrink", {"n": -change}, [name])
        lossless = reading.companion or change > 0
        if name not in replies:
            return Resized(
                outcome=Outcome.NO_ANSWER,
                before=before,
                lossless=lossless,
                detail="it did not answer; the resize may still happen: inspect before sending another",
            )
        faults = [reply["error"] for reply in replies[name] if isinstance(reply, dict) and "error" in reply]
        if faults:
            return Resized(outcome=Outcome.REFUSED, before=before, detail=str(faults[0])[:300])
        return Resized(outcome=Outcome.RESIZED, before=before, after=target, lossless=lossless)

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
        tell: Callable[[Progress], None],
        stop: Event,
    ) -> list[Progress]:
        """Drain workers as ``autoscaler drain`` does, until all have ended, the deadline or ``stop``.

        Raises:
            ControlError: when the broker fails; what is cancelled is noted, and a daemon gives it back.
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
            on_progress=tell,
            mailboxes=self._names,
            sleep=stop.wait,
            stopped=stop.is_set,
        )
        try:
            # Not by the threads of the short calls: it takes as long as the tasks that run.
            return await asyncio.to_thread(drain.run, names, deadline_seconds=deadline_seconds, force=force)
        except _FAULTS as fault:
            raise ControlError(f"the broker does not answer ({type(fault).__name__})") from fault


def _refusal(reading: WorkerReading, change: int) -> str | None:
    """Why a pool cannot be resized so, or None."""
    size = reading.processes
    if size is None:
        return "its size cannot be read, so nothing is sent"
    held = (reading.busy, reading.reserved)
    rules = (
        (reading.unsupported is not None, reading.unsupported),
        (
            not 1 <= size + change <= MAX_PROCESSES,
            f"{size} processes and {change:+d} is not from 1 to {MAX_PROCESSES}",
        ),
        (
            change < 0 and not reading.companion and (None in held or any(held)),
            (
                "without the companion a shrink loses tasks, and this worker has some;"
                " load autoscaler.companion in it, or wait until it is idle"
            ),
        ),
    )
    return next((reason for applies, reason in rules if applies), None)
