"""Many small questions in few round trips: what arrives while one is under way goes together in the next."""

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
    """Ask ``run`` for at most ``most`` items together, with at most ``at_once`` such questions under way.

    A second one begins beside the first only for ``most`` items, or when the first takes longer than 50 ms:
    two half empty questions cost more than a full one.

    An item is only ever answered from a question that began after it arrived, so an answer is never older
    than its question. A fault of ``run`` is every one of its items'.
    """

    def __init__(
        self, run: Callable[[list[Item]], Awaitable[list[Answer]]], *, most: int, at_once: int
    ) -> None:
        self._run = run
        self._most = most
        self._at_once = at_once
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        # Who asks, and since when.
        self._under_way: dict[asyncio.Task[None], float] = {}
        self._watch: asyncio.TimerHandle | None = None

    def __call__(self, item: Item) -> asyncio.Future[Answer]:
        """The answer to one item, to be awaited; it raises what ``run`` raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, answer))
        if len(self._waiting) >= self._most or not self._others(None):
            self._begin()
        if self._watch is None and self._at_once > 1:
            self._watch = loop.call_later(_SLOW_SECONDS, self._look)
        return answer

    async def ended(self) -> None:
        """Wait until nothing is under way."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _others(self, task: asyncio.Task[None] | None) -> bool:
        """Whether somebody else asks, and is not so slow that it is better passed by."""
        since = asyncio.get_running_loop().time() - _SLOW_SECONDS
        for other, begun in self._under_way.items():  # noqa: SIM110 - for each item, and a generator costs more
            if begun > since and other is not task:
                return True
        return False

    def _begin(self) -> None:
        if len(self._under_way) < self._at_once:
            task = asyncio.create_task(self._work())
            self._under_way[task] = asyncio.get_running_loop().time()
            task.add_done_callback(self._leave)  # for one that was cancelled before it began

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task, None)

    def _look(self) -> None:
        """Pass by what is slow, as long as somebody waits."""
        self._watch = None
        if self._waiting:
            if not self._others(None):
                self._begin()
            self._watch = asyncio.get_running_loop().call_later(_SLOW_SECONDS, self._look)

    async def _work(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a question is asked by a task")
        try:
            while self._waiting:
                if len(self._waiting) < self._most:
                    await asyncio.sleep(0)  # one turn, in which others that have arrived join
                batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
                if batch:
                    self._under_way[task] = asyncio.get_running_loop().time()
                    await self._ask(batch)
                if len(self._waiting) < self._most and self._others(task):
                    break  # who goes on with them
        finally:
            # In the step that found nothing waiting: what came between it and a callback would wait for ever.
            self._leave(task)

    async def _ask(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._run([item for item, _ in batch])
            answered = list(zip(batch, answers, strict=True))
        except asyncio.CancelledError:
            for _, waiting in batch:
                waiting.cancel()
            raise
        except Exception as fault:  # noqa: BLE001 - handed to those who asked
            for _, waiting in batch:
                if not waiting.done():
                    waiting.set_exception(fault)
            return
        for (_, waiting), answer in answered:
            if not waiting.done():  # its caller may have gone
                waiting.set_result(answer)
