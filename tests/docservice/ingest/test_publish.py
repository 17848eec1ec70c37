"""Documents reach the queue, whatever the broker goes through."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import redis

from autoscaler.demo.embedded import Process, RedisServer, free_port, wait_until
from docservice.ingest.publish import Broker, make_celery

if TYPE_CHECKING:
    from pathlib import Path

    from docservice.config import Settings


def fetch(url: str, sql: str, *arguments: object) -> list[Any]:
    async def run() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()

    return asyncio.run(run())


def test_the_queue_is_read_as_celery_writes_it(settings: Settings) -> None:
    async def walk() -> frozenset[int] | None:
        broker = Broker(make_celery(settings), queue=settings.queue)
        try:
            assert await broker.queued() == frozenset()
            assert await broker.send(range(1, 1201))
            return await broker.queued()
        finally:
            await broker.close()

    assert asyncio.run(walk()) == frozenset(range(1, 1201))


def environment(database_url: str, server: RedisServer, folder: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": server.url,
        "DOCSERVICE_BLOB_URL": f"file://{folder}/blobs",
        "DOCSERVICE_SWEEP_SECONDS": "3600",
    }


@pytest.mark.slow
def test_a_full_redis_does_not_end_the_enqueuer(database_url: str, tmp_path: Path, api_runner: Any) -> None:
    def sent(module: str) -> bool:
        rows = fetch(database_url, "select enqueued_at from documents where module = $1", module)
        return bool(rows) and all(row["enqueued_at"] is not None for row in rows)

    with (
        RedisServer(tmp_path / "redis") as server,
        api_runner(tmp_path, environment(database_url, server, tmp_path)) as live,
        live.client() as client,
        redis.Redis(port=server.port) as store,
    ):

        def upload(module: str) -> None:
            answer = client.post(f"/modules/{module}/documents", files={"file": ("f.txt", b"text")})
            assert answer.status_code == 202

        upload("before")
        wait_until(lambda: sent("before"), within_seconds=60, what="the first document in the queue")
        store.config_set("maxmemory", "1")
        for _ in range(20):
            upload("full")
        wait_until(
            lambda: "broker.unavailable" in live.process.log(), within_seconds=60, what="a failed attempt"
        )
        store.config_set("maxmemory", "0")
        upload("after")
        # The sweeper sleeps for an hour: only the enqueuer can have sent it.
        wait_until(lambda: sent("after"), within_seconds=60, what="a document in the queue again")
        assert client.get("/readyz").json()["data"]["background"] == []


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["replica", "full"])
def test_a_worker_outlives_a_redis_that_becomes_a_replica_or_is_full(
    database_url: str, tmp_path: Path, api_runner: Any, trouble: str
) -> None:
    def processed(module: str) -> bool:
        rows = fetch(database_url, "select state from documents where module = $1", module)
        return [row["state"] for row in rows] == ["processed"]

    with RedisServer(tmp_path / "redis") as server, redis.Redis(port=server.port) as store:
        own = {**environment(database_url, server, tmp_path), "DOCSERVICE_SWEEP_SECONDS": "1"}
        command = (sys.executable, "-m", "docservice", "worker", "-c", "1")
        with (
            api_runner(tmp_path, own) as live,
            live.client() as client,
            Process(command, log_path=tmp_path / "worker.log", environment=own) as worker,
        ):
            worker.wait_until(lambda: " ready" in worker.log(), within_seconds=60, what="the worker")

            def upload(module: str) -> None:
                answer = client.post(f"/modules/{module}/documents", files={"file": ("f.txt", b"text")})
                assert answer.status_code == 202

            upload("before")
            worker.wait_until(lambda: processed("before"), within_seconds=60, what="a processed document")
            if trouble == "replica":
                faults = worker.log().count("Traceback")
                store.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
                worker.wait_until(
                    lambda: worker.log().count("Traceback") > faults, within_seconds=60, what="a fault"
                )
                store.execute_command("REPLICAOF", "NO", "ONE")
            else:
                # It takes a message from a Redis that has no room to note that.
                worker.send(signal.SIGSTOP)
                upload("meanwhile")
                sent = "select 1 from documents where module = 'meanwhile' and enqueued_at is not null"
                wait_until(lambda: bool(fetch(database_url, sent)), within_seconds=60, what="a message")
                store.config_set("maxmemory", "1")
                worker.send(signal.SIGCONT)
                worker.wait_until(
                    lambda: "OutOfMemoryError" in worker.log(), within_seconds=60, what="a fault"
                )
                store.config_set("maxmemory", "0")
            upload("after")
            for module in ("after", *(["meanwhile"] if trouble == "full" else [])):
                worker.wait_until(lambda: processed(module), within_seconds=60, what="work again")  # noqa: B023
