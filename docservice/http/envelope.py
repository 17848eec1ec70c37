"""``APIResponse``: the one shape of every JSON answer, errors too."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import orjson
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from docservice.http.context import request_id

Data = TypeVar("Data")


class ErrorBody(BaseModel):
    """Why a request failed: a code for programs, a sentence for people."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(description="A stable code: `not_found`, `invalid_request`, …")
    detail: str = Field(description="What is wrong, what is legal and what to do.")


class Meta(BaseModel):
    """The metadata of an answer, with its paging."""

    model_config = ConfigDict(extra="allow")

    request_id: str


class APIResponse(BaseModel, Generic[Data]):
    """The answer to every request."""

    model_config = ConfigDict(extra="forbid")

    success: bool
    message: str | None = None
    data: Data | None = None
    error: ErrorBody | None = None
    meta: Meta


class JSON(JSONResponse):
    """A JSON answer, serialized by orjson."""

    def render(self, content: Any) -> bytes:
        """The bytes of a value."""
        return content if isinstance(content, bytes) else orjson.dumps(content)


def answer(
    data: object, *, status: int = 200, message: str | None = None, meta: dict[str, Any] | None = None
) -> JSON:
    """A successful answer."""
    return JSON(
        {
            "success": True,
            "message": message,
            "data": data,
            "error": None,
            "meta": {"request_id": request_id(), **(meta or {})},
        },
        status_code=status,
    )


def failure_body(code: str, detail: str, data: object = None) -> bytes:
    """The body of a failure."""
    return orjson.dumps(
        {
            "success": False,
            "message": None,
            "data": data,
            "error": {"code": code, "detail": detail},
            "meta": {"request_id": request_id()},
        }
    )
