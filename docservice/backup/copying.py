"""Copies files between two stores of blobs, each checked against the checksum of its row."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from docservice.ingest.blob_errors import BlobMissingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from docservice.ingest.blobs import BlobStore
    from docservice.postgres.backups import StoredFile

_AT_ONCE = 8


@dataclass(slots=True, kw_only=True)
class Copied:
    """What became of some files: copied, there already, or (by their keys) not to be had as they were."""

    copied: int = 0
    present: int = 0
    missing: list[str] = field(default_factory=list)


async def copy_files(files: Iterable[StoredFile], source: BlobStore, target: BlobStore) -> Copied:
    """Copy what ``target`` lacks.

    Raises:
        BlobError: when a store does not answer. What was copied stays, and is not copied again.
    """
    done = Copied()
    batch: list[StoredFile] = []
    for file in files:
        batch.append(file)
        if len(batch) == _AT_ONCE:
            await _copy_batch(batch, source, target, done)
            batch = []
    await _copy_batch(batch, source, target, done)
    return done


async def _copy_batch(batch: list[StoredFile], source: BlobStore, target: BlobStore, done: Copied) -> None:
    results = await asyncio.gather(*(_copy(file, source, target) for file in batch))
    for file, result in zip(batch, results, strict=True):
        if result is None:
            done.missing.append(file.key)
        elif result:
            done.copied += 1
        else:
            done.present += 1


async def _copy(file: StoredFile, source: BlobStore, target: BlobStore) -> bool | None:
    """True when it was copied, False when it was there, None when the source has no such file."""
    if await target.size(file.key) == file.size_bytes:
        return False
    digest = hashlib.sha256()
    writer = target.writer(file.key)
    try:
        async for chunk in source.chunks(file.key):
            digest.update(chunk)
            await writer.write(chunk)
        if digest.hexdigest() == file.sha256:
            await writer.close()
            return True
    except BlobMissingError:
        return None  # whatever the target has stays
    except BaseException:
        await writer.abandon()
        raise
    await writer.abandon()
    return None
