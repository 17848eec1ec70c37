"""A worker's insides on a running loop, without a process of its own."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from autoscaler.api import NoTraces
from docservice.domain.documents import DocumentType, NewDocument
from docservice.ingest.blobs import BlobStore
from docservice.ingest.bulk import BulkRunner
from docservice.ingest.publish import Broker, make_celery
from docservice.ingest.sent_spans import SentSpans
from docservice.ingest.store_identity import identify
from docservice.ingest.sweeper import Sweeper
from docservice.ingest.tasks import Worker
from docservice.metrics import Metrics
from docservice.page_cache import Cache
from docservice.postgres.bulk import Bulk
from docservice.postgres.database import Database
from docservice.postgres.documents import Documents

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from docservice.config import Settings


class Bench:
    """A worker's insides on a running loop, and a store to look at what it did."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.pool(size=3))
        self.documents = Documents(self.database)
        self.blobs = BlobStore(settings.blob_url)
        self.broker = Broker(make_celery(settings), queue=settings.queue)
        self.cache = Cache(settings.redis, settings.redis_tuning, Metrics())
        self.worker = Worker(settings, self.broker, NoTraces())

    async def add(self, data: bytes, kind: DocumentType = DocumentType.EMAIL, *, stored: bool = True) -> int:
        key = self.blobs.new_key(datetime.now(UTC).date())
        if stored:
            await self.blobs.write(key, data)
        new = NewDocument(
            module="mail",
            document_type=kind,
            file_name="f",
            content_type="x/y",
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            blob_key=key,
        )
        return (await self.documents.add([new]))[0]

    async def state(self, document_id: int) -> tuple[str, str | None]:
        found = await self.documents.get(document_id) or {}
        return found["state"], found["failure"]

    async def end_waits(self) -> None:
        """What time does: the retries that were put off are due."""
        await self.database.fetch("update documents set enqueued_at = now() where enqueued_at > now()")

    def remover(self) -> BulkRunner:
        nobody: Any = None
        return BulkRunner(
            bulk=Bulk(self.database),
            documents=self.documents,
            blobs=self.blobs,
            cache=self.cache,
            enqueuer=nobody,
        )

    def sweeper(self) -> Sweeper:
        return Sweeper(
            settings=self.settings,
            documents=self.documents,
            broker=self.broker,
            cache=self.cache,
            metrics=Metrics(),
            sent=SentSpans(NoTraces(), self.documents, queue=self.settings.queue),
        )


@asynccontextmanager
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    made = Bench(settings)
    await made.database.open()
    await made.worker.open()
    try:
        await identify(made.blobs, made.database)
        yield made
    finally:
        await made.worker.close()
        await made.cache.close()
        await made.broker.close()
        await made.database.close()
