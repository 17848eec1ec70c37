"""What every command does: read the settings, connect, check, and end with one line where that fails."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar
from urllib.parse import urlsplit

import click

from docservice.backup.programs import BackupError
from docservice.cli import redis_rights
from docservice.config import ConfigError, Settings, read_settings
from docservice.ingest.blob_errors import BlobError
from docservice.ingest.blobs import BlobStore
from docservice.ingest.store_identity import identify
from docservice.log import logger
from docservice.metrics import Metrics
from docservice.page_cache import Cache
from docservice.postgres.backups import BackupRunningError
from docservice.postgres.database import (
    Database,
    PoolerError,
    StoreRefusedError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from docservice.postgres.migrations import MigrationError, pending
from docservice.postgres.rights import refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Done = TypeVar("Done")


def fail(text: str, code: int) -> NoReturn:
    """End the command with one line and that exit code."""
    click.echo(f"docservice: {' '.join(text.split())}", err=True)
    raise SystemExit(code)


def read() -> Settings:
    """The settings of the environment; invalid ones end the command."""
    try:
        settings = read_settings(os.environ)
    except ConfigError as fault:
        fail(str(fault), 2)
    # Metrics of several processes are files there, and the library does not say so where it cannot make them.
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder and not (Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        advice = "make it, or leave the variable out"
        fail(f"PROMETHEUS_MULTIPROC_DIR is {folder!r}, no folder that this user may write to; {advice}", 2)
    return settings


async def with_database(settings: Settings, work: Callable[[Database], Awaitable[Done]]) -> Done:
    """What ``work`` returns on an open pool of two connections."""
    database = Database(settings.pool(size=2))
    try:
        await database.open(min_size=1)
        return await work(database)
    finally:
        await database.close()


def run(work: Awaitable[Done]) -> Done:
    """What ``work`` returns; a server that does not answer ends the command with one line."""

    async def main() -> Done:
        return await work

    try:
        return asyncio.run(main())
    except PoolerError as fault:
        fail(str(fault), 1)
    except StoreRefusedError as fault:
        advice = (
            "migrate, backup and restore take the owner of the tables; for the others see docservice check"
        )
        fail(f"DATABASE_URL: {fault}; {advice}", 1)
    except (StoreUnavailableError, StoreTimeoutError) as fault:
        where = urlsplit(read().database_url).netloc.rpartition("@")[2]
        fail(f"DATABASE_URL ({where}): {fault}; check that the server runs, the user and the password", 1)
    except (MigrationError, BlobError, BackupError, BackupRunningError) as fault:
        fail(str(fault), 1)


async def with_schema(settings: Settings, work: Callable[[Database], Awaitable[Done]]) -> Done:
    """As :func:`with_database`; fails with one line where a migration is missing."""

    async def checked(database: Database) -> Done:
        if missing := await pending(database):
            fail(f"the database lacks {', '.join(missing)}; run docservice migrate", 1)
        return await work(database)

    return await with_database(settings, checked)


async def nothing(_database: Database) -> None:
    """For what needs the schema and no connection of its own."""


async def require_rights(database: Database) -> None:
    """Fail with one line unless the user in Postgres may do what the service does."""
    if why := await refusal(database):
        fail(f"DATABASE_URL: {why}", 1)


async def require_writes(settings: Settings) -> None:
    """Fail with one line unless Redis takes a write. At a start it may be full or a replica for a while."""
    cache = Cache(settings.redis, settings.redis_tuning, Metrics())
    try:
        if why := await cache.refusal():
            fail(f"REDIS_URL: {settings.redis} takes no write: {why}", 1)
    finally:
        await cache.close()


def require_redis_rights(settings: Settings, part: str | None = None) -> None:
    """Fail with one line unless the user in Redis may do what ``part`` does; without it, what either does."""
    if why := redis_rights.refusal(settings, part):
        fail(f"REDIS_URL: {why}", 1)


async def _say_rights(database: Database) -> None:
    """Say what the user in Postgres lacks: not a refusal, since a worker may do with less than the API."""
    if why := await refusal(database):
        logger("settings").warning("database.rights", why=why)


async def check(settings: Settings, *, accept_store: bool = False) -> None:
    """Fail with one line unless Postgres, its schema, Redis and the store of blobs are available.

    The store must be the database's own, or is made so where neither has another or with ``accept_store``.
    """
    blobs = BlobStore(settings.blob_url, seconds=settings.blob_seconds, marked=True)

    async def identified(database: Database) -> None:
        await _say_rights(database)
        await identify(blobs, database, accept=accept_store)

    await with_schema(settings, identified)
    cache = Cache(settings.redis, settings.redis_tuning, Metrics())
    try:
        if not await cache.ping():
            require_redis_rights(settings)
            fail(
                f"REDIS_URL: no answer from {settings.redis} within its timeout; check that it runs,"
                " the user and the password",
                1,
            )
    finally:
        await cache.close()
    await blobs.check()
