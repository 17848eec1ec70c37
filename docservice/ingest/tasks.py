"""What workers do with a document: claim it, read it, store the result.

What belongs here: the Celery task and one worker process. Never: how bytes are read (``extract``).
A worker process has one event loop and one :class:`Worker`, made after the fork. The claim in Postgres makes
a second delivery do nothing; a result is committed as a whole or not at all; a fault of one document affects
no other.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from celery import signals

from autoscaler.api import NoTraces
from docservice.domain.number_pattern import number_pattern
from docservice.ingest.blob_errors import BlobError, BlobNotStoredError
from docservice.ingest.blobs import BlobStore
from docservice.ingest.extract.apart import Killed
from docservice.ingest.extract.limits import ProcessingError, Rules
from docservice.ingest.extract.process import process
from docservice.ingest.publish import TASK, Broker, make_celery
from docservice.ingest.sent_spans import SentSpans
from docservice.ingest.sweeper import lease_seconds
from docservice.log import configure_log, logger
from docservice.metrics import Metrics
from docservice.page_cache import Cache
from docservice.postgres.database import Database, StoreTimeoutError, StoreUnavailableError
from docservice.postgres.documents import Documents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    import celery

    from autoscaler.api import Traces
    from docservice.config import Settings
    from docservice.domain.documents import Claim
    from docservice.domain.extraction import Extraction

_FIRST_RETRY_SECONDS = 2
_LAST_RETRY_SECONDS = 300
#: How long a file may be refused that does not fit: by then somebody has seen that the disk is full.
_REFUSED_SECONDS = 86_400
_SETTLE_SECONDS = 5.0
_TRACES_SECONDS = 1.0
#: Pages of a PDF are read for this share of the time, so that what was read by then is kept.
_SHARE_FOR_PAGES = 0.8
_OUT_OF_TIME_AGAIN_SECONDS = 0.2


class TryAgainError(RuntimeError):
    """Something around the document failed, not the document; the same may succeed in ``seconds``.

    Without ``seconds`` the delay grows with the retries of the task.
    """

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


def _retry_seconds(retries: int) -> float:
    return float(min(_FIRST_RETRY_SECONDS * 2**retries, _LAST_RETRY_SECONDS))


class Result(StrEnum):
    """The result of one delivery."""

    PROCESSED = "processed"
    FAILED = "failed"
    NOT_OURS = "not_ours"  # done, or claimed by another worker


class _OutOfTime(BaseException):
    """Not an Exception, so that no parser takes it for a fault of the file."""


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    def out_of_time(_signal: int, _frame: FrameType | None) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, out_of_time)
    # Repeated: an exception that is raised within a destructor is printed and lost.
    signal.setitimer(signal.ITIMER_REAL, seconds, _OUT_OF_TIME_AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Worker:
    """Everything that processing a document needs, open on the running loop."""

    def __init__(self, settings: Settings, broker: Broker, traces: Traces) -> None:
        self._settings = settings
        self._traces = traces
        self._database = Database(settings.pool(size=2))
        self._cache = Cache(settings.redis, settings.redis_tuning, Metrics())
        self._blobs = BlobStore(settings.blob_url, seconds=settings.blob_seconds, marked=True)
        self._broker = broker
        self._log = logger("worker")
        self.documents = Documents(self._database)
        self._sent = SentSpans(traces, self.documents, queue=settings.queue)
        self._rules = Rules(
            mail_number_header=settings.mail_number_header,
            mail_number_pattern=number_pattern(settings.mail_number_pattern),
            max_attachments=settings.attachments,
            max_bytes=4 * settings.upload_file_bytes,
        )

    async def open(self) -> None:
        """Make the pool; connections come with the first document."""
        await self._database.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._cache.close()
        await self._database.close()

    async def process(self, document_id: int) -> Result:
        """Process one document, unless it is done or claimed.

        Raises:
            TryAgainError: when Postgres or the store of blobs does not answer.
        """
        begun = time.time()
        try:
            claim = await self.documents.claim(document_id, lease_seconds=lease_seconds(self._settings))
            if claim is None:
                return Result.NOT_OURS
            return await self._traced(claim, begun)
        except (StoreUnavailableError, StoreTimeoutError) as fault:
            raise TryAgainError(str(fault)) from fault

    async def _traced(self, claim: Claim, begun: float) -> Result:
        """As :meth:`_process`, as a span of the document's trace that began with the claim."""
        name = f"process {self._settings.queue}"
        with self._traces.span(name, "consumer", parent=claim.traceparent, begun=begun) as span:
            span.set("messaging.system", "redis")
            span.set("messaging.operation.type", "process")
            span.set("messaging.destination.name", self._settings.queue)
            span.set("docservice.document.id", claim.id)
            span.set("docservice.document.type", claim.document_type.value)
            span.set("docservice.module", claim.module)
            span.set("docservice.attempt", claim.tries)
            result = await self._process(claim)
            span.set("docservice.result", result.value)
            if result is Result.FAILED:
                span.fail()
            return result

    async def _process(self, claim: Claim) -> Result:
        try:
            found = await self._read_and_store(claim)
            if isinstance(found, str):
                return await self._fail(claim, found)
            extraction, keys = found
        except BlobError as fault:
            return await self._not_stored(claim, fault)
        except Killed as fault:
            return await self._again(claim, str(fault))
        except Exception as fault:  # noqa: BLE001 - a bug must not make a document wait forever
            self._log.exception("document.read_failed", document=claim.id)
            return await self._again(claim, f"it could not be read ({type(fault).__name__})")
        ids = await self.documents.finish(claim, extraction, keys, traceparent=self._traces.traceparent())
        if ids is None:  # the claim went to another while we worked
            for key in keys:
                await self._blobs.remove(key)
            return Result.NOT_OURS
        await self._changed(claim.module)
        begun = time.time()
        if ids and await self._broker.send(ids):
            await self.documents.enqueued(ids)
            await self._sent.add(ids, by="worker", begun=begun)
        self._log.info("document.processed", document=claim.id, attachments=len(ids))
        return Result.PROCESSED

    async def _read_and_store(self, claim: Claim) -> tuple[Extraction, list[str]] | str:
        """The content of the document and the keys of its attachments, or why it cannot be read.

        Raises:
            BlobError: when the store ends that, or is so slow that the process would be killed.
            Killed: when a child that read it was killed.
        """
        seconds = self._settings.processing_seconds + self._settings.blob_seconds
        try:
            async with asyncio.timeout(seconds) as bound:
                data = await self._blobs.read(claim.blob_key, max_bytes=claim.size_bytes)
                found = self._read(claim, data)
                return found if isinstance(found, str) else (found, await self._store_parts(found))
        except TimeoutError as fault:
            if not bound.expired():
                raise
            raise BlobError(f"it took longer than {seconds:g} s, as the store of files is slow") from fault

    def _read(self, claim: Claim, data: bytes) -> Extraction | str:
        """The content of the document, or why it cannot be read.

        No other exception leaves: it would keep everything that reading allocated, and what follows needs
        memory.

        Raises:
            Killed: when a child that read it was killed.
        """
        seconds = self._settings.processing_seconds
        pages_until = time.monotonic() + seconds * _SHARE_FOR_PAGES

        def in_time() -> bool:
            return time.monotonic() < pages_until

        try:
            with _deadline(seconds):
                return process(data, claim.document_type, self._rules, depth=claim.depth, in_time=in_time)
        except _OutOfTime:
            return f"reading it took longer than {seconds} s"
        except ProcessingError as fault:
            return str(fault)

    async def _store_parts(self, extraction: Extraction) -> list[str]:
        """Store all attachments, or none, and return their keys.

        Raises:
            BlobNotStoredError: when the store refuses one of them, which the message names.
            BlobError: when the store is away.
        """
        keys: list[str] = []
        try:
            for part in extraction.attachments:
                key = self._blobs.new_key(datetime.now(UTC).date())
                await self._blobs.write(key, part.data)
                keys.append(key)
        except BaseException as fault:
            for key in keys:  # on a full disk each attempt would leave them
                await self._blobs.remove(key)
            if not isinstance(fault, BlobNotStoredError):
                raise
            refused = f"the attachment {part.file_name!r} of {len(part.data)} bytes does not fit the store"
            raise BlobNotStoredError(f"{refused}: {fault}") from fault.__cause__
        return keys

    async def _changed(self, module: str) -> None:
        await self._cache.raise_version(module)
        # Nothing runs in the background here between two documents.
        await self._cache.settle(within_seconds=_SETTLE_SECONDS)

    async def _fail(self, claim: Claim, reason: str) -> Result:
        if await self.documents.fail(claim, reason):
            await self._changed(claim.module)
            self._log.info("document.failed", document=claim.id, reason=reason)
            return Result.FAILED
        return Result.NOT_OURS

    async def _not_stored(self, claim: Claim, fault: BlobError) -> Result:
        """End an attempt that the store of blobs ended.

        While the store takes and gives nothing at all, that is not the document's fault. Where it takes other
        files and refuses one of this document, its disk may be nearly full: it counts when that lasted a day.
        """
        if isinstance(fault.__cause__, MemoryError):
            return await self._again(claim, str(fault))
        try:
            await self._blobs.check()
        except BlobError:
            return await self._again(claim, str(fault), counted=False)
        if not isinstance(fault, BlobNotStoredError):
            return await self._again(claim, str(fault))
        if claim.refused_seconds >= _REFUSED_SECONDS:
            return await self._fail(claim, f"{fault}; it was tried for a day, in which others were stored")
        return await self._again(claim, str(fault), counted=False, refused=True)

    async def _again(
        self, claim: Claim, reason: str, *, counted: bool = True, refused: bool = False
    ) -> Result:
        """End the claim, to be tried again; an attempt that is not ``counted`` is none of the document's."""
        if counted and claim.tries >= self._settings.processing_attempts:
            return await self._fail(claim, f"failed after {claim.tries} attempts: {reason}")
        seconds = _retry_seconds((claim.tries if counted else claim.attempt) - 1)
        if await self.documents.release(claim, retry_in_seconds=seconds, counted=counted, refused=refused):
            await self._changed(claim.module)
        raise TryAgainError(reason, seconds)


