"""The commands ``docservice api``, ``worker``, ``migrate``, ``sweep`` and more; the others are beside it.

The only composer. Settings come from the environment. Invalid settings end a command with one line and exit
code 2, before anything connects; a server that does not answer ends it with one line and exit code 1, within
its timeout. Each command imports only what it needs: a migration starts in half the time that the API takes.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoscaler.api import OneLineGroup, start_traces, traces_fault
from docservice import health
from docservice.cli.backups import backup, restore
from docservice.cli.listening import listen_url, require_bindable
from docservice.cli.redis_rights import PARTS
from docservice.cli.running import (
    check,
    fail,
    nothing,
    read,
    require_redis_rights,
    require_rights,
    require_writes,
    run,
    with_database,
    with_schema,
)
from docservice.cli.tokens import token
from docservice.config import read_settings, read_variable, unknown_variables
from docservice.dev.load_test import Burst, BurstError, send_burst
from docservice.dev.samples import sample_files
from docservice.ingest.blobs import BlobStore
from docservice.ingest.store_identity import identify
from docservice.log import configure_log, logger
from docservice.open_files import raise_open_files
from docservice.postgres.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docservice.http.asgi import DocumentService
    from docservice.http.traces import TracedService

_SHUTDOWN_SECONDS = 15
_BURST_VARIABLE = "DOCSERVICE_TOKEN"


class _Count(click.ParamType):  # type: ignore[type-arg]
    """A number of processes, or ``auto`` for what fits in the container."""

    name = "integer|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of a text."""
        text = str(value)
        if text == "auto":
            return _fitting()
        if not (text.isascii() and text.isdigit() and int(text)):
            self.fail(f"{value!r}; it must be auto, or a whole number of 1 or more", param, ctx)
        return int(text)


def _fitting() -> int:
    """The processes that fit in the container, by the autoscaler's own command."""
    found = subprocess.run(
        [sys.executable, "-m", "autoscaler", "concurrency"], capture_output=True, text=True, check=False
    )
    if found.returncode or not found.stdout.strip().isdigit():
        fail(f"auto: {found.stderr.strip() or 'no number was found'}; give a number instead", 1)
    return int(found.stdout)


def _say_traces(event: str, fields: Mapping[str, Any]) -> None:
    logger("traces").warning(event, **fields)


def _check_traces() -> None:
    """Say where traces are asked for and cannot be sent; the work goes on without."""
    if why := traces_fault(os.environ):
        logger("traces").warning("traces.off", why=why)


def _say_unknown_variables() -> None:
    for why in _unknown_variables():
        logger("settings").warning("settings.unknown_variable", why=why)


def _unknown_variables() -> list[str]:
    """One line for each variable that looks like a setting and is none: the default holds."""
    options = {str(option.envvar) for command in main.commands.values() for option in command.params}
    return unknown_variables(os.environ, {*options, health.PORT_VARIABLE, _BURST_VARIABLE})


def application() -> DocumentService | TracedService:
    """The ASGI application of a process that uvicorn started, from the environment."""
    from docservice.http.app import create_app  # noqa: PLC0415 - see above

    traces = start_traces(os.environ, service="docservice-api", say=_say_traces)
    app = create_app(read_settings(os.environ), traces=traces)
    # What was made until here stays; scanning it for garbage again and again costs every request.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    if not traces.enabled:
        return app
    from docservice.http.traces import TracedService  # noqa: PLC0415 - only where traces are recorded

    return TracedService(app, traces)


