"""The pool of connections: waits are bounded, and what is broken is replaced."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from docservice.postgres.database import Database, PoolSettings, StoreTimeoutError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_PID = "select pg_backend_pid() as pid"


def walk(url: str, steps: Callable[[Database], Awaitable[None]], **options: Any) -> None:
    settings = {"size": 2, "statement_timeout_seconds": 20, "connect_timeout_seconds": 5, **options}

    async def run() -> None:
        database = Database(PoolSettings(url=url, **settings))
        await database.open()
        try:
            await steps(database)
        finally:
            await database.close()

    asyncio.run(run())


async def pid(database: Database) -> int:
    return int((await database.fetch_row(_PID))["pid"])


async def in_time(work: Callable[[], Awaitable[Any]], *faults: type[Exception]) -> Any:
    """What ``work`` returns, tried again where a busy machine takes longer than a short bound."""
    async with asyncio.timeout(60):
        while True:
            with suppress(*faults):
                return await work()


def usable(connection: Any) -> bool:
    """Whether the pool still takes a connection that it lent for open."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False


async def sleep_within_a_transaction(database: Database, *, timeout_milliseconds: int) -> None:
    async with database.transaction() as connection:
        await connection.execute(f"set local statement_timeout = {timeout_milliseconds}")
        await connection.execute("select pg_sleep(20)")


def test_one_connection_serves_all_who_ask_in_turn_even_after_an_error_of_the_server(
    database_url: str,
) -> None:
    async def steps(database: Database) -> None:
        first = await pid(database)
        with pytest.raises(asyncpg.DivisionByZeroError):
            await database.fetch("select 1 / 0")
        assert await pid(database) == first

    walk(database_url, steps)


def test_a_connection_is_waited_for_in_bounded_time(database_url: str) -> None:
    async def steps(database: Database) -> None:
        async with AsyncExitStack() as held:
            for _ in range(2):
                await in_time(lambda: held.enter_async_context(database.connection()), StoreUnavailableError)
            with pytest.raises(StoreUnavailableError):
                await pid(database)
        assert await in_time(lambda: pid(database), StoreUnavailableError) > 0

    walk(database_url, steps, connect_timeout_seconds=0.5)


def test_a_connection_that_the_server_closed_is_replaced(database_url: str) -> None:
    async def steps(database: Database) -> None:
        async with database.connection() as one, database.connection() as other:
            gone = await one.fetchval(_PID)
            await other.execute(f"select pg_terminate_backend({gone}, 5000)")
            async with asyncio.timeout(60):
                while usable(one):  # noqa: ASYNC110 - its end has to arrive, and nothing reports it
                    await asyncio.sleep(0)
        assert {await pid(database), await pid(database)}.isdisjoint({gone})

    walk(database_url, steps)


def test_a_connection_that_ended_between_two_statements_is_replaced(database_url: str) -> None:
    async def steps(database: Database) -> None:
        gone = await pid(database)
        other = await asyncpg.connect(database_url)
        await other.execute(f"select pg_terminate_backend({gone}, 5000)")
        await other.close()
        now = gone
        async with asyncio.timeout(60):
            while now == gone:
                with suppress(StoreUnavailableError):  # the statement that met the end
                    now = await pid(database)
        assert [await pid(database) for _ in range(3)] == [now] * 3

    walk(database_url, steps, size=1)


def test_more_statements_than_connections_are_all_answered(database_url: str) -> None:
    async def steps(database: Database) -> None:
        async def some() -> set[int]:
            return {await pid(database) for _ in range(5)}

        assert len(set.union(*await asyncio.gather(*[some() for _ in range(20)]))) <= 2

    walk(database_url, steps)


def test_a_setting_of_a_transaction_is_gone_after_it(database_url: str) -> None:
    async def steps(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute("set local statement_timeout = 100")
        assert (await database.fetch_row("show statement_timeout"))["statement_timeout"] == "20s"
        with pytest.raises(StoreTimeoutError):
            await sleep_within_a_transaction(database, timeout_milliseconds=100)
        assert (await database.fetch_row("show statement_timeout"))["statement_timeout"] == "20s"

    walk(database_url, steps, size=1)


def test_a_statement_that_was_broken_off_leaves_nothing_behind(database_url: str) -> None:
    async def steps(database: Database) -> None:
        with pytest.raises(StoreUnavailableError):
            async with database.transaction() as connection, asyncio.timeout(0.2):
                await connection.fetchval("select pg_sleep(20)")
        left = await database.fetch(
            "select state, query from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        assert left == []

    walk(database_url, steps, size=1)
