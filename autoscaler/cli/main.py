"""The command line, and the only place where the parts are put together.

Exit codes: 0 done, 1 the world did not do its part (Redis or a worker does not answer), 2 the settings have
faults; each fault is one line on standard error.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import click
from prometheus_client import CollectorRegistry, Counter

from autoscaler import __version__
from autoscaler.broker.connections import Connections, Redactor
from autoscaler.broker.errors import BrokerError
from autoscaler.broker.keys import CANCELLED_KEY, Keys
from autoscaler.broker.lease import Lease
from autoscaler.broker.mailboxes import MailboxRemover
from autoscaler.cli.options import fail, options
from autoscaler.cli.preflight import examine
from autoscaler.cli.simulate import simulate_command, tune_command
from autoscaler.control.consumers import Consumers
from autoscaler.control.drain import Drain, DrainError, Phase
from autoscaler.control.quiesce import QuiescingResizer
from autoscaler.control.remote import Remote
from autoscaler.control.resize import WorkerResizer
from autoscaler.core import capacity
from autoscaler.core.decider import Decider, Mode
from autoscaler.core.groups import Scope
from autoscaler.core.model import ContainerReading
from autoscaler.daemon.loop import Controller, Edges, Timing, controller
from autoscaler.report import health
from autoscaler.report.log import clean, get_logger
from autoscaler.report.metrics import Metrics
from autoscaler.report.web import Pages, page_failures, serving
from autoscaler.sensors import unacked
from autoscaler.sensors.container import ContainerSensor
from autoscaler.sensors.queues import QueueSensor
from autoscaler.sensors.workers import WorkerSensor, run_at_once, run_in_thread
from autoscaler.settings import table as config
from autoscaler.worker.cgroup import read_cgroup

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from structlog.typing import FilteringBoundLogger

    from autoscaler.control.drain import Progress
    from autoscaler.core.model import WorkerReading
    from autoscaler.report.status import TickRecord

Command = Any


def _load(flags: dict[str, Any]) -> config.Settings:
    try:
        return config.load(flags, os.environ)
    except config.ConfigError as fault:
        fail(fault.faults, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The parts of one autoscaler, put together."""

    settings: config.Settings
    connections: Connections
    redactor: Redactor
    remote: Remote
    backlog: QueueSensor
    pools: WorkerSensor
    controller: Controller
    metrics: Metrics
    log: FilteringBoundLogger
    timing: Timing

    def consumers(self, owner: str) -> Consumers:
        """What stops and resumes consuming, with notes of ``owner``."""
        return Consumers(self.remote, self.connections.redis, CANCELLED_KEY, owner=owner, wall=time.time)

    def read_workers(self, *, everyone: bool) -> Sequence[WorkerReading]:
        """The workers of the scope or all there are, as they answer now."""
        mailboxes = self.backlog.read(()).mailboxes if everyone else frozenset()
        return self.pools.read(mailboxes, time.monotonic()).workers

    def mailboxes(self) -> frozenset[str] | None:
        """The workers that have a mailbox now, None where that cannot be read."""
        seen = self.backlog.read(())
        return None if "mailboxes" in seen.faults else seen.mailboxes


def _decider(settings: config.Settings) -> Decider:
    return Decider(
        policy=settings.policy,
        scope=settings.scope,
        mode=settings.mode,
        quiesces=settings.quiesces,
        target_wait=settings.latency,
        shadow=settings.shadow,
        target_waits=settings.target_waits,
    )


