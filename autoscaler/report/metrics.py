"""The metrics of the daemon, on a registry of its own.

Gauges are made from the last tick when they are scraped: a worker or a queue that is gone has no series any
more, and what is unknown has none either. Counters and histograms are kept. Bounds are those that the
decisions carry.
"""

from __future__ import annotations

import collections
import itertools
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

import autoscaler
from autoscaler.core.decider import Mode
from autoscaler.core.memory import FORGET_SECONDS
from autoscaler.core.model import Action, Result
from autoscaler.report.group_series import group_families, group_names
from autoscaler.report.observed import in_force
from autoscaler.report.status import applied_bounds, condition_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from autoscaler.core.model import Bounds, ContainerReading, Decision, WorkerReading
    from autoscaler.core.plan import GroupPlan
    from autoscaler.report.observed import Subject
    from autoscaler.report.status import TickRecord
    from autoscaler.report.waits import Wait

PREFIX = "celery_autoscaler_"
#: Above so many workers ``auto`` has series for groups alone, and again for workers below the second.
MAX_WORKERS, WORKERS_AGAIN = 200, 160
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

Row = tuple[tuple[str, ...], float | None]
_GROUP: tuple[tuple[str, str, Callable[[GroupPlan], float | None]], ...] = (
    ("service_time_seconds", "Mean time that a task runs, as learned.", lambda p: p.service_seconds),
    ("arrivals_per_second", "Tasks that arrive per second, as learned.", lambda p: p.arrivals_per_second),
    (
        "shadow_processes_target",
        "Processes recommended by the demand that does not decide.",
        lambda p: p.shadow_recommended,
    ),
    (
        "processes_wish",
        "Processes desired by the policy that decides, before the bounds of each worker.",
        lambda p: p.desired,
    ),
)
_CONTAINER: tuple[tuple[str, str, Callable[[ContainerReading], float | None]], ...] = (
    (
        "cgroup_cpu_limit_cores",
        "CPU limit, where one is set.",
        lambda c: c.cpu_limit_cores if c.cpu_limited else None,
    ),
    (
        "machine_cpu_cores",
        "Cores of the machine, where no CPU limit is set.",
        lambda c: None if c.cpu_limited else c.cpu_limit_cores,
    ),
    ("cgroup_cpu_usage_ratio", "Share of the CPU limit in use.", lambda c: c.cpu_usage_ratio),
    (
        "cgroup_cpu_throttled_ratio",
        "Share of time in which the kernel throttled the container.",
        lambda c: c.cpu_throttled_ratio,
    ),
    (
        "cgroup_memory_limit_bytes",
        "Memory limit, where one is set.",
        lambda c: c.memory_limit_bytes if c.memory_limited else None,
    ),
    (
        "machine_memory_bytes",
        "Memory of the machine, where no limit is set.",
        lambda c: None if c.memory_limited else c.memory_limit_bytes,
    ),
    (
        "cgroup_memory_usage_bytes",
        "Memory in use, without file cache: the group's, the machine's, or with --memory-limit its own.",
        lambda c: c.limited_use_bytes,
    ),
    ("worker_memory_bytes", "Memory that the worker's processes hold.", lambda c: c.own_memory_bytes),
)


