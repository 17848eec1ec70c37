"""Takes a backup while everything runs: one moment of the rows, then the files that they name.

Rows first: a file is stored before its row and never changes, so every file that a row of the snapshot names
is there. Until the backup ends none of them is removed (see ``postgres/backups``).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from docservice.backup.copying import copy_files
from docservice.backup.programs import dump
from docservice.backup.store import Manifest
from docservice.postgres.backups import Backups

if TYPE_CHECKING:
    from datetime import datetime

    from docservice.backup.store import Store
    from docservice.ingest.blobs import BlobStore
    from docservice.postgres.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A backup that was taken; how many files were copied for it, how many other backups removed."""

    name: str
    manifest: Manifest
    copied: int
    removed: int


async def take(
    *, database: Database, url: str, blobs: BlobStore, store: Store, now: datetime, keep: int | None = None
) -> Taken:
    """Back the database of ``url`` and its files up into ``store``. Needs a pool of two connections.

    Of all backups in ``store`` the last ``keep`` stay.

    Raises:
        BackupError, BackupRunningError, BlobError, StoreUnavailableError: when that fails; the backup
            then has no manifest.
    """
    backups = Backups(database)
    async with backups.files_kept():
        backup = store.new(now)
        async with backups.snapshot() as snapshot:
            files = [file async for file in snapshot.files()]
            documents = await snapshot.documents()
            await dump(url, snapshot=snapshot.name, path=backup.dump)
        backup.write_files(files)
        copied = await copy_files(files, blobs, store.blobs)
        manifest = Manifest(
            taken_at=now.isoformat(timespec="seconds"),
            version=version("celery-pool-autoscaler"),
            documents=documents,
            files=len(files),
            bytes=sum(file.size_bytes for file in files),
            missing=copied.missing,
        )
        backup.write_manifest(manifest)
        removed = 0 if keep is None else await store.prune(keep)
    return Taken(name=backup.name, manifest=manifest, copied=copied.copied, removed=removed)
