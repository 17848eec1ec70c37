"""Uploads become documents: processed once, failed alone, found again when they were forgotten."""

from __future__ import annotations

import asyncio
import io
import os
import re
import resource
import signal
import sys
import zlib
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import asyncpg
import psutil
import pypdf
import pytest

from autoscaler.demo.embedded import Process, RedisServer, wait_until
from docservice.dev.samples import sample_mail, sample_number, sample_pdf
from docservice.domain.documents import DocumentType
from docservice.ingest.tasks import Result, TryAgainError
from docservice.postgres.bulk import Bulk
from tests.docservice.conftest import run_api
from tests.docservice.ingest.insides import bench

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from docservice.config import Settings


Live = Any  # of conftest


def test_a_mail_is_processed_once_however_often_it_is_delivered(settings: Settings) -> None:
    async def walk() -> None:
        async with bench(settings) as made:
            mail = await made.add(sample_mail(5))
            results = await asyncio.gather(*(made.worker.process(mail) for _ in range(5)))
            assert sorted(results) == [Result.NOT_OURS] * 4 + [Result.PROCESSED]
            assert await made.worker.process(mail) is Result.NOT_OURS
            rows = await made.database.fetch("select * from documents order by id")
            assert [
                (row["mail_number"], row["file_name"], row["parent_id"], row["depth"]) for row in rows
            ] == [
                (sample_number(5), "f", None, 0),
                (sample_number(5), "paper-5.pdf", mail, 1),
            ]
            assert await made.worker.process(rows[1]["id"]) is Result.PROCESSED
            assert await made.documents.text(rows[1]["id"]) == f"Paper 5 of {sample_number(5)}"

    asyncio.run(walk())


def test_what_a_mail_says_of_itself_is_kept(settings: Settings) -> None:
    async def walk() -> None:
        async with bench(settings) as made:
            data = (Path(__file__).parent / "cases" / "mails" / "boundary_missing.eml").read_bytes()
            mail = await made.add(data.replace(b"Subject:", b"Cc: Carl <c@example.org>\r\nSubject:"))
            assert await made.worker.process(mail) is Result.PROCESSED
            found = await made.documents.get(mail) or {}
            names = ("sender", "to_addresses", "cc_addresses", "message_id", "sent_at", "findings")
            assert {name: found[name] for name in names} == {
                "sender": "Ann Example <ann@example.org>",
                "to_addresses": "bob@example.org",
                "cc_addresses": "Carl <c@example.org>",
                "message_id": "<1@example.org>",
                "sent_at": datetime(2026, 3, 2, 9, tzinfo=UTC),
                "findings": ["the boundary of its parts is missing; it was read as one text"],
            }

    asyncio.run(walk())


def test_a_file_that_cannot_be_read_fails_with_a_reason(settings: Settings) -> None:
    async def walk() -> None:
        async with bench(settings) as made:
            broken = await made.add(b"%PDF-1.4 broken", DocumentType.PDF)
            assert await made.worker.process(broken) is Result.FAILED
            state, reason = await made.state(broken)
            assert (state, reason[:17] if reason else None) == ("failed", "the PDF is broken")

    asyncio.run(walk())


def test_what_fails_around_a_document_is_tried_again_and_then_reported(settings: Settings) -> None:
    async def walk() -> None:
        async with bench(settings) as made:
            lost = await made.add(b"text", DocumentType.TEXT, stored=False)
            for _ in range(2):
                with pytest.raises(TryAgainError):
                    await made.worker.process(lost)
                assert await made.state(lost) == ("received", None)
                await made.end_waits()
            assert await made.worker.process(lost) is Result.FAILED
            state, reason = await made.state(lost)
            assert state == "failed"
            assert reason is not None
            assert reason.startswith("failed after 3 attempts: there is no blob ")

    asyncio.run(walk())


def take_away(folder: Path, to: Path) -> None:
    """Put a file in the folder's place, in which nothing can be read or stored."""
    folder.rename(to)
    folder.touch()


def bring_back(folder: Path, kept: Path) -> None:
    folder.unlink()
    kept.rename(folder)


def test_a_store_of_blobs_that_is_away_takes_none_of_a_documents_attempts(settings: Settings) -> None:
    root, away = Path(settings.blob_url.removeprefix("file://")), Path(settings.blob_url[7:] + "-away")

    async def walk() -> list[float | None]:
        pauses: list[float | None] = []
        async with bench(settings) as made:
            mail = await made.add(sample_mail(1))
            take_away(root, away)
            for _ in range(4):
                with pytest.raises(TryAgainError) as again:
                    await made.worker.process(mail)
                assert await made.state(mail) == ("received", None)
                pauses.append(again.value.seconds)
                await made.end_waits()
            bring_back(root, away)
            assert await made.worker.process(mail) is Result.PROCESSED
        return pauses

    assert asyncio.run(walk()) == [2, 4, 8, 16]


