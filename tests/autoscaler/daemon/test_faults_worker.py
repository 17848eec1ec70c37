"""What goes wrong with workers, made to happen: adopt the real size, unknown is unknown, no storm."""

from __future__ import annotations

import signal
import time
from dataclasses import replace

import pytest

from autoscaler.broker.connections import Connections, Redactor, RedisTuning
from autoscaler.broker.keys import Keys
from autoscaler.broker.mailboxes import MAILBOXES_KEY
from autoscaler.control.remote import Remote
from autoscaler.control.resize import ResizeRequest, WorkerResizer
from autoscaler.core.decider import Decider
from autoscaler.core.model import Observation, QueueReading, Reason, Result
from autoscaler.core.state import State
from autoscaler.sensors.workers import WorkerSensor
from tests.autoscaler.daemon.test_daemon import W1, W2, size
from tests.autoscaler.daemon.test_faults_redis import resizes
from tests.support.builders import prompt_policy
from tests.support.cluster import started
from tests.support.junk_replies import NO_REPLY, JunkWriter

STATUS = Keys(name="default").status


@pytest.mark.slow
def test_a_killed_worker_is_forgotten_and_its_successor_adopted(cluster):
    worker = cluster.worker(processes=2)
    daemon = cluster.daemon(min="2", stale_after="1")
    started(lambda: size(daemon) == 2, what="the first reading")
    worker.kill()
    started(lambda: size(daemon) is None, what="the end of its series")
    cluster.worker(processes=4)
    started(lambda: size(daemon) == 4, what="its successor's size")
    started(lambda: size(daemon) == 2, what="the shrink to what is needed")


@pytest.mark.slow
@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL])
def test_a_condition_of_a_worker_that_stops_answering_is_never_reported_as_cleared(cluster, fault):
    worker = cluster.worker()
    daemon = cluster.daemon(max="1", stale_after="1")
    cluster.hold(10)
    started(lambda: daemon.metric("condition", kind="ceiling") == 1, what="the condition")
    worker.send(fault)
    started(lambda: size(daemon) is None, what="the end of its series")
    started(lambda: daemon.metric("condition", kind="unresponsive") == 1, what="what is wrong with it")
    assert [one for one in daemon.events("condition.cleared") if one["subject"] == "ceiling"] == []


@pytest.mark.slow
def test_messages_that_are_no_replies_fail_no_tick_and_are_said_once(cluster):
    cluster.worker(processes=2)
    with JunkWriter(cluster.server.url, list(NO_REPLY.values())) as writer:
        daemon = cluster.daemon(min="1")
        started(lambda: size(daemon) == 1, what="the shrink")
        started(lambda: writer.answered > 10, what="more looks at the worker")
    assert daemon.metric("unexpected_errors_total") in {0, None}
    assert daemon.metric("sensor_errors_total", sensor="pool") in {0, None}
    (line,) = daemon.events("replies.unreadable")
    assert line["why"].startswith("a message in a reply queue is no reply of a worker: ")


@pytest.mark.slow
def test_a_hung_worker_is_unknown_and_nothing_is_sent_to_it(cluster):
    worker = cluster.worker(processes=2)
    daemon = cluster.daemon(stale_after="60")
    cluster.send(200, 0.2)
    started(lambda: size(daemon) == 6, what="growth")
    worker.send(signal.SIGSTOP)
    started(lambda: daemon.reason(W1) == "unknown_size", what="the hold")
    before = resizes(daemon)
    deadline = time.monotonic() + 4
    started(lambda: time.monotonic() > deadline, what="some ticks")
    assert resizes(daemon) == before
    worker.send(signal.SIGCONT)
    started(lambda: size(daemon) == 1, within_seconds=60, what="the shrink at the end")
    assert cluster.lost_and_twice(200) == (0, 0)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_restarted_worker_is_adopted_at_its_size_and_grown_again(cluster):
    worker = cluster.worker(processes=2)
    daemon = cluster.daemon()
    cluster.send(300, 0.3)
    started(lambda: size(daemon) == 6, what="growth")
    worker.send(signal.SIGTERM)
    # Celery may hold a warm shutdown for 30 s: its flush forgets a job whose acknowledgement it has not read,
    # and the child that ran it waits that long to be heard. It does so without the companion too.
    worker.wait(within_seconds=70)
    cluster.worker(processes=2)
    # The queue's last messages were fetched by the old worker and restored by its warm shutdown.
    started(lambda: daemon.metric("worker_processes_busy", worker=W1), what="the new one's first reading")
    started(lambda: size(daemon) == 6, what="growth again")
    assert {line["result"] for line in daemon.events("pool.resized")} == {"done"}


@pytest.mark.slow
def test_two_workers_of_one_name_are_reported_and_left_alone(cluster):
    cluster.worker(W1)
    cluster.worker(W1)
    daemon = cluster.daemon()
    cluster.send(30, 0.2)
    started(lambda: any(line["subject"] == "name" for line in daemon.events("condition")), what="the warning")
    started(lambda: len(cluster.ended()) == 30, what="all tasks")
    assert resizes(daemon) == 0


