"""``autoscaler once``: one look by the daemon's own decider, printed; nothing is resized or written."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from autoscaler.cli import findings
from autoscaler.cli.compose import compose
from autoscaler.cli.options import GroupedCommand, fail, with_settings
from autoscaler.cli.run import why_ignored
from autoscaler.cli.text import columns, legend, or_unknown
from autoscaler.core.decider import Mode
from autoscaler.core.measure import waiting_for
from autoscaler.settings import table
from autoscaler.settings.load import Demand

if TYPE_CHECKING:
    from autoscaler.cli.compose import App
    from autoscaler.core.demand.fleet import Share
    from autoscaler.report.status import TickRecord
    from autoscaler.settings.load import Settings


@click.command("once", cls=GroupedCommand)
@with_settings(table.ALL)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def command(settings: Settings, *, as_json: bool) -> None:
    """Print what `run` would do now, and why. Nothing is resized or written.

    The delays of the thresholds are left out. What --target-wait learns over time is assumed, and the output
    says so.
    """
    if settings.ignored:
        click.echo(f"autoscaler: {', '.join(settings.ignored)}: no effect; {why_ignored(settings)}", err=True)
    policy = settings.policy.immediate()
    app = compose(replace(settings, policy=policy, mode=Mode.DRY_RUN), single_look=True)
    record = app.controller.look()
    if "backlog" in record.faults:
        fail([f"Redis cannot be read: {record.faults['backlog']}"], 1)
    if as_json:
        click.echo(
            json.dumps(app.controller.status() | {"not_learnt": not_learned(settings, record)}, indent=2)
        )
    else:
        click.echo(_table(record))
        if explained := legend(one.desired_reason for one in record.plan.decisions):
            click.echo(explained)
        for line in not_learned(settings, record):
            click.echo(f"Not learned yet: {line}")
        for line in held_first(settings, record):
            click.echo(line)
    missing = _missing(app, record)
    if "pool" in record.faults:
        missing.append(f"the workers cannot be asked: {record.faults['pool']}")
    elif not record.observation.workers:
        missing.append(
            "no worker answered; is one running on this Redis and database? autoscaler check says more"
        )
    if missing:
        fail(missing, 1)


def not_learned(settings: Settings, record: TickRecord) -> list[str]:
    """What the decision assumed because one look cannot know it, one line for each."""
    if settings.demand is Demand.THRESHOLDS:
        return []
    assumed = settings.target_wait.assumed_start_seconds
    found = ["how often tasks arrive; run learns it from tick to tick"]
    if any(group.service_seconds is None for group in record.plan.groups):
        found.append("how long a task runs; 1 s is assumed")
    if any(worker.start_seconds is None for worker in record.workers.values()):
        found.append(f"how long a process takes to start; {assumed:g} s is assumed")
    return found


def held_first(settings: Settings, record: TickRecord) -> list[str]:
    """That ``run`` shrinks a pool later than this one look would."""
    smaller = [
        one.worker
        for one in record.plan.decisions
        if one.current is not None and one.desired is not None and one.desired < one.current
    ]
    if not smaller:
        return []
    why = (
        "until the load was low for --scale-down-delay and --stabilization-window"
        if settings.demand is Demand.THRESHOLDS
        else "while an idle process is cheaper than to start another one later (--start-worth)"
    )
    return [f"A fresh run holds first: it keeps the size of {', '.join(smaller)} {why}, and shrinks then."]


def _missing(app: App, record: TickRecord) -> list[str]:
    """The queues and workers that the settings name and nobody has."""
    settings, workers = app.settings, record.observation.workers
    consumed = {name for worker in workers for name in worker.queues}
    seen = list(record.observation.queues)
    unread = set(settings.target_waits) - {queue.name for queue in seen}
    seen += app.backlog.read(sorted(unread)).queues if unread else ()
    found = findings.queue_names(settings, seen, consumed)
    found += findings.worker_names(settings, [worker.name for worker in workers])
    return [f"{finding.subject}: {finding.found}; {finding.advice}" for finding in found]


def _table(record: TickRecord) -> str:
    rows = [
        ("WORKER", "QUEUES", "WAITING", "RESERVED", "BUSY", "CARRIES", "PROCESSES", "WOULD BE", "BECAUSE")
    ]
    shares = {share.worker: share for group in record.plan.groups for share in group.shares}
    queues = {queue.name: queue for queue in record.observation.queues}
    for decision in record.plan.decisions:
        reading = record.workers.get(decision.worker)
        rows.append(
            (
                decision.worker,
                ",".join(reading.queues) if reading else "?",
                or_unknown(waiting_for(reading, queues) if reading else None),
                or_unknown(reading.reserved if reading else None),
                or_unknown(reading.busy if reading else None),
                _carried(shares.get(decision.worker)),
                or_unknown(decision.current),
                or_unknown(decision.desired),
                str(decision.desired_reason),
            )
        )
    return columns(rows)


def _carried(share: Share | None) -> str:
    """What of the recommended growth a worker takes over: for its own tasks, and for shared queues."""
    if share is None or not (share.own or share.shared):
        return "-"
    parts = ((share.own, "own"), (share.shared, "shared"))
    return " ".join(f"+{processes} {what}" for processes, what in parts if processes)
