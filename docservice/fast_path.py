"""Pages of grids, answered below ASGI on connections whose requests repeat their headers.

A client that keeps its connection sends the same headers with every request. What they were found to mean
the first time they mean again, byte for byte; so only the first request of a connection is read in full, and
of the next ones the line ``GET /modules/{module}/grid?...`` alone. What it leads to is the same: question,
token, the module's rights, the cache, the faults, the log and the metrics are those of
:class:`docservice.http.app.DocumentService`. Anything else takes the ordinary way: other routes and methods, other
headers, bodies, requests that arrive in pieces or several at once, a client that does not read.

One thing differs: a page that a server's end breaks off, after its grace, is not answered at all.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from docservice.domain.documents import module_name
from docservice.gathering import GatheringProtocol
from docservice.http.app import DocumentService
from docservice.http.auth import bearer
from docservice.http.context import begin_request, common_headers
from docservice.http.errors import ApiError, error_answer
from docservice.http.routes.grids import PAGE_HEADERS, PAGE_ROUTE, page_parts
from docservice.log import Answered

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

# A path without escapes; a query of any signs that need none, and of escapes. All else is the parser's.
_LINE = re.compile(rb"GET (/modules/([A-Za-z0-9_-]+)/grid)(?:\?([!$-~]*))? HTTP/1\.1")
# Headers that change what follows them, or how the answer is sent.
_OTHERWISE = frozenset(
    {b"connection", b"content-length", b"expect", b"transfer-encoding", b"upgrade", b"http2-settings"}
)
_KEEP_ALIVE = (b"connection", b"keep-alive")
_END = b"\r\n\r\n"
_MOST_REMEMBERED_BYTES = 8192
# Status, lines of the head, and the body in parts.
_Answer: TypeAlias = tuple[int, bytes, tuple[bytes, ...]]


class _Headers(NamedTuple):
    """Headers as they were written, line ends and all, and what they mean to a page."""

    service: DocumentService
    block: bytes
    sha256: bytes
    request_id: bytes | None


class FastPathProtocol(GatheringProtocol):
    """For uvicorn's setting ``http``, with a :class:`docservice.http.app.DocumentService` as the application."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        # Where uvicorn's ProxyHeadersMiddleware is around it, headers tell who calls, and all go that way.
        plain = not self.root_path and self.limit_concurrency is None
        self._service = self.app if plain and isinstance(self.app, DocumentService) else None
        self._known: _Headers | None = None
        self._messages = 0  # that the parser has begun
        self._within_message = False
        self._page: asyncio.Task[None] | None = None
        self._page_ended = 0.0
        self._behind: list[bytes] = []  # what came while a page is under way
        self._ends_with_page = False

    # What the parser tells

    def on_message_begin(self) -> None:
        """Begin with a request."""
        self._messages += 1
        self._within_message = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """End with a request."""
        self._within_message = False
        super().on_message_complete()

    # What the transport tells

    def data_received(self, data: bytes) -> None:
        """Answer a page here, and pass on what else came."""
        if self._page is not None:  # pipelined: its turn comes
            self._behind.append(data)
            self.flow.pause_reading()
        elif self._within_message:
            self._known = None
            super().data_received(data)
        else:
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        """Take what begins with a request."""
        line, _, block = data.partition(b"\r\n")
        known = self._known
        if known is not None and block == known.block and self._at_rest():
            found = _LINE.fullmatch(line)
            if found is not None:
                self._page = self.loop.create_task(self._answer(found, known))
                self.tasks.add(self._page)
                return
        begun = self._messages
        super().data_received(data)
        whole = not self._within_message and self._messages == begun + 1
        self._known = self._meaning(line, block) if whole else None

    def shutdown(self) -> None:
        """Close the connection, behind the page under way."""
        if self._page is None:
            super().shutdown()
        else:
            self._ends_with_page = True

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection when it was at rest for so long; pages let the timer run on."""
        self.timeout_keep_alive_task = None
        if self._page is not None:
            return  # it is set again behind the page
        rest = self.timeout_keep_alive - (self.loop.time() - self._page_ended)
        if rest > 0:
            self._close_after(rest)
        else:
            super().timeout_keep_alive_handler()

    def _close_after(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    # Ours

    def _at_rest(self) -> bool:
        """Whether everything that came was answered, and the client reads."""
        return self.cycle.response_complete and not self.pipeline and not self.flow.write_paused

    def _meaning(self, line: bytes, block: bytes) -> _Headers | None:
        """What the headers of the request that was just read mean; None when they need the ordinary way."""
        service = self._service
        if service is None or _LINE.fullmatch(line) is None or len(block) > _MOST_REMEMBERED_BYTES:
            return None
        if block.find(_END) != len(block) - len(_END):  # something else came with them
            return None
        if any(name in _OTHERWISE and (name, value) != _KEEP_ALIVE for name, value in self.headers):
            return None
        headers = dict(reversed(self.headers))  # of several of one name, the first counts
        try:
            sha256 = bearer(headers.get(b"authorization"))
        except ApiError:
            return None
        return _Headers(service, block, sha256, headers.get(b"x-request-id"))

    async def _answer(self, found: re.Match[bytes], known: _Headers) -> None:
        begun = time.perf_counter()
        request_id = begin_request(known.request_id)
        path, module, raw = found.groups()
        status = 0
        try:
            status, head, body = await _page(known, module, raw or b"", request_id)
            self._send(head, body)
        except BaseException:
            self.transport.close()  # the client would wait for ever
            raise
        finally:
            address = self.client[0] if self.client else None
            seconds = time.perf_counter() - begun
            known.service.services.requests.add(
                Answered(
                    time.time(), PAGE_ROUTE, "GET", path.decode()[:300], status, request_id, address, seconds
                )
            )
            self._rest()

    def _rest(self) -> None:
        """End with the page, and go on with what came behind it."""
        self.tasks.discard(self._page)
        self._page = None
        self._page_ended = self.loop.time()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.timeout_keep_alive_task is None:
            self._close_after(self.timeout_keep_alive)
        if self._behind:
            behind, self._behind = self._behind, []
            self.flow.resume_reading()
            self._receive(b"".join(behind))

    def _send(self, head: bytes, body: tuple[bytes, ...]) -> None:
        if self.transport.is_closing():  # the client has gone
            return
        end = b"connection: close\r\n\r\n" if self._ends_with_page else b"\r\n"
        self.transport.write(b"".join((head, *_lines(self.server_state.default_headers), end, *body)))
        if self._ends_with_page:
            self.transport.close()


async def _page(known: _Headers, module: bytes, raw: bytes, request_id: str) -> _Answer:
    grids = known.service.grids
    try:
        query = grids.parameters(module_name(module.decode()), raw)
        page, cache = await grids.page(known.sha256, query)
    except Exception as fault:  # noqa: BLE001 - told to the caller
        answer = error_answer(fault)
        lines = _lines([*answer.raw_headers, *common_headers(request_id)])
        return answer.status_code, b"".join((STATUS_LINE[answer.status_code], *lines)), (bytes(answer.body),)
    parts = page_parts(page, request_id)
    return 200, _PAGE_HEAD % (sum(map(len, parts)), cache, request_id.encode()), parts


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    return [b"%b: %b\r\n" % header for header in headers]


_PAGE_HEAD = STATUS_LINE[200] + b"".join(
    _lines([*PAGE_HEADERS, (b"content-length", b"%d"), (b"x-cache", b"%b"), *common_headers("%b")])
)
