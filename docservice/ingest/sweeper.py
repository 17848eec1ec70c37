"""Finds what nobody did: documents that were stored and not sent, and claims that were not kept."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from docservice.ingest.publish import GRACE_SECONDS
from docservice.log import logger
from docservice.postgres.database import StoreTimeoutError, StoreUnavailableError

if TYPE_CHECKING:
    from datetime import date

    from docservice.config import Settings
    from docservice.ingest.blobs import BlobStore
    from docservice.ingest.publish import Broker
    from docservice.metrics import Metrics
    from docservice.page_cache import Cache
    from docservice.postgres.documents import Documents

#: Sent so long ago while the queue is empty, a message is taken for lost.
_LOST_SECONDS = 600.0
_FRESH_SECONDS = 2.0
_ORPHAN_DAYS = range(1, 4)


def lease_seconds(settings: Settings) -> float:
    """How long a claim is another's: the time limit, the grace to end by force, and some."""
    return settings.processing_seconds + 2.0 * GRACE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep did."""

    sent: int
    returned: int
    failed: int


class Sweeper:
    """Several may sweep at once: each document falls to one of them."""

    def __init__(
        self, *, settings: Settings, documents: Documents, broker: Broker, cache: Cache, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._documents = documents
        self._broker = broker
        self._cache = cache
        self._metrics = metrics
        self._log = logger("sweeper")

    async def run(self) -> None:
        """Sweep now and then, until cancelled."""
        while True:
            await asyncio.sleep(self._settings.sweep_seconds)
            try:
                await self.sweep()
            except (StoreUnavailableError, StoreTimeoutError) as fault:
                self._log.warning("sweep.failed", fault=str(fault))

    async def sweep(self) -> Swept:
        """Sweep once.

        Raises:
            StoreUnavailableError: when Postgres does not answer.
        """
        abandoned = await self._documents.abandoned(
            lease_seconds=lease_seconds(self._settings),
            most_attempts=self._settings.processing_attempts,
            reason=f"given up after {self._settings.processing_attempts} attempts: each time the worker"
            " ran out of time or memory, or was ended",
        )
        for module in abandoned.modules:
            await self._cache.raise_version(module)
        sent = await self._send()
        swept = Swept(sent=sent, returned=abandoned.returned, failed=abandoned.failed)
        for result in ("sent", "returned", "failed"):
            self._metrics.swept.labels(result).inc(getattr(swept, result))
        if swept != Swept(sent=0, returned=0, failed=0):
            self._log.info("swept", sent=sent, returned=swept.returned, failed=swept.failed)
        return swept

    async def _send(self) -> int:
        empty = await self._broker.queue_is_empty()
        sent = 0
        while ids := await self._documents.forgotten(
            fresh_seconds=_FRESH_SECONDS, lost_seconds=_LOST_SECONDS, queue_is_empty=empty
        ):
            if not await self._broker.send(ids):
                await self._documents.not_enqueued(ids)
                break
            sent += len(ids)
        self._metrics.enqueued.labels("sweeper").inc(sent)
        return sent


async def remove_orphans(blobs: BlobStore, documents: Documents, today: date | None = None) -> int:
    """Remove blobs of the last days whose documents were never committed, and return their number.

    Today's are left alone: an upload may be under way.

    Raises:
        StoreUnavailableError, BlobError: when Postgres or the store of blobs does not answer.
    """
    removed = 0
    for days in _ORPHAN_DAYS:
        keys = await blobs.keys_of((today or datetime.now(UTC).date()) - timedelta(days=days))
        for start in range(0, len(keys), 1000):
            lot = keys[start : start + 1000]
            for key in set(lot) - await documents.known_blobs(lot):
                await blobs.remove(key)
                removed += 1
    return removed
