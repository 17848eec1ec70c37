"""Resizes the gevent and eventlet pools.

What belongs here: Celery's own ``grow`` and ``shrink`` of green pools, made exact and given a floor. What may
never enter: private attributes. A greenlet above the size ends with its task; a new one starts at once.
"""

from __future__ import annotations

from typing import Any

import celery

from .slots import change_prefetch

#: The first Celery whose green pools keep count of their size when they grow and shrink.
_SINCE = (5, 7)


def counts_exactly() -> bool:
    """Whether this Celery's green pools keep count of their size."""
    return bool(celery.VERSION[:2] >= _SINCE)


def resize(consumer: Any, size: int) -> int:
    """Make ``size`` (1 or more) the number of tasks that run at once; the size before."""
    pool = consumer.pool
    was: int = pool.limit
    change = size - was
    if change > 0:
        pool.grow(change)
    elif change < 0:
        pool.shrink(-change)
    change_prefetch(consumer, change)
    return was
