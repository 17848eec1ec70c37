"""``autoscaler demo``: see :mod:`autoscaler.demo`."""

from __future__ import annotations

import sys

import click

from autoscaler.cli.options import Parsed, fail, missing_extra
from autoscaler.cli.running import until_signalled
from autoscaler.settings.parse import number


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
    with until_signalled(*play.interrupted_by()) as stop:
        try:
            summary = play.run_demo(seconds=seconds, as_json=as_json, keep=stays, stop=stop)
        except (play.EmbeddedError, play.InterruptedDemoError) as fault:
            fail([str(fault)], 1)
    raise SystemExit(0 if play.succeeded(summary) else 1)
