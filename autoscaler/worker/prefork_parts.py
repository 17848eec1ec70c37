# ruff: noqa: SLF001 - private attributes are what this module is for
"""Which parts of billiard and Celery a resize without loss needs, and which of them a version lacks.

What belongs here: names and shapes. What may never enter: a change of anything. The rows are what
:mod:`.prefork` uses, no more and no less.
"""

from __future__ import annotations

import inspect
from collections import deque
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from billiard.pool import ApplyResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    _Part = tuple[str, type | Callable[[object], bool]]


@lru_cache(maxsize=8)
def _takes(function: object, arguments: int) -> bool:
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(*range(arguments))
    except (TypeError, ValueError):
        return False
    return True


#: Path from the consumer, and what has to be found there.
_PARTS: tuple[_Part, ...] = (
    ("hub.on_tick", set),
    ("hub.call_soon", callable),
    ("hub.call_later", callable),
    ("hub.remove_writer", callable),
    ("prefetch_multiplier", int),
    ("initial_prefetch_count", int),
    ("pool._pool._pool", list),
    ("pool._pool._processes", int),
    ("pool._pool._state", int),
    ("pool._pool._cache", dict),
    ("pool._pool._queues", dict),
    ("pool._pool._all_inqueues", set),
    ("pool._pool._busy_workers", set),
    ("pool._pool._active_writes", set),
    ("pool._pool._fileno_to_inq", dict),
    ("pool._pool.outbound_buffer", deque),
    ("pool._pool.maintain_pool", callable),
    ("pool._pool._process_cleanup_queues", callable),
    ("pool._pool._repopulate_pool", lambda found: _takes(found, 1)),
    ("pool._pool.on_grow", lambda found: _takes(found, 1)),
    ("pool._pool._putlock.initial_value", int),
    ("pool._pool._putlock.value", int),
    ("pool._pool._putlock._waiting", deque),
    ("pool._pool._putlock.release", callable),
)
#: The same of each child process, and of the class of the pool's jobs.
_CHILD_PARTS: tuple[_Part, ...] = (
    ("pid", int),
    ("inqW_fd", int),
    ("inq.put", callable),
    ("inq.get", callable),
    ("inq._reader.poll", callable),
    ("inq._reader.closed", bool),
    ("_popen", object),
)
_JOB_PARTS: tuple[_Part, ...] = (
    ("_write_to", object),
    ("_scheduled_for", object),
    ("worker_pids", callable),
)


def missing_parts(consumer: Any) -> tuple[str, ...]:
    """What :class:`.prefork.PreforkResizer` uses and this worker does not have, as dotted paths.

    A part that is there with another shape (a list in place of a set, another number of arguments) is
    missing too.
    """
    found = _lacking(consumer, _PARTS, "consumer")
    found += _lacking(ApplyResult, _JOB_PARTS, "ApplyResult")
    if not found:
        for child in consumer.pool._pool._pool[:1]:
            found += _lacking(child, _CHILD_PARTS, "child")
    return tuple(found)


def _lacking(owner: Any, parts: Iterable[_Part], name: str) -> list[str]:
    lacking = []
    for path, shape in parts:
        try:
            found = attrgetter(path)(owner)
        except AttributeError:
            lacking.append(f"{name}.{path}")
            continue
        fits = isinstance(found, shape) if isinstance(shape, type) else shape(found)
        if not fits:
            lacking.append(f"{name}.{path}")
    return lacking
