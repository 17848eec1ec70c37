"""The errors of requests, and which error each fault of the layers below becomes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from docservice.domain.documents import ModuleNameError
from docservice.domain.grid.columns import GridError, shown
from docservice.http.envelope import JSON, APIResponse, failure_body
from docservice.ingest.blob_errors import BlobError, BlobMissingError
from docservice.log import logger
from docservice.postgres.database import StoreRefusedError, StoreTimeoutError, StoreUnavailableError

_RETRY_SECONDS = "2"
_CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    500: "internal_error",
    503: "unavailable",
    504: "no_answer",
}


#: All that the ``code`` of an :class:`ApiError` can be.
CODES = frozenset(
    {
        *_CODES.values(),
        *(
            "busy",
            "content_missing",
            "database_refused",
            "error",
            "export_too_large",
            "invalid_override",
            "module_forbidden",
        ),
        *("not_failed", "refused", "unexpected_total", "unknown_module", "unknown_worker"),
    }
)


class ApiError(HTTPException):
    """A request that was refused or failed; ``data`` is what is known nevertheless.

    A subclass of the framework's own, which turns any other that is raised within a body into a 400.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        data: object = None,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.code = code or _CODES.get(status, "error")
        self.data = data


def unknown_module(module: str) -> ApiError:
    """The error for a module that nobody has ever used."""
    return ApiError(
        404, f"there is no module {module}; GET /modules lists those that there are", code="unknown_module"
    )


def api_error(fault: Exception) -> ApiError:
    """The error that the caller gets for a fault; it shows no internals."""
    match fault:
        case ApiError():
            error = fault
        case GridError() | ModuleNameError():
            error = ApiError(422, str(fault))
        case StoreUnavailableError() | StoreTimeoutError():
            error = _of_postgres(fault)
        case BlobMissingError():
            error = _later(
                "the store of documents lacks this file; restore it, or check DOCSERVICE_BLOB_URL",
                code="content_missing",
            )
        case BlobError():
            error = _later("the store of documents does not answer; try again")
        case ClientDisconnect():  # nobody reads the answer: it is for the log and the metrics
            error = ApiError(400, "the client closed the connection within the body")
        case RequestValidationError():
            error = ApiError(422, _faults(fault))
        case HTTPException():
            detail = str(fault.detail) if fault.detail else HTTPStatus(fault.status_code).phrase
            error = ApiError(fault.status_code, detail, headers=fault.headers)
        case _:
            logger("api").error("request.failed", exc_info=fault)
            error = ApiError(500, "internal error; the log has its details under the request id")
    return error


def _of_postgres(fault: StoreUnavailableError | StoreTimeoutError) -> ApiError:
    match fault:
        case StoreRefusedError():  # logged by the pool, once: every request may meet it
            return _later(f"{fault}; grant what docservice check names", code="database_refused")
        case StoreUnavailableError():
            return _later("Postgres does not answer; try again")
        case _:
            return _later(str(fault), code="too_slow")


def _later(detail: str, *, code: str = "unavailable") -> ApiError:
    return ApiError(503, detail, code=code, headers={"Retry-After": _RETRY_SECONDS})


def _faults(fault: RequestValidationError) -> str:
    found = []
    for item in fault.errors()[:10]:
        place = ".".join(str(part) for part in item.get("loc", ()) if part not in ("body", "query", "path"))
        found.append(f"{place or 'body'}: {_fault(item)}")
    return "; ".join(found)


def _fault(item: Any) -> str:
    """What is legal, and the value given where it is a single one."""
    text = str(item.get("msg", "not legal")).removeprefix("Value error, ")
    given = item.get("input")
    if item.get("type") in ("extra_forbidden", "value_error") or not isinstance(given, str | int | float):
        return text
    return f"{text}, not {shown(given)}"


def error_answer(fault: Exception) -> JSON:
    """The answer for a fault."""
    error = api_error(fault)
    return JSON(
        failure_body(error.code, error.detail, error.data),
        status_code=error.status_code,
        headers=error.headers,
    )


Watch = Callable[[Request, ApiError], Awaitable[None]]


def install(app: FastAPI, watch: Watch) -> None:
    """Answer every fault in the envelope, after calling ``watch`` with it."""

    async def handle(request: Request, fault: Exception) -> JSON:
        error = api_error(fault)
        await watch(request, error)
        return error_answer(error)

    for kind in (
        BlobError,
        ClientDisconnect,
        Exception,
        GridError,
        HTTPException,
        ModuleNameError,
        RequestValidationError,
        StoreTimeoutError,
        StoreUnavailableError,
    ):
        app.add_exception_handler(kind, handle)


def documented(*statuses: int) -> dict[int | str, dict[str, object]]:
    """The failures of a route, for the OpenAPI document."""
    return {
        status: {"model": APIResponse[Any], "description": HTTPStatus(status).phrase}
        for status in sorted({*statuses, 401, 403, 422, 503})
    }
