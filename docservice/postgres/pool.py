"""A pool of connections to Postgres: the one used last is used next, and those that stay spare are closed.

asyncpg's own pool makes a task for each return, which costs as much as a small statement does. This one keeps
a connection unless something happened to it that leaves its state in doubt.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_SPARE_SECONDS = 300
_CLOSE_SECONDS = 5


class Lease:
    """What :meth:`Pool.connection` returns."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._connection: Any = None

    async def __aenter__(self) -> Any:
        self._connection = await self._pool.take()
        return self._connection

    async def __aexit__(self, _kind: object, fault: BaseException | None, _trace: object) -> None:
        self._pool.restore(self._connection, fault)


class Pool:
    """At most ``size`` connections, made by ``connect`` when they are needed."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        *,
        size: int,
        wait_seconds: float,
        spare_seconds: float = _SPARE_SECONDS,
    ) -> None:
        self._connect = connect
        self._room = asyncio.Semaphore(size)
        self._wait_seconds = wait_seconds
        self._spare_seconds = spare_seconds
        self._idle: deque[tuple[float, Any]] = deque()  # since when, and which; the last one is the freshest
        self._used: set[Any] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    async def fill(self, count: int) -> None:
        """Make so many connections now; raises what ``connect`` raises."""
        while len(self._idle) < count:
            self._idle.append((time.monotonic(), await self._connect()))

    def connection(self) -> Lease:
        """A connection for the time of an ``async with``.

        Raises:
            TimeoutError: when none came free in time; and what ``connect`` raises.
        """
        return Lease(self)

    async def take(self) -> Any:
        """A connection, to be given back; raises as :meth:`connection`."""
        if self._room.locked():
            async with asyncio.timeout(self._wait_seconds):
                await self._room.acquire()
        else:
            await self._room.acquire()  # at once: a timer would cost more than all the rest
        try:
            connection = self._freshest() or await self._connect()
        except BaseException:
            self._room.release()
            raise
        self._used.add(connection)
        return connection

    def restore(self, connection: Any, fault: BaseException | None) -> None:
        """Keep a connection for the next one, unless ``fault`` leaves its state in doubt."""
        try:
            # What the server tells is over; after anything else a statement may still be under way.
            if fault is not None and not isinstance(fault, asyncpg.PostgresError):
                connection.terminate()
            if not connection.is_closed():
                self._idle.append((time.monotonic(), connection))
        finally:
            self._used.discard(connection)
            self._room.release()
        self._close_spare()

    async def close(self) -> None:
        """Close all; those in use, or that do not close in time, by force."""
        for connection in self._used:
            connection.terminate()
        idle, self._idle = self._idle, deque()
        await asyncio.gather(*self._leaving, *(_close(connection) for _, connection in idle))

    def _freshest(self) -> Any:
        while self._idle:
            _, connection = self._idle.pop()
            if not connection.is_closed():  # a restart of the server closes those that wait here
                return connection
        return None

    def _close_spare(self) -> None:
        if self._idle and self._idle[0][0] < time.monotonic() - self._spare_seconds:
            _, connection = self._idle.popleft()
            task = asyncio.create_task(_close(connection))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)


async def _close(connection: Any) -> None:
    with suppress(OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresError):
        await connection.close(timeout=_CLOSE_SECONDS)
