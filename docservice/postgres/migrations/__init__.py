"""Migrations of the schema: numbered SQL files, each run once and in order; an applied one is never changed.

How it works: one transaction holds an advisory lock and does nothing else, so that of several processes that
start together one migrates and the others wait. Each migration runs in a transaction of its own, on another
connection, with its row in ``schema_migrations``. Building an index on a large table that way would block its
writers. A file whose first line begins with ``-- concurrently`` is therefore run statement by statement (a
blank line separates them) without a transaction; each must do no harm when it is repeated.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import asyncpg

from docservice.log import logger

if TYPE_CHECKING:
    from docservice.postgres.database import Database

_LOCK = 7_021_094_418  # chosen at random, the same in every process
#: A migration may build an index on a large table; the pool's timeout for commands is for pages.
_MAX_SECONDS = 86_400.0
_POLL_SECONDS = 0.2
_CONCURRENTLY = "-- concurrently"
_INDEX = re.compile(r"create index concurrently if not exists (\w+)")


class MigrationError(RuntimeError):
    """The schema cannot be brought forward; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Shows whether the file is the one that was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def concurrent(self) -> bool:
        """Whether it runs without a transaction."""
        return self.sql.startswith(_CONCURRENTLY)


def migrations() -> tuple[Migration, ...]:
    """All steps, in order."""
    files = (item for item in resources.files(__package__).iterdir() if item.name.endswith(".sql"))
    return tuple(
        Migration(number=int(item.name[:4]), name=item.name.removesuffix(".sql"), sql=item.read_text("utf-8"))
        for item in sorted(files, key=lambda item: item.name)
    )


async def migrate(database: Database) -> list[str]:
    """Apply what is missing, each migration as a whole, and return the names of what was applied.

    Needs a pool of two connections or more.

    Raises:
        MigrationError: when the schema is newer than this program, or an applied file was changed.
        StoreUnavailableError: when Postgres does not answer.
    """
    waited = False
    while True:
        async with database.transaction() as holder:
            await holder.execute("set local idle_in_transaction_session_timeout = 0")
            ours = await holder.fetchval("select pg_try_advisory_xact_lock($1)", _LOCK)
            # Ends the statement before it: while that has a snapshot, no index can be built concurrently.
            await holder.execute("select 1")
            if ours:
                return await _apply_missing(database)
        # Asked again and again: a statement that waits for the lock would keep an index from being built.
        if not waited:
            logger("migrations").info("migrations.waiting", reason="another process migrates this database")
        waited = True
        await asyncio.sleep(_POLL_SECONDS)


async def _apply_missing(database: Database) -> list[str]:
    async with database.transaction() as connection:
        await connection.execute(
            "create table if not exists schema_migrations"
            " (number integer primary key, checksum text not null, applied_at timestamptz default now())"
        )
        rows = await connection.fetch("select number, checksum from schema_migrations")
    known = {row["number"]: row["checksum"] for row in rows}
    _check(known)
    missing = [step for step in migrations() if step.number not in known]
    for step in missing:
        if step.concurrent:
            await _run_concurrently(database, step)
        async with database.transaction() as connection:
            await connection.execute("set local statement_timeout = 0")
            if not step.concurrent:
                await connection.execute(step.sql, timeout=_MAX_SECONDS)
            await connection.execute(
                "insert into schema_migrations (number, checksum) values ($1, $2)", step.number, step.checksum
            )
    return [step.name for step in missing]


async def _run_concurrently(database: Database, step: Migration) -> None:
    _, *statements = step.sql.split("\n\n")
    async with database.unbounded() as connection:
        for statement in statements:
            index = _INDEX.match(statement)
            if index is not None and await connection.fetchval(
                # What an attempt that was broken off left: of no use, and "if not exists" would keep it.
                "select not indisvalid from pg_index where indexrelid = to_regclass($1)",
                index[1],
            ):
                await connection.execute(f"drop index concurrently {index[1]}", timeout=_MAX_SECONDS)
            await connection.execute(statement, timeout=_MAX_SECONDS)


def _check(known: dict[int, str]) -> None:
    steps = {step.number: step for step in migrations()}
    for number, checksum in sorted(known.items()):
        if number not in steps:
            raise MigrationError(f"the database has migration {number}, unknown here; run a newer docservice")
        if steps[number].checksum != checksum:
            raise MigrationError(
                f"migration {steps[number].name} was changed after it was applied; restore the file"
            )


async def pending(database: Database) -> list[str]:
    """The names of the migrations that are still to be applied.

    Raises:
        StoreUnavailableError: when Postgres does not answer.
    """
    async with database.connection() as connection:
        try:
            rows = await connection.fetch("select number from schema_migrations")
        except asyncpg.UndefinedTableError:  # not migrated yet: no refusal
            rows = []
    known = {row["number"] for row in rows}
    return [step.name for step in migrations() if step.number not in known]
