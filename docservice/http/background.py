"""The background tasks of one API process, supervised: a task that fails is logged, counted and restarted."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from docservice.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from docservice.metrics import Metrics

#: A task that has run this long has recovered.
_RECOVERED_AFTER_SECONDS = 60.0
_FAILING_AFTER = 3


@dataclass(slots=True)
class _Failures:
    """Consecutive failures of one task, and the monotonic time of the last one."""

    count: int = 0
    last: float = 0.0


class Background:
    """Runs tasks beside the requests until :meth:`close`.

    The pause before a restart doubles from ``first_pause_seconds`` up to ``max_pause_seconds``.
    """

    def __init__(
        self, metrics: Metrics, *, first_pause_seconds: float = 0.5, max_pause_seconds: float = 30.0
    ) -> None:
        self._metrics = metrics
        self._first_pause_seconds = first_pause_seconds
        self._max_pause_seconds = max_pause_seconds
        self._log = logger("background")
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: dict[str, _Failures] = {}

    def failing(self) -> list[str]:
        """The names of tasks that failed three times or more in a row and have not run for a minute since."""
        since = time.monotonic() - _RECOVERED_AFTER_SECONDS
        return sorted(
            name for name, one in self._failures.items() if one.count >= _FAILING_AFTER and one.last > since
        )

    def keep(self, name: str, work: Callable[[], Coroutine[object, object, None]]) -> None:
        """Run ``work``, which shall not end, and start it again whenever it does."""
        self._start(self._supervise(name, work))

    def once(self, name: str, work: Coroutine[object, object, None]) -> None:
        """Run ``work`` to its end; a failure is logged and counted."""
        self._start(self._run(name, work))

    async def close(self) -> None:
        """Cancel all tasks and wait for them."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _supervise(self, name: str, work: Callable[[], Coroutine[object, object, None]]) -> None:
        failures = self._failures[name] = _Failures()
        while True:
            begun = time.monotonic()
            await self._run(name, work())
            failures.last = time.monotonic()
            failures.count = 1 if failures.last - begun > _RECOVERED_AFTER_SECONDS else failures.count + 1
            pause = self._first_pause_seconds * 2 ** min(failures.count - 1, 20)
            await asyncio.sleep(min(pause, self._max_pause_seconds))

    async def _run(self, name: str, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except Exception:  # noqa: BLE001 - logged, counted and, by the supervisor, restarted
            self._metrics.background_failures.labels(name).inc()
            self._log.exception("background.failed", task=name)
