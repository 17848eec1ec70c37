"""How many mails a minute are taken while grids answer and a worker reads them.

    uv run python tests/bench/docservice/uploads.py

1000 mails of 20 kB, one in each request, by four callers; a fifth asks for a page all the while.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Self

from autoscaler.demo.embedded import PostgresServer, Process, RedisServer, free_port, wait_until
from docservice.dev.samples import sample_mail
from docservice.domain.identity import Role, new_token, token_hash
from docservice.postgres.database import Database, PoolSettings
from docservice.postgres.migrations import migrate
from docservice.postgres.tokens import Tokens
from tests.support.plain_http import answers, http_client

if TYPE_CHECKING:
    import httpx

MAILS, CALLERS, WANTED = 1000, 4, 1000


async def prepare(url: str, token: str) -> None:
    settings = PoolSettings(url=url, size=2, statement_timeout_seconds=60, connect_timeout_seconds=5)
    database = Database(settings)
    await database.open()
    await migrate(database)
    sha256 = token_hash(token) or b""
    await Tokens(database).add(name="bench", sha256=sha256, role=Role.OPERATOR, modules=None, expires_at=None)
    await database.close()


class Reader:
    """Asks for a page again and again, until it is stopped."""

    def __init__(self, client: httpx.Client) -> None:
        self.taken: list[float] = []
        self._client = client
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._ended.wait(0.02):
            begun = time.perf_counter()
            page = self._client.get("/modules/mail/grid?mail_number.prefix=MN-2021")
            if page.status_code != HTTPStatus.NOT_FOUND:  # before the first upload there is no such module
                page.raise_for_status()
            self.taken.append(time.perf_counter() - begun)


def measure(url: str, token: str) -> None:
    mails = [sample_mail(number, size_bytes=20_000) for number in range(MAILS)]
    with http_client(url, token=token, timeout=60) as client:

        def send(numbered: tuple[int, bytes]) -> None:
            number, mail = numbered
            files = [("file", (f"{number}.eml", mail, "message/rfc822"))]
            client.post("/modules/mail/documents", files=files).raise_for_status()

        begun = time.perf_counter()
        with Reader(client) as reader, ThreadPoolExecutor(CALLERS) as callers:
            for _ in callers.map(send, zip(itertools.count(), mails, strict=False)):
                pass
        seconds = time.perf_counter() - begun
        rate = MAILS / seconds * 60
        word = "reached" if rate >= WANTED else "MISSED"
        print(f"accepted {MAILS} mails in {seconds:.1f} s: {rate:.0f} a minute, wanted {WANTED}: {word}")
        taken = sorted(reader.taken)
        print(f"meanwhile {len(taken)} pages, median {taken[len(taken) // 2] * 1000:.1f} ms,", end=" ")
        print(f"slowest {taken[-1] * 1000:.1f} ms")

        def processed() -> bool:
            data = client.get("/modules/mail/grid?state=processed&limit=1").json()["data"]
            return bool(data["total"] == 2 * MAILS)  # each with its PDF

        wait_until(processed, within_seconds=300, what="the processing of all")
        print(f"all of them and their PDFs processed {time.perf_counter() - begun:.1f} s after the first")


def main() -> None:
    token = new_token()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        with PostgresServer(folder / "postgres") as postgres, RedisServer(folder / "redis") as server:
            asyncio.run(prepare(postgres.url, token))
            port = free_port()
            settings = {
                "DATABASE_URL": postgres.url,
                "REDIS_URL": server.url,
                "DOCSERVICE_BLOB_URL": f"file://{folder}/blobs",
            }
            command = (sys.executable, "-m", "docservice")
            api = (*command, "api", "--port", str(port))
            worker = (*command, "worker", "-c", "1")
            with (
                Process(api, log_path=folder / "api.log", environment=settings) as served,
                Process(worker, log_path=folder / "worker.log", environment=settings) as working,
            ):
                served.wait_until(
                    lambda: answers(f"http://127.0.0.1:{port}/livez"), within_seconds=30, what="the API"
                )
                working.wait_until(lambda: " ready." in working.log(), within_seconds=30, what="the worker")
                print(f"load before {os.getloadavg()[0]:.1f}")
                measure(f"http://127.0.0.1:{port}", token)


if __name__ == "__main__":
    main()
