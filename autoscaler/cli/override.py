"""``autoscaler pause | resume | hold | limits``: what administrators ask of a running daemon.

They change the override key, on the same validation as everybody who reads or writes it. The daemon follows
from its next tick on. A name that no daemon reports, or a worker that its status does not have, is refused
before anything is written; ``--force`` writes it nevertheless, for a daemon or worker that starts later.
"""

from __future__ import annotations

import getpass
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from redis.exceptions import NoPermissionError

from autoscaler.broker import override_changes as changes
from autoscaler.broker.connections import Connections, Redactor
from autoscaler.broker.errors import BrokerError, joined
from autoscaler.broker.keys import Keys, read_status
from autoscaler.broker.overrides import NEVER, OverrideError, read_override
from autoscaler.cli.options import Parsed, fail, with_settings
from autoscaler.cli.text import existing, moment
from autoscaler.core.policy import MAX_PROCESSES
from autoscaler.settings import table
from autoscaler.settings.parse import parse_name, parse_span, parse_worker, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from autoscaler.broker.overrides import OverrideRequest
    from autoscaler.settings.load import Settings

#: Where the daemon's keys are; in a sidecar, the worker's variable names the daemon too.
SETTINGS = (*table.REDIS, *table.pick(table.SCOPE, "name"))
WORKER = table.pick(table.SCOPE, "worker")


def _parse_duration(text: str) -> float:
    seconds = parse_span(text)
    if seconds < 1:
        raise ValueError("it must be 1s or longer")
    return seconds


def _parse_bound(text: str) -> int | None:
    return None if text.lower() == "none" else whole(1, MAX_PROCESSES, "processes, or none")(text)


_FOR = click.option(
    "--for",
    "seconds",
    type=Parsed(_parse_duration, "duration"),
    help="How long, as in 30m or 7d. Without it: until it is ended.",
)
_BY = click.option("--by", type=Parsed(parse_name), help="Who asks for it [default: the user's name].")
_WHY = click.option("--why", type=Parsed(parse_name), help="The reason, for the log and the status.")
_FORCE = click.option(
    "--force", is_flag=True, help="Also where no daemon of this name, or no such worker, has reported."
)


@click.command("pause")
@with_settings(SETTINGS, hidden=WORKER)
@_FOR
@_BY
@_WHY
@_FORCE
def pause(settings: Settings, *, seconds: float | None, by: str | None, why: str | None, force: bool) -> None:
    """Stop a daemon from resizing. It lasts until `resume`, or --for a time; limits and holds remain."""
    now = time.time()
    _apply(settings, changes.pause(_end(now, seconds), by or _user(), why), now, force=force)


@click.command("resume")
@with_settings(SETTINGS, hidden=WORKER)
@click.argument("workers", nargs=-1, type=Parsed(parse_worker), metavar="[WORKER]...")
def resume(settings: Settings, *, workers: tuple[str, ...]) -> None:
    """End a pause, or the holds of the named workers."""
    held: set[str] = set()

    def release(before: OverrideRequest) -> OverrideRequest:
        held.clear()
        held.update(before.hold_until)
        return changes.release(workers)(before)

    _apply(settings, release if workers else changes.resume, time.time(), force=True)
    for worker in workers:
        if worker not in held:
            click.echo(f"autoscaler: {worker} was not held; nothing to end", err=True)


@click.command("hold")
@with_settings(SETTINGS, hidden=WORKER)
@click.argument("workers", nargs=-1, required=True, type=Parsed(parse_worker), metavar="WORKER...")
@click.option(
    "--for",
    "seconds",
    type=Parsed(_parse_duration, "duration"),
    default="30m",
    show_default=True,
    help="How long, as in 30m or 7d.",
)
@_BY
@_WHY
@_FORCE
def hold(
    settings: Settings,
    *,
    workers: tuple[str, ...],
    seconds: float,
    by: str | None,
    why: str | None,
    force: bool,
) -> None:
    """Leave workers at their size for a time. `resume WORKER` ends it earlier."""
    now = time.time()
    change = changes.hold(workers, now + seconds, by or _user(), why)
    _apply(settings, change, now, workers=workers, force=force)


