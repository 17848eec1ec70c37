"""A store of files that hangs holds up nobody for longer than said, and fails no document."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any, Self, TypeVar

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from docservice.dev.samples import sample_mail
from docservice.domain.documents import DocumentType
from docservice.ingest.blob_errors import BlobsHangError
from docservice.ingest.blob_writer import BlobWriter
from docservice.ingest.blobs import MARKER, BlobStore
from docservice.ingest.bounded_calls import BoundedCalls
from docservice.ingest.publish import time_limit_seconds
from docservice.ingest.tasks import Result, TryAgainError
from tests.docservice.conftest import fresh_database, run_api, run_worker
from tests.docservice.http.calls import upload
from tests.docservice.ingest.insides import bench

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from docservice.config import Settings
    from tests.docservice.conftest import Servers

Answer = TypeVar("Answer")

DAY = date(2026, 1, 1)
HANGS = "does not answer within {} s; see whether its server runs, or raise DOCSERVICE_BLOB_SECONDS"


class Hanging(LocalFileSystem):
    """A file system none of whose calls return while ``answers`` is not set, as a hard NFS mount."""

    protocol = "hanging"
    answers = threading.Event()
    answers.set()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("hanging://")))

    def open(self, *given: Any, **options: Any) -> Any:
        self.answers.wait()
        return super().open(*given, **options)

    def pipe_file(self, *given: Any, **options: Any) -> Any:
        self.answers.wait()
        return super().pipe_file(*given, **options)

    def rm_file(self, *given: Any, **options: Any) -> Any:
        self.answers.wait()
        return super().rm_file(*given, **options)


class Slow(LocalFileSystem):
    """A file system that takes its time for each piece of a file, and less than a call may take."""

    protocol = "slow"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("slow://")))

    def open(self, *given: Any, **options: Any) -> Any:
        return SlowFile(super().open(*given, **options))


class SlowFile:
    """A file of such a file system."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        if name in {"read", "write"}:
            time.sleep(0.4)
        return getattr(self._file, name)


@contextmanager
def hanging() -> Iterator[None]:
    """No file system ``hanging://`` answers."""
    fsspec.register_implementation("hanging", Hanging, clobber=True)
    Hanging.answers.clear()
    try:
        yield
    finally:
        Hanging.answers.set()


async def idle(call: BoundedCalls) -> None:
    """Wait until the calls that were given up have returned."""
    async with asyncio.timeout(60):
        while call.hanging:  # noqa: ASYNC110 - it waits for threads, which tell nobody
            await asyncio.sleep(0.01)


async def in_time(work: Callable[[], Awaitable[Answer]]) -> Answer:
    """What ``work`` returns, tried again where a busy machine takes longer than a short bound."""
    async with asyncio.timeout(60):
        while True:
            with suppress(BlobsHangError, TryAgainError):
                return await work()


def test_one_file_that_hangs_holds_no_other_up(tmp_path: Path) -> None:
    async def walk() -> list[object]:
        store = BlobStore(f"file://{tmp_path}", seconds=0.5)
        good, bad = store.new_key(DAY), store.new_key(DAY)
        await BlobStore(store.place).write(good, b"good")
        os.mkfifo(tmp_path / bad)  # whoever opens it waits for a writer
        with pytest.raises(BlobsHangError) as hangs:
            await store.read(bad, max_bytes=10)
        found = [str(hangs.value), await in_time(lambda: store.read(good, max_bytes=10)), store._call.stuck]
        with (tmp_path / bad).open("wb"):  # the thread that waits goes on
            await idle(store._call)
        return found

    why = f"the store in file://{tmp_path} {HANGS.format(0.5)}"
    assert asyncio.run(walk()) == [why, b"good", False]


