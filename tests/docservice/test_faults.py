"""Postgres goes and comes back under load: 503 with Retry-After meanwhile, and recovery unaided."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from autoscaler.demo.embedded import PostgresServer, wait_until
from docservice.postgres.database import Database, PoolSettings
from docservice.postgres.migrations import migrate
from tests.support.plain_http import http_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A Postgres of the test's own, to be stopped."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        with PostgresServer(Path(name) / "postgres") as server:
            yield server


async def _migrate(url: str) -> None:
    database = Database(PoolSettings(url=url, size=2, statement_timeout_seconds=5, connect_timeout_seconds=5))
    await database.open()
    await migrate(database)
    await database.fetch("insert into modules (name) values ('mail')")
    await database.close()


PATHS = ("/modules/mail/grid", "/document-type-columns", "/documents?id=1")


class Load:
    """Four callers that ask until they are stopped."""

    def __init__(self, url: str, token: str) -> None:
        self.seen: list[httpx.Response] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(url, token)) for _ in range(4)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, url: str, token: str) -> None:
        with http_client(url, token=token, timeout=20) as client:
            for place in itertools.count():
                if self._ended.is_set():
                    return
                path = PATHS[place % 3]
                self.seen.append(client.get(path, params={"title": str(place)} if place % 3 == 0 else None))

    def statuses(self, since: int) -> set[int]:
        return {answer.status_code for answer in self.seen[since:]}


def test_postgres_restarted_under_load_is_503_and_comes_back(
    postgres: PostgresServer, redis_url: str, tmp_path: Path, api_runner: Any
) -> None:
    asyncio.run(_migrate(postgres.url))
    environment = {
        "DATABASE_URL": postgres.url,
        "REDIS_URL": redis_url,
        "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
    }

    with api_runner(tmp_path, environment) as running, running.client("viewer") as client:
        with Load(running.url, running.tokens["viewer"]) as load:
            wait_until(lambda: 200 in load.statuses(0), within_seconds=60, what="an answer")
            postgres.stop()
            since = len(load.seen)
            wait_until(lambda: 503 in load.statuses(since), within_seconds=60, what="a fault")
            postgres.start()
            since = len(load.seen)
            wait_until(lambda: 200 in load.statuses(since), within_seconds=60, what="an answer again")
        seen = load.seen
        faults = [answer for answer in seen if answer.status_code != 200]
        assert {answer.status_code for answer in faults} == {503}
        assert all(answer.headers["retry-after"] == "2" for answer in faults)
        assert all(answer.json()["error"]["code"] == "unavailable" for answer in faults)
        wait_until(
            lambda: client.get("/readyz").status_code == 200, within_seconds=60, what="the return of Postgres"
        )
        assert client.get("/modules/mail/grid").status_code == 200
        postgres.stop()
        assert client.get("/livez").status_code == 200
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["data"]["postgres"]) == (503, "down")