@click.command("limits")
@with_settings(SETTINGS, hidden=WORKER)
@click.option(
    "--min",
    "min_processes",
    type=Parsed(_parse_bound, "processes"),
    help="Minimum processes of each worker; none: that of the daemon's own settings.",
)
@click.option(
    "--max",
    "max_processes",
    type=Parsed(_parse_bound, "processes"),
    help="Maximum processes of each worker; none: that of the daemon's own settings.",
)
@_FOR
@_BY
@_WHY
@_FORCE
@click.pass_context
def limits(
    ctx: click.Context,
    /,
    settings: Settings,
    *,
    seconds: float | None,
    by: str | None,
    why: str | None,
    force: bool,
    **bounds: int | None,
) -> None:
    """Set min and max of a daemon. They last until they are removed, or --for a time.

    The limits of the container still hold.
    """
    default = click.core.ParameterSource.DEFAULT
    given = {name: size for name, size in bounds.items() if ctx.get_parameter_source(name) is not default}
    if not given:
        fail(["give --min, --max or both; --max none removes one"], 2)
    low, high = given.get("min_processes"), given.get("max_processes")
    if low is not None and high is not None and low > high:
        fail([f"--min is {low}, above --max, {high}"], 2)
    now = time.time()
    _apply(settings, changes.limit(given, _end(now, seconds), by or _user(), why), now, force=force)


def _end(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return f"uid {os.getuid()}"


def _apply(
    settings: Settings,
    change: Callable[[OverrideRequest], OverrideRequest],
    now: float,
    *,
    workers: Sequence[str] = (),
    force: bool,
) -> None:
    """Store the change and print what is in force then; ``workers`` are those that it names."""
    redactor = Redactor()
    connections = Connections(settings.read_redis_url, settings.tuning, redactor)
    try:
        connections.url()
        redis: Any = connections.redis()
        status = read_status(redis, settings.name)
        unknown = _unknown(settings.name, status, workers)
        if unknown and not force:
            advice = "nothing was changed (--force does it nevertheless)"
            fail([joined(line, advice) for line in unknown], 1)
        request = changes.change_override(redis, settings.name, change, now=now)
    except OverrideError as fault:
        fail([_unchanged(redis, settings.name, fault)], 1)
    except BrokerError as fault:
        said = fault.with_advice()
        if isinstance(fault.__cause__, NoPermissionError):
            advice = "the daemon's own user only reads overrides; give the URL of one that may write them"
            said = joined(str(fault), advice)
        fail([redactor(f"Redis failed: {said}")], 1)
    for line in described(request):
        click.echo(line)
    for line in unknown:
        click.echo(f"autoscaler: {line}", err=True)


def _unchanged(redis: Any, name: str, fault: OverrideError) -> str:
    """What is not legal: what is stored, which has to be corrected first, or what it would become."""
    line = f"{fault}; nothing was changed"
    with suppress(BrokerError):
        try:
            read_override(redis, name)
        except OverrideError:
            return f"{line}; correct or delete the Redis key {Keys(name=name).override}"
    return line


def _unknown(name: str, status: Mapping[str, Any] | None, workers: Sequence[str]) -> list[str]:
    """One line for the daemon that has not reported, or for each worker that its status does not have."""
    if status is None:
        return [f"no daemon named {name} has reported lately; is --name right?"]
    known = {str(one.get("worker")) for one in status.get("workers", ())} | set(
        status.get("unresponsive", ())
    )
    return [
        f"no worker {worker}; {existing('workers that exist', worker, known)}"
        for worker in workers
        if worker not in known
    ]


def described(request: OverrideRequest) -> list[str]:
    """What an override asks for, one line for each part in force."""
    until = "until it is resumed" if request.expires_at is None else f"until {moment(request.expires_at)}"
    lines = [f"paused {until}"] if request.paused else []
    if request.has_limits:
        bounds = {"min": request.min_processes, "max": request.max_processes}
        given = ", ".join(f"{name} {size}" for name, size in bounds.items() if size is not None)
        end = request.limits_end or NEVER
        lines.append(f"limits: {given}" + (f" until {moment(end)}" if end < NEVER else ""))
    held = [f"{name} held until {moment(end)}" for name, end in sorted(request.hold_until.items())]
    if not lines and not held:
        return ["no override in force"]
    reason = ": ".join(part for part in (request.by, request.why) if part)
    named = [f"by {reason}"] if reason else []
    # Whose it is: of the first of a pause, limits and holds.
    return [*lines[:1], *named, *lines[1:], *held] if lines else [*held, *named]
