"""``autoscaler status | events``: what a running daemon last reported to Redis."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from autoscaler.broker.connections import Connections, Redactor
from autoscaler.broker.errors import BrokerError, broker_errors
from autoscaler.broker.keys import Keys, read_status
from autoscaler.broker.overrides import OverrideError, read_override
from autoscaler.cli.options import Parsed, fail, with_settings
from autoscaler.cli.override import SETTINGS, WORKER, described
from autoscaler.cli.text import columns, legend, moment, or_unknown
from autoscaler.settings.parse import whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from autoscaler.settings.load import Settings

NOBODY = "no daemon named {name} has reported lately; is one running, and --name right?"
_JSON = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")


def read_or_fail(settings: Settings, read: Callable[[Any], Any]) -> Any:
    """What ``read`` returns for the client; ends the command where Redis fails."""
    redactor = Redactor()
    connections = Connections(settings.read_redis_url, settings.tuning, redactor)
    try:
        connections.url()
        with broker_errors():
            return read(connections.redis())
    except OverrideError as fault:
        why = str(fault).removeprefix("override: ")
        return [f"{why}; correct or delete the Redis key {Keys(name=settings.name).override}"]
    except BrokerError as fault:
        fail([redactor(f"Redis failed: {fault.with_advice()}")], 1)


@click.command("status")
@with_settings(SETTINGS, hidden=WORKER)
@_JSON
def status(settings: Settings, *, as_json: bool) -> None:
    """Print the last tick of a daemon. The override in force is printed with it."""
    found = read_or_fail(settings, lambda redis: read_status(redis, settings.name))
    if found is None:
        fail([NOBODY.format(name=settings.name)], 1)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    now = time.time()
    override = read_or_fail(
        settings, lambda redis: described(read_override(redis, settings.name).in_force(now))
    )
    role = "leader" if found.get("leader") else "standby"
    age = max(0.0, now - (found.get("at") or now))
    click.echo(f"{found.get('name')}: mode {found.get('mode')}, {role}, last tick {age:.0f} s ago")
    click.echo("\n".join(f"override: {line}" for line in override))
    click.echo(_groups(found))
    click.echo(_workers(found))
    decided = found.get("decisions", ())
    if explained := legend(one.get(key) for one in decided for key in ("reason", "desired_reason")):
        click.echo(explained)
    known = {one.get("worker") for one in found.get("workers", ())}
    for worker in found.get("unresponsive", ()):
        shown = "what is shown of it is its last report" if worker in known else "nothing is known of it"
        click.echo(f"{worker} does not answer; {shown}")
    for part, fault in found.get("faults", {}).items():
        click.echo(f"{part}: {fault}")


def _groups(found: dict[str, Any]) -> str:
    rows = [("QUEUES", "WAITING", "RESERVED", "RUNNING", "PROCESSES")]
    for group in found.get("groups", ()):
        counts = (group.get(key) for key in ("waiting", "reserved", "running", "processes"))
        queues = ",".join(group.get("queues", ())) or f"none ({','.join(group.get('workers', ()))})"
        rows.append((queues, *map(or_unknown, counts)))  # type: ignore[arg-type]
    return columns(rows)


def _workers(found: dict[str, Any]) -> str:
    rows = [("WORKER", "PROCESSES", "DESIRED", "ACTION", "REASON")]
    for decision in found.get("decisions", ()):
        desired = decision.get("desired", decision.get("wanted"))
        values = (decision.get("worker"), decision.get("current"), desired)
        rows.append((*map(or_unknown, values), decision.get("action", "?"), _reason(decision)))
    return columns(rows)


def _reason(decision: dict[str, Any]) -> str:
    """Why this is done now and, where something keeps the resize from happening, why it was wanted."""
    now, desired = decision.get("reason", "?"), decision.get("desired_reason", decision.get("cause"))
    return now if desired in {now, None} else f"{now} ({desired})"


@click.command("events")
@with_settings(SETTINGS, hidden=WORKER)
@click.option(
    "--count",
    type=Parsed(whole(1, 1000, "events")),
    default=20,
    show_default=True,
    help="Number of events, the newest last.",
)
@_JSON
def events(settings: Settings, *, count: int, as_json: bool) -> None:
    """Print the last resizes of a daemon."""
    stored = read_or_fail(
        settings, lambda redis: redis.xrevrange(Keys(name=settings.name).events, count=count)
    )
    found = [
        {key.decode(): value.decode(errors="replace") for key, value in fields.items()}
        for _, fields in reversed(stored)
    ]
    if not found and read_or_fail(settings, lambda redis: read_status(redis, settings.name)) is None:
        click.echo(f"autoscaler: {NOBODY.format(name=settings.name)}", err=True)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [("AT", "WORKER", "CHANGE", "RESULT", "REASON", "DETAIL")]
    for event in found:
        change = f"{event.get('before') or '?'} -> {event.get('target') or '?'}"
        names = ("worker", "result", "reason", "detail")
        worker, result, reason, detail = (event.get(name, "") for name in names)
        rows.append((moment(float(event.get("at") or 0)), worker, change, result, reason, detail))
    click.echo(columns(rows) if found else "no event yet")
