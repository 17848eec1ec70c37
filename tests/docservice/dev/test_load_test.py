"""The burst of sample mails, against a running API and where none is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from autoscaler.demo.embedded import free_port
from docservice.cli.main import main
from docservice.dev.load_test import Burst

if TYPE_CHECKING:
    from pathlib import Path

Live = Any  # of conftest


def burst(*words: str, **environment: str) -> tuple[int, str]:
    done = CliRunner(env=environment).invoke(main, ["burst", *words])
    return done.exit_code, done.output.strip()


def test_a_burst_sends_the_given_number_of_mails_or_says_why_not(live: Live, tmp_path: Path):
    words = ["--url", live.url, "--documents", "7", "--per-request", "3", "--module", "seven"]
    code, printed = burst(*words, DOCSERVICE_TOKEN=live.tokens["operator"])
    assert (code, printed.partition(" in ")[0]) == (0, "sent 7 mails to seven")
    with live.client() as client:
        assert client.get("/modules/seven/grid").json()["data"]["total"] == 7
    (tmp_path / "token").write_text(live.tokens["viewer"] + "\n")
    code, printed = burst(*words, DOCSERVICE_TOKEN_FILE=str(tmp_path / "token"))
    assert (code, printed.startswith("docservice: the API answered 403: ")) == (1, True)


def test_a_burst_reports_that_nothing_answers():
    code, printed = burst("--url", f"http://127.0.0.1:{free_port()}", DOCSERVICE_TOKEN="t")
    assert (code, printed.startswith("docservice: no answer from http://127.0.0.1:")) == (1, True)


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


def test_the_last_batch_of_a_burst_has_the_remaining_mails():
    batches = Burst(url="http://x", module="m", documents=5, per_request=2).batches()
    assert [list(numbers) for numbers in batches] == [[0, 1], [2, 3], [4]]
