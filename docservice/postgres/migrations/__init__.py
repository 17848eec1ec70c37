"""Migrations of the schema: numbered SQL files, each run once and in order; an applied one is never changed.

How it works: all that is missing runs in one transaction under an advisory lock, so that of several processes
that start together one migrates and the others wait. A migration may take hours, but it blocks writers
meanwhile: on a large table build an index concurrently by hand first and let the file use ``if not exists``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import asyncpg

from docservice.log import logger

if TYPE_CHECKING:
    from docservice.postgres.database import Database

_LOCK = 7_021_094_418  # chosen at random, the same in every process
#: A migration may build an index on a large table; the pool's timeout for commands is for pages.
_MAX_SECONDS = 86_400.0


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


def migrations() -> tuple[Migration, ...]:
    """All steps, in order."""
    files = (item for item in resources.files(__package__).iterdir() if item.name.endswith(".sql"))
    return tuple(
        Migration(number=int(item.name[:4]), name=item.name.removesuffix(".sql"), sql=item.read_text("utf-8"))
        for item in sorted(files, key=lambda item: item.name)
    )


async def migrate(database: Database) -> list[str]:
    """Apply what is missing, all or nothing, and return the names of what was applied.

    Raises:
        MigrationError: when the schema is newer than this program, or an applied file was changed.
        StoreUnavailableError: when Postgres does not answer.
    """
    applied: list[str] = []
    async with database.transaction() as connection:
        await connection.execute("set local statement_timeout = 0")
        await _lock(connection)
        await connection.execute(
            "create table if not exists schema_migrations"
            " (number integer primary key, checksum text not null, applied_at timestamptz default now())"
        )
        rows = await connection.fetch("select number, checksum from schema_migrations")
        known = {row["number"]: row["checksum"] for row in rows}
        _check(known)
        for step in migrations():
            if step.number not in known:
                await connection.execute(step.sql, timeout=_MAX_SECONDS)
                await connection.execute(
                    "insert into schema_migrations (number, checksum) values ($1, $2)",
                    step.number,
                    step.checksum,
                )
                applied.append(step.name)
    return applied


async def _lock(connection: Any) -> None:
    """Take the lock that one migrating process holds; wait, with a word in the log, while another has it."""
    if not await connection.fetchval("select pg_try_advisory_xact_lock($1)", _LOCK):
        logger("migrations").info("migrations.waiting", reason="another process migrates this database")
        await connection.execute("select pg_advisory_xact_lock($1)", _LOCK, timeout=_MAX_SECONDS)


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
    try:
        rows = await database.fetch("select number from schema_migrations")
    except asyncpg.UndefinedTableError:
        rows = []
    known = {row["number"] for row in rows}
    return [step.name for step in migrations() if step.number not in known]