def compose(settings: config.Settings, *, single_look: bool = False) -> App:
    """Put the parts together; nothing connects yet. A ``single_look`` waits for what else runs aside."""
    redactor = Redactor()
    log = get_logger(level=settings.log_level, style=settings.log_format, redact=redactor)
    connections = Connections(
        settings.read_redis_url,
        settings.tuning,
        redactor,
        global_keyprefix=settings.layout.prefix,
        separator=settings.layout.separator,
    )
    connections.url()  # from here on its password is known to the redactor
    keys = Keys(name=settings.name)
    timing = Timing(
        interval_seconds=settings.interval_seconds, inspect_timeout_seconds=settings.inspect_timeout_seconds
    )
    remote = Remote(connections.kombu, timeout_seconds=settings.inspect_timeout_seconds)
    consumers = Consumers(
        remote, connections.redis, CANCELLED_KEY, owner=f"autoscaler {settings.name}", wall=time.time
    )
    resizer = QuiescingResizer(
        WorkerResizer(remote),
        consumers,
        quiesces=settings.quiesces,
        deadline_seconds=settings.quiesce_deadline_seconds,
    )
    # The age of a message is read for the latency demand alone: it brings the whole message along.
    wall = time.time if settings.latency or settings.shadow else None
    backlog = QueueSensor(
        connections.redis, settings.layout, keys.override, wall=wall, on_separator=connections.use_separator
    )
    acts_on_fleet = not settings.scope.workers and settings.mode is Mode.ACT
    remover = MailboxRemover(connections.redis, settings.layout.prefix)
    pools = WorkerSensor(
        remote,
        settings.scope.workers,
        run_aside=run_at_once if single_look else run_in_thread,
        remove_mailboxes=remover.remove if acts_on_fleet else None,
    )
    edges = Edges(
        backlog=backlog,
        pools=pools,
        resizer=resizer,
        redis=connections.redis,
        reset=connections.reset,
        container=ContainerSensor(settings.container) if settings.container else None,
        lease=Lease(connections.redis, keys.lease, seconds=timing.lease_seconds) if acts_on_fleet else None,
    )
    metrics = Metrics(monotonic=time.monotonic, name=settings.name, mode=settings.mode)
    loop = controller(
        name=settings.name,
        decider=_decider(settings),
        edges=edges,
        timing=timing,
        metrics=metrics,
        log=log,
        clean=partial(clean, redact=redactor),
        monotonic=time.monotonic,
        wall=time.time,
    )
    return App(
        settings=settings,
        connections=connections,
        redactor=redactor,
        remote=remote,
        backlog=backlog,
        pools=pools,
        controller=loop,
        metrics=metrics,
        log=log,
        timing=timing,
    )


@contextmanager
def until_signalled(*signals: signal.Signals) -> Iterator[Event]:
    """An event that is set by the first of these signals; the handlers found are put back at the end."""
    stop = Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="autoscaler")
def main() -> None:
    """Size the pools of Celery workers by the work that waits, and lose no task doing so."""


@main.command()
@options(config.ALL)
def run(**flags: Any) -> None:
    """Run the daemon: one tick after another until SIGTERM or SIGINT."""
    app = compose(_load(flags))
    pages = Pages(
        live=app.controller.live,
        ready=app.controller.ready,
        status=app.controller.status,
        registry=app.metrics.registry,
        failed=page_failures(app.log, app.metrics.registry),
    )
    with until_signalled(signal.SIGTERM, signal.SIGINT) as stop, ExitStack() as stack:
        bound = _serve_pages(stack, pages, app.settings.listen)
        app.log.info(
            "daemon.started",
            version=__version__,
            name=app.settings.name,
            mode=app.settings.mode,
            target_wait_seconds=app.settings.latency and app.settings.latency.target_wait_seconds,
            redis=str(app.connections.url()),
            workers=sorted(app.settings.scope.workers) or "all",
            queues=sorted(app.settings.scope.queues) or "all",
            listen=bound,
        )
        app.controller.run(stop)
    app.log.info("daemon.stopped")


_NOT_FOR_KEDA = {"worker", "worker_pid", "cpu_limit", "memory_limit", "limits_folder", "dry_run", "enabled"}
_SEEN_BY_KEDA = [
    setting
    for setting in (*config.REDIS, *config.SCOPE, *config.PARAMETERS, *config.LATENCY, *config.RUN)
    if setting.key not in _NOT_FOR_KEDA
]


@main.command()
@options((*config.KEDA, *_SEEN_BY_KEDA))
def keda(**flags: Any) -> None:
    """Serve KEDA as an external scaler: size the fleet by what the work asks for. Resizes no pool."""
    try:
        from autoscaler.keda import fleet, question, scaler, server  # noqa: PLC0415 - an extra of its own
    except ImportError as fault:
        fail([f"{fault.name} is not installed; install celery-pool-autoscaler[keda]"], 1)
    settings, own = _load_keda(flags)
    app = compose(settings)
    pace = fleet.Pace(
        interval_seconds=settings.interval_seconds,
        fresh_seconds=max(10.0, app.timing.fresh_seconds + settings.interval_seconds),
        patience_seconds=settings.policy.stale_after_seconds,
    )
    seen = fleet.Fleet(app.controller.look, pace, app.log)
    default = question.Question(
        queues=tuple(sorted(settings.scope.queues)),
        processes_per_worker=own["processes_per_worker"],
        scale_in=question.ScaleIn(own["scale_in"]),
    )
    # A connection of its own: the fleet's is dropped after a fault, whoever uses it.
    connections = Connections(settings.read_redis_url, settings.tuning, app.redactor)
    backlog = QueueSensor(connections.redis, settings.layout, Keys(name=settings.name).override)
    answers = scaler.Scaler(
        seen,
        backlog,
        policy=settings.policy,
        default=default,
        reset=connections.reset,
        redact=app.redactor,
        unacked=unacked.UnackedSensor(connections.redis, settings.layout).read,
    )
    registry = CollectorRegistry()
    calls = Counter(
        "celery_autoscaler_keda_calls",
        "Calls by KEDA and how they ended.",
        ("method", "code"),
        registry=registry,
    )
    servicer = server.Servicer(answers, interval_seconds=settings.interval_seconds, calls=calls, log=app.log)
    pages = Pages(
        live=seen.live,
        ready=seen.ready,
        status=app.controller.status,
        registry=registry,
        failed=page_failures(app.log, registry),
    )
    host, port = own["keda_listen"]
    with until_signalled(signal.SIGTERM, signal.SIGINT) as stop, ExitStack() as stack:
        bound = _serve_pages(stack, pages, settings.listen)
        looking = Thread(target=seen.run, args=(stop,), name="fleet", daemon=True)
        looking.start()

        def on_bound(keda_port: int) -> None:
            app.log.info("keda.started", version=__version__, listen=bound, keda_listen=f"{host}:{keda_port}")

        try:
            asyncio.run(server.serve(servicer, host, port, stop, on_bound=on_bound))
        except server.ListenError:
            stop.set()
            fail([f"cannot listen on {host}:{port}; give another --keda-listen HOST:PORT"], 1)
        looking.join(timeout=5)
    app.log.info("keda.stopped")


