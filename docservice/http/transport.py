"""A transport that sends what one turn of the event loop wrote at the end of that turn.

uvicorn writes the head and the body of an answer apart, and uvloop makes a system call of each, which wakes
the client. Collected, an answer is one write, and the answers of a turn leave directly after each other. No
answer waits for anything but work that is already due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import asyncio

#: What is kept back of one connection, at most: beyond it the transport below applies its flow control.
_MAX_KEPT_BYTES = 65_536


class Outbox:
    """The transports of one event loop that have something to send at the end of this turn."""

    def __init__(self) -> None:
        self._waiting: list[CollectingTransport] = []

    def add(self, transport: CollectingTransport, loop: asyncio.AbstractEventLoop) -> None:
        """Have a transport send what it keeps."""
        if not self._waiting:
            loop.call_soon(self._send, loop)
        self._waiting.append(transport)

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, self._waiting = self._waiting, []
        for transport in waiting:
            try:
                transport.send()
            except Exception as fault:  # noqa: BLE001 - of one connection; the others wait for their answers
                loop.call_exception_handler({"message": "an answer was not sent", "exception": fault})


# An outbox does not know its loop: it would keep it for ever.
_outboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = WeakKeyDictionary()


class CollectingTransport:
    """Everything goes to the ``inner`` transport; written bytes go there together, in their order."""

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop
        self._outbox = _outboxes.get(loop) or _outboxes.setdefault(loop, Outbox())
        self._kept: list[bytes] = []
        self._kept_bytes = 0

    def __getattr__(self, name: str) -> Any:
        """What is not written, of the transport below."""
        return getattr(self._inner, name)

    def write(self, data: bytes) -> None:
        """Keep bytes for the end of the turn."""
        if not self._kept:
            self._outbox.add(self, self._loop)
        self._kept.append(data)
        self._kept_bytes += len(data)
        if self._kept_bytes > _MAX_KEPT_BYTES:
            self.send()

    def writelines(self, list_of_data: list[bytes]) -> None:
        """Keep several pieces."""
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        """End the sending side behind what is kept."""
        self.send()
        self._inner.write_eof()

    def close(self) -> None:
        """Close behind what is kept."""
        self.send()
        self._inner.close()

    def abort(self) -> None:
        """Close at once, without what is kept."""
        self._kept, self._kept_bytes = [], 0
        self._inner.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._inner.is_closing()

    def get_write_buffer_size(self) -> int:
        """Bytes that are not sent yet."""
        return self._inner.get_write_buffer_size() + self._kept_bytes

    def send(self) -> None:
        """Hand over what is kept; a connection that is closed by then takes nothing."""
        kept, self._kept, self._kept_bytes = self._kept, [], 0
        if kept and not self._inner.is_closing():  # uvloop raises there
            self._inner.writelines(kept)
