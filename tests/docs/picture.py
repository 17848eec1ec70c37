"""Draws ``docs/demo.svg`` from a run of the demo: ``uv run python -m tests.docs.picture``, about a minute.

The demo runs on a pseudo-terminal. Of all the frames that its live view drew, the last one before the pool
first shrank is the picture: the burst, the growth and the reasons are all in it. Nothing is drawn by hand.
"""

from __future__ import annotations

import io
import os
import pty
import re
import struct
import sys
from fcntl import ioctl
from pathlib import Path
from subprocess import Popen
from termios import TIOCSWINSZ

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parents[2] / "docs" / "demo.svg"
WIDTH = 80
_PROCESSES = re.compile(r"processes\s+(?:\x1b\[[0-9;]*m)*\s*(\d+)")
_TITLE = "uv run autoscaler demo"
#: rich's own frame, without its web font: the picture must not need the network.
_FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>A terminal that runs: {command}</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def record(*command: str) -> str:
    """What a command wrote on a terminal of :data:`WIDTH` columns, escape sequences included."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    with Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        written = bytearray()
        try:
            while part := os.read(ours, 65536):
                written += part
        except OSError:  # Linux's way to say that the other end is closed
            pass
        os.close(ours)
    if process.returncode:
        raise SystemExit(f"the demo ended with exit code {process.returncode}:\n{written.decode()[-2000:]}")
    return written.decode(errors="replace")


def frames(written: str) -> list[str]:
    """The frames of the live view in the order they were drawn, colours kept, cursor movements removed."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-ln-z]", "", written).replace("\r", "")
    found = re.findall(r"(?:\x1b\[[0-9;]*m)*╭─ autoscaler demo.*?╯", text, flags=re.DOTALL)
    return [frame for frame in found if frame.count("╭") == 1]


def chosen(drawn: list[str]) -> str:
    """The last frame before the first shrink, or the last one of all where none shrank."""
    sized = [(int(match[1]), frame) for frame in drawn if (match := _PROCESSES.search(frame))]
    if not sized:
        raise SystemExit("the live view shows no number of processes any more; look at tests/docs/picture.py")
    sizes = [size for size, _ in sized]
    peak = sizes.index(max(sizes))
    after = next((at for at in range(peak, len(sizes)) if sizes[at] < sizes[peak]), len(sizes))
    return sized[after - 1][1]


def drawing(written: str) -> str:
    """The picture of a run that wrote this."""
    frame = chosen(frames(written))
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {_TITLE}"))
    console.print(Text.from_ansi(frame))
    code = _FORMAT.replace("{command}", _TITLE)
    svg = console.export_svg(title=_TITLE, code_format=code, unique_id="demo")
    return "".join(f"{line.rstrip()}\n" for line in svg.splitlines())


def main() -> None:
    """Run the demo and write the picture."""
    PICTURE.write_text(drawing(record(sys.executable, "-m", "autoscaler", "demo", "--no-keep")))


if __name__ == "__main__":
    main()