class Metrics:
    """The instruments of one daemon, called ``name`` in Redis.

    ``monotonic`` is the clock of :attr:`Observation.at`. ``detail`` is ``auto``, ``group`` or ``worker``:
    whether there are series for each worker; ``detail_changed`` gets the detail and the number of workers
    when ``auto`` changes it.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float],
        name: str = "default",
        mode: Mode = Mode.ACT,
        detail: str = "auto",
        detail_changed: Callable[[str, int], None] = lambda _detail, _workers: None,
    ) -> None:
        # No second series for each counter, which no rule asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._decisions = self._counter(
            "decisions", "Decisions, one for each worker and tick.", "action", "reason"
        )
        self._actions = self._counter(
            "actions", "Actions sent to workers, by what is known of their result.", "action", "result"
        )
        # At 0 from the start: Prometheus sees no increase in a series that begins above it.
        for action, result in itertools.product((Action.GROW, Action.SHRINK), Result):
            self._actions.labels(action, result)
        self._left_out = self._counter(
            "dry_run_resizes",
            "Resizes that a dry run logged and left out, by the reason that it would have had.",
            "action",
            "reason",
        )
        self._faults = self._counter("sensor_errors", "Readings that failed.", "sensor")
        self._ticks = self._histogram("tick_duration_seconds", "Time of one tick.")
        self._action_seconds = self._histogram("action_duration_seconds", "Time of one action, to its reply.")
        self._errors = self._counter(
            "unexpected_errors", "Unexpected errors, by the step of the tick that they ended.", "step"
        )
        self._expired = self._counter(
            "expired_actions", "Actions not sent, since the observation they were decided on was too old."
        )
        self._kills = self._counter(
            "group_oom_kills",
            "Processes of workers of these queues that the OOM killer ended since they were first seen.",
            "queues",
        )
        self._killed: dict[str, int] = {}
        self._groups_seen: dict[str, float] = {}
        self._detail_changed = detail_changed
        self._auto = detail == "auto"
        self._last = _LastTick(
            monotonic, name=name, mode=mode, detail="worker" if detail == "auto" else detail
        )
        self.registry.register(self._last)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str) -> Histogram:
        return Histogram(PREFIX + name, about, buckets=_SECONDS, registry=self.registry)

    def record(self, record: TickRecord) -> None:
        """Take in one tick."""
        made = collections.Counter((decision.action, decision.reason) for decision in record.plan.decisions)
        for (action, reason), count in made.items():
            self._decisions.labels(action, reason).inc(count)
        for outcome in record.outcomes:
            self._actions.labels(outcome.action, outcome.result).inc()
        for sensor in record.faults:
            self._faults.labels(sensor).inc()
        self._count_kills(record)
        self._ticks.observe(record.seconds)
        if self._auto:
            self._choose_detail(len(record.workers))
        self._last.take(record)

    def _count_kills(self, record: TickRecord) -> None:
        """Count what was killed since the last tick; a worker that goes takes nothing off the count.

        What an earlier daemon has counted is not counted again: after its counter's reset that would pass for
        new kills.
        """
        memory, at = record.memory, record.observation.at
        # One in no group, as while its consumers are cancelled, is counted once it is in one again.
        known = {name: self._killed.get(name, one.earlier_kills) for name, one in memory.items()}
        for queues, workers in group_names(record).items():
            self._groups_seen[queues] = at
            there = memory.keys() & set(workers)
            more = sum(max(0, memory[name].kills - known[name]) for name in there)
            self._kills.labels(queues).inc(more)  # from 0 on: Prometheus sees no increase in a new series
            known |= {name: memory[name].kills for name in there}
        self._killed = known
        # With worker_direct each pod has a queue of its own, and so a name of the group.
        for queues in [queues for queues, seen in self._groups_seen.items() if at - seen > FORGET_SECONDS]:
            del self._groups_seen[queues]
            self._kills.remove(queues)

    def _choose_detail(self, workers: int) -> None:
        limit = MAX_WORKERS if self._last.detail == "worker" else WORKERS_AGAIN
        detail = "group" if workers > limit else "worker"
        if detail != self._last.detail:
            self._last.detail = detail
            self._detail_changed(detail, workers)

    def unexpected_error(self, step: str) -> None:
        """Count an unexpected error."""
        self._errors.labels(step).inc()

    def would_resize(self, decision: Decision) -> None:
        """Count a resize that a dry run has left out."""
        grows = (decision.desired or 0) > (decision.current or 0)
        self._left_out.labels(Action.GROW if grows else Action.SHRINK, decision.desired_reason).inc()

    def plan_expired(self, actions: int) -> None:
        """Count actions that were not sent, for their observation had grown too old."""
        self._expired.inc(actions)

    def observe_action(self, seconds: float) -> None:
        """Take in how long an action took."""
        self._action_seconds.observe(seconds)


class _LastTick(Collector):
    def __init__(self, monotonic: Callable[[], float], *, name: str, mode: Mode, detail: str) -> None:
        self.detail = detail
        self._identity = (name, str(mode))
        self._monotonic = monotonic
        self._record: TickRecord | None = None
        self._conditions: dict[Subject, str] = {}
        # What has never been read is as old as the daemon: without a series nothing would alert on it.
        self._good_at = dict.fromkeys(("backlog", "pool"), monotonic())

    def take(self, record: TickRecord) -> None:
        self._record = record
        self._conditions = in_force(self._conditions, record.conditions, record)
        at = record.observation.at
        if "backlog" not in record.faults:  # else no worker was asked either
            self._good_at |= dict.fromkeys({"backlog", "pool"} - record.faults.keys(), at)

    def collect(self) -> Iterator[Metric]:
        yield _family(
            "build_info", "The version that runs.", ("version",), [((autoscaler.__version__,), 1.0)]
        )
        about = "The name that it has in Redis, and whether it acts, only decides or is disabled."
        yield _family("info", about, ("name", "mode"), [(self._identity, 1.0)])
        record = self._record
        if record is None:
            return
        yield from self._fleet(record)
        for name, about, labels, rows in _queue_families(record):
            yield _family(name, about, labels, rows)
        for name, about, labels, rows in group_families(record):
            yield _family(name, about, labels, rows)
        if record.observation.leader:
            yield from _wait_families(record.waits)
        if self.detail == "worker":
            yield from self._workers(record)

    def _workers(self, record: TickRecord) -> Iterator[Metric]:
        targets = {decision.worker: decision.target for decision in record.plan.decisions}
        answered = {reading.name: record.workers[reading.name] for reading in record.observation.workers}
        for name, about, labels, rows in _worker_families(answered, targets, applied_bounds(record.plan)):
            yield _family(name, about, labels, rows)
        yield from _memory_families(record)

    def _fleet(self, record: TickRecord) -> Iterator[Metric]:
        now, plan = self._monotonic(), record.plan
        up = max((group.up_cooldown_seconds for group in plan.groups), default=0.0)
        down = max((group.down_cooldown_seconds for group in plan.groups), default=0.0)
        yield _family(
            "cooldown_remaining_seconds",
            "Time until a change may follow the last one.",
            ("direction",),
            [(("up",), up), (("down",), down)],
        )
        yield _family(
            "last_tick_timestamp_seconds", "When the last tick ended.", (), [((), record.wall_time)]
        )
        ages: list[Row] = [((sensor,), now - at) for sensor, at in sorted(self._good_at.items())]
        about = "Age of the last good reading; of the daemon where there was none."
        yield _family("sensor_age_seconds", about, ("sensor",), ages)
        yield from _group_families(record.plan.groups)
        yield _family("leader", "1 where this autoscaler acts.", (), [((), float(record.observation.leader))])
        paused = float(record.observation.override.paused)
        counts: list[Row] = [((kind,), n) for kind, n in condition_counts(record, self._conditions).items()]
        about = "How many workers, queues or sensors a condition of that kind holds for now."
        yield _family("condition", about, ("kind",), counts)
        yield _family("paused", "1 where an administrator paused it.", (), [((), paused)])


Family = tuple[str, str, tuple[str, ...], "list[Row]"]


def _family(name: str, about: str, labels: tuple[str, ...], rows: Iterable[Row]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, about, labels=labels)
    for values, number in rows:
        if number is not None:
            family.add_metric(values, number)
    return family


def _group_families(plans: Iterable[GroupPlan]) -> Iterator[Metric]:
    # A worker that consumes nothing has no queues to be named by. Names with a + in them could meet.
    groups = {("+".join(plan.group.queues),): plan for plan in plans if plan.group.queues}
    for name, about, value in _GROUP:
        rows: list[Row] = [(label, value(plan)) for label, plan in groups.items()]
        yield _family(name, about, ("queues",), rows)


def _wait_families(waits: Iterable[Wait]) -> Iterator[Metric]:
    named = [("+".join(wait.queues), wait) for wait in waits]
    about = "At least how long the oldest task of these queues has waited for its start."
    yield _family("wait_seconds", about, ("queues",), [((name,), wait.seconds) for name, wait in named])
    about = "The target wait of these queues."
    rows: list[Row] = [((name,), wait.target_seconds) for name, wait in named]
    yield _family("target_wait_seconds", about, ("queues",), rows)
    about = "For how long tasks have waited beyond the target wait without a break, and why."
    missed: list[Row] = [
        ((name, wait.cause), wait.missed_seconds) for name, wait in named if wait.target_seconds is not None
    ]
    yield _family("target_wait_missed_seconds", about, ("queues", "cause"), missed)


def _queue_families(record: TickRecord) -> Iterator[Family]:
    queues = record.observation.queues
    yield (
        "queue_depth",
        "Messages that no worker has fetched.",
        ("queue",),
        [((queue.name,), queue.waiting) for queue in queues],
    )
    yield (
        "queue_oldest_message_age_seconds",
        "Age of the oldest waiting message.",
        ("queue",),
        [((queue.name,), queue.oldest_age_seconds) for queue in queues],
    )


def _memory_families(record: TickRecord) -> Iterator[Metric]:
    kills = CounterMetricFamily(
        f"{PREFIX}worker_oom_kills",
        "Processes under the worker's memory limit that the OOM killer ended since it was first seen.",
        labels=("worker",),
    )
    peaks: list[Row] = []
    for name in sorted(record.workers.keys() & record.memory.keys()):
        memory = record.memory[name]
        if memory.oom_kills is not None:
            kills.add_metric((name,), memory.kills)
        peaks.append(((name,), memory.peaks.largest if memory.peaks else None))
    yield kills
    about = "The most memory that a process of the worker held, as remembered."
    yield _family("worker_process_peak_bytes", about, ("worker",), peaks)


def _worker_families(
    workers: Mapping[str, WorkerReading], targets: Mapping[str, int | None], applied: Mapping[str, Bounds]
) -> Iterator[Family]:
    label = ("worker",)

    def rows(value: Callable[[WorkerReading], float | None]) -> list[Row]:
        return [((name,), value(reading)) for name, reading in sorted(workers.items())]

    def container_rows(value: Callable[[ContainerReading], float | None]) -> list[Row]:
        return rows(lambda w: None if w.container is None else value(w.container))

    yield "worker_processes", "Processes that take work.", label, rows(lambda w: w.processes)
    yield "worker_processes_busy", "Processes that run a task.", label, rows(lambda w: w.busy)
    yield (
        "worker_processes_retiring",
        "Processes that end with their task.",
        label,
        rows(lambda w: w.retiring),
    )
    yield "worker_tasks_reserved", "Tasks fetched and not yet running.", label, rows(lambda w: w.reserved)
    yield (
        "worker_processes_target",
        "Processes that it should have.",
        label,
        [((n,), t) for n, t in targets.items()],
    )
    yield (
        "worker_companion",
        "1 where the worker can shrink at any time, 0 where only while idle.",
        label,
        rows(lambda w: float(w.companion)),
    )
    bounds: list[Row] = [
        ((name, bound), size)
        for name in sorted(workers)
        if name in applied
        for bound, size in applied[name].by_name().items()
    ]
    yield "worker_processes_limit", "Bounds on its processes, as applied.", ("worker", "bound"), bounds
    for name, about, value in _CONTAINER:
        yield name, about, label, container_rows(value)
