"""The preflight: what stands between the autoscaler and its work, each finding with what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoPermissionError, ResponseError

from autoscaler.broker.errors import BrokerError, broker_errors
from autoscaler.broker.keys import Keys
from autoscaler.broker.overrides import read_override
from autoscaler.report.status import limits, shrinking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from autoscaler.broker.connections import Connections
    from autoscaler.core.model import WorkerReading
    from autoscaler.sensors.queues import QueueSensor, QueuesReading
    from autoscaler.sensors.workers import WorkerSensor, WorkersReading
    from autoscaler.settings.table import Settings


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


def examine(
    connections: Connections, backlog: QueueSensor, pools: WorkerSensor, settings: Settings, *, now: float
) -> list[Finding]:
    """All findings. What depends on a part that failed is left out."""
    findings = []
    try:
        seen = backlog.read(sorted(settings.scope.queues))
    except BrokerError as fault:
        return [_unreachable(connections, fault)]
    findings.append(Finding(level="ok", subject="redis", found=f"{connections.url()} answers"))
    findings += _rights(connections.redis(), settings.name)
    try:
        reading = pools.read(seen.mailboxes, now)
        queues = sorted(settings.scope.queues or {name for one in reading.workers for name in one.queues})
        seen = backlog.read(queues, reading.workers)
    except BrokerError as fault:
        findings.append(
            Finding(
                level="fail",
                subject="remote control",
                found=str(fault),
                advice="the user needs publish on the pidbox channel and its reply keys",
            )
        )
        return findings
    findings += _queues(seen)
    findings += _workers(reading, settings)
    return findings


def _unreachable(connections: Connections, fault: BrokerError) -> Finding:
    return Finding(level="fail", subject="redis", found=f"{connections.url()}: {fault}", advice=fault.advice)


def _rights(redis: Redis, name: str) -> Iterator[Finding]:
    keys = Keys(name=name)
    try:
        read_override(redis, name)
        with broker_errors():
            redis.get(keys.status)
            redis.get(keys.lease)
    except BrokerError as fault:
        yield _right(fault, name)
    except ValueError as fault:
        yield Finding(
            level="warn", subject="override", found=str(fault), advice=f"correct or delete {keys.override}"
        )
    else:
        yield Finding(level="ok", subject="rights", found=f"the keys autoscaler:{name}:* can be read")


def _right(fault: BrokerError, name: str) -> Finding:
    if isinstance(fault.__cause__, NoPermissionError):
        advice = f"grant ~autoscaler:{name}:*: without, overrides are not seen and no status is stored"
        return Finding(level="warn", subject="rights", found=str(fault), advice=advice)
    if isinstance(fault.__cause__, ResponseError):
        advice = f"delete the keys under autoscaler:{name}:"
        return Finding(level="warn", subject="rights", found=str(fault), advice=advice)
    return Finding(
        level="fail",
        subject="rights",
        found=str(fault),
        advice="Redis answered and then did not; run it again",
    )


def _queues(seen: QueuesReading) -> Iterator[Finding]:
    for queue in seen.queues:
        if queue.error:
            yield Finding(
                level="fail",
                subject=f"queue {queue.name}",
                found=queue.error,
                advice="nothing shrinks while a queue is unknown; name the right ones with --queue",
            )
        else:
            yield Finding(level="ok", subject=f"queue {queue.name}", found=f"{queue.waiting} waiting")


def _workers(reading: WorkersReading, settings: Settings) -> Iterator[Finding]:
    if not reading.workers:
        yield Finding(
            level="fail",
            subject="workers",
            found="none answered",
            advice="is a worker up on this Redis and database? worker_enable_remote_control must be true",
        )
    for name in reading.unresponsive:
        level = "fail" if name in settings.scope.workers else "warn"
        advice = "a mailbox that a killed worker left behind, or a worker that hangs or runs a solo pool"
        yield Finding(level=level, subject=f"worker {name}", found="no answer in time", advice=advice)
    for name in reading.duplicates:
        yield Finding(
            level="fail",
            subject=f"worker {name}",
            found="more than one worker answers to this name",
            advice="give each worker a name of its own: celery worker -n NAME@%h",
        )
    for worker in reading.workers:
        if not settings.scope.workers or worker.name in settings.scope.workers:
            yield from _worker(worker, settings)


def _worker(worker: WorkerReading, settings: Settings) -> Iterator[Finding]:
    subject = f"worker {worker.name}"
    size = f"{worker.pool} pool of {worker.processes}, shrinks {shrinking(worker)}"
    if worker.unsupported:
        yield Finding(level="fail", subject=subject, found=size, advice="change how the worker is started")
    elif not worker.companion:
        advice = (
            "start the worker with -I autoscaler.companion (or app.conf.imports) to shrink it at any time"
        )
        yield Finding(level="warn", subject=subject, found=size, advice=advice)
    else:
        yield Finding(level="ok", subject=subject, found=size)
    bounds = limits(settings.policy, worker.container)
    found = ", ".join(f"{name} {bound}" for name, bound in sorted(bounds.items()))
    if "max" not in bounds:
        advice = "load the companion, or give --cpu-limit, --limits-folder or --max: it cannot grow without"
        yield Finding(
            level="fail",
            subject=f"limits of {worker.name}",
            found="max is auto and no limit is known",
            advice=advice,
        )
    else:
        yield Finding(level="ok", subject=f"limits of {worker.name}", found=found)
