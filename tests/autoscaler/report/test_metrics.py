"""What Prometheus reads: names, series that come and go, nothing for the unknown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import autoscaler
from autoscaler.core.decider import Decider, Mode
from autoscaler.core.model import Outcome, Override, QueueReading, Reason, Result
from autoscaler.core.state import State
from autoscaler.report.metrics import Metrics
from autoscaler.report.status import TickRecord
from tests.support.builders import container, look, prompt_policy, queue, worker

if TYPE_CHECKING:
    from autoscaler.core.policy import Policy

#: DESIGN's list; service_time_seconds and arrivals_per_second come with the latency demand.
NAMES = {
    "queue_depth": {"queue"},
    "queue_oldest_message_age_seconds": {"queue"},
    "worker_processes": {"worker"},
    "worker_processes_busy": {"worker"},
    "worker_processes_target": {"worker"},
    "worker_processes_limit": {"worker", "bound"},
    "decisions_total": {"action", "reason"},
    "actions_total": {"action", "result"},
    "action_duration_seconds_count": set(),
    "cooldown_remaining_seconds": {"direction"},
    "tick_duration_seconds_count": set(),
    "last_tick_timestamp_seconds": set(),
    "sensor_errors_total": {"sensor"},
    "sensor_age_seconds": {"sensor"},
    "cgroup_cpu_limit_cores": {"worker"},
    "cgroup_cpu_usage_ratio": {"worker"},
    "cgroup_cpu_throttled_ratio": {"worker"},
    "cgroup_memory_limit_bytes": {"worker"},
    "cgroup_memory_usage_bytes": {"worker"},
    "leader": set(),
    "paused": set(),
    "build_info": {"version"},
    "info": {"name", "mode"},
}


class Told:
    """Metrics over ticks of a real decider; the clock is set by hand."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.now = 1000.0
        self.policy = policy or prompt_policy()
        self.metrics = Metrics(monotonic=lambda: self.now)
        self.state = State()

    def tick(self, observation, *, outcomes=(), faults=None, seconds=0.02) -> None:
        self.state, plan = Decider(policy=self.policy).decide(self.state, observation)
        record = TickRecord(
            observation=observation,
            plan=plan,
            workers={name: known.reading for name, known in self.state.workers.items()},
            outcomes=outcomes,
            faults=faults or {},
            memory=self.state.memory,
            wall_time=1.7e9,
            seconds=seconds,
        )
        self.metrics.record(record)

    def series(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(generate_latest(self.metrics.registry).decode()):
            for sample in family.samples:
                name = sample.name.removeprefix("celery_autoscaler_")
                assert name != sample.name
                found.setdefault(name, {})[tuple(sorted(sample.labels.items()))] = sample.value
        return found

    def of(self, name: str) -> dict[str, float]:
        """The series of one name by the values of their labels."""
        return {" ".join(value for _, value in key): n for key, n in self.series().get(name, {}).items()}


FULL = container(
    cpu_limit_cores=2.5,
    cpu_limited=True,
    cpu_usage_ratio=0.5,
    cpu_throttled_ratio=0.25,
    memory_limit_bytes=1000,
    memory_limited=True,
    memory_used_bytes=400,
    child_rss_bytes=(100,),
)
GROWN = Outcome(worker="w@h", before=2, target=4, command="pool_resize", result=Result.DONE)
SHRUNK = Outcome(worker="w@h", before=4, target=1, command="pool_shrink", result=Result.UNKNOWN)


def test_the_names_and_labels_are_those_that_dashboards_use():
    told = Told()
    aged = (QueueReading(name="celery", waiting=3, oldest_age_seconds=7.5),)
    told.tick(look(3, worker(container=FULL), queues=aged), outcomes=(GROWN,), faults={"lease": "x"})
    told.metrics.observe_action(0.1)
    found = told.series()
    labels = {name: {label for label, _ in next(iter(found[name]))} for name in NAMES if name in found}
    assert labels == NAMES


def test_before_the_first_tick_there_is_a_version_and_no_gauge():
    told = Told()
    assert told.series()["build_info"] == {(("version", autoscaler.__version__),): 1.0}
    assert told.of("worker_processes") == told.of("queue_depth") == told.of("leader") == {}


def test_every_kill_is_counted_and_a_bare_machine_has_no_limit():
    told = Told()
    for kills in (0, 3):
        box = replace(FULL, oom_kills=kills, container_id="a", parent_rss_bytes=50)
        told.tick(look(3, worker("a@h", container=box), worker("b@h")))
    assert told.of("worker_oom_kills_total") == {"a@h": 3}
    assert told.of("worker_process_peak_bytes") == {"a@h": 100}
    assert told.of("worker_memory_bytes") == {"a@h": 150}
    assert told.of("worker_processes_limit")["memory_breach a@h"] == 3
    bare = replace(FULL, cpu_limited=False, memory_limited=False)
    told.tick(look(3, worker("a@h", container=bare)))
    assert told.of("cgroup_cpu_limit_cores") == told.of("cgroup_memory_limit_bytes") == {}
    assert told.of("machine_cpu_cores") == {"a@h": 2.5}
    assert told.of("machine_memory_bytes") == {"a@h": 1000}


def test_series_of_a_gone_worker_and_of_a_gone_queue_vanish():
    told = Told()
    told.tick(look(3, worker("a@h", container=FULL), worker("b@h"), queues=(queue(1, "x"), queue(2, "y"))))
    assert told.of("worker_processes") == {"a@h": 4, "b@h": 4}
    assert told.of("queue_depth") == {"x": 1, "y": 2}
    told.tick(look(3, worker("b@h"), queues=(queue(2, "y"),), at=1100.0))
    gone = [
        (name, key)
        for name, rows in told.series().items()
        for key in rows
        if {("worker", "a@h"), ("queue", "x")} & set(key)
    ]
    assert gone == []
    assert told.of("worker_processes") == {"b@h": 4}


def test_a_worker_that_keeps_silent_for_a_tick_has_no_size_in_it():
    told = Told()
    told.tick(look(0, worker("a@h"), worker("b@h")))
    told.tick(look(0, worker("b@h"), at=1001.0))
    assert told.of("worker_processes") == told.of("worker_processes_target") == {"b@h": 4}


def test_what_is_unknown_has_no_series():
    told = Told()
    told.tick(look(None, worker(processes=None, busy=None, container=container())))
    names = ["queue_depth", "worker_processes", "worker_processes_busy", "worker_processes_target"]
    names += ["queue_oldest_message_age_seconds", *(name for name in NAMES if name.startswith("cgroup_"))]
    assert {name: told.of(name) for name in names} == {name: {} for name in names}


def test_the_values_are_those_of_the_last_tick():
    told = Told(prompt_policy(min_processes=2, max_processes=9, scale_down_cooldown_seconds=30))
    seen = look(7, worker("a@h", busy=4, container=FULL), override=Override(paused=True), leader=False)
    told.tick(seen)
    told.now = 1004.0
    values = ["queue_depth", "worker_processes", "worker_processes_busy", "worker_processes_target"]
    assert {name: told.of(name) for name in values} == {
        "queue_depth": {"celery": 7},
        "worker_processes": {"a@h": 4},
        "worker_processes_busy": {"a@h": 4},
        "worker_processes_target": {"a@h": 4},
    }
    assert told.of("worker_processes_limit") == {"min a@h": 2, "max a@h": 9, "cpu a@h": 2, "memory a@h": 8}
    assert told.of("cgroup_cpu_limit_cores") == {"a@h": 2.5}
    assert told.of("cgroup_memory_usage_bytes") == {"a@h": 400}
    assert told.of("cooldown_remaining_seconds") == {"up": 0, "down": 30}
    assert told.of("sensor_age_seconds") == {"backlog": 4, "pool": 4}
    assert told.of("last_tick_timestamp_seconds") == {"": 1.7e9}
    assert (told.of("leader"), told.of("paused")) == ({"": 0}, {"": 1})


def test_a_sensor_that_fails_is_counted_and_grows_old():
    told = Told()
    told.tick(look(0))
    told.now = 1010.0
    told.tick(look(0, at=1010.0), faults={"pool": "TimeoutError"})
    assert told.of("sensor_errors_total") == {"pool": 1}
    assert told.of("sensor_age_seconds") == {"backlog": 0, "pool": 10}


def test_the_limits_are_those_that_were_applied_an_override_included():
    told = Told(prompt_policy(min_processes=2, max_processes=9))
    told.tick(look(7, worker("a@h"), override=Override(max_processes=3)))
    assert told.of("worker_processes_limit") == {"min a@h": 2, "max a@h": 3}


def test_workers_without_queues_give_no_series_twice():
    told = Told()
    told.tick(look(0, worker("a@h", queues=()), worker("b@h", queues=()), worker("c@h", queues=("x",))))
    text = generate_latest(told.metrics.registry).decode()
    series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert sorted(series) == sorted(set(series))
    assert told.of("processes_wish") == {"x": 4}


NO_ACTION = {f"{action} {result}": 0 for action in ("grow", "shrink") for result in Result}


def test_decisions_and_actions_are_counted():
    told = Told()
    assert told.of("actions_total") == NO_ACTION  # what is born above 0 has no increase
    told.tick(look(3, worker(busy=4)), outcomes=(GROWN, SHRUNK))
    told.tick(look(0, worker(busy=3), at=1001.0), outcomes=(GROWN,))
    assert told.of("decisions_total") == {"grow load_high": 1, "hold steady": 1}
    assert told.of("actions_total") == NO_ACTION | {"grow done": 2, "shrink unknown": 1}
    assert told.of("tick_duration_seconds_count") == {"": 2}


@pytest.mark.parametrize("name", ['quo"te', "two\nlines", "back\\slash", "ünï✓", "{}"])
def test_odd_names_are_labels_like_any_other(name):
    told = Told()
    told.tick(look(0, worker(name, queues=(name,)), queues=(queue(3, name),)))
    assert (told.of("queue_depth"), told.of("worker_processes")) == ({name: 3}, {name: 4})


def test_a_resize_that_a_dry_run_left_out_is_counted_by_its_true_reason():
    told = Told()
    seen = look(40, worker("a@h", processes=2, busy=2))
    _, plan = Decider(policy=prompt_policy(), mode=Mode.DRY_RUN).decide(State(), seen)
    (decision,) = plan.decisions
    assert decision.reason is Reason.DRY_RUN
    told.metrics.would_resize(decision)
    assert told.of("dry_run_resizes_total") == {f"grow {decision.desired_reason}": 1}
