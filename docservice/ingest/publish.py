"""The Celery application and its queue: how documents reach the workers.

What belongs here: everything that speaks to the broker about documents. Never: SQL, HTTP, the reading of
files. Every call is bounded in time and runs in one thread, off the event loop. A document that cannot be
sent waits in Postgres, where the sweeper finds it.
"""

from __future__ import annotations

import asyncio
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import celery

from autoscaler.api import kombu_options
from docservice.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from docservice.config import Settings
    from docservice.ingest.sent_spans import SentSpans
    from docservice.metrics import Metrics
    from docservice.postgres.documents import Documents

Answer = TypeVar("Answer")
TASK = "docservice.process_document"
_PRIORITIES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
_MAX_BATCH = 200
_SCAN_MESSAGES = 500
#: kombu's BRPOP blocks for a second.
_MIN_SOCKET_SECONDS = 1.5
# Celery writes the arguments of a task into a header of its message, as text.
_ARGUMENTS = re.compile(rb'"argsrepr":\s*"\((\d+),\)"')
#: What an attempt may take beside reading and the store of files.
GRACE_SECONDS = 15


def time_limit_seconds(settings: Settings) -> float:
    """When a worker process is killed: reading, two calls of the store that hang, and the rest."""
    return settings.processing_seconds + 2 * settings.blob_seconds + GRACE_SECONDS


def make_celery(settings: Settings) -> celery.Celery:
    """The Celery application, for those who send tasks and for workers alike."""
    application = celery.Celery("docservice", set_as_current=False)
    application.conf.update(
        **_broker_settings(settings),
        task_default_queue=settings.queue,
        task_ignore_result=True,
        result_backend=None,
        # A task whose worker dies is delivered again; the claim in Postgres makes that harmless.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_time_limit=time_limit_seconds(settings),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A Redis that has become a replica or is full answers with an error. It will be the primary or have
        # memory again: the worker reconnects instead of ending.
        broker_channel_error_retry=True,
        broker_connection_timeout=settings.redis_connect_timeout_seconds,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry=True,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0.1},
    )
    return application


def _broker_settings(settings: Settings) -> dict[str, Any]:
    """Celery's settings to reach the broker, as the autoscaler reaches it."""
    tuning = settings.redis_tuning
    seconds = max(tuning.socket_timeout_seconds, _MIN_SOCKET_SECONDS)
    options = kombu_options(settings.redis, replace(tuning, socket_timeout_seconds=seconds), "")
    transport = {
        **options["transport_options"],
        "interval_step": 0.1,
        "health_check_interval": tuning.health_check_interval_seconds,
        "max_connections": tuning.max_connections,
    }
    found = {"broker_url": options["hostname"], "broker_transport_options": transport}
    return {**found, "broker_use_ssl": options["ssl"]} if "ssl" in options else found


class Broker:
    """Sends documents to the workers, one batch at a time, in a thread of its own.

    Whatever the client raises counts as "the broker did not take it": a full or restarting Redis makes kombu
    raise what it documents nowhere, such as an AttributeError.
    """

    def __init__(self, application: celery.Celery, *, queue: str) -> None:
        self._application = application
        self._queue = queue
        # Not from kombu's pools: those are shared by everything that uses the same broker.
        self._producer: Any = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broker")
        self._log = logger("broker")

    async def send(self, ids: Sequence[int]) -> bool:
        """Send these documents; False when the broker did not take all of them."""
        return await self._run(self._send, list(ids))

    async def queued(self) -> frozenset[int] | None:
        """The ids of all documents whose message is in the queue; None when the broker does not answer."""
        return await self._run(self._queued)

    async def reserve_scan(self, *, seconds: float) -> bool:
        """Whether this process may scan the queue now; then no other may for ``seconds``."""
        return await self._run(self._reserve_scan, seconds)

    async def close(self) -> None:
        """Close the connection and end the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _run(self, work: Callable[..., Answer], *arguments: Any) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _send(self, ids: list[int]) -> bool:
        # Once more on a fresh connection: a document that is sent twice is processed once.
        return self._try_send(ids) or self._try_send(ids)

    def _try_send(self, ids: list[int]) -> bool:
        try:
            if self._producer is None:
                self._producer = self._application.amqp.Producer(self._application.connection_for_write())
            for document_id in ids:
                self._application.send_task(
                    TASK, args=(document_id,), queue=self._queue, producer=self._producer
                )
        except Exception as fault:  # noqa: BLE001 - see the class
            self._log.warning("broker.send_failed", documents=len(ids), fault=type(fault).__name__)
            self._close()
            return False
        return True

    def _queued(self) -> frozenset[int] | None:
        try:
            with self._application.connection_for_read() as connection:
                client = connection.default_channel.client
                return frozenset().union(
                    *(_ids_in(client, f"{self._queue}{suffix}") for suffix in _PRIORITIES)
                )
        except Exception as fault:  # noqa: BLE001 - see the class
            self._log.warning("broker.scan_failed", fault=type(fault).__name__)
            return None

    def _reserve_scan(self, seconds: float) -> bool:
        try:
            with self._application.connection_for_read() as connection:
                client = connection.default_channel.client
                key = f"docservice:queue-scan:{self._queue}"
                return bool(client.set(key, "1", nx=True, px=max(1, round(seconds * 1000))))
        except Exception:  # noqa: BLE001 - see the class
            return False

    def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(Exception):
                producer.connection.release()


def _ids_in(client: Any, queue: str) -> frozenset[int]:
    """The documents in one list, from its new end: what is pushed meanwhile hides no message."""
    found: set[int] = set()
    start = 0
    while messages := client.lrange(queue, start, start + _SCAN_MESSAGES - 1):
        for message in messages:
            arguments = _ARGUMENTS.search(message)
            if arguments is not None:
                found.add(int(arguments[1]))
        start += len(messages)
    return frozenset(found)


class Enqueuer:
    """Sends what was stored, after the answer: the caller never waits for the broker.

    What cannot be sent stays in Postgres without a time of sending, and the sweeper sends it.
    """

    def __init__(self, broker: Broker, documents: Documents, metrics: Metrics, sent: SentSpans) -> None:
        self._sent = sent
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
            batch = [await self._waiting.get()]
            while len(batch) < _MAX_BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            await self._send(batch)

    async def flush(self) -> None:
        """Send what is left, once."""
        batch = []
        while not self._waiting.empty():
            batch.append(self._waiting.get_nowait())
        if batch:
            await self._send(batch)

    async def _send(self, batch: list[int]) -> None:
        begun = time.time()
        if not await self._broker.send(batch):
            self._log.warning("broker.unavailable", documents=len(batch), then="the sweeper sends them")
            return
        self._metrics.enqueued.labels("upload").inc(len(batch))
        try:
            await self._documents.enqueued(batch)
        except Exception as fault:  # noqa: BLE001 - they are sent; sent twice, they are processed once
            self._log.warning("enqueued.save_failed", documents=len(batch), fault=type(fault).__name__)
        await self._sent.add(batch, by="upload", begun=begun)
