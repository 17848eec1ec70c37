"""The SQL of a backup: a snapshot that lasts, the files of its documents, and the lock that keeps them.

How it works: whoever removes files asks for them in one statement that also tries a shared advisory lock
(``NO_BACKUP``). A backup holds that lock alone before it takes its snapshot. So what a remover was given
before was already without a document in the snapshot, and later it is given nothing until the backup ends.
The lock is lost with its connection: a backup that dies holds nothing back.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from docservice.postgres.database import Database

#: Chosen at random, the same in every process.
_LOCK = 7_021_094_421
#: A condition of a statement: no backup runs. The lock ends with the statement's transaction.
NO_BACKUP = f"(select pg_try_advisory_xact_lock_shared({_LOCK}))"
#: Removers hold the lock for one short statement.
_LOCK_SECONDS = 2
_FETCHED = 1000
#: For what reads all rows; the pool's timeout for commands is for pages.
_MAX_SECONDS = 86_400.0


class BackupRunningError(RuntimeError):
    """Another backup of the same database runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file that a document has, as its row describes it."""

    key: str
    size_bytes: int
    sha256: str


class Snapshot:
    """One moment of the database; ``name`` lets another session see the same."""

    def __init__(self, connection: Any, name: str) -> None:
        self._connection = connection
        self.name = name

    async def files(self) -> AsyncIterator[StoredFile]:
        """The files of all documents, in the order of their keys."""
        rows = self._connection.cursor(
            "select distinct on (blob_key) blob_key, size_bytes, sha256 from documents order by blob_key",
            prefetch=_FETCHED,
            timeout=_MAX_SECONDS,
        )
        async for row in rows:
            yield StoredFile(key=row["blob_key"], size_bytes=row["size_bytes"], sha256=row["sha256"])

    async def documents(self) -> int:
        """How many documents there are."""
        return int(await self._connection.fetchval("select count(*) from documents", timeout=_MAX_SECONDS))


class Backups:
    """A database as a backup needs it. Every method raises StoreUnavailableError when it does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def files_kept(self) -> AsyncIterator[None]:
        """Nothing removes a file within the block.

        Raises:
            BackupRunningError: when another backup has the lock.
        """
        async with self._database.transaction() as connection:
            await _unbounded(connection)
            await connection.execute(f"set local lock_timeout = '{_LOCK_SECONDS}s'")
            try:
                await connection.execute(f"select pg_advisory_xact_lock({_LOCK})")
            except asyncpg.LockNotAvailableError as fault:
                raise BackupRunningError("another backup of this database runs; try again later") from fault
            yield

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """The database as it is now, for the time of the block."""
        async with (
            self._database.unbounded() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await _unbounded(connection)
            yield Snapshot(connection, await connection.fetchval("select pg_export_snapshot()"))

    async def tables(self) -> list[str]:
        """The tables that the database has, in any schema of its user's."""
        rows = await self._database.fetch(
            "select schemaname || '.' || tablename as name from pg_tables"
            " where schemaname not in ('pg_catalog', 'information_schema') order by 1 limit 5"
        )
        return [row["name"] for row in rows]

    async def documents(self) -> int:
        """How many documents there are."""
        async with self._database.unbounded() as connection:
            return int(await connection.fetchval("select count(*) from documents", timeout=_MAX_SECONDS))


async def _unbounded(connection: Any) -> None:
    await connection.execute(
        "set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0"
    )