def test_threads_that_hang_are_bounded_and_the_store_is_used_again_once_they_return() -> None:
    release = threading.Event()

    async def walk() -> tuple[int, int, str]:
        call = BoundedCalls("file:///x", seconds=0.5)
        # More than may hang, and more than are made at once: some of them wait for others.
        done = await asyncio.gather(*(call(release.wait) for _ in range(100)), return_exceptions=True)
        assert {type(one) for one in done} == {BlobsHangError}
        threads, hanging = threading.active_count(), call.hanging
        with pytest.raises(BlobsHangError):
            async with asyncio.timeout(0):  # at once: it does not wait for its bound
                await call(str)
        release.set()
        await idle(call)
        return threads - before, hanging, await in_time(lambda: call("again".upper))

    before = threading.active_count()
    threads, hanging, answer = asyncio.run(walk())
    assert (threads, answer) == (hanging, "AGAIN")
    assert 32 <= hanging <= 64  # as many again were under way when the last place was taken


def test_threads_whose_callers_were_cancelled_are_bounded_too() -> None:
    release = threading.Event()

    async def walk() -> tuple[int, int]:
        call = BoundedCalls("file:///x", seconds=0.2)
        for _ in range(3):
            tasks = [asyncio.ensure_future(call(release.wait)) for _ in range(16)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # each has begun its thread
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        found = threading.active_count() - before, call.hanging
        release.set()
        await idle(call)
        return found

    before = threading.active_count()
    assert asyncio.run(walk()) == (32, 32)


def test_a_caller_that_is_cancelled_goes_on_when_its_call_has_returned() -> None:
    begun, release, order = threading.Event(), threading.Event(), list[str]()

    def work() -> None:
        begun.set()
        release.wait()
        order.append("call")
        raise OSError("nobody reads this")

    async def caller(call: BoundedCalls) -> None:
        try:
            await call(work)
        finally:
            order.append("caller")

    reported: list[object] = []

    async def walk() -> tuple[list[str], bool, int]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        call = BoundedCalls("file:///x", seconds=30)
        task = asyncio.create_task(caller(call))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.sleep(0)
        release.set()
        await asyncio.wait([task])
        return order, task.cancelled(), call.hanging

    assert asyncio.run(walk()) == (["call", "caller"], True, 0)
    gc.collect()
    assert reported == []


def test_a_writer_whose_caller_was_cancelled_does_not_wait_again_for_what_hangs() -> None:
    release, removed = threading.Event(), list[str]()

    async def walk() -> int:
        call = BoundedCalls("file:///x", seconds=0.2)
        writer = BlobWriter(call, release.wait, lambda: removed.append("file"))
        task = asyncio.create_task(writer.write(b"data"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await writer.abandon()
        hanging = call.hanging
        release.set()
        await idle(call)
        return hanging

    assert (asyncio.run(walk()), removed) == (1, [])


def test_a_timeout_of_the_store_itself_is_its_own_fault() -> None:
    def times_out() -> None:
        raise TimeoutError("of the network")

    with pytest.raises(TimeoutError, match="of the network"):
        asyncio.run(BoundedCalls("file:///x", seconds=30)(times_out))


def test_a_store_that_hangs_fails_no_document_and_leaves_no_attempt(settings: Settings) -> None:
    settings = replace(
        settings, blob_seconds=0.2, blob_url=settings.blob_url.replace("file://", "hanging://")
    )
    fsspec.register_implementation("hanging", Hanging, clobber=True)

    async def walk() -> list[object]:
        async with bench(settings) as made:
            mail = await made.add(sample_mail(1))
            with hanging():
                for _ in range(settings.processing_attempts + 1):
                    with pytest.raises(TryAgainError, match=HANGS.format(0.2)):
                        await made.worker.process(mail)
                    await made.end_waits()
            await idle(made.worker._blobs._call)
            waiting = await made.state(mail)

            async def processed() -> Result:
                await made.end_waits()
                return await made.worker.process(mail)

            return [waiting, await in_time(processed)]

    assert asyncio.run(walk()) == [("received", None), Result.PROCESSED]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["read", "stored"])
def test_an_attempt_ends_by_itself_where_a_slow_store_takes_too_long_in_all(
    settings: Settings, part: str
) -> None:
    fsspec.register_implementation("slow", Slow, clobber=True)
    where = settings.blob_url.replace("file://", "slow://")
    settings = replace(settings, blob_seconds=5, processing_seconds=1, blob_url=where)
    mail = EmailMessage()
    mail["Subject"] = "many parts"
    for _ in range(20):
        mail.add_attachment(b"x", maintype="application", subtype="octet-stream", filename="x.bin")
    data = mail.as_bytes() + (b"\n" * (20 << 18) if part == "read" else b"")

    async def walk() -> list[object]:
        async with bench(settings) as made:
            large = await made.add(data)
            async with asyncio.timeout(time_limit_seconds(settings)):
                with pytest.raises(
                    TryAgainError, match="took longer than 6 s, as the store of files is slow"
                ):
                    await made.worker.process(large)
            files = [key for day in await made.blobs.days() for key in await made.blobs.keys_of(day)]
            small = await made.add(b"text", DocumentType.TEXT)
            return [await made.state(large), len(files), await made.worker.process(small)]

    assert asyncio.run(walk()) == [("received", None), 1, Result.PROCESSED]


@pytest.mark.slow
def test_an_api_whose_store_hangs_refuses_uploads_says_so_and_ends_when_told(
    servers: Servers, tmp_path: Path
) -> None:
    blobs = tmp_path / "blobs"
    with fresh_database(servers) as database_url:
        environment = {
            "DATABASE_URL": database_url,
            "REDIS_URL": servers.redis.url,
            "DOCSERVICE_BLOB_URL": f"file://{blobs}",
            "DOCSERVICE_BLOB_SECONDS": "1",
        }
        with run_api(tmp_path, environment) as live, live.client() as client:

            def files() -> str:
                return str(client.get("/readyz").json()["data"]["files"])

            def stored() -> bool:
                return upload(client, "mail", ("a.txt", b"text")).status_code == 202

            marker = (blobs / MARKER).read_bytes()
            (blobs / MARKER).unlink()
            os.mkfifo(blobs / MARKER)
            refused = upload(client, "mail", ("a.txt", b"text"))
            assert (refused.status_code, refused.headers["retry-after"] != "") == (503, True)
            live.process.wait_until(lambda: files() == "down", within_seconds=60, what="files: down")
            with (blobs / MARKER).open("wb"):
                pass  # what hung goes on
            (blobs / MARKER).unlink()
            (blobs / MARKER).write_bytes(marker)
            live.process.wait_until(lambda: files() == "up", within_seconds=60, what="files: up")
            assert [found.name for found in blobs.iterdir()] == [MARKER]  # what was refused left nothing
            # A busy machine may take longer than the bound for a file or two.
            live.process.wait_until(stored, within_seconds=60, what="an upload that is stored")
            (blobs / MARKER).unlink()
            os.mkfifo(blobs / MARKER)
            live.process.wait_until(lambda: files() == "down", within_seconds=60, what="files: down again")
            live.process.send(signal.SIGTERM)
            assert live.process.wait(within_seconds=60) in (0, -signal.SIGTERM)
        assert '"event":"blobs.away"' in (tmp_path / "api.log").read_text().replace(" ", "")


@pytest.mark.slow
def test_a_worker_whose_store_hangs_ends_when_told(database_url: str, redis_url: str, tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DOCSERVICE_BLOB_URL": f"file://{blobs}",
        "DOCSERVICE_BLOB_SECONDS": "1",
    }
    patient = {**environment, "DOCSERVICE_BLOB_SECONDS": "60"}
    with run_api(tmp_path, patient) as live, live.client() as client:
        assert upload(client, "mail", ("a.txt", b"text")).status_code == 202
        [blob] = blobs.glob("*/*")
        blob.unlink()
        os.mkfifo(blob)
        with run_worker(tmp_path, environment) as worker:

            def waits() -> bool:
                return "Retry in" in worker.log() and HANGS.format(1) in worker.log()

            worker.wait_until(waits, within_seconds=60, what="the end of an attempt")
            [row] = client.get("/modules/mail/grid").json()["data"]["rows"]
            worker.send(signal.SIGTERM)
            assert worker.wait(within_seconds=60) == 0
    assert row["state"] == "received"
