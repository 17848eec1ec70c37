"""``docservice backup`` and ``docservice restore``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from docservice.backup.restore import Restored, restore_backup
from docservice.backup.store import Store
from docservice.backup.take import Taken, take
from docservice.cli.running import fail, read, run, with_database, with_schema
from docservice.ingest.blobs import BlobStore
from docservice.ingest.store_identity import identify
from docservice.metrics import Metrics
from docservice.page_cache import Cache
from docservice.postgres.file_store import FileStore
from docservice.postgres.migrations import pending

if TYPE_CHECKING:
    from docservice.config import Settings
    from docservice.postgres.database import Database

_STORE = click.argument("store", type=click.Path(file_okay=False, path_type=Path))
_SHOWN_KEYS = 5


def _direct() -> Settings:
    settings = read()
    if settings.database_pooler != "none":
        fail("DATABASE_POOLER must be none here: give DATABASE_URL of the Postgres server itself", 2)
    return settings


@click.command()
@_STORE
@click.option("--keep", type=click.IntRange(1, 100_000), help="Remove all but the last N backups afterwards.")
def backup(store: Path, keep: int | None) -> None:
    """Back up the database and the files into the folder STORE, while everything runs."""
    settings = _direct()

    async def work(database: Database) -> Taken:
        return await take(
            database=database,
            url=settings.database_url,
            blobs=BlobStore(settings.blob_url, seconds=settings.blob_seconds, marked=True),
            store=Store(store, seconds=settings.blob_seconds),
            now=datetime.now(UTC),
            keep=keep,
        )

    taken = run(with_schema(settings, work))
    manifest = taken.manifest
    also = f"; removed {taken.removed} other backups" if taken.removed else ""
    click.echo(
        f"backup {taken.name}: {manifest.documents} documents, {manifest.files} files"
        f" of {manifest.bytes} bytes, {taken.copied} of them new{also}"
    )
    if manifest.missing:
        fail(
            f"{_some(manifest.missing)} could not be read from the store of blobs, or differ from their"
            f" checksum; all are under `missing` in {store / taken.name / 'manifest.json'}",
            1,
        )


@click.command()
@_STORE
@click.option("--backup", "name", help="Its name, such as 2026-11-26T20-52-07Z. Without: the newest.")
def restore(store: Path, name: str | None) -> None:
    """Restore a backup of the folder STORE into an empty database and the place for blobs."""
    settings = _direct()

    async def work(database: Database) -> tuple[Restored, list[str], bool]:
        blobs = BlobStore(settings.blob_url, seconds=settings.blob_seconds)
        restored = await restore_backup(
            database=database,
            url=settings.database_url,
            blobs=blobs,
            store=Store(store, seconds=settings.blob_seconds),
            name=name,
        )
        missing = await pending(database)
        if not missing and await blobs.read_marker() is None:
            # The rows name the store that was backed up, which the service before may still use.
            await FileStore(database).renew()
            await identify(blobs, database, accept=True)
        cache = Cache(settings.redis, settings.redis_tuning, Metrics())
        try:
            return restored, missing, await cache.forget_all()
        finally:
            await cache.close()

    restored, missing, forgot = run(with_database(settings, work))
    click.echo(
        f"restored {restored.name}: {restored.manifest.documents} documents, {restored.copied} files copied"
    )
    if missing:
        click.echo(f"next: docservice migrate, for {', '.join(missing)}")
    if not forgot:
        click.echo(
            "docservice: REDIS_URL does not answer. A Redis that was in use before may hold pages of then:"
            " empty it, or wait for DOCSERVICE_CACHE_SECONDS",
            err=True,
        )
    if restored.missing:
        fail(f"{_some(restored.missing)} are not in the backup; their documents are there without a file", 1)


def _some(keys: list[str]) -> str:
    more = ", …" if len(keys) > _SHOWN_KEYS else ""
    return f"{len(keys)} files ({', '.join(keys[:_SHOWN_KEYS])}{more})"
