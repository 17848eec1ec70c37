"""Many small queries in few round trips: what arrives while one is in flight goes together in the next.

What belongs here: the batching itself, over any function from a list of items to a list of answers. It opens
no connection and knows neither Redis nor Postgres.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_SLOW_SECONDS = 0.05


class Batcher(Generic[Item, Answer]):
    """Call ``run`` with at most ``max_items`` items, with at most ``max_in_flight`` calls at the same time.

    A call begins when it is full, or when a turn of the event loop has brought no other items. A second one
    begins beside the first only for a full batch, or when the first takes longer than 50 ms: two half empty
    calls cost more than a full one.

    An item is only answered by a call that began after it arrived, so an answer is never older than its item.
    A fault of ``run`` is raised for every item of that call.
    """

    def __init__(
        self, run: Callable[[list[Item]], Awaitable[list[Answer]]], *, max_items: int, max_in_flight: int
    ) -> None:
        self._run = run
        self._max_items = max_items
        self._max_in_flight = max_in_flight
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        # The tasks that call ``run``, and the loop's time when each call began.
        self._in_flight: dict[asyncio.Task[None], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        # Of the first call: asking for the running loop is a system call each time.
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, item: Item) -> asyncio.Future[Answer]:
        """The answer to one item, to be awaited; it raises what ``run`` raises."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, answer))
        if len(self._waiting) >= self._max_items or not self._another(loop, None):
            self._start(loop)
        if self._timer is None and self._max_in_flight > 1:
            self._timer = loop.call_later(_SLOW_SECONDS, self._pass_slow, loop)
        return answer

    async def finished(self) -> None:
        """Wait until no call is in flight."""
        await asyncio.gather(*self._in_flight, return_exceptions=True)

    def _another(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[None] | None) -> bool:
        """Whether another task is in flight that is not slow."""
        since = loop.time() - _SLOW_SECONDS
        for other, begun in self._in_flight.items():  # noqa: SIM110 - for each item, and a generator costs more
            if begun > since and other is not task:
                return True
        return False

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if len(self._in_flight) < self._max_in_flight:
            task = loop.create_task(self._work(loop))
            self._in_flight[task] = loop.time()
            task.add_done_callback(self._leave)  # for one that was cancelled before it began

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._in_flight.pop(task, None)

    def _pass_slow(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start another call beside a slow one, as long as items wait."""
        self._timer = None
        if self._waiting:
            if not self._another(loop, None):
                self._start(loop)
            self._timer = loop.call_later(_SLOW_SECONDS, self._pass_slow, loop)

    async def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("batches run in a task")
        try:
            while self._waiting:
                before = 0
                while before < len(self._waiting) < self._max_items:  # as long as others join
                    before = len(self._waiting)
                    await asyncio.sleep(0)
                batch = [self._waiting.popleft() for _ in range(min(self._max_items, len(self._waiting)))]
                if batch:
                    self._in_flight[task] = loop.time()
                    await self._answer(batch)
                if len(self._waiting) < self._max_items and self._another(loop, task):
                    break  # that one goes on with them
        finally:
            # In the step that found nothing waiting: what came between it and a callback would wait for ever.
            self._leave(task)

    async def _answer(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._run([item for item, _ in batch])
            answered = list(zip(batch, answers, strict=True))
        except asyncio.CancelledError:
            for _, waiting in batch:
                waiting.cancel()
            raise
        except Exception as fault:  # noqa: BLE001 - raised for those who wait
            for _, waiting in batch:
                if not waiting.done():
                    waiting.set_exception(fault)
            return
        for (_, waiting), answer in answered:
            if not waiting.done():  # its caller may have gone
                waiting.set_result(answer)
