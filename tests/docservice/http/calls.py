"""Calls of the API, and what every answer of it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

Live = Any  # of conftest


def upload(client: httpx.Client, module: str, *files: tuple[str, bytes], **fields: str) -> httpx.Response:
    return client.post(
        f"/modules/{module}/documents",
        files=[("file", (name, data, "application/octet-stream")) for name, data in files],
        data=fields,
    )


def envelope(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert set(body) == {"success", "message", "data", "error", "meta"}
    assert body["meta"]["request_id"] == answer.headers["x-request-id"]
    assert body["success"] == (answer.status_code < 400) == (body["error"] is None)
    return body
