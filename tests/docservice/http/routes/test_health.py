"""Liveness, readiness and metrics."""

from __future__ import annotations

import asyncio
import json
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from structlog.testing import capture_logs

from docservice.http.routes.health import readyz
from docservice.http.services import Services
from docservice.ingest.blobs import MARKER
from tests.docservice.http.calls import envelope

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from docservice.config import Settings


def test_health_and_metrics_report_the_current_state(client: httpx.Client) -> None:
    assert envelope(client.get("/livez"))["data"] == {"status": "alive"}
    assert envelope(client.get("/readyz"))["data"] == {
        "status": "ready",
        "postgres": "up",
        "redis": "up",
        "files": "up",
        "files_stuck": False,
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
            async with asyncio.timeout(60):
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
        "files_stuck": False,
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


def test_calls_to_the_store_of_files_that_do_not_return_are_said_once_with_what_to_do(
    settings: Settings, tmp_path: Path
) -> None:
    marker = tmp_path / "blobs" / MARKER
    marker.parent.mkdir()
    os.mkfifo(marker)  # whoever opens it waits for a writer

    async def walk() -> list[tuple[str, bool]]:
        serving = Services(replace(settings, blob_seconds=0.2))
        await serving.database.open()
        seen = []

        async def look() -> None:
            await serving.store_watch.look()
            found = json.loads(bytes((await readyz(serving)).body))["data"]
            seen.append((found["files"], found["files_stuck"]))

        try:
            await look()
            await asyncio.gather(*(serving.blobs.find() for _ in range(40)), return_exceptions=True)
            await look()
            await look()
            with marker.open("wb"):  # what hung goes on
                async with asyncio.timeout(60):
                    while serving.blobs.stuck:  # noqa: ASYNC110 - it waits for threads, which tell nobody
                        await asyncio.sleep(0.01)
            marker.unlink()
            marker.write_text("own")
            async with asyncio.timeout(60):  # a busy machine may take longer than the bound
                while not serving.store_watch.up:
                    await serving.store_watch.look()
            await look()
            return seen
        finally:
            await serving.close()

    with capture_logs() as said:
        seen = asyncio.run(walk())
    assert seen == [("down", False), ("down", True), ("down", True), ("up", False)]
    lines = [(one["event"], one.get("why")) for one in said if one["part"] == "blobs"]
    assert [event for event, _ in lines] == ["blobs.away", "blobs.stuck", "blobs.back"]
    assert lines[1][1] == (
        f"32 calls to the store in file://{marker.parent} hang, so every other one fails at once; see whether"
        " its server runs, and where they hang on although it does, restart this process"
    )
