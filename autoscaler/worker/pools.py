"""One view of every kind of pool: what it is, why it cannot be resized, its sizes, and its resize.

What belongs here: the choice between :mod:`.prefork`, :mod:`.green` and :mod:`.threads`. What may never
enter: how any of them does it, and remote control.
"""

from __future__ import annotations

from typing import Any

import billiard
import celery
import kombu
from celery.worker import state as worker_state

from . import green, prefork, prefork_parts, threads
from .cgroup import find_memory_group
from .memory_gate import MemoryGate
from .process_memory import collected_peak_bytes

PREFORK, THREADS, SOLO = "prefork", "threads", "solo"
GREEN = ("gevent", "eventlet")

_KINDS = {
    "celery.concurrency.prefork": PREFORK,
    "celery.concurrency.gevent": "gevent",
    "celery.concurrency.eventlet": "eventlet",
    "celery.concurrency.thread": THREADS,
    "celery.concurrency.solo": SOLO,
}


def kind_of(pool: Any) -> str:
    """``prefork``, ``gevent``, ``eventlet``, ``threads``, ``solo`` or ``other``, by class or base class."""
    modules = (parent.__module__ for parent in type(pool).__mro__)
    return next((_KINDS[module] for module in modules if module in _KINDS), "other")


def prepare(consumer: Any) -> None:
    """What has to be done before the first task so that the pool can be resized later."""
    if kind_of(consumer.pool) == THREADS and not autoscales(consumer):
        threads.install(consumer)
    elif _is_to_guard(consumer) and find_memory_group() is not None:
        prefork.resizer_of(consumer).guard(MemoryGate(collected_peak_bytes))


def _is_to_guard(consumer: Any) -> bool:
    """Whether tasks may be held back for want of memory: Celery's setting ``autoscaler_memory_gate``."""
    if kind_of(consumer.pool) != PREFORK or refusal(consumer) is not None:
        return False
    return bool(consumer.app.conf.get("autoscaler_memory_gate", True))


def autoscales(consumer: Any) -> bool:
    """Whether Celery's own autoscaler resizes this worker."""
    return bool(consumer.controller.autoscaler)


def refusal(consumer: Any) -> str | None:
    """Why this worker cannot be resized, in one sentence, or None where it can."""
    if autoscales(consumer):
        return "this worker runs with --autoscale, which resizes it already; start it without"
    kind = kind_of(consumer.pool)
    return _prefork_refusal(consumer) if kind == PREFORK else _refusal_of(consumer, kind)


def _refusal_of(consumer: Any, kind: str) -> str | None:
    if (kind in GREEN and green.counts_exactly()) or (kind == THREADS and threads.is_installed(consumer)):
        return None
    if kind in GREEN:
        return f"the {kind} pool of {_versions()} loses count of its size; use Celery 5.7 or newer"
    if kind == THREADS:
        return "the companion was loaded after the pool of threads had started; load it with -I or imports"
    return f"a pool of the kind {kind!r} has a fixed size; use --pool prefork, gevent, eventlet or threads"


def fault_of_size(consumer: Any, size: int) -> str | None:
    """Why this pool cannot have ``size`` processes here, in one sentence, or None where it can."""
    return prefork.lack_of_files(consumer, size) if kind_of(consumer.pool) == PREFORK else None


def resize(consumer: Any, size: int) -> dict[str, int]:
    """Make ``size`` the number of processes that take work; :func:`refusal` has to be None.

    Returns ``size``, ``was`` (the size before) and ``retiring`` (those that still run a task).
    """
    kind = kind_of(consumer.pool)
    if kind == PREFORK:
        resizer = prefork.resizer_of(consumer)
        was = resizer.size
        resizer.resize(size)
        return {"size": size, "was": was, "retiring": resizer.retiring}
    was = (threads if kind == THREADS else green).resize(consumer, size)
    return {"size": size, "was": was, "retiring": max(0, len(worker_state.active_requests) - size)}


def sizes(consumer: Any, refused: str | None, busy: int) -> dict[str, Any]:
    """``size``, ``ready``, ``retiring`` and ``start_seconds``; ``refused`` is :func:`refusal`."""
    kind = kind_of(consumer.pool)
    if kind == PREFORK and refused is None:
        resizer = prefork.resizer_of(consumer)
        return {
            "size": resizer.size,
            "ready": resizer.ready,
            "retiring": resizer.retiring,
            "start_seconds": resizer.start_seconds,
        }
    # A gevent pool of Celery before 5.7 calls the tasks that run now its processes.
    size = 1 if kind == SOLO else consumer.pool.limit if kind in GREEN else consumer.pool.num_processes
    retiring = max(0, busy - size) if kind in {*GREEN, THREADS} else 0
    return {"size": size, "ready": size, "retiring": retiring, "start_seconds": None}


def memory_wait_seconds(consumer: Any, refused: str | None) -> float | None:
    """For how long tasks have waited for memory, None where none do; ``refused`` as in :func:`sizes`."""
    if kind_of(consumer.pool) != PREFORK or refused is not None:
        return None
    seconds = prefork.resizer_of(consumer).memory_wait_seconds
    return None if seconds is None else round(seconds, 3)


def child_pids(consumer: Any) -> list[int]:
    """The pool's child processes, retiring ones too; none where tasks run in the worker's own process."""
    return prefork.child_pids(consumer) if kind_of(consumer.pool) == PREFORK else []


def start_method(consumer: Any) -> str | None:
    """How the pool's processes are started, ``fork`` or ``spawn``; None where it has none."""
    if kind_of(consumer.pool) != PREFORK:
        return None
    return str(getattr(consumer.controller, "pool_start_method", None) or "fork")


def _prefork_refusal(consumer: Any) -> str | None:
    if consumer.hub is None:
        return (
            "the prefork pool runs on threads with this broker; use Redis or AMQP, which have an event loop"
        )
    missing = prefork_parts.missing_parts(consumer)
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
