"""What a worker's replies to remote control mean: pure parsing, tolerant of anything.

A field that is missing, of a wrong type or absurdly large is None or empty, never 0 and never an error: an
older or a foreign companion is read as far as it can be. No I/O.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autoscaler.core.model import PoolKind, WorkerLayout, WorkerReading
from autoscaler.sensors.container import container_reading

_POOLS = {
    "prefork": PoolKind.PREFORK,
    "gevent": PoolKind.GEVENT,
    "eventlet": PoolKind.EVENTLET,
    "thread": PoolKind.THREADS,
    "threads": PoolKind.THREADS,
    "solo": PoolKind.SOLO,
}
#: A float holds every whole number up to here; no size and no time comes near it.
_MAX_NUMBER = 2**53
#: No list and no text of a layout comes near these.
_MAX_ITEMS = 1000
_MAX_CHARACTERS = 200
_MAX_PRIORITY = 255

Reply = dict[str, Any]


def pool_kind(implementation: object) -> PoolKind:
    """The kind of pool from ``stats``'s ``celery.concurrency.prefork:TaskPool`` or a plain name."""
    name = str(implementation).partition(":")[0].rpartition(".")[2]
    return _POOLS.get(name, PoolKind.OTHER)


def parse_report(worker: str, report: Reply) -> WorkerReading:
    """A reading from a companion's ``pool_report``."""
    refusal = report.get("refusal")
    return WorkerReading(
        name=worker,
        pool=pool_kind(report.get("pool")),
        processes=_count(report.get("size")),
        retiring=_count(report.get("retiring")) or 0,
        busy=_count(report.get("busy")),
        reserved=_count(report.get("reserved")),
        scheduled=_count(report.get("scheduled")),
        completed=_count(report.get("completed")),
        uptime_seconds=_number(report.get("uptime_seconds")),
        prefetch=_count(report.get("prefetch")),
        queues=tuple(sorted(str(queue) for queue in _list(report.get("queues")))),
        autoscale=bool(report.get("autoscale")),
        companion=refusal is None,
        companion_refusal=None if refusal is None else str(refusal),
        start_seconds=_number(report.get("start_seconds")),
        layout=parse_layout(report),
        container=container_reading(report),
    )


def parse_layout(report: Reply) -> WorkerLayout | None:
    """Where the worker keeps things in Redis, from a companion's ``layout``; None where it reports none."""
    layout = report.get("layout")
    if not isinstance(layout, dict):
        return None
    contract = _count(layout.get("contract"))
    return WorkerLayout(
        contract=_count(report.get("companion")) if contract is None else contract,
        separator=_text(layout.get("separator")) or None,
        priority_steps=_steps(layout.get("priority_steps")),
        global_keyprefix=_text(layout.get("global_keyprefix")),
        unacked_key=_text(layout.get("unacked_key")) or None,
        visibility_timeout_seconds=_number(layout.get("visibility_timeout_seconds")),
        control_exchange=_text(layout.get("control_exchange")) or None,
        eta_task_limit=_count(layout.get("eta_task_limit")),
        prefetch_disabled=_switch(layout.get("prefetch_disabled")),
        serializer=_text(layout.get("serializer")) or None,
        accept=_texts(layout.get("accept")),
        private_queues=_texts(layout.get("private_queues")),
        start_method=_text(layout.get("start_method")) or None,
    )


def parse_stats(worker: str, stats: Reply) -> WorkerReading:
    """A reading from stock ``stats``, without the counts of tasks."""
    pool = _mapping(stats.get("pool"))
    kind = pool_kind(pool.get("implementation"))
    processes = pool.get("processes")
    size: int | None
    if kind is PoolKind.PREFORK:
        # `max-concurrency` never moves from the -c value; the list of processes does.
        size = len(processes) if isinstance(processes, list) else None
    elif kind is PoolKind.SOLO:
        size = 1
    else:
        size = _count(pool.get("max-concurrency"))
    totals = stats.get("total")
    started = sum(_count(count) or 0 for count in totals.values()) if isinstance(totals, dict) else None
    return WorkerReading(
        name=worker,
        pool=kind,
        processes=size,
        completed=started,
        uptime_seconds=_number(stats.get("uptime")),
        prefetch=_count(stats.get("prefetch_count")),
        autoscale="autoscaler" in stats,
    )


def with_tasks(reading: WorkerReading, busy: int | None, reserved: int | None) -> WorkerReading:
    """The stock reading with its counts of tasks; ``completed`` held those started until now."""
    started = reading.completed
    completed = None if started is None or busy is None else max(0, started - busy)
    return replace(reading, busy=busy, reserved=reserved, completed=completed)


def is_unknown_command(reply: Reply) -> bool:
    """Whether a reply says that the worker does not know the command."""
    return str(reply.get("error", "")).startswith("KeyError(")


def _count(value: object) -> int | None:
    number = _number(value)
    return None if number is None or number < 0 else int(number)


def _number(value: object) -> float | None:
    # JSON as Python reads it has NaN, infinities and whole numbers beyond any float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_NUMBER:
        return None
    return float(value)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= _MAX_CHARACTERS else None


def _texts(value: object) -> tuple[str, ...]:
    found = (_text(one) for one in _list(value)[:_MAX_ITEMS])
    return tuple(sorted({one for one in found if one}))


def _switch(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _steps(value: object) -> tuple[int, ...]:
    steps = _list(value)
    if len(steps) > _MAX_PRIORITY + 1 or not all(
        type(step) is int and 0 <= step <= _MAX_PRIORITY for step in steps
    ):
        return ()
    return tuple(sorted(set(steps)))
