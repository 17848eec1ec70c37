"""``autoscaler keda``: the external scaler."""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack
from threading import Thread
from typing import TYPE_CHECKING

import click

from autoscaler import __version__
from autoscaler.cli.options import GroupedCommand, fail, missing_extra, unknown_variables, with_settings
from autoscaler.cli.run import why_ignored
from autoscaler.cli.running import serve_pages, until_signalled
from autoscaler.settings import table

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from structlog.typing import FilteringBoundLogger

    from autoscaler.cli.compose_keda import KedaApp
    from autoscaler.settings.load import Settings

_NOT_FOR_KEDA = {"worker", "worker_pid", "cpu_limit", "memory_limit", "limits_folder", "dry_run", "enabled"}
#: Accepted as the daemon's variables are, which come from one ConfigMap; a flag of these is a mistake.
_WITHOUT_EFFECT = ("base_path", "metrics_detail")
_SETTINGS = (
    *table.KEDA,
    *(
        setting
        for setting in (*table.REDIS, *table.SCOPE, *table.PARAMETERS, *table.DEMAND, *table.RUN)
        if setting.key not in _NOT_FOR_KEDA
    ),
)


@click.command("keda", cls=GroupedCommand)
@with_settings(_SETTINGS, logs=True)
def command(settings: Settings) -> None:
    """Serve KEDA as an external scaler. It sizes the fleet by what the work needs, and resizes no pool."""
    try:
        from autoscaler.cli.compose_keda import compose_keda  # noqa: PLC0415 - gRPC is an extra of its own
    except ImportError as fault:
        fail([missing_extra(str(fault.name), "keda")], 1)
    parts = compose_keda(settings)
    log = parts.app.log
    host, _ = settings.keda.listen
    with until_signalled(signal.SIGTERM, signal.SIGINT) as stop, ExitStack() as stack:
        bound = serve_pages(stack, parts.pages, settings.listen)
        for line in unknown_variables(settings):
            log.warning("settings.unknown_variable", why=line)
        _say_ignored(settings, log)
        observing = Thread(target=parts.fleet.run, args=(stop,), name="fleet", daemon=True)

        def started(keda_port: int) -> None:
            observing.start()  # not before: what cannot be served is the last word then
            log.info("keda.started", version=__version__, listen=bound, keda_listen=f"{host}:{keda_port}")

        _serve(parts, settings.keda.listen, stop, started)
        observing.join(timeout=5)
    log.info("keda.stopped")


def _say_ignored(settings: Settings, log: FilteringBoundLogger) -> None:
    """Log which settings were given and have no effect."""
    if settings.ignored:
        log.warning("settings.ignored", settings=list(settings.ignored), why=why_ignored(settings))
    given = [settings.sources.get(key, "") for key in _WITHOUT_EFFECT]
    if flags := [source for source in given if source.startswith("--")]:
        log.warning("settings.ignored", settings=flags, why="the scaler has no page and no series of workers")


def _serve(parts: KedaApp, listen: tuple[str, int], stop: Event, started: Callable[[int], None]) -> None:
    from autoscaler.keda import server  # noqa: PLC0415 - as above

    host, port = listen
    try:
        asyncio.run(server.serve(parts.servicer, listen, stop, tls=parts.tls, on_bound=started))
    except server.ListenError:
        stop.set()
        fail([f"cannot listen on {host}:{port}; give another --keda-listen HOST:PORT"], 1)
    except OSError as fault:
        stop.set()
        files = "--keda-tls-cert, --keda-tls-key and --keda-client-ca"
        fail([f"TLS cannot be served: {fault}; {files} must be PEM files that belong together"], 1)
