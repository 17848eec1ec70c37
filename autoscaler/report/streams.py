"""Server-sent events: each open page gets the last tick, as soon as there is a new one.

The loop only counts up; the text of a tick is made once, by the first stream that sends it, and not at all
where no page is open. A slow reader skips ticks, one that reads nothing is dropped by the socket's timeout,
and there is a highest number of streams.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from threading import Condition, Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_STREAMS = 50
#: A comment is sent after so long without a tick, so that a reader that is gone is noticed.
KEEP_ALIVE_SECONDS = 15.0
#: After so many milliseconds a browser asks again.
RETRY_MS = 2000


class TooManyStreamsError(Exception):
    """As many streams are open as there may be."""


class Streams:
    """The open streams of one daemon. ``render`` gives the last tick, None where none has ended yet."""

    def __init__(
        self, render: Callable[[], Mapping[str, Any] | None], *, max_streams: int = MAX_STREAMS
    ) -> None:
        self._render = render
        self._max_streams = max_streams
        self._news = Condition()
        self._rendering = Lock()
        self._number = 0
        self._closed = False
        self._made: tuple[int, bytes] = (-1, b"")
        #: How many are open now.
        self.open = 0

    def publish(self) -> None:
        """There is a new tick."""
        with self._news:
            self._number += 1
            self._news.notify_all()

    def close(self) -> None:
        """End every stream."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    @contextmanager
    def stream(self) -> Iterator[Iterator[bytes]]:
        """What to send to one reader, the last tick first, for as long as the context lasts.

        Raises:
            TooManyStreamsError: where too many are open.
        """
        with self._news:
            if self.open >= self._max_streams:
                raise TooManyStreamsError
            self.open += 1
        try:
            yield self._events()
        finally:
            with self._news:
                self.open -= 1

    def _events(self) -> Iterator[bytes]:
        yield f"retry: {RETRY_MS}\n\n".encode()
        sent = -1
        while True:
            number = self._next(sent)
            if number is None:
                return
            if number == sent:
                yield b": no news\n\n"
            else:
                sent = number
                yield self._event(number)

    def _next(self, sent: int) -> int | None:
        """The number of the last tick once it is another than ``sent`` or time is up; None at the end."""
        with self._news:
            self._news.wait_for(lambda: self._closed or self._number != sent, KEEP_ALIVE_SECONDS)
            return None if self._closed else self._number

    def _event(self, number: int) -> bytes:
        with self._rendering:
            if self._made[0] != number:
                self._made = number, event(self._render())
            return self._made[1]


def event(tick: Mapping[str, Any] | None) -> bytes:
    """One tick as an event whose id is its time; a comment where there is none yet."""
    if tick is None:
        return b": no tick has ended yet\n\n"
    text = json.dumps(tick, separators=(",", ":"), ensure_ascii=False)
    return f"id: {tick['at']}\nevent: tick\ndata: {text}\n\n".encode(errors="replace")