@pytest.mark.slow
def test_one_hung_worker_of_two_does_not_keep_the_other_from_growing(cluster):
    hung = cluster.worker(W1)
    cluster.worker(W2)
    daemon = cluster.daemon()
    started(lambda: size(daemon, W1) == 1, what="the first reading")
    hung.send(signal.SIGSTOP)
    started(lambda: daemon.reason(W1) == "unknown_size", what="the hold of the hung one")
    cluster.send(60, 0.3)
    started(lambda: size(daemon, W2) == 6, within_seconds=60, what="growth of the other")
    hung.send(signal.SIGCONT)
    started(lambda: len(cluster.ended()) == 60, within_seconds=60, what="all tasks")
    assert cluster.lost_and_twice(60) == (0, 0)


def with_a_backlog(sensor, outcomes):
    """What is observed now, of nine tasks that wait."""
    at = time.monotonic()
    return Observation(
        at=at,
        queues=(QueueReading(name="celery", waiting=9),),
        workers=sensor.read(frozenset(), at).workers,
        outcomes=outcomes,
    )


@pytest.mark.slow
@pytest.mark.parametrize("companion", [True, False])
def test_a_command_that_comes_late_leads_to_the_right_size_in_the_end(cluster, companion):
    worker = cluster.worker(processes=1, companion=companion)
    connections = Connections(lambda: cluster.server.url, RedisTuning(), Redactor())
    remote = Remote(connections.kombu, timeout_seconds=1.5)
    sensor, resizer = WorkerSensor(remote, [W1]), WorkerResizer(remote)
    decider, state = Decider(policy=prompt_policy(max_processes=4, settle_seconds=8)), State()

    def decide(*outcomes):
        nonlocal state
        state, plan = decider.decide(state, with_a_backlog(sensor, outcomes))
        return plan.decisions[0]

    # At a first look, what an idle worker leaves may be discarded.
    started(lambda: decide().target == 4, what="the decision to grow")
    worker.send(signal.SIGSTOP)
    (outcome,) = resizer.resize([ResizeRequest(reading=state.workers[W1].reading, target=4)])
    assert outcome.result is Result.UNKNOWN
    sent = [replace(outcome, sent_at=time.monotonic())]
    worker.send(signal.SIGCONT)

    reasons = set()

    def settled():
        decision = decide(*sent)
        sent.clear()
        reasons.add(decision.reason)
        settles = decision.current == 4
        assert decision.action == "hold" or settles, "a second command before the first was settled"
        return settles

    started(settled, what="the late command's effect")
    assert Reason.OUTSTANDING in reasons or companion
    # Nothing more comes of it later: the size stays.
    deadline = time.monotonic() + 6
    started(lambda: time.monotonic() > deadline, what="the pool's next maintenance")
    assert sensor.read(frozenset(), time.monotonic()).workers[0].processes == 4


@pytest.mark.slow
def test_a_hung_worker_costs_the_others_of_a_tick_nothing(cluster):
    """The resizes go out together: the others have their size while the hung one is still waited for."""
    hung, well = cluster.worker("hung@h"), [f"w{number}@h" for number in range(2)]
    for name in well:
        cluster.worker(name)
    connections = Connections(lambda: cluster.server.url, RedisTuning(), Redactor())
    remote = Remote(connections.kombu, timeout_seconds=3)
    readings = WorkerSensor(remote, ["hung@h", *well]).read(frozenset(), time.monotonic()).workers
    hung.send(signal.SIGSTOP)
    begun = time.monotonic()
    outcomes = WorkerResizer(remote).resize([ResizeRequest(reading=one, target=3) for one in readings])
    seconds = time.monotonic() - begun
    assert {one.worker: one.result for one in outcomes} == {
        "hung@h": Result.UNKNOWN,
        **dict.fromkeys(well, Result.DONE),
    }
    assert seconds < 6, "one timeout for all of them, not one for each"


@pytest.mark.slow
def test_the_stored_status_never_expires_in_a_tick_that_waits_for_mailboxes_of_dead_workers(cluster):
    cluster.worker()
    daemon = cluster.daemon("--inspect-timeout", "2")
    client, missing = cluster.redis, []
    started(lambda: client.exists(STATUS), what="the first status")

    def shows(condition):
        missing.append(not client.exists(STATUS))
        return condition(daemon.status())

    for dead in ("x@h", "y@h"):
        started(lambda: shows(is_quick), what="a quick tick, whose status is short-lived")
        client.sadd(MAILBOXES_KEY, f"\x06\x16\x06\x16{dead}.celery.pidbox")
        started(
            lambda dead=dead: shows(lambda found: dead in found["unresponsive"]),
            what="the end of the tick that waited for it",
        )
    assert missing.count(True) == 0


def is_quick(found):
    return found["tick_seconds"] < 0.3
