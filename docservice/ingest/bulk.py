"""Does the work of bulk jobs beside the requests, and removes the files of deleted documents.

What belongs here: when a chunk is worked on, and what follows it (versions, queue, files). Never: HTTP, SQL.

A step holds one connection for some milliseconds, and the pause after it is as long as the step: at least
half of the time nothing of a job is before the pages. Every process looks for jobs; Postgres lets one work.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from docservice.ingest.blob_errors import BlobError
from docservice.log import logger
from docservice.postgres.database import StoreTimeoutError, StoreUnavailableError

if TYPE_CHECKING:
    from docservice.ingest.blobs import BlobStore
    from docservice.ingest.publish import Enqueuer
    from docservice.page_cache import Cache
    from docservice.postgres.bulk import Bulk
    from docservice.postgres.documents import Documents

_IDLE_SECONDS = 2.0
_MAX_PAUSE_SECONDS = 1.0
_FILES = 100
_FILES_AT_ONCE = 8


class BulkRunner:
    """Works on jobs, whichever process began them."""

    def __init__(
        self, *, bulk: Bulk, documents: Documents, blobs: BlobStore, cache: Cache, enqueuer: Enqueuer
    ) -> None:
        self._bulk = bulk
        self._documents = documents
        self._blobs = blobs
        self._cache = cache
        self._enqueuer = enqueuer
        self._log = logger("bulk")
        self._new_job = asyncio.Event()
        self._new_files = asyncio.Event()

    def job_begun(self) -> None:
        """Look for work now."""
        self._new_job.set()

    def files_left(self) -> None:
        """Look for files of deleted documents now."""
        self._new_files.set()

    async def run(self) -> None:
        """Work on jobs until cancelled."""
        while True:
            begun = time.monotonic()
            try:
                worked = await self.step()
            except (StoreUnavailableError, StoreTimeoutError) as fault:
                self._log.warning("bulk.failed", fault=str(fault))
                worked = False
            if worked:
                await asyncio.sleep(min(time.monotonic() - begun, _MAX_PAUSE_SECONDS))
            else:
                await _wait(self._new_job)

    async def step(self) -> bool:
        """Do the work of one chunk; False when there is none.

        Raises:
            StoreUnavailableError, StoreTimeoutError: when Postgres does not do it; it stays to be done.
        """
        step = await self._bulk.step()
        if step is None:
            return False
        if step.put_off:
            self._log.warning("bulk.put_off", module=step.module, documents=step.put_off)
        if step.changed:
            await self._cache.raise_version(step.module)
        if step.retried:
            self._enqueuer.put(step.retried)
        elif step.changed:
            self.files_left()
        return True

    async def run_files(self) -> None:
        """Remove the files of deleted documents until cancelled."""
        while True:
            try:
                removed = await self.remove_files()
            except (BlobError, StoreUnavailableError, StoreTimeoutError) as fault:
                self._log.warning("bulk.files_left", fault=str(fault))
                removed = 0
            if removed < _FILES:
                await _wait(self._new_files)

    async def remove_files(self) -> int:
        """Remove some of the files whose documents are deleted, and return their number.

        Raises:
            BlobError: when one could not be removed; it goes to the end of the list, behind the others.
            StoreUnavailableError, StoreTimeoutError: when Postgres does not answer.
        """
        keys = await self._bulk.removed_blobs(limit=_FILES)
        used = await self._documents.known_blobs(keys) if keys else set()
        for start in range(0, len(keys), _FILES_AT_ONCE):
            batch = keys[start : start + _FILES_AT_ONCE]
            faults = await asyncio.gather(*(self._remove(key) for key in batch if key not in used))
            left = dict(filter(None, faults))
            await self._bulk.forget_blobs([key for key in batch if key not in left])
            if left:
                await self._bulk.put_blobs_last(list(left))
                raise next(iter(left.values()))
        return len(keys)

    async def _remove(self, key: str) -> tuple[str, BlobError] | None:
        """Remove a file; the key and the fault where that fails."""
        try:
            await self._blobs.delete(key)
        except BlobError as fault:
            return key, fault
        return None


async def _wait(event: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_IDLE_SECONDS):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()
