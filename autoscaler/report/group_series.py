"""What workers report, summed over those that share queues: as many series as groups, whatever their size.

What belongs here: sums of the last readings. What may never enter: a worker's name. A sum of values of which
one is unknown counts those that are known; of none it is unknown.
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
        "group_memory_bytes",
        "Memory that the processes of the workers hold.",
        lambda w: None if w.container is None else w.container.own_memory_bytes,
    ),
)


def group_families(record: TickRecord) -> Iterator[Family]:
    """The series of each group that has queues to be named by."""
    answered = {reading.name: record.workers[reading.name] for reading in record.observation.workers}
    targets = {one.worker: one.target for one in record.plan.decisions}
    bounds = {name: found.by_name() for name, found in applied_bounds(record.plan).items()}
    groups = [
        (("+".join(plan.group.queues),), [name for name in plan.group.workers if name in answered])
        for plan in record.plan.groups
        if plan.group.queues
    ]
    label = ("queues",)
    for name, about, value in _SUMS:
        rows = [(key, _sum(value(answered[one]) for one in workers)) for key, workers in groups]
        yield name, about, label, list(rows)
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


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
