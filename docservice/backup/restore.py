"""Restores a backup into an empty database and a store of blobs: the files first, then all rows at once.

So a row is never seen without its file. What was being processed is processed again: its claims have run out
and its messages are gone, which is what the sweeper looks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from docservice.backup.copying import copy_files
from docservice.backup.programs import BackupError, restore
from docservice.postgres.backups import Backups

if TYPE_CHECKING:
    from docservice.backup.store import Manifest, Store
    from docservice.ingest.blobs import BlobStore
    from docservice.postgres.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A backup that was restored; ``missing`` are keys of files that the backup does not have."""

    name: str
    manifest: Manifest
    copied: int
    missing: list[str]


async def restore_backup(
    *, database: Database, url: str, blobs: BlobStore, store: Store, name: str | None
) -> Restored:
    """Restore the backup of that ``name``, or the newest one.

    Raises:
        BackupError: when the database is not empty, or the rows cannot be loaded; then none of them is there.
        BlobError, StoreUnavailableError: when a store does not answer.
    """
    backup = store.choose(name)
    manifest = backup.manifest()
    backups = Backups(database)
    if tables := await backups.tables():
        raise BackupError(
            f"the database of DATABASE_URL has tables ({', '.join(tables)}); give an empty database"
        )
    copied = await copy_files(backup.files(), store.blobs, blobs)
    await restore(url, path=backup.dump)
    documents = await backups.documents()
    if documents != manifest.documents:
        raise BackupError(
            f"the restored database has {documents} documents, and the manifest says {manifest.documents}"
        )
    return Restored(name=backup.name, manifest=manifest, copied=copied.copied, missing=copied.missing)
