"""uvicorn's HTTP protocol, with bounds for clients that send or read too slowly, or headers without end.

uvicorn bounds the pause between two requests, and nothing else: a connection that sends nothing, or one byte
of a header each second, would stay for ever, and so would a client that does not read its answer, or does
not end a body that was answered early. It keeps headers of any size in memory. ASGI sees none of this.
Only public callbacks of :class:`asyncio.Protocol` and of the parser are extended; requests are not touched.
What it writes goes through a :class:`CollectingTransport`.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from docservice.http.transport import CollectingTransport


class BoundedProtocol(HttpToolsProtocol):
    """For uvicorn's setting ``http``."""

    #: From the connection, or the first bytes of a request, to the end of its headers. Also how long the rest
    #: of a body that was answered early may bring less than ``min_rest_bytes``: it is read and dropped.
    header_seconds: ClassVar[float] = 10.0
    min_rest_bytes: ClassVar[int] = 10_240
    #: Of a request line and headers; and of chunk sizes or trailers without a byte of a body between them.
    max_head_bytes: ClassVar[int] = 65_536
    #: How long an answer may wait for a client that reads less than ``min_written_bytes`` of it.
    write_seconds: ClassVar[float] = 30.0
    min_written_bytes: ClassVar[int] = 30_720

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._in_body = False
        self._advanced = False  # the last bytes brought a whole head, some of a body, or its end
        self._head_bytes = 0  # since it advanced
        self._rest_bytes = 0
        self._requests = self._answers = 0
        self._refusal = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start with a connection."""
        super().connection_made(CollectingTransport(transport, self.loop))  # type: ignore[arg-type]
        self._header_timer = self.loop.call_later(self.header_seconds, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Take some bytes. Headers that arrive whole, as nearly all do, need no time."""
        self._advanced = False
        super().data_received(data)
        if self._advanced:
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > self.max_head_bytes:
            self._refuse_head()
        elif self._header_timer is None and not self._in_body:
            self._header_timer = self.loop.call_later(self.header_seconds, self.transport.abort)

    def on_headers_complete(self) -> None:
        """End the time for headers."""
        if self.parser.should_upgrade() and any(_announces_body(*header) for header in self.headers):
            self._refusal = "a request with a body cannot ask for an Upgrade; leave that header out"
            raise ValueError(self._refusal)  # the parser would take the body for the next request
        self._in_body = self._advanced = True
        self._requests += 1
        self._stop_header_timer()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, or none that can be answered."""
        super().send_400_response(self._refusal or msg)

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._advanced = True
        self._rest_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request. Where it was answered before that, the next one has the time of its headers."""
        self._in_body = False
        self._advanced = True
        if self._header_timer is not None:
            self._stop_header_timer()
            self._header_timer = self.loop.call_later(self.header_seconds, self.transport.abort)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """End an answer. It may come before the end of its request's body."""
        super().on_response_complete()
        self._answers += 1
        if self._in_body and self._answers == self._requests:
            self._await_rest()

    def _await_reading(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(self.write_seconds, self._check_reading, left)

    def _check_reading(self, before: int) -> None:
        """A large answer is written at once: whoever reads it slowly does read."""
        if before - self.transport.get_write_buffer_size() < self.min_written_bytes:
            self.transport.abort()
        else:
            self._await_reading()

    def _await_rest(self) -> None:
        self._rest_bytes = 0
        self._header_timer = self.loop.call_later(self.header_seconds, self._check_rest)

    def _check_rest(self) -> None:
        if self._rest_bytes < self.min_rest_bytes:
            self.transport.abort()
        else:
            self._await_rest()

    def _refuse_head(self) -> None:
        if self._in_body or self._answers < self._requests:  # an answer may be half sent
            self.transport.abort()
            return
        text = b"the request line and the headers have more than %d bytes" % self.max_head_bytes
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(text), text)
        )
        self.transport.close()

    def pause_writing(self) -> None:
        """Start the time of a client that does not read."""
        if self._write_timer is None:
            self._await_reading()
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


def _announces_body(name: bytes, value: bytes) -> bool:
    return name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 ") != b"")
