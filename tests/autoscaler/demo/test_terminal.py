"""What the demo draws on a terminal."""

from __future__ import annotations

import io
import re

from rich.console import Console

from autoscaler.demo.terminal import LiveScreen
from autoscaler.demo.view import PlainScreen


def test_a_table_is_the_same_on_a_terminal_and_in_a_file():
    terminal, plain = io.StringIO(), io.StringIO()
    LiveScreen(Console(file=terminal, width=60)).table("Found 1", ("number", "pages"), [("M-[b]1", "3")])
    PlainScreen(plain).table("Found 1", ("number", "pages"), [("M-[b]1", "3")])
    assert plain.getvalue() == "Found 1\n  number  pages\n  M-[b]1  3\n"
    words = re.findall(r"[\w\[\]-]+", terminal.getvalue())
    assert words == ["Found", "1", "number", "pages", "M-[b]1", "3"]


def on_screen(written):
    """What a terminal shows of this output: cursor up, erase line, carriage return and newline are obeyed."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[\??[0-9;]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", written):
        if part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            column = 0
        elif part.endswith("A"):
            row -= int(part[2:-1] or 1)
        elif part == "\x1b[2K":
            lines[row] = ""
        elif not part.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return "\n".join(lines)


STATUS = {
    "groups": [{"waiting": 3, "reserved": 1}],
    "workers": [{"processes": 2}],
    "decisions": [{"action": "hold", "reason": "steady"}],
}


def test_what_stays_on_the_terminal_is_one_frame_and_the_lines():
    file = io.StringIO()
    screen = LiveScreen(Console(file=file, width=80, height=40, force_terminal=True, legacy_windows=False))
    for transient in (False, True):
        screen.open_view(transient=transient)
        for seconds in range(3):
            screen.show(STATUS, ["1 -> 2"], sent=4, done=seconds, seconds=seconds)
        screen.close_view()
        screen.say("Explore it." if not transient else "Stopping ...")
    shown = on_screen(file.getvalue())
    assert (shown.count("autoscaler demo"), shown.count("processes")) == (1, 1)
    assert [line for line in shown.splitlines() if line][-2:] == ["Explore it.", "Stopping ..."]


def test_a_line_that_is_said_leaves_the_view_as_it_was_drawn():
    file = io.StringIO()
    console = Console(file=file, width=80, height=40, force_terminal=True, legacy_windows=False)
    screen = LiveScreen(console)
    screen.open_view(transient=False)
    screen.show(STATUS, ["1 -> 2"], sent=4, done=1, seconds=1)
    screen.say("Uploaded [3] mails.")
    screen.close_view()
    shown = on_screen(file.getvalue())
    assert "Uploaded [3] mails." in shown
    assert re.findall(r"\[/?(?:bold)?\]", file.getvalue()) == []
    assert "hold because steady" in re.sub(r"\x1b\[[0-9;]*m", "", shown)


def test_no_number_of_a_mail_is_cut_at_80_columns():
    file = io.StringIO()
    names = ("mail_number", "document_type", "title", "sender", "size_bytes", "pages")
    row = (
        "MN-2023-021551",
        "email",
        "Reminder MN-2023-021551",
        "Sender 32 <sender32@example.org>",
        "3920",
        "1",
    )
    LiveScreen(Console(file=file, width=80)).table("Found 2", names, [row, row])
    lines = file.getvalue().splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert sum("│ MN-2023-021551 │" in line for line in lines) == 2
    assert len(lines) == 7, "each row is one line"
    assert re.findall(r"\w+", lines[2]) == list(names), "no column is cut off"
    assert {line[-1] for line in lines[1:]} <= set("┓┃┩│┘")
