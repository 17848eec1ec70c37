"""One tick as it is reported: valid JSON, and what a person should know."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.decider import Decider, Mode
from autoscaler.core.groups import Scope
from autoscaler.core.memory import Breach, MemoryRecord
from autoscaler.core.model import Outcome, Override, PoolKind, QueueReading, Result
from autoscaler.core.policy import Policy
from autoscaler.core.state import State
from autoscaler.report.status import TickRecord, conditions, limits, outcome_fields, shrinking, status
from tests.support.builders import container, look, prompt_policy, queue, worker

LEARNT = ("service_seconds", "arrivals_per_second", "shadow_recommended", "shadow_wish")
NO_COMPANION = "only while idle: it does not load autoscaler.companion"


def record_of(observation, *, policy=None, scope=None, **fields):
    decider = Decider(policy=policy or prompt_policy(), scope=scope or Scope())
    state, plan = decider.decide(State(), observation)
    workers = {name: known.reading for name, known in state.workers.items()}
    return TickRecord(observation=observation, plan=plan, workers=workers, **fields)


def strict(value):
    """JSON as other languages read it: no NaN, no infinity."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(json.dumps(value), parse_constant=refuse)


def test_a_standby_says_that_it_is_one_whatever_it_decides_and_a_leader_does_not():
    subject = ("lease", "standby")
    leading, standing = (record_of(look(0, leader=leader)) for leader in (True, False))
    for mode in (Mode.ACT, Mode.DRY_RUN):
        assert subject not in conditions(leading, mode)
        assert conditions(standing, mode)[subject] == (
            "another daemon with this --name acts; this one takes over when it is gone"
        )


def test_who_cannot_read_the_mailboxes_misses_none():
    mailbox = ("mailbox", "a@h")
    answered = record_of(look(0, worker("a@h")), unregistered=("a@h",))
    assert mailbox in conditions(answered, Mode.ACT)
    assert mailbox not in conditions(replace(answered, faults={"mailboxes": "NOPERM"}), Mode.ACT)


@pytest.mark.parametrize("fault", ["backlog", "lease"])
def test_who_cannot_ask_for_the_lease_claims_no_other_daemon(fault):
    unread = record_of(look(0, leader=False), faults={fault: "gone"})
    assert set(conditions(unread, Mode.ACT)) == {("sensor", fault)}


@pytest.mark.parametrize(
    ("memory", "state"),
    [
        (MemoryRecord(last_at=1.0), None),
        (MemoryRecord(last_at=1.0, kills=2), "OOM kills: 2"),
        (
            MemoryRecord(last_at=1.0, kills=2, breach=Breach(ceiling=3, until=9.0, hold_seconds=600.0)),
            "OOM kills: 2; size at most 3 for 600 s",
        ),
        (
            MemoryRecord(last_at=1.0, breach=Breach(ceiling=1, until=9.0, hold_seconds=600.0)),
            "the memory limit was exceeded; size at most 1 for 600 s; raise the limit or hold less in tasks",
        ),
    ],
)
def test_each_kill_is_a_condition_with_a_message_of_its_own(memory, state):
    found = conditions(record_of(look(0, worker("a@h")), memory={"a@h": memory}), Mode.ACT)
    assert found.get(("memory", "a@h")) == state


