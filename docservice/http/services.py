"""All that the routes need, made once by ``create_app`` and opened with it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from docservice.http.access_log import RequestLog
from docservice.http.auth import Authenticator
from docservice.ingest.blobs import BlobStore
from docservice.ingest.publish import Broker, Enqueuer, make_celery
from docservice.ingest.sweeper import Sweeper
from docservice.log import AccessLog
from docservice.metrics import Metrics
from docservice.page_cache import Cache
from docservice.postgres.administration import Administration
from docservice.postgres.database import Database
from docservice.postgres.document_type_columns import DocumentTypeColumns
from docservice.postgres.documents import Documents
from docservice.postgres.grids import Grids
from docservice.postgres.tokens import Tokens
from docservice.workers import WorkerControl

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from docservice.config import Settings

_FLUSH_SECONDS = 0.5


class Services:
    """One of everything, for one process."""

    def __init__(self, settings: Settings, *, access_log: AccessLog | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.requests = RequestLog(self.metrics, access_log or AccessLog())
        self.database = Database(settings.pool())
        self.grids = Grids(self.database)
        self.documents = Documents(self.database)
        self.columns = DocumentTypeColumns(self.database)
        self.administration = Administration(self.database)
        self.tokens = Tokens(self.database)
        self.blobs = BlobStore(settings.blob_url)
        self.cache = Cache(settings.redis, settings.redis_tuning, self.metrics)
        self.auth = Authenticator(tokens=self.tokens, cache=self.cache, seconds=settings.identity_seconds)
        celery = make_celery(settings)
        self.broker = Broker(celery, queue=settings.queue)
        self.enqueuer = Enqueuer(self.broker, self.documents, self.metrics)
        self.control = WorkerControl(celery, settings)
        self.sweeper = Sweeper(
            settings=settings,
            documents=self.documents,
            broker=self.broker,
            cache=self.cache,
            metrics=self.metrics,
        )
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Open the pools and begin what runs in the background. Servers that are away come later."""
        await self.database.open()
        await self.cache.ping()
        for work in (self.enqueuer.run(), self.sweeper.run(), self._flush()):
            self.go(work)

    async def close(self) -> None:
        """End what runs in the background, send what is left, close the pools."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.enqueuer.flush(), timeout=5)
        await self.broker.close()
        await asyncio.to_thread(self.control.close)
        await self.cache.close()
        await self.database.close()
        self.requests.flush()

    def go(self, work: Coroutine[object, object, None]) -> None:
        """Run something behind the answers; it is cancelled when the service closes."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            self.requests.flush()
