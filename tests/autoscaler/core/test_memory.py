"""What a worker's processes need of memory, as learnt over time, and how many of them fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.memory import (
    Breach,
    MemoryRecord,
    Need,
    advance,
    fitting,
    need,
    percentile_95,
    remember_memory,
    room,
)
from autoscaler.core.model import Reason
from autoscaler.core.policy import Policy
from tests.support.builders import MIB, Walk, container, decision, prompt_policy, worker

GROUP = {
    "memory_limit_bytes": 300 * MIB,
    "memory_limited": True,
    "memory_used_bytes": 80 * MIB,
    "parent_rss_bytes": 50 * MIB,
    "child_rss_bytes": (30 * MIB,),
    "child_peak_bytes": 110 * MIB,
    "child_peak_p95_bytes": 110 * MIB,
    "child_shared_bytes": 10 * MIB,
    "oom_kills": 0,
    "memory_failcnt": 0,
    "container_id": "a",
}
POLICY = Policy()


def box(**changes):
    return container(**{**GROUP, **changes})


def fits(seen, *, size=0):
    """How many processes fit, by one reading alone."""
    return fitting(POLICY, seen, need(POLICY, seen, None), size=size)


def more(policy, seen, record):
    """How many more there is room for."""
    return room(policy, seen, record, need(policy, seen, record))


def follow(*steps, policy=POLICY, processes=4, **reading):
    """The record after readings at (seconds, changes of the container)."""
    record = None
    for at, changes in steps:
        fields = {"processes": processes, "completed": 9, **reading, "container": box(**changes)}
        record = advance(policy, record, worker(**{**fields, **fields.pop("worker", {})}), at)
    return record


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, Need(100 * MIB, 100 * MIB), id="the peak without what is shared"),
        pytest.param(
            {"child_peak_p95_bytes": 60 * MIB}, Need(50 * MIB, 100 * MIB), id="usual and largest differ"
        ),
        pytest.param(
            {"child_peak_p95_bytes": 60 * MIB, "oom_kills": 1},
            Need(100 * MIB, 100 * MIB),
            id="after a kill all are taken to be the largest",
        ),
        pytest.param(
            {"child_shared_bytes": 400 * MIB}, Need(11 * MIB, 11 * MIB), id="at least a tenth is its own"
        ),
        pytest.param(
            {"child_shared_bytes": None}, Need(110 * MIB, 110 * MIB), id="what is shared is unknown"
        ),
        pytest.param(
            {"child_peak_bytes": None, "child_peak_p95_bytes": None, "child_shared_bytes": None},
            Need(30 * MIB, 30 * MIB),
            id="an older companion has resident sizes only",
        ),
        pytest.param(
            {"child_peak_bytes": None, "child_peak_p95_bytes": None, "child_rss_bytes": ()},
            None,
            id="nothing is known",
        ),
    ],
)
def test_a_process_needs_its_peak(changes, expected):
    assert need(POLICY, box(**changes), None) == expected


@pytest.mark.parametrize(
    ("stated", "expected"), [(40, Need(100 * MIB, 100 * MIB)), (200, Need(200 * MIB, 200 * MIB))]
)
def test_a_stated_need_counts_where_it_is_more_than_what_was_seen(stated, expected):
    assert need(Policy(memory_per_process_bytes=stated * MIB), box(), None) == expected


def test_as_many_fit_as_have_room_at_their_peak_one_of_them_the_largest():
    # 300 x 0.85 - 50 = 205 MiB: one of 100 and two of 50.
    assert fits(box(child_peak_p95_bytes=60 * MIB)) == 3
    # 300 x 0.92 - 50 = 226 MiB: no more, and whoever has three keeps them where peaks are a little higher.
    grown = box(child_peak_p95_bytes=65 * MIB)
    assert [fits(grown, size=size) for size in (1, 2, 3, 4)] == [2, 2, 3, 2]


def test_a_peak_is_kept_for_an_hour_after_the_child_or_the_worker_is_gone_or_unresponsive():
    low = {"child_peak_bytes": 35 * MIB, "child_peak_p95_bytes": 35 * MIB, "child_shared_bytes": None}
    record = follow((0.0, {}), (10.0, low))
    assert need(POLICY, box(**low), record) == Need(100 * MIB, 100 * MIB)
    records = remember_memory(POLICY, {"celery@one": record}, (), 20.0)
    assert records == {"celery@one": record}
    restarted = advance(POLICY, record, worker(uptime_seconds=1.0, container=box(**low)), 3600.0)
    assert need(POLICY, box(**low), restarted).usual == 100 * MIB
    later = advance(POLICY, restarted, worker(container=box(**low)), 3601.0)
    assert need(POLICY, box(**low), later).usual == 25 * MIB
    assert remember_memory(POLICY, {"celery@one": record}, (), 10.0 + 3601.0) == {}


def test_the_usual_and_the_largest_peak_are_each_kept_for_an_hour_after_they_were_last_reached():
    def peaks(*steps):
        drawn = [
            (at, {"child_peak_p95_bytes": usual * MIB, "child_peak_bytes": largest * MIB})
            for at, usual, largest in steps
        ]
        found = follow(*drawn).peaks
        return found.usual // MIB, found.largest // MIB

    # The usual one is reached again and again: the largest, of one task hours ago, is not.
    assert peaks((0.0, 60, 200), (1800.0, 60, 60), (3600.0, 60, 60)) == (60, 200)
    assert peaks((0.0, 60, 200), (1800.0, 60, 60), (3601.0, 60, 60)) == (60, 60)
    # The largest has just been reached when the usual one is an hour old.
    assert peaks((0.0, 90, 90), (3599.0, 60, 200), (3601.0, 60, 60)) == (60, 200)
    assert peaks((0.0, 60, 200), (3000.0, 90, 90), (3601.0, 60, 60)) == (90, 90)


@pytest.mark.parametrize(
    ("changes", "ceiling"),
    [
        pytest.param({"oom_kills": 1}, 3, id="a kill"),
        pytest.param({"memory_failcnt": 5, "memory_pressure": 0.5}, 3, id="hits while processes wait"),
        pytest.param({"memory_failcnt": 5, "memory_used_bytes": 290 * MIB}, 3, id="hits by what is in use"),
        pytest.param({"memory_failcnt": 5}, None, id="hits by file pages"),
        pytest.param({"memory_pressure": 0.5}, None, id="pressure without a hit"),
        pytest.param({"oom_kills": 5, "container_id": "b"}, None, id="another group's counters"),
        pytest.param({"oom_kills": None}, None, id="counters that are not read any more"),
    ],
)
def test_a_breach_is_remembered_as_a_ceiling_below_the_size(changes, ceiling):
    record = follow((0.0, {}), (1.0, changes))
    assert (record.breach.ceiling if record.breach else None) == ceiling
    assert record.kills == int(ceiling is not None and "oom_kills" in changes)


@pytest.mark.parametrize(
    ("before", "now", "ceiling"),
    [
        pytest.param({"processes": 2}, {"processes": 8}, 2, id="growth: back to what was seen to fit"),
        pytest.param({"processes": 4}, {"processes": 1, "retiring": 3}, 3, id="retiring ones fill memory"),
        pytest.param({"processes": 4}, {"processes": 1}, 3, id="it may have been before they ended"),
        pytest.param({"processes": 1}, {"processes": 1}, 1, id="never below one"),
    ],
)
def test_the_ceiling_after_a_breach_is_below_the_processes_that_there_were(before, now, ceiling):
    record = advance(POLICY, None, worker(container=box(), **before), 0.0)
    assert advance(POLICY, record, worker(container=box(oom_kills=1), **now), 1.0).breach.ceiling == ceiling


def test_a_breach_holds_for_ten_minutes_and_then_lifts_by_one_process_a_minute():
    breach = follow((0.0, {}), (1.0, {"oom_kills": 1})).breach
    assert [breach.allowed(at) for at in (1.0, 600.0, 601.0, 660.0, 661.0, 781.0)] == [3, 3, 4, 4, 5, 7]


def test_a_repeated_breach_holds_twice_as_long_and_lower():
    record = follow((0.0, {}), (1.0, {"oom_kills": 1}))
    # Kills while the pool is still on its way down belong to the same breach.
    same = advance(POLICY, record, worker(processes=4, container=box(oom_kills=3)), 2.0)
    assert same.breach == Breach(ceiling=3, until=602.0, hold_seconds=600.0)
    assert same.kills == 3
    lower = advance(POLICY, same, worker(processes=3, container=box(oom_kills=3)), 3.0)
    again = advance(POLICY, lower, worker(processes=3, container=box(oom_kills=4)), 4.0)
    assert again.breach == Breach(ceiling=2, until=1204.0, hold_seconds=1200.0)


def test_a_breach_is_forgotten_long_after_it_lifted():
    record = follow((0.0, {}), (1.0, {"oom_kills": 1}))
    assert follow((0.0, {}), (1.0, {"oom_kills": 1}), (601.0 + 3599.0, {"oom_kills": 1})).breach is not None
    assert advance(POLICY, record, worker(container=box(oom_kills=1)), 601.0 + 3600.0).breach is None


@pytest.mark.parametrize(
    ("kills", "uptime", "expected"),
    [
        pytest.param(1, 100.0, Breach(ceiling=4, until=500.0, hold_seconds=600.0), id="of a young worker"),
        pytest.param(1, 700.0, None, id="of a worker that has been up for long"),
        pytest.param(0, 100.0, None, id="none"),
    ],
)
def test_a_daemon_that_starts_after_kills_does_not_grow_a_young_worker(kills, uptime, expected):
    record = follow((0.0, {"oom_kills": kills}), uptime_seconds=uptime)
    assert (record.breach, record.kills) == (expected, kills if expected else 0)


def test_there_is_no_room_until_a_task_has_shown_what_it_needs():
    fresh = {"completed": 0, "busy": 1}
    assert more(POLICY, box(), follow((0.0, {}), **fresh)) == 0
    assert more(POLICY, box(), follow((0.0, {}), (2.0, {}), **fresh)) == 0
    assert more(POLICY, box(), follow((0.0, {}), (3.0, {}), **fresh)) == 1  # (255 - 80) / 100
    assert more(POLICY, box(), follow((0.0, {}), completed=1)) == 1
    stated = Policy(memory_per_process_bytes=120 * MIB)
    assert more(stated, box(), follow((0.0, {}), **fresh)) == 1


def test_room_is_what_the_group_has_left_or_the_worker_below_a_stated_limit():
    assert more(POLICY, box(memory_used_bytes=200 * MIB), follow((0.0, {}))) == 0
    own = {"memory_limit_stated": True, "memory_used_bytes": 9000 * MIB, "worker_memory_bytes": 100 * MIB}
    assert more(POLICY, box(**own), follow((0.0, own))) == 1


def test_use_belongs_to_what_the_limit_belongs_to():
    own = {"memory_used_bytes": 290 * MIB, "worker_memory_bytes": 30 * MIB}
    assert box(**own).memory_usage_ratio == pytest.approx(290 / 300)
    assert box(**own, memory_shared=True).memory_usage_ratio == pytest.approx(0.1)
    assert box(**own, memory_limit_stated=True).memory_usage_ratio == pytest.approx(0.1)
    unknown = box(memory_limit_stated=True)  # its own use by resident sizes
    assert unknown.memory_usage_ratio == pytest.approx(80 / 300)


def test_a_stated_limit_on_a_busy_machine_shrinks_nothing():
    machine = box(
        memory_limit_bytes=1024 * MIB,
        memory_limit_stated=True,
        memory_used_bytes=2500 * MIB,
        worker_memory_bytes=181 * MIB,
        oom_kills=None,
    )
    plan = Walk(prompt_policy()).see(50, worker(busy=4, completed=9, container=machine))
    assert plan.decisions == (decision(4, 8, Reason.MEMORY_CEILING),)  # (1024 x 0.85 - 50) / 100


def test_after_a_kill_the_pool_shrinks_at_once_and_the_reason_names_it():
    walk = Walk(prompt_policy(scale_down_cooldown_seconds=600, max_step_down=1))
    roomy = {"memory_limit_bytes": 3000 * MIB}
    walk.see(50, worker(processes=8, busy=8, completed=9, container=box(**roomy)))
    plan = walk.see(50, worker(processes=8, busy=8, completed=9, container=box(**roomy, oom_kills=1)))
    assert plan.decisions == (decision(8, 7, Reason.MEMORY_BREACH),)
    assert walk.state.memory["celery@one"].kills == 1


def test_without_a_limit_the_machine_ends_growth_and_takes_no_process_away():
    bare = container(cpu_limit_cores=2.0, cpu_limited=False)
    policy = prompt_policy(max_processes=None)
    assert Walk(policy).see(50, worker(processes=3, busy=3, container=bare)).decisions == (
        decision(3, 3, Reason.MACHINE),
    )
    assert Walk(policy).see(50, worker(processes=1, busy=1, container=bare)).decisions == (
        decision(1, 2, Reason.MACHINE),
    )


sizes = st.integers(1, 4000).map(lambda n: n * MIB)


@given(
    st.tuples(sizes, sizes, sizes, st.integers(0, 4000).map(lambda n: n * MIB), st.none() | sizes),
    st.integers(0, 40),
)
def test_what_fits_does_fit_at_its_peak(drawn, size):
    limit, parent, usual, more, shared = drawn
    seen = box(
        memory_limit_bytes=limit,
        parent_rss_bytes=parent,
        child_peak_bytes=usual + more,
        child_peak_p95_bytes=usual,
        child_shared_bytes=shared,
    )
    each, fit = need(POLICY, seen, None), fits(seen, size=size)
    share = POLICY.memory_high if fit == size else POLICY.memory_headroom
    assert fit >= 1
    assert fit == 1 or parent + each.largest + (fit - 1) * each.usual <= limit * share
    higher = seen._replace(child_peak_bytes=usual + more + MIB, child_peak_p95_bytes=usual + MIB)
    assert fits(higher) <= fits(seen)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.5, 2.0, 30.0, 700.0, 5000.0]),
            st.integers(1, 20),
            st.integers(0, 3),
            st.integers(0, 3),
            st.sampled_from([None, 0.0, 0.5]),
            st.sampled_from(["a", "a", "b", None]),
        ),
        max_size=20,
    )
)
def test_a_record_stays_sane_whatever_is_read(steps):
    at, kills, hits, record = 0.0, 0, 0, None
    for seconds, processes, more_kills, more_hits, pressure, identity in steps:
        at, kills, hits = at + seconds, kills + more_kills, hits + more_hits
        before = record
        seen = box(oom_kills=kills, memory_failcnt=hits, memory_pressure=pressure, container_id=identity)
        record = advance(POLICY, record, worker(processes=processes, completed=1, container=seen), at)
        assert record.kills >= (before or MemoryRecord(last_at=at)).kills
        if record.breach:
            assert record.breach.ceiling >= 1
            assert record.breach.allowed(at) >= record.breach.ceiling
            assert 600.0 <= record.breach.hold_seconds <= 4 * 3600.0
        if before and record.kills > before.kills:
            assert record.breach is not None
            assert record.breach.allowed(at) < max(2, before.processes, processes)


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=60))
def test_the_95th_percentile_is_one_of_the_values_and_no_more_than_a_twentieth_exceed_it(values):
    found = percentile_95(values)
    assert found in values
    assert sum(value > found for value in values) <= len(values) / 20


FULL = {"memory_used_bytes": 295 * MIB}


@pytest.mark.parametrize(
    ("before", "after", "uptime", "expected"),
    [
        pytest.param(FULL, {"container_id": "b"}, 5.0, 3, id="full, then a new container"),
        pytest.param({}, {"container_id": "b"}, 5.0, None, id="not full: a rollout"),
        pytest.param(FULL, {}, 5.0, None, id="the same container counts its kills itself"),
        pytest.param(FULL, {"container_id": "b"}, 9000.0, None, id="no restart: it was moved"),
        pytest.param(FULL, {"container_id": None}, 5.0, None, id="another container is not known to be one"),
        pytest.param({**FULL, "memory_limited": False}, {"container_id": "b"}, 5.0, None, id="the machine"),
    ],
)
def test_a_worker_that_was_ended_full_and_is_back_in_a_new_container_had_a_breach(
    before, after, uptime, expected
):
    record = follow((1000.0, {}), (1002.0, before))
    back = worker(processes=1, completed=0, uptime_seconds=uptime, container=box(**after))
    breach = advance(POLICY, record, back, 1020.0).breach
    assert (None if breach is None else breach.ceiling) == expected


def test_a_worker_of_a_new_name_starts_with_what_those_of_its_queues_and_limit_have_shown():
    breach = Breach(ceiling=2, until=1600.0, hold_seconds=600.0)
    known = follow((1000.0, {}))
    records = {"old": known._replace(breach=breach)}
    fresh = {"child_peak_bytes": 35 * MIB, "child_peak_p95_bytes": 35 * MIB, "container_id": "n"}

    def first_look(at=1010.0, queues=("celery",), **changes):
        new = worker("new", 1, completed=0, queues=queues, container=box(**fresh, **changes))
        found = remember_memory(POLICY, records, [new], at)["new"]
        return found.peaks.largest // MIB, found.breach, found.tried

    assert first_look() == (110, breach, True)
    assert first_look(queues=("mails",)) == (35, None, False)
    assert first_look(memory_limit_bytes=900 * MIB) == (35, None, False)
    assert first_look(at=1000.0 + 601) == (110, None, True)
    assert first_look(at=1000.0 + 3601) == (35, None, False)


def test_there_is_no_room_while_processes_wait_for_memory():
    record = follow((1000.0, {}))
    assert more(POLICY, box(), record) == 1
    assert more(POLICY, box(memory_pressure=0.05), record) == 1
    assert more(POLICY, box(memory_pressure=0.2), record) == 0
    # The machine's pressure says nothing of a worker without a limit.
    assert more(POLICY, box(memory_pressure=0.2, memory_limited=False), record) == 1
