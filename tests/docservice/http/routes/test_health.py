"""Liveness, readiness and metrics."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from docservice.http.routes.health import readyz
from docservice.http.services import Services
from tests.docservice.http.calls import envelope

if TYPE_CHECKING:
    import httpx

    from docservice.config import Settings


def test_health_and_metrics_report_the_current_state(client: httpx.Client) -> None:
    assert envelope(client.get("/livez"))["data"] == {"status": "alive"}
    assert envelope(client.get("/readyz"))["data"] == {
        "status": "ready",
        "postgres": "up",
        "redis": "up",
        "files": "up",
        "migrations": "applied",
        "background": [],
    }
    client.get("/modules/mail/grid")
    client.get("/modules/mail/grid")
    text = client.get("/metrics").text
    assert re.search(r'docservice_cache_reads_total\{result="hit"\} [1-9]', text)
    assert re.search(r"docservice_cache_load_seconds_count [1-9]", text)
    assert 'route="/modules/{module}/grid",status="200"' in text
    assert "/modules/mail" not in text


def test_a_background_task_that_keeps_failing_makes_the_process_degraded(settings: Settings) -> None:
    async def fails() -> NoReturn:
        raise RuntimeError("no")

    async def walk() -> dict[str, Any]:
        serving = Services(settings)
        await serving.blobs.write_marker("own")
        await serving.open()
        try:
            serving.background.keep("test", fails)
            async with asyncio.timeout(30):
                while not serving.background.failing():  # noqa: ASYNC110 - it waits for a task's own doing
                    await asyncio.sleep(0.05)
            found: dict[str, Any] = json.loads(bytes((await readyz(serving)).body))["data"]
            return found
        finally:
            await serving.close()

    found = asyncio.run(walk())
    assert found == {
        "status": "degraded",
        "postgres": "up",
        "redis": "up",
        "files": "up",
        "migrations": "applied",
        "background": ["test"],
    }


def test_a_store_of_files_that_is_not_mounted_makes_the_process_degraded(settings: Settings) -> None:
    async def walk() -> list[tuple[str, str]]:
        serving = Services(settings)
        await serving.open()
        try:
            seen = []
            for _ in range(2):
                await serving.store_watch.look()
                found = json.loads(bytes((await readyz(serving)).body))["data"]
                seen.append((found["status"], found["files"]))
                await serving.blobs.write_marker("own")
            return seen
        finally:
            await serving.close()

    assert asyncio.run(walk()) == [("degraded", "down"), ("ready", "up")]
