"""Migrations run once, in order, as long as they take, and one process at a time."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from docservice.postgres.database import Database, PoolSettings
from docservice.postgres.migrations import migrate, migrations, pending

NAMES = [step.name for step in migrations()]


async def _empty_database(servers: Any, name: str) -> str:
    connection = await asyncpg.connect(servers.postgres.url)
    try:
        await connection.execute(f"drop database if exists {name} with (force)")
        await connection.execute(f"create database {name}")
    finally:
        await connection.close()
    return urlsplit(servers.postgres.url)._replace(path=f"/{name}").geturl()


@pytest.mark.slow
def test_of_several_that_start_together_one_migrates_and_the_others_wait_beyond_their_timeout(
    servers: Any, capsys: Any
) -> None:
    async def run() -> tuple[list[list[str]], list[str]]:
        url = await _empty_database(servers, "migrated_together")
        settings = PoolSettings(url=url, size=2, statement_timeout_seconds=0.1, connect_timeout_seconds=20)
        databases = [Database(settings) for _ in range(3)]
        blocker = await asyncpg.connect(url)
        await blocker.execute("select pg_advisory_lock(7021094418)")
        for database in databases:
            await database.open()
        running = [asyncio.create_task(migrate(database)) for database in databases]
        # Longer than any timeout of the pools for one command, which is 5.1 s here.
        _, waiting = await asyncio.wait(running, timeout=6)
        assert len(waiting) == 3
        await blocker.close()
        applied = await asyncio.gather(*running)
        left = await pending(databases[0])
        for database in databases:
            await database.close()
        return applied, left

    applied, left = asyncio.run(run())
    assert (sorted(applied, key=len), left) == ([[], [], NAMES], [])
    assert "migrations.waiting" in capsys.readouterr().out


def test_letters_are_folded_one_by_one(servers: Any, database_url: str) -> None:
    async def run() -> list[str]:
        connection = await asyncpg.connect(database_url)
        try:
            texts = ("ÀÉÎ", "ΟΔΟΣ", "οδος", "Ж", "straße", "訂單")
            return [await connection.fetchval("select docservice_fold($1)", text) for text in texts]
        finally:
            await connection.close()

    assert servers
    assert asyncio.run(run()) == ["àéî", "οδοσ", "οδοσ", "ж", "straße", "訂單"]
