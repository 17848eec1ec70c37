"""What is remembered of workers' memory as text, so that it outlasts the process that learnt it."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autoscaler.core.kept_memory import MAX_RECORDS, pack, unpack
from autoscaler.core.memory import Breach, MemoryRecord, Peaks, remember_memory
from autoscaler.core.policy import Policy
from tests.support.builders import MIB, container, worker

RECORD = MemoryRecord(
    last_at=100.0,
    peaks=Peaks(50 * MIB, 110 * MIB, 90.0, 80.0),
    shared_bytes=10 * MIB,
    container_id="a",
    oom_kills=2,
    memory_failcnt=7,
    kills=2,
    processes=4,
    tried=True,
    breach=Breach(ceiling=3, until=700.0, hold_seconds=600.0),
    queues=("celery",),
    limit_bytes=300 * MIB,
)
WALL = 1.7e9


def kept(records, **changes):
    return unpack(pack(records, at=100.0, wall=WALL), **{"at": 5.0, "wall": WALL + 60, **changes})


def test_a_record_comes_back_on_the_clock_of_the_reader():
    assert kept({"w@h": RECORD}) == {
        "w@h": RECORD._replace(
            last_at=-55.0,
            peaks=Peaks(50 * MIB, 110 * MIB, -65.0, -75.0),
            breach=Breach(ceiling=3, until=545.0, hold_seconds=600.0),
            earlier_kills=2,
            restored=True,
        )
    }


def test_an_earlier_version_has_stored_one_time_for_both_peaks():
    stored = json.loads(pack({"w@h": RECORD}, at=100.0, wall=WALL))
    del stored["w@h"]["largest_since"]
    found = unpack(json.dumps(stored), at=100.0, wall=WALL)["w@h"]
    assert found.peaks == Peaks(50 * MIB, 110 * MIB, 90.0, 90.0)


def test_the_clock_of_another_host_may_be_a_little_behind():
    assert kept({"w@h": RECORD}, wall=WALL - 30.0).keys() == {"w@h"}


@pytest.mark.parametrize(
    ("changes", "later"),
    [
        pytest.param({"peaks": None, "breach": None}, 0.0, id="it says nothing"),
        pytest.param({"limit_bytes": None}, 0.0, id="its limit is unknown"),
        pytest.param({}, 3601.0, id="it is old"),
        pytest.param({}, -120.0, id="it is of the future"),
    ],
)
def test_a_record_that_does_not_help_is_left_out(changes, later):
    assert kept({"w@h": RECORD._replace(**changes)}, wall=WALL + later) == {}


def test_the_newest_are_kept():
    many = {f"w{number}@h": RECORD._replace(last_at=100.0 - number) for number in range(MAX_RECORDS + 5)}
    found = kept(many)
    assert found.keys() == {f"w{number}@h" for number in range(MAX_RECORDS)}
    assert len(pack(many, at=100.0, wall=WALL)) < 400 * MAX_RECORDS


@example(10**400, "at")
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    st.sampled_from(
        [
            "at",
            "limit",
            "queues",
            "kills",
            "processes",
            "peaks",
            "largest_since",
            "breach",
            "container",
            "shared",
        ]
    ),
)
def test_text_that_makes_no_sense_is_left_out_and_harms_no_other(odd, field):
    stored = json.loads(pack({"w@h": RECORD}, at=100.0, wall=WALL))
    text = json.dumps({"odd@h": {**stored["w@h"], field: odd}, "worse@h": odd, **stored})
    assert "w@h" in unpack(text, at=100.0, wall=WALL)
    unpack(json.dumps(odd), at=100.0, wall=WALL)


def test_nothing_that_was_stored_holds_for_longer_than_what_is_learnt_here():
    stored = json.loads(pack({"w@h": RECORD}, at=100.0, wall=WALL))
    stored["w@h"] |= {"peaks": [1, 2, 9e99], "breach": [1, 9e99, 9e99]}
    found = unpack(json.dumps(stored), at=100.0, wall=WALL)["w@h"]
    assert (found.peaks.since, found.breach) == (
        100.0,
        Breach(ceiling=1, until=100.0 + 4 * 3600.0, hold_seconds=4 * 3600.0),
    )


@pytest.mark.parametrize("text", ["", "{", "[1]", b"\xff", "[" * 100_000])
def test_what_is_no_json_object_is_nothing(text):
    assert unpack(text, at=0.0, wall=WALL) == {}


@pytest.mark.parametrize(
    ("limit", "queues", "peak"),
    [
        pytest.param(300, ("celery",), 110, id="the same limit and queues"),
        pytest.param(400, ("celery",), 40, id="another limit"),
        pytest.param(300, ("other",), 40, id="other queues"),
    ],
)
def test_what_an_earlier_daemon_left_counts_below_the_same_limit_only(limit, queues, peak):
    box = container(
        memory_limit_bytes=limit * MIB,
        memory_limited=True,
        child_peak_bytes=40 * MIB,
        child_peak_p95_bytes=40 * MIB,
        oom_kills=2,
        container_id="a",
    )
    reading = worker("w@h", queues=queues, container=box, uptime_seconds=9000.0)
    record = remember_memory(Policy(), kept({"w@h": RECORD}), (reading,), 5.0)["w@h"]
    assert record.peaks.largest == peak * MIB
    assert (record.breach is not None, record.restored) == (peak == 110, False)


def test_a_kill_while_no_daemon_ran_is_noticed_by_the_next_one():
    box = container(memory_limit_bytes=300 * MIB, memory_limited=True, oom_kills=3, container_id="a")
    reading = worker("w@h", queues=("celery",), container=box)
    assert remember_memory(Policy(), kept({"w@h": RECORD}), (reading,), 5.0)["w@h"].kills == 3


@pytest.mark.parametrize("unread", [None, container(child_peak_bytes=40 * MIB)], ids=["nothing", "no limit"])
def test_what_an_earlier_daemon_left_waits_until_the_limit_can_be_read(unread):
    box = container(memory_limit_bytes=300 * MIB, memory_limited=True, oom_kills=2, container_id="a")
    records = kept({"w@h": RECORD})
    for at, seen in ((5.0, unread), (7.0, box)):
        reading = worker("w@h", queues=("celery",), container=seen, uptime_seconds=9000.0)
        records = remember_memory(Policy(), records, (reading,), at)
    record = records["w@h"]
    assert (record.peaks.largest, record.breach.ceiling, record.restored) == (110 * MIB, 3, False)


def test_what_an_earlier_daemon_left_is_dropped_where_no_limit_can_be_read_for_an_hour():
    reading = worker("w@h", queues=("celery",), container=None)
    record = remember_memory(Policy(), kept({"w@h": RECORD}), (reading,), 3600.0)["w@h"]
    assert (record.breach, record.peaks) == (None, None)
