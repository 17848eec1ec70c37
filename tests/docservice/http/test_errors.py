"""Each error of a request has the one envelope."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from autoscaler.demo.embedded import wait_until
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
        lambda: counted % 400 in client.get("/metrics").text, within_seconds=20, what="the request's end"
    )
    assert counted % 500 not in client.get("/metrics").text
