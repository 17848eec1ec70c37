"""The only place where the parts are put together: settings in, one :class:`App` out.

Nothing connects here. A command that needs parts of its own composes them from what is in here.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from autoscaler.broker.connections import Connections, Redactor
from autoscaler.broker.keys import CANCELLED_KEY, Keys
from autoscaler.broker.lease import Lease
from autoscaler.broker.mailboxes import MailboxRemover, find_mailbox_sets
from autoscaler.control.addresses import Addresses
from autoscaler.control.consumers import Consumers
from autoscaler.control.locate import LocatingRemote
from autoscaler.control.quiesce import QuiescingResizer
from autoscaler.control.remote import Remote
from autoscaler.control.resize import WorkerResizer
from autoscaler.core.decider import Decider, Mode
from autoscaler.daemon.loop import Controller, Edges, Timing, controller
from autoscaler.daemon.memory_keeper import MemoryKeeper
from autoscaler.daemon.recorder import Recorder
from autoscaler.report.history import History, TargetWaits
from autoscaler.report.log import clean, get_logger
from autoscaler.report.metrics import MAX_WORKERS, WORKERS_AGAIN, Metrics
from autoscaler.report.spans import NoTraces, of_tick
from autoscaler.report.traces import start_traces
from autoscaler.sensors.aside import run_in_thread, run_inline
from autoscaler.sensors.container import ContainerSensor
from autoscaler.sensors.queues import QueueSensor
from autoscaler.sensors.workers import WorkerSensor
from autoscaler.worker.resizers import MAX_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from structlog.typing import FilteringBoundLogger

    from autoscaler.control.addresses import Address
    from autoscaler.core.model import WorkerReading
    from autoscaler.daemon.observe import QueueSource, WorkerSource
    from autoscaler.report.spans import Traces
    from autoscaler.report.status import TickRecord
    from autoscaler.settings.load import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The parts of one autoscaler, put together."""

    settings: Settings
    connections: Connections
    redactor: Redactor
    remote: Remote
    locator: LocatingRemote
    addresses: Addresses
    backlog: QueueSource
    pools: WorkerSource
    controller: Controller
    metrics: Metrics
    log: FilteringBoundLogger
    timing: Timing
    history: History
    recorder: Recorder
    traces: Traces

    def consumers(self, owner: str) -> Consumers:
        """Cancels and restores consumers, recorded for ``owner``."""
        return Consumers(self.remote, self.connections.redis, CANCELLED_KEY, owner=owner, wall=time.time)

    def read_workers(self, *, everyone: bool) -> Sequence[WorkerReading]:
        """The workers of the scope, or all that have a mailbox, as they answer now."""
        mailboxes = self.backlog.read(()).mailboxes if everyone else frozenset()
        return self.pools.read(mailboxes, time.monotonic()).workers

    def mailboxes(self) -> frozenset[str] | None:
        """The workers that have a mailbox now, None where that cannot be read."""
        seen = self.backlog.read(())
        return None if "mailboxes" in seen.faults else seen.mailboxes


