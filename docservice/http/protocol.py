"""uvicorn's HTTP protocol, with bounds in time for clients that send or read too slowly.

uvicorn bounds the pause between two requests, and nothing else: a connection that sends nothing, or one byte
of a header each second, would stay for ever, and so would a client that does not read its answer. ASGI sees
neither of them.
Only public callbacks of :class:`asyncio.Protocol` and of the parser are extended; requests are not touched.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class BoundedProtocol(HttpToolsProtocol):
    """For uvicorn's setting ``http``."""

    #: From the connection, or the first bytes of a request, to the end of its headers.
    header_seconds: ClassVar[float] = 10.0
    #: How long an answer may wait for a client that does not read.
    write_seconds: ClassVar[float] = 30.0

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._in_body = False
        self._head_ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start with a connection."""
        super().connection_made(transport)
        self._header_timer = self.loop.call_later(self.header_seconds, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Take some bytes. Headers that arrive whole, as nearly all do, need no time."""
        self._head_ended = False
        super().data_received(data)
        if self._header_timer is None and not self._head_ended and not self._in_body:
            self._header_timer = self.loop.call_later(self.header_seconds, self.transport.abort)

    def on_headers_complete(self) -> None:
        """End the time for headers."""
        self._in_body = self._head_ended = True
        self._stop_header_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request."""
        self._in_body = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Start the time of a client that does not read."""
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.write_seconds, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """End it: the client has read."""
        self._stop_write_timer()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """End with a connection."""
        self._stop_header_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
