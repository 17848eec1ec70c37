"""``create_app(settings)``: the routes, and around them what every request gets.

Around: an id, a bounded body, one line in the access log, a count, and the envelope for whatever goes wrong.
Grids are answered below the framework; everything else goes through it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse

from docservice.config import read_settings
from docservice.http.audit import Refusals
from docservice.http.context import begin_request, common_headers
from docservice.http.deps import require_system_admin
from docservice.http.envelope import JSON
from docservice.http.errors import ApiError, error_answer, install
from docservice.http.routes import admin, document_type_columns, documents, health
from docservice.http.routes.grids import PAGE_ROUTE, GridRoutes, is_grid
from docservice.http.routes.grids_openapi import openapi_paths
from docservice.http.services import Services
from docservice.log import Answered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.types import Message, Receive, Scope, Send

    from docservice.config import Settings
    from docservice.log import AccessLog

_ERROR_SCHEMA = {"$ref": "#/components/schemas/APIResponse_Any_"}
_ABOUT = (
    "Documents, their grids and mail numbers, and the workers behind them."
    " Every JSON answer is an `APIResponse`: `success`, `message`, `data`, `error`, `meta`."
)


class _Watched:
    """One request as it passes: what was answered, and how much of its body came."""

    def __init__(
        self, receive: Receive, send: Send, *, request_id: str, most_bytes: int | None, idle_seconds: float
    ) -> None:
        self._receive = receive
        self._send = send
        self._request_id = request_id
        self._most_bytes = most_bytes
        self._idle_seconds = idle_seconds
        self._bytes = 0
        self._body_ended = False
        self.status = 0
        self.ended = False

    async def receive(self) -> Message:
        """The next of the body, in bounded time and size."""
        if self._body_ended:  # what may still come is that the client leaves, and that takes its time
            return await self._receive()
        try:
            async with asyncio.timeout(self._idle_seconds):
                message = await self._receive()
        except TimeoutError as fault:
            raise ApiError(
                408,
                f"nothing came for {self._idle_seconds:g} s within the body",
                headers={"Connection": "close"},
            ) from fault
        self._bytes += len(message.get("body", b""))
        self._body_ended = not message.get("more_body", False)
        if self._most_bytes is not None and self._bytes > self._most_bytes:
            raise _too_large(self._most_bytes)
        return message

    async def send(self, message: Message) -> None:
        """Pass an answer on, with the request's id."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *common_headers(self._request_id)]
        elif not message.get("more_body", False):
            self.ended = True
        await self._send(message)


def _too_large(most: int) -> ApiError:
    return ApiError(413, f"the body has more than {most} bytes", headers={"Connection": "close"})


class DocumentService:
    """The ASGI application."""

    def __init__(self, settings: Settings, services: Services, framework: FastAPI) -> None:
        self.framework = framework
        self.services = services
        self._settings = settings
        self.grids = GridRoutes(services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection's request."""
        if scope["type"] != "http":
            await self.framework(scope, receive, send)
            return
        begun = time.perf_counter()
        headers = dict(reversed(scope["headers"]))  # of several of one name, the first counts
        request_id = begin_request(headers.get(b"x-request-id"))
        upload = scope["path"].startswith("/modules/") and scope["path"].endswith("/documents")
        most = None if upload else self._settings.body_bytes
        watched = _Watched(
            receive,
            send,
            request_id=request_id,
            most_bytes=most,
            idle_seconds=self._settings.body_idle_seconds,
        )
        grid = is_grid(scope["path"])
        try:
            if most is not None and _announced(headers) > most:
                raise _too_large(most)  # noqa: TRY301 - answered as any other fault of this request
            if grid:
                await self.grids(scope, headers, watched.receive, watched.send)
            else:
                await self.framework(scope, watched.receive, watched.send)
        except Exception as fault:
            if watched.ended:
                return  # the framework answered, and raised to be heard in the log
            if watched.status:
                raise  # half an answer is out: only breaking off tells the client
            await error_answer(fault)(scope, receive, watched.send)
        finally:
            client = scope.get("client")
            self.services.requests.add(
                Answered(
                    time.time(),
                    _route(scope, grid=grid),
                    scope["method"] if scope["method"] in _METHODS else "other",
                    scope["path"][:300],
                    watched.status,
                    request_id,
                    client[0] if client else None,
                    time.perf_counter() - begun,
                )
            )


_METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})


def _announced(headers: dict[bytes, bytes]) -> int:
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0


def _route(scope: Scope, *, grid: bool) -> str:
    """The route's pattern: no metric has a label that a caller wrote."""
    if grid:
        return "/modules/{module}/grid.csv" if scope["path"].endswith(".csv") else PAGE_ROUTE
    return str(getattr(scope.get("route"), "path", "unmatched"))


def create_app(settings: Settings, *, access_log: AccessLog | None = None) -> DocumentService:
    """The application; its lifespan opens and closes the pools."""
    services = Services(settings, access_log=access_log)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await services.open()
        try:
            yield
        finally:
            await services.close()

    framework = FastAPI(
        title="Document service",
        description=_ABOUT,
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        default_response_class=JSON,
    )
    framework.state.services = services
    refusals = Refusals()

    async def watch(request: Request, error: ApiError) -> None:
        await refusals.record(services, request, error)

    install(framework, watch)
    for router in (
        health.router,
        documents.uploads,
        documents.router,
        document_type_columns.router,
        document_type_columns.changes,
        admin.router,
    ):
        framework.include_router(router)
    if settings.docs != "off":
        _add_docs(framework, dependencies=[Depends(require_system_admin)] if settings.docs == "admin" else [])
    return DocumentService(settings, services, framework)


def openapi_document(framework: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, the grid routes in it."""
    document = get_openapi(
        title=framework.title,
        version=framework.version,
        description=framework.description,
        routes=framework.routes,
    )
    paths: dict[str, Any] = {**openapi_paths(_ERROR_SCHEMA), **document["paths"]}
    document["paths"] = dict(sorted(paths.items()))
    return document


def _add_docs(framework: FastAPI, *, dependencies: list[Any]) -> None:
    document: dict[str, Any] = {}

    async def openapi() -> JSON:
        if not document:
            document.update(openapi_document(framework))
        return JSON(document)

    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(openapi_url="/openapi.json", title=framework.title)

    add: Callable[..., Callable[..., Awaitable[Any]]] = framework.add_api_route  # type: ignore[assignment]
    add("/openapi.json", openapi, include_in_schema=False, dependencies=dependencies)
    add("/docs", docs, include_in_schema=False, dependencies=dependencies, response_class=HTMLResponse)


def from_environment() -> DocumentService:
    """The application of a process that a server started: its settings stand in the environment."""
    app = create_app(read_settings(os.environ))
    # What was made until here stays; looking through it again and again for garbage costs each request.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    return app