def _decider(settings: Settings) -> Decider:
    return Decider(
        name=settings.name[:MAX_NAME],
        policy=settings.policy,
        scope=settings.scope,
        mode=settings.mode,
        quiesces=settings.quiesces,
        target_wait=settings.deciding,
        shadow=settings.shadow,
        target_waits=settings.target_waits,
        min_interval_seconds=settings.min_interval_seconds,
        interval_seconds=settings.interval_seconds,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Control:
    """Remote control: the commands, where they go, and what finds that."""

    remote: Remote
    addresses: Addresses
    locator: LocatingRemote


class _JunkLog:
    """Says once that something in a reply queue is no reply; that a worker is missing is said of itself."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._said = False

    def take(self, fault: Exception) -> None:
        """Take in why a message could not be read."""
        if not self._said:
            self._said = True
            self._log.warning(
                "replies.unreadable",
                why=f"a message in a reply queue is no reply of a worker: {type(fault).__name__}",
                consequence="who sent it counts as not responding; this is said once",
            )


def _control(settings: Settings, connections: Connections, log: FilteringBoundLogger) -> _Control:
    addresses = Addresses(
        settings.control_exchanges,
        settings.fanout_prefix,
        tries_legacy=connections.url().sentinel_master is not None,
    )
    timeout = settings.inspect_timeout_seconds
    remote = Remote(
        connections.kombu, timeout_seconds=timeout, addresses=addresses, on_junk=_JunkLog(log).take
    )
    prefix = settings.layout.prefix

    def find_exchanges() -> set[str]:
        found = find_mailbox_sets(connections.redis())
        return {one.exchange for one in found if one.prefix == prefix}

    def located(found: Sequence[Address]) -> None:
        log.info("workers.located", where=[str(address) for address in found])

    return _Control(
        remote=remote,
        addresses=addresses,
        locator=LocatingRemote(remote, addresses, find_exchanges, located=located),
    )


def _edges(
    settings: Settings,
    connections: Connections,
    control: _Control,
    timing: Timing,
    reported: Callable[[TickRecord], None],
    *,
    memory: MemoryKeeper | None,
    single_look: bool,
) -> Edges:
    remote, addresses = control.remote, control.addresses
    keys, owner = Keys(name=settings.name), f"autoscaler {settings.name}"
    resizer = QuiescingResizer(
        WorkerResizer(remote, by=settings.name[:MAX_NAME]),
        Consumers(remote, connections.redis, CANCELLED_KEY, owner=owner, wall=time.time),
        quiesces=settings.quiesces,
        deadline_seconds=settings.quiesce_deadline_seconds,
    )
    wall = time.time if settings.deciding or settings.shadow else None  # to read ages fetches whole messages
    acts_on_fleet = not settings.scope.workers and settings.mode is Mode.ACT
    remover = MailboxRemover(connections.redis, settings.layout.prefix, lambda: addresses.exchanges)
    return Edges(
        backlog=QueueSensor(
            connections.redis,
            settings.layout,
            keys.override,
            wall=wall,
            on_separator=connections.use_separator,
            exchanges=lambda: addresses.exchanges,
        ),
        pools=WorkerSensor(
            control.locator,
            settings.scope.workers,
            run_aside=run_inline if single_look else run_in_thread,
            remove_mailboxes=remover.remove if acts_on_fleet else None,
            where=lambda: addresses.current,
        ),
        resizer=resizer,
        redis=connections.redis,
        reset=connections.reset,
        container=ContainerSensor(settings.container) if settings.container else None,
        memory=memory,
        lease=Lease(connections.redis, keys.lease, seconds=timing.lease_seconds) if acts_on_fleet else None,
        reported=reported,
    )


def _memory(settings: Settings, connections: Connections, log: FilteringBoundLogger) -> MemoryKeeper:
    return MemoryKeeper(
        settings.name, redis=connections.redis, log=log, monotonic=time.monotonic, wall=time.time
    )


def _timing(settings: Settings) -> Timing:
    return Timing(
        interval_seconds=settings.interval_seconds,
        inspect_timeout_seconds=settings.inspect_timeout_seconds,
        min_interval_seconds=settings.min_interval_seconds,
    )


def _metrics(settings: Settings, log: FilteringBoundLogger) -> Metrics:
    return Metrics(
        monotonic=time.monotonic,
        name=settings.name,
        mode=settings.mode,
        detail=settings.metrics_detail,
        detail_changed=partial(_say_detail, log),
    )


def _say_detail(log: FilteringBoundLogger, detail: str, workers: int) -> None:
    log.warning(
        "metrics.detail_changed",
        detail=detail,
        workers=workers,
        why=f"above {MAX_WORKERS} workers there are series for groups alone, below {WORKERS_AGAIN} for each"
        " worker again; --metrics-detail worker|group chooses one",
    )


def _reported(recorder: Recorder, traces: Traces, redactor: Redactor) -> Callable[[TickRecord], None]:
    if not traces.enabled:
        return recorder.take

    def take(record: TickRecord) -> None:
        recorder.take(record)
        if (span := of_tick(record, clean=partial(clean, redact=redactor))) is not None:
            traces.add(span)

    return take


def _connections(settings: Settings, redactor: Redactor) -> Connections:
    connections = Connections(
        settings.read_redis_url,
        settings.tuning,
        redactor,
        global_keyprefix=settings.layout.prefix,
        separator=settings.layout.separator,
    )
    connections.url()  # from here on its password is known to the redactor
    return connections


def compose(settings: Settings, *, single_look: bool = False, daemon: bool = False) -> App:
    """Put the parts together; nothing connects yet. A ``single_look`` waits for what else runs aside.

    A ``daemon`` keeps what it learns of memory in Redis, and sends traces where the standard variables of
    OpenTelemetry ask for them.
    """
    redactor = Redactor()
    log = get_logger(level=settings.log_level, style=settings.log_format, redact=redactor)
    connections = _connections(settings, redactor)
    timing = _timing(settings)
    control = _control(settings, connections, log)
    history, recorder = _history(settings, redactor, timing, log)
    traces = _traces(log) if daemon else NoTraces()
    reported = _reported(recorder, traces, redactor)
    memory = _memory(settings, connections, log) if daemon else None
    edges = _edges(settings, connections, control, timing, reported, memory=memory, single_look=single_look)
    metrics = _metrics(settings, log)
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
        remote=control.remote,
        locator=control.locator,
        addresses=control.addresses,
        backlog=edges.backlog,
        pools=edges.pools,
        controller=loop,
        metrics=metrics,
        log=log,
        timing=timing,
        history=history,
        recorder=recorder,
        traces=traces,
    )


def _traces(log: FilteringBoundLogger) -> Traces:
    return start_traces(
        os.environ, service="celery-autoscaler", say=lambda event, fields: log.warning(event, **fields)
    )


def _history(
    settings: Settings, redactor: Redactor, timing: Timing, log: FilteringBoundLogger
) -> tuple[History, Recorder]:
    """The history and what stores it, over a connection of its own: the tick never waits for it."""
    deciding = settings.deciding
    history = History(
        target_waits=TargetWaits(deciding.target_wait_seconds if deciding else None, settings.target_waits),
        clean=partial(clean, redact=redactor),
    )
    aside = Connections(settings.read_redis_url, settings.tuning, redactor)
    recorder = Recorder(
        settings.name,
        history,
        timing,
        redis=aside.redis,
        reset=aside.reset,
        log=log,
        monotonic=time.monotonic,
        wall=time.time,
    )
    return history, recorder
