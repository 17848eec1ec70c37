"""Clients that send or read too slowly are let go in bounded time, and no other; so is one without end."""

from __future__ import annotations

import asyncio
import resource
import select
import selectors
import socket
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from docservice.http.protocol import BoundedProtocol
from tests.docservice.conftest import run_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
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


def probe(peer: socket.socket) -> int:
    """The status of one request on a connection that stays."""
    peer.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = HTTPResponse(peer)
    answer.begin()
    answer.read()
    return answer.status


@pytest.mark.slow
def test_a_thousand_connections_that_send_nothing_or_a_byte_a_second_are_let_go_while_pages_are_answered(
    usual_api: Live,
) -> None:
    begun = time.monotonic()
    answered = []
    with (
        connect(usual_api) as idle,
        open_files(4096),
        selectors.DefaultSelector() as opened,
        usual_api.client() as client,
    ):
        assert probe(idle) == 200
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
        assert probe(idle) == 200  # as a load balancer does that keeps it
    assert (left, set(answered)) == (0, {200})


@pytest.mark.slow
def test_a_body_of_a_byte_now_and_then_is_refused_and_its_connection_is_not_reset(live: Live) -> None:
    head = (
        f"POST /modules/mail/grid HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {live.tokens['viewer']}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    )
    sent = 0
    with connect(live) as peer:
        peer.sendall(head.encode())
        for _ in range(200):  # no pause is as long as DOCSERVICE_BODY_IDLE_SECONDS
            if select.select([peer], [], [], 0.3)[0]:
                break
            peer.sendall(b" ")
            sent += 1
        answer = HTTPResponse(peer)
        answer.begin()
        answer.read()
        peer.sendall(b" " * (1000 - sent))  # not reset before the answer is read, and of further use
        assert (answer.status, probe(peer)) == (408, 200)


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


class Hasty(BoundedProtocol):
    """With bounds that a test can wait for."""

    header_seconds = 0.3
    min_rest_bytes = 1000
    write_seconds = 1.0
    min_written_bytes = 10_000


#: More than the buffers of both ends of a connection.
LARGE = 20_000_000


async def answer_late(scope: Any, receive: Any, send: Any) -> None:
    """Read the body of a POST and answer long after it; answer a PUT early, before its body."""
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(3 * Hasty.header_seconds)
    body = b"x" * (LARGE if scope["path"] == "/large" else 0) + b"done"
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected(
    protocol: type[BoundedProtocol] = Hasty,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to that application."""
    config = Config(answer_late, log_config=None)
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(config=config, server_state=state, app_state={}), "127.0.0.1"
    )
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            async with asyncio.timeout(30):
                yield reader, writer
        finally:
            writer.close()


async def exchange(*parts: bytes) -> bytes:
    """All that comes until the server closes, when each part is sent once the one before was taken."""
    async with connected() as (reader, writer):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.05)  # so that it arrives by itself
        try:
            return await reader.read()
        except ConnectionResetError:
            return b"reset"


@pytest.mark.slow
def test_an_answer_may_take_longer_than_headers_whenever_its_body_came() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
    for parts in ([head + b"{}"], [head, b"{}"], [head, b"{", b"}"]):
        assert asyncio.run(exchange(*parts)).endswith(b"\r\n\r\ndone"), parts


@pytest.mark.parametrize(
    "rest",
    [[b"x"], [b"x", b"x" * 100], [b"x" * 500, b"x" * 500]],
    ids=["silence", "a little", "the end, and silence"],
)
def test_a_client_that_is_slow_with_a_body_that_was_answered_is_let_go(rest: list[bytes]) -> None:
    head = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    got = asyncio.run(exchange(head, *rest))
    assert got == b"reset" or got.endswith(b"\r\n\r\ndone")


def test_the_rest_of_a_body_that_was_answered_early_may_come_and_another_request_after_it() -> None:
    async def check() -> bytes:
        async with connected() as (reader, writer):
            writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\n")
            first = await reader.readuntil(b"done")
            for _ in range(40):  # longer than the time of headers
                writer.write(b"x" * 1000)
                await writer.drain()
                await asyncio.sleep(0.02)
            writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            return first + await reader.readuntil(b"done")

    assert asyncio.run(check()).count(b"HTTP/1.1 200 OK") == 2


CHUNKED = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "again", "refusal"),
    [
        (b"GET /", b"x", b"HTTP/1.1 431 "),
        (b"GET / HTTP/1.1\r\nA: ", b"x", b"HTTP/1.1 431 "),
        (b"GET / HTTP/1.1\r\n", b"a: b\r\n", b"HTTP/1.1 431 "),
        (CHUNKED + b"1\r\nx\r\n0\r\n", b"a: b\r\n", b""),
        (CHUNKED + b"1;", b"x", b""),
    ],
    ids=["request line", "header", "headers", "trailers", "chunk extension"],
)
def test_what_is_no_body_has_an_end(begin: bytes, again: bytes, refusal: bytes) -> None:
    async def sent() -> tuple[int, bytes]:
        async with connected(BoundedProtocol) as (reader, writer):
            writer.write(begin)
            count = 0
            piece = again * (6000 // len(again))
            with suppress(ConnectionError):
                while count < 10_000_000 and not reader.at_eof():
                    writer.write(piece)
                    await writer.drain()
                    count += len(piece)
                    await asyncio.sleep(0)
            try:
                return count, await reader.read(13)
            except ConnectionError:
                return count, refusal  # the reset overtook it

    count, answered = asyncio.run(sent())
    assert count < 10_000_000, "all of it was taken"
    assert answered.startswith(refusal)


@pytest.mark.parametrize("kind", ["h2c", "websocket"])
@pytest.mark.parametrize("length", ["Content-Length: 33", "Transfer-Encoding: chunked"])
def test_a_body_is_never_read_as_the_next_request(kind: str, length: str) -> None:
    head = f"PUT / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {kind}\r\n{length}\r\n\r\n".encode()
    body = b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n\r\n"
    for parts in ([head + body], [head, body]):
        answered = asyncio.run(exchange(*parts))
        assert answered == b"reset" or (
            answered.startswith(b"HTTP/1.1 400 ") and answered.count(b"HTTP/1.1") == 1
        )
    kept = b"PUT / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n"
    assert asyncio.run(exchange(kept)).endswith(b"\r\n\r\ndone")


@pytest.mark.slow
@pytest.mark.parametrize(("piece", "whole"), [(100_000, True), (100, False)], ids=["slow", "hardly reading"])
def test_a_client_that_reads_slowly_gets_all_and_one_that_hardly_reads_is_let_go(
    piece: int, *, whole: bool
) -> None:
    async def got(piece: int) -> int:
        async with connected() as (reader, writer):
            writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            begun, count = time.monotonic(), 0
            with suppress(ConnectionError):
                while part := await reader.read(piece):
                    count += len(part)
                    if time.monotonic() - begun < 3 * Hasty.write_seconds:  # the rest without a pause
                        await asyncio.sleep(0.02)
                    else:
                        piece = 10_000_000
            return count

    assert (asyncio.run(got(piece)) == LARGE + 4) is whole