#: A tick of one worker, as ``/status`` gives it to others: every key is public.
VIEW = {
    "at": 1.7e9,
    "leader": True,
    "override": {"paused": True, "min": None, "max": 9, "held": [], "by": "ann", "why": None},
    "queues": [{"queue": "celery", "waiting": 3, "oldest_age_seconds": None, "error": None}],
    "groups": [
        {
            "queues": ["celery"],
            "workers": ["a@h"],
            "waiting": 3,
            "expected_passing": 0,
            "expected_discards": 0,
            "reserved": 0,
            "running": 1,
            "processes": 1,
            "complete": True,
            "recommended": 4,
            "asked": 4,
            "desired": 4,
            "wish": 4,
            "reason": "load_high",
            "blocked_by": None,
            "needed_for_target": None,
            "shortest_target_seconds": None,
            "cooldown_up_seconds": 0,
            "cooldown_down_seconds": 0,
        }
    ],
    "workers": [
        {
            "worker": "a@h",
            "pool": "prefork",
            "processes": 1,
            "retiring": 1,
            "busy": 2,
            "reserved": 0,
            "scheduled": 0,
            "completed": 0,
            "rate_limited": None,
            "discarded": None,
            "consuming": None,
            "uptime_seconds": 3600.0,
            "prefetch": None,
            "start_seconds": None,
            "queues": ["celery"],
            "waiting": 3,
            "carries": {"own": 1, "shared": 0},
            "companion": True,
            "shrinks": "at any time (companion)",
            "limits": {"min": 1, "max": 9, "cpu": 2, "memory": 8},
            "container": {
                "cpu_limit_cores": 2.5,
                "cpu_usage_ratio": None,
                "cpu_throttled_ratio": None,
                "memory_limit_bytes": 1000,
                "memory_used_bytes": None,
                "worker_memory_bytes": None,
                "memory_shared": None,
                "oom_kills": None,
                "machine": {"cpu_cores": None, "memory_bytes": None},
            },
            "memory": None,
        }
    ],
    "decisions": [
        {
            "worker": "a@h",
            "action": "hold",
            "current": 1,
            "desired": 2,
            "wanted": 2,
            "desired_reason": "cpu_ceiling",
            "cause": "cpu_ceiling",
            "target": 1,
            "reason": "paused",
        }
    ],
    "outcomes": [
        {
            "worker": "a@h",
            "command": "pool_resize",
            "before": 2,
            "target": 4,
            "result": "done",
            "detail": None,
        }
    ],
    "waits": [],
    "unresponsive": ["s@h"],
    "silent": ["s@h"],
    "duplicates": ["d@h"],
    "doubled": ["d@h"],
    "unregistered": [],
    "unreadable": {},
    "faults": {"lease": "TimeoutError: late"},
    "tick_seconds": 0.0123,
}


def test_the_view_of_a_tick_is_whole():
    box = container(
        cpu_limit_cores=2.5,
        cpu_limited=True,
        memory_limit_bytes=1000,
        memory_limited=True,
        child_rss_bytes=(100,),
    )
    done = Outcome(worker="a@h", before=2, target=4, command="pool_resize", result=Result.DONE)
    record = record_of(
        look(
            3,
            worker("a@h", processes=1, busy=2, retiring=1, container=box),
            override=Override(paused=True, max_processes=9, by="ann"),
        ),
        outcomes=(done,),
        faults={"lease": "TimeoutError: late"},
        unresponsive=("s@h",),
        duplicates=("d@h",),
        wall_time=1.7e9,
        seconds=0.0123456,
    )
    found = strict(status(record))
    # What the target wait has learnt is beside the group; its own tests say what it is.
    for name in LEARNT:
        found["groups"][0].pop(name, None)
    assert found == VIEW


counts = st.none() | st.integers(0, 50)
finite = st.none() | st.floats(0, 1e6)


@given(
    st.lists(
        st.builds(
            worker,
            st.sampled_from(["a@h", "b@h", "c@h"]),
            counts,
            pool=st.sampled_from(PoolKind),
            busy=counts,
            reserved=counts,
            completed=counts,
            companion=st.booleans(),
            autoscale=st.booleans(),
            queues=st.sampled_from([(), ("celery",), ("x", "celery")]),
            container=st.none()
            | st.builds(
                container,
                cpu_limit_cores=st.none() | st.floats(0.01, 100),
                cpu_limited=st.booleans(),
                memory_limit_bytes=counts,
                memory_limited=st.booleans(),
                memory_used_bytes=counts,
                cpu_usage_ratio=finite,
                child_rss_bytes=st.sampled_from([(), (0,), (3, 4)]),
            ),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda one: one.name,
    ),
    counts,
    st.booleans(),
)
def test_the_view_of_any_tick_is_json_without_nan(workers, waiting, automatic):
    policy = Policy() if automatic else prompt_policy()
    found = strict(status(record_of(look(waiting, *workers), policy=policy)))
    assert [one["worker"] for one in found["workers"]] == sorted(one.name for one in workers)
    assert all(math.isfinite(size) for one in found["workers"] for size in one["limits"].values())


@pytest.mark.parametrize(
    ("parameters", "limited", "expected"),
    [
        pytest.param(
            {"max_processes": 9}, None, {"min": 1, "max": 9}, id="nothing is known of the container"
        ),
        pytest.param({"max_processes": None}, None, {"min": 1}, id="and max is auto: no max"),
        pytest.param(
            {"max_processes": None}, {"cpu_limit_cores": 3.0}, {"min": 1, "max": 3}, id="a machine's cores"
        ),
        pytest.param(
            {"max_processes": None},
            {"cpu_limit_cores": 3.0, "cpu_limited": True},
            {"min": 1, "max": 3, "cpu": 3},
            id="a quota",
        ),
    ],
)
def test_the_bounds_of_a_worker_are_reported_by_their_names(parameters, limited, expected):
    box = None if limited is None else container(**limited)
    assert limits(Policy(**parameters), box) == expected


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (worker(), "at any time (companion)"),
        (worker(companion=False), NO_COMPANION),
        (worker(companion=False, companion_refusal="too old"), "only while idle: too old"),
        (
            worker(pool=PoolKind.SOLO),
            "not at all: its solo pool cannot be resized; use --pool prefork, threads, gevent or eventlet",
        ),
    ],
)
def test_how_a_worker_may_shrink_is_said_in_a_few_words(reading, expected):
    assert shrinking(reading) == expected


