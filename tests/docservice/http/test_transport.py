"""What one turn of the loop writes leaves together, in order, and within the limits of flow control."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from typing import TYPE_CHECKING, Any

import uvloop

from docservice.http.transport import CollectingTransport

if TYPE_CHECKING:
    from collections.abc import Callable


class Writer(asyncio.Protocol):
    """A server's connection that runs ``work`` for the first bytes it gets."""

    def __init__(self, work: Callable[[Writer], None]) -> None:
        self._work = work
        self.paused = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.inner = transport
        self.transport = CollectingTransport(transport, asyncio.get_running_loop())

    def data_received(self, _data: bytes) -> None:
        self._work(self)

    def pause_writing(self) -> None:
        self.paused.set()


async def received(work: Callable[[Writer], None], *, until: Callable[[bytes], bool]) -> bytes:
    """What a client gets before the connection ends, or until it has enough."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Writer(work), "127.0.0.1", 0)
    async with server, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(b"?")
        found = b""
        while not until(found):
            piece = await reader.read(65_536)
            if not piece:
                break
            found += piece
        writer.close()
    return found


def never(_found: bytes) -> bool:
    return False


def test_pieces_of_one_turn_arrive_in_their_order_before_the_end() -> None:
    def work(writer: Writer) -> None:
        for number in range(50):
            writer.transport.write(b"%d," % number)
        writer.transport.writelines([b"and", b" more"])
        writer.transport.close()

    expected = b"".join(b"%d," % number for number in range(50)) + b"and more"
    assert asyncio.run(received(work, until=never)) == expected


def test_an_end_of_the_sending_side_comes_behind_what_was_written() -> None:
    def work(writer: Writer) -> None:
        writer.transport.write(b"last")
        writer.transport.write_eof()

    assert asyncio.run(received(work, until=never)) == b"last"


def test_nothing_leaves_within_the_turn_and_all_of_it_leaves_in_the_next() -> None:
    sent: list[list[int]] = []

    def work(writer: Writer) -> None:
        inner = writer.inner

        def note() -> None:
            sent.append([writer.transport.get_write_buffer_size()])

        writer.transport.write(b"head")
        writer.transport.write(b"body")
        sent.append([writer.transport.get_write_buffer_size(), inner.get_write_buffer_size()])
        asyncio.get_running_loop().call_soon(note)

    assert asyncio.run(received(work, until=lambda found: found == b"headbody")) == b"headbody"
    assert sent == [[8, 0], [0]]


def test_what_is_kept_is_dropped_when_the_connection_is_broken_off() -> None:
    def work(writer: Writer) -> None:
        writer.transport.write(b"never")
        writer.transport.abort()

    try:
        found = asyncio.run(received(work, until=never))
    except ConnectionResetError:
        found = b""
    assert found == b""


def test_a_client_that_does_not_read_pauses_the_protocol_within_one_turn() -> None:
    async def run() -> tuple[bool, int]:
        loop = asyncio.get_running_loop()
        made: list[Writer] = []
        accepted = asyncio.Event()

        def work(writer: Writer) -> None:
            while not writer.paused.is_set():  # all in one turn, as an export that never waits
                writer.transport.write(b"x" * 10_000)

        def make() -> Writer:
            made.append(Writer(work))
            accepted.set()
            return made[-1]

        server = await loop.create_server(make, "127.0.0.1", 0)
        async with server, asyncio.timeout(60):
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            writer.write(b"?")
            await accepted.wait()
            await made[0].paused.wait()
            kept = made[0].transport.get_write_buffer_size() - made[0].inner.get_write_buffer_size()
            made[0].transport.abort()
            writer.close()
        return made[0].paused.is_set(), kept

    paused, kept = asyncio.run(run())
    assert paused
    assert kept <= 65_536


async def connected(loop: asyncio.AbstractEventLoop) -> tuple[Writer, socket.socket]:
    """A connection of a server, and its client."""
    ours, theirs = socket.socketpair()
    _, protocol = await loop.create_connection(lambda: Writer(lambda _: None), sock=ours)
    theirs.settimeout(20)
    return protocol, theirs


def test_a_connection_that_broke_off_keeps_no_other_answer_back() -> None:
    async def run() -> bytes:
        loop = asyncio.get_running_loop()
        broken, gone = await connected(loop)
        whole, client = await connected(loop)
        broken.inner.abort()  # as the loop does for a reset; it is closed before what follows leaves
        broken.transport.write(b"lost")
        whole.transport.write(b"answer")
        try:
            return await asyncio.to_thread(client.recv, 100)
        finally:
            whole.transport.abort()
            gone.close()
            client.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()) == b"answer"


def test_a_connection_that_takes_nothing_more_keeps_no_other_answer_back_and_is_reported() -> None:
    async def run() -> tuple[bytes, list[str]]:
        loop = asyncio.get_running_loop()
        reported: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: reported.append(context))
        ended, gone = await connected(loop)
        whole, client = await connected(loop)
        ended.inner.write_eof()  # a write behind it raises
        ended.transport.write(b"lost")
        whole.transport.write(b"answer")
        try:
            return await asyncio.to_thread(client.recv, 100), [
                type(one["exception"]).__name__ for one in reported
            ]
        finally:
            ended.transport.abort()
            whole.transport.abort()
            gone.close()
            client.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()) == (b"answer", ["RuntimeError"])


def test_a_loop_that_has_ended_is_not_kept() -> None:
    async def run() -> weakref.ref[asyncio.AbstractEventLoop]:
        loop = asyncio.get_running_loop()
        server, client = await connected(loop)
        server.transport.close()
        client.close()
        return weakref.ref(loop)

    loop = asyncio.run(run())
    gc.collect()
    assert loop() is None
