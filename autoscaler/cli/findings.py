"""What ``check`` reports: each function turns readings into findings with what to do.

Nothing here reads anything: no I/O, no clock, no environment.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoPermissionError, ResponseError

from autoscaler.broker.errors import BrokerError
from autoscaler.broker.keys import Keys
from autoscaler.cli.text import existing
from autoscaler.report.status import limits, shrinking

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from autoscaler.core.model import QueueReading, WorkerReading
    from autoscaler.sensors.workers import WorkersReading
    from autoscaler.settings.load import Settings

#: No more queues than so many are named that hold tasks and have no consumer.
_MAX_UNCONSUMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding: ``level`` is ok, warn (works with limits) or fail (does not work)."""

    level: str
    subject: str
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain values."""
        return asdict(self)


def unreachable(url: str, fault: BrokerError) -> Finding:
    """Redis cannot be read at all."""
    return Finding(level="fail", subject="redis", found=f"{url}: {fault}", advice=fault.advice)


def uncontrollable(fault: BrokerError) -> Finding:
    """Remote control of the workers fails."""
    advice = fault.advice
    if isinstance(fault.__cause__, NoPermissionError):
        advice = "the user needs publish on the pidbox channel and its reply keys"
    return Finding(level="fail", subject="remote control", found=str(fault), advice=advice)


def rights(name: str, fault: Exception | None) -> Finding:
    """Whether our own keys can be read; ``fault`` is what reading them raised."""
    keys = Keys(name=name)
    if fault is None:
        return Finding(level="ok", subject="rights", found=f"the keys autoscaler:{name}:* can be read")
    cause = fault.__cause__ if isinstance(fault, BrokerError) else None
    if isinstance(cause, NoPermissionError):
        advice = f"grant ~autoscaler:{name}:*: without it overrides are not seen and no status is stored"
        return Finding(level="warn", subject="rights", found=str(fault), advice=advice)
    if isinstance(fault, ValueError):
        advice = f"correct or delete {keys.override}"
        return Finding(level="warn", subject="override", found=str(fault), advice=advice)
    if isinstance(cause, ResponseError):
        advice = f"delete the keys under autoscaler:{name}:"
        return Finding(level="warn", subject="rights", found=str(fault), advice=advice)
    return Finding(
        level="fail",
        subject="rights",
        found=str(fault),
        advice="Redis answered and then did not; run it again",
    )


def unread(faults: Mapping[str, str]) -> Iterator[Finding]:
    """What beside the queues could not be read, and what follows from it."""
    advice = {
        "mailboxes": "grant smembers on _kombu.binding.*.pidbox: without it no worker that hangs is missed",
        "ages": "grant lindex on the queues: without it the wait of the oldest task is estimated",
    }
    for part in sorted(advice.keys() & faults.keys()):
        yield Finding(level="warn", subject=part, found=faults[part], advice=advice[part])


def variables(unknown: Mapping[str, str | None]) -> Iterator[Finding]:
    """Variables that look like a setting and are none."""
    for name, nearest in unknown.items():
        yield Finding(
            level="warn",
            subject=f"variable {name}",
            found="it is not a setting and has no effect",
            advice=f"did you mean {nearest}?" if nearest else "remove it, or see autoscaler run --help",
        )


def ignored(settings: Settings, why: str) -> Iterator[Finding]:
    """Settings that were given and have no effect."""
    if settings.ignored:
        yield Finding(level="warn", subject=", ".join(settings.ignored), found="no effect", advice=why)


def queue_names(settings: Settings, seen: Sequence[QueueReading], consumed: Collection[str]) -> list[Finding]:
    """The queues that --queue and --target-wait name and that no worker consumes."""
    waiting = {queue.name: queue.waiting for queue in seen if queue.waiting}
    known = {queue.name for queue in seen if queue.error} | set(consumed)
    given = [("--queue", name) for name in sorted(settings.scope.queues)]
    given += [("--target-wait", name) for name in sorted(settings.target_waits)]
    return [
        Finding(
            level="fail",
            subject=f"{flag} {name}",
            found=f"{waiting[name]} waiting, and no worker that answers consumes it"
            if name in waiting
            else "no worker consumes it and it holds no message",
            advice=f"start a worker with -Q {name}"
            if name in waiting
            else existing("queues that workers consume", name, consumed),
        )
        for flag, name in given
        if name not in known
    ]


def worker_names(settings: Settings, answering: Collection[str]) -> list[Finding]:
    """The workers that --worker names and that do not answer."""
    return [
        Finding(
            level="fail",
            subject=f"--worker {name}",
            found="no worker of this name answers",
            advice=existing("workers that answer", name, answering),
        )
        for name in sorted(settings.scope.workers - set(answering))
    ]


def queues(seen: Sequence[QueueReading]) -> Iterator[Finding]:
    """The depth of each queue, or why it is unknown."""
    for queue in seen:
        subject = f"queue {queue.name}"
        if queue.error:
            advice = "nothing shrinks while a queue is unknown; name the right ones with --queue"
            yield Finding(level="fail", subject=subject, found=queue.error, advice=advice)
        else:
            yield Finding(level="ok", subject=subject, found=f"{queue.waiting} waiting")


def unconsumed(seen: Sequence[QueueReading]) -> Iterator[Finding]:
    """The queues among ``seen`` that hold tasks; no worker that answers consumes any of them."""
    waiting = [queue for queue in seen if queue.waiting]
    for queue in waiting[:_MAX_UNCONSUMED]:
        yield Finding(
            level="warn",
            subject=f"queue {queue.name}",
            found=f"{queue.waiting} waiting, and no worker that answers consumes it",
            advice=f"start a worker with -Q {queue.name}, or correct the queue that its tasks are sent to",
        )


def workers(reading: WorkersReading, settings: Settings) -> Iterator[Finding]:
    """What answered, what did not, and how each worker can be resized."""
    if not reading.workers:
        advice = "is a worker up on this Redis and database? worker_enable_remote_control must be true"
        yield Finding(level="fail", subject="workers", found="none answered", advice=advice)
    for name in reading.unresponsive:
        # The others are reported by worker_names, or by what their replies are.
        if name not in settings.scope.workers and name not in reading.unreadable:
            advice = "the mailbox of a killed worker, or a worker that hangs or runs a solo pool"
            yield Finding(level="warn", subject=f"worker {name}", found="no answer in time", advice=advice)
    for name in reading.duplicates:
        yield Finding(
            level="fail",
            subject=f"worker {name}",
            found="more than one worker answers to this name",
            advice="give each worker a name of its own: celery worker -n NAME@%h",
        )
    for worker in reading.workers:
        if not settings.scope.workers or worker.name in settings.scope.workers:
            yield _resizable(worker)
            yield _limits(worker, settings)
            yield from contradictions(worker, settings)


def contradictions(worker: WorkerReading, settings: Settings) -> Iterator[Finding]:
    """The settings of the layout that were given and that the worker's own report contradicts."""
    layout, given = worker.layout, settings.layout
    if layout is None:
        return
    compared: tuple[tuple[str, object, object], ...] = (
        ("global_keyprefix", given.prefix, layout.global_keyprefix),
        ("queue_separator", given.separator, layout.separator),
        ("priority_steps", given.priority_steps, layout.priority_steps or None),
    )
    for key, stated, reported in compared:
        if key in settings.sources and reported is not None and stated != reported:
            yield Finding(
                level="warn",
                subject=f"{settings.sources[key]} and worker {worker.name}",
                found=f"{stated!r} is given and the worker reports {reported!r}, which is followed",
                advice=f"give {reported!r}, or leave it out: workers with the companion report their own",
            )


