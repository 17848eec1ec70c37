"""Whether the store of files is the one of the database, and not a volume that is not mounted.

The store has a file with the identity that its database has, written when both are first used together. An
empty folder without it is no empty store, and another database's store is not taken: the removal of orphans
would remove that one's files.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from docservice.ingest.blob_errors import BlobError
from docservice.ingest.blobs import MARKER, is_key
from docservice.postgres.file_store import FileStore

if TYPE_CHECKING:
    from docservice.ingest.blobs import BlobStore
    from docservice.postgres.database import Database

_ACCEPT = "docservice check --accept-store"
#: Of so many files that were stored last before stores were marked, one is in the right store.
_NEWEST = 20


async def identify(blobs: BlobStore, database: Database, *, accept: bool = False) -> None:
    """Pass when the store is the database's own; mark it where neither was used with the other before.

    ``accept`` marks it whatever it is.

    Raises:
        BlobError: when it is another store or none, with what to do.
        StoreUnavailableError: when Postgres does not answer.
    """
    store = FileStore(database)
    own = await store.identity()
    found = await blobs.read_marker()
    if found != own.text:
        if not accept and (why := await _refusal(blobs, store, found=found, marked=own.marked)):
            raise BlobError(f"DOCSERVICE_BLOB_URL: {why}; if it is the right place: {_ACCEPT}")
        await blobs.write_marker(own.text)
    if not own.marked:
        await store.set_marked()


async def _refusal(blobs: BlobStore, store: FileStore, *, found: str | None, marked: bool) -> str | None:
    """Why this is not the store of the database, or None."""
    if found is not None:
        return f"the store in {blobs.place} belongs to another database, by its file {MARKER}"
    if marked:
        return f"{blobs.place} has no file {MARKER}, so it is another place, or a volume that is not mounted"
    keys = [key for key in await store.newest_keys(_NEWEST) if is_key(key)]
    sizes = await asyncio.gather(*(blobs.size(key) for key in keys))
    if keys and not any(size is not None for size in sizes):
        return f"{blobs.place} has none of the {len(keys)} newest files of the database"
    return None
