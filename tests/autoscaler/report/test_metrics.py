"""What Prometheus reads: names, series that come and go, nothing for the unknown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import autoscaler
from autoscaler.core.decider import Decider, Mode
from autoscaler.core.memory import MemoryRecord
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


class Exported:
    """Metrics over ticks of a real decider; the clock is set by hand."""

    def __init__(self, policy: Policy | None = None, *, detail: str = "auto") -> None:
        self.now = 1000.0
        self.policy = policy or prompt_policy()
        self.changes: list[tuple[str, int]] = []
        self.metrics = Metrics(
            monotonic=lambda: self.now,
            detail=detail,
            detail_changed=lambda *change: self.changes.append(change),
        )
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
    exported = Exported()
    aged = (QueueReading(name="celery", waiting=3, oldest_age_seconds=7.5),)
    exported.tick(look(3, worker(container=FULL), queues=aged), outcomes=(GROWN,), faults={"lease": "x"})
    exported.metrics.observe_action(0.1)
    found = exported.series()
    labels = {name: {label for label, _ in next(iter(found[name]))} for name in NAMES if name in found}
    assert labels == NAMES


def test_before_the_first_tick_there_is_a_version_and_no_gauge():
    exported = Exported()
    assert exported.series()["build_info"] == {(("version", autoscaler.__version__),): 1.0}
    assert exported.of("worker_processes") == exported.of("queue_depth") == exported.of("leader") == {}


def test_every_kill_is_counted_and_a_bare_machine_has_no_limit():
    exported = Exported()
    for kills in (0, 3):
        box = FULL._replace(oom_kills=kills, container_id="a", parent_rss_bytes=50)
        exported.tick(look(3, worker("a@h", container=box), worker("b@h")))
    assert exported.of("worker_oom_kills_total") == {"a@h": 3}
    assert exported.of("worker_process_peak_bytes") == {"a@h": 100}
    assert exported.of("worker_memory_bytes") == {"a@h": 150}
    assert exported.of("worker_processes_limit")["memory_breach a@h"] == 3
    bare = FULL._replace(cpu_limited=False, memory_limited=False)
    exported.tick(look(3, worker("a@h", container=bare)))
    assert exported.of("cgroup_cpu_limit_cores") == exported.of("cgroup_memory_limit_bytes") == {}
    assert exported.of("machine_cpu_cores") == {"a@h": 2.5}
    assert exported.of("machine_memory_bytes") == {"a@h": 1000}


def test_series_of_a_gone_worker_and_of_a_gone_queue_vanish():
    exported = Exported()
    exported.tick(
        look(3, worker("a@h", container=FULL), worker("b@h"), queues=(queue(1, "x"), queue(2, "y")))
    )
    assert exported.of("worker_processes") == {"a@h": 4, "b@h": 4}
    assert exported.of("queue_depth") == {"x": 1, "y": 2}
    exported.tick(look(3, worker("b@h"), queues=(queue(2, "y"),), at=1100.0))
    gone = [
        (name, key)
        for name, rows in exported.series().items()
        for key in rows
        if {("worker", "a@h"), ("queue", "x")} & set(key)
    ]
    assert gone == []
    assert exported.of("worker_processes") == {"b@h": 4}


def test_a_worker_that_does_not_answer_in_a_tick_has_no_size_in_it():
    exported = Exported()
    exported.tick(look(0, worker("a@h"), worker("b@h")))
    exported.tick(look(0, worker("b@h"), at=1001.0))
    assert exported.of("worker_processes") == exported.of("worker_processes_target") == {"b@h": 4}


def test_what_is_unknown_has_no_series():
    exported = Exported()
    exported.tick(look(None, worker(processes=None, busy=None, container=container())))
    names = ["queue_depth", "worker_processes", "worker_processes_busy", "worker_processes_target"]
    names += ["queue_oldest_message_age_seconds", *(name for name in NAMES if name.startswith("cgroup_"))]
    assert {name: exported.of(name) for name in names} == {name: {} for name in names}


def test_the_values_are_those_of_the_last_tick():
    exported = Exported(prompt_policy(min_processes=2, max_processes=9, scale_down_cooldown_seconds=30))
    seen = look(7, worker("a@h", busy=4, container=FULL), override=Override(paused=True), leader=False)
    exported.tick(seen)
    exported.now = 1004.0
    values = ["queue_depth", "worker_processes", "worker_processes_busy", "worker_processes_target"]
    assert {name: exported.of(name) for name in values} == {
        "queue_depth": {"celery": 7},
        "worker_processes": {"a@h": 4},
        "worker_processes_busy": {"a@h": 4},
        "worker_processes_target": {"a@h": 4},
    }
    assert exported.of("worker_processes_limit") == {
        "min a@h": 2,
        "max a@h": 9,
        "cpu a@h": 2,
        "memory a@h": 8,
    }
    assert exported.of("cgroup_cpu_limit_cores") == {"a@h": 2.5}
    assert exported.of("cgroup_memory_usage_bytes") == {"a@h": 400}
    assert exported.of("cooldown_remaining_seconds") == {"up": 0, "down": 30}
    assert exported.of("sensor_age_seconds") == {"backlog": 4, "pool": 4}
    assert exported.of("last_tick_timestamp_seconds") == {"": 1.7e9}
    assert (exported.of("leader"), exported.of("paused")) == ({"": 0}, {"": 1})


def test_a_sensor_that_fails_is_counted_and_grows_old():
    exported = Exported()
    exported.tick(look(0))
    exported.now = 1010.0
    exported.tick(look(0, at=1010.0), faults={"pool": "TimeoutError"})
    assert exported.of("sensor_errors_total") == {"pool": 1}
    assert exported.of("sensor_age_seconds") == {"backlog": 0, "pool": 10}


def test_a_kill_while_the_consumers_are_cancelled_is_counted_once_they_are_restored():
    exported = Exported()
    for second, (kills, queues) in enumerate([(0, ("celery",)), (2, ()), (2, ("celery",)), (2, ("celery",))]):
        box = FULL._replace(oom_kills=kills, container_id="a")
        exported.tick(look(0, worker("a@h", container=box, queues=queues), at=1000.0 + second))
    assert exported.of("group_oom_kills_total") == {"celery": 2}


def test_what_was_never_read_is_as_old_as_the_daemon_so_that_an_alert_can_fire():
    exported = Exported()
    exported.now = 1070.0
    exported.tick(look(0, at=1070.0, leader=False), faults={"backlog": "WRONGPASS"})
    assert exported.of("sensor_age_seconds") == {"backlog": 70, "pool": 70}


@pytest.mark.parametrize("fault", ["backlog", "pool"])
def test_a_condition_is_counted_until_somebody_looked_and_found_it_over(fault):
    exported = Exported()
    stock = worker("a@h", companion=False)
    exported.tick(look(0, stock))
    unseen = replace(look(0, at=1002.0), workers=())
    exported.tick(unseen, faults={fault: "gone"})
    assert exported.of("condition")["worker"] == 1
    assert exported.of("condition").get("no_worker") is None
    exported.tick(look(0, worker("b@h"), at=1004.0))
    assert exported.of("condition")["worker"] == 1, "it did not answer"
    exported.tick(look(0, worker("a@h"), worker("b@h"), at=1006.0))
    assert exported.of("condition")["worker"] == 0


def test_the_limits_are_those_that_were_applied_an_override_included():
    exported = Exported(prompt_policy(min_processes=2, max_processes=9))
    exported.tick(look(7, worker("a@h"), override=Override(max_processes=3)))
    assert exported.of("worker_processes_limit") == {"min a@h": 2, "max a@h": 3}


def test_workers_without_queues_give_no_series_twice():
    exported = Exported()
    exported.tick(look(0, worker("a@h", queues=()), worker("b@h", queues=()), worker("c@h", queues=("x",))))
    text = generate_latest(exported.metrics.registry).decode()
    series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert sorted(series) == sorted(set(series))
    assert exported.of("processes_wish") == {"x": 4}


NO_ACTION = {f"{action} {result}": 0 for action in ("grow", "shrink") for result in Result}


def test_decisions_and_actions_are_counted():
    exported = Exported()
    assert exported.of("actions_total") == NO_ACTION  # what is born above 0 has no increase
    exported.tick(look(3, worker(busy=4)), outcomes=(GROWN, SHRUNK))
    exported.tick(look(0, worker(busy=3), at=1001.0), outcomes=(GROWN,))
    assert exported.of("decisions_total") == {"grow load_high": 1, "hold steady": 1}
    assert exported.of("actions_total") == NO_ACTION | {"grow done": 2, "shrink unknown": 1}
    assert exported.of("tick_duration_seconds_count") == {"": 2}


@pytest.mark.parametrize("name", ['quo"te', "two\nlines", "back\\slash", "ünï✓", "{}"])
def test_odd_names_are_labels_like_any_other(name):
    exported = Exported()
    exported.tick(look(0, worker(name, queues=(name,)), queues=(queue(3, name),)))
    assert (exported.of("queue_depth"), exported.of("worker_processes")) == ({name: 3}, {name: 4})


def test_a_resize_that_a_dry_run_left_out_is_counted_by_its_true_reason():
    exported = Exported()
    seen = look(40, worker("a@h", processes=2, busy=2))
    _, plan = Decider(policy=prompt_policy(), mode=Mode.DRY_RUN).decide(State(), seen)
    (decision,) = plan.decisions
    assert decision.reason is Reason.DRY_RUN
    exported.metrics.would_resize(decision)
    assert exported.of("dry_run_resizes_total") == {f"grow {decision.desired_reason}": 1}


def test_a_group_has_the_sums_of_its_workers_and_none_of_their_names():
    exported = Exported(prompt_policy(max_processes=6), detail="group")
    exported.tick(look(0, worker("a@h", 2, busy=1), worker("b@h", 3, busy=2, reserved=1)))
    sums = {
        name: exported.of(f"group_{name}")
        for name in ("workers", "processes", "processes_busy", "processes_retiring", "tasks_reserved")
    }
    assert sums == {
        "workers": {"celery": 2},
        "processes": {"celery": 5},
        "processes_busy": {"celery": 3},
        "processes_retiring": {"celery": 0},
        "tasks_reserved": {"celery": 1},
    }
    assert exported.of("group_processes_target").keys() == {"celery"}
    assert 'worker="' not in generate_latest(exported.metrics.registry).decode()


def test_a_group_says_of_its_workers_what_an_alert_on_one_of_them_asks():
    exported = Exported(prompt_policy(max_processes=6), detail="group")

    def limited(kills, used=500, throttled=0.1, **more):
        return container(
            memory_limit_bytes=1000,
            memory_limited=True,
            memory_used_bytes=used,
            cpu_throttled_ratio=throttled,
            oom_kills=kills,
            container_id=f"c{used}",
            **more,
        )

    first, second = limited(0), limited(4, used=950, throttled=0.4)
    exported.tick(
        look(0, worker("a@h", 0, container=first), worker("b@h", companion=False, container=second))
    )
    found = {
        name: exported.of(f"group_{name}")
        for name in (
            "workers_without_processes",
            "workers_without_companion",
            "workers_decided",
            "cpu_throttled_ratio_max",
            "memory_usage_ratio_max",
        )
    }
    assert found == {
        "workers_without_processes": {"celery": 1},
        "workers_without_companion": {"celery": 1},
        "workers_decided": {"celery": 2},
        "cpu_throttled_ratio_max": {"celery": 0.4},
        "memory_usage_ratio_max": {"celery": 0.95},
    }
    counted = [exported.of("group_oom_kills_total")]
    for at, readings in ((1001, (worker("a@h", container=limited(2)),)), (1002, (worker("b@h"),))):
        exported.tick(look(0, *readings, at=at))
        counted.append(exported.of("group_oom_kills_total"))
    # What a worker had when it was first seen is not counted, and its end takes nothing off.
    assert counted == [{"celery": 0}, {"celery": 2}, {"celery": 2}]


def test_kills_that_an_earlier_daemon_has_counted_are_not_counted_again():
    exported = Exported(detail="group")
    earlier = MemoryRecord(
        last_at=990.0,
        container_id="c",
        oom_kills=7,
        kills=7,
        earlier_kills=7,
        queues=("celery",),
        limit_bytes=1000,
        restored=True,
    )
    exported.state = State(memory={"a@h": earlier})
    box = container(memory_limit_bytes=1000, memory_limited=True, oom_kills=8, container_id="c")
    exported.tick(look(0, worker("a@h", container=box)))
    # One came while no daemon ran. After the reset of a counter all of 8 would pass for new ones.
    assert exported.of("group_oom_kills_total") == {"celery": 1}


def test_the_count_of_kills_of_a_group_that_is_gone_goes_an_hour_later():
    exported, found = Exported(detail="group"), []
    for at, pod in ((1000, "a"), (4000, "b"), (5000, "b")):  # worker_direct: a queue for each pod
        exported.tick(look(0, worker(f"{pod}@h", queues=("celery", f"{pod}@h.dq")), at=at))
        found.append(sorted(exported.of("group_oom_kills_total")))
    assert found == [["a@h.dq+celery"], ["a@h.dq+celery", "b@h.dq+celery"], ["b@h.dq+celery"]]


def test_many_workers_have_series_by_group_until_they_are_clearly_fewer():
    exported = Exported()
    shown = []
    for count in (200, 201, 170, 160, 200):
        exported.state = State()
        exported.tick(look(0, *(worker(f"w{number}@h", 1) for number in range(count))))
        shown.append(len(exported.of("worker_processes")))
    assert (shown, exported.changes) == ([200, 0, 0, 160, 200], [("group", 201), ("worker", 160)])
