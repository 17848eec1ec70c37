"""Removes orphans: files of uploads whose documents were never committed, and that nothing refers to.

What belongs here: which files are orphans, and when they are looked for. Never: HTTP, Celery.

Files lie in a folder for each day. A day is checked when it ended 24 hours ago or more, since an upload that
began before midnight may still run. Once a day, at a fixed hour, the API process that gets the advisory lock
checks the days of the last week. ``docservice sweep --orphans`` checks all days. Nothing is removed while a
backup runs.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from docservice.ingest.blob_errors import BlobError
from docservice.log import logger
from docservice.postgres.database import StoreTimeoutError, StoreUnavailableError

if TYPE_CHECKING:
    from docservice.ingest.blobs import BlobStore
    from docservice.postgres.database import Database
    from docservice.postgres.documents import Documents

#: A quiet hour, UTC; the same for all processes, so that they meet at the lock.
_HOUR = 3
#: Of Postgres; chosen at random, the same in every process.
ORPHAN_LOCK = 7_021_094_419
_RECENT_DAYS = 7
_MAX_SECONDS = 900.0
_BATCH = 1000
#: With so many files that cannot be removed it is not the files.
_MAX_FAULTS = 20


async def remove_orphans(
    blobs: BlobStore, documents: Documents, now: datetime | None = None, *, recent_days: int | None = None
) -> int:
    """Remove the orphans of all days, or of the last ``recent_days`` only, and return their number.

    Raises:
        StoreUnavailableError, BlobError: when Postgres or the store of blobs does not answer, or some files
            could not be removed. Those behind a few such files are removed all the same.
    """
    last = ((now or datetime.now(UTC)) - timedelta(days=2)).date()
    removed = 0
    faults: list[BlobError] = []
    for day in await blobs.days():
        if day > last or (recent_days is not None and day <= last - timedelta(days=recent_days)):
            continue
        keys = await blobs.keys_of(day)
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            for key in await documents.orphans(batch):
                try:
                    await blobs.delete(key)
                    removed += 1
                except BlobError as fault:
                    faults.append(fault)
                    if len(faults) == _MAX_FAULTS:
                        raise
    if faults:
        raise BlobError(f"{removed} orphans are removed and {len(faults)} are not: {faults[0]}")
    return removed


def seconds_until_hour(now: datetime) -> float:
    """The time from ``now`` to the next daily run; more than zero."""
    today = now.replace(hour=_HOUR, minute=0, second=0, microsecond=0)
    return (today - now if today > now else today + timedelta(days=1) - now).total_seconds()


class OrphanRemover:
    """Removes recent orphans once a day."""

    def __init__(self, blobs: BlobStore, documents: Documents, database: Database) -> None:
        self._blobs = blobs
        self._documents = documents
        self._database = database
        self._log = logger("orphans")

    async def run(self) -> None:
        """Remove orphans every day at the same hour, until cancelled."""
        while True:
            await asyncio.sleep(seconds_until_hour(datetime.now(UTC)))
            await self.remove(datetime.now(UTC))

    async def remove(self, now: datetime) -> int | None:
        """Remove the orphans of the last week and return their number.

        None when another process does it, a server did not answer or it took too long.
        """
        try:
            async with asyncio.timeout(_MAX_SECONDS), self._database.lock(ORPHAN_LOCK) as ours:
                if not ours:
                    return None
                removed = await remove_orphans(self._blobs, self._documents, now, recent_days=_RECENT_DAYS)
        except (BlobError, StoreTimeoutError, StoreUnavailableError, TimeoutError) as fault:
            self._log.warning("orphans.failed", fault=str(fault) or type(fault).__name__)
            return None
        self._log.info("orphans.removed", count=removed)
        return removed