class _Process:
    """One worker process: its loop and its :class:`Worker`, made with the first document."""

    def __init__(
        self, settings: Settings, application: celery.Celery, start_traces: Callable[[], Traces]
    ) -> None:
        self._settings = settings
        self._application = application
        self._start_traces = start_traces
        self._traces: Traces = NoTraces()
        self._runner: asyncio.Runner | None = None
        self._worker: Worker | None = None

    def begin(self, **_: Any) -> None:
        """Bound the memory of a process that was just forked."""
        limit = self._settings.processing_memory_bytes
        if limit:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    def process(self, document_id: int) -> Result:
        """Process one document on this process' loop."""
        if self._runner is None or self._worker is None:
            self._runner = asyncio.Runner()
            self._traces = self._start_traces()  # after the fork: its thread is this process' own
            broker = Broker(self._application, queue=self._settings.queue)
            self._worker = Worker(self._settings, broker, self._traces)
            self._runner.run(self._worker.open())
        return self._runner.run(self._worker.process(document_id))

    def end(self, **_: Any) -> None:
        """Close what was opened."""
        if self._runner is not None and self._worker is not None:
            self._runner.run(self._worker.close())
            self._runner.close()
            self._runner = self._worker = None
            self._traces.close(within_seconds=_TRACES_SECONDS)


def make_worker(
    settings: Settings, start_traces: Callable[[], Traces] = NoTraces
) -> tuple[celery.Celery, Callable[..., Any]]:
    """The Celery application of a worker, with its one task. ``start_traces`` is called in each process."""
    application = make_celery(settings)
    process = _Process(settings, application, start_traces)

    def process_document(task: Any, document_id: int) -> str:
        try:
            return process.process(document_id).value
        except TryAgainError as fault:
            seconds = _retry_seconds(task.request.retries) if fault.seconds is None else fault.seconds
            raise task.retry(exc=fault, countdown=seconds) from None

    signals.worker_process_init.connect(process.begin, weak=False)
    signals.worker_process_shutdown.connect(process.end, weak=False)
    signals.setup_logging.connect(_log_as_the_api_does, weak=False)
    application.conf.imports = ("autoscaler.companion",)
    return application, application.task(name=TASK, bind=True, max_retries=None)(process_document)


def _log_as_the_api_does(**_: Any) -> None:
    configure_log()
