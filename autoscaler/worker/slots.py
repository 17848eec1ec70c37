# ruff: noqa: SLF001 - kombu's semaphore has no public way to forget a slot
"""What changes beside a pool's own size: how much its worker fetches ahead, and the slots for running tasks.

What belongs here: prefetch and semaphore, the same for every kind of pool. What may never enter: a pool.
"""

from __future__ import annotations

from typing import Any


def change_prefetch(consumer: Any, processes: int) -> None:
    """Raise or lower what the consumer may fetch ahead by what ``processes`` more or fewer of them bring."""
    if not consumer.initial_prefetch_count:
        return  # unlimited
    each = consumer.prefetch_multiplier
    consumer.initial_prefetch_count = consumer.pool.num_processes * each
    qos = consumer.qos
    if qos is not None and qos.value:
        # Set, not decremented: after a reconnect Celery starts with a lower count and raises it in steps of
        # `each` up to exactly the full one, which a floor of 1 would make it miss.
        qos.value = max(qos.value + processes * each, each)


def change_semaphore(semaphore: Any, change: int) -> None:
    """Give kombu's ``LaxBoundedSemaphore`` exactly ``change`` slots more or fewer.

    Its own ``grow`` gives one slot to two waiters, and its ``shrink`` forgets the slot when none is free.
    """
    semaphore.initial_value += change
    for _ in range(change):
        semaphore.release()
    for _ in range(-change):
        if semaphore.value > 0:
            semaphore.value -= 1
        else:
            semaphore._waiting.appendleft((absorb, (), {}))


def absorb() -> None:
    """Take a freed slot and do nothing with it."""
