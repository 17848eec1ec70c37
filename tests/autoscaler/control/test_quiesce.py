"""Shrinking a worker without companion by emptying it first, over real workers."""

from __future__ import annotations

import signal

import pytest

from autoscaler.broker.errors import BrokerError
from autoscaler.broker.keys import CANCELLED_KEY
from autoscaler.broker.url import RedisUrlError
from autoscaler.control.consumers import Cancellation
from autoscaler.control.quiesce import QuiescingResizer
from autoscaler.control.resize import ResizeRequest, WorkerResizer
from autoscaler.core.model import Outcome, Result
from tests.autoscaler.control.test_consumers import Workers, request
from tests.autoscaler.daemon.test_daemon import W1, size
from tests.support.builders import worker
from tests.support.cluster import started

QUIESCE = ("--shrink-without-companion", "quiesce")


def running(cluster, count):
    """Hold so many tasks, and return when they run: an idle worker would be shrunk before they come."""
    cluster.hold(count)
    started(lambda: cluster.redis.hlen("started") == count, what="the start of the tasks")


def quiescing(cluster):
    return cluster.redis.hkeys(CANCELLED_KEY) == [W1.encode()]


@pytest.mark.slow
def test_a_busy_worker_is_emptied_shrunk_and_consumes_its_queues_again(cluster):
    cluster.worker(companion=False, processes=4, PREFETCH="4")
    running(cluster, 2)
    daemon = cluster.daemon(*QUIESCE, scale_down_threshold="0.9", min="2")
    started(lambda: quiescing(cluster), what="the cancelling")
    cluster.send(20, 0.1)
    cluster.release()
    started(lambda: size(daemon) == 2, what="the shrink")
    started(lambda: len(cluster.ended()) == 22, what="all tasks, also those sent meanwhile")
    assert cluster.lost_and_twice(22) == (0, 0)
    started(lambda: cluster.redis.hgetall(CANCELLED_KEY) == {}, what="the end of the record")
    logged = [(line["command"], line["result"]) for line in daemon.events("pool.resize_begun")]
    assert logged[0] == ("quiesce", "begun")


class Recording:
    """Consumers and a resizer that write down what is done with them, and answer as a test says."""

    def __init__(self, fault=None, *, restores=True):
        self.sent, self.fault, self.restores = [], fault, restores

    def cancel_all(self, requests, *, force):
        assert not force
        if requests:
            self.sent.append(("cancel", *(one.worker for one in requests)))
            if self.fault is not None:
                raise self.fault
        return frozenset(one.worker for one in requests)

    def restore_all(self, cancellations):
        if cancellations:
            self.sent.append(("restore", *(f"{one.worker} {' '.join(one.queues)}" for one in cancellations)))
        return {one.worker for one in cancellations if self.restores}

    def resize(self, requests):
        self.sent += [("resize", one.reading.name, one.target) for one in requests]
        return [
            Outcome(
                worker=one.reading.name,
                before=one.reading.processes,
                target=one.target,
                command="pool_shrink",
                result=Result.DONE,
            )
            for one in requests
        ]

    def done(self):
        return [what for what, *_ in self.sent]


def stock(**fields):
    return worker(W1, 4, companion=False, **fields)


def quiescing_resizer(recording):
    return QuiescingResizer(recording, recording, quiesces=True, deadline_seconds=5)


def begin(resizer, reading=None):
    request = ResizeRequest(reading=reading or stock(busy=1), target=2)
    (outcome,) = resizer.resize([request], 0.0)
    return outcome


def advance(resizer, readings, since, now, *, left_alone=lambda _: False):
    return resizer.advance(readings, left_alone, since=since, now=now)


@pytest.mark.parametrize(
    ("consumes", "expected"),
    [
        pytest.param((), ["cancel", "resize", "restore"], id="consumes nothing and is empty: it shrinks"),
        pytest.param(
            ("celery",),
            ["cancel", "cancel", "cancel", "restore"],
            id="its consumers come back: they are cancelled again in time, and it does not shrink",
        ),
    ],
)
def test_only_a_worker_that_says_it_consumes_nothing_is_shrunk(consumes, expected):
    recording = Recording()
    resizer = quiescing_resizer(recording)
    assert begin(resizer).result is Result.BEGUN
    for at in (2.0, 4.0, 6.0):
        advance(resizer, {W1: stock(queues=consumes)}, at, at)
    assert recording.done() == expected


def test_a_fetch_in_flight_is_waited_for_and_starts_the_wait_again():
    recording = Recording()
    resizer = quiescing_resizer(recording)
    begin(resizer)
    for at, busy in ((1.0, 0), (1.5, 1), (2.0, 0), (3.0, 0)):
        advance(resizer, {W1: stock(busy=busy, queues=())}, at, at)
    assert recording.done() == ["cancel"]
    advance(resizer, {W1: stock(queues=())}, 3.3, 3.3)
    assert recording.done() == ["cancel", "resize", "restore"]


