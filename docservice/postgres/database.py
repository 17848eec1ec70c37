"""The pool of connections to Postgres, and its faults as exceptions of this package.

Every statement is bounded in time by the server, every connection attempt and every wait for a connection by
this process. After a restart of the server the pool makes new connections by itself.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CLOSE_SECONDS = 5


class StoreUnavailableError(RuntimeError):
    """Postgres does not answer, or not in time; the same may succeed later."""


class StoreTimeoutError(RuntimeError):
    """The server ended a statement that took longer than allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How the pool is made. ``url`` holds a password and is never shown."""

    url: str
    size: int
    statement_timeout_seconds: float
    connect_timeout_seconds: float


class Database:
    """A pool of at most ``settings.size`` connections."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._pool: Any = None

    async def open(self, *, least: int = 0) -> None:
        """Make the pool with ``least`` connections at once; more are made when they are needed.

        Raises:
            StoreUnavailableError: when ``least`` is not 0 and Postgres does not answer.
        """
        settings = self._settings
        server_settings = {
            "application_name": "docservice",
            "jit": "off",  # compiling a page costs more than running it
            # Planning a page costs more than running it, and most plans do not depend on the values: each
            # kind of query has its index.
            "plan_cache_mode": "force_generic_plan",
            "statement_timeout": str(round(settings.statement_timeout_seconds * 1000)),
            "timezone": "UTC",
        }
        try:
            self._pool = await asyncpg.create_pool(
                settings.url,
                min_size=least,
                max_size=settings.size,
                timeout=settings.connect_timeout_seconds,
                # The server ends a slow statement; this is for a server that does not answer any more.
                command_timeout=settings.statement_timeout_seconds + 5,
                server_settings=server_settings,
                reset=_keep_session,
            )
        except _UNAVAILABLE as fault:
            raise _translated(fault) from fault

    async def close(self) -> None:
        """Close the pool, by force when statements do not end."""
        if self._pool is not None:
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()

    def connection(self) -> _Lease:
        """A connection for the time of an ``async with``.

        Raises:
            StoreUnavailableError: when there is none, or it is lost within the block.
            StoreTimeoutError: when the server ended a statement that took too long.
        """
        pool = self._pool
        if pool is None:
            raise StoreUnavailableError("the pool of connections is not open")
        # A wait is bounded by a timer and a task of its own; without a wait both are left out.
        free = pool.get_idle_size() > 0 or pool.get_size() < pool.get_max_size()
        return _Lease(pool.acquire(timeout=None if free else self._settings.connect_timeout_seconds))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A connection with a transaction that ends with the block; raises as :meth:`connection`."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def fetch(self, sql: str, *arguments: object) -> list[Any]:
        """The rows of one statement; raises as :meth:`connection`."""
        async with self.connection() as connection:
            rows: list[Any] = await connection.fetch(sql, *arguments)
            return rows

    async def fetch_row(self, sql: str, *arguments: object) -> Any:
        """The first row of one statement, or None; raises as :meth:`connection`."""
        async with self.connection() as connection:
            return await connection.fetchrow(sql, *arguments)


class _Lease:
    """A connection of the pool, whose faults are raised as exceptions of this package."""

    __slots__ = ("_acquired",)

    def __init__(self, acquired: Any) -> None:
        self._acquired = acquired

    async def __aenter__(self) -> Any:
        try:
            return await self._acquired.__aenter__()
        except _UNAVAILABLE as fault:
            raise _translated(fault) from fault

    async def __aexit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        await self._acquired.__aexit__(kind, fault, trace)
        if isinstance(fault, _UNAVAILABLE):
            raise _translated(fault) from fault


async def _keep_session(_connection: object) -> None:
    """Reset nothing between uses, which saves a round trip: settings change within transactions only."""


def _translated(fault: BaseException) -> StoreTimeoutError | StoreUnavailableError:
    if isinstance(fault, asyncpg.QueryCanceledError):
        return StoreTimeoutError("the query took Postgres too long; narrow it down")
    return StoreUnavailableError(f"Postgres does not answer ({type(fault).__name__})")


_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,  # the connection was closed under us
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shut down, starting up, a statement cancelled
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, in the middle of a failover
    asyncpg.InternalClientError,
    asyncpg.InvalidAuthorizationSpecificationError,  # a password that is being changed
    asyncpg.InvalidCatalogNameError,
)