def test_a_store_that_takes_no_attachment_takes_none_of_a_mails_attempts(settings: Settings) -> None:
    root = Path(settings.blob_url.removeprefix("file://"))

    async def walk() -> tuple[list[tuple[str, str | None]], Result]:
        async with bench(settings) as made:
            mail = await made.add(sample_mail(1))
            [row] = await made.database.fetch("select blob_key from documents")
            today, other = (root / day for day in (row["blob_key"][:10], "2026-01-01"))
            take_away(today, other)
            await made.database.fetch("update documents set blob_key = '2026-01-01/' || right(blob_key, 32)")
            seen = []
            for _ in range(4):
                with pytest.raises(TryAgainError, match="a blob cannot be stored"):
                    await made.worker.process(mail)
                seen.append(await made.state(mail))
                await made.end_waits()
            bring_back(today, other)
            await made.database.fetch("update documents set blob_key = $1", row["blob_key"])
            return seen, await made.worker.process(mail)

    assert asyncio.run(walk()) == ([("received", None)] * 4, Result.PROCESSED)


@contextmanager
def no_file_beyond(size_bytes: int) -> Iterator[None]:
    """What a nearly full disk does: this process may write small files and no larger ones."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def mail_with_large_attachment() -> bytes:
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "ann@example.org", "two files"
    for name, size in (("small.bin", 10), ("large.bin", 300_000)):
        mail.add_attachment(b"x" * size, maintype="application", subtype="octet-stream", filename=name)
    return mail.as_bytes()


def test_a_mail_whose_attachment_is_refused_for_a_day_while_others_are_stored_fails_and_can_be_retried(
    settings: Settings,
) -> None:
    refused = "the attachment 'large.bin' of 300000 bytes does not fit the store: a blob cannot be stored"
    late = "update documents set refused_at = refused_at - make_interval(secs => $1)"

    async def walk() -> None:
        async with bench(settings) as made:
            mail = await made.add(mail_with_large_attachment())
            (key,) = await made.blobs.keys_of(datetime.now(UTC).date())
            with no_file_beyond(200_000):
                for _ in range(5):
                    with pytest.raises(TryAgainError, match=refused):
                        await made.worker.process(mail)
                    assert await made.state(mail) == ("received", None)
                    await made.end_waits()
                assert await made.blobs.keys_of(datetime.now(UTC).date()) == [key], "no attempt leaves a file"
                await made.database.fetch(late, 86_000)
                with pytest.raises(TryAgainError):
                    await made.worker.process(mail)
                await made.end_waits()
                await made.database.fetch(late, 400)
                assert await made.worker.process(mail) is Result.FAILED
            assert await made.state(mail) == (
                "failed",
                f"{refused} (File too large); it was tried for a day, in which others were stored",
            )
            assert await Bulk(made.database).retry(mail, "mail")
            assert await made.worker.process(mail) is Result.PROCESSED

    asyncio.run(walk())


def test_an_outage_of_the_store_begins_the_day_of_a_refused_attachment_anew(settings: Settings) -> None:
    root, away = Path(settings.blob_url.removeprefix("file://")), Path(settings.blob_url[7:] + "-away")

    async def walk() -> list[bool]:
        async with bench(settings) as made:
            mail = await made.add(mail_with_large_attachment())
            seen = []
            for gone in (False, True, False):
                if gone:
                    take_away(root, away)
                with no_file_beyond(200_000), pytest.raises(TryAgainError):
                    await made.worker.process(mail)
                if gone:
                    bring_back(root, away)
                [row] = await made.database.fetch("select refused_at from documents")
                seen.append(row["refused_at"] is not None)
                await made.end_waits()
            return seen

    assert asyncio.run(walk()) == [True, False, True]


def test_a_duplicate_message_does_not_end_the_wait_of_a_retry(settings: Settings) -> None:
    async def walk() -> list[object]:
        async with bench(settings) as made:
            lost = await made.add(b"text", DocumentType.TEXT, stored=False)
            with pytest.raises(TryAgainError):
                await made.worker.process(lost)
            await made.documents.enqueued([lost])  # by the process that sent the first message, late
            found: list[object] = [await made.worker.process(lost)]
            await made.end_waits()
            with pytest.raises(TryAgainError) as again:
                await made.worker.process(lost)
            return [*found, again.value.seconds]

    assert asyncio.run(walk()) == [Result.NOT_OURS, 4]


# The alarm may come up within a destructor, where an exception is printed and lost; it rings again.
@pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_takes_too_long_fails_alone(settings: Settings) -> None:
    async def walk() -> None:
        slow = b"From: a@b\nSubject: slow\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
        slow += (b"--b\nContent-Type: text/html\n\n" + b"<p>" * 1000 + b"\n") * 9_000  # many seconds' work
        async with bench(replace(settings, processing_seconds=1)) as made:
            poisoned = await made.add(slow)
            assert await made.worker.process(poisoned) is Result.FAILED
            async with asyncio.timeout(60):
                while True:  # a busy machine may take longer than a second for a good one, too
                    good = await made.add(b"text", DocumentType.TEXT)
                    if await made.worker.process(good) is Result.PROCESSED:
                        break
            assert await made.state(poisoned) == ("failed", "reading it took longer than 1 s")

    asyncio.run(walk())


def many_pages(count: int) -> bytes:
    writer = pypdf.PdfWriter()
    for _ in range(count):
        writer.append(io.BytesIO(sample_pdf("page")))
    data = io.BytesIO()
    writer.write(data)
    return data.getvalue()


def children() -> set[int]:
    of_this_process = Path(f"/proc/self/task/{os.getpid()}/children")
    return {int(pid) for pid in of_this_process.read_text().split()}


def kill_next_child(servers: set[int]) -> None:
    wait_until(lambda: children() > servers, within_seconds=60, what="a child")
    for pid in children() - servers:
        os.kill(pid, signal.SIGKILL)


def test_a_pdf_whose_child_is_killed_from_outside_is_read_another_time(settings: Settings) -> None:
    async def walk() -> list[object]:
        async with bench(settings) as made:
            pdf = await made.add(many_pages(500), DocumentType.PDF)
            killer = Thread(target=kill_next_child, args=[children()])
            killer.start()
            with pytest.raises(TryAgainError):
                await made.worker.process(pdf)
            killer.join()
            found: list[object] = [await made.state(pdf)]
            await made.end_waits()
            found.append(await made.worker.process(pdf))
            row = await made.documents.get(pdf) or {}
            return [*found, row["pages"], row["findings"]]

    again = ("received", None)
    assert asyncio.run(walk()) == [again, Result.PROCESSED, 500, []]


def test_a_claim_that_was_lost_stores_nothing(settings: Settings) -> None:
    async def walk() -> None:
        async with bench(settings) as made:
            mail = await made.add(sample_mail(1))
            first = await made.documents.claim(mail, lease_seconds=60)
            assert first is not None
            assert await made.documents.claim(mail, lease_seconds=60) is None
            second = await made.documents.claim(mail, lease_seconds=-1)
            assert second is not None
            assert not await made.documents.fail(first, "late")
            assert not await made.documents.release(first, retry_in_seconds=0)
            assert await made.documents.fail(second, "why")
            assert await made.state(mail) == ("failed", "why")

    asyncio.run(walk())


@contextmanager
def run_worker(folder: Path, environment: dict[str, str], *options: str) -> Iterator[Process]:
    command = (sys.executable, "-m", "docservice", "worker", *(options or ("-c", "2")))
    own = {**environment, "TMPDIR": str(folder)}
    with Process(command, log_path=folder / "worker.log", environment=own) as process:
        process.wait_until(
            lambda: " ready" in process.log(), within_seconds=60, what="the worker's readiness"
        )
        yield process


def states(client: httpx.Client, module: str) -> dict[str, int]:
    rows = client.get(f"/modules/{module}/grid", params={"limit": 500}).json()["data"]["rows"]
    return {state: sum(row["state"] == state for row in rows) for state in {row["state"] for row in rows}}


@pytest.mark.slow
def test_a_batch_is_processed_and_a_poisoned_file_fails_alone(live: Live, tmp_path: Path) -> None:
    files = [("file", (f"{place}.eml", sample_mail(place), "x/y")) for place in range(10)]
    files.append(("file", ("bad.pdf", b"%PDF-1.4 bad", "x/y")))
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(3000))
    files.append(("file", ("deep.eml", b"From: a\nTo: b\nMIME-Version: 1.0\n" + nested, "x/y")))
    with live.client() as client, run_worker(tmp_path, live.environment):
        assert client.post("/modules/lot/documents", files=files).status_code == 202
        wait_until(
            lambda: states(client, "lot") == {"processed": 20, "failed": 2},
            within_seconds=60,
            what="the processing of all",
        )
        number = client.get("/modules/lot/grid", params={"mail_number": sample_number(3)}).json()["data"]
        assert sorted(row["file_name"] for row in number["rows"]) == ["3.eml", "paper-3.pdf"]
        failed = client.get("/modules/lot/grid", params={"state": "failed", "sort": "file_name"}).json()[
            "data"
        ]
        assert [row["file_name"] for row in failed["rows"]] == ["bad.pdf", "deep.eml"]
        assert all(row["failure"] for row in failed["rows"])


def _pdf_bomb() -> bytes:
    """80 kB that are unpacked to 60 MB, of which pypdf makes gigabytes of objects."""
    packed = zlib.compress(b"(a) Tj " * 8_000_000, 9)
    stream = b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed)
    plain = rb"<< /Length \d+ >>\nstream\n.*?\nendstream"
    return re.sub(plain, lambda _: stream, sample_pdf("x"), flags=re.DOTALL)


@pytest.mark.slow
def test_a_page_that_wants_more_memory_than_it_may_have_is_left_out_and_named(
    live: Live, tmp_path: Path
) -> None:
    most = 200 * 2**20
    environment = {**live.environment, "DOCSERVICE_PROCESSING_MEMORY_BYTES": str(most)}
    with live.client() as client, run_worker(tmp_path, environment, "-c", "1") as worker:
        (process,) = psutil.Process(worker.pid).children()
        files = [("file", ("bomb.pdf", _pdf_bomb(), "x/y")), ("file", ("good.eml", sample_mail(1), "x/y"))]
        assert client.post("/modules/bombed/documents", files=files).status_code == 202
        wait_until(
            lambda: states(client, "bombed") == {"processed": 3},
            within_seconds=90,
            what="the processing of both",
        )
        (row,) = client.get("/modules/bombed/grid", params={"file_name": "bomb.pdf"}).json()["data"]["rows"]
        bomb = client.get(f"/documents/{row['id']}").json()["data"]
        assert bomb["findings"] == ["page 1 could not be read by pypdf (out of memory)"]
        assert psutil.Process(worker.pid).children(recursive=True) == [process], "it lives on, alone"
        peak = _max_resident_bytes(process.pid)
        assert peak < most, "a child read it, under the same limit"


def _max_resident_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_no_document(live: Live, tmp_path: Path) -> None:
    environment = {**live.environment, "DOCSERVICE_QUEUE": "celery"}
    with live.client() as client:
        files = [("file", (f"{place}.pdf", sample_pdf(f"page {place}"), "x/y")) for place in range(40)]
        with run_worker(tmp_path, environment) as worker:
            client.post("/modules/killed/documents", files=files)
            wait_until(
                lambda: states(client, "killed").get("processed", 0) > 3, within_seconds=60, what="a start"
            )
            worker.kill()
        asyncio.run(_forget_claims(live.database_url))
        with run_worker(tmp_path, environment):
            wait_until(
                lambda: states(client, "killed") == {"processed": 40}, within_seconds=60, what="all of it"
            )


async def _forget_claims(database_url: str) -> None:
    """What time does: claims of the dead and messages they held are seen to be lost."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "update documents set claimed_at = now() - interval '1 hour',"
            " enqueued_at = now() - interval '1 hour' where state in ('received', 'processing')"
        )
    finally:
        await connection.close()


@pytest.mark.slow
def test_uploads_wait_in_postgres_while_redis_is_away(database_url: str, tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    # A database of its own: the sweeper of another API on it would hand the upload to another Redis.
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": server.url,
        "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
        "DOCSERVICE_SWEEP_SECONDS": "0.5",
    }
    with server, run_api(tmp_path, environment) as api, api.client() as client:
        server.stop()
        answer = client.post("/modules/waiting/documents", files=[("file", ("a.txt", b"text", "x/y"))])
        assert answer.status_code == 202
        page = client.get("/modules/waiting/grid")
        assert (page.headers["x-cache"], page.json()["data"]["total"]) == ("bypass", 1)
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["data"]["status"]) == (200, "degraded")
        server.start()
        with run_worker(tmp_path, environment):
            wait_until(
                lambda: states(client, "waiting") == {"processed": 1}, within_seconds=60, what="its turn"
            )
        assert client.get("/readyz").json()["data"]["status"] == "ready"
