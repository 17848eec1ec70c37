"""``autoscaler check``: reads what the daemon would read, and prints the findings on it."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from autoscaler.broker.bindings import find_bound_queues
from autoscaler.broker.errors import BrokerError, broker_errors
from autoscaler.broker.keys import Keys
from autoscaler.broker.mailboxes import find_mailbox_sets
from autoscaler.broker.overrides import OverrideError, read_override
from autoscaler.cli import deployment_findings as of_deployment
from autoscaler.cli import findings
from autoscaler.cli.compose import compose
from autoscaler.cli.options import GroupedCommand, with_settings
from autoscaler.cli.run import why_ignored
from autoscaler.report.log import clean
from autoscaler.settings import table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from autoscaler.cli.compose import App
    from autoscaler.cli.findings import Finding
    from autoscaler.settings.load import Settings


@click.command("check", cls=GroupedCommand)
@with_settings(table.ALL, logs=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def command(settings: Settings, *, as_json: bool) -> None:
    """Check the deployment and say what to do.

    Looks at Redis and its role, rights, settings, queues, workers, pools, companion and limits. Exits with 1
    where something would keep the autoscaler from working.
    """
    app = compose(settings, single_look=True)
    found = list(_examine(app))
    shown = clean([finding.as_dict() for finding in found], app.redactor)
    if as_json:
        click.echo(json.dumps({"findings": shown}, indent=2))
    else:
        for finding in shown:
            click.echo(f"{finding['level']:5} {finding['subject']}: {finding['found']}")
            if finding["advice"]:
                click.echo(f"      -> {finding['advice']}")
    raise SystemExit(1 if any(finding.level == "fail" for finding in found) else 0)


def _examine(app: App) -> Iterator[Finding]:
    """All findings. What depends on a part that failed is left out."""
    settings, url = app.settings, str(app.connections.url())
    yield from findings.variables(settings.unknown_variables)
    yield from findings.ignored(settings, why_ignored(settings))
    yield from of_deployment.url_options(app.connections.url())
    try:
        seen = app.backlog.read(())
    except BrokerError as fault:
        yield findings.unreachable(url, fault)
        return
    yield findings.Finding(level="ok", subject="redis", found=f"{url} answers")
    yield findings.rights(settings.name, _read_own_keys(app))
    try:
        reading = app.pools.read(seen.mailboxes, time.monotonic())
        consumed = {name for worker in reading.workers for name in worker.queues}
        named = {*settings.scope.queues, *settings.target_waits}
        queues = sorted(named | (consumed if not settings.scope.queues else set()))
        again = app.backlog.read(queues, reading.workers)
        depths = again.queues
    except BrokerError as fault:
        yield findings.uncontrollable(fault)
        return
    given = bool(settings.control_exchanges) and settings.fanout_prefix is not None
    yield from of_deployment.address(app.addresses.current, given=given)
    yield from findings.unread(again.faults)
    yield from findings.queue_names(settings, depths, consumed)
    yield from findings.queues(depths)
    yield from _unconsumed(app, {*queues, *consumed})
    yield from findings.worker_names(settings, [worker.name for worker in reading.workers])
    yield from findings.workers(reading, settings)
    known = reading if "mailboxes" not in seen.faults else replace(reading, unregistered=())
    yield from of_deployment.unlike(known, depths)
    yield from of_deployment.maxima(reading.workers, settings)
    if not reading.workers:
        yield from _search(app, again.mailboxes.difference(reading.beats))


def _unconsumed(app: App, known: Collection[str]) -> Iterator[Finding]:
    """Queues that hold tasks, that no worker consumes and that no setting names: a mistyped one, often.

    They are looked for where a search is granted. Without the right nothing is said: nothing depends on it.
    """
    if app.settings.scope.queues:
        return
    layout = app.settings.layout
    with suppress(BrokerError):
        others = find_bound_queues(app.connections.redis(), layout.prefix, layout.separator) - set(known)
        if others:
            yield from findings.unconsumed(app.backlog.read(sorted(others)).queues)


def _search(app: App, mailboxes: Collection[str]) -> Iterator[Finding]:
    """Where workers may be, when none answers."""
    try:
        sets = find_mailbox_sets(app.connections.redis())
        databases = app.connections.other_databases(lambda one: bool(find_mailbox_sets(one)))
    except BrokerError as fault:
        yield findings.Finding(
            level="warn",
            subject="search",
            found=f"where else workers may be could not be searched: {fault}",
            advice="grant the user +scan, +info and +select for this",
        )
        sets, databases = frozenset(), []
    yield from of_deployment.nobody(app.settings, mailboxes, sets, databases)


def _read_own_keys(app: App) -> Exception | None:
    try:
        redis, name = app.connections.redis(), app.settings.name
        read_override(redis, name)
        keys = Keys(name=name)
        with broker_errors():
            redis.get(keys.status)
            redis.get(keys.lease)
    except (BrokerError, OverrideError) as fault:
        return fault
    return None