def test_at_the_deadline_a_worker_that_cannot_be_reached_keeps_its_record():
    resizer = quiescing_resizer(Recording(restores=False))
    begin(resizer)
    (outcome,) = advance(resizer, {}, 5.1, 5.1)
    assert (outcome.result, outcome.before, outcome.detail) == (
        Result.UNKNOWN,
        None,
        "its consumers are still cancelled; they are restored when it answers",
    )


def test_a_broker_that_fails_at_the_cancellation_is_unknown_and_restored_at_the_deadline():
    recording = Recording(BrokerError("gone"))
    resizer = quiescing_resizer(recording)
    outcome = begin(resizer)
    assert (outcome.result, outcome.detail) == (Result.UNKNOWN, "gone")
    advance(resizer, {W1: stock(queues=("celery",))}, 4.0, 4.0)
    advance(resizer, {W1: stock(queues=("celery",))}, 6.0, 6.0)
    assert recording.done() == ["cancel", "cancel", "restore"]


class OrphansOf(Recording):
    """Records of workers that a run that died has left, or a Redis that cannot be reached."""

    def __init__(self, orphans):
        super().__init__()
        self.orphans = orphans

    def cancellations(self):
        if isinstance(self.orphans, BrokerError):
            raise self.orphans
        return self.orphans

    def orphaned(self, cancellations, *, just_started):
        del just_started
        return list(cancellations)

    def forget(self, workers):
        assert workers == []

    def forget_old(self, cancellations):
        assert list(cancellations) == []


def test_a_redis_that_cannot_be_reached_does_not_end_the_search_for_orphans():
    recording = OrphansOf(RedisUrlError("Redis URL: no scheme found"))
    resizer = quiescing_resizer(recording)
    with pytest.raises(BrokerError):
        resizer.restore_orphans({}, 0.0)
    recording.orphans = [Cancellation(worker=W1, queues=("celery",))]
    resizer.restore_orphans({}, 1.0)
    assert recording.sent == [("restore", f"{W1} celery")]


def test_what_needs_no_emptying_is_resized_at_once_and_the_outcomes_keep_their_order():
    recording = Recording()
    requests = [
        ResizeRequest(reading=worker("a@h", 4), target=2),
        ResizeRequest(reading=stock(busy=1), target=2),
        ResizeRequest(reading=worker("b@h", 4, companion=False), target=6),
    ]
    found = quiescing_resizer(recording).resize(requests, 0.0)
    assert [(one.worker, one.result) for one in found] == [
        ("a@h", Result.DONE),
        (W1, Result.BEGUN),
        ("b@h", Result.DONE),
    ]


def quiescing_daemon(cluster):
    """A daemon that has cancelled a worker of four processes and waits for its one long task."""
    cluster.worker(companion=False, processes=4)
    running(cluster, 1)
    daemon = cluster.daemon(*QUIESCE, scale_down_threshold="0.9", min="2")
    started(lambda: quiescing(cluster), what="the cancelling")
    return daemon


@pytest.mark.slow
def test_a_disabled_daemon_restores_what_an_earlier_one_has_left_cancelled(cluster):
    first = quiescing_daemon(cluster)
    first.process.kill()
    cluster.send(1, 0.1)
    cluster.daemon("--enabled", "false")
    started(lambda: len(cluster.ended()) == 1, what="the short task")


@pytest.mark.slow
def test_a_daemon_that_is_ended_meanwhile_restores_the_queues_at_once(cluster):
    daemon = quiescing_daemon(cluster)
    daemon.process.send(signal.SIGTERM)
    assert daemon.process.wait(within_seconds=5) == 0
    assert cluster.redis.hgetall(CANCELLED_KEY) == {}
    cluster.send(1, 0.1)
    started(lambda: len(cluster.ended()) == 1, what="the short task")


@pytest.mark.slow
def test_a_daemon_that_is_killed_meanwhile_is_followed_by_one_that_restores_them(cluster):
    first = quiescing_daemon(cluster)
    first.process.kill()
    cluster.send(1, 0.1)
    cluster.daemon()
    started(lambda: len(cluster.ended()) == 1, what="the short task")
    started(lambda: cluster.redis.hgetall(CANCELLED_KEY) == {}, what="the end of the record")


@pytest.mark.slow
def test_a_worker_that_does_not_become_empty_in_time_is_left_as_it_was(cluster):
    cluster.worker(companion=False, processes=4)
    running(cluster, 1)
    daemon = cluster.daemon(*QUIESCE, scale_down_threshold="0.9", min="2", quiesce_deadline="2")
    started(lambda: daemon.events("pool.resize_refused"), what="the deadline")
    assert daemon.events("pool.resize_refused")[0]["detail"] == "it did not become empty in time"
    assert size(daemon) == 4


def test_at_the_end_all_workers_are_restored_in_one_call():
    recording = Recording()
    resizer = quiescing_resizer(recording)
    for name in ("a@h", "b@h"):
        reading = worker(name, 4, companion=False, busy=1)
        resizer.resize([ResizeRequest(reading=reading, target=2)], 0.0)
    resizer.close()
    assert recording.sent[2:] == [("restore", "a@h celery", "b@h celery")]


