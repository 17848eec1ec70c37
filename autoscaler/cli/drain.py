"""``autoscaler drain``: take workers out of service."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from autoscaler.broker.errors import BrokerError, joined
from autoscaler.cli.compose import compose
from autoscaler.cli.options import Parsed, fail, with_settings
from autoscaler.cli.running import until_signalled
from autoscaler.cli.text import moment
from autoscaler.control.drain import OWNER as DRAIN
from autoscaler.control.drain import Drain, DrainError, Phase
from autoscaler.core.groups import Scope
from autoscaler.settings import table
from autoscaler.settings.parse import number, parse_worker

if TYPE_CHECKING:
    from autoscaler.cli.compose import App
    from autoscaler.control.drain import Progress
    from autoscaler.settings.load import Settings

_SETTINGS = (*table.REDIS, *table.pick(table.SCOPE, "inspect_timeout"))


@click.command("drain")
@with_settings(_SETTINGS)
@click.argument("workers", nargs=-1, required=True, type=Parsed(parse_worker), metavar="WORKER...")
@click.option(
    "--deadline", type=Parsed(number(1, 86400)), default=300.0, show_default=True, help="In seconds."
)
@click.option("--force", is_flag=True, help="Even where a queue is left without a worker.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON list on the last line, an object for each worker."
)
def command(
    settings: Settings, *, workers: tuple[str, ...], deadline: float, force: bool, as_json: bool
) -> None:
    """Take workers out of service. No task is lost, none runs twice.

    Their consumers are cancelled, the tasks they run and hold are waited for, then they are shut down. A
    worker that is not empty by the deadline consumes again and stays; the exit code is 1 then.
    """
    app = compose(replace(settings, scope=Scope(workers=frozenset(workers))))
    begun: set[str] = set()

    def report(progress: Progress) -> None:
        begun.add(progress.worker)
        _report(progress)

    try:
        with until_signalled(signal.SIGTERM, signal.SIGINT) as stop:
            draining = Drain(
                app.remote,
                app.consumers(DRAIN),
                app.read_workers,
                on_progress=report,
                on_fault=_Faults(app),
                # A file of the URL may have the new password in a moment.
                is_final=lambda fault: fault.permanent and "redis_url_file" not in settings.sources,
                mailboxes=app.mailboxes,
                wait=stop.wait,
                stopped=stop.is_set,
            )
            ended = draining.run(workers, deadline_seconds=deadline, force=force)
    except DrainError as fault:
        fail([fault.with_advice("use --force")], 1)
    except BrokerError as fault:
        recorded = "the consumers cancelled so far are recorded, and a daemon restores them" if begun else ""
        fail([app.redactor(f"Redis failed: {joined(fault.with_advice(), recorded)}")], 1)
    if as_json:
        wall = time.time() - time.monotonic()
        shown = [
            asdict(one) | {"since": round(wall + one.since, 3), "since_time": moment(wall + one.since)}
            for one in ended
        ]
        click.echo(json.dumps(shown))
    raise SystemExit(0 if all(progress.phase is Phase.DRAINED for progress in ended) else 1)


class _Faults:
    """Says each fault of the broker once, and when it is over; the URL is read again after each."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._said = ""

    def __call__(self, fault: BrokerError | None) -> None:
        """Take in what one look met, None where the broker answered."""
        if fault is not None:
            self._app.connections.reset()
        line = "" if fault is None else joined(fault.with_advice(), "tried again until the deadline")
        before, self._said = self._said, line
        if line != before:
            said = f"Redis failed: {line}" if line else "Redis answers again"
            click.echo(self._app.redactor(f"autoscaler: {said}"), err=True)


def _report(progress: Progress) -> None:
    reserved = "?" if progress.reserved is None else progress.reserved
    held = "" if progress.busy is None else f", {progress.busy} running, {reserved} fetched"
    click.echo(f"{progress.worker}: {progress.phase}{held}", err=True)
