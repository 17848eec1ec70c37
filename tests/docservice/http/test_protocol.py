"""Clients that send or read too slowly are let go in bounded time."""

from __future__ import annotations

import select
import socket
import time
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import pytest

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


@pytest.mark.slow
def test_connections_that_send_nothing_or_a_byte_a_second_are_let_go(live: Live) -> None:
    peers = [connect(live) for _ in range(200)]
    trickling = peers[:100]
    line = b"GET /livez HTTP/1.1\r\nHost: " + b"x" * 1000
    begun = time.monotonic()
    open_ones = set(peers)
    for byte in range(120):
        for peer in trickling:
            if peer in open_ones:
                try:
                    peer.send(line[byte : byte + 1])
                except OSError:
                    open_ones.discard(peer)
        readable = select.select(list(open_ones), [], [], 1)[0] if open_ones else []
        open_ones -= {peer for peer in readable if ended(peer)}
        if not open_ones:
            break
    for peer in peers:
        peer.close()
    assert (open_ones, time.monotonic() - begun < 60) == (set(), True)
    with live.client() as client:
        assert client.get("/livez").status_code == 200


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
