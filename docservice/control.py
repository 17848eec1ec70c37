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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from kombu import Producer
from kombu.exceptions import KombuError
from kombu.pidbox import Mailbox
from redis.exceptions import LockError, RedisError

from autoscaler.contract import (
    OverrideError,
    OverrideRequest,
    read_override,
    read_status,
    write_override,
)
from docservice.connections import sync_redis_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import celery
    import redis

    from docservice.config import Settings

Answer = TypeVar("Answer")
_TIMEOUT_SECONDS = 2.0
_MAILBOXES = "_kombu.binding.celery.pidbox"
_MAILBOX = ".celery.pidbox"
_LOCK_SECONDS = 30
_MOST_PROCESSES = 10_000


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What one worker says of itself, in counts."""

    size: int | None
    busy: int
    reserved: int
    kind: str
    companion: bool
    autoscale: bool
    refusal: str | None
    queues: tuple[str, ...]
    uptime_seconds: float | None


class _PublishOnce(Producer):  # type: ignore[misc]
    """kombu's mailbox would try for ever, and deliver an old command to a broker that came back."""

    def publish(self, *args: Any, **options: Any) -> Any:
        return super().publish(*args, **{**options, "retry": False})


class _Producers:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @contextmanager
    def acquire(self, **_: Any) -> Iterator[_PublishOnce]:
        yield _PublishOnce(self._connection.default_channel, auto_declare=False)


class _OwnReplies(Mailbox):  # type: ignore[misc]
    oid = ""  # of each call's own: replies that come late are nobody else's


