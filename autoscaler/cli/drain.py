"""``autoscaler drain``: take workers out of service."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from autoscaler.broker.errors import BrokerError
from autoscaler.cli.compose import compose
from autoscaler.cli.options import Parsed, fail, with_settings
from autoscaler.cli.running import until_signalled
from autoscaler.control.drain import Drain, DrainError, Phase
from autoscaler.core.groups import Scope
from autoscaler.settings import table
from autoscaler.settings.parse import number, parse_worker

if TYPE_CHECKING:
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
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
def command(
    settings: Settings, *, workers: tuple[str, ...], deadline: float, force: bool, as_json: bool
) -> None:
    """Take workers out of service. No task is lost, none runs twice.

    Their consumers are cancelled, the tasks they run and hold are waited for, then they are shut down. A
    worker that is not empty by the deadline consumes again and stays; the exit code is 1 then.
    """
    app = compose(replace(settings, scope=Scope(workers=frozenset(workers))))
    try:
        with until_signalled(signal.SIGTERM, signal.SIGINT) as stop:
            draining = Drain(
                app.remote,
                app.consumers("drain"),
                app.read_workers,
                on_progress=_report,
                mailboxes=app.mailboxes,
                wait=stop.wait,
                stopped=stop.is_set,
            )
            ended = draining.run(workers, deadline_seconds=deadline, force=force)
    except DrainError as fault:
        fail([str(fault)], 1)
    except BrokerError as fault:
        advice = "the consumers cancelled so far are recorded, and a daemon restores them"
        fail([app.redactor(f"Redis failed: {fault}; {advice}")], 1)
    if as_json:
        click.echo(json.dumps([asdict(progress) for progress in ended]))
    raise SystemExit(0 if all(progress.phase is Phase.DRAINED for progress in ended) else 1)


def _report(progress: Progress) -> None:
    reserved = "?" if progress.reserved is None else progress.reserved
    held = "" if progress.busy is None else f", {progress.busy} running, {reserved} fetched"
    click.echo(f"{progress.worker}: {progress.phase}{held}", err=True)
