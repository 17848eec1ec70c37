"""A span for each request, around the whole application; put there only where traces are recorded.

It has the route's pattern: no path and no query. Of headers it has the trace's own, and the
request's id where that is legal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docservice.http.asgi import METHODS, route_of
from docservice.http.context import request_id

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from autoscaler.api import Traces
    from docservice.http.asgi import DocumentService

#: Asked every few seconds by machines, and no work of anybody's.
_PROBES = frozenset({"/livez", "/readyz", "/metrics"})
_SERVER_FAULT = 500


class TracedService:
    """The application, with a span for each request."""

    def __init__(self, service: DocumentService, traces: Traces) -> None:
        self._service = service
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection's request."""
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self._service(scope, receive, send)
            return
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else "other"
        with self._traces.span(method, "server", parent=_parent(scope)) as span:
            try:
                await self._service(scope, receive, noting)
            finally:
                route = route_of(scope)
                span.rename(f"{method} {route}")
                span.set("http.request.method", method)
                span.set("http.route", route)
                span.set("docservice.request_id", request_id())
                if status:
                    span.set("http.response.status_code", status)
                if status >= _SERVER_FAULT:
                    span.fail()


def _parent(scope: Any) -> str | None:
    for name, value in scope["headers"]:
        if name == b"traceparent":
            text: str = value.decode("latin-1")
            return text
    return None
