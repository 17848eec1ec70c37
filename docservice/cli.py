"""The commands: ``docservice api | worker | migrate | token | sweep | samples | burst | healthcheck``.

The only composer. Settings come from the environment. Invalid settings end a command with one line and exit
code 2, before anything connects; a server that does not answer ends it with one line and exit code 1, within
its timeout. Each command imports only what it needs: a migration starts in half the time that the API takes.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import click

from autoscaler.api import OneLineGroup
from docservice import health
from docservice.config import ConfigError, Settings, read_settings, read_variable
from docservice.dev.load_test import Burst, BurstError, send_burst
from docservice.dev.samples import sample_files
from docservice.domain.documents import ModuleNameError, module_name
from docservice.domain.identity import Role, new_token, token_hash
from docservice.ingest.blobs import BlobError, BlobStore
from docservice.log import configure_log, logger
from docservice.metrics import Metrics
from docservice.open_files import raise_open_files
from docservice.page_cache import IDENTITIES, Cache
from docservice.postgres.database import Database, PoolerError, StoreTimeoutError, StoreUnavailableError
from docservice.postgres.migrations import MigrationError, migrate, pending
from docservice.postgres.modules import unused_modules
from docservice.postgres.tokens import TokenRow, Tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from docservice.http.asgi import DocumentService

Done = TypeVar("Done")
_SHUTDOWN_SECONDS = 15
_ROLES = [role.value for role in Role]


def _fail(text: str, code: int) -> NoReturn:
    click.echo(f"docservice: {' '.join(text.split())}", err=True)
    raise SystemExit(code)


def _settings() -> Settings:
    try:
        return read_settings(os.environ)
    except ConfigError as fault:
        _fail(str(fault), 2)


async def _with_database(settings: Settings, work: Callable[[Database], Awaitable[Done]]) -> Done:
    database = Database(settings.pool(size=2))
    try:
        await database.open(min_size=1)
        return await work(database)
    finally:
        await database.close()


def _run(work: Awaitable[Done]) -> Done:
    async def main() -> Done:
        return await work

    try:
        return asyncio.run(main())
    except PoolerError as fault:
        _fail(str(fault), 1)
    except (StoreUnavailableError, StoreTimeoutError) as fault:
        where = urlsplit(_settings().database_url).netloc.rpartition("@")[2]
        _fail(f"DATABASE_URL ({where}): {fault}; check that the server runs, the user and the password", 1)
    except (MigrationError, BlobError) as fault:
        _fail(str(fault), 1)


async def _with_schema(settings: Settings, work: Callable[[Database], Awaitable[Done]]) -> Done:
    """As :func:`_with_database`; fails with one line where a migration is missing."""

    async def checked(database: Database) -> Done:
        if missing := await pending(database):
            _fail(f"the database lacks {', '.join(missing)}; run docservice migrate", 1)
        return await work(database)

    return await _with_database(settings, checked)


async def _nothing(_database: Database) -> None:
    """For what needs the schema and no connection of its own."""


async def _check(settings: Settings) -> None:
    """Fail with one line unless Postgres, its schema, Redis and the store of blobs are available."""
    await _with_schema(settings, _nothing)
    cache = Cache(settings.redis, settings.redis_tuning, Metrics())
    try:
        if not await cache.ping():
            _fail(
                f"REDIS_URL: no answer from {settings.redis} within its timeout; check that it runs,"
                " the user and the password",
                1,
            )
    finally:
        await cache.close()
    await asyncio.to_thread(BlobStore(settings.blob_url).check)


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
        _fail(f"auto: {found.stderr.strip() or 'no number was found'}; give a number instead", 1)
    return int(found.stdout)


def application() -> DocumentService:
    """The ASGI application of a process that uvicorn started, from the environment."""
    from docservice.http.app import create_app  # noqa: PLC0415 - see above

    app = create_app(read_settings(os.environ))
    # What was made until here stays; scanning it for garbage again and again costs every request.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    return app


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
    settings = _settings()
    _run(_check(settings))
    logger("api").info(
        "api.starting",
        listen=f"http://{host}:{port}" if port else f"http://{host}, a free port",
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
        # The client address is taken from a proxy header only where the proxy is named.
        "proxy_headers": bool(os.environ.get("FORWARDED_ALLOW_IPS")),
        "timeout_graceful_shutdown": _SHUTDOWN_SECONDS,
    }
    if workers == 1:
        uvicorn.run("docservice.cli:application", factory=True, **options)
        return
    with tempfile.TemporaryDirectory(prefix="docservice-metrics-") as folder:
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)
        uvicorn.run("docservice.cli:application", factory=True, workers=workers, **options)


@main.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--concurrency", "-c", default="auto", show_default=True, type=_Count(), envvar="DOCSERVICE_CONCURRENCY"
)
@click.argument("celery_options", nargs=-1, type=click.UNPROCESSED)
def worker(concurrency: int, celery_options: tuple[str, ...]) -> None:
    """Process uploads. Other options are passed to `celery worker`, such as -n NAME@%h."""
    from docservice.ingest.tasks import make_worker  # noqa: PLC0415 - see above

    configure_log()
    settings = _settings()
    _run(_check(settings))
    application, _ = make_worker(settings)
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


@main.command("migrate")
def migrate_command() -> None:
    """Apply the missing migrations to the database."""
    applied = _run(_with_database(_settings(), migrate))
    click.echo(f"applied: {', '.join(applied)}" if applied else "nothing to apply")


@main.command()
@click.option("--orphans", is_flag=True, help="Also remove files of uploads that were never committed.")
def sweep(*, orphans: bool) -> None:
    """Send documents that no worker received, and return what lost workers had claimed. Once."""
    from docservice.http.services import Services  # noqa: PLC0415 - see above
    from docservice.ingest.orphans import remove_orphans  # noqa: PLC0415

    settings = _settings()

    async def once() -> str:
        await _with_schema(settings, _nothing)
        services = Services(settings)
        await services.database.open(min_size=1)
        try:
            swept = await services.sweeper.sweep(alone=True)
            removed = await remove_orphans(services.blobs, services.documents) if orphans else 0
        finally:
            await services.close()
        return f"sent {swept.sent}, returned {swept.returned}, failed {swept.failed}, removed {removed}"

    click.echo(_run(once()))


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
        _fail(f"{folder} cannot be written to ({fault.strerror}); give another folder", 1)
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
        token_text = read_variable("DOCSERVICE_TOKEN", os.environ)
        load = Burst(url=url, module=module, documents=documents, per_request=per_request)
    except ValueError as fault:
        _fail(str(fault), 2)
    if token_text is None:
        _fail("DOCSERVICE_TOKEN is not set; docservice token create --role operator makes one", 2)
    try:
        seconds = send_burst(load, token_text)
    except BurstError as fault:
        _fail(str(fault), 1)
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
        _fail(line, code)
    click.echo(line)


@main.group(cls=OneLineGroup)
def token() -> None:
    """Create, list and revoke API tokens."""


@token.command("create")
@click.option("--name", required=True, help="Who uses it; shown in the audit.")
@click.option("--role", type=click.Choice(_ROLES), default=Role.VIEWER.value, show_default=True)
@click.option(
    "--module", "modules", multiple=True, help="A module that it may see; repeatable. Without: all."
)
@click.option(
    "--expires-in-days",
    type=click.FloatRange(min=0, min_open=True, max=3650),
    help="Without: never.",
)
def token_create(name: str, role: str, modules: tuple[str, ...], expires_in_days: float | None) -> None:
    """Create a token and print it. It is shown only once."""
    if not name.strip() or len(name) > 100 or not name.isprintable():  # noqa: PLR2004 - the message says it
        _fail("--name must have 1 to 100 printable characters", 2)
    try:
        seen = sorted({module_name(module) for module in modules}) or None
    except ModuleNameError as fault:
        _fail(f"--module: {fault}", 2)
    text = new_token()
    sha256 = token_hash(text)
    if sha256 is None:
        raise RuntimeError("a new token has the form of tokens")
    expires_at = None if expires_in_days is None else datetime.now(UTC) + timedelta(days=expires_in_days)

    async def add(database: Database) -> tuple[int, list[str]]:
        token_id = await Tokens(database).add(
            name=name.strip(), sha256=sha256, role=Role(role), modules=seen, expires_at=expires_at
        )
        return token_id, await unused_modules(database, seen or ())

    token_id, notes = _run(_with_schema(_settings(), add))
    click.echo("".join(f"docservice: {note}\n" for note in notes), nl=False, err=True)
    click.echo(f"token {token_id} for {name.strip()}, {role}; it is not shown again:", err=True)
    click.echo(text)


@token.command("list")
def token_list() -> None:
    """List all tokens, without their secrets."""
    for row in _run(_with_schema(_settings(), lambda database: Tokens(database).all())):
        click.echo("\t".join(_cells(row)))


def _cells(row: TokenRow) -> list[str]:
    state = "active"
    if row.revoked_at is not None:
        state = f"revoked {row.revoked_at:%Y-%m-%d %H:%M}"
    elif row.expires_at is not None:
        word = "expired" if row.expires_at <= datetime.now(UTC) else "until"
        state = f"{word} {row.expires_at:%Y-%m-%d %H:%M}"
    modules = "all modules" if row.modules is None else ",".join(row.modules)
    return [str(row.id), row.name, row.role.value, modules, state]


@token.command("revoke")
@click.argument("token_id", type=click.IntRange(1, 2**63 - 1))
def token_revoke(token_id: int) -> None:
    """Revoke a token by its id: from the next request on, or later where this command cannot reach Redis."""
    settings = _settings()

    async def revoke(database: Database) -> tuple[bool, bool]:
        if not await Tokens(database).revoke(token_id):
            return False, False
        cache = Cache(settings.redis, settings.redis_tuning, Metrics())
        try:
            return True, await cache.try_raise_version(IDENTITIES)
        finally:
            await cache.close()

    revoked, reached = _run(_with_schema(settings, revoke))
    if not revoked:
        _fail(f"there is no active token {token_id}; see docservice token list", 1)
    within = (
        ""
        if reached
        else f"; Redis does not answer here, so an API that reaches it may accept the token for"
        f" {settings.identity_seconds} s"
    )
    click.echo(f"token {token_id} is revoked{within}")
