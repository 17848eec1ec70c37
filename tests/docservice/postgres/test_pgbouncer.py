"""A PgBouncer in transaction mode before Postgres: it works with the setting, and is named without it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from autoscaler.demo.embedded import Process, free_port
from docservice.postgres.database import Database, PoolSettings, StoreTimeoutError
from docservice.postgres.migrations import migrate, pending
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs("pgbouncer")


def _accepts(url: str) -> bool:
    async def connect() -> bool:
        try:
            connection = await asyncpg.connect(url, statement_cache_size=0)
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    return asyncio.run(connect())


@pytest.fixture
def pooler(database_url: str) -> Iterator[str]:
    """The test's database through a PgBouncer with two connections to the server."""
    place, port = urlsplit(database_url), free_port()
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        config = folder / "pgbouncer.ini"
        config.touch(mode=0o600)
        config.write_text(
            "[databases]\n"
            f"* = host=127.0.0.1 port={place.port} user={place.username} password={place.password}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            "auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n"
        )
        if user is not None:
            shutil.chown(config, user)
        program = shutil.which("pgbouncer") or "pgbouncer"
        url = place._replace(netloc=f"{place.username}@127.0.0.1:{port}").geturl()
        with Process((program, str(config)), log_path=folder / "log", user=user) as process:
            process.wait_until(lambda: _accepts(url), within_seconds=60, what="the pooler's first answer")
            yield url


def settings(url: str) -> PoolSettings:
    return PoolSettings(
        url=url, size=8, statement_timeout_seconds=3, connect_timeout_seconds=10, transaction_pooler=True
    )


@pytest.mark.slow
def test_many_statements_share_two_connections_and_each_has_its_settings(pooler: str) -> None:
    async def run() -> tuple[list[int], set[tuple[str, ...]]]:
        database = Database(settings(pooler))
        await database.open()
        try:
            await migrate(database)
            assert await pending(database) == []
            sums = await asyncio.gather(
                *(database.fetch_row("select $1::int + 1 as sum", number) for number in range(200))
            )
            shown = await asyncio.gather(
                *(
                    database.fetch_row(
                        "select current_setting('statement_timeout') as one, current_setting('jit') as two,"
                        " current_setting('plan_cache_mode') as three, current_setting('timezone') as four"
                    )
                    for _ in range(20)
                )
            )
            with pytest.raises(StoreTimeoutError):
                await database.fetch("select pg_sleep(30)")
            async with database.lock(1) as ours, database.lock(1) as again:
                assert (ours, again) == (True, False)
            return [row["sum"] for row in sums], {tuple(row.values()) for row in shown}
        finally:
            await database.close()

    assert asyncio.run(run()) == (list(range(1, 201)), {("3s", "off", "force_generic_plan", "UTC")})


def test_without_the_setting_a_pooler_is_refused_in_one_line(pooler: str, redis_url: str) -> None:
    environment = {**os.environ, "DATABASE_URL": pooler, "REDIS_URL": redis_url}
    command = [sys.executable, "-m", "docservice", "migrate"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr == "docservice: DATABASE_URL leads to a pooler; set DATABASE_POOLER=transaction\n"


@pytest.mark.slow
def test_the_api_serves_pages_uploads_and_exports_through_a_pooler(
    pooler: str, redis_url: str, tmp_path: Path, database_url: str, api_runner: Any
) -> None:
    environment = {
        "DATABASE_URL": database_url,  # for the tokens of the test
        "REDIS_URL": redis_url,
        "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
        "DOCSERVICE_CACHE_SECONDS": "0",
    }
    through = {"DATABASE_URL": pooler, "DATABASE_POOLER": "transaction"}
    with api_runner(tmp_path, environment, **through) as live, live.client() as client:
        files = [("files", (f"{number}.txt", b"text", "text/plain")) for number in range(5)]
        assert client.post("/modules/mail/documents", files=files).status_code == 202
        seen = [client.get("/modules/mail/grid", params={"title": f"{number}.txt"}) for number in range(20)]
        assert {answer.status_code for answer in seen} == {200}
        assert client.get("/modules/mail/grid").json()["data"]["total"] == 5
        assert client.get("/modules/mail/grid.csv").text.count("\n") == 6
        assert client.get("/readyz").status_code == 200
