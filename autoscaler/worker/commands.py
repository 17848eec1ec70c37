"""Two remote commands for a Celery worker: a report in counts, and a resize that loses no task.

What belongs here: the commands, what they accept and what they answer. What may never enter: how a pool is
resized (:mod:`.pools`) and how anything in the report is read. Beside Celery, what comes with Celery and the
standard library nothing is imported; Python 3.9 will do. The folder works by itself, too, wherever it is
copied.

``pool_report`` (inspect command, no arguments)
    What :func:`pool_report` documents. Counts only, never names or arguments of tasks.

``pool_resize`` (control command, ``size``, and ``by`` where the report has ``resizers``)
    Makes the number of processes that take work ``size``: absolute, so that asking twice does no harm.
    ``by`` is the name of who asks; the report repeats it for as long as it is among the latest few.
    Answers ``{"ok": {"size": .., "was": .., "retiring": ..}}``, or ``{"error": "one line"}`` and changes
    nothing. No child gets a signal: one that runs a task ends when its task has ended.

A publisher may call :func:`stamp_published` once, so that the age of waiting messages is known.

A worker without this module answers Celery's own error for an unknown command, which is how its absence
shows.
"""

from __future__ import annotations

import os
import time
from typing import Any

from celery.signals import before_task_publish
from celery.utils.log import get_logger
from celery.worker.control import control_command, inspect_command

from . import counts, pools, resizers, step
from .cgroup import read_cgroup
from .layout import read_layout
from .process_memory import ProcessMemory
from .published_at import PUBLISHED_HEADER

_log = get_logger(__name__)

#: Version of the two commands' contract.
CONTRACT = 1
MAX_SIZE = 10_000

_LOADED_AT = time.monotonic()
_memory = ProcessMemory()

step.register()


@inspect_command()  # type: ignore[untyped-decorator]
def pool_report(state: Any) -> dict[str, Any]:
    """The pool's size, load, memory and container in counts.

    ``size`` is what the pool is set to and ``ready`` how many of those take work already; ``retiring``
    children take no more and have not ended yet. ``start_seconds`` is the time from a resize to the
    readiness of its last new process. ``refusal`` says in one sentence why ``pool_resize`` is refused here.
    ``resizers`` has the seconds since the last resize by each name that was given as ``by``.
    ``late_running_seconds`` is :func:`.counts.read_late_running`, ``memory_wait_seconds`` for how long tasks
    have been waiting for room in memory while processes are idle. ``prefetch`` is 0 where it is unlimited.
    ``consuming`` is whether the broker sends this worker tasks, ``reconnects`` how often it has lost the
    broker and connected anew. The counts of tasks are those of :func:`.counts.read_counts`, memory is
    :meth:`.process_memory.ProcessMemory.read`, ``container`` is :class:`.cgroup.CgroupReading`, and
    ``layout`` is :func:`.layout.read_layout`. Sizes in bytes and times in seconds, None where unknown.
    """
    consumer = state.consumer
    tasks, refused = counts.read_counts(consumer), pools.refusal(consumer)
    return {
        "companion": CONTRACT,
        "pool": pools.kind_of(consumer.pool),
        "autoscale": pools.autoscales(consumer),
        "refusal": refused,
        **pools.sizes(consumer, refused, tasks["busy"]),
        **tasks,
        "late_running_seconds": counts.read_late_running(time.time()),
        "memory_wait_seconds": pools.memory_wait_seconds(consumer, refused),
        "uptime_seconds": round(time.monotonic() - _LOADED_AT, 3),
        "pid": os.getpid(),
        "prefetch": consumer.qos.value if consumer.qos else 0,
        "queues": counts.consumed_queues(consumer),
        "consuming": counts.is_consuming(consumer),
        "reconnects": counts.count_reconnects(consumer),
        "container": read_cgroup().as_json(),
        **_memory.read(pools.child_pids(consumer)),
        "layout": read_layout(consumer),
        "resizers": resizers.read(),
    }


@control_command(args=[("size", int)], signature="<size>")  # type: ignore[untyped-decorator]
def pool_resize(state: Any, size: Any = None, by: Any = None, **unknown: Any) -> dict[str, Any]:
    """Make the number of processes that take work ``size``, losing no task."""
    consumer = state.consumer
    fault = (
        _fault(size, unknown)
        or resizers.fault_of_name(by)
        or pools.refusal(consumer)
        or pools.fault_of_size(consumer, size)
    )
    if fault:
        return {"error": fault}
    done = pools.resize(consumer, size)
    resizers.note(by)
    if done["was"] != size:
        _log.info("pool_resize: %s to %s processes, %s retiring", done["was"], size, done["retiring"])
    return {"ok": done}


def stamp_published() -> None:
    """From now on every task that this process publishes carries the time of it, in epoch seconds.

    For the application that sends tasks: the autoscaler then reads the age of the oldest waiting message
    instead of estimating it. A retry is published anew, and is as old as that.
    """
    before_task_publish.connect(_stamp, weak=False, dispatch_uid=PUBLISHED_HEADER)


def _stamp(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers[PUBLISHED_HEADER] = time.time()


def _fault(size: object, unknown: dict[str, Any]) -> str | None:
    """What is wrong with the arguments of ``pool_resize``, in one line, or None."""
    if unknown:
        names = ", ".join(sorted(map(_shown, unknown)))
        return f"pool_resize does not know {names}; its arguments are size and by"
    if type(size) is not int or not 1 <= size <= MAX_SIZE:
        return f"pool_resize: size is {_shown(size)}; it is a whole number from 1 to {MAX_SIZE}"
    return None


def _shown(value: object) -> str:
    # One short line, whatever was sent: a number of a million digits is not even turned into text.
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."  # noqa: PLR2004 - as long as reads well
