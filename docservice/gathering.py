"""uvicorn's HTTP protocol with one write for the head and the body of an answer.

uvicorn writes them apart, and uvloop sends each write at once: two system calls, two packets, and a client
that is woken for half an answer. Here what is written in one turn of the event loop goes out together behind
it, on all connections: a client that has several of them is woken once for all their answers.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: More than this goes out at once, so that a slow reader holds a stream back as before.
_MOST_BYTES = 65_536


class _Turn:
    """The transports that were written to in this turn of an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._written: list[GatheringTransport] = []

    def add(self, transport: GatheringTransport) -> None:
        if not self._written:
            self._loop.call_soon(self._end)
        self._written.append(transport)

    def _end(self) -> None:
        written, self._written = self._written, []
        for transport in written:
            try:
                transport.flush()
            except Exception as fault:  # noqa: BLE001 - its own, and none of the others'
                transport.abort()
                told = {"message": "a transport did not take an answer", "exception": fault}
                self._loop.call_exception_handler(told)


# There is one loop in a process that serves.
_turn_of = lru_cache(maxsize=1)(_Turn)


class GatheringTransport:
    """Gathers what is written until the event loop comes round; all else is the transport's own."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._turn = _turn_of(asyncio.get_running_loop())
        self._waiting: list[bytes] = []
        self._bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send some bytes, soon."""
        if not self._waiting:
            self._turn.add(self)
        self._waiting.append(data)
        self._bytes += len(data)
        if self._bytes > _MOST_BYTES:
            self.flush()

    def close(self) -> None:
        """Send what is left and close."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Send what was gathered."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if waiting and not self._transport.is_closing():  # the peer may have gone since
            self._transport.writelines(waiting)


class GatheringProtocol(HttpToolsProtocol):
    """For uvicorn's setting ``http``."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with a connection."""
        super().connection_made(cast("asyncio.Transport", GatheringTransport(transport)))
