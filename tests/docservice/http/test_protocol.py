"""Clients that send or read too slowly are let go in bounded time."""

from __future__ import annotations

import resource
import select
import selectors
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.docservice.conftest import run_api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Live = Any  # of conftest


def connect(live: Live) -> socket.socket:
    place = urlsplit(live.url)
    return socket.create_connection((place.hostname or "", place.port or 0), timeout=60)


def ended(peer: socket.socket) -> bool:
    """Whether the server has closed; reads what there is."""
    try:
        return peer.recv(65_536) == b""
    except ConnectionResetError:
        return True


@contextmanager
def open_files(soft: int) -> Iterator[None]:
    """Another limit on the open files of this process and of those that it starts."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


@pytest.fixture
def usual_api(live: Live, tmp_path: Path) -> Iterator[Live]:
    """An API that was started with 1,024 open files, as systemd and most shells do."""
    with ExitStack() as stack:
        with open_files(1024):
            started = stack.enter_context(run_api(tmp_path, live.environment))
        yield started


LINE = b"GET /livez HTTP/1.1\r\nHost: " + b"x" * 1000


@pytest.mark.slow
def test_a_thousand_connections_that_send_nothing_or_a_byte_a_second_are_let_go_while_pages_are_answered(
    usual_api: Live,
) -> None:
    begun = time.monotonic()
    answered = []
    with open_files(4096), selectors.DefaultSelector() as opened, usual_api.client() as client:
        for number in range(1100):
            opened.register(connect(usual_api), selectors.EVENT_READ, number)
        for byte in range(len(LINE)):
            for key in list(opened.get_map().values()):
                if key.data % 2:
                    with suppress(OSError):  # it was let go, which is read below
                        key.fileobj.send(LINE[byte : byte + 1])
            answered.append(client.get("/modules/mail/grid").status_code)
            for key, _ in opened.select(1):
                if ended(key.fileobj):
                    opened.unregister(key.fileobj)
                    key.fileobj.close()
            if not opened.get_map() or time.monotonic() - begun > 60:
                break
        left = len(opened.get_map())
    assert (left, set(answered)) == (0, {200})


def test_a_body_of_a_byte_now_and_then_is_refused(live: Live) -> None:
    head = (
        f"POST /modules/mail/grid HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {live.tokens['viewer']}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    )
    answered = b""
    with connect(live) as peer:
        peer.sendall(head.encode())
        for _ in range(200):  # no pause is as long as DOCSERVICE_BODY_IDLE_SECONDS
            if select.select([peer], [], [], 0.3)[0]:
                answered = peer.recv(65_536)
                break
            peer.sendall(b" ")
    assert answered.startswith(b"HTTP/1.1 408 ")


@pytest.mark.slow
def test_a_slow_request_after_a_fast_one_is_bounded_too_and_pauses_within_limits_are_not(live: Live) -> None:
    with connect(live) as peer:
        for _ in range(2):
            peer.sendall(b"GET /livez HTTP/1.1\r\n")
            time.sleep(0.5)  # the pause is the test
            peer.sendall(b"Host: x\r\n\r\n")
            answer = HTTPResponse(peer)
            answer.begin()
            assert (answer.status, answer.read()[:16]) == (200, b'{"success":true,')
        peer.sendall(b"GET /livez HTTP/1.1\r\n")
        assert ended(peer)
