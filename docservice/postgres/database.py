"""The pool of connections to Postgres, and its faults as exceptions of this package.

Every statement is bounded in time by the server, every connection attempt and every wait for a connection by
this process. After a restart of the server the pool makes new connections by itself.

Behind a pooler that assigns a server connection to each transaction (PgBouncer, ``pool_mode = transaction``)
neither settings nor prepared statements of a session last. With ``transaction_pooler`` every statement
therefore runs in a transaction that sets them itself, and none is kept prepared. It takes more round trips.

asyncpg's pool makes a task for each release, which costs a quarter of what a small statement does. So a
connection stays leased for a moment after its statement, and the next one that comes takes it over.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from docservice.log import logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

_CLOSE_SECONDS = 5
#: asyncpg's own default.
_KEPT_STATEMENTS = 100
#: How long a connection stays leased without a statement, at most.
_LEASED_SECONDS = 0.05
_LOGGED_SECONDS = 3600.0


class StoreUnavailableError(RuntimeError):
    """Postgres does not answer, or not in time; the same may succeed later."""


class PoolerError(StoreUnavailableError):
    """A transaction pooler answered, and the settings do not provide for one."""


class StoreTimeoutError(RuntimeError):
    """The server ended a statement that took longer than allowed."""


class StoreRefusedError(StoreUnavailableError):
    """The user in Postgres lacks a right, or sees no such table; the same succeeds once that is granted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How the pool is made. ``url`` holds a password and is never shown."""

    url: str
    size: int
    statement_timeout_seconds: float
    connect_timeout_seconds: float
    transaction_pooler: bool = False

    @property
    def session(self) -> dict[str, str]:
        """The settings of each session, or of each transaction behind a pooler."""
        return {
            "jit": "off",  # compiling a page costs more than running it
            # Planning a page costs more than running it, and most plans do not depend on the values: each
            # kind of query has its index.
            "plan_cache_mode": "force_generic_plan",
            "statement_timeout": str(round(self.statement_timeout_seconds * 1000)),
            "timezone": "UTC",
        }


class Database:
    """A pool of at most ``settings.size`` connections."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._pool: Any = None
        self._leased: list[Any] = []  # without a statement
        self._waiting = 0  # for a connection
        self._timer: asyncio.TimerHandle | None = None
        self._releases: set[asyncio.Task[None]] = set()
        self._logged: dict[str, float] = {}  # refusals, and when
        # Values are numbers and words of this module, none from outside.
        self._set_local = ";".join(
            f"set local {name} = '{value}'" for name, value in settings.session.items()
        )

    async def open(self, *, min_size: int = 0) -> None:
        """Make the pool with ``min_size`` connections at once; more are made when they are needed.

        Raises:
            StoreUnavailableError: when ``min_size`` is not 0 and Postgres does not answer.
        """
        settings = self._settings
        pooler = settings.transaction_pooler
        try:
            self._pool = await asyncpg.create_pool(
                settings.url,
                min_size=min_size,
                max_size=settings.size,
                timeout=settings.connect_timeout_seconds,
                # The server ends a slow statement; this is for a server that does not answer any more.
                command_timeout=settings.statement_timeout_seconds + 5,
                server_settings={"application_name": "docservice", **({} if pooler else settings.session)},
                statement_cache_size=0 if pooler else _KEPT_STATEMENTS,
                reset=_keep_session,
            )
        except _UNAVAILABLE as fault:
            raise _translated(fault) from fault

    async def close(self) -> None:
        """Close the pool, by force when statements do not end."""
        if self._pool is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._release_leased()
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()

    def connection(self) -> AbstractAsyncContextManager[Any]:
        """A connection for the time of an ``async with``.

        Raises:
            StoreUnavailableError: when there is none, or it is lost within the block.
            StoreRefusedError: when the user lacks a right.
            StoreTimeoutError: when the server ended a statement that took too long.
        """
        return self.transaction() if self._settings.transaction_pooler else _Lease(self)

    async def acquire(self) -> Any:
        """A connection, for :meth:`release`; raises as :meth:`connection`."""
        while self._leased:
            connection = self._leased.pop()
            if _is_open(connection):
                return connection
            self._release_later(connection)
        pool = self._pool
        if pool is None:
            raise StoreUnavailableError("the pool of connections is not open")
        self._waiting += 1
        try:
            return await pool.acquire(timeout=self._settings.connect_timeout_seconds)
        except _UNAVAILABLE as fault:
            raise _translated(fault) from fault
        finally:
            self._waiting -= 1

    async def release(self, connection: Any, *, reuse: bool) -> None:
        """Give a connection to the next statement, or to the pool when others wait for it."""
        if not reuse or self._waiting:
            await self._pool.release(connection)
            return
        self._leased.append(connection)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LEASED_SECONDS, self._release_leased)

    def _release_leased(self) -> None:
        self._timer = None
        while self._leased:
            self._release_later(self._leased.pop())

    def _release_later(self, connection: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._pool.release(connection))
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A connection with a transaction that ends with the block; raises as :meth:`connection`."""
        async with _Lease(self) as connection, connection.transaction():
            if self._settings.transaction_pooler:
                await connection.execute(self._set_local)
            yield connection

    @asynccontextmanager
    async def unbounded(self) -> AsyncIterator[Any]:
        """A connection without a transaction, whose statements may take any time; for migrations.

        Behind a pooler the statement timeout is the server's own: what a session sets there is lost.
        """
        async with _Lease(self) as connection:
            if self._settings.transaction_pooler:
                yield connection
                return
            await connection.execute("set statement_timeout = 0")
            try:
                yield connection
            finally:
                await connection.execute(
                    f"set statement_timeout = '{self._settings.session['statement_timeout']}'"
                )

    @asynccontextmanager
    async def lock(self, number: int) -> AsyncIterator[bool]:
        """Whether this process got the advisory lock ``number``; held, in a transaction, for the block."""
        async with self.transaction() as connection:
            yield await connection.fetchval("select pg_try_advisory_xact_lock($1)", number)

    def refused(self, fault: BaseException) -> StoreRefusedError:
        """The exception for a refusal, which is logged once in an hour, however many requests meet it."""
        why, now = str(fault), time.monotonic()
        if now - self._logged.get(why, -_LOGGED_SECONDS) >= _LOGGED_SECONDS:
            self._logged[why] = now
            logger("database").error("database.refused", why=why, advice="see docservice check")
        return StoreRefusedError(f"Postgres refuses this user: {why}")

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

    __slots__ = ("_connection", "_database")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Any = None

    async def __aenter__(self) -> Any:
        self._connection = await self._database.acquire()
        return self._connection

    async def __aexit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        await self._database.release(self._connection, reuse=fault is None)
        if isinstance(fault, _UNAVAILABLE):
            raise _translated(fault) from fault
        if isinstance(fault, _REFUSED):
            raise self._database.refused(fault) from fault


#: Tables of a schema that the user may not use are unknown to it.
_REFUSED = (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError)
#: Refusals that are no silence of the server.
_WHY: dict[type[BaseException], str] = {
    asyncpg.InvalidPasswordError: "Postgres refuses the user or the password",
    asyncpg.InvalidAuthorizationSpecificationError: "Postgres refuses the user",
    asyncpg.InvalidCatalogNameError: "Postgres has no database of this name",
    asyncpg.ReadOnlySQLTransactionError: (
        "Postgres takes no write there: the server is a standby, or transactions are read-only"
    ),
    asyncpg.exceptions.ClientConfigurationError: (
        "an option of it is illegal, such as sslmode, or a file that it names cannot be read"
    ),
    asyncpg.exceptions.TargetServerAttributeNotMatched: (
        "no server there is what target_session_attrs asks for"
    ),
    ConnectionRefusedError: "Postgres does not answer: connection refused",
    socket.gaierror: "Postgres does not answer: no such host",
}


def _is_open(connection: Any) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # it ended, and the pool took it back by itself
        return False


async def _keep_session(_connection: object) -> None:
    """Reset nothing between uses, which saves a round trip: settings change within transactions only."""


def _translated(fault: BaseException) -> StoreTimeoutError | StoreUnavailableError:
    if isinstance(fault, asyncpg.QueryCanceledError):
        return StoreTimeoutError("the query took Postgres too long; narrow it down")
    if isinstance(fault, asyncpg.ProtocolViolationError) and "startup parameter" in str(fault):
        return PoolerError("DATABASE_URL leads to a pooler; set DATABASE_POOLER=transaction")
    return StoreUnavailableError(_why(fault))


def _why(fault: BaseException) -> str:
    """Why Postgres is not reached; no text that may hold a password."""
    if isinstance(fault, ssl.SSLError):
        return f"the TLS of Postgres is refused ({fault.reason})"
    if isinstance(fault, FileNotFoundError | PermissionError):
        return f"a file that it names, such as sslrootcert, cannot be read ({fault.strerror})"
    if type(fault) is ConnectionError and "rejected SSL" in str(fault):  # asyncpg's own
        return "Postgres takes no connection by TLS, which sslmode asks for"
    return _WHY.get(type(fault), f"Postgres does not answer ({type(fault).__name__})")


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
