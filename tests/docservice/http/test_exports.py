"""Exports have all rows, bounds of their own, and hold nothing of Postgres while a client reads."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from autoscaler.demo.embedded import wait_until
from docservice.domain.grid.query import GridQuery
from docservice.http.errors import ApiError
from docservice.http.exports import Exports
from docservice.postgres.database import Database
from docservice.postgres.grids import Grids as RealGrids
from tests.docservice.conftest import pool_settings

Live = Any  # of conftest
Write = Any  # what takes the bytes
ROWS = 40_000


def fill(url: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(
            "insert into documents (module, document_type, title, file_name, content_type, size_bytes,"
            " sha256, blob_key)"
            " select 'mail', 'text', repeat('long title ', 20) || i, 'f', 'text/plain', i, '', ''"
            f" from generate_series(1, {ROWS}) i"
        )
        await connection.close()

    asyncio.run(run())


@pytest.mark.parametrize("parameter", ["limit=2", "offset=1", "cursor=x"])
def test_an_export_of_a_part_is_refused_and_not_in_openapi(live: Live, parameter: str) -> None:
    with live.client("viewer") as client:
        refused = client.get(f"/modules/mail/grid.csv?{parameter}")
        assert refused.status_code == 422
        assert "an export has all rows" in refused.json()["error"]["detail"]
        document = client.get("/openapi.json").json()["paths"]["/modules/{module}/grid.csv"]["get"]
        assert not {one["name"] for one in document["parameters"]} & {"limit", "offset", "cursor"}


class Grids:
    """Exports that write one row."""

    async def export(self, _query: object, write: Write, *, seconds: float) -> None:
        assert seconds == 7
        await write(b"id\n1\n")


def test_exports_are_bounded_in_number_and_end_with_a_client_that_does_not_read() -> None:
    query = GridQuery(module="mail")
    reading = asyncio.Event()
    sent: list[Any] = []

    async def slow(message: Any) -> None:
        if message["type"] == "http.response.body":
            reading.set()
            await asyncio.Event().wait()

    async def fast(message: Any) -> None:
        sent.append(message)

    async def walk() -> int:
        exports = Exports(Grids(), seconds=7, idle_seconds=0.2, max_bytes=5, max_open=1)  # type: ignore[arg-type]
        first = asyncio.create_task(exports.send(query, "mail.csv", slow))
        await reading.wait()
        with pytest.raises(ApiError) as refused:
            await exports.send(query, "mail.csv", fast)
        with pytest.raises(TimeoutError):
            await first
        await exports.send(query, "mail.csv", fast)
        return refused.value.status_code

    assert asyncio.run(walk()) == 503
    assert b"".join(message.get("body", b"") for message in sent) == b"id\n1\n"


@pytest.mark.slow
def test_an_export_without_room_on_the_disk_says_so(database_url: str, tmp_path: Path) -> None:
    fill(database_url)
    program = f"""
import asyncio, resource, signal
from docservice.domain.grid.http_get import from_parameters
from docservice.http.errors import ApiError
from docservice.http.exports import Exports
from docservice.postgres.database import Database
from docservice.postgres.grids import Grids
from tests.docservice.conftest import pool_settings

async def main():
    database = Database(pool_settings({database_url!r}, size=1))
    await database.open()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
    exports = Exports(Grids(database), seconds=20, idle_seconds=5, max_bytes=2**40)
    for rows in ("1", "{ROWS}"):  # written at the end, and within the statement
        try:
            await exports.send(from_parameters("mail", [("size_bytes.to", rows)]), "mail.csv", None)
        except ApiError as fault:
            print(fault.status_code, fault.detail)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=Path(__file__).parents[3],
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("503 ")] == [
        "503 an export's temporary file cannot be written; the log says why"
    ] * 2, done.stderr


def test_an_export_that_is_too_large_is_refused_and_leaves_the_connection_usable(database_url: str) -> None:
    fill(database_url)

    async def walk() -> tuple[int, str, int, int]:
        database = Database(pool_settings(database_url, size=1))
        await database.open()
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        try:
            exports = Exports(RealGrids(database), seconds=20, idle_seconds=5, max_bytes=100_000)
            with pytest.raises(ApiError) as refused:
                await exports.send(GridQuery(module="mail"), "mail.csv", send)
            [row] = await database.fetch("select count(*) as rows from documents")
            return refused.value.status_code, refused.value.code, len(sent), row["rows"]
        finally:
            await database.close()

    assert asyncio.run(walk()) == (422, "export_too_large", 0, ROWS)


@pytest.mark.slow
def test_readers_that_stop_do_not_starve_the_pages(
    database_url: str, redis_url: str, tmp_path: Path, api_runner: Any
) -> None:
    fill(database_url)
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
        "DATABASE_POOL_SIZE": "1",
        "DOCSERVICE_CACHE_SECONDS": "0",
        "DOCSERVICE_BODY_IDLE_SECONDS": "3",
    }
    with api_runner(tmp_path, environment) as live, live.client("viewer") as client, ExitStack() as opened:
        place = urlsplit(live.url)
        for _ in range(8):
            peer = opened.enter_context(socket.create_connection((place.hostname, place.port), timeout=60))
            head = f"Host: x\r\nAuthorization: Bearer {live.tokens['viewer']}\r\n\r\n"
            peer.sendall(f"GET /modules/mail/grid.csv HTTP/1.1\r\n{head}".encode())
            assert peer.recv(15).startswith(b"HTTP/1.1 200")  # and then it reads no more
        assert client.get("/modules/mail/grid").status_code == 200

        async def transactions() -> int:
            connection = await asyncpg.connect(database_url)
            count = await connection.fetchval(
                "select count(*) from pg_stat_activity where datname = current_database()"
                " and application_name = 'docservice' and xact_start is not null"
            )
            await connection.close()
            return int(count)

        assert asyncio.run(transactions()) == 0
        # Those that do not read for 3 s are disconnected, and make room.
        wait_until(
            lambda: client.get("/modules/mail/grid.csv").text.count("\n") == ROWS + 1,
            within_seconds=60,
            what="a whole export",
        )
