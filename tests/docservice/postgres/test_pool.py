"""Connections to Postgres are used again, unless their state is in doubt."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from docservice.postgres.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Servers = Any  # of conftest
pytestmark = pytest.mark.usefixtures("servers")
_PID = "select pg_backend_pid()"


def walk(servers: Servers, steps: Callable[[Pool], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        connect = partial(asyncpg.connect, servers.postgres.url)
        pool = Pool(connect, **{"size": 2, "wait_seconds": 0.2, **options})
        try:
            await steps(pool)
        finally:
            await pool.close()

    asyncio.run(run())


async def pid(pool: Pool) -> int:
    async with pool.connection() as connection:
        return await connection.fetchval(_PID)


def test_one_connection_serves_all_who_ask_in_turn_even_after_an_error_of_the_server(
    servers: Servers,
) -> None:
    async def steps(pool: Pool) -> None:
        first = await pid(pool)
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with pool.connection() as connection:
                await connection.fetchval("select 1 / 0")
        assert await pid(pool) == first

    walk(servers, steps)


def test_a_connection_is_waited_for_in_bounded_time(servers: Servers) -> None:
    async def steps(pool: Pool) -> None:
        async with pool.connection() as one, pool.connection() as other:
            assert await one.fetchval(_PID) != await other.fetchval(_PID)
            with pytest.raises(TimeoutError):
                await pid(pool)
        assert isinstance(await pid(pool), int)

    walk(servers, steps)


def test_who_waits_gets_the_connection_that_comes_free(servers: Servers) -> None:
    async def steps(pool: Pool) -> None:
        async with pool.connection() as connection:
            waiting = asyncio.create_task(pid(pool))
            await asyncio.sleep(0)  # it asks, and waits
            held = await connection.fetchval(_PID)
        assert await waiting == held

    walk(servers, steps, size=1, wait_seconds=20)


def test_a_statement_that_was_broken_off_takes_its_connection_with_it(servers: Servers) -> None:
    async def steps(pool: Pool) -> None:
        first = await pid(pool)
        with pytest.raises(TimeoutError):
            async with pool.connection() as connection, asyncio.timeout(0.1):
                await connection.fetchval("select pg_sleep(20)")
        assert await pid(pool) != first

    walk(servers, steps, size=1)


def test_a_connection_that_the_server_closed_is_replaced(servers: Servers) -> None:
    async def steps(pool: Pool) -> None:
        async with pool.connection() as one, pool.connection() as other:
            gone = await one.fetchval(_PID)
            await other.execute(f"select pg_terminate_backend({gone}, 5000)")
            async with asyncio.timeout(20):
                while not one.is_closed():  # noqa: ASYNC110 - its end has to arrive, and tells nobody
                    await asyncio.sleep(0)
        assert await pid(pool) != gone
        assert await pid(pool) != gone

    walk(servers, steps)


def test_what_stays_spare_is_closed(servers: Servers) -> None:
    async def steps(pool: Pool) -> None:
        async with pool.connection() as one, pool.connection() as other:
            pids = [await one.fetchval(_PID), await other.fetchval(_PID)]
        await asyncio.sleep(0.05)
        left = [await pid(pool), await pid(pool)]
        assert left[0] == left[1]
        assert left[0] in pids
        spare = sum(pids) - left[0]
        async with asyncio.timeout(20), pool.connection() as connection:
            while await connection.fetchval(f"select count(*) from pg_stat_activity where pid = {spare}"):
                pass

    walk(servers, steps, spare_seconds=0.05)
