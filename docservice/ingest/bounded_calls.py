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

_AT_ONCE = 16
#: Threads that stay in a call for ever, at most. While there are so many, every other call fails at once.
_MAX_HANGING = 16


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
        """What ``work`` returns; it raises what that raises.

        Raises:
            BlobsHangError: when it takes too long.
        """
        if self.hanging >= _MAX_HANGING:
            raise self._hang()
        answer: Future[Answer] = Future()
        thread = Thread(target=_run, args=(answer, work, arguments), daemon=True)
        try:
            async with asyncio.timeout(self._seconds) as bound, self._slots:
                thread.start()
                return await asyncio.wrap_future(answer)
        except TimeoutError:
            if not bound.expired():
                raise  # of the work itself
            if thread.is_alive():
                self._hanging.append(thread)
            raise self._hang() from None

    def _hang(self) -> BlobsHangError:
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
