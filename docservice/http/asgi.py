"""The ASGI application: what every request gets, whatever its route.

A request id, a bounded body, one line in the access log, a count, and the envelope for every fault. Grids are
answered without the framework; everything else goes through it. Routes never appear here.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from starlette.middleware.cors import CORSMiddleware

from docservice.http.compression import Compressing, accepts_gzip
from docservice.http.context import begin_request, common_headers
from docservice.http.errors import ApiError, api_error, error_answer
from docservice.http.methods import answer_options, cors_options, name_methods, without_body
from docservice.http.routes.grids import EXPORT_ROUTE, GridRoutes, grid_route
from docservice.log import Answered

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from docservice.config import Settings
    from docservice.http.services import Services

#: A body that is slower than this, after its first pause, is refused.
_MIN_BYTES_A_SECOND = 1024
#: Those that a metric or a span names.
METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})


class _Exchange:
    """One request and its answer: counts the body, notes the status, adds headers."""

    def __init__(
        self,
        receive: Receive,
        send: Send,
        *,
        grid: str | None,
        request_id: str,
        max_bytes: int | None,
        idle_seconds: float,
    ) -> None:
        self.grid = grid  # the pattern of its route, for a grid
        self._receive = receive
        self._send = send
        self._request_id = request_id
        self._max_bytes = max_bytes
        self._idle_seconds = idle_seconds
        self._bytes = 0
        self._waited = 0.0  # for the client, not for what we do with its body
        self._body_ended = False
        self.status = 0
        self.ended = False

    def refuse_large(self, headers: dict[bytes, bytes]) -> None:
        """Refuse a body that is announced as too large before any of it came; raises ApiError."""
        length = headers.get(b"content-length", b"0")
        if self._max_bytes is not None and length.isdigit() and int(length) > self._max_bytes:
            raise _too_large(self._max_bytes)

    async def receive(self) -> Message:
        """The next part of the body, in bounded time and size."""
        if self._body_ended:  # only a disconnect can follow, whenever that is
            return await self._receive()
        allowed = self._idle_seconds + self._bytes / _MIN_BYTES_A_SECOND - self._waited
        begun = time.monotonic()
        try:
            async with asyncio.timeout(min(self._idle_seconds, max(allowed, 0))):
                message = await self._receive()
        except TimeoutError as fault:
            # As with a body that is too large, the connection stays open for the rest of it.
            raise ApiError(
                408,
                f"the body is too slow: no data for {self._idle_seconds:g} s,"
                f" or less than {_MIN_BYTES_A_SECOND} bytes a second",
            ) from fault
        self._waited += time.monotonic() - begun
        self._bytes += len(message.get("body", b""))
        self._body_ended = not message.get("more_body", False)
        if self._max_bytes is not None and self._bytes > self._max_bytes:
            raise _too_large(self._max_bytes)
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Send a part of the answer, with the request id in its head."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *common_headers(self._request_id)]
        elif not message.get("more_body", False):
            self.ended = True
        return self._send(message)  # no coroutine of its own: each answer takes two calls


def _too_large(max_bytes: int) -> ApiError:
    # The connection stays open for the rest of the body, within the bounds of the protocol: to close it
    # before that would reset it, and most clients would not see this answer.
    return ApiError(413, f"the body has more than {max_bytes} bytes")


class DocumentService:
    """The ASGI application."""

    def __init__(self, settings: Settings, services: Services, framework: FastAPI) -> None:
        self.framework = framework
        self.services = services
        self._settings = settings
        self.grids = GridRoutes(services)
        self._cors = cors_options(settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection's request."""
        if scope["type"] != "http":
            await self.framework(scope, receive, send)
            return
        begun = time.perf_counter()
        headers = dict(reversed(scope["headers"]))  # of several headers of one name, the first counts
        request_id = begin_request(headers.get(b"x-request-id"))
        path: str = scope["path"]
        grid = grid_route(path)
        upload = grid is None and path.startswith("/modules/") and path.endswith("/documents")
        max_bytes = None if upload else self._settings.body_bytes  # an upload has limits of its own
        exchange = _Exchange(
            receive,
            send,
            grid=grid,
            request_id=request_id,
            max_bytes=max_bytes,
            idle_seconds=self._settings.body_idle_seconds,
        )
        try:
            if self._cors is not None:
                answering = CORSMiddleware(self._answering(exchange, headers), **self._cors)
                await answering(scope, exchange.receive, exchange.send)
            else:
                await self._answer(exchange, scope, headers, exchange.receive, exchange.send)
        finally:
            client = scope.get("client")
            self.services.requests.add(
                Answered(
                    time.time(),
                    grid or framework_route(scope),
                    scope["method"] if scope["method"] in METHODS else "other",
                    path[:300],
                    exchange.status,
                    request_id,
                    client[0] if client else None,
                    time.perf_counter() - begun,
                )
            )

    def _answering(self, exchange: _Exchange, headers: dict[bytes, bytes]) -> ASGIApp:
        """The application for one request, for a middleware."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await self._answer(exchange, scope, headers, receive, send)

        return answer

    async def _answer(
        self, exchange: _Exchange, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        """Answer one request, every fault of it too."""
        asked = scope
        try:
            exchange.refuse_large(headers)
            if scope["method"] == "OPTIONS":
                await answer_options(self.framework.routes, scope, send)
                return
            grid = exchange.grid
            packed = accepts_gzip(headers)
            if scope["method"] == "HEAD":
                # Of its own: the server ends an answer by the method that its scope has.
                asked = {**scope, "method": "GET"}
                send = Compressing(without_body(send), accepted=False)
            elif packed or grid is None or grid == EXPORT_ROUTE:  # nobody stores a page: it needs no Vary
                send = Compressing(send, accepted=packed, chunks=scope["http_version"] != "1.0")
            if grid is not None:
                await self.grids(asked, headers, receive, send)
            else:
                await self.framework(asked, receive, send)
        except Exception as fault:
            if exchange.ended:
                return  # the framework has answered, and raises to have it logged
            if exchange.status:
                raise  # half an answer is sent: the client notices only a closed connection
            error = api_error(fault)
            name_methods(error, self.framework.routes, scope)
            await error_answer(error)(scope, receive, send)
        finally:
            if "route" in asked:
                scope["route"] = asked["route"]  # for the metrics


def route_of(scope: Scope) -> str:
    """The route's pattern: no metric or span has a name that a caller wrote."""
    return grid_route(scope["path"]) or framework_route(scope)


def framework_route(scope: Scope) -> str:
    """The pattern of a route of the framework that has answered, or "unmatched"."""
    return str(getattr(scope.get("route"), "path", "unmatched"))
