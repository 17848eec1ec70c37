"""Remote commands for a worker under test: a look at its pool's insides. Loaded by the worker."""

from __future__ import annotations

from typing import Any

from celery.worker.control import inspect_command


@inspect_command()  # type: ignore[untyped-decorator]
def churn_prefetch(state: Any) -> dict[str, Any]:
    """What the worker asked the channel to fetch, what the channel fetches, and what it holds now."""
    channel_qos = state.consumer.task_consumer.channel.qos
    return {
        "asked": state.consumer.qos.value,
        "fetched": channel_qos.prefetch_count,
        "held": len(channel_qos._delivered) - len(channel_qos._dirty),
    }


@inspect_command()  # type: ignore[untyped-decorator]
def churn_insides(state: Any) -> dict[str, Any]:
    """The numbers that have to agree when nothing moves any more."""
    if not hasattr(getattr(state.consumer.pool, "_pool", None), "_all_inqueues"):
        return {
            "processes": state.consumer.pool.limit,
            "initial_prefetch": state.consumer.initial_prefetch_count,
        }
    pool = state.consumer.pool._pool
    semaphore = pool._putlock
    resizer = getattr(pool, "_autoscaler_resizer", None)
    return {
        "processes": pool._processes,
        "children": sorted(child.pid for child in pool._pool),
        "inqueues": len(pool._all_inqueues),
        "busy": len(pool._busy_workers),
        "unwritten": len(pool.outbound_buffer),
        "retiring": [child.pid for child in resizer._retiring] if resizer else [],
        "free_slots": [semaphore.value, semaphore.initial_value, len(semaphore._waiting)],
        "initial_prefetch": state.consumer.initial_prefetch_count,
    }
