"""Real faults of what the API stands on, and the alerts that a real Prometheus fires for them."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import asyncpg
import pytest

from autoscaler.demo.embedded import Process, RedisServer
from tests.autoscaler.report.test_monitoring import firing, prompt_rules, running_prometheus
from tests.docservice.conftest import fresh_database, run_api
from tests.support.cluster import started
from tests.support.programs import needs

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.docservice.conftest import Servers


def upload(client: httpx.Client) -> int:
    files = [("file", ("a.txt", b"text", "text/plain"))]
    return client.post("/modules/lot/documents", files=files).status_code


def rows(url: str, statement: str) -> list[asyncpg.Record]:
    async def fetch() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def hang_the_only_attempt(folder: Path, environment: dict[str, str]) -> None:
    """A worker claims the document, hangs on a store that hangs, and is killed; then its lease ends."""
    (blob,) = (folder / "blobs").glob("*/*")
    blob.unlink()
    os.mkfifo(blob)  # whoever reads it waits
    database = environment["DATABASE_URL"]
    words = (sys.executable, "-m", "docservice", "worker", "-c", "1", "-n", "hangs@test")
    with Process(words, log_path=folder / "worker.log", environment=environment) as worker:
        claimed = "select 1 from documents where state = 'processing'"
        worker.wait_until(lambda: rows(database, claimed), within_seconds=60, what="the claim")
        worker.kill()
    blob.unlink()
    # As the minutes of the rules are seconds here, the lease's end is brought forward.
    rows(database, "update documents set claimed_at = now() - interval '1 hour'")


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs("prometheus")
def test_a_killed_worker_a_missing_redis_a_full_store_and_an_api_that_is_gone_fire_what_names_them(
    servers: Servers, tmp_path: Path
) -> None:
    blobs = tmp_path / "blobs"
    with ExitStack() as stack:
        environment = {
            "DATABASE_URL": stack.enter_context(fresh_database(servers)),
            "DOCSERVICE_BLOB_URL": f"file://{blobs}",
            "DOCSERVICE_SWEEP_SECONDS": "0.5",
            "DOCSERVICE_PROCESSING_ATTEMPTS": "1",
        }
        store = stack.enter_context(RedisServer(tmp_path / "redis"))
        environment["REDIS_URL"] = store.url
        live = stack.enter_context(run_api(tmp_path, environment))
        page, rules = live.url.removeprefix("http://"), prompt_rules(tmp_path)
        server = stack.enter_context(running_prometheus(tmp_path / "prometheus", page, rules_file=rules))
        client = stack.enter_context(live.client())

        def fires(*names: str) -> bool:
            return {(name,) for name in names} <= firing(server)

        zero = 'docservice_swept_total{result="failed"} == 0'
        started(lambda: server.query(zero), within_seconds=60, what="the counter before a document fails")
        assert upload(client) == 202
        hang_the_only_attempt(tmp_path, environment)
        failed = "DocserviceDocumentsFailing"
        started(lambda: fires(failed), within_seconds=90, what=failed)
        store.process.kill()
        assert upload(client) == 202  # stored, though nobody takes its message
        waits = ("DocserviceRedisUnavailable", "DocserviceDocumentsWait")
        started(lambda: fires(*waits), within_seconds=90, what=f"{waits}")
        shutil.rmtree(blobs)
        blobs.write_text("in the way of the folder")
        failing = ("DocserviceUploadsFailing", "DocserviceErrors")
        started(lambda: upload(client) >= 500 and fires(*failing), within_seconds=90, what=f"{failing}")
        live.process.kill()
        started(lambda: fires("DocserviceDown"), within_seconds=60, what="DocserviceDown")
