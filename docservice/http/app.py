"""``create_app(settings)``: the routes, the lifespan and the OpenAPI document, put together.

Nothing is decided here: what every request gets is in ``asgi``, what the routes use in ``services``.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi

from docservice.http.asgi import DocumentService
from docservice.http.audit import Refusals
from docservice.http.deps import require_system_admin
from docservice.http.docs import add_docs_page
from docservice.http.envelope import JSON
from docservice.http.errors import ApiError, install
from docservice.http.methods import name_methods
from docservice.http.pages import add_pages
from docservice.http.parameters import Parameters
from docservice.http.routes import admin, bulk, document_type_columns, documents, health, modules
from docservice.http.routes.grids_openapi import openapi_paths
from docservice.http.routes.grids_schemas import schemas
from docservice.http.services import Services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from autoscaler.api import Traces
    from docservice.config import Settings
    from docservice.log import AccessLog

_ERROR_SCHEMA = {"$ref": "#/components/schemas/APIResponse_Any_"}
_ABOUT = (
    "Documents, their grids and mail numbers, and the workers behind them."
    " Every JSON answer is an `APIResponse`: `success`, `message`, `data`, `error`, `meta`."
)

_ROUTERS = (
    health.router,
    documents.uploads,
    documents.router,
    bulk.router,
    bulk.deletes,
    bulk.retries,
    modules.router,
    document_type_columns.router,
    document_type_columns.changes,
    admin.router,
)


def create_app(
    settings: Settings, *, access_log: AccessLog | None = None, traces: Traces | None = None
) -> DocumentService:
    """The application; its lifespan opens and closes the pools."""
    services = Services(settings, access_log=access_log, traces=traces)

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
    framework.state.parameters = Parameters()
    refusals = Refusals()

    async def watch(request: Request, error: ApiError) -> None:
        name_methods(error, framework.routes, request.scope)
        await refusals.record(services, request, error)

    install(framework, watch)
    for router in _ROUTERS:
        framework.include_router(router)
    if settings.docs != "off":
        add_pages(framework)
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
    document["components"]["schemas"] |= schemas()
    return document


def _add_docs(framework: FastAPI, *, dependencies: list[Any]) -> None:
    document: dict[str, Any] = {}

    async def openapi() -> JSON:
        if not document:
            document.update(openapi_document(framework))
        return JSON(document)

    add: Callable[..., Callable[..., Awaitable[Any]]] = framework.add_api_route  # type: ignore[assignment]
    add("/openapi.json", openapi, include_in_schema=False, dependencies=dependencies)
    add_docs_page(framework)
