"""Blocking calls on threads of their own, each for a bounded time.

A file system can hang: a hard NFS mount whose server is gone ends no call, and nothing ends a thread from
outside. So the caller gives up instead. The thread stays until the call returns, takes no place of others,
and does not keep the process from ending.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from docservice.ingest.blob_errors import BlobsHangError

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")

#: Calls at a time; the others wait, within their bound.
_AT_ONCE = 32
#: While so many calls hang, every other one fails at once: a thread for each would have no end.
_MAX_HANGING = 32


class BoundedCalls:
    """Calls that may block, each for at most ``seconds``; ``place`` is what an error calls the store."""

    def __init__(self, place: str, *, seconds: float) -> None:
        self._place = place
        self._seconds = seconds
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._hanging: list[Thread] = []

    @property
    def hanging(self) -> int:
        """How many calls were given up and have not returned yet."""
        self._hanging = [thread for thread in self._hanging if thread.is_alive()]
        return len(self._hanging)

    async def __call__(self, work: Callable[..., Answer], *arguments: Any) -> Answer:
        """What ``work`` returns; it raises what that raises. Cancelled, it waits for that within the bound.

        Raises:
            BlobsHangError: when it takes too long.
        """
        try:
            async with asyncio.timeout(self._seconds) as bound, self._slots:
                return await self._started(bound, work, arguments)
        except TimeoutError:
            if bound.expired():
                raise self._hang() from None
            raise  # of the work itself

    async def _started(
        self, bound: asyncio.Timeout, work: Callable[..., Answer], arguments: tuple[Any, ...]
    ) -> Answer:
        if self.stuck:
            raise self._hang()
        answer: Future[Answer] = Future()
        thread = Thread(target=_run, args=(answer, work, arguments), daemon=True)
        thread.start()
        returned = asyncio.wrap_future(answer)
        try:
            await asyncio.wait([returned])
        except asyncio.CancelledError:
            if not bound.expired():  # the caller is gone: what it does next must not meet this call at work
                await asyncio.wait([returned])
                returned.exception()  # nobody else reads it, which asyncio would report
            raise
        finally:
            if not returned.done():
                returned.cancel()
                self._hanging.append(thread)
        return returned.result()

    @property
    def stuck(self) -> bool:
        """Whether so many calls hang that every other one fails at once."""
        return self.hanging >= _MAX_HANGING

    def _hang(self) -> BlobsHangError:
        if self.stuck:
            return BlobsHangError(
                f"{_MAX_HANGING} calls to the store in {self._place} hang, so every other one fails at once;"
                " see whether its server runs, and where they hang on although it does, restart this process"
            )
        return BlobsHangError(
            f"the store in {self._place} does not answer within {self._seconds:g} s;"
            " see whether its server runs, or raise DOCSERVICE_BLOB_SECONDS"
        )


def _run(answer: Future[Answer], work: Callable[..., Answer], arguments: tuple[Any, ...]) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    try:
        result = work(*arguments)
    except BaseException as fault:  # noqa: BLE001 - raised for the caller
        answer.set_exception(fault)
    else:
        answer.set_result(result)
