"""HEAD, OPTIONS, ``Allow`` and CORS, for every route alike: what the framework leaves out or says in part.

HEAD is GET without the body. OPTIONS answers 204 with all methods of a path, and so does every 405; the
framework names those of one route, where another method of the same path may be another route.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.routing import Match

from docservice.http.errors import ApiError
from docservice.http.routes.grids import grid_route

if TYPE_CHECKING:
    from starlette.routing import BaseRoute
    from starlette.types import Message, Scope, Send

_ORDER = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def allowed_methods(routes: list[BaseRoute], scope: Scope) -> str | None:
    """The methods of the path of a request, as ``Allow`` has them; None where there is no such path."""
    if grid_route(scope["path"]) is not None:
        found = {"GET", "POST"}
    else:  # a route says whether it would answer, not which methods it has
        found = {
            method
            for method in _ORDER
            if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
        }
    if not found:
        return None
    found.add("OPTIONS")
    if "GET" in found:
        found.add("HEAD")
    return ", ".join(method for method in _ORDER if method in found)


def name_methods(error: ApiError, routes: list[BaseRoute], scope: Scope) -> None:
    """Where the error is 405, name every method that the path has."""
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = allowed_methods(routes, scope) or "OPTIONS"
        error.detail = f"{scope['method']} is not allowed here; use {allowed}"
        error.headers = {"Allow": allowed}


def cors_options(origins: str) -> dict[str, Any] | None:
    """The options of the framework's CORS middleware for a list of origins; None for an empty one.

    Without credentials: a token is sent in a header by scripts alone, never by the browser itself.
    """
    if not origins:
        return None
    return {
        "allow_origins": [origin.strip() for origin in origins.split(",")],
        "allow_methods": ["GET", "HEAD", "POST", "DELETE"],
        "allow_headers": ["Authorization", "Content-Type", "Idempotency-Key", "X-Request-ID"],
        "expose_headers": ["Content-Disposition", "Retry-After", "X-Cache", "X-Request-ID"],
    }


async def answer_options(routes: list[BaseRoute], scope: Scope, send: Send) -> None:
    """Answer an OPTIONS request.

    Raises:
        ApiError: 404 where there is no such path.
    """
    allowed = allowed_methods(routes, scope)
    if allowed is None:
        raise ApiError(404, "Not Found")
    headers = [(b"allow", allowed.encode())]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def without_body(send: Send) -> Send:
    """Sends the head of an answer and none of its body."""

    async def head_only(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return head_only
