"""``autoscaler check-worker``: a liveness probe for one worker.

It asks the worker as the daemon does and sends no task. A worker that runs or holds a task is alive. A broker
that does not answer is not the worker's fault: a restart would fix nothing, so the probe passes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from autoscaler.broker.errors import BrokerError
from autoscaler.cli.compose import compose
from autoscaler.cli.options import with_settings
from autoscaler.cli.text import existing
from autoscaler.core.blockage import fetches_no_more
from autoscaler.sensors.workers import ask
from autoscaler.settings import table

if TYPE_CHECKING:
    from autoscaler.cli.compose import App
    from autoscaler.core.model import WorkerReading
    from autoscaler.settings.load import Settings

NO_ANSWER = "does not answer"
_LOOK_EVERY_SECONDS = 1.0


@click.command("check-worker")
@click.argument("worker_name", metavar="NAME")
@click.option(
    "--within",
    "within_seconds",
    type=click.FloatRange(1, 3600),
    default=20.0,
    show_default=True,
    help="Seconds in which an idle worker with messages in its queues has to take one.",
)
@with_settings(table.ALL)
def command(settings: Settings, *, worker_name: str, within_seconds: float) -> None:
    """Probe one worker: it answers, consumes and takes messages.

    An idle worker with messages in its queues has to take one in time. Exits with 0 where it is alive or the
    broker cannot be reached, and with 1 where the worker is to be restarted.
    """
    app = compose(settings, single_look=True)
    try:
        fault = _watch(app, worker_name, within_seconds)
        others = app.mailboxes() if fault == NO_ANSWER else None
    except BrokerError as error:
        click.echo(app.redactor(f"not known: Redis failed: {error.with_advice()}"))
        return
    if fault is not None:
        known = ""
        if others is not None and worker_name not in others:
            known = f"; {existing('workers that exist', worker_name, others)}"
        click.echo(f"autoscaler: {worker_name} {fault}{known}", err=True)
        raise SystemExit(1)
    click.echo(f"{worker_name} is alive")


def _watch(app: App, name: str, within_seconds: float) -> str | None:
    """What is wrong with the worker after as many looks as it takes, or None."""
    deadline = time.monotonic() + within_seconds
    first: WorkerReading | None = None
    app.locator.roll_call([name])  # it may listen elsewhere
    while True:
        found = ask(app.remote, [name])
        reading = found[0] if found else None
        queues = () if reading is None else reading.queues
        seen = app.backlog.read(queues, found).queues
        fault = fault_of(reading, sum(queue.waiting or 0 for queue in seen), first)
        if fault is None or time.monotonic() >= deadline:
            return fault
        first = first or reading
        time.sleep(_LOOK_EVERY_SECONDS)


def fault_of(reading: WorkerReading | None, waiting: int, first: WorkerReading | None = None) -> str | None:
    """What is wrong with a worker at this look, None where it is alive.

    ``waiting`` are the messages in its queues, ``first`` is what it reported at the first look.
    """
    if reading is None:
        return NO_ANSWER
    if reading.busy or reading.reserved or reading.rate_limited or fetches_no_more(reading):
        return None
    if not reading.queues_known or (first is not None and _has_ended_a_task(first, reading)):
        return None
    if not reading.queues or reading.consuming is False:
        return "consumes no queue"
    return f"takes none of the {waiting} messages that wait" if waiting else None


def _has_ended_a_task(first: WorkerReading, now: WorkerReading) -> bool:
    return None not in {first.completed, now.completed} and first.completed != now.completed
