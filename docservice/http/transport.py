"""A transport that sends what one turn of the event loop wrote at the end of that turn.

uvicorn writes the head and the body of an answer apart, and each write is a system call that wakes the
client. Collected, an answer is one write, and the answers of a turn leave directly after each other. That
costs less, and no answer waits for anything but work that is already due.
"""

from __future__ import annotations

import asyncio
from typing import Any

#: What is kept back of one connection, at most: beyond it the transport below applies its flow control.
_MAX_KEPT_BYTES = 65_536


class Outbox:
    """The connections of one event loop that have something to send."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[CollectingTransport] = []

    def add(self, transport: CollectingTransport) -> None:
        """Send what the transport keeps in the next turn."""
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(transport)

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport in waiting:
            transport.flush()


class CollectingTransport(asyncio.Transport):
    """Everything goes to the ``inner`` transport; written bytes go there together, in their order."""

    def __init__(self, inner: asyncio.Transport, outbox: Outbox) -> None:
        super().__init__()
        self._inner = inner
        self._outbox = outbox
        self._kept: list[bytes] = []
        self._kept_bytes = 0

    def write(self, data: Any) -> None:
        """Keep bytes for the end of the turn."""
        if not self._kept:
            self._outbox.add(self)
        self._kept.append(bytes(data))
        self._kept_bytes += len(data)
        if self._kept_bytes > _MAX_KEPT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand over what is kept; a connection that is closed by then takes nothing."""
        kept, self._kept, self._kept_bytes = self._kept, [], 0
        if kept and not self._inner.is_closing():  # uvloop raises, and the others would not be sent
            self._inner.write(b"".join(kept))

    def writelines(self, list_of_data: Any) -> None:
        """Keep several pieces."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """End the sending side behind what is kept."""
        self.flush()
        self._inner.write_eof()

    def can_write_eof(self) -> bool:
        """Whether only the sending side can be ended."""
        return self._inner.can_write_eof()

    def close(self) -> None:
        """Close behind what is kept."""
        self.flush()
        self._inner.close()

    def abort(self) -> None:
        """Close at once, without what is kept."""
        self._kept, self._kept_bytes = [], 0
        self._inner.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._inner.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Of the connection below."""
        return self._inner.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Take nothing from the client for now."""
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        self._inner.resume_reading()

    def is_reading(self) -> bool:
        """Whether the client is read."""
        return self._inner.is_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When the protocol is told to pause and to resume writing."""
        self._inner.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Bytes that are not sent yet."""
        return self._inner.get_write_buffer_size() + self._kept_bytes

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low and the high limit."""
        return self._inner.get_write_buffer_limits()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection to another protocol."""
        self._inner.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol of the connection."""
        return self._inner.get_protocol()
