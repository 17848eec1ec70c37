"""Real faults of what the API stands on, and the alerts that a real Prometheus fires for them."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from autoscaler.demo.embedded import RedisServer
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


@pytest.mark.slow
@needs("prometheus")
def test_a_missing_redis_a_store_without_room_and_an_api_that_is_gone_fire_what_names_them(
    servers: Servers, tmp_path: Path
) -> None:
    blobs = tmp_path / "blobs"
    with ExitStack() as stack:
        environment = {
            "DATABASE_URL": stack.enter_context(fresh_database(servers)),
            "DOCSERVICE_BLOB_URL": f"file://{blobs}",
            "DOCSERVICE_SWEEP_SECONDS": "0.5",
        }
        with RedisServer(tmp_path / "redis") as store:
            live = stack.enter_context(run_api(tmp_path, {**environment, "REDIS_URL": store.url}))
        page, rules = live.url.removeprefix("http://"), prompt_rules(tmp_path)
        server = stack.enter_context(running_prometheus(tmp_path / "prometheus", page, rules_file=rules))
        client = stack.enter_context(live.client())

        def fires(*names: str) -> bool:
            return {(name,) for name in names} <= firing(server)

        assert upload(client) == 202  # stored, though nobody takes its message
        waits = ("DocserviceRedisUnavailable", "DocserviceDocumentsWait")
        started(lambda: fires(*waits), within_seconds=90, what=f"{waits}")
        shutil.rmtree(blobs)
        blobs.write_text("in the way of the folder")
        failing = ("DocserviceUploadsFailing", "DocserviceErrors")
        started(lambda: upload(client) >= 500 and fires(*failing), within_seconds=90, what=f"{failing}")
        live.process.kill()
        started(lambda: fires("DocserviceDown"), within_seconds=60, what="DocserviceDown")
