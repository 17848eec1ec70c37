"""What a worker's replies to remote control mean: pure parsing, tolerant of anything.

A field that is missing, of a wrong type or absurdly large is None or empty, never 0 and never an error: an
older or a foreign companion is read as far as it can be. No I/O.
"""

from __future__ import annotations

from typing import Any

from autoscaler.broker.errors import one_line
from autoscaler.core.model import PoolKind, WorkerLayout, WorkerReading
from autoscaler.sensors import values
from autoscaler.sensors.container import container_reading

_POOLS = {
    "prefork": PoolKind.PREFORK,
    "gevent": PoolKind.GEVENT,
    "eventlet": PoolKind.EVENTLET,
    "thread": PoolKind.THREADS,
    "threads": PoolKind.THREADS,
    "solo": PoolKind.SOLO,
}

#: No process takes longer to start: it is the most that may be assumed of one, too.
_MAX_START_SECONDS = 3600.0

Reply = dict[str, Any]


def pool_kind(implementation: object) -> PoolKind:
    """The kind of pool from ``stats``'s ``celery.concurrency.prefork:TaskPool`` or a plain name."""
    name = str(implementation).partition(":")[0].rpartition(".")[2]
    return _POOLS.get(name, PoolKind.OTHER)


class Layouts:
    """Parses layouts; one that is the same as the last is parsed once, for a whole fleet has the same."""

    def __init__(self) -> None:
        self._last: Reply = {}
        self._parsed: WorkerLayout | None = None

    def parse(self, report: Reply) -> WorkerLayout | None:
        """As :func:`parse_layout`."""
        found = {"layout": report.get("layout"), "companion": report.get("companion")}
        if found != self._last:
            self._last, self._parsed = found, parse_layout(found)
        return self._parsed


def parse_report(worker: str, report: Reply, layouts: Layouts | None = None) -> WorkerReading:
    """A reading from a companion's ``pool_report``; ``layouts`` remembers the layout of the one before."""
    refusal = report.get("refusal")
    return WorkerReading(
        name=worker,
        pool=pool_kind(report.get("pool")),
        processes=values.count(report.get("size")),
        retiring=values.count(report.get("retiring")) or 0,
        busy=values.count(report.get("busy")),
        reserved=values.count(report.get("reserved")),
        scheduled=values.count(report.get("scheduled")),
        completed=values.count(report.get("completed")),
        uptime_seconds=values.amount(report.get("uptime_seconds")),
        prefetch=values.count(report.get("prefetch")),
        queues=values.names(report.get("queues")),
        queues_known=isinstance(report.get("queues"), list),
        autoscale=bool(report.get("autoscale")),
        companion=refusal is None,
        companion_refusal=None if refusal is None else one_line(str(refusal)),
        start_seconds=values.amount(report.get("start_seconds"), _MAX_START_SECONDS),
        layout=(layouts or Layouts()).parse(report),
        container=container_reading(report),
        resizers=parse_resizers(report.get("resizers")),
        rate_limited=values.count(report.get("rate_limited")),
        discarded=values.count(report.get("discarded")),
        consuming=values.switch(report.get("consuming")),
        reconnects=values.count(report.get("reconnects")),
        late_running_seconds=values.amount(report.get("late_running_seconds")),
        memory_wait_seconds=values.amount(report.get("memory_wait_seconds")),
    )


def parse_resizers(found: object) -> tuple[tuple[str, float], ...] | None:
    """Who has resized the worker and how many seconds ago, by name; None where that is not reported."""
    if not isinstance(found, dict):
        return None
    if not found:
        return ()
    pairs = (
        (values.text(name), values.amount(seconds))
        for name, seconds in list(found.items())[: values.MAX_NAMES]
    )
    return tuple(sorted((name, seconds) for name, seconds in pairs if name and seconds is not None))


def parse_layout(report: Reply) -> WorkerLayout | None:
    """Where the worker keeps things in Redis, from a companion's ``layout``; None where it reports none."""
    layout = report.get("layout")
    if not isinstance(layout, dict):
        return None
    contract = values.count(layout.get("contract"))
    return WorkerLayout(
        contract=values.count(report.get("companion")) if contract is None else contract,
        separator=values.text(layout.get("separator")) or None,
        priority_steps=values.steps(layout.get("priority_steps")),
        global_keyprefix=values.text(layout.get("global_keyprefix")),
        unacked_key=values.text(layout.get("unacked_key")) or None,
        visibility_timeout_seconds=values.amount(layout.get("visibility_timeout_seconds")),
        control_exchange=values.text(layout.get("control_exchange")) or None,
        eta_task_limit=values.count(layout.get("eta_task_limit")),
        prefetch_disabled=values.switch(layout.get("prefetch_disabled")),
        serializer=values.text(layout.get("serializer")) or None,
        accept=values.texts(layout.get("accept")),
        private_queues=values.texts(layout.get("private_queues")),
        start_method=values.text(layout.get("start_method")) or None,
    )


def parse_stats(worker: str, stats: Reply) -> WorkerReading:
    """A reading from stock ``stats``, without the counts of tasks."""
    pool = values.mapping(stats.get("pool"))
    kind = pool_kind(pool.get("implementation"))
    processes = pool.get("processes")
    size: int | None
    if kind is PoolKind.PREFORK:
        # `max-concurrency` never moves from the -c value; the list of processes does.
        size = len(processes) if isinstance(processes, list) else None
    elif kind is PoolKind.SOLO:
        size = 1
    else:
        size = values.count(pool.get("max-concurrency"))
    totals = stats.get("total")
    started = sum(values.count(count) or 0 for count in totals.values()) if isinstance(totals, dict) else None
    return WorkerReading(
        name=worker,
        pool=kind,
        processes=size,
        completed=started,
        uptime_seconds=values.amount(stats.get("uptime")),
        prefetch=values.count(stats.get("prefetch_count")),
        autoscale="autoscaler" in stats,
    )


def with_tasks(reading: WorkerReading, busy: int | None, reserved: int | None) -> WorkerReading:
    """The stock reading with its counts of tasks; ``completed`` held those started until now."""
    started = reading.completed
    completed = None if started is None or busy is None else max(0, started - busy)
    return reading._replace(busy=busy, reserved=reserved, completed=completed)


def is_unknown_command(reply: Reply) -> bool:
    """Whether a reply says that the worker does not know the command."""
    return str(reply.get("error", "")).startswith("KeyError(")
