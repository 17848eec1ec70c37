"""What each command says where Redis does not answer, or refuses to serve: one line with what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from autoscaler.cli.main import main
from autoscaler.demo.embedded import RedisServer, free_port

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS = "Is this the URL of Celery's broker, and is the server up?"


@pytest.mark.parametrize(
    "words", ["once", "status", "events", "pause", "resume", "hold w@h", "limits --max 3"]
)
def test_a_command_without_redis_says_in_one_line_what_to_do(words: str) -> None:
    port = free_port()
    done = CliRunner(env={"REDIS_URL": f"redis://127.0.0.1:{port}/0"}).invoke(main, words.split())
    what = "Redis cannot be read" if words == "once" else "Redis failed"
    refused = f"Error 111 connecting to 127.0.0.1:{port}. Connection refused."
    line = f"autoscaler: {what}: ConnectionError: {refused} {ADDRESS}\n"
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", line)


def test_a_drain_without_redis_says_at_once_what_to_do_and_ends_at_its_deadline() -> None:
    port = free_port()
    done = CliRunner(env={"REDIS_URL": f"redis://127.0.0.1:{port}/0"}).invoke(
        main, ["drain", "--deadline", "1", "w@h"]
    )
    refused = f"ConnectionError: Error 111 connecting to 127.0.0.1:{port}. Connection refused. {ADDRESS}"
    lines = [
        f"autoscaler: Redis failed: {refused} Tried again until the deadline",
        f"autoscaler: Redis failed: {refused}",
    ]
    assert (done.exit_code, done.stdout, done.stderr.splitlines()) == (1, "", lines)


REFUSES = {
    "password": (
        ("--requirepass", "hush"),
        "AuthenticationError: Authentication required.",
        "the server wants a login: give it in the URL, as USER:PASSWORD@HOST or :PASSWORD@HOST",
    ),
    "replica": (
        ("--replicaof", "127.0.0.1 1"),
        "ReadOnlyError: You can't write against a read only replica.",
        "the server is a replica; point the URL at the primary",
    ),
    "full": (
        ("--maxmemory", "1mb"),
        "OutOfMemoryError: command not allowed when used memory > 'maxmemory'.",
        "the server is full: raise its maxmemory, or delete a queue that nobody needs",
    ),
}


@pytest.mark.parametrize("kind", REFUSES)
def test_what_a_server_refuses_is_said_with_what_to_do(tmp_path: Path, kind: str) -> None:
    options, found, advice = REFUSES[kind]
    with RedisServer(tmp_path / "redis", options=options) as server:
        run = CliRunner(env={"REDIS_URL": server.url})
        check, once = run.invoke(main, ["check"]), run.invoke(main, ["once"])
    where = f"redis: {server.url}" if kind == "password" else "remote control"
    assert (check.exit_code, check.stdout.splitlines()[-2:]) == (
        1,
        [f"fail  {where}: {found}", f"      -> {advice}"],
    )
    what = "Redis cannot be read" if kind == "password" else "the workers cannot be asked"
    line = f"autoscaler: {what}: {found} {advice[0].upper()}{advice[1:]}"
    assert (once.exit_code, once.stderr.splitlines()) == (1, [line])
