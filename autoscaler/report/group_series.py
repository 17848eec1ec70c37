"""What workers report, over those that share queues: as many series as groups, whatever their size.

What belongs here: sums of the last readings, and what an alert on one worker asks: how many have it, or how
bad the worst is. What may never enter: a worker's name. Of values of which some are unknown the others count;
where all are, so is the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.report.status import applied_bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from autoscaler.core.model import WorkerReading
    from autoscaler.report.status import TickRecord

Row = tuple[tuple[str, ...], float | None]
Family = tuple[str, str, tuple[str, ...], list[Row]]

_SUMS: tuple[tuple[str, str, Callable[[WorkerReading], float | None]], ...] = (
    ("group_workers", "Workers of these queues that answer.", lambda _: 1),
    ("group_processes", "Processes that take work, of all workers of these queues.", lambda w: w.processes),
    ("group_processes_busy", "Processes that run a task.", lambda w: w.busy),
    ("group_processes_retiring", "Processes that end with their task.", lambda w: w.retiring),
    ("group_tasks_reserved", "Tasks fetched and not yet running.", lambda w: w.reserved),
    (
        "group_workers_without_processes",
        "Workers of these queues that have no process.",
        lambda w: None if w.processes is None else float(w.processes == 0),
    ),
    (
        "group_workers_without_companion",
        "Workers of these queues that can shrink only while idle.",
        lambda w: float(not w.companion),
    ),
    (
        "group_memory_bytes",
        "Memory that the processes of the workers hold.",
        lambda w: None if w.container is None else w.container.own_memory_bytes,
    ),
)


def _memory_ratio(reading: WorkerReading) -> float | None:
    container = reading.container
    if container is None or not container.memory_limited or not container.memory_limit_bytes:
        return None
    used = container.limited_use_bytes
    return None if used is None else used / container.memory_limit_bytes


_MAXIMA: tuple[tuple[str, str, Callable[[WorkerReading], float | None]], ...] = (
    (
        "group_cpu_cores_max",
        "The most cores that a container of these queues may use: its limit, or those of the machine.",
        lambda w: None if w.container is None else w.container.cpu_limit_cores,
    ),
    (
        "group_cpu_usage_ratio_max",
        "The highest share of its CPU limit that a container of these queues uses.",
        lambda w: None if w.container is None else w.container.cpu_usage_ratio,
    ),
    (
        "group_cpu_throttled_ratio_max",
        "The highest share of time in which the kernel throttled a container of these queues.",
        lambda w: None if w.container is None else w.container.cpu_throttled_ratio,
    ),
    (
        "group_memory_usage_ratio_max",
        "The highest share of its memory limit that a container of these queues uses.",
        _memory_ratio,
    ),
)


def group_names(record: TickRecord) -> dict[str, list[str]]:
    """The workers that answer of each group that has queues to be named by, by those."""
    answered = {reading.name for reading in record.observation.workers}
    return {
        "+".join(plan.group.queues): [name for name in plan.group.workers if name in answered]
        for plan in record.plan.groups
        if plan.group.queues
    }


def group_families(record: TickRecord) -> Iterator[Family]:
    """The series of each group that has queues to be named by."""
    answered = {reading.name: record.workers[reading.name] for reading in record.observation.workers}
    targets = {one.worker: one.target for one in record.plan.decisions}
    bounds = {name: found.by_name() for name, found in applied_bounds(record.plan).items()}
    groups = [((queues,), workers) for queues, workers in group_names(record).items()]
    label = ("queues",)
    for name, about, value in _SUMS:
        rows = [(key, _sum(value(answered[one]) for one in workers)) for key, workers in groups]
        yield name, about, label, list(rows)
    for name, about, value in _MAXIMA:
        rows = [(key, _max(value(answered[one]) for one in workers)) for key, workers in groups]
        yield name, about, label, list(rows)
    rows = [(key, float(sum(one in targets for one in workers))) for key, workers in groups]
    yield "group_workers_decided", "Workers of these queues that this autoscaler sizes.", label, list(rows)
    rows = [(key, _sum(targets.get(one) for one in workers)) for key, workers in groups]
    yield "group_processes_target", "Processes that they should have.", label, list(rows)
    limits: list[Row] = []
    for key, workers in groups:
        names = sorted({bound for one in workers for bound in bounds.get(one, {})})
        limits += [
            ((*key, bound), _sum(bounds.get(one, {}).get(bound) for one in workers)) for bound in names
        ]
    about = "Bounds on their processes, as applied."
    yield "group_processes_limit", about, ("queues", "bound"), limits


def _max(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
