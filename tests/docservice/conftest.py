"""Real servers: one Postgres and one Valkey for the session, a database for each test."""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis
from click.testing import CliRunner

from autoscaler.demo.embedded import PostgresServer, Process, RedisServer, free_port
from docservice.cli.main import main
from docservice.config import Settings, read_settings
from docservice.domain.identity import Role, new_token, token_hash
from docservice.postgres.database import Database, PoolSettings
from docservice.postgres.migrations import migrate
from docservice.postgres.tokens import Tokens
from tests.support.plain_http import answers, http_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


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
    # A module that was used before: most tests ask for it, and few store anything first.
    await _execute(template_url, "insert into modules (name) values ('mail')")


@contextmanager
def running_servers() -> Iterator[Servers]:
    """One Postgres and one Valkey, with the template that databases are made from."""
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


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with running_servers() as started:
        yield started


@contextmanager
def fresh_database(servers: Servers, *, template: str = "template_documents") -> Iterator[str]:
    """A migrated database, or an empty one of ``template1``; dropped at the end."""
    name = f"test_{next(servers.counter)}"
    asyncio.run(_execute(servers.postgres.url, f"create database {name} template {template}"))
    try:
        yield urlsplit(servers.postgres.url)._replace(path=f"/{name}").geturl()
    finally:
        asyncio.run(_execute(servers.postgres.url, f"drop database {name} with (force)"))


@pytest.fixture
def database_url(servers: Servers) -> Iterator[str]:
    """A migrated database of the test's own."""
    with fresh_database(servers) as url:
        yield url


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """The session's Redis, emptied."""
    with redis.Redis.from_url(servers.redis.url) as client:
        client.flushdb()
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


def add_token(database_url: str, **values: Any) -> tuple[int, str]:
    """A token's id and text, straight into the database."""
    text = new_token()

    async def add() -> int:
        database = Database(pool_settings(database_url, size=1))
        await database.open()
        try:
            given = {"name": "test", "role": "viewer", "modules": None, "expires_at": None, **values}
            role = Role(given.pop("role"))
            return await Tokens(database).add(sha256=token_hash(text) or b"", role=role, **given)
        finally:
            await database.close()

    return asyncio.run(add()), text


@dataclass(frozen=True)
class Live:
    """A running API: its process, where it is, and tokens by role."""

    process: Process
    url: str
    environment: dict[str, str]
    tokens: dict[str, str]

    @property
    def database_url(self) -> str:
        return self.environment["DATABASE_URL"]

    def add_token(self, **values: Any) -> tuple[int, str]:
        """Another token's id and text."""
        return add_token(self.database_url, **values)

    def revoke(self, token_id: int) -> None:
        """End a token as an operator does."""
        done = CliRunner(env=self.environment).invoke(main, ["token", "revoke", str(token_id)])
        assert done.exit_code == 0, done.output

    def client(self, role: str | None = "operator", **options: Any) -> httpx.Client:
        return http_client(self.url, token=None if role is None else self.tokens[role], **options)


@contextmanager
def run_api(
    folder: Path, environment: dict[str, str], *, tree: Path | None = None, **own: str
) -> Iterator[Live]:
    """An API process of ``tree`` for the settings of ``environment``, with a token for each role.

    ``own`` are settings of the process alone: the test itself uses those of ``environment``.
    """
    port = free_port()
    command = (sys.executable, "-m", "docservice", "api", "--port", str(port))
    tokens = {
        role.value: add_token(environment["DATABASE_URL"], name=role.value, role=role)[1] for role in Role
    }
    url = f"http://127.0.0.1:{port}"
    with Process(
        command, log_path=folder / "api.log", environment={**environment, **own}, working_folder=tree
    ) as process:
        process.wait_until(lambda: answers(f"{url}/livez"), within_seconds=90, what="the API's first answer")
        yield Live(process, url, environment, tokens)


@contextmanager
def run_worker(folder: Path, environment: dict[str, str], *, tree: Path | None = None) -> Iterator[Process]:
    """A worker process of ``tree`` with one child; it is killed at the end, as its own end takes long."""
    words = (sys.executable, "-m", "docservice", "worker", "-c", "1")
    with Process(
        words, log_path=folder / "worker.log", environment=environment, working_folder=tree
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def live(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """An API for the tests of a module, with a database of its own, and a Redis database too."""
    folder = tmp_path_factory.mktemp("live")
    with fresh_database(servers) as database_url:
        number = 1 + next(servers.counter) % 15
        redis_url = servers.redis.url.removesuffix("/0") + f"/{number}"
        with redis.Redis.from_url(redis_url) as client:
            client.flushdb()
        environment = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "DOCSERVICE_BLOB_URL": f"file://{folder}/blobs",
            "DOCSERVICE_SWEEP_SECONDS": "0.5",
            "DOCSERVICE_UPLOAD_FILE_BYTES": "2000000",
            "DOCSERVICE_UPLOAD_FILES": "50",
            "DOCSERVICE_BODY_IDLE_SECONDS": "1.5",
            "DOCSERVICE_DOCS": "open",
        }
        with run_api(folder, environment) as running:
            yield running


@pytest.fixture
def api_runner() -> Any:
    """How to run an API on servers of the test's own."""
    return run_api
