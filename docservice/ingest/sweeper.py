"""Finds documents that no worker has: never sent, sent and lost, or claimed by a worker that died.

What belongs here: which documents are sent again, and when. Never: HTTP, the reading of files. Several
processes may sweep at once; each document is taken by one of them.

A document in state ``received`` that was sent more than ``LOST_SECONDS`` ago is looked for in the queue
itself. When its message is not there, the document is sent again, however long the queue is; then its message
is in the queue, so it is sent once for each loss. A message that a worker has prefetched counts as not in the
queue: if the worker died, nobody else sees it. The duplicate that this may cause is harmless, since the claim
in Postgres admits one worker.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from docservice.ingest.publish import GRACE_SECONDS, time_limit_seconds
from docservice.log import logger
from docservice.postgres.database import StoreTimeoutError, StoreUnavailableError

if TYPE_CHECKING:
    from docservice.config import Settings
    from docservice.ingest.publish import Broker
    from docservice.ingest.sent_spans import SentSpans
    from docservice.metrics import Metrics
    from docservice.page_cache import Cache
    from docservice.postgres.documents import Documents

#: Sent longer ago than this, a document is looked for in the queue.
LOST_SECONDS = 20.0
_FRESH_SECONDS = 2.0
#: The share of time that scanning a long queue may take, and the longest pause that this leads to.
_SCAN_SHARE = 0.1
_MAX_SCAN_PAUSE_SECONDS = 30.0
_BATCH = 500


def lease_seconds(settings: Settings) -> float:
    """How long a claim belongs to its worker: until it is killed, and a margin."""
    return time_limit_seconds(settings) + GRACE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep did, in documents."""

    sent: int
    returned: int
    failed: int


class Sweeper:
    """Sends again what no worker has, and returns what lost workers had claimed."""

    def __init__(
        self,
        *,
        settings: Settings,
        documents: Documents,
        broker: Broker,
        cache: Cache,
        metrics: Metrics,
        sent: SentSpans,
    ) -> None:
        self._sent = sent
        self._settings = settings
        self._documents = documents
        self._broker = broker
        self._cache = cache
        self._metrics = metrics
        self._log = logger("sweeper")
        self._scan_pause_seconds = 0.0

    async def run(self) -> None:
        """Sweep at the set interval, until cancelled."""
        while True:
            await asyncio.sleep(self._settings.sweep_seconds)
            try:
                await self.sweep()
            except (StoreUnavailableError, StoreTimeoutError) as fault:
                self._log.warning("sweep.failed", fault=str(fault))

    async def sweep(self, *, alone: bool = False) -> Swept:
        """Sweep once. ``alone`` scans the queue even where another process did so a moment ago.

        Raises:
            StoreUnavailableError: when Postgres does not answer.
        """
        attempts = self._settings.processing_attempts
        abandoned = await self._documents.abandoned(
            lease_seconds=lease_seconds(self._settings),
            max_attempts=attempts,
            reason=f"failed after {attempts} attempts: each time the worker"
            " ran out of time or memory, or was ended",
        )
        for module in abandoned.modules:
            await self._cache.raise_version(module)
        sent = await self._send_unsent() + await self._send_lost(alone=alone)
        self._metrics.enqueued.labels("sweeper").inc(sent)
        swept = Swept(sent=sent, returned=abandoned.returned, failed=abandoned.failed)
        for result in ("sent", "returned", "failed"):
            self._metrics.swept.labels(result).inc(getattr(swept, result))
        if swept != Swept(sent=0, returned=0, failed=0):
            self._log.info("sweep.done", sent=sent, returned=swept.returned, failed=swept.failed)
        # Last: where this takes too long, nothing else is left undone.
        self._metrics.oldest_unprocessed.set(await self._documents.oldest_unprocessed_seconds())
        return swept

    async def _send_unsent(self) -> int:
        """Send what was stored and never sent."""
        sent = 0
        while ids := await self._documents.unsent(fresh_seconds=_FRESH_SECONDS, limit=_BATCH):
            if not await self._send(ids):
                break
            sent += len(ids)
        return sent

    async def _send_lost(self, *, alone: bool) -> int:
        """Send what was sent a while ago, has no worker and is not in the queue."""
        pause = max(self._scan_pause_seconds, self._settings.sweep_seconds / 2)
        # First: of a long queue, listing the documents takes longest, so one process does it.
        if not alone and not await self._broker.reserve_scan(seconds=pause):
            return 0
        candidates = await self._documents.sent_before(seconds=LOST_SECONDS)
        if not candidates:
            return 0
        begun = time.monotonic()
        queued = await self._broker.queued()
        spent = time.monotonic() - begun
        self._scan_pause_seconds = min(spent / _SCAN_SHARE, _MAX_SCAN_PAUSE_SECONDS)
        if queued is None:
            return 0
        missing = [document_id for document_id in candidates if document_id not in queued]
        sent = 0
        for start in range(0, len(missing), _BATCH):
            # Asked again: a worker may have taken some of them meanwhile.
            ids = await self._documents.send_again(missing[start : start + _BATCH], seconds=LOST_SECONDS)
            if ids and not await self._send(ids):
                break
            sent += len(ids)
        return sent

    async def _send(self, ids: list[int]) -> bool:
        begun = time.time()
        if await self._broker.send(ids):
            await self._sent.add(ids, by="sweeper", begun=begun)
            return True
        await self._documents.not_enqueued(ids)
        return False