def _load_keda(flags: dict[str, Any]) -> tuple[config.Settings, dict[str, Any]]:
    """The settings of the observer, who looks at the whole fleet and never acts, and those of the server."""
    faults: list[str] = []
    for read in (config.load, config.load_keda):
        try:
            read(flags, os.environ)
        except config.ConfigError as fault:
            faults += fault.faults
    if faults:
        fail(faults, 2)
    settings = config.load(flags, os.environ)
    scope = Scope(queues=settings.scope.queues)
    seen = replace(settings, mode=Mode.DRY_RUN, scope=scope, container=None)
    return seen, config.load_keda(flags, os.environ)


def _serve_pages(stack: ExitStack, pages: Pages, listen: tuple[str, int]) -> str:
    """Serve the pages as long as the stack is open; gives the address with the port that was bound."""
    host, port = listen
    try:
        return f"{host}:{stack.enter_context(serving(pages, host, port))}"
    except OSError as fault:
        fail([f"cannot listen on {host}:{port}: {fault.strerror}; give another --listen HOST:PORT"], 1)


@main.command()
@options((*config.REDIS, *config.SCOPE, *config.PARAMETERS))
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def once(*, as_json: bool, **flags: Any) -> None:
    """Look once and print what would be done and why. Nothing is resized, nothing is written.

    By the thresholds and without their delays: what --target-wait goes by is learnt over time.
    """
    settings = _load(flags)
    policy = settings.policy.immediate()
    app = compose(
        replace(settings, policy=policy, mode=Mode.DRY_RUN, latency=None, shadow=None), single_look=True
    )
    record = app.controller.look()
    if "backlog" in record.faults:
        fail([f"Redis cannot be read: {record.faults['backlog']}"], 1)
    click.echo(json.dumps(app.controller.status(), indent=2) if as_json else _table(record))
    if not record.observation.workers:
        fail(["no worker answered; is one running on this Redis and database?"], 1)


