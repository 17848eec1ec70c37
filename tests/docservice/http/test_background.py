"""Background tasks that fail are logged, counted and started again."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from docservice.http.background import Background
from docservice.metrics import Metrics


async def until(condition: object) -> None:
    async with asyncio.timeout(60):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110 - it waits for a task's own doing
            await asyncio.sleep(0.01)


def test_a_task_that_fails_or_ends_is_started_again_and_reported_while_it_keeps_failing() -> None:
    starts = 0

    async def fails() -> None:
        nonlocal starts
        starts += 1
        if starts < 4:
            raise AttributeError("'NoneType' object has no attribute 'client'")

    async def runs() -> None:
        await asyncio.Event().wait()

    async def walk() -> tuple[list[str], str]:
        metrics = Metrics()
        background = Background(metrics, first_pause_seconds=0.001, max_pause_seconds=0.01)
        background.keep("enqueuer", fails)
        background.keep("sweeper", runs)
        await until(lambda: starts >= 5)
        failing = background.failing()
        await background.close()
        return failing, metrics.text().decode()

    failing, text = asyncio.run(walk())
    assert failing == ["enqueuer"]
    assert 'docservice_background_failures_total{task="enqueuer"} 3.0' in text


def test_a_job_that_fails_is_counted_and_ends() -> None:
    async def fails() -> NoReturn:
        raise RuntimeError("no")

    async def walk() -> str:
        metrics = Metrics()
        background = Background(metrics)
        background.once("drain", fails())
        await until(lambda: b'{task="drain"} 1.0' in metrics.text())
        await background.close()
        return ", ".join(background.failing())

    assert asyncio.run(walk()) == ""
