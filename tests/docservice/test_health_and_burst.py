"""The container's health check and the burst, against a running API."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from autoscaler.demo.embedded import free_port
from docservice.cli import main
from docservice.dev.load_test import Burst

if TYPE_CHECKING:
    from pathlib import Path

Live = Any  # of conftest


def asked(*words: str, **environment: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "docservice", "healthcheck", *words]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return done.returncode, (done.stdout or done.stderr).strip()


def test_a_health_check_tells_what_the_api_says(live: Live):
    port = live.url.rpartition(":")[2]
    code, said = asked(DOCSERVICE_HTTP_PORT=port)
    assert (code, '"status":"alive"' in said) == (0, True)
    code, said = asked("--port", port, "--ready")
    assert (code, '"status":"ready"' in said) == (0, True)
    listed = CliRunner().invoke(main, ["healthcheck", "--port", port])
    assert (listed.exit_code, '"status":"alive"' in listed.output) == (0, True)


def test_a_health_check_fails_where_nothing_listens_and_where_the_port_is_none():
    port = free_port()
    code, said = asked("--port", str(port))
    assert (code, said.startswith(f"docservice: the API does not answer on port {port}: ")) == (1, True)
    legal = "it must be a port, for instance 8000"
    assert asked(DOCSERVICE_HTTP_PORT="http") == (2, f"docservice: DOCSERVICE_HTTP_PORT is 'http'; {legal}")
    assert asked("--port", "70000") == (2, f"docservice: --port is '70000'; {legal}")


def burst(*words: str, **environment: str) -> tuple[int, str]:
    done = CliRunner(env=environment).invoke(main, ["burst", *words])
    return done.exit_code, done.output.strip()


def test_a_burst_sends_as_many_mails_as_told_or_tells_why_not(live: Live, tmp_path: Path):
    words = ["--url", live.url, "--documents", "7", "--per-request", "3", "--module", "seven"]
    code, said = burst(*words, DOCSERVICE_TOKEN=live.tokens["operator"])
    assert (code, said.partition(" in ")[0]) == (0, "sent 7 mails to seven")
    with live.client() as client:
        assert client.get("/modules/seven/grid").json()["data"]["total"] == 7
    (tmp_path / "token").write_text(live.tokens["viewer"] + "\n")
    code, said = burst(*words, DOCSERVICE_TOKEN_FILE=str(tmp_path / "token"))
    assert (code, said.startswith("docservice: the API answered 403: ")) == (1, True)


def test_a_burst_tells_that_nothing_answers():
    code, said = burst("--url", f"http://127.0.0.1:{free_port()}", DOCSERVICE_TOKEN="t")
    assert (code, said.startswith("docservice: no answer from http://127.0.0.1:")) == (1, True)


@pytest.mark.parametrize(
    ("words", "token", "expected"),
    [
        (
            [],
            "",
            (2, "docservice: DOCSERVICE_TOKEN is not set; docservice token create --role operator makes one"),
        ),
        (
            ["--url", "ftp://x"],
            "t",
            (2, "docservice: --url is 'ftp://x'; it must be http://HOST:PORT or https://HOST"),
        ),
        (
            ["--url", "http://x:y"],
            "t",
            (2, "docservice: --url is 'http://x:y'; it must be http://HOST:PORT or https://HOST"),
        ),
        (
            ["--documents", "1"],
            "t\n t",
            (1, "docservice: DOCSERVICE_TOKEN has characters that no token has"),
        ),
    ],
)
def test_a_burst_that_cannot_be_sent_says_what_to_do(words: list[str], token: str, expected: tuple[int, str]):
    assert burst(*words, DOCSERVICE_TOKEN=token) == expected


def test_the_last_lot_of_a_burst_is_what_is_left():
    lots = Burst(url="http://x", module="m", documents=5, per_request=2).batches()
    assert [list(numbers) for numbers in lots] == [[0, 1], [2, 3], [4]]
