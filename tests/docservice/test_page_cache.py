"""A read that follows an acknowledged write never sees the old, whatever Redis goes through."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import redis.asyncio

from autoscaler.api import parse_redis_url
from autoscaler.demo.embedded import RedisServer
from docservice.metrics import Metrics
from docservice.page_cache import Cache, Reading, page_key, version_key
from docservice.postgres.database import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from docservice.config import Settings

KEY = page_key("mail", "all", "0")


@asynccontextmanager
async def open_cache(settings: Settings, url: str | None = None) -> AsyncIterator[Cache]:
    address = settings.redis if url is None else parse_redis_url(url)
    cache = Cache(address, settings.redis_tuning, Metrics())
    try:
        yield cache
    finally:
        await cache.close()


async def put(cache: Cache, value: bytes, key: str = KEY) -> None:
    stamp = (await cache.read(key, "mail")).stamp
    assert stamp is not None
    await cache.store(key, stamp, value, seconds=60)


async def answered(cache: Cache) -> Reading:
    """The first reading that Redis answers: it is asked again a second after it did not."""
    async with asyncio.timeout(60):
        while (reading := await cache.read(KEY, "mail")).stamp is None:  # noqa: ASYNC110 - nothing reports it
            await asyncio.sleep(0.05)
    return reading


def test_a_stored_page_is_read_until_its_module_changes(settings: Settings) -> None:
    async def walk() -> list[bytes | None]:
        async with open_cache(settings) as cache:
            await put(cache, b"one")
            seen = [(await cache.read(KEY, "mail")).value]
            await cache.raise_version("claims")
            seen.append((await cache.read(KEY, "mail")).value)
            await cache.raise_version("mail")
            seen.append((await cache.read(KEY, "mail")).value)
            return seen

    assert asyncio.run(walk()) == [b"one", b"one", None]


def test_a_page_made_before_a_write_is_never_believed_after_it(settings: Settings) -> None:
    async def walk() -> bytes | None:
        async with open_cache(settings) as cache:
            stamp = (await cache.read(KEY, "mail")).stamp
            await cache.raise_version("mail")
            await cache.store(KEY, stamp or b"", b"old", seconds=60)
            return (await cache.read(KEY, "mail")).value

    assert asyncio.run(walk()) is None


@pytest.mark.parametrize("evicted", [version_key("mail"), "docservice:epoch"])
def test_an_evicted_version_never_comes_back(settings: Settings, evicted: str) -> None:
    async def walk() -> list[bytes | None]:
        async with (
            open_cache(settings) as cache,
            redis.asyncio.Redis(port=settings.redis.hosts[0][1]) as client,
        ):
            await put(cache, b"one")
            await client.delete(evicted)
            seen = [(await cache.read(KEY, "mail")).value]
            await put(cache, b"two")
            return [*seen, (await cache.read(KEY, "mail")).value]

    assert asyncio.run(walk()) == [None, b"two"]


def test_pages_that_come_back_from_a_disk_are_never_believed(settings: Settings, tmp_path: Path) -> None:
    async def walk() -> list[bytes | None]:
        with RedisServer(tmp_path / "persistent", persistent=True) as server:
            async with open_cache(settings, server.url) as cache:
                await put(cache, b"one")
                seen = [(await cache.read(KEY, "mail")).value]
                server.stop()
                assert (await cache.read(KEY, "mail")).stamp is None
                server.start()
                async with redis.asyncio.Redis(port=server.port) as client:
                    assert await client.exists(KEY)
                return [*seen, (await answered(cache)).value]

    assert asyncio.run(walk()) == [b"one", None]


def test_a_full_redis_still_takes_the_versions_away(settings: Settings, tmp_path: Path) -> None:
    async def walk() -> bytes | None:
        with RedisServer(tmp_path / "full") as server:
            async with open_cache(settings, server.url) as cache:
                await put(cache, b"one")
                async with redis.asyncio.Redis(port=server.port) as client:
                    await client.config_set("maxmemory", "1")
                    assert await cache.try_raise_version("mail")
                    await client.config_set("maxmemory", "0")
                return (await cache.read(KEY, "mail")).value

    assert asyncio.run(walk()) is None


def test_a_write_without_redis_answers_and_catches_up(settings: Settings, tmp_path: Path) -> None:
    async def walk() -> bool:
        server = RedisServer(tmp_path / "late")
        async with open_cache(settings, server.url) as cache:
            await cache.raise_version("mail")  # returns though nothing listens
            bypassed = (await cache.read(KEY, "mail")).stamp is None
            with server:
                await cache.settle(within_seconds=60)
                await answered(cache)
                return bypassed

    assert asyncio.run(walk())


class _Scripted(Cache):
    """Redis takes a version, or does not, when the test says so."""

    tries: asyncio.Queue[asyncio.Future[bool]]

    async def try_raise_version(self, name: str) -> bool:
        assert name == "mail"
        outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        await self.tries.put(outcome)
        return await outcome


def test_a_version_that_was_sent_before_a_write_does_not_stand_for_it(settings: Settings) -> None:
    async def walk() -> list[bool]:
        cache = _Scripted(settings.redis, settings.redis_tuning, Metrics())
        cache.tries = asyncio.Queue()
        bypassed = []
        try:
            first = asyncio.create_task(cache.raise_version("mail"))
            (await cache.tries.get()).set_result(False)
            await first
            sent_before = await cache.tries.get()  # by the background; Redis has it, its answer is under way
            second = asyncio.create_task(cache.raise_version("mail"))
            (await cache.tries.get()).set_result(False)
            await second
            sent_before.set_result(True)
            sent_after = await asyncio.wait_for(cache.tries.get(), timeout=10)
            bypassed.append((await cache.read(KEY, "mail")).stamp is None)
            sent_after.set_result(True)
            await cache.settle(within_seconds=60)
            bypassed.append((await cache.read(KEY, "mail")).stamp is None)
            return bypassed
        finally:
            await cache.close()

    assert asyncio.run(walk()) == [True, False]


def test_when_redis_hangs_all_readers_get_the_error_together(settings: Settings, tmp_path: Path) -> None:
    async def walk(server: RedisServer) -> set[bool]:
        async with open_cache(settings, server.url) as cache:
            await put(cache, b"one")
            server.process.send(signal.SIGSTOP)
            # 32 reads go together, and each batch may take a second: one after the other, half a minute.
            async with asyncio.timeout(15):
                found = await asyncio.gather(
                    *(cache.read(f"{KEY}{number}", "mail") for number in range(1000))
                )
            return {reading.stamp is None for reading in found}

    with RedisServer(tmp_path / "hangs") as server:
        assert asyncio.run(walk(server)) == {True}


def test_reads_under_way_are_answered_when_the_cache_closes(settings: Settings) -> None:
    async def walk() -> set[bool]:
        cache = Cache(settings.redis, settings.redis_tuning, Metrics())
        await put(cache, b"one")
        reads = [asyncio.create_task(cache.read(f"{KEY}{number}", "mail")) for number in range(80)]
        await asyncio.sleep(0)
        await cache.close()
        return {reading.stamp is None for reading in await asyncio.gather(*reads)}

    assert asyncio.run(walk()) == {False}


def test_one_page_is_loaded_once_for_all_who_ask_at_the_same_time(settings: Settings) -> None:
    loads = 0

    async def make() -> bytes:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.05)
        return b"page"

    async def walk() -> set[bytes]:
        async with open_cache(settings) as cache:
            stamp = (await cache.read(KEY, "mail")).stamp or b""
            return set(await asyncio.gather(*(cache.load(KEY, stamp, make, seconds=60) for _ in range(20))))

    assert (asyncio.run(walk()), loads) == ({b"page"}, 1)


def test_a_page_in_memory_does_not_outlive_its_expiry(settings: Settings) -> None:
    async def make() -> bytes:
        return b"loaded"

    async def walk() -> list[bytes | None]:
        async with open_cache(settings) as one, open_cache(settings) as two:
            stamp = (await one.read(KEY, "mail")).stamp or b""
            seen: list[bytes | None] = []
            async with asyncio.timeout(60):
                while seen != [b"loaded"] * 2:  # a busy machine may take the whole second
                    await one.load(KEY, stamp, make, seconds=1)
                    await one.settle(within_seconds=60)
                    seen = [(await one.read(KEY, "mail")).value, (await two.read(KEY, "mail")).value]
            async with redis.asyncio.Redis(port=settings.redis.hosts[0][1]) as client:
                await client.delete(KEY)
            # No longer than the expiry of 1 s, and than the 1 s that a copy of another's page is kept.
            await asyncio.sleep(2.1)
            return [*seen, (await one.read(KEY, "mail")).value, (await two.read(KEY, "mail")).value]

    assert asyncio.run(walk()) == [b"loaded", b"loaded", None, None]


def test_the_pages_in_memory_are_bounded(settings: Settings) -> None:
    async def make() -> bytes:
        return b"x" * 10_000

    async def walk() -> tuple[int, bytes | None, bytes | None]:
        limit = 100_000
        cache = Cache(settings.redis, settings.redis_tuning, Metrics(), max_memory_bytes=limit)
        port = settings.redis.hosts[0][1]
        try:
            stamp = (await cache.read(None, "mail")).stamp or b""
            for number in range(200):
                await cache.load(f"{KEY}{number}", stamp, make, seconds=60)
                assert cache.memory_bytes <= limit
            await cache.settle(within_seconds=60)
            async with redis.asyncio.Redis(port=port) as client:  # what is served now comes from memory
                await client.delete(*(f"{KEY}{number}" for number in range(200)))
            first, last = await cache.read(f"{KEY}0", "mail"), await cache.read(f"{KEY}199", "mail")
            return cache.memory_bytes, first.value, last.value
        finally:
            await cache.close()

    kept, first, last = asyncio.run(walk())
    assert (kept > 80_000, first, last) == (True, None, b"x" * 10_000)


class Stress:
    """Writers and readers of a few modules' counters, through caches that are processes' own."""

    def __init__(self, caches: list[Cache], database: Database) -> None:
        self.caches = caches
        self.database = database
        self.acknowledged = dict.fromkeys("abc", 0)
        self.reads = self.hits = self.writes = 0
        self.stale: list[tuple[str, int, int]] = []
        self.stopped = False

    async def write(self, drawn: random.Random) -> None:
        while not self.stopped:
            module, cache = drawn.choice("abc"), drawn.choice(self.caches)
            row = await self.database.fetch_row(
                "update counters set value = value + 1 where module = $1 returning value", module
            )
            await cache.raise_version(module)
            self.acknowledged[module] = max(self.acknowledged[module], row["value"])
            self.writes += 1
            await asyncio.sleep(drawn.random() * 0.01)

    async def read(self, drawn: random.Random) -> None:
        while not self.stopped:
            module, cache = drawn.choice("abc"), drawn.choice(self.caches)
            before = self.acknowledged[module]
            seen = int(await self.look(cache, module))
            self.reads += 1
            if seen < before:
                self.stale.append((module, before, seen))
            await asyncio.sleep(0)

    async def look(self, cache: Cache, module: str) -> bytes:
        async def make() -> bytes:
            row = await self.database.fetch_row("select value from counters where module = $1", module)
            return str(row["value"]).encode()

        key = page_key(module, "all", "0")
        reading = await cache.read(key, module)
        if reading.value is not None:
            self.hits += 1
            return reading.value
        if reading.stamp is None:
            return await make()
        return await cache.load(key, reading.stamp, make, seconds=60)


@pytest.mark.slow
def test_no_read_is_stale_under_load_evictions_and_restarts(settings: Settings, tmp_path: Path) -> None:
    async def disturb(server: RedisServer, stress: Stress) -> None:
        drawn = random.Random(3)
        for step in range(200):
            if step >= 30 and stress.hits > 300:
                break
            await asyncio.sleep(0.2)
            if step % 10 == 9:  # what it kept comes back from its disk
                await asyncio.to_thread(server.stop)
                await asyncio.to_thread(server.start)
                continue
            async with redis.asyncio.Redis(port=server.port) as client:
                await client.delete(
                    drawn.choice([version_key(name) for name in "abc"] + ["docservice:epoch"])
                )
        stress.stopped = True

    async def walk() -> Stress:
        # A busy machine is no fault of the cache: Postgres may take its time.
        database = Database(
            replace(settings.pool(), statement_timeout_seconds=60, connect_timeout_seconds=60)
        )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(database.close)
            await database.open()
            server = stack.enter_context(RedisServer(tmp_path / "stress", persistent=True))
            caches = [await stack.enter_async_context(open_cache(settings, server.url)) for _ in range(3)]
            await database.fetch("create table counters (module text primary key, value bigint)")
            await database.fetch("insert into counters values ('a', 0), ('b', 0), ('c', 0)")
            stress = Stress(caches, database)
            async with asyncio.TaskGroup() as group:  # one that fails ends the others
                for seed in range(3):
                    group.create_task(stress.write(random.Random(seed)))
                for seed in range(10, 18):
                    group.create_task(stress.read(random.Random(seed)))
                group.create_task(disturb(server, stress))
        return stress

    stress = asyncio.run(walk())
    print(f"reads {stress.reads}, hits {stress.hits}, writes {stress.writes}, stale {len(stress.stale)}")
    assert stress.stale == []
    assert stress.hits > 300
