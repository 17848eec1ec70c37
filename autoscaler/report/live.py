"""The last tick as the page shows it: one small JSON value for a fleet of a hundred workers.

Pure, and made from the same record as ``/status``. Rows stand without names, below the list of their columns,
and workers and queues are referred to by their place: a tick goes to every open page, so each byte counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoscaler.core.model import MEANINGS
from autoscaler.report.history import actions_of, group_id
from autoscaler.report.sentence import sentence
from autoscaler.report.series import COLUMNS, plain
from autoscaler.report.status import applied_bounds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from autoscaler.core.decider import Mode
    from autoscaler.core.model import ContainerReading, Decision, QueueReading, WorkerReading
    from autoscaler.core.plan import GroupPlan
    from autoscaler.core.steps import Step
    from autoscaler.report.history import History
    from autoscaler.report.status import TickRecord

WORKER_COLUMNS = (
    "worker",
    "pool",
    "processes",
    "target",
    "busy",
    "retiring",
    "fetched",
    "scheduled",
    "lower",
    "upper",
    "cpu_ratio",
    "cpu_cores",
    "memory_bytes",
    "memory_limit_bytes",
    "uptime_seconds",
    "companion",
    "answers",
    "reason",
)
QUEUE_COLUMNS = ("queue", "waiting", "by_priority", "age", "error")
STEP_COLUMNS = ("processes", "reason", "lowest", "highest")
#: Names of workers and queues are cut there; the whole name is in ``/status``.
MAX_NAME = 120
MAX_CONDITION_CHARACTERS = 2000


def live(
    record: TickRecord, history: History, *, name: str, mode: Mode, interval_seconds: float
) -> dict[str, Any]:
    """The view of one tick."""
    workers, queues = sorted(record.workers), [queue.name for queue in record.observation.queues]
    places = {worker: place for place, worker in enumerate(workers)}
    queue_places = {queue: place for place, queue in enumerate(queues)}
    decisions = {one.worker: one for one in (*record.plan.decisions, *record.plan.peers)}
    answered = {reading.name for reading in record.observation.workers}
    bounds = applied_bounds(record.plan)
    rows = []
    for worker in workers:
        limits = bounds.get(worker)
        found = limits.by_name() if limits else {}
        upper = min((size for bound, size in found.items() if bound != "min"), default=None)
        reading = record.workers[worker]
        rows.append(
            _worker(reading, decisions.get(worker), (found.get("min"), upper), answers=worker in answered)
        )
    return {
        "name": name,
        "mode": str(mode),
        "leader": record.observation.leader,
        "paused": record.observation.override.paused,
        "at": round(record.wall_time, 3),
        "tick_seconds": round(record.seconds, 4),
        "interval_seconds": interval_seconds,
        "sample_columns": tuple(COLUMNS),
        "samples": history.samples(),
        "actions": actions_of(record),
        "sentence": sentence(record, history, mode=mode),
        "target_wait_seconds": history.target_wait_seconds,
        **_conditions(history),
        "faults": dict(record.faults),
        "worker_columns": WORKER_COLUMNS,
        "workers": rows,
        "queue_columns": QUEUE_COLUMNS,
        "queues": [_queue(queue) for queue in record.observation.queues],
        "step_columns": STEP_COLUMNS,
        "groups": [_group(plan, places, queue_places) for plan in record.plan.groups],
    }


def _conditions(history: History) -> dict[str, Any]:
    """The first conditions, and how many more there are: a hundred workers may all have one."""
    found, length = history.conditions(), 0
    for place, one in enumerate(found):
        length += len(one["name"]) + len(one["state"])
        if place and length > MAX_CONDITION_CHARACTERS:
            return {"conditions": found[:place], "more_conditions": len(found) - place}
    return {"conditions": found, "more_conditions": 0}


def _worker(
    reading: WorkerReading,
    decision: Decision | None,
    limits: tuple[int | None, int | None],
    *,
    answers: bool,
) -> list[Any]:
    container = reading.container
    # A worker that did not answer this time is shown by its name alone: what it does now is not known.
    now = reading if answers else None
    return [
        cut(reading.name),
        str(reading.pool),
        now and now.processes,
        decision.target if decision else None,
        now and now.busy,
        now and now.retiring,
        now and now.reserved,
        now and now.scheduled,
        *limits,
        *(_container(container) if container and now else (None, None, None, None)),
        None if now is None or now.uptime_seconds is None else round(now.uptime_seconds),
        reading.companion or reading.unsupported or reading.companion_refusal or False,
        answers,
        str(decision.reason) if decision else None,
    ]


def _container(container: ContainerReading) -> tuple[float | None, float | None, int | None, int | None]:
    limited = container.cpu_limited and container.cpu_limit_cores is not None
    ratio = container.cpu_usage_ratio
    return (
        None if ratio is None else round(ratio, 3),
        round(container.cpu_limit_cores, 2) if limited and container.cpu_limit_cores else None,
        container.limited_use_bytes if container.memory_limited else container.own_memory_bytes,
        container.memory_limit_bytes if container.memory_limited else None,
    )


def _queue(queue: QueueReading) -> list[Any]:
    age = queue.oldest_age_seconds
    return [
        cut(queue.name),
        queue.waiting,
        queue.waiting_by_step,
        None if age is None else plain(age),
        queue.error,
    ]


def _group(plan: GroupPlan, workers: dict[str, int], queues: dict[str, int]) -> dict[str, Any]:
    cooldowns = [round(plan.up_cooldown_seconds, 1), round(plan.down_cooldown_seconds, 1)]
    return {
        "id": group_id(plan.group.key),
        "queues": _places(plan.group.queues, queues),
        "workers": _places(plan.group.workers, workers),
        "counts": [plan.work.waiting, plan.work.reserved, plan.work.running, plan.work.processes],
        **({} if plan.work.complete else {"partial": True}),
        "service": None if plan.service_seconds is None else round(plan.service_seconds, 3),
        "arrivals": None if plan.arrivals_per_second is None else round(plan.arrivals_per_second, 3),
        **({"cooldowns": cooldowns} if any(cooldowns) else {}),
        "steps": [_step(step) for step in plan.steps],
    }


def _step(step: Step) -> list[Any]:
    found = [step.processes, step.reason and str(step.reason), step.lowest, step.highest]
    while found[-1] is None:
        found.pop()
    return found


def _places(names: Iterable[str], places: dict[str, int]) -> list[int]:
    return [places[name] for name in names if name in places]


def cut(name: str) -> str:
    """A name that fits into a row."""
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


def words() -> dict[str, str]:
    """What each reason means, by the reason: the page fetches it once."""
    return {str(reason): meaning for reason, meaning in MEANINGS.items()}
