"""Two remote commands for a Celery worker: a report in counts, and a resize that loses no task.

Loaded by the worker, by ``-I autoscaler.companion``, by ``imports`` or by ``include`` in its configuration.
It brings Celery, what comes with Celery, the standard library, :mod:`autoscaler.worker.cgroup` and
:mod:`autoscaler.worker.published_at`, and does nothing until it is asked.

``pool_report`` (inspect command, no arguments)
    What :func:`pool_report` documents. Counts only, never names or arguments of tasks.

``pool_resize`` (control command, ``size``)
    Makes the number of processes that take work ``size``: absolute, so that asking twice does no harm.
    Answers ``{"ok": {"size": .., "was": .., "retiring": ..}}``, or ``{"error": "one line"}`` and changes
    nothing. No child gets a signal: one that runs a task leaves when that has ended.

A publisher may call :func:`stamp_published` once, so that the age of a waiting message can be told.

A worker without this module answers Celery's own error for an unknown command, which is how its absence
shows.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import asdict
from typing import Any

import billiard
import celery
import kombu
from celery.signals import before_task_publish
from celery.worker import request as worker_request
from celery.worker import state as worker_state
from celery.worker.control import control_command, inspect_command

from autoscaler.worker import prefork
from autoscaler.worker.cgroup import read_cgroup
from autoscaler.worker.published_at import PUBLISHED_HEADER

#: Version of the two commands' contract.
CONTRACT = 1
MAX_SIZE = 10_000

#: The first Celery whose green pools keep count of their size when they grow and shrink.
_GREEN_SINCE = (5, 7)
#: Open files that a worker's process needs for each child: two pipes and the child's sentinel, twice.
_FILES_PER_CHILD = 6
_FILES_TO_SPARE = 64

_POOLS = {
    "celery.concurrency.prefork": "prefork",
    "celery.concurrency.gevent": "gevent",
    "celery.concurrency.eventlet": "eventlet",
    "celery.concurrency.thread": "threads",
    "celery.concurrency.solo": "solo",
}

_LOADED_AT = time.monotonic()
_PAGE_BYTES = resource.getpagesize()


@inspect_command()  # type: ignore[untyped-decorator]
def pool_report(state: Any) -> dict[str, Any]:
    """Tell the pool's size, load and container in counts.

    ``size`` is what the pool is set to and ``ready`` how many of those take work already; ``retiring``
    counts the children given up that have not ended. ``busy`` tasks run, ``reserved`` ones are fetched and
    wait for a process, ``scheduled`` ones wait for their ETA, ``completed`` ones have ended since the start.
    ``prefetch`` is 0 where it is unlimited. ``start_seconds`` is the time from a resize to the readiness of
    its last new process. ``refusal`` says in one sentence why ``pool_resize`` is refused here. Sizes in
    bytes and times in seconds, None where unknown.
    """
    consumer = state.consumer
    kind, refusal = _kind(consumer.pool), _refusal(consumer)
    busy = len(worker_state.active_requests)
    task_consumer = consumer.task_consumer
    container = asdict(read_cgroup())
    container.pop("faults")
    return {
        "companion": CONTRACT,
        "pool": kind,
        "autoscale": _autoscales(consumer),
        "refusal": refusal,
        **_sizes(consumer, kind, refusal, busy),
        "busy": busy,
        "reserved": max(0, len(worker_state.reserved_requests) - busy),
        "scheduled": _count_scheduled(consumer),
        "completed": max(0, worker_state.all_total_count[0] - busy),
        "uptime_seconds": round(time.monotonic() - _LOADED_AT, 3),
        "pid": os.getpid(),
        "prefetch": consumer.qos.value if consumer.qos else 0,
        "queues": sorted(queue.name for queue in task_consumer.queues) if task_consumer else [],
        "container": container,
        "parent_rss_bytes": _rss_bytes(os.getpid()),
        "child_rss_bytes": _child_rss_bytes(consumer, kind),
    }


@control_command(args=[("size", int)], signature="<size>")  # type: ignore[untyped-decorator]
def pool_resize(state: Any, size: Any = None, **unknown: Any) -> dict[str, Any]:
    """Make the number of processes that take work ``size``, losing no task."""
    consumer = state.consumer
    fault = _fault(size, unknown) or _refusal(consumer) or _lack_of_files(consumer, size)
    if fault:
        return {"error": fault}
    if _kind(consumer.pool) == "prefork":
        return {"ok": _resize_prefork(consumer, size)}
    return {"ok": _resize_green(consumer, size)}


def stamp_published() -> None:
    """From now on every task that this process publishes carries the time of it, in epoch seconds.

    For the application that sends tasks: the autoscaler then reads the age of the oldest waiting message
    instead of reckoning it. A retry is published anew, and is as old as that.
    """
    before_task_publish.connect(_stamp, weak=False, dispatch_uid=PUBLISHED_HEADER)


def _stamp(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers[PUBLISHED_HEADER] = time.time()


# -- the resize


def _fault(size: object, unknown: dict[str, Any]) -> str | None:
    """What is wrong with the arguments of ``pool_resize``, in one line, or None."""
    if unknown:
        names = ", ".join(sorted(map(_shown, unknown)))
        return f"pool_resize does not know {names}; its only argument is size"
    if type(size) is not int or not 1 <= size <= MAX_SIZE:
        return f"pool_resize: size is {_shown(size)}; it is a whole number from 1 to {MAX_SIZE}"
    return None


def _shown(value: object) -> str:
    # One short line, whatever was sent: a number of a million digits is not even turned into text.
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."  # noqa: PLR2004 - as long as reads well


def _resize_prefork(consumer: Any, size: int) -> dict[str, int]:
    resizer = prefork.resizer_of(consumer)
    was = resizer.size
    resizer.resize(size)
    return {"size": size, "was": was, "retiring": resizer.retiring}


def _resize_green(consumer: Any, size: int) -> dict[str, int]:
    pool = consumer.pool
    was = pool.limit
    change = size - was
    if change > 0:
        pool.grow(change)
    elif change < 0:
        pool.shrink(-change)
    prefork.change_prefetch(consumer, change)
    return {"size": size, "was": was, "retiring": max(0, len(worker_state.active_requests) - size)}


def _lack_of_files(consumer: Any, size: int) -> str | None:
    # Out of descriptors a worker can neither talk to its broker nor fork what dies: refuse before that.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if _kind(consumer.pool) != "prefork" or limit == resource.RLIM_INFINITY:
        return None
    most = max((limit - _FILES_TO_SPARE) // _FILES_PER_CHILD, consumer.pool.num_processes)
    if size <= most:
        return None
    return (
        f"pool_resize: size is {size}; with {limit} open files this worker can have {most} processes,"
        " raise its limit (ulimit -n)"
    )


# -- what kind of worker this is


def _kind(pool: Any) -> str:
    modules = (parent.__module__ for parent in type(pool).__mro__)
    return next((_POOLS[module] for module in modules if module in _POOLS), "other")


def _autoscales(consumer: Any) -> bool:
    return bool(consumer.controller.autoscaler)


def _refusal(consumer: Any) -> str | None:
    """Why this worker cannot be resized, in one sentence, or None where it can."""
    kind = _kind(consumer.pool)
    if _autoscales(consumer):
        return "this worker runs with --autoscale, which resizes it already; start it without"
    if kind == "prefork":
        return _prefork_refusal(consumer)
    if kind in {"gevent", "eventlet"}:
        if celery.VERSION[:2] >= _GREEN_SINCE:
            return None
        return f"the {kind} pool of {_versions()} loses count of its size; use Celery 5.7 or newer"
    return f"a pool of the kind {kind!r} has a fixed size; use --pool prefork, gevent or eventlet"


def _prefork_refusal(consumer: Any) -> str | None:
    if consumer.hub is None:
        return (
            "the prefork pool runs on threads with this broker; use Redis or AMQP, which have an event loop"
        )
    missing = prefork.missing_parts(consumer)
    if missing:
        return (
            f"{_versions()} lacks what a resize without loss needs ({', '.join(missing)});"
            " use versions that have it, or the stock pool_grow and pool_shrink"
        )
    if not prefork.resizer_of(consumer).running:
        return "this worker shuts down"
    return None


def _versions() -> str:
    modules = {"Celery": celery, "billiard": billiard, "kombu": kombu}
    return ", ".join(f"{name} {module.__version__}" for name, module in modules.items())


# -- counts


def _sizes(consumer: Any, kind: str, refusal: str | None, busy: int) -> dict[str, Any]:
    if kind == "prefork" and refusal is None:
        resizer = prefork.resizer_of(consumer)
        return {
            "size": resizer.size,
            "ready": resizer.ready,
            "retiring": resizer.retiring,
            "start_seconds": resizer.start_seconds,
        }
    size = 1 if kind == "solo" else consumer.pool.num_processes
    retiring = max(0, busy - size) if kind in {"gevent", "eventlet"} else 0
    return {"size": size, "ready": size, "retiring": retiring, "start_seconds": None}


def _count_scheduled(consumer: Any) -> int:
    known = getattr(worker_state, "scheduled_requests", None)
    if known is not None:
        return len(known)
    # Before Celery 5.7 they stand in the timer alone, among its other entries.
    waiting = (getattr(entry, "entry", None) for entry in tuple(consumer.timer.queue))
    return sum(_is_request(getattr(entry, "args", ())) for entry in waiting)


def _is_request(args: Any) -> bool:
    return bool(args) and isinstance(args[0], worker_request.Request)


def _child_rss_bytes(consumer: Any, kind: str) -> list[int]:
    if kind != "prefork":
        return []
    sizes = map(_rss_bytes, prefork.child_pids(consumer))
    return [size for size in sizes if size]


def _rss_bytes(pid: int) -> int | None:
    """Resident memory of a process, or None where it has none to show: ``/proc/<pid>/statm``, proc(5)."""
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as statm:  # noqa: PTH123 - 3 us less for each child
            return int(statm.read(64).split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return None
