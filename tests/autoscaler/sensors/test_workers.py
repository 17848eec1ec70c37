"""What workers say of their pools: pure parsing, and the sensor over a hand-made remote control."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.model import ContainerReading, PoolKind, Reason, WorkerReading
from autoscaler.sensors.workers import (
    WorkerSensor,
    WorkersReading,
    is_unknown_command,
    parse_report,
    parse_stats,
    pool_kind,
    with_tasks,
)
from tests.support.builders import decide, decision, look, prompt_policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UNKNOWN_COMMAND = {"error": "KeyError('pool_report')"}
REPORT = {
    "companion": 1,
    "pool": "prefork",
    "autoscale": False,
    "refusal": None,
    "size": 4,
    "ready": 3,
    "retiring": 1,
    "busy": 2,
    "reserved": 3,
    "scheduled": 5,
    "completed": 70,
    "uptime_seconds": 12.5,
    "pid": 1,
    "prefetch": 16,
    "queues": ["b", "a"],
    "start_seconds": 0.3,
    "container": {
        "cpu_limit_cores": 1.5,
        "cpu_limited": True,
        "cpu_usage_seconds": 9.5,
        "throttled_seconds": 0.5,
        "memory_limit_bytes": 4096,
        "memory_limited": True,
        "memory_used_bytes": 1024,
    },
    "parent_rss_bytes": 100,
    "child_rss_bytes": [10, 20],
}
STATS = {
    "total": {"nap": 7, "sum": 3},
    "uptime": 60,
    "prefetch_count": 8,
    "pool": {
        "implementation": "celery.concurrency.prefork:TaskPool",
        "max-concurrency": 2,
        "processes": [11, 12, 13],
    },
}


@pytest.mark.parametrize(
    ("implementation", "kind"),
    [
        ("celery.concurrency.prefork:TaskPool", PoolKind.PREFORK),
        ("celery.concurrency.gevent:TaskPool", PoolKind.GEVENT),
        ("celery.concurrency.eventlet:TaskPool", PoolKind.EVENTLET),
        ("celery.concurrency.thread:TaskPool", PoolKind.THREADS),
        ("celery.concurrency.solo:TaskPool", PoolKind.SOLO),
        ("celery.concurrency.base:BasePool", PoolKind.OTHER),
        ("threads", PoolKind.THREADS),
        ("prefork", PoolKind.PREFORK),
        (None, PoolKind.OTHER),
        ({"a": 1}, PoolKind.OTHER),
    ],
)
def test_the_kind_of_pool_is_known_by_its_module_or_its_name(implementation, kind):
    assert pool_kind(implementation) is kind


def test_a_companions_report_is_a_whole_reading():
    assert parse_report("w@h", REPORT) == WorkerReading(
        name="w@h",
        pool=PoolKind.PREFORK,
        processes=4,
        retiring=1,
        busy=2,
        reserved=3,
        scheduled=5,
        completed=70,
        uptime_seconds=12.5,
        prefetch=16,
        queues=("a", "b"),
        companion=True,
        start_seconds=0.3,
        container=ContainerReading(
            cpu_limit_cores=1.5,
            cpu_limited=True,
            cpu_usage_seconds=9.5,
            throttled_seconds=0.5,
            memory_limit_bytes=4096,
            memory_limited=True,
            memory_used_bytes=1024,
            parent_rss_bytes=100,
            child_rss_bytes=(10, 20),
        ),
    )


def test_a_companion_that_refuses_to_resize_counts_as_none_and_says_why():
    reading = parse_report("w@h", {**REPORT, "pool": "threads", "refusal": "a threads pool has one size"})
    assert (reading.companion, reading.companion_refusal, reading.unsupported) == (
        False,
        "a threads pool has one size",
        "its threads pool cannot be resized without the companion; load it, or use --pool prefork",
    )


def test_an_empty_report_is_unknown_and_nowhere_zero():
    assert parse_report("w@h", {}) == WorkerReading(
        name="w@h", pool=PoolKind.OTHER, processes=None, companion=True, container=ContainerReading()
    )


@pytest.mark.parametrize(
    ("pool", "kind", "size"),
    [
        pytest.param(
            {
                "implementation": "celery.concurrency.prefork:TaskPool",
                "max-concurrency": 2,
                "processes": [1, 2, 3],
            },
            PoolKind.PREFORK,
            3,
            id="prefork: the processes, not the -c value",
        ),
        pytest.param(
            {"implementation": "celery.concurrency.prefork:TaskPool", "max-concurrency": 2, "processes": []},
            PoolKind.PREFORK,
            0,
            id="prefork: shrunk to nothing",
        ),
        pytest.param(
            {"implementation": "celery.concurrency.prefork:TaskPool", "max-concurrency": 2},
            PoolKind.PREFORK,
            None,
            id="prefork: without a list it is unknown",
        ),
        pytest.param(
            {"implementation": "celery.concurrency.gevent:TaskPool", "max-concurrency": 100},
            PoolKind.GEVENT,
            100,
            id="gevent",
        ),
        pytest.param(
            {"implementation": "celery.concurrency.gevent:TaskPool", "max-concurrency": -95},
            PoolKind.GEVENT,
            None,
            id="gevent: a size below nothing is unknown",
        ),
        pytest.param(
            {"implementation": "celery.concurrency.eventlet:TaskPool", "max-concurrency": 7},
            PoolKind.EVENTLET,
            7,
            id="eventlet",
        ),
        pytest.param(
            {"implementation": "celery.concurrency.thread:TaskPool", "max-concurrency": 5},
            PoolKind.THREADS,
            5,
            id="threads",
        ),
        pytest.param({"implementation": "celery.concurrency.solo:TaskPool"}, PoolKind.SOLO, 1, id="solo"),
        pytest.param(
            {"implementation": "my.own:Pool", "max-concurrency": 3}, PoolKind.OTHER, 3, id="anyone's own"
        ),
        pytest.param({}, PoolKind.OTHER, None, id="nothing is told"),
    ],
)
def test_the_true_size_of_each_kind_of_pool_from_stock_stats(pool, kind, size):
    expected = WorkerReading(
        name="w@h", pool=kind, processes=size, completed=10, uptime_seconds=60.0, prefetch=8
    )
    assert parse_stats("w@h", {**STATS, "pool": pool}) == expected


def test_a_worker_with_its_own_autoscaler_is_seen_by_its_stats():
    reading = parse_stats("w@h", {**STATS, "autoscaler": {"current": 3, "max": 9, "min": 1, "qty": 0}})
    assert reading.unsupported == "it runs with --autoscale, which does its own resizing; start it without"


@pytest.mark.parametrize(
    ("busy", "completed"), [(3, 7), (12, 0), pytest.param(None, None, id="unknown busy: unknown completed")]
)
def test_completed_tasks_are_those_started_less_those_that_run(busy, completed):
    assert with_tasks(parse_stats("w@h", STATS), busy, 1).completed == completed


@pytest.mark.parametrize(
    ("reply", "unknown"),
    [
        (UNKNOWN_COMMAND, True),
        ({"error": "AttributeError('grow')"}, False),
        ({"error": 5}, False),
        ({"ok": "pong"}, False),
    ],
)
def test_an_unknown_command_is_told_from_other_errors(reply, unknown):
    assert is_unknown_command(reply) is unknown


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400)])
    | st.floats()
    | st.text(max_size=5),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3),
    max_leaves=6,
)


def finite(reading: WorkerReading) -> bool:
    parts = [getattr(reading, name) for name in WorkerReading.__dataclass_fields__]
    box = reading.container or ContainerReading()
    parts += [getattr(box, name) for name in ContainerReading.__dataclass_fields__]
    return all(math.isfinite(part) for part in parts if isinstance(part, int | float))


@given(st.dictionaries(st.sampled_from(sorted(REPORT)), JUNK))
def test_a_report_of_junk_never_raises_and_never_brings_a_number_that_is_none(junk):
    assert finite(parse_report("w@h", {**REPORT, **junk}))


@given(st.dictionaries(st.sampled_from(sorted(REPORT["container"])), JUNK))
def test_a_container_of_junk_never_raises(junk):
    assert finite(parse_report("w@h", {**REPORT, "container": junk}))


@given(st.dictionaries(st.sampled_from(sorted({*STATS, "autoscaler"})), JUNK), JUNK, JUNK)
def test_stats_of_junk_never_raise(junk, implementation, processes):
    pool = {"implementation": implementation, "processes": processes, "max-concurrency": processes}
    assert finite(parse_stats("w@h", {**STATS, **junk}))
    assert finite(parse_stats("w@h", {**STATS, "pool": pool}))


# The sensor


@dataclass
class FakeWorkers:
    """A remote control whose workers answer as told: replies by worker and command, or none at all."""

    replies: dict[str, dict[str, Any]]
    twins: frozenset[str] = frozenset()
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def call(
        self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]
    ) -> dict[str, list[Any]]:
        assert arguments == {}
        self.calls.append((command, tuple(workers)))
        found = {}
        for name in workers:
            if name in self.replies and command in (told := {"ping": {"ok": "pong"}} | self.replies[name]):
                found[name] = [told[command]] * (2 if name in self.twins else 1)
        return found

    def commands(self) -> list[str]:
        """The commands since the last time, roll calls aside."""
        found = [command for command, _ in self.calls if command != "ping"]
        self.calls.clear()
        return found


def stock(busy=0, reserved=0, **stats):
    """A worker without companion."""
    return {
        "pool_report": UNKNOWN_COMMAND,
        "stats": {**STATS, **stats},
        "active": [{}] * busy,
        "reserved": [{}] * reserved,
        "active_queues": [{"name": "celery"}, "junk", {}],
    }


def with_companion(**report):
    return {"pool_report": {**REPORT, **report}}


def test_a_worker_with_companion_is_read_by_one_call():
    remote = FakeWorkers({"a@h": with_companion()})
    sensor = WorkerSensor(remote)
    assert sensor.read({"a@h"}, 0.0) == WorkersReading(workers=(parse_report("a@h", REPORT),))
    assert remote.commands() == ["pool_report"]
    sensor.read({"a@h"}, 1.0)
    assert remote.calls == [("pool_report", ("a@h",))]


def test_a_worker_without_is_read_by_stock_commands_and_asked_for_the_companion_once():
    remote = FakeWorkers({"a@h": stock(busy=2)})
    sensor = WorkerSensor(remote)
    expected = WorkerReading(
        name="a@h",
        processes=3,
        busy=2,
        reserved=0,
        completed=8,
        uptime_seconds=60.0,
        prefetch=8,
        queues=("celery",),
    )
    assert sensor.read({"a@h"}, 0.0) == WorkersReading(workers=(expected,))
    assert remote.commands() == ["pool_report", "stats", "active", "active_queues"]
    assert sensor.read({"a@h"}, 1.0) == WorkersReading(workers=(expected,))
    assert remote.commands() == ["stats", "active", "active_queues"]


def test_fetched_tasks_are_asked_for_only_where_every_process_is_busy():
    remote = FakeWorkers({"full@h": stock(busy=3, reserved=9), "free@h": stock(busy=2, reserved=9)})
    found = WorkerSensor(remote).read({"full@h", "free@h"}, 0.0).workers
    assert {reading.name: reading.reserved for reading in found} == {"full@h": 9, "free@h": 0}
    assert ("reserved", ("full@h",)) in remote.calls


def test_counts_that_were_not_told_are_unknown():
    reticent = stock()
    del reticent["active"]
    (found,) = WorkerSensor(FakeWorkers({"a@h": reticent})).read({"a@h"}, 0.0).workers
    assert (found.busy, found.reserved, found.completed, found.processes) == (None, None, None, 3)


def test_queues_that_were_not_told_are_unknown_and_hold_every_shrink():
    reticent = stock()
    del reticent["active_queues"]
    (found,) = WorkerSensor(FakeWorkers({"a@h": reticent})).read({"a@h"}, 0.0).workers
    assert (found.queues, found.queues_known) == ((), False)
    idle = replace(found, busy=0, reserved=0)
    assert decide(look(99, idle), policy=prompt_policy()) == (decision(3, 3, Reason.STALE, name="a@h"),)


def test_a_companion_that_comes_with_a_restart_is_found():
    remote = FakeWorkers({"a@h": stock(uptime=500)})
    sensor = WorkerSensor(remote)
    sensor.read({"a@h"}, 0.0)
    remote.replies["a@h"] = {**with_companion(uptime_seconds=1.0), "stats": {**STATS, "uptime": 1}}
    sensor.read({"a@h"}, 1.0)
    assert sensor.read({"a@h"}, 2.0).workers[0].companion


def test_a_silent_name_is_asked_less_and_less_often_and_a_named_one_always():
    remote = FakeWorkers({})
    sensor = WorkerSensor(remote, {"mine@h"})
    asked = []
    for second in range(90):
        remote.calls.clear()
        found = sensor.read({"dead@h"}, float(second))
        assert "mine@h" in found.unresponsive
        if any("dead@h" in names for _, names in remote.calls):
            asked.append(second)
    assert asked == [0, 1, 6, 16, 36, 76]


def test_a_silent_name_that_answers_again_is_read_in_every_tick():
    remote = FakeWorkers({})
    sensor = WorkerSensor(remote)
    for second in range(7):
        sensor.read({"a@h"}, float(second))
    remote.replies["a@h"] = with_companion()
    found = [len(sensor.read({"a@h"}, float(second)).workers) for second in range(7, 20)]
    assert found == [0] * 9 + [1] * 4


def test_two_workers_of_one_name_are_nobodys_reading_and_are_named():
    remote = FakeWorkers({"a@h": with_companion(), "b@h": with_companion()}, twins=frozenset({"a@h"}))
    found = WorkerSensor(remote).read({"a@h", "b@h"}, 0.0)
    assert found == WorkersReading(workers=(parse_report("b@h", REPORT),), duplicates=("a@h",))


def test_a_second_worker_of_the_name_that_comes_later_is_found_by_its_clock():
    remote = FakeWorkers({"a@h": with_companion(uptime_seconds=100.0)})
    sensor = WorkerSensor(remote)
    sensor.read({"a@h"}, 0.0)
    remote.replies["a@h"] = with_companion(uptime_seconds=5.0)
    remote.twins = frozenset({"a@h"})
    sensor.read({"a@h"}, 1.0)
    assert sensor.read({"a@h"}, 2.0) == WorkersReading(duplicates=("a@h",))


def test_a_worker_whose_mailbox_is_gone_is_not_asked_any_more():
    remote = FakeWorkers({"a@h": with_companion()})
    sensor = WorkerSensor(remote)
    sensor.read({"a@h"}, 0.0)
    remote.calls.clear()
    assert sensor.read(set(), 1.0) == WorkersReading()
    assert remote.calls == []


@given(
    st.dictionaries(
        st.sampled_from(["ping", "pool_report", "stats", "active", "reserved", "active_queues"]), JUNK
    ),
    st.integers(1, 3),
)
def test_replies_of_junk_never_make_the_sensor_raise(junk, ticks):
    sensor = WorkerSensor(FakeWorkers({"a@h": {**stock(), **junk}, "b@h": stock()}))
    for second in range(ticks):
        found = sensor.read({"a@h", "b@h"}, float(second))
        assert "b@h" in {reading.name for reading in found.workers}
