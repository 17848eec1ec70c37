"""Everything that the routes use, built once for one process and opened with it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from autoscaler.api import NoTraces
from docservice.http.access_log import RequestLog
from docservice.http.auth import Authenticator
from docservice.http.background import Background
from docservice.http.exports import Exports
from docservice.http.idempotency import Idempotency
from docservice.http.store_watch import StoreWatch
from docservice.ingest.blobs import BlobStore
from docservice.ingest.bulk import BulkRunner
from docservice.ingest.orphans import OrphanRemover
from docservice.ingest.publish import Broker, Enqueuer, make_celery
from docservice.ingest.sent_spans import SentSpans
from docservice.ingest.sweeper import Sweeper
from docservice.log import AccessLog
from docservice.metrics import Metrics
from docservice.page_cache import Cache
from docservice.postgres.administration import Administration
from docservice.postgres.bulk import Bulk
from docservice.postgres.database import Database
from docservice.postgres.document_type_columns import DocumentTypeColumns
from docservice.postgres.documents import Documents
from docservice.postgres.grids import Grids
from docservice.postgres.modules import Modules
from docservice.postgres.tokens import Tokens
from docservice.workers import WorkerControl

if TYPE_CHECKING:
    from autoscaler.api import Traces
    from docservice.config import Settings

_FLUSH_SECONDS = 0.5
_EXPORT_CONNECTIONS = 2
_TRACES_SECONDS = 2.0


class Services:
    """One of everything, for one process."""

    def __init__(
        self, settings: Settings, *, access_log: AccessLog | None = None, traces: Traces | None = None
    ) -> None:
        self.settings = settings
        self.traces = traces or NoTraces()
        self.metrics = Metrics()
        self.requests = RequestLog(self.metrics, access_log or AccessLog())
        self.background = Background(self.metrics)
        self.database = Database(settings.pool())
        self.grids = Grids(self.database)
        # Exports never take a connection from the pages.
        self._export_database = Database(settings.pool(size=_EXPORT_CONNECTIONS))
        self.exports = Exports(
            Grids(self._export_database),
            seconds=settings.export_seconds,
            idle_seconds=settings.body_idle_seconds,
            max_bytes=settings.export_bytes,
        )
        self.documents = Documents(self.database)
        self.columns = DocumentTypeColumns(self.database)
        self.administration = Administration(self.database)
        self.idempotency = Idempotency(self.administration)
        self.tokens = Tokens(self.database)
        self.modules = Modules(self.database)
        self.bulk = Bulk(self.database)
        self.blobs = BlobStore(settings.blob_url, seconds=settings.blob_seconds, marked=True)
        self.store_watch = StoreWatch(self.blobs)
        self.cache = Cache(settings.redis, settings.redis_tuning, self.metrics)
        self.auth = Authenticator(tokens=self.tokens, cache=self.cache, seconds=settings.identity_seconds)
        celery = make_celery(settings)
        self.broker = Broker(celery, queue=settings.queue)
        sent = SentSpans(self.traces, self.documents, queue=settings.queue)
        self.enqueuer = Enqueuer(self.broker, self.documents, self.metrics, sent)
        self.bulk_runner = BulkRunner(
            bulk=self.bulk,
            documents=self.documents,
            blobs=self.blobs,
            cache=self.cache,
            enqueuer=self.enqueuer,
        )
        self.control = WorkerControl(celery, settings)
        self.sweeper = self._make_sweeper(sent)
        self.orphans = OrphanRemover(self.blobs, self.documents, self.database)

    def _make_sweeper(self, sent: SentSpans) -> Sweeper:
        return Sweeper(
            settings=self.settings,
            documents=self.documents,
            broker=self.broker,
            cache=self.cache,
            metrics=self.metrics,
            sent=sent,
        )

    async def open(self) -> None:
        """Open the pools and start the background tasks. Servers that are away are reached later."""
        await self.database.open()
        await self._export_database.open()
        await self.cache.ping()
        self.background.keep("enqueuer", self.enqueuer.run)
        self.background.keep("sweeper", self.sweeper.run)
        self.background.keep("orphans", self.orphans.run)
        self.background.keep("bulk", self.bulk_runner.run)
        self.background.keep("removed_files", self.bulk_runner.run_files)
        self.background.keep("store_watch", self.store_watch.run)
        self.background.keep("access_log", self._flush)

    async def close(self) -> None:
        """Stop the background tasks, send what is left, close the pools."""
        await self.background.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.enqueuer.flush(), timeout=5)
        await self.broker.close()
        await asyncio.to_thread(self.control.close)
        await self.cache.close()
        await self._export_database.close()
        await self.database.close()
        self.requests.flush()
        await asyncio.to_thread(self.traces.close, within_seconds=_TRACES_SECONDS)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            self.requests.flush()
