"""The back-test of the docs: its trace comes from the seed, its picture from the command that is shown."""

from __future__ import annotations

from click.testing import CliRunner

from autoscaler.cli.main import main
from tests.docs.back_test import COMMAND, DOCS, PICTURE, TRACE, trace_text


def test_the_trace_is_the_one_that_the_seed_gives():
    assert trace_text() == TRACE.read_text()


def test_the_command_and_its_picture_are_on_the_page():
    page = (DOCS / "back-test.md").read_text()
    assert f"\nautoscaler {' '.join(COMMAND)}\n" in page
    assert "](back-test.png)" in page
    assert "](docs/back-test.png)" in (DOCS.parent / "README.md").read_text()
    assert PICTURE.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_result_names_the_winner_of_this_trace():
    done = CliRunner().invoke(main, ["simulate", str(TRACE), "--max", "64", "--no-peers"])
    assert done.output.splitlines()[-1] == (
        "latency 5 s is the cheapest that starts 99% of the tasks within 5 s: cost 2.32, 175 starts; next is"
        " thresholds: cost 4.55, 90 starts."
    )
