"""How many tasks a worker runs, holds, has finished and has thrown away, and whether it takes any.

What belongs here: counts read from Celery's own state. What may never enter: names, ids or arguments of
tasks, and anything about the pool.
"""

from __future__ import annotations

from typing import Any

from celery.signals import task_revoked
from celery.worker import request as worker_request
from celery.worker import state as worker_state

#: Tasks thrown away since the start, in a list for the sake of one object that the signal adds to.
_discarded = [0]


def read_counts(consumer: Any) -> dict[str, Any]:
    """Counts of tasks.

    ``busy`` tasks run, ``reserved`` ones are fetched and wait for a process, ``scheduled`` ones wait for
    their ETA, ``rate_limited`` ones (in none of the others) for their task's rate limit. ``completed`` ones
    have ended since the start; ``discarded`` ones were revoked or had expired, never ran, and are in no
    other count.
    """
    busy = len(worker_state.active_requests)
    return {
        "busy": busy,
        "reserved": max(0, len(worker_state.reserved_requests) - busy),
        "scheduled": _count_scheduled(consumer),
        "rate_limited": _count_rate_limited(consumer),
        "completed": max(0, worker_state.all_total_count[0] - busy),
        "discarded": _discarded[0],
    }


def read_late_running(now: float) -> float | None:
    """Seconds for which the oldest of the running tasks has been running whose message is not acknowledged.

    ``now`` is in epoch seconds. None where there is no such task: with early acknowledgement a message is
    acknowledged when its task starts.
    """
    starts = (
        getattr(request, "time_start", None)
        for request in tuple(worker_state.active_requests)
        if not getattr(request, "acknowledged", True)
    )
    running = [now - start for start in starts if isinstance(start, (int, float))]
    return round(max(0.0, *running), 3) if running else None


def consumed_queues(consumer: Any) -> list[str]:
    """The names of the queues that the worker consumes, sorted."""
    task_consumer = consumer.task_consumer
    return sorted(queue.name for queue in task_consumer.queues) if task_consumer else []


def is_consuming(consumer: Any) -> bool | None:
    """Whether the broker sends this worker tasks: connected, with a consumer on one queue or more."""
    connection, task_consumer = consumer.connection, consumer.task_consumer
    if not connection or not task_consumer:
        return False
    try:
        return bool(connection.connected) and any(map(task_consumer.consuming_from, task_consumer.queues))
    except Exception:  # noqa: BLE001 - a transport of somebody else's
        return None


def count_reconnects(consumer: Any) -> int | None:
    """How often the worker has connected anew since its start."""
    count = getattr(consumer, "restart_count", None)
    return max(0, count) if isinstance(count, int) else None


def watch_discarded() -> None:
    """Count from now on the tasks that are thrown away; further calls do nothing."""
    task_revoked.connect(_count_discarded, weak=False, dispatch_uid=f"{__name__}.discarded")


def _count_discarded(terminated: bool = False, **_: Any) -> None:  # noqa: FBT001, FBT002 - the signal's
    if not terminated:  # that one ran, and counts as completed
        _discarded[0] += 1


def _count_scheduled(consumer: Any) -> int:
    known = getattr(worker_state, "scheduled_requests", None)
    if known is not None:
        return len(known)
    # Before Celery 5.7 they are in the timer alone, among its other entries.
    waiting = (getattr(entry, "entry", None) for entry in tuple(consumer.timer.queue))
    return sum(_is_request(getattr(entry, "args", ())) for entry in waiting)


def _is_request(args: Any) -> bool:
    return bool(args) and isinstance(args[0], worker_request.Request)


def _count_rate_limited(consumer: Any) -> int:
    buckets = getattr(consumer, "task_buckets", None) or {}
    return sum(len(bucket.contents) for bucket in tuple(buckets.values()) if bucket)