def _resizable(worker: WorkerReading) -> Finding:
    subject = f"worker {worker.name}"
    pool = f"{worker.pool} pool of {worker.processes}"
    if worker.unsupported:
        found, advice = f"{pool}; {worker.unsupported}", "change how the worker is started"
        return Finding(level="fail", subject=subject, found=found, advice=advice)
    size = f"{pool}, shrinks {shrinking(worker)}"
    if not worker.companion:
        advice = (
            "start the worker with -I autoscaler.companion (or app.conf.imports) to shrink it at any time"
        )
        return Finding(level="warn", subject=subject, found=size, advice=advice)
    return Finding(level="ok", subject=subject, found=size)


def _limits(worker: WorkerReading, settings: Settings) -> Finding:
    subject = f"limits of {worker.name}"
    bounds = limits(settings.policy, worker.container)
    if "max" not in bounds:
        advice = "load the companion, or give --cpu-limit, --limits-folder or --max: it cannot grow without"
        found = "max is auto and no limit is known"
        return Finding(level="fail", subject=subject, found=found, advice=advice)
    found = ", ".join(f"{name} {bound}" for name, bound in sorted(bounds.items()))
    highest = min(bound for name, bound in bounds.items() if name != "min")
    advice = ""
    if worker.processes is not None and worker.processes >= highest:
        found += f"; its pool of {worker.processes} is at the maximum"
        advice = (
            "it can only shrink from here: start it with -c 1 to see it grow, or raise --processes-per-core"
            " where tasks wait (I/O) more than they compute"
        )
    return Finding(level="ok", subject=subject, found=found, advice=advice)
