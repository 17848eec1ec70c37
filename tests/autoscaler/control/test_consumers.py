"""What is sent to cancel and restore consumers, and which records stay."""

from __future__ import annotations

import json
from fnmatch import fnmatch

import pytest

from autoscaler.control.consumers import Cancellation, CancelRequest, Consumers
from autoscaler.control.remote import UnreadableReply

NOW = 1.7e9
A = Cancellation(worker="a@h", queues=("celery", "mails"))
B = Cancellation(worker="b@h", queues=("celery",))


class Workers:
    """Remote control of workers that answer, except for the (worker, queue) that match; and the records."""

    def __init__(self, unresponsive=(), reply=None):
        self.unresponsive, self.calls, self.records = unresponsive, [], {}
        self.reply = {"ok": "done"} if reply is None else reply

    def call_all(self, commands):
        self.calls.append([(one.name, one.arguments["queue"], one.workers) for one in commands])
        return [
            {
                name: [self.reply]
                for name in one.workers
                if not self._unresponsive(name, one.arguments["queue"])
            }
            for one in commands
        ]

    def _unresponsive(self, worker, queue):
        return any(fnmatch(f"{worker} {queue}", pattern) for pattern in self.unresponsive)

    def hset(self, key, *, mapping):
        assert key == "cancelled"
        self.records |= {worker.encode(): record.encode() for worker, record in mapping.items()}

    def hdel(self, key, *workers):
        assert key == "cancelled"
        for worker in workers:
            self.records.pop(worker.encode(), None)

    def hgetall(self, key):
        assert key == "cancelled"
        return dict(self.records)

    def recorded(self):
        return {worker.decode(): json.loads(record)["queues"] for worker, record in self.records.items()}

    def consumers(self, owner="drain"):
        return Consumers(self, lambda: self, "cancelled", owner=owner, wall=lambda: NOW)


def request(worker, *queues, for_seconds=60.0):
    return CancelRequest(worker=worker, queues=queues, for_seconds=for_seconds)


def test_all_queues_of_all_workers_are_cancelled_in_one_call_also_where_one_is_not_answered():
    workers = Workers(unresponsive=["a@h celery"])
    found = workers.consumers().cancel_all([request("a@h", "celery", "mails"), request("b@h", "celery")])
    assert found == {"a@h", "b@h"}
    assert workers.calls == [
        [("cancel_consumer", "celery", ("a@h", "b@h")), ("cancel_consumer", "mails", ("a@h",))]
    ]
    assert workers.recorded() == {"a@h": ["celery", "mails"], "b@h": ["celery"]}


def test_several_workers_are_restored_in_one_call_and_those_that_do_not_answer_keep_their_record():
    workers = Workers(unresponsive=["a@h mails"])
    consumers = workers.consumers()
    consumers.cancel_all([request(one.worker, *one.queues) for one in (A, B)])
    workers.calls.clear()
    assert consumers.restore_all([A, B]) == {"b@h"}
    assert workers.calls == [
        [("add_consumer", "celery", ("a@h", "b@h")), ("add_consumer", "mails", ("a@h",))]
    ]
    assert workers.recorded() == {"a@h": ["celery", "mails"]}


def test_a_worker_that_consumed_nothing_is_restored_by_dropping_its_record():
    workers = Workers(unresponsive=["*"])
    consumers = workers.consumers()
    assert consumers.cancel_all([request("a@h")]) == {"a@h"}
    assert consumers.restore_all([Cancellation(worker="a@h", queues=())]) == {"a@h"}
    assert workers.records == {}


@pytest.mark.parametrize(
    "reply", ["banana", 7, [], {"nonsense": 1}, {"error": "no"}, UnreadableReply("yaml")]
)
def test_a_reply_that_is_no_plain_ok_restores_nothing_for_certain(reply):
    workers = Workers(reply=reply)
    consumers = workers.consumers()
    consumers.cancel_all([request("b@h", "celery")])
    assert consumers.restore_all([B]) == set()
    assert workers.recorded() == {"b@h": ["celery"]}


def test_who_cancels_after_somebody_else_restores_what_both_have_cancelled():
    workers = Workers()
    workers.consumers().cancel_all([request("a@h", "celery", for_seconds=-1)])
    second = workers.consumers(owner="autoscaler a")
    # What the first has cancelled the worker consumes no longer.
    assert second.cancel_all([request("a@h", "mails")]) == {"a@h"}
    assert workers.recorded() == {"a@h": ["celery", "mails"]}
    workers.calls.clear()
    assert second.restore_all([Cancellation(worker="a@h", queues=())]) == {"a@h"}
    assert workers.calls == [[("add_consumer", "celery", ("a@h",)), ("add_consumer", "mails", ("a@h",))]]
    assert workers.records == {}


def test_what_somebody_else_is_emptying_is_cancelled_by_force_alone():
    workers = Workers()
    workers.consumers().cancel_all([request("a@h", "celery")])
    second = workers.consumers(owner="autoscaler a")
    assert second.cancel_all([request("a@h", "mails"), request("b@h", "mails")]) == {"b@h"}
    assert second.cancel_all([request("a@h", "mails")], force=True) == {"a@h"}


@pytest.mark.parametrize(
    ("until", "state"),
    [
        pytest.param(NOW + 60, "active", id="at work"),
        pytest.param(NOW, "orphaned", id="its time is just over"),
        pytest.param(NOW - 10 * 86400, "orphaned", id="its time was over ten days ago"),
        pytest.param(NOW + 10 * 86400, "orphaned", id="by a clock that is ten days fast"),
        pytest.param(float("nan"), "dropped", id="no time"),
        pytest.param(float("inf"), "dropped", id="for ever"),
    ],
)
def test_each_record_is_active_or_orphaned_or_dropped(until, state):
    workers = Workers()
    record = json.dumps({"queues": ["celery"], "until": until, "owner": "drain"})
    workers.hset("cancelled", mapping={"a@h": record})
    consumers = workers.consumers(owner="x")
    found = consumers.cancellations()
    active = consumers.active_cancellations(found)
    orphaned = consumers.orphaned(found, just_started=False)
    assert (len(active), len(orphaned), workers.records == {}) == (
        int(state == "active"),
        int(state == "orphaned"),
        state == "dropped",
    )
