"""What is sent to cancel and restore consumers, and which records stay."""

from __future__ import annotations

from fnmatch import fnmatch

from autoscaler.control.consumers import Cancellation, Consumers

A = Cancellation(worker="a@h", queues=("celery", "mails"))
B = Cancellation(worker="b@h", queues=("celery",))


class Workers:
    """Remote control of workers that answer, except for the (worker, queue) that match; and the records."""

    def __init__(self, unresponsive=()):
        self.unresponsive, self.calls, self.records = unresponsive, [], {}

    def call_all(self, commands):
        self.calls.append([(one.name, one.arguments["queue"], one.workers) for one in commands])
        return [
            {
                name: [{"ok": "done"}]
                for name in one.workers
                if not self._unresponsive(name, one.arguments["queue"])
            }
            for one in commands
        ]

    def _unresponsive(self, worker, queue):
        return any(fnmatch(f"{worker} {queue}", pattern) for pattern in self.unresponsive)

    def hset(self, key, worker, record):
        assert key == "cancelled"
        self.records[worker] = record

    def hdel(self, key, worker):
        assert key == "cancelled"
        self.records.pop(worker, None)

    def consumers(self):
        return Consumers(self, lambda: self, "cancelled", owner="drain", wall=lambda: 1.7e9)


def test_all_queues_of_a_worker_are_cancelled_in_one_call_also_where_one_is_not_answered():
    workers = Workers(unresponsive=["a@h celery"])
    assert not workers.consumers().cancel("a@h", ["celery", "mails"], for_seconds=60)
    assert workers.calls == [
        [("cancel_consumer", "celery", ("a@h",)), ("cancel_consumer", "mails", ("a@h",))]
    ]
    assert workers.records.keys() == {"a@h"}


def test_several_workers_are_restored_in_one_call_and_those_that_do_not_answer_keep_their_record():
    workers = Workers(unresponsive=["a@h mails"])
    consumers = workers.consumers()
    for one in (A, B):
        consumers.cancel(one.worker, one.queues, for_seconds=60)
    workers.calls.clear()
    assert consumers.restore_all([A, B]) == {"b@h"}
    assert workers.calls == [
        [("add_consumer", "celery", ("a@h", "b@h")), ("add_consumer", "mails", ("a@h",))]
    ]
    assert workers.records.keys() == {"a@h"}


def test_a_worker_that_consumed_nothing_is_restored_by_dropping_its_record():
    workers = Workers(unresponsive=["*"])
    consumers = workers.consumers()
    assert consumers.cancel("a@h", [], for_seconds=60)
    assert consumers.restore(Cancellation(worker="a@h", queues=()))
    assert workers.records == {}
