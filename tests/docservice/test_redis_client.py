"""The asynchronous client of Redis: its options, and the connection that the reader keeps."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from autoscaler.api import RedisTuning, parse_redis_url, redis_client
from autoscaler.demo.embedded import RedisServer
from docservice.redis_client import EPOCH, Reader, async_redis_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


def read_with(url: str, work: Callable[[Reader], Awaitable[None]]) -> None:
    """Run ``work`` with a reader of that server."""

    async def walk() -> None:
        client = async_redis_client(parse_redis_url(url), RedisTuning())
        reader = Reader(client.connection_pool)
        try:
            await work(reader)
        finally:
            await reader.close()
            await client.aclose()

    asyncio.run(walk())


def test_the_reader_keeps_one_connection_and_makes_a_new_one_when_it_ended(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        other = redis_client(parse_redis_url(server.url), RedisTuning())
        other.set("a", "1")

        def connections() -> list[str]:
            return [one["id"] for one in other.client_list() if one["cmd"] == "mget"]

        async def walk(reader: Reader) -> None:
            assert await reader.mget(["a", "b"]) == [b"1", None]
            kept = connections()
            assert await reader.mget(["b", "a"]) == [None, b"1"]
            assert connections() == kept
            assert len(kept) == 1
            other.client_kill_filter(_id=kept[0])
            assert await reader.mget(["a"]) == [b"1"]
            assert len(connections()) == 1
            assert connections() != kept

        read_with(server.url, walk)
        other.close()


def test_each_connection_of_the_reader_checks_the_epoch(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        other = redis_client(parse_redis_url(server.url), RedisTuning())

        async def walk(reader: Reader) -> None:
            [first] = await reader.mget([EPOCH])
            assert first
            other.flushall()
            other.client_kill_filter(_type="normal", skipme=True)
            [second] = await reader.mget([EPOCH])
            assert second
            assert second != first

        read_with(server.url, walk)
        other.close()


def test_a_server_that_is_gone_is_a_fault_and_its_return_ends_it(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)

    async def walk(reader: Reader) -> None:
        await reader.mget(["a"])
        server.stop()
        with pytest.raises(RedisConnectionError):
            await reader.mget(["a"])
        server.start()
        assert await reader.mget(["a"]) == [None]

    with server:
        read_with(server.url, walk)


def test_a_read_that_is_cancelled_leaves_no_answer_for_the_next(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        other = redis_client(parse_redis_url(server.url), RedisTuning())
        other.mset({"a": "1", "b": "2"})

        async def walk(reader: Reader) -> None:
            await reader.mget(["a"])
            server.process.send(signal.SIGSTOP)
            try:
                cut = asyncio.create_task(reader.mget(["a"]))
                done, _ = await asyncio.wait([cut], timeout=0.1)
                assert not done
                cut.cancel()
                await asyncio.wait([cut])
            finally:
                server.process.send(signal.SIGCONT)
            assert cut.cancelled()
            assert await reader.mget(["b"]) == [b"2"]

        read_with(server.url, walk)
        other.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:p@one:1/3?socket_connect_timeout=0.5&health_check_interval=7&socket_keepalive=true",
        "rediss://:p@one:1/3?socket_timeout=2&socket_connect_timeout=0.25&ssl_cert_reqs=none",
        "sentinel://:p@one:1,two:2/3?master=m&socket_timeout=2&socket_keepalive=1",
    ],
)
def test_the_options_of_the_url_hold_for_the_cache_as_they_do_for_other_clients(url: str) -> None:
    parsed, tuning = parse_redis_url(url), RedisTuning()
    ours = async_redis_client(parsed, tuning).connection_pool.connection_kwargs
    theirs = redis_client(parsed, tuning).connection_pool.connection_kwargs
    shared = (
        *("socket_timeout", "socket_connect_timeout", "health_check_interval", "socket_keepalive"),
        *("db", "username", "password", "client_name", "ssl_cert_reqs", "ssl_check_hostname"),
    )
    assert {name: ours.get(name) for name in shared} == {name: theirs.get(name) for name in shared}
    narrowed = tuning.narrowed_by(parsed.options)
    assert ours["socket_timeout"] == narrowed.socket_timeout_seconds
    assert ours["socket_connect_timeout"] == narrowed.connect_timeout_seconds
