"""``autoscaler healthcheck``: ask the daemon of this container for its health, without curl.

A kubelet gives a probe one second, of which importing Celery would take most: nothing here may import what
imports it, so the option is written out and does not come from the table of settings.
"""

from __future__ import annotations

import os

import click

from autoscaler.report.health import DEFAULT_LISTEN, ask, parse_listen
from autoscaler.report.mask import shown

_VARIABLE = "AUTOSCALER_LISTEN"


@click.command("healthcheck")
@click.option("--listen", help=f"HOST:PORT of the daemon [default: {DEFAULT_LISTEN}] [env: {_VARIABLE}]")
@click.option("--ready", is_flag=True, help="Ask /readyz instead of /livez.")
def command(*, listen: str | None, ready: bool) -> None:
    """Ask the daemon here for its health. Exits with 0 or 1; no curl is needed."""
    text = listen or os.environ.get(_VARIABLE) or DEFAULT_LISTEN
    try:
        host, port = parse_listen(text)
    except ValueError as fault:
        click.echo(f"autoscaler: {'--listen' if listen else _VARIABLE} is {shown(text)}; {fault}", err=True)
        raise SystemExit(2) from None
    healthy, answer = ask(host, port, ready=ready)
    click.echo(answer if healthy else f"autoscaler: {answer}", err=not healthy)
    raise SystemExit(0 if healthy else 1)
