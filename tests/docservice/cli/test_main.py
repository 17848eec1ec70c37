"""What the commands print in the first hour: at start, before a migration, and where something is missing."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import redis
from click.testing import CliRunner

from autoscaler.demo.embedded import RedisServer, free_port
from docservice.cli.main import main
from docservice.postgres.migrations import migrations
from docservice.workers import _out_of_range
from tests.docservice.conftest import _execute

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.docservice.conftest import Live, Servers


@pytest.fixture
def empty_database(servers: Servers) -> Iterator[str]:
    """A database that nobody has migrated."""
    name = f"empty_{next(servers.counter)}"
    asyncio.run(_execute(servers.postgres.url, f"create database {name}"))
    yield urlsplit(servers.postgres.url)._replace(path=f"/{name}").geturl()
    asyncio.run(_execute(servers.postgres.url, f"drop database {name} with (force)"))


def test_every_command_that_needs_the_schema_names_a_missing_migration_in_one_line(
    empty_database: str, redis_url: str, tmp_path: Path
) -> None:
    environment = {
        "DATABASE_URL": empty_database,
        "REDIS_URL": redis_url,
        "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
    }
    names = ", ".join(step.name for step in migrations())
    line = f"docservice: the database lacks {names}; run docservice migrate\n"
    commands = (
        ("token", "create", "--name", "ann"),
        ("token", "list"),
        ("token", "revoke", "1"),
        ("sweep",),
        ("check",),
        ("api", "--port", str(free_port())),
        ("worker", "-c", "1"),
    )
    found = {words: CliRunner(env=environment).invoke(main, words) for words in commands}
    assert {words: (done.exit_code, done.stderr) for words, done in found.items()} == dict.fromkeys(
        commands, (1, line)
    )


def test_a_database_that_cannot_be_used_is_named_without_its_login(database_url: str, redis_url: str) -> None:
    port, real = free_port(), urlsplit(database_url)
    where = real.netloc.rpartition("@")[2]
    advice = "check that the server runs, the user and the password"
    urls = {
        f"postgresql://me:s3cret@127.0.0.1:{port}/d": (
            f"DATABASE_URL (127.0.0.1:{port}): Postgres does not answer: connection refused; {advice}"
        ),
        "postgresql://me:s3cret@nowhere.invalid/d": (
            f"DATABASE_URL (nowhere.invalid): Postgres does not answer: no such host; {advice}"
        ),
        real._replace(path="/nowhere").geturl(): (
            f"DATABASE_URL ({where}): Postgres has no database of this name; {advice}"
        ),
    }
    found = {
        url: CliRunner(env={"DATABASE_URL": url, "REDIS_URL": redis_url}).invoke(main, ["migrate"])
        for url in urls
    }
    assert {url: (done.exit_code, done.stderr) for url, done in found.items()} == {
        url: (1, f"docservice: {line}\n") for url, line in urls.items()
    }


def test_a_place_that_cannot_be_written_ends_the_start_in_one_line(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/file",
    }
    done = CliRunner(env=environment).invoke(main, ["api", "--port", str(free_port())])
    assert (done.exit_code, done.stderr) == (
        1,
        (
            f"docservice: DOCSERVICE_BLOB_URL: nothing can be read in file://{tmp_path}/file"
            " (Not a directory); give a place that this user may read and write\n"
        ),
    )


def test_the_api_says_at_its_start_where_it_listens_and_where_the_blobs_are(live: Live) -> None:
    lines = [json.loads(line) for line in live.process.log().splitlines() if '"api.starting"' in line]
    assert [(line["listen"], line["blobs"], line["docs"]) for line in lines] == [
        (live.url, live.environment["DOCSERVICE_BLOB_URL"], live.environment.get("DOCSERVICE_DOCS", "admin"))
    ]


def test_the_help_shows_the_port() -> None:
    assert "[default: 8000;" in CliRunner().invoke(main, ["api", "--help"]).stdout


@pytest.mark.parametrize(
    ("processes", "change", "expected"),
    [
        (4, -9, "4 processes, asked to remove 9; 3 can be removed, for one has to stay"),
        (1, -1, "1 process, asked to remove 1; 0 can be removed, for one has to stay"),
        (9999, 2, "9999 processes, asked to add 2; 1 can be added, for 10000 is the most"),
    ],
)
def test_a_change_that_goes_too_far_says_how_far_it_can_go(
    processes: int, change: int, expected: str
) -> None:
    assert _out_of_range(processes, change) == expected


def test_a_check_says_that_redis_takes_no_write_and_what_is_mistyped(
    database_url: str, tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "redis") as server, redis.Redis.from_url(server.url) as client:
        environment = {
            "DATABASE_URL": database_url,
            "REDIS_URL": server.url,
            "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
            "DOCSERVICE_BLOB_SECOND": "2",
        }
        ready = CliRunner(env=environment).invoke(main, ["check"])
        client.config_set("maxmemory", 1)
        full = CliRunner(env=environment).invoke(main, ["check"])
    assert ready.exit_code == 0
    mistyped = "docservice: DOCSERVICE_BLOB_SECOND is not a setting and has no effect"
    assert ready.stderr == f"{mistyped}; did you mean DOCSERVICE_BLOB_SECONDS?\n"
    assert full.exit_code == 1
    assert full.stderr.splitlines()[-1].startswith(f"docservice: REDIS_URL: {server.url} takes no write: ")


@pytest.mark.parametrize(
    ("option", "why"),
    [
        (
            "sslmode=verify-full&sslrootcert=/nope.pem",
            "a file that it names, such as sslrootcert, cannot be read (No such file or directory)",
        ),
        ("sslmode=require", "Postgres takes no connection by TLS, which sslmode asks for"),
        ("target_session_attrs=standby", "no server there is what target_session_attrs asks for"),
        (
            "sslmode=bogus",
            "an option of it is illegal, such as sslmode, or a file that it names cannot be read",
        ),
    ],
)
def test_what_a_database_url_asks_for_and_does_not_get_is_named(
    option: str, why: str, database_url: str, redis_url: str
) -> None:
    where = urlsplit(database_url).netloc.rpartition("@")[2]
    environment = {"DATABASE_URL": f"{database_url}?{option}", "REDIS_URL": redis_url}
    done = CliRunner(env=environment).invoke(main, ["migrate"])
    advice = "check that the server runs, the user and the password"
    assert (done.exit_code, done.stderr) == (1, f"docservice: DATABASE_URL ({where}): {why}; {advice}\n")


def test_a_server_that_ends_each_connection_is_not_said_to_refuse_tls(redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"

        def end_each() -> None:
            with suppress(OSError):  # the end of the server
                while True:
                    client, _ = server.accept()
                    client.recv(8)
                    client.close()

        Thread(target=end_each, daemon=True).start()
        environment = {"DATABASE_URL": f"postgresql://u@{where}/d", "REDIS_URL": redis_url}
        done = CliRunner(env=environment).invoke(main, ["migrate"])
        server.shutdown(socket.SHUT_RDWR)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"docservice: DATABASE_URL ({where}): Postgres does not answer (Connection")


def test_a_sweep_that_does_not_reach_redis_says_so(database_url: str, tmp_path: Path) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
    }
    done = CliRunner(env=environment).invoke(main, ["sweep"])
    assert done.exit_code == 1
    assert "sent 0, returned 0, failed 0, removed 0\n" in done.stdout
    why = f"no answer from {environment['REDIS_URL']}; documents that wait may not be sent, sweep again"
    assert done.stderr == f"docservice: REDIS_URL: {why}\n"


@pytest.mark.parametrize("command", [["api"], ["check"], ["token", "revoke", "1"]])
def test_a_folder_of_metrics_that_cannot_be_written_to_is_named(
    command: list[str], database_url: str, redis_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "nowhere"
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "PROMETHEUS_MULTIPROC_DIR": str(folder),
    }
    done = CliRunner(env=environment).invoke(main, command)
    why = f"'{folder}', no folder that this user may write to; make it, or leave the variable out"
    assert (done.exit_code, done.stderr) == (2, f"docservice: PROMETHEUS_MULTIPROC_DIR is {why}\n")
