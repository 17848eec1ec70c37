"""What is written within one turn of the event loop goes out together, and nothing of it is lost."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvloop

from docservice.gathering import GatheringTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class Writes:
    """A transport that notes each write before the real one does it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.seen: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def writelines(self, parts: list[bytes]) -> None:
        self.seen.append(b"".join(parts))
        self.transport.writelines(parts)


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[asyncio.StreamReader, Writes]]:
    """Two ends: what arrives at one, and the transport of the other."""
    arrived: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_server(lambda *ends: arrived.put_nowait(ends), "127.0.0.1", 0)
    place = server.sockets[0].getsockname()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, *place)
    reader, writer = await arrived.get()
    try:
        yield reader, Writes(transport)
    finally:
        transport.abort()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()


def run(steps: Callable[[asyncio.StreamReader, Writes], Awaitable[None]]) -> None:
    faults: list[Any] = []

    async def walk() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        async with asyncio.timeout(20), connection() as (reader, writes):
            await steps(reader, writes)

    uvloop.run(walk())
    assert faults == []


def test_small_writes_are_one() -> None:
    async def steps(reader: asyncio.StreamReader, writes: Writes) -> None:
        gathered = GatheringTransport(writes)  # type: ignore[arg-type]
        gathered.write(b"head ")
        gathered.write(b"body")
        assert await reader.readexactly(9) == b"head body"
        gathered.write(b", more")
        gathered.close()
        assert await reader.read() == b", more"
        assert writes.seen == [b"head body", b", more"]

    run(steps)


def test_large_ones_do_not_wait_for_each_other() -> None:
    async def steps(reader: asyncio.StreamReader, writes: Writes) -> None:
        gathered = GatheringTransport(writes)  # type: ignore[arg-type]
        for _ in range(3):
            gathered.write(b"x" * 40_000)
        assert [len(data) for data in writes.seen] == [80_000]
        await reader.readexactly(120_000)
        assert [len(data) for data in writes.seen] == [80_000, 40_000]

    run(steps)


def test_what_is_written_to_a_peer_that_has_gone_is_dropped() -> None:
    async def steps(reader: asyncio.StreamReader, writes: Writes) -> None:
        gathered = GatheringTransport(writes)  # type: ignore[arg-type]
        gathered.write(b"answer")
        writes.transport.abort()
        assert await reader.read() == b""
        assert writes.seen == []

    run(steps)


def test_one_that_takes_nothing_is_closed_and_no_other_goes_without() -> None:
    class Broken(Writes):
        def writelines(self, parts: list[bytes]) -> None:  # noqa: ARG002 - as the one it stands for
            raise RuntimeError("of the test")

    async def walk() -> None:
        faults: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        async with asyncio.timeout(20), connection() as (gone, broken), connection() as (reader, writes):
            first = GatheringTransport(Broken(broken.transport))  # type: ignore[arg-type]
            second = GatheringTransport(writes)  # type: ignore[arg-type]
            first.write(b"lost")
            second.write(b"one ")
            assert await reader.readexactly(4) == b"one "
            assert await gone.read() == b""
            second.write(b"two")
            assert await reader.readexactly(3) == b"two"
        assert [str(fault["exception"]) for fault in faults] == ["of the test"]

    uvloop.run(walk())