def test_an_idle_tick_has_nothing_to_report():
    assert conditions(record_of(look(0)), Mode.ACT) == {}


def test_what_a_person_should_know_is_reported_by_kind_and_name():
    broken = QueueReading(name="x", waiting=None, error="WRONGTYPE")
    seen = look(0, worker("a@h", companion=False, queues=("x", "y")), queues=(broken, queue(0, "y")))
    record = record_of(seen, faults={"lease": "late"}, duplicates=("d@h",))
    assert conditions(record, Mode.ACT) == {
        ("sensor", "lease"): "late",
        ("queue", "x"): "WRONGTYPE",
        ("name", "d@h"): "two workers answer to it; give each worker a name of its own",
        ("worker", "a@h"): f"it shrinks {NO_COMPANION}",
        ("decision", "a@h"): "stale",
    }


def test_an_override_is_reported_with_who_why_and_until_when():
    override = Override(
        paused=True,
        max_processes=4,
        held_workers=frozenset({"a@h"}),
        by="ann",
        why="migration",
        paused_until=1795708800.0,
        held_until={"a@h": 1795708860.0},
    )
    record = record_of(look(0, override=override))
    assert conditions(record, Mode.DRY_RUN) == {
        ("override", "pause"): "paused by ann until 2026-11-26 16:00:00Z: migration",
        ("override", "limits"): "max 4 until it is ended",
        ("override", "a@h"): "held until 2026-11-26 16:01:00Z",
    }
    resumed = record_of(look(0, override=replace(override, paused=False)))
    assert conditions(resumed, Mode.DRY_RUN) == {
        ("override", "limits"): "max 4 by ann until it is ended: migration",
        ("override", "a@h"): "held until 2026-11-26 16:01:00Z",
    }
    held = record_of(look(0, override=replace(override, paused=False, max_processes=None)))
    assert conditions(held, Mode.DRY_RUN) == {
        ("override", "a@h"): "held by ann until 2026-11-26 16:01:00Z: migration",
    }
    nameless = record_of(look(0, override=Override(paused=True)))
    reported = conditions(nameless, Mode.ACT)
    assert reported["override", "pause"] == "paused by an unnamed person until it is ended"


def test_a_redis_that_cannot_be_read_is_reported_once_and_not_for_each_queue():
    unread = QueueReading(name="x", waiting=None, error="not read")
    record = record_of(look(None, worker(queues=("x",)), queues=(unread,)), faults={"backlog": "down"})
    assert conditions(record, Mode.DRY_RUN) == {("sensor", "backlog"): "down"}


def test_a_sidecar_reports_its_own_worker_alone():
    seen = look(0, worker("mine@h", companion=False), worker("other@h", companion=False))
    record = record_of(seen, scope=Scope(workers=frozenset({"mine@h"})))
    assert conditions(record, Mode.ACT) == {("worker", "mine@h"): f"it shrinks {NO_COMPANION}"}


def test_an_outcome_is_plain_values():
    outcome = Outcome(
        worker="w", before=2, target=1, command="pool_shrink", result=Result.UNKNOWN, detail="x"
    )
    assert strict(outcome_fields(outcome)) == {
        "worker": "w",
        "command": "pool_shrink",
        "before": 2,
        "target": 1,
        "result": "unknown",
        "detail": "x",
    }
