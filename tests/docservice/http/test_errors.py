"""Each error of a request has the one envelope."""

from __future__ import annotations

import ast
import socket
from pathlib import Path
from typing import TYPE_CHECKING, get_args
from urllib.parse import urlsplit

import pytest

import docservice
from autoscaler.demo.embedded import wait_until
from docservice.http.errors import CODES
from docservice.http.routes.admin_models import ACTIONS
from docservice.postgres.bulk import Action
from docservice.workers import ResizeResult
from tests.docservice.http.calls import Live, envelope

if TYPE_CHECKING:
    import httpx


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("PUT", "/modules/mail/grid", 405),
        ("PUT", "/modules/mail/grid.csv", 405),
        ("DELETE", "/livez", 405),
        ("GET", "/documents/999999", 404),
        ("GET", "/documents/nine", 422),
        ("GET", "/documents/99999999999999999999", 422),
        ("GET", "/modules/a%20b/grid", 422),
        ("GET", "/modules/%E2%84%AAelvin/grid", 422),
        ("GET", "/modules/..%2F..%2Fetc/grid", 404),
        ("DELETE", "/document-type-columns/999999", 404),
    ],
)
def test_every_fault_is_reported_in_the_envelope(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert envelope(answer)["error"]["detail"]


def test_a_client_that_leaves_within_an_upload_is_no_fault_of_the_service(
    live: Live, client: httpx.Client
) -> None:
    head = (
        "POST /modules/mail/documents HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {live.tokens['operator']}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n--b\r\n"
    )
    with socket.create_connection(("127.0.0.1", urlsplit(live.url).port or 0), timeout=20) as peer:
        peer.sendall(head.encode())
    counted = 'docservice_http_requests_total{method="POST",route="/modules/{module}/documents",status="%d"}'
    wait_until(
        lambda: counted % 400 in client.get("/metrics").text, within_seconds=60, what="the request's end"
    )
    assert counted % 500 not in client.get("/metrics").text


def test_every_code_of_a_failure_is_in_the_table_that_the_audit_is_filtered_by() -> None:
    sources = [*Path(docservice.__file__).parent.rglob("*.py")]
    assert sources
    written = {
        keyword.value.value
        for source in sources
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("ApiError", "_later")
        for keyword in node.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }
    assert {"too_slow", "invalid_override"} <= written
    assert written | (set(ResizeResult) - {ResizeResult.RESIZED}) <= CODES


def test_every_action_that_is_recorded_is_in_the_table_that_the_audit_is_filtered_by() -> None:
    written = {
        argument.value
        for source in Path(docservice.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("Attempt", "_add_resize_route")
        for argument in node.args
        if isinstance(argument, ast.Constant)
        and isinstance(argument.value, str)
        and " " not in argument.value
    }
    documents = {f"documents.{action}{end}" for action in get_args(Action) for end in ("", ".ended")}
    assert written | documents == set(ACTIONS)
