"""Resizes of one worker: what is answered says what happened, and whether it may still happen."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import kombu
import pytest

from autoscaler.api import Outcome, Result
from autoscaler.demo.embedded import Process, free_port
from docservice.ingest.publish import make_celery
from docservice.workers import ResizeResult, WorkerControl, WorkerResize, unknown_resize

if TYPE_CHECKING:
    from pathlib import Path

    from docservice.config import Settings

MAY_HAPPEN = "the resize may still happen: inspect before sending another"


@pytest.mark.parametrize(
    "detail",
    [
        "no reply in time",
        "two workers answered to this name; give each worker a name of its own",
        "the reply is not JSON",
        "broker: connection refused",
    ],
)
def test_an_unknown_outcome_says_what_is_known(detail: str) -> None:
    sent = Outcome(
        worker="a@b", before=2, target=3, command="pool_grow", result=Result.UNKNOWN, detail=detail
    )
    assert unknown_resize(sent, lossless=True) == WorkerResize(
        worker="a@b",
        outcome=ResizeResult.NO_ANSWER,
        before=2,
        lossless=True,
        detail=f"{detail}; {MAY_HAPPEN}",
    )


class _Application:
    """A Celery application whose broker can be taken away between two commands."""

    def __init__(self, settings: Settings) -> None:
        self._real = make_celery(settings)
        self.away = False

    def connection_for_write(self) -> kombu.Connection:
        if self.away:
            return kombu.Connection(
                f"redis://127.0.0.1:{free_port()}/0", connect_timeout=1, transport_options={"max_retries": 1}
            )
        connection: kombu.Connection = self._real.connection_for_write()
        return connection


@pytest.mark.slow
def test_a_broker_that_fails_while_sending_leaves_the_outcome_unknown(
    settings: Settings, tmp_path: Path
) -> None:
    environment = {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": f"redis://{settings.redis.hosts[0][0]}:{settings.redis.hosts[0][1]}/{settings.redis.db}",
        "DOCSERVICE_BLOB_URL": settings.blob_url,
    }
    command = (sys.executable, "-m", "docservice", "worker", "-c", "1", "-n", "lost@test")
    application: Any = _Application(settings)

    async def resize() -> WorkerResize:
        control = WorkerControl(application, settings)

        def cut(_plan: object) -> None:
            application.away = True

        try:
            return await control.resize("lost@test", 1, hold_seconds=5, before_sending=cut)
        finally:
            control.close()

    with Process(command, log_path=tmp_path / "log", environment=environment) as process:
        process.wait_until(lambda: " ready." in process.log(), within_seconds=60, what="the worker's start")
        found = asyncio.run(resize())
    assert (found.outcome, found.before, found.after) == (ResizeResult.NO_ANSWER, 1, None)
    assert found.detail is not None
    assert found.detail.endswith(MAY_HAPPEN)
    assert "no reply in time" not in found.detail
