"""``autoscaler run``: the daemon."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from ipaddress import ip_address
from threading import Thread
from typing import TYPE_CHECKING, Any

import click

from autoscaler import __version__
from autoscaler.cli.compose import compose
from autoscaler.cli.options import GroupedCommand, unknown_variables, with_settings
from autoscaler.cli.running import OutOfTimeError, serve_pages, until_signalled
from autoscaler.core.decider import Mode
from autoscaler.report.live import live
from autoscaler.report.log import clean
from autoscaler.report.page import Site
from autoscaler.report.streams import Streams
from autoscaler.report.traces import traces_fault
from autoscaler.report.web import Pages, page_failures
from autoscaler.sensors.aside import wait_for_threads
from autoscaler.settings import table
from autoscaler.settings.load import Demand

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event

    from autoscaler.cli.compose import App
    from autoscaler.settings.load import Settings


#: How long the last tick may go on after a signal, and then what runs aside of it, and traces. With the end
#: of the process that is less than 5 s, whatever Redis does.
_END_SECONDS, _ASIDE_SECONDS, _TRACES_SECONDS = 3.0, 0.5, 0.5
#: So many new values, or seconds, may leave garbage in circles before one looks for it. Each so many looks
#: one looks at all that was made since the start.
_COLLECT_AFTER_VALUES, _COLLECT_SECONDS, _COLLECT_ALL_EACH = 10_000, 10.0, 30
#: So many values for each worker, where that is more: a tick makes some of them anew and lets the old ones go
#: at its end. Ten times as many values whatever the fleet would cost each small sidecar 0.7 MiB.
_COLLECT_AFTER_VALUES_EACH = 100


@click.command("run", cls=GroupedCommand)
@with_settings(table.ALL, logs=True)
def command(settings: Settings) -> None:
    """Run the daemon. It ticks until SIGTERM or SIGINT."""
    app = compose(settings, daemon=True)
    streams = Streams(partial(_live, app))
    app.recorder.watchers.append(streams)
    pages = Pages(
        live=app.controller.live,
        ready=app.controller.ready,
        status=app.controller.status,
        registry=app.metrics.registry,
        failed=page_failures(app.log, app.metrics.registry),
        site=Site(history=partial(_seen, app), streams=streams, base_path=settings.base_path),
    )
    collect_less()
    ends = until_signalled(signal.SIGTERM, signal.SIGINT, within_seconds=_END_SECONDS)
    with _cut_short(app), ExitStack() as stack, ends as stop:
        bound = serve_pages(stack, pages, settings.listen)
        app.log.info(
            "daemon.started",
            version=__version__,
            name=settings.name,
            mode=settings.mode,
            **described(settings),
            redis=str(app.connections.url()),
            url_options_ignored=list(app.connections.url().ignored_options),
            workers=sorted(settings.scope.workers) or "all",
            queues=sorted(settings.scope.queues) or "all",
            listen=bound,
            pages_open_to=open_to(settings.listen[0]),
        )
        for line in unknown_variables(settings):
            app.log.warning("settings.unknown_variable", why=line)
        if settings.ignored:
            app.log.warning("settings.ignored", settings=list(settings.ignored), why=why_ignored(settings))
        if why := traces_fault(os.environ):
            app.log.warning("traces.off", why=why)
        app.recorder.start()
        Thread(target=_collect, args=(stop, app), name="collect", daemon=True).start()
        app.controller.run(stop)
        app.recorder.close()
    wait_for_threads(_ASIDE_SECONDS)
    app.traces.close(within_seconds=_TRACES_SECONDS)
    dry = {"would_have_resized": app.controller.would_have_resized} if settings.mode is Mode.DRY_RUN else {}
    app.log.info("daemon.stopped", **dry)


def collect_less() -> None:
    """Look for garbage in circles less often, and never again at what was imported.

    A tick over a large fleet makes tens of thousands of values and hardly a circle: to look for one took some
    7 % of the tick.
    """
    gc.collect()
    gc.freeze()
    collect_after_ticks(0)


def collect_after_ticks(workers: int) -> None:
    """Look for garbage so seldom that none is looked for within a tick over so many workers.

    It took a twelfth of a decision over a thousand of them, which frees its values without.
    """
    gc.set_threshold(max(_COLLECT_AFTER_VALUES, _COLLECT_AFTER_VALUES_EACH * workers))


def _collect(stop: Event, app: App) -> None:
    """Look at new values now and then: closed connections are few, and keep large buffers in circles.

    At older ones more seldom: hardly anything that outlives a look ends up in a circle.
    """
    looks = itertools.count(1)
    while not stop.wait(_COLLECT_SECONDS):
        gc.collect(2 if next(looks) % _COLLECT_ALL_EACH == 0 else 1)
        last = app.controller.last
        collect_after_ticks(len(last.workers) if last else 0)


@contextmanager
def _cut_short(app: App) -> Iterator[None]:
    """Say that the last tick did not end in time. What it sent may still happen, as after a kill."""
    try:
        yield
    except OutOfTimeError:
        app.log.warning(
            "daemon.cut_short", after_seconds=_END_SECONDS, why="Redis or a worker did not answer"
        )


def _live(app: App) -> dict[str, Any] | None:
    """The last tick as the page shows it, secrets taken out; None before the first."""
    record, settings = app.controller.last, app.settings
    if record is None:
        return None
    shown = live(
        record,
        app.history,
        name=settings.name,
        mode=settings.mode,
        interval_seconds=settings.interval_seconds,
    )
    cleaned: dict[str, Any] = clean(shown, app.redactor)
    return cleaned


def _seen(app: App, span_seconds: float, group: str) -> dict[str, Any] | None:
    """The history of a span and a group, None where there is no such group."""
    return app.history.view(span_seconds, time.time(), group)


def described(settings: Settings) -> dict[str, Any]:
    """The policy that will decide, in a few fields: what decides, the bounds with their sources, the pace."""
    policy = settings.policy
    deciding: dict[str, Any] = {"demand": settings.demand, "target_wait_seconds": None}
    if settings.deciding is not None:
        deciding["target_wait_seconds"] = settings.deciding.target_wait_seconds
    else:
        deciding["scale_up_threshold"] = policy.scale_up_threshold
        deciding["scale_down_threshold"] = policy.scale_down_threshold
    if settings.shadow is not None:
        deciding["shadow_target_wait_seconds"] = settings.shadow.target_wait_seconds
    if settings.target_waits:
        deciding["target_waits"] = dict(settings.target_waits)
    return deciding | {
        "min": policy.min_processes,
        "min_from": settings.sources.get("min", "default"),
        "max": "auto" if policy.max_processes is None else policy.max_processes,
        "max_from": settings.sources.get("max", "default"),
        "interval_seconds": settings.interval_seconds,
        "ignored": list(settings.ignored),
    }


def open_to(host: str) -> str:
    """Who can read the pages at this address, which ask for no login."""
    name = host.strip("[]")
    if name == "localhost":
        return "this host only"
    try:
        address = ip_address(name)
    except ValueError:
        return f"everyone who can reach {host}"
    if address.is_loopback:
        return "this host only"
    if address.is_unspecified:
        return "everyone who can reach this host; --listen 127.0.0.1:9809 keeps them to this host"
    return f"everyone who can reach {host}"


def why_ignored(settings: Settings) -> str:
    """Why the settings that are ignored have no effect."""
    if settings.demand is Demand.TARGET_WAIT:
        return "the target wait decides; these are used by the thresholds only (--target-wait off)"
    return "the thresholds decide; these are used by --target-wait only"
