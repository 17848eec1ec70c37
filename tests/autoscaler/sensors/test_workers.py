"""Which workers are asked and what they report, over a hand-made remote control and a hand-made clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import NoPermissionError

from autoscaler.broker.errors import BrokerError
from autoscaler.control.remote import UnreadableReply
from autoscaler.core.model import Reason, WorkerReading
from autoscaler.sensors.reports import parse_report
from autoscaler.sensors.workers import WorkerSensor, WorkersReading
from tests.support.builders import decide, decision, look, prompt_policy
from tests.support.worker_replies import JUNK, REPORT, STATS, UNKNOWN_COMMAND

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

# The sensor


@dataclass
class FakeWorkers:
    """A remote control whose workers answer as set: replies by worker and command, or none at all."""

    replies: dict[str, dict[str, Any]]
    twins: frozenset[str] = frozenset()
    fault: Exception | None = None
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    roll_calls: int = 0

    def call(
        self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]
    ) -> dict[str, list[Any]]:
        assert arguments == {}
        self.calls.append((command, tuple(workers)))
        found = {}
        for name in workers:
            if name in self.replies and command in self.replies[name]:
                found[name] = [self.replies[name][command]] * (2 if name in self.twins else 1)
        return found

    def roll_call(self, expected: Collection[str]) -> dict[str, list[Any]]:
        del expected
        self.roll_calls += 1
        if self.fault is not None:
            raise self.fault
        return {
            name: [replies.get("ping", {"ok": "pong"})] * (2 if name in self.twins else 1)
            for name, replies in self.replies.items()
        }

    def commands(self) -> list[str]:
        """The commands since the last time."""
        found = [command for command, _ in self.calls]
        self.calls.clear()
        return found

    def asked(self) -> set[str]:
        """The names that were asked since the last time."""
        found = {name for _, names in self.calls for name in names}
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


def test_fetched_tasks_are_read_only_where_every_process_is_busy():
    remote = FakeWorkers({"full@h": stock(busy=3, reserved=9), "free@h": stock(busy=2, reserved=9)})
    found = WorkerSensor(remote).read({"full@h", "free@h"}, 0.0).workers
    assert {reading.name: reading.reserved for reading in found} == {"full@h": 9, "free@h": 0}
    assert ("reserved", ("full@h",)) in remote.calls


def test_counts_that_were_not_reported_are_unknown():
    reticent = stock()
    del reticent["active"]
    (found,) = WorkerSensor(FakeWorkers({"a@h": reticent})).read({"a@h"}, 0.0).workers
    assert (found.busy, found.reserved, found.completed, found.processes) == (None, None, None, 3)


def test_queues_that_were_not_reported_are_unknown_and_hold_every_shrink():
    reticent = stock()
    del reticent["active_queues"]
    (found,) = WorkerSensor(FakeWorkers({"a@h": reticent})).read({"a@h"}, 0.0).workers
    assert (found.queues, found.queues_known) == ((), False)
    idle = found._replace(busy=0, reserved=0)
    assert decide(look(99, idle), policy=prompt_policy()) == (
        decision(3, 3, Reason.PEER_UNRESPONSIVE, name="a@h"),
    )


def test_a_companion_that_comes_with_a_restart_is_found():
    remote = FakeWorkers({"a@h": stock(uptime=500)})
    sensor = WorkerSensor(remote)
    sensor.read({"a@h"}, 0.0)
    remote.replies["a@h"] = {**with_companion(uptime_seconds=1.0), "stats": {**STATS, "uptime": 1}}
    sensor.read({"a@h"}, 1.0)
    assert sensor.read({"a@h"}, 2.0).workers[0].companion


def test_a_name_that_does_not_answer_is_never_asked_beside_those_that_do():
    remote = FakeWorkers({"a@h": with_companion()})
    sensor = WorkerSensor(remote, {"mine@h"})
    for second in range(90):
        found = sensor.read({"a@h", "dead@h"}, float(second))
        assert (found.unresponsive, remote.asked()) == (("dead@h", "mine@h"), {"a@h"})
        remote.replies["a@h"] = with_companion(uptime_seconds=12.5 + second + 1)


def test_a_worker_that_stops_answering_costs_one_call_and_is_asked_again_once_it_answers_a_roll_call():
    remote = FakeWorkers({"a@h": with_companion(), "b@h": with_companion()})
    sensor = WorkerSensor(remote)
    sensor.read({"a@h", "b@h"}, 0.0)
    stopped = remote.replies.pop("a@h")
    remote.calls.clear()
    seen = []
    for second in range(1, 20):
        remote.replies["b@h"] = with_companion(uptime_seconds=12.5 + second)
        if second == 8:
            remote.replies["a@h"] = stopped
        found = sensor.read({"a@h", "b@h"}, float(second))
        seen.append(("a@h" in remote.asked(), found.unresponsive))
    unresponsive = ("a@h",)
    assert seen[:2] == [(True, unresponsive), (False, unresponsive)]
    assert seen[2:7] == [(False, unresponsive)] * 5
    assert seen[-1] == (True, ())


def test_roll_calls_become_rarer_while_a_worker_stays_unresponsive():
    remote = FakeWorkers({"a@h": with_companion()})
    sensor = WorkerSensor(remote)
    at = []
    for second in range(200):
        before = remote.roll_calls
        remote.replies["a@h"] = with_companion(uptime_seconds=12.5 + second)
        sensor.read({"a@h", "dead@h"}, float(second))
        if remote.roll_calls > before:
            at.append(second)
    gaps = [after - before for before, after in pairwise(at)]
    assert gaps == sorted(gaps)
    assert (at[:3], gaps[-1]) == ([0, 5, 15], 60)


def test_a_worker_that_answers_pings_and_no_report_is_asked_less_and_less_often():
    remote = FakeWorkers({"a@h": {}, "b@h": with_companion()})
    sensor = WorkerSensor(remote)
    asked = []
    for second in range(300):
        remote.replies["b@h"] = with_companion(uptime_seconds=12.5 + second)
        found = sensor.read({"a@h", "b@h"}, float(second))
        assert found.unresponsive == ("a@h",)
        if "a@h" in remote.asked():
            asked.append(second)
    gaps = [after - before for before, after in pairwise(asked[1:])]
    assert len(asked) < 15
    assert gaps[-1] >= 60


def test_a_worker_without_a_mailbox_is_found_by_the_roll_call_and_the_loss_is_reported():
    remote = FakeWorkers({"a@h": with_companion()})
    found = WorkerSensor(remote).read(set(), 0.0)
    assert found == WorkersReading(workers=(parse_report("a@h", REPORT),), unregistered=("a@h",))


def test_a_known_worker_is_asked_on_when_its_mailbox_is_lost():
    remote = FakeWorkers({"a@h": with_companion()})
    sensor = WorkerSensor(remote)
    sensor.read({"a@h"}, 0.0)
    remote.replies["a@h"] = with_companion(uptime_seconds=13.5)
    found = sensor.read(set(), 1.0)
    assert ([one.name for one in found.workers], found.unregistered) == (["a@h"], ("a@h",))


def test_a_worker_that_ended_cleanly_is_gone_with_the_next_roll_call():
    remote = FakeWorkers({"a@h": with_companion(), "b@h": with_companion()})
    sensor = WorkerSensor(remote)
    sensor.read({"a@h", "b@h"}, 0.0)
    del remote.replies["a@h"]
    assert sensor.read({"b@h"}, 1.0).unresponsive == ("a@h",)
    assert sensor.read({"b@h"}, 2.0).unresponsive == ()


def test_the_last_worker_that_ended_cleanly_is_gone_too():
    remote = FakeWorkers({"a@h": with_companion()})
    sensor = WorkerSensor(remote)
    sensor.read({"a@h"}, 0.0)
    remote.replies.clear()
    assert sensor.read(set(), 1.0).unresponsive == ("a@h",)
    assert sensor.read(set(), 2.0) == WorkersReading()


def test_a_roll_call_that_failed_is_a_fault_where_nobody_else_was_asked():
    remote = FakeWorkers({}, fault=BrokerError("the server is full"))
    sensor = WorkerSensor(remote)
    for at, fault in ((0.0, remote.fault), (1.0, None), (2.0, None)):
        with pytest.raises(BrokerError, match="the server is full"):
            sensor.read((), at)  # by the roll call that has ended last
        remote.fault = fault
    assert sensor.read((), 3.0) == WorkersReading()


def test_a_roll_call_that_failed_says_nothing_about_anybody():
    remote = FakeWorkers({"a@h": with_companion()}, fault=BrokerError("gone"))
    assert [one.name for one in WorkerSensor(remote).read({"a@h"}, 0.0).workers] == ["a@h"]


def test_a_new_worker_of_an_unresponsive_name_is_asked_as_soon_as_it_has_a_mailbox():
    remote = FakeWorkers({"b@h": with_companion()})
    sensor = WorkerSensor(remote)
    sensor.read({"a@h", "b@h"}, 0.0)
    sensor.read({"b@h"}, 1.0)
    remote.replies["a@h"] = with_companion()
    assert [one.name for one in sensor.read({"a@h", "b@h"}, 2.0).workers] == ["a@h", "b@h"]


def test_beat_answers_pings_only_and_is_neither_a_worker_nor_unresponsive():
    remote = FakeWorkers({"celerybeat@h": {}, "a@h": with_companion()})
    sensor = WorkerSensor(remote)
    first = sensor.read({"celerybeat@h", "a@h"}, 0.0)
    assert (first.beats, first.unresponsive) == (("celerybeat@h",), ())
    remote.calls.clear()
    for second in range(1, 200):
        remote.replies["a@h"] = with_companion(uptime_seconds=12.5 + second)
        assert sensor.read({"celerybeat@h", "a@h"}, float(second)).beats == ("celerybeat@h",)
    assert remote.asked() == {"a@h"}


def test_a_worker_whose_replies_are_pickle_is_named_alone():
    pickle = UnreadableReply("application/x-python-serialize")
    remote = FakeWorkers({"a@h": {"pool_report": pickle, "ping": pickle}, "b@h": with_companion()})
    found = WorkerSensor(remote).read({"a@h", "b@h"}, 0.0)
    assert found == WorkersReading(
        workers=(parse_report("b@h", REPORT),),
        unresponsive=("a@h",),
        unreadable={"a@h": "application/x-python-serialize"},
    )


def test_what_is_unresponsive_for_long_is_forgotten_and_its_mailbox_removed_where_that_is_allowed():
    removed = []
    remote = FakeWorkers({"a@h": with_companion()})
    sensor = WorkerSensor(remote, remove_mailboxes=removed.extend)
    reported = []
    for second in range(0, 4000, 10):
        remote.replies["a@h"] = with_companion(uptime_seconds=12.5 + second)
        reported.append(sensor.read({"a@h", "dead@h"}, float(second)).unresponsive)
    assert (reported[60], reported[61], reported[-1]) == (("dead@h",), (), ())
    assert set(removed) == {"dead@h"}


def test_where_the_right_to_remove_a_mailbox_is_missing_it_is_not_tried_again():
    tried = []

    def remove(names):
        tried.append(names)
        raise BrokerError("the user may not") from NoPermissionError("NOPERM no srem")

    remote = FakeWorkers({"a@h": with_companion()})
    sensor = WorkerSensor(remote, remove_mailboxes=remove)
    for second in range(0, 5000, 10):
        remote.replies["a@h"] = with_companion(uptime_seconds=12.5 + second)
        sensor.read({"a@h", "dead@h"}, float(second))
    assert tried == [["dead@h"]]


def test_a_mailbox_that_could_not_be_removed_for_a_moment_is_tried_again():
    tried = []

    def remove(names):
        tried.append(names)
        if len(tried) == 1:
            raise BrokerError("TimeoutError: timed out")

    remote = FakeWorkers({})
    sensor = WorkerSensor(remote, remove_mailboxes=remove)
    for second in range(0, 4000, 10):
        sensor.read({"dead@h"} if len(tried) < 2 else set(), float(second))
    assert tried == [["dead@h"]] * 2


def test_a_roll_call_that_cannot_be_begun_is_followed_by_another():
    def cannot(_work):
        raise RuntimeError("can't start new thread")

    remote = FakeWorkers({"a@h": with_companion()})
    sensor = WorkerSensor(remote, run_aside=cannot)
    sensor.read({"a@h"}, 0.0)
    for at in (60.0, 120.0):
        with pytest.raises(RuntimeError):
            sensor.read({"a@h"}, at)
        sensor.read({"a@h"}, at + 1)


def test_a_roll_call_that_crashed_says_nothing_about_anybody():
    def crashes(work):
        with pytest.raises(ZeroDivisionError):
            work()

    remote = FakeWorkers({"a@h": with_companion()}, twins=frozenset({"a@h"}))
    sensor = WorkerSensor(remote, run_aside=crashes)
    assert sensor.read({"a@h"}, 0.0).duplicates == ("a@h",)
    remote.fault = ZeroDivisionError("unforeseen")
    for at in (30.0, 31.0):
        assert sensor.read({"a@h"}, at).duplicates == ("a@h",)
    assert remote.roll_calls == 2


def test_roll_calls_run_aside_and_no_tick_waits_for_one():
    remote = FakeWorkers({"a@h": with_companion()})
    pending = []
    sensor = WorkerSensor(remote, run_aside=pending.append)
    for second in range(200):
        remote.replies["a@h"] = with_companion(uptime_seconds=12.5 + second)
        assert len(sensor.read({"a@h", "dead@h"}, float(second)).workers) == 1
    assert (remote.roll_calls, len(pending)) == (1, 1)  # the first, before anybody is known
    pending.pop()()
    assert remote.roll_calls == 2


def test_two_workers_of_one_name_have_no_reading_and_are_named():
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


def test_the_new_worker_of_a_name_is_read_soon_after_the_old_one_ended():
    remote = FakeWorkers({"a@h": with_companion()})
    sensor = WorkerSensor(remote)
    for at in range(0, 300, 2):
        sensor.read({"a@h"}, float(at))
    remote.twins = frozenset({"a@h"})
    assert sensor.read({"a@h"}, 300.0).duplicates == ("a@h",)
    remote.twins = frozenset()
    found = [sensor.read({"a@h"}, float(at)).workers != () for at in range(302, 312, 2)]
    assert found == [False, False, False, True, True]


def test_two_workers_of_one_name_that_both_stay_are_called_ever_less_often():
    remote = FakeWorkers({"a@h": with_companion()}, twins=frozenset({"a@h"}))
    sensor = WorkerSensor(remote)
    for at in range(0, 300, 2):
        assert sensor.read({"a@h"}, float(at)).duplicates == ("a@h",)
    assert remote.roll_calls <= 10


@settings(suppress_health_check=[HealthCheck.too_slow])
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