def _table(record: TickRecord) -> str:
    rows = [("WORKER", "QUEUES", "WAITING", "RESERVED", "BUSY", "PROCESSES", "WOULD BE", "BECAUSE")]
    queues_of = {name: group for group in record.plan.groups for name in group.group.workers}
    for decision in record.plan.decisions:
        reading, group = record.workers.get(decision.worker), queues_of.get(decision.worker)
        rows.append(
            (
                decision.worker,
                ",".join(group.group.queues) if group else "?",
                _shown(group.work.waiting if group else None),
                _shown(reading.reserved if reading else None),
                _shown(reading.busy if reading else None),
                _shown(decision.current),
                _shown(decision.desired),
                str(decision.desired_reason),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join(lines)


def _shown(value: int | None) -> str:
    return "?" if value is None else str(value)


@main.command()
@options((*config.REDIS, *config.SCOPE, *config.PARAMETERS))
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def check(*, as_json: bool, **flags: Any) -> None:
    """Preflight: Redis and its role, rights, workers, pools, companion, limits, each with what to do.

    Exits with 1 where something would keep the autoscaler from working.
    """
    app = compose(_load(flags), single_look=True)
    findings = examine(app.connections, app.backlog, app.pools, app.settings, now=time.monotonic())
    shown = clean([finding.as_dict() for finding in findings], app.redactor)
    if as_json:
        click.echo(json.dumps({"findings": shown}, indent=2))
    else:
        for finding in shown:
            click.echo(f"{finding['level']:5} {finding['subject']}: {finding['found']}")
            if finding["advice"]:
                click.echo(f"      -> {finding['advice']}")
    raise SystemExit(1 if any(finding.level == "fail" for finding in findings) else 0)


@main.command()
@options((*config.REDIS, *(setting for setting in config.SCOPE if setting.key == "inspect_timeout")))
@click.argument("workers", nargs=-1, required=True, metavar="WORKER...")
@click.option(
    "--deadline", type=click.FloatRange(1, 86400), default=300, show_default=True, help="In seconds."
)
@click.option("--force", is_flag=True, help="Also where a queue is left without a worker.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
def drain(workers: tuple[str, ...], *, deadline: float, force: bool, as_json: bool, **flags: Any) -> None:
    """Take workers out of service: nothing is lost, nothing runs twice.

    Their consumers are cancelled, what they run and hold is waited for, then they are shut down. A worker
    that is not empty by the deadline gets its consumers back and stays; the exit code is 1 then.
    """
    settings = _load({**flags, "worker": workers})
    app = compose(settings)
    try:
        with until_signalled(signal.SIGTERM, signal.SIGINT) as stop:
            drained = Drain(
                app.remote,
                app.consumers("drain"),
                app.read_workers,
                on_progress=_tell_drain,
                mailboxes=app.mailboxes,
                sleep=stop.wait,
                stopped=stop.is_set,
            )
            ended = drained.run(workers, deadline_seconds=deadline, force=force)
    except DrainError as fault:
        fail([str(fault)], 1)
    except BrokerError as fault:
        fail(
            [
                app.redactor(
                    f"Redis failed: {fault}; what was cancelled by then is recorded, and a daemon restores it"
                )
            ],
            1,
        )
    if as_json:
        click.echo(json.dumps([asdict(progress) for progress in ended]))
    raise SystemExit(0 if all(progress.phase is Phase.DRAINED for progress in ended) else 1)


def _tell_drain(progress: Progress) -> None:
    held = "" if progress.busy is None else f", {progress.busy} running, {_shown(progress.reserved)} fetched"
    click.echo(f"{progress.worker}: {progress.phase}{held}", err=True)


@main.command()
@options(
    [parameter for parameter in config.PARAMETERS if parameter.key in {"min", "max", "processes_per_core"}]
)
def concurrency(**flags: Any) -> None:
    """Print how many processes this container bears: celery worker -c "$(autoscaler concurrency)"."""
    try:
        policy = config.load_policy(flags, os.environ)
    except config.ConfigError as fault:
        fail(fault.faults, 2)
    found = read_cgroup()
    container = ContainerReading(cpu_limit_cores=found.cpu_limit_cores, cpu_limited=found.cpu_limited)
    bears = capacity.automatic_max(policy, container)
    if bears is None:
        fail(["the CPU limit cannot be read here: " + "; ".join(found.faults), "give a fixed -c instead"], 1)
    most = min(bears.processes, policy.max_processes or math.inf)
    click.echo(
        int(min(max(policy.min_processes, 1), bears.processes) if most < policy.min_processes else most)
    )


@main.command()
@options([setting for setting in config.RUN if setting.key == "listen"])
@click.option("--ready", is_flag=True, help="Ask /readyz instead of /livez.")
def healthcheck(*, ready: bool, **flags: Any) -> None:
    """Ask the daemon of this container for its health; exits with 0 or 1. No curl is needed."""
    code, line = health.healthcheck(flags["listen"], os.environ, ready=ready)
    if code:
        fail([line], code)
    click.echo(line)


@main.command()
@click.option(
    "--seconds", type=click.FloatRange(5, 3600), default=60, show_default=True, help="Longest play."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
@click.option(
    "--keep/--no-keep",
    default=None,
    help="Leave everything running after the play, until Ctrl-C. By default on a terminal.",
)
def demo(*, seconds: float, as_json: bool, keep: bool | None) -> None:
    """Watch a real worker grow under a backlog and shrink when it is gone. Needs the extra demo."""
    stays = sys.stdout.isatty() and not as_json if keep is None else keep
    try:
        from autoscaler.demo import play  # noqa: PLC0415 - its servers are an extra of their own
    except ImportError as fault:
        fail([f"{fault.name} is not installed; install celery-pool-autoscaler[demo]"], 1)
    with until_signalled(*play.interrupted_by()) as stop:
        try:
            summary = play.run_demo(seconds=seconds, as_json=as_json, keep=stays, stop=stop)
        except (play.EmbeddedError, play.InterruptedDemoError) as fault:
            fail([str(fault)], 1)
    raise SystemExit(0 if play.succeeded(summary) else 1)


main.add_command(simulate_command)
main.add_command(tune_command)
