"""The Celery application and its queue: how documents come to the workers.

Every step towards the broker is bounded in time. A document that cannot be handed over waits in Postgres,
where the sweeper finds it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from docservice.connections import broker_options
from docservice.log import logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docservice.config import Settings
    from docservice.metrics import Metrics
    from docservice.postgres.documents import Documents

TASK = "docservice.process_document"
_PRIORITIES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
_FAULTS = (KombuError, RedisError, OSError, TimeoutError)
_MOST_TOGETHER = 200
#: A worker process that outlives its time limit by this is ended by force.
GRACE_SECONDS = 15


def make_celery(settings: Settings) -> celery.Celery:
    """The Celery application, for those who send tasks and for workers alike."""
    application = celery.Celery("docservice", set_as_current=False)
    application.conf.update(
        **broker_options(settings.redis, settings.redis_tuning),
        task_default_queue=settings.queue,
        task_ignore_result=True,
        result_backend=None,
        # A task that dies with its worker comes again; the claim in Postgres makes that harmless.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_time_limit=settings.processing_seconds + GRACE_SECONDS,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=settings.redis_connect_timeout_seconds,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry=True,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0.1},
    )
    return application


class Broker:
    """Hands documents to the workers, one lot at a time, in a thread of its own."""

    def __init__(self, application: celery.Celery, *, queue: str) -> None:
        self._application = application
        self._queue = queue
        # Of our own, not of kombu's pools: those are shared by all that speak to one broker.
        self._producer: Any = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broker")

    async def send(self, ids: Sequence[int]) -> bool:
        """Tell the workers of these documents; False when the broker did not take all of them."""
        return await self._run(self._send, list(ids))

    async def queue_is_empty(self) -> bool:
        """Whether nothing waits in the queue, as far as the broker says; False when it does not answer."""
        return await self._run(self._queue_is_empty)

    async def close(self) -> None:
        """Give the thread and its connection up."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _run(self, work: Any, *arguments: Any) -> bool:
        loop = asyncio.get_running_loop()
        return bool(await loop.run_in_executor(self._thread, work, *arguments))

    def _send(self, ids: list[int]) -> bool:
        # Once more on a fresh connection: told twice, a document is processed once.
        return self._try_send(ids) or self._try_send(ids)

    def _try_send(self, ids: list[int]) -> bool:
        try:
            if self._producer is None:
                self._producer = self._application.amqp.Producer(self._application.connection_for_write())
            for document_id in ids:
                self._application.send_task(
                    TASK, args=(document_id,), queue=self._queue, producer=self._producer
                )
        except _FAULTS:
            self._close()
            return False
        return True

    def _queue_is_empty(self) -> bool:
        try:
            with self._application.connection_for_read() as connection:
                client = connection.default_channel.client
                return not any(client.llen(f"{self._queue}{suffix}") for suffix in _PRIORITIES)
        except _FAULTS:
            return False

    def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(*_FAULTS):
                producer.connection.release()


class Enqueuer:
    """Sends what was stored, behind the answer: the caller never waits for the broker.

    What it does not get rid of stays in Postgres, not told as sent, and the sweeper takes it from there.
    """

    def __init__(self, broker: Broker, documents: Documents, metrics: Metrics) -> None:
        self._broker = broker
        self._documents = documents
        self._metrics = metrics
        self._log = logger("broker")
        self._waiting: asyncio.Queue[int] = asyncio.Queue()

    def put(self, ids: Sequence[int]) -> None:
        """Take the ids of documents that are committed."""
        for document_id in ids:
            self._waiting.put_nowait(document_id)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            lot = [await self._waiting.get()]
            while len(lot) < _MOST_TOGETHER and not self._waiting.empty():
                lot.append(self._waiting.get_nowait())
            await self._send(lot)

    async def flush(self) -> None:
        """Send what is left, once."""
        lot = []
        while not self._waiting.empty():
            lot.append(self._waiting.get_nowait())
        if lot:
            await self._send(lot)

    async def _send(self, lot: list[int]) -> None:
        if not await self._broker.send(lot):
            self._log.warning("broker.unresponsive", documents=len(lot), then="the sweeper sends them")
            return
        self._metrics.enqueued.labels("upload").inc(len(lot))
        try:
            await self._documents.enqueued(lot)
        except Exception as fault:  # noqa: BLE001 - they are sent; told twice, they are processed once
            self._log.warning("broker.not_noted", documents=len(lot), fault=type(fault).__name__)