def test_many_workers_are_emptied_shrunk_and_restored_in_one_call_each():
    recording = Recording()
    resizer = quiescing_resizer(recording)
    fleet = [worker(name, 4, companion=False, busy=1) for name in ("a@h", "b@h", "c@h")]
    resizer.resize([ResizeRequest(reading=one, target=2) for one in fleet], 0.0)
    empty = {one.name: one._replace(busy=0, queues=()) for one in fleet[:2]}
    for at in (2.0, 4.0):
        advance(resizer, {**empty, "c@h": fleet[2]}, at, at)
    advance(resizer, {}, 6.0, 6.0)
    assert recording.sent == [
        ("cancel", "a@h", "b@h", "c@h"),
        ("cancel", "c@h"),
        ("resize", "a@h", 2),
        ("resize", "b@h", 2),
        ("restore", "a@h celery", "b@h celery"),
        ("cancel", "c@h"),
        ("restore", "c@h celery"),
    ]


def test_a_reading_counts_as_old_as_it_may_be():
    recording = Recording()
    resizer = quiescing_resizer(recording)
    begin(resizer)
    advance(resizer, {W1: stock(queues=())}, 1.0, 1.5)
    advance(resizer, {W1: stock(queues=())}, 2.0, 4.0)  # held up: it was read half a second later
    assert recording.done() == ["cancel"]
    advance(resizer, {W1: stock(queues=())}, 3.0, 4.0)
    assert recording.done() == ["cancel", "resize", "restore"]


def test_a_worker_that_a_drain_is_emptying_is_left_alone():
    workers = Workers()
    workers.consumers(owner="drain").cancel_all([request(W1, "celery")])
    drained = dict(workers.records)
    resizer = QuiescingResizer(
        WorkerResizer(workers), workers.consumers(owner="autoscaler a"), quiesces=True, deadline_seconds=5
    )
    outcome = begin(resizer, stock(queues=()))
    assert (outcome.result, outcome.detail) == (
        Result.REFUSED,
        "somebody else is emptying it, such as a drain",
    )
    advance(resizer, {W1: stock(queues=())}, 6.0, 6.0)
    assert (workers.records, len(list(filter(None, workers.calls)))) == (drained, 1)


def test_an_old_record_is_dropped_only_where_the_worker_does_not_answer():
    workers = Workers(unresponsive=["gone@h *"])
    names = [W1, "gone@h"]
    workers.consumers(owner="drain").cancel_all([request(name, "celery", for_seconds=-9e4) for name in names])
    resizer = QuiescingResizer(
        WorkerResizer(workers), workers.consumers(owner="autoscaler a"), quiesces=False, deadline_seconds=5
    )
    assert [one.worker for one in resizer.restore_orphans({}, 0.0)] == [W1]
    assert workers.records == {}


@pytest.mark.parametrize(
    ("uptime", "sent"),
    [
        pytest.param(600.0, ["add_consumer"], id="it was there before"),
        pytest.param(60.0, [], id="it has started since, perhaps for other queues"),
        pytest.param(None, ["add_consumer"], id="nobody knows"),
    ],
)
def test_a_worker_that_has_started_since_its_record_consumes_what_it_was_started_with(uptime, sent):
    workers = Workers()
    workers.consumers(owner="drain").cancel_all([request(W1, "celery", for_seconds=-300)])
    workers.calls.clear()
    resizer = QuiescingResizer(
        WorkerResizer(workers), workers.consumers(owner="autoscaler a"), quiesces=False, deadline_seconds=5
    )
    resizer.restore_orphans({W1: stock(queues=("mails",), uptime_seconds=uptime)}, 0.0)
    assert ([name for call in workers.calls for name, _, _ in call], workers.records) == (sent, {})


def test_all_orphans_are_restored_in_one_call_and_those_that_do_not_answer_later():
    workers = Workers(unresponsive=["gone*"])
    names = [*(f"gone{number}@h" for number in range(20)), W1]
    workers.consumers(owner="drain").cancel_all([request(name, "celery", for_seconds=-1) for name in names])
    resizer = QuiescingResizer(
        WorkerResizer(workers), workers.consumers(owner="autoscaler a"), quiesces=False, deadline_seconds=5
    )
    assert [one.worker for one in resizer.restore_orphans({}, 0.0)] == [W1]
    assert resizer.restore_orphans({}, 29.0) == []
    assert len(workers.calls) == 2
    assert sorted(workers.recorded()) == sorted(names[:-1])


def test_what_an_administrator_holds_meanwhile_is_not_shrunk_and_consumes_again_at_once():
    recording = Recording()
    resizer = quiescing_resizer(recording)
    begin(resizer)
    advance(resizer, {W1: stock(queues=())}, 2.0, 2.0)
    (outcome,) = advance(resizer, {W1: stock(queues=())}, 4.0, 4.0, left_alone=lambda name: name == W1)
    assert (outcome.result, outcome.detail) == (
        Result.REFUSED,
        "an administrator pauses the autoscaler or holds this worker",
    )
    assert recording.done() == ["cancel", "restore"]
