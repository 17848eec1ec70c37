"""``autoscaler demo``: see :mod:`autoscaler.demo`."""

from __future__ import annotations

import os
import sys
import webbrowser
from threading import Thread
from typing import TYPE_CHECKING

import click

from autoscaler.cli.options import Parsed, fail, missing_extra
from autoscaler.cli.running import until_signalled
from autoscaler.settings.parse import number

if TYPE_CHECKING:
    from collections.abc import Callable


@click.command("demo")
@click.option(
    "--seconds",
    type=Parsed(number(5, 3600)),
    default=60.0,
    show_default=True,
    help="Maximum length of the run.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
@click.option(
    "--keep/--no-keep",
    default=None,
    help="Leave everything running afterwards, until Ctrl-C. By default on a terminal.",
)
def command(*, seconds: float, as_json: bool, keep: bool | None) -> None:
    """Watch a real worker grow and shrink. Needs the extra demo."""
    stays = sys.stdout.isatty() and not as_json if keep is None else keep
    try:
        from autoscaler.demo import play  # noqa: PLC0415 - its servers are an extra of their own
    except ImportError as fault:
        fail([missing_extra(str(fault.name), "demo")], 1)
    opener = None if as_json else page_opener()
    with until_signalled(*play.interrupted_by()) as stop:
        try:
            summary = play.run_demo(seconds=seconds, as_json=as_json, keep=stays, stop=stop, opener=opener)
        except (play.EmbeddedError, play.InterruptedDemoError) as fault:
            fail([str(fault)], 1)
    raise SystemExit(0 if play.succeeded(summary) else 1)


def page_opener() -> Callable[[str], None] | None:
    """What opens an address in the browser once Enter is pressed; None where there is no desktop."""
    desktop = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not desktop or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None

    def open_page(url: str) -> None:
        Thread(target=lambda: sys.stdin.readline() and webbrowser.open(url), daemon=True).start()

    return open_page
