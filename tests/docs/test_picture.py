"""The picture of the demo is one of a real run, and needs nothing from elsewhere."""

from __future__ import annotations

import re

import pytest

from tests.docs.picture import PICTURE, chosen, drawing, frames


def frame(processes: int, word: str) -> str:
    return (
        "╭─ autoscaler demo ─╮\r\n"
        f"│ processes  \x1b[1m   {processes}\x1b[0m │\r\n"
        f"│ {word} │\r\n"
        "╰───────────────────╯\r\n\x1b[2K\x1b[1A\x1b[2K"
    )


def run(*sizes: int) -> str:
    return "All of them are up.\r\n\x1b[?25l" + "".join(
        frame(size, f"frame-{at}") for at, size in enumerate(sizes)
    )


@pytest.mark.parametrize(
    ("sizes", "shown"),
    [((1, 5, 8, 8, 4, 1), "frame-3"), ((1, 5, 8), "frame-2"), ((3,), "frame-0")],
    ids=["the last before the first shrink", "the last where none shrank", "the only one"],
)
def test_it_shows_the_pool_at_its_largest(sizes: tuple[int, ...], shown: str):
    drawn = frames(run(*sizes))
    assert len(drawn) == len(sizes)
    assert shown in chosen(drawn)
    assert "\r" not in chosen(drawn)
    assert f"│&#160;{shown}&#160;│" in drawing(run(*sizes))


def test_a_view_that_shows_no_processes_ends_with_a_sentence():
    with pytest.raises(SystemExit, match="shows no number of processes any more"):
        chosen([])


def test_the_picture_that_is_kept_shows_a_resize_and_loads_nothing():
    text = PICTURE.read_text()
    assert set(re.findall(r"https?://[^\"'<>\s]+", text)) == {"http://www.w3.org/2000/svg"}
    plain = text.replace("&#160;", " ")
    assert "autoscaler demo" in plain
    assert re.search(r"\d+ -&gt; \d+ processes, done", plain)
