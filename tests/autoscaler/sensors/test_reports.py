"""What a worker's replies mean: pure parsing, tolerant of anything."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.model import ContainerReading, PoolKind, WorkerLayout, WorkerReading
from autoscaler.sensors.reports import (
    is_unknown_command,
    parse_report,
    parse_stats,
    pool_kind,
    with_tasks,
)
from tests.support.worker_replies import JUNK, REPORT, STATS, UNKNOWN_COMMAND


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


@pytest.mark.parametrize("pool", ["threads", "gevent", "eventlet"])
def test_a_companion_that_refuses_to_resize_counts_as_none_and_says_why(pool):
    reading = parse_report("w@h", {**REPORT, "pool": pool, "refusal": "it loses count; use Celery 5.7"})
    assert (reading.companion, reading.companion_refusal, reading.unsupported) == (
        False,
        "it loses count; use Celery 5.7",
        f"its {pool} pool cannot be resized: it loses count; use Celery 5.7",
    )


@pytest.mark.parametrize("pool", ["thread", "gevent", "eventlet"])
def test_without_the_companion_only_a_prefork_pool_can_be_resized(pool):
    # Celery before 5.7 loses count of a green pool: each growth would be followed by another one.
    stats = {"implementation": f"celery.concurrency.{pool}:TaskPool", "max-concurrency": 2}
    reading = parse_stats("w@h", {**STATS, "pool": stats})
    assert reading.unsupported == (
        f"its {reading.pool} pool cannot be resized without the companion; load it, or use --pool prefork"
    )
    assert parse_stats("w@h", STATS).unsupported is None


def test_a_queue_that_is_reported_twice_is_consumed_once():
    reading = parse_report("w@h", {"queues": ["b", "a", "b"]})
    assert (reading.queues, reading.queues_known) == (("a", "b"), True)


@pytest.mark.parametrize("queues", [None, "celery", {"celery": 1}])
def test_a_worker_that_does_not_list_its_queues_is_not_one_that_consumes_nothing(queues):
    reading = parse_report("w@h", {"queues": queues})
    assert (reading.queues, reading.queues_known) == ((), False)


@pytest.mark.parametrize("seconds", [-5.0, 3601.0, 1e12])
def test_a_start_of_no_believable_length_is_unknown(seconds):
    assert parse_report("w@h", {"start_seconds": seconds}).start_seconds is None


def test_an_empty_report_is_unknown_and_nowhere_zero():
    assert parse_report("w@h", {}) == WorkerReading(
        name="w@h",
        pool=PoolKind.OTHER,
        processes=None,
        companion=True,
        container=ContainerReading(),
        queues_known=False,
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
        pytest.param({}, PoolKind.OTHER, None, id="nothing is reported"),
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
def test_an_unknown_command_is_distinguished_from_other_errors(reply, unknown):
    assert is_unknown_command(reply) is unknown


def sane(reading: WorkerReading) -> bool:
    parts: list[object] = [*reading, *(reading.container or ContainerReading())]
    return all(0 <= part < math.inf for part in parts if isinstance(part, int | float))


@given(st.dictionaries(st.sampled_from(sorted(REPORT)), JUNK))
def test_a_report_of_junk_never_raises_and_never_brings_a_number_that_is_none(junk):
    assert sane(parse_report("w@h", {**REPORT, **junk}))


@given(st.dictionaries(st.sampled_from(sorted(REPORT["container"])), JUNK))
def test_a_container_of_junk_never_raises(junk):
    assert sane(parse_report("w@h", {**REPORT, "container": junk}))


@given(st.dictionaries(st.sampled_from(sorted({*STATS, "autoscaler"})), JUNK), JUNK, JUNK)
def test_stats_of_junk_never_raise(junk, implementation, processes):
    pool = {"implementation": implementation, "processes": processes, "max-concurrency": processes}
    assert sane(parse_stats("w@h", {**STATS, **junk}))
    assert sane(parse_stats("w@h", {**STATS, "pool": pool}))


LAYOUT = {
    "contract": 2,
    "separator": "|",
    "priority_steps": [9, 0, 5],
    "global_keyprefix": "app:",
    "unacked_key": "app-unacked",
    "visibility_timeout_seconds": 3600,
    "control_exchange": "app1",
    "eta_task_limit": 10,
    "prefetch_disabled": False,
    "serializer": "json",
    "accept": ["json", "application/x-python-serialize"],
    "private_queues": ["w@h.dq2"],
    "start_method": "spawn",
}


def test_a_reported_layout_is_read_whole():
    assert parse_report("w@h", {**REPORT, "layout": LAYOUT}).layout == WorkerLayout(
        contract=2,
        separator="|",
        priority_steps=(0, 5, 9),
        global_keyprefix="app:",
        unacked_key="app-unacked",
        visibility_timeout_seconds=3600.0,
        control_exchange="app1",
        eta_task_limit=10,
        prefetch_disabled=False,
        serializer="json",
        accept=("application/x-python-serialize", "json"),
        private_queues=("w@h.dq2",),
        start_method="spawn",
    )


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        pytest.param(None, None, id="an older companion"),
        pytest.param("junk", None, id="no object"),
        pytest.param({}, WorkerLayout(contract=1), id="empty: the contract of the report"),
        pytest.param({"priority_steps": ["a", 3]}, WorkerLayout(contract=1), id="steps that are no numbers"),
        pytest.param({"priority_steps": [0, 999]}, WorkerLayout(contract=1), id="steps out of range"),
        pytest.param({"priority_steps": list(range(10**5))}, WorkerLayout(contract=1), id="too many steps"),
        pytest.param({"separator": "x" * 10**6}, WorkerLayout(contract=1), id="a huge text"),
        pytest.param({"separator": ""}, WorkerLayout(contract=1), id="an empty separator"),
        pytest.param({"global_keyprefix": ""}, WorkerLayout(contract=1, global_keyprefix=""), id="no prefix"),
        pytest.param({"eta_task_limit": 10**400}, WorkerLayout(contract=1), id="a huge number"),
        pytest.param({"contract": True}, WorkerLayout(contract=1), id="a contract of a wrong type"),
    ],
)
def test_what_a_layout_does_not_say_is_unknown(layout, expected):
    assert parse_report("w@h", {**REPORT, "layout": layout}).layout == expected


@given(st.dictionaries(st.sampled_from(sorted(LAYOUT)), JUNK))
def test_a_layout_of_junk_never_raises(junk):
    assert parse_report("w@h", {**REPORT, "layout": {**LAYOUT, **junk}}).layout is not None
