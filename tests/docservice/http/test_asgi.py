"""What every request gets, whatever its route: a bound on its body, one of each header, and an id."""

from __future__ import annotations

import re
import socket
from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.docservice.http.calls import Live, envelope

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


def test_a_large_body_is_refused_before_it_came_on_every_route(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 100_000

    for path in ("/modules/mail/grid", "/document-type-columns"):
        answer = client.post(path, content=chunks(), headers={"Content-Type": "application/json"})
        assert (answer.status_code, envelope(answer)["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("path", ["/modules/mail/grid", "/document-type-columns"])
def test_a_client_that_sends_all_of_a_large_body_first_sees_why_it_is_refused(live: Live, path: str) -> None:
    headers = {"Authorization": f"Bearer {live.tokens['operator']}", "Content-Type": "application/json"}
    with closing(HTTPConnection("127.0.0.1", urlsplit(live.url).port, timeout=30)) as peer:
        for _ in range(2):  # on one connection
            peer.request("POST", path, body=b" " * 20_000_000, headers=headers)
            answer = peer.getresponse()
            assert (answer.status, b"more than 1048576 bytes" in answer.read()) == (413, True)


def test_a_client_that_pauses_within_a_body_gets_408(live: Live) -> None:
    host, port = urlsplit(live.url).hostname, urlsplit(live.url).port
    with socket.create_connection((host, port), timeout=20) as peer:
        peer.sendall(
            b"POST /modules/mail/grid HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 10\r\nAuthorization: Bearer " + live.tokens["viewer"].encode() + b"\r\n\r\n{"
        )
        assert peer.recv(100).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([b"Bearer %b", b"Basic eA=="], 200),
        ([b"Basic eA==", b"Bearer %b"], 401),
        ([b"bearer \t %b\t"], 200),
        ([b"Bearer%b"], 401),
        ([b"Bearer %b x"], 401),
    ],
)
@pytest.mark.parametrize("path", ["/modules/mail/grid", "/modules/mail/columns"])
def test_of_several_headers_the_first_counts(
    live: Live, path: str, headers: list[bytes], status: int
) -> None:
    token = live.tokens["viewer"].encode()
    written = b"".join(b"Authorization: " + header.replace(b"%b", token) + b"\r\n" for header in headers)
    with socket.create_connection((urlsplit(live.url).hostname, urlsplit(live.url).port), timeout=20) as peer:
        peer.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: x\r\n" + written + b"\r\n")
        assert peer.recv(100).startswith(b"HTTP/1.1 %d " % status)


def test_request_ids_are_taken_when_legal_and_drawn_otherwise(client: httpx.Client) -> None:
    assert client.get("/livez", headers={"X-Request-ID": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    drawn = client.get("/livez", headers={"X-Request-ID": "a b<script>"}).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{10}-[0-9a-f]{8}", drawn)