class WorkerControl:
    """Commands to the workers of one Celery application. The public methods are for the event loop."""

    def __init__(self, application: celery.Celery, settings: Settings) -> None:
        self._application = application
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
        except (KombuError, RedisError, OSError) as fault:
            raise ControlError(f"the broker does not answer ({type(fault).__name__})") from fault

    # What is

    async def pools(self) -> dict[str, Pool | None]:
        """Every worker that has a mailbox; None for those that do not answer.

        Raises:
            ControlError: when the broker does not answer.
        """
        return await self._run(self._pools)

    def _pools(self) -> dict[str, Pool | None]:
        names = self._names()
        found = self._read(names)
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
        members: Any = self._redis.smembers(_MAILBOXES)
        queues = (member.split(b"\x06\x16")[-1].decode(errors="replace") for member in members)
        return sorted({queue.removesuffix(_MAILBOX) for queue in queues if queue.endswith(_MAILBOX)})

    def _read(self, names: Sequence[str]) -> dict[str, Pool]:
        replies = self._call("pool_report", {}, names)
        found = {name: _from_report(reply) for name, reply in replies.items() if "companion" in reply}
        stock = [name for name in replies if name not in found]
        if stock:
            stats = self._call("stats", {}, stock)
            active = self._call("active", {"safe": True}, list(stats))
            reserved = self._call("reserved", {}, list(stats))
            for name, reply in stats.items():
                if name in active and name in reserved:
                    found[name] = _from_stats(reply, active[name], reserved[name])
        return found

    def _call(self, command: str, arguments: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
        """The last reply of each worker that answered in time."""
        if not names:
            return {}
        replies: dict[str, Any] = {}
        with self._application.connection_for_write() as connection:
            mailbox = _OwnReplies(
                "celery",
                type="fanout",
                connection=connection,
                accept=["json"],
                serializer="json",
                producer_pool=_Producers(connection),
            )
            mailbox.oid = uuid4().hex
            mailbox.call(
                list(names), command, dict(arguments), timeout=_TIMEOUT_SECONDS, callback=replies.update
            )
        return replies

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
        pool = self._read([name]).get(name)
        if pool is None:
            return Resized(outcome=Outcome.NO_ANSWER, detail="it did not answer; nothing was sent")
        refusal = _refusal(pool, change)
        if refusal is not None or pool.size is None:
            return Resized(outcome=Outcome.REFUSED, before=pool.size, after=pool.size, detail=refusal)
        self._hold(name, hold_seconds)
        target = pool.size + change
        if pool.companion:
            replies = self._call("pool_resize", {"size": target}, [name])
        elif change > 0:
            replies = self._call("pool_grow", {"n": change}, [name])
        else:
            replies = self._call("pool_shrink", {"n": -change}, [name])
        if name not in replies:
            return Resized(
                outcome=Outcome.NO_ANSWER,
                before=pool.size,
                lossless=pool.companion,
                detail="it did not answer; the resize may still happen: inspect before sending another",
            )
        fault = replies[name].get("error") if isinstance(replies[name], dict) else None
        if fault is not None:
            return Resized(outcome=Outcome.REFUSED, before=pool.size, detail=str(fault)[:300])
        return Resized(
            outcome=Outcome.RESIZED, before=pool.size, after=target, lossless=pool.companion or change > 0
        )

    def _hold(self, name: str, seconds: float) -> None:
        def held(request: OverrideRequest) -> OverrideRequest:
            return replace(request, hold_until={**request.hold_until, name: time.time() + seconds})

        self._set_override(held)

    # Draining

    async def stop_consuming(self, name: str, queues: Sequence[str]) -> None:
        """Let a worker take no more from these queues."""
        for queue in queues:
            await self._run(self._call, "cancel_consumer", {"queue": queue}, [name])

    async def consume_again(self, name: str, queues: Sequence[str]) -> None:
        """Let a worker take from these queues again."""
        for queue in queues:
            await self._run(self._call, "add_consumer", {"queue": queue}, [name])

    async def read(self, names: Sequence[str]) -> dict[str, Pool]:
        """What those workers say that answer."""
        return await self._run(self._read, names)

    async def shut_down(self, name: str) -> None:
        """Tell a worker to end; it never replies to this."""
        await self._run(self._shut_down, name)

    def _shut_down(self, name: str) -> None:
        with self._application.connection_for_write() as connection:
            mailbox = Mailbox(
                "celery",
                type="fanout",
                connection=connection,
                accept=["json"],
                serializer="json",
                producer_pool=_Producers(connection),
            )
            mailbox.cast([name], "shutdown", {})


def _refusal(pool: Pool, change: int) -> str | None:
    """Why a pool cannot be resized so, or None."""
    if pool.size is None:
        return "its size cannot be read, so nothing is sent"
    if pool.kind in ("solo", "threads", "thread"):
        return f"a pool of kind {pool.kind} cannot be resized"
    rules = (
        (pool.autoscale, "it runs with --autoscale and sizes itself; start it without"),
        (pool.refusal is not None, pool.refusal),
        (
            not 1 <= pool.size + change <= _MOST_PROCESSES,
            f"{pool.size} processes and {change:+d} is not from 1 to {_MOST_PROCESSES}",
        ),
        (
            change < 0 and not pool.companion and pool.busy + pool.reserved > 0,
            (
                "without the companion a shrink loses tasks, and this worker has some;"
                " load autoscaler.companion in it, or wait until it is idle"
            ),
        ),
    )
    return next((reason for applies, reason in rules if applies), None)


def _from_report(report: Mapping[str, Any]) -> Pool:
    return Pool(
        size=report.get("size"),
        busy=int(report.get("busy") or 0),
        reserved=int(report.get("reserved") or 0),
        kind=str(report.get("pool")),
        companion=True,
        autoscale=bool(report.get("autoscale")),
        refusal=report.get("refusal"),
        queues=tuple(sorted(str(queue) for queue in report.get("queues") or ())),
        uptime_seconds=report.get("uptime_seconds"),
    )


def _from_stats(stats: Mapping[str, Any], active: Sequence[Any], reserved: Sequence[Any]) -> Pool:
    pool = stats.get("pool") or {}
    kind = str(pool.get("implementation", "")).partition(":")[0].rpartition(".")[2]
    processes = pool.get("processes")
    # max-concurrency never moves from the -c value of a prefork worker; the list of processes does.
    size = len(processes) if isinstance(processes, list) else pool.get("max-concurrency")
    return Pool(
        size=1 if kind == "solo" else size,
        busy=len(active),
        reserved=len(reserved),
        kind=kind,
        companion=False,
        autoscale="autoscaler" in stats,
        refusal=None,
        queues=(),
        uptime_seconds=stats.get("uptime"),
    )
