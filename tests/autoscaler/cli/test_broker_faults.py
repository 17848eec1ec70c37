"""What each command says where Redis does not answer: one line with what to do."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from autoscaler.cli.main import main
from autoscaler.demo.embedded import free_port

ADDRESS = "Is this the URL of Celery's broker, and is the server up?"


@pytest.mark.parametrize(
    "words", ["once", "status", "events", "pause", "resume", "hold w@h", "limits --max 3", "drain w@h"]
)
def test_a_command_without_redis_says_in_one_line_what_to_do(words: str) -> None:
    port = free_port()
    done = CliRunner(env={"REDIS_URL": f"redis://127.0.0.1:{port}/0"}).invoke(main, words.split())
    what = "Redis cannot be read" if words == "once" else "Redis failed"
    refused = f"Error 111 connecting to 127.0.0.1:{port}. Connection refused."
    line = f"autoscaler: {what}: ConnectionError: {refused} {ADDRESS}\n"
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", line)