@click.group("docservice", cls=OneLineGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="celery-pool-autoscaler", prog_name="docservice")
def main() -> None:
    """Document grids and mail numbers on Postgres and Redis, with their Celery worker."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, envvar="DOCSERVICE_HOST")
# Not DOCSERVICE_PORT: Kubernetes sets that to an address where a Service is called docservice.
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), envvar="DOCSERVICE_HTTP_PORT"
)
@click.option("--workers", default=1, show_default=True, type=_Count(), envvar="DOCSERVICE_WORKERS")
def api(host: str, port: int, workers: int) -> None:
    """Serve the HTTP API."""
    import uvicorn  # noqa: PLC0415 - see above

    configure_log()
    settings = read()
    run(check(settings))
    require_bindable(host, port, shared=workers > 1)
    _check_traces()
    _say_unknown_variables()
    logger("api").info(
        "api.starting",
        listen=listen_url(host, port),
        processes=workers,
        blobs=BlobStore(settings.blob_url).place,
        docs=settings.docs,
        open_files=raise_open_files(),
    )
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "access_log": False,  # the service writes its own, with request ids and without tokens
        "log_level": "warning",
        "loop": "uvloop",
        "http": "docservice.http.protocol:BoundedProtocol",
        "server_header": False,
        # Load balancers keep a connection for a minute: the one that they use must not be closed then.
        "timeout_keep_alive": 75,
        # The client address is taken from a proxy header only where the proxy is named.
        "proxy_headers": bool(os.environ.get("FORWARDED_ALLOW_IPS")),
        "timeout_graceful_shutdown": _SHUTDOWN_SECONDS,
    }
    if workers == 1:
        uvicorn.run("docservice.cli.main:application", factory=True, **options)
        return
    with tempfile.TemporaryDirectory(prefix="docservice-metrics-") as folder:
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)
        uvicorn.run("docservice.cli.main:application", factory=True, workers=workers, **options)


@main.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--concurrency", "-c", default="auto", show_default=True, type=_Count(), envvar="DOCSERVICE_CONCURRENCY"
)
@click.argument("celery_options", nargs=-1, type=click.UNPROCESSED)
def worker(concurrency: int, celery_options: tuple[str, ...]) -> None:
    """Process uploads. Other options are passed to `celery worker`, such as -n NAME@%h."""
    from docservice.ingest.tasks import make_worker  # noqa: PLC0415 - see above

    configure_log()
    settings = read()
    run(check(settings))
    _check_traces()
    _say_unknown_variables()
    start = partial(start_traces, os.environ, service="docservice-worker", say=_say_traces)
    application, _ = make_worker(settings, start)
    application.worker_main(
        [
            "worker",
            "--concurrency",
            str(concurrency),
            "--loglevel",
            "INFO",
            "--without-gossip",
            *celery_options,
        ]
    )


@main.command("check")
@click.option(
    "--accept-store",
    is_flag=True,
    help="Take DOCSERVICE_BLOB_URL for this database's store, even where it is marked as another's or is not"
    " marked any more.",
)
@click.option(
    "--for",
    "part",
    type=click.Choice(list(PARTS)),
    help="The part whose Redis user this is. Without it, a user that has the rights of one of them passes.",
)
def check_command(*, accept_store: bool, part: str | None) -> None:
    """Try what the API and the worker need of Postgres, Redis and the store of files."""
    for why in _unknown_variables():
        click.echo(f"docservice: {why}", err=True)
    settings = read()
    run(with_database(settings, require_rights))  # first: it may even lack the right to see the migrations
    run(check(settings, accept_store=accept_store))
    require_redis_rights(settings, part)
    run(require_writes(settings))
    click.echo(f"ready: Postgres, Redis and the store of files in {BlobStore(settings.blob_url).place}")


@main.command("migrate")
def migrate_command() -> None:
    """Apply the missing migrations to the database."""
    applied = run(with_database(read(), migrate))
    click.echo(f"applied: {', '.join(applied)}" if applied else "nothing to apply")


@main.command()
@click.option("--orphans", is_flag=True, help="Also remove files of uploads that were never committed.")
def sweep(*, orphans: bool) -> None:
    """Send documents that no worker received, and return what lost workers had claimed. Once."""
    from docservice.http.services import Services  # noqa: PLC0415 - see above
    from docservice.ingest.orphans import remove_orphans  # noqa: PLC0415

    settings = read()

    async def once() -> tuple[str, bool]:
        services = Services(settings)
        # Another database's files would all be orphans.
        await with_schema(settings, partial(identify, services.blobs) if orphans else nothing)
        await services.database.open(min_size=1)
        try:
            swept = await services.sweeper.sweep(alone=True)
            reached = await services.cache.ping()
            removed = await remove_orphans(services.blobs, services.documents) if orphans else 0
        finally:
            await services.close()
        done = f"sent {swept.sent}, returned {swept.returned}, failed {swept.failed}, removed {removed}"
        return done, reached

    done, reached = run(once())
    click.echo(done)
    if not reached:
        fail(
            f"REDIS_URL: no answer from {settings.redis}; documents that wait may not be sent, sweep again", 1
        )


@main.command()
@click.option("--mails", default=20, show_default=True, type=click.IntRange(0, 100_000))
@click.option("--pdfs", default=5, show_default=True, type=click.IntRange(0, 100_000))
@click.option(
    "--pages", default=1, show_default=True, type=click.IntRange(1, 1000), help="Pages of each PDF."
)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def samples(mails: int, pdfs: int, pages: int, folder: Path) -> None:
    """Write sample mails, each with a PDF attached, and sample PDFs into FOLDER; always the same ones."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in sample_files(mails=mails, pdfs=pdfs, pages=pages):
            (folder / name).write_bytes(data)
    except OSError as fault:
        fail(f"{folder} cannot be written to ({fault.strerror}); give another folder", 1)
    click.echo(f"wrote {mails} mails and {pdfs} PDFs")


@main.command()
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, envvar="DOCSERVICE_URL")
@click.option("--documents", default=2000, show_default=True, type=click.IntRange(1, 1_000_000))
@click.option(
    "--per-request",
    default=100,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Files per request.",
)
@click.option("--module", default="burst", show_default=True)
def burst(url: str, documents: int, per_request: int, module: str) -> None:
    """Send many sample mails to an API, to watch its workers. Needs an operator's DOCSERVICE_TOKEN."""
    try:
        token_text = read_variable(_BURST_VARIABLE, os.environ)
        load = Burst(url=url, module=module, documents=documents, per_request=per_request)
    except ValueError as fault:
        fail(str(fault), 2)
    if token_text is None:
        fail(f"{_BURST_VARIABLE} is not set; docservice token create --role operator makes one", 2)
    try:
        seconds = send_burst(load, token_text)
    except BurstError as fault:
        fail(str(fault), 1)
    click.echo(f"sent {documents} mails to {module} in {seconds:.1f} s")


@main.command()
@click.option(
    "--port", help=f"Port of the API. [default: {health.DEFAULT_PORT}] [env: {health.PORT_VARIABLE}]"
)
@click.option("--ready", is_flag=True, help="Ask /readyz instead of /livez.")
def healthcheck(port: str | None, *, ready: bool) -> None:
    """Ask the API of this container for its health; exits with 0 or 1. No curl is needed."""
    code, line = health.healthcheck(port, os.environ, ready=ready)
    if code:
        fail(line, code)
    click.echo(line)


for command in (backup, restore, token):
    main.add_command(command)
