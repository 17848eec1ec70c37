"""Real servers: one Postgres and one Valkey for the session, a database for each test."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis

from autoscaler.embedded import PostgresServer, RedisServer
from docservice.config import Settings, read_settings
from docservice.store.database import Database, PoolSettings
from docservice.store.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Servers:
    """The session's servers, and a folder that the Postgres user may pass."""

    folder: Path
    postgres: PostgresServer
    redis: RedisServer
    counter: Iterator[int]


def pool_settings(url: str, *, size: int = 8) -> PoolSettings:
    return PoolSettings(url=url, size=size, statement_timeout_seconds=20, connect_timeout_seconds=5)


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _make_template(url: str, template_url: str) -> None:
    await _execute(url, "create database template_documents")
    database = Database(pool_settings(template_url))
    await database.open()
    try:
        await migrate(database)
    finally:
        await database.close()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)  # Postgres runs as another user when we are root
        with (
            PostgresServer(folder / "postgres", options=("synchronous_commit=off",)) as postgres,
            RedisServer(folder / "redis") as server,
        ):
            template = urlsplit(postgres.url)._replace(path="/template_documents").geturl()
            asyncio.run(_make_template(postgres.url, template))
            yield Servers(folder=folder, postgres=postgres, redis=server, counter=itertools.count(1))


@pytest.fixture
def database_url(servers: Servers) -> Iterator[str]:
    """A migrated database of the test's own."""
    name = f"test_{next(servers.counter)}"
    asyncio.run(_execute(servers.postgres.url, f"create database {name} template template_documents"))
    yield urlsplit(servers.postgres.url)._replace(path=f"/{name}").geturl()
    asyncio.run(_execute(servers.postgres.url, f"drop database {name} with (force)"))


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """The session's Redis, emptied."""
    with redis.Redis.from_url(servers.redis.url) as client:
        client.flushall()
    return servers.redis.url


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings for the test's own database, Redis and blobs."""
    return read_settings(
        {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
            "DOCSERVICE_SWEEP_SECONDS": "0.3",
        }
    )
