"""Drains on a clock that the test moves: what counts as empty, as drained, and what becomes of the record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from autoscaler.broker.errors import BrokerError
from autoscaler.control.consumers import Cancellation
from autoscaler.control.drain import Drain, DrainError, Phase
from tests.support.builders import worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from autoscaler.core.model import WorkerReading

W1, W2 = "a@h", "b@h"


@dataclass
class World:
    """A worker to drain beside one that stays, and a clock that a sleep moves.

    ``script`` gives the reading of the first after its cancellation, by the time (seconds) from which it
    holds; None is no answer.
    """

    script: dict[float, WorkerReading | BrokerError | None]
    registered: Callable[[float], set[str] | None] = lambda _: None
    restores: bool = True
    #: What all workers answer before the beginning, by the time from which it holds.
    everyone: dict[float, list[WorkerReading] | BrokerError] = field(
        default_factory=lambda: {0: [ALIVE, worker(W2)]}
    )
    #: The first so many cancellations fail.
    cancel_faults: int = 0
    faults: list[tuple[float, str | None]] = field(default_factory=list)
    #: How long a look takes, by the time from which that holds; the reading is of its beginning.
    takes: dict[float, float] = field(default_factory=lambda: {0: 0.0})
    now: float = 0.0
    records: dict[str, Cancellation] = field(default_factory=dict)
    sent: list[tuple[float, str]] = field(default_factory=list)
    phases: list[tuple[float, Phase]] = field(default_factory=list)

    # What the drain reads

    def read(self, *, everyone: bool) -> Sequence[WorkerReading]:
        script = self.everyone if everyone else self.script
        found = script[max(at for at in script if at <= self.now)]
        if isinstance(found, list):
            return found
        self.now += self.takes[max(at for at in self.takes if at <= self.now)]
        if isinstance(found, BrokerError):
            raise found
        return [] if found is None else [found]

    def mailboxes(self) -> set[str] | None:
        return self.registered(self.now)

    # What the drain does

    def cast(self, command, arguments, workers) -> None:
        assert (arguments, workers) == ({}, [W1])
        self.sent.append((self.now, command))

    def cancellations(self):
        return list(self.records.values())

    def active_cancellations(self, cancellations):
        return [one for one in cancellations if one.until > self.now]

    def cancel_all(self, requests, *, force):
        assert force
        if requests and self.cancel_faults:
            self.cancel_faults -= 1
            raise BrokerError("gone")
        for one in requests:
            until = self.now + one.for_seconds
            self.records[one.worker] = Cancellation(worker=one.worker, queues=one.queues, until=until)
        if requests:
            self.sent.append((self.now, "cancel"))
        return frozenset(one.worker for one in requests)

    def restore_all(self, cancellations):
        if cancellations:
            self.sent.append((self.now, "restore"))
        restored = {one.worker for one in cancellations} if self.restores else set()
        self.forget(restored)
        return restored

    def forget(self, names):
        for name in names:
            self.records.pop(name, None)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def take_fault(self, fault: BrokerError | None) -> None:
        said = None if fault is None else str(fault)
        if said != (self.faults[-1][1] if self.faults else None):
            self.faults.append((self.now, said))

    def drain(self, *, stopped=lambda: False, force=False, deadline=10.0) -> Phase:
        drain = Drain(
            self,
            self,
            self.read,
            on_progress=lambda progress: self.phases.append((self.now, progress.phase)),
            on_fault=self.take_fault,
            mailboxes=self.mailboxes,
            monotonic=lambda: self.now,
            sleep=self.sleep,
            stopped=stopped,
        )
        (ended,) = drain.run([W1], deadline_seconds=deadline, force=force)
        return ended.phase


ALIVE = worker(W1, uptime_seconds=100.0)
EMPTY = ALIVE._replace(queues=())
NEW = worker(W1, uptime_seconds=0.5)


def shut_down(world):
    return next(at for at, what in world.sent if what == "shutdown")


def test_an_empty_worker_is_shut_down_only_after_a_fetch_in_flight_could_have_come():
    world = World({0: EMPTY, 2: None}, registered=lambda now: {W1, W2} if now < 2.5 else {W2})
    assert world.drain() is Phase.DRAINED
    assert world.sent == [(0.0, "cancel"), (1.25, "shutdown")]
    assert world.records == {}


def test_a_look_that_took_long_is_as_old_as_its_beginning():
    # Beside a worker that hangs each look takes a whole timeout, and what the others say was read before it.
    world = World({0: EMPTY, 4: NEW}, takes={0: 0.0, 0.25: 1.5, 1.9: 0.0})
    world.drain()
    assert shut_down(world) == 2.0


@pytest.mark.parametrize(
    "holds",
    [
        pytest.param(EMPTY._replace(busy=1), id="it runs a task"),
        pytest.param(EMPTY._replace(reserved=1), id="it has fetched one"),
        pytest.param(EMPTY._replace(busy=None), id="what it runs is unknown"),
        pytest.param(EMPTY._replace(reserved=None), id="what it has fetched is unknown"),
        pytest.param(EMPTY._replace(queues_known=False), id="what it consumes is unknown"),
        pytest.param(None, id="it does not answer"),
    ],
)
def test_a_worker_that_is_not_known_to_be_empty_is_never_shut_down_and_restored_at_the_deadline(holds):
    world = World({0: holds})
    assert world.drain() is Phase.RESTORED
    assert [what for _, what in world.sent] == ["cancel", "restore"]
    assert world.records == {}


def test_a_message_that_comes_while_it_settles_starts_the_wait_again():
    world = World({0: EMPTY, 1.25: EMPTY._replace(busy=1), 3: EMPTY, 5: None})
    world.registered = lambda now: {W2} if now > 5 else {W1}
    assert world.drain() is Phase.DRAINED
    assert shut_down(world) >= 3 + 1.2


def test_consumers_that_come_back_are_cancelled_again_with_those_that_are_new():
    world = World({0: ALIVE._replace(queues=("celery", "mails")), 0.25: EMPTY, 3: NEW})
    world.drain()
    assert [what for _, what in world.sent][:3] == ["cancel", "cancel", "shutdown"]


def test_one_missed_reply_after_the_shutdown_proves_nothing():
    world = World({0: EMPTY, 1.75: None, 2: EMPTY}, registered=lambda _: {W1, W2})
    assert world.drain(deadline=60) is Phase.RESTORED
    assert world.sent[-1][1] == "restore"
    assert Phase.DRAINED not in {phase for _, phase in world.phases}
    assert world.records == {}


def test_a_restarted_worker_of_the_name_is_proof():
    world = World({0: EMPTY, 3: NEW}, registered=lambda _: {W1, W2})
    assert (world.drain(), world.records) == (Phase.DRAINED, {})
    assert world.now < 4


def test_a_mailbox_that_is_gone_is_proof_only_if_the_worker_does_not_answer_either():
    world = World({0: EMPTY, 8: None}, registered=lambda _: {W2})
    assert (world.drain(), world.records) == (Phase.DRAINED, {})
    assert world.now >= 8


@pytest.mark.parametrize("registered", [None, {W1, W2}])
def test_a_worker_that_does_not_answer_for_long_counts_as_drained_and_its_record_is_kept_until_it_is_certain(
    registered,
):
    world = World({0: EMPTY, 2: None}, registered=lambda _: registered)
    assert world.drain() is Phase.DRAINED
    assert world.now >= 2 + 10
    assert [one.queues for one in world.records.values()] == [("celery",)]


def test_a_worker_that_ignores_the_shutdown_gets_its_consumers_back():
    world = World({0: EMPTY})
    assert (world.drain(), world.records) == (Phase.RESTORED, {})
    assert shut_down(world) + 20 < world.now < shut_down(world) + 21


def test_where_the_consumers_cannot_be_restored_the_record_stays():
    world = World({0: EMPTY._replace(busy=1)}, restores=False)
    assert world.drain() is Phase.GONE
    assert list(world.records) == [W1]


def test_a_broker_that_fails_for_a_while_is_waited_for():
    world = World({0: EMPTY, 0.5: BrokerError("gone"), 3: EMPTY, 5: NEW})
    assert world.drain() is Phase.DRAINED


def test_a_broker_that_fails_past_the_deadline_ends_the_drain_and_tries_to_restore():
    world = World({0: BrokerError("gone")})
    with pytest.raises(BrokerError, match="gone"):
        world.drain()
    assert world.sent[-1][1] == "restore"


def test_a_broker_that_is_away_at_the_beginning_is_waited_for():
    world = World(
        {0: EMPTY, 8: NEW}, everyone={0: BrokerError("gone"), 3: [ALIVE, worker(W2)]}, takes={0: 0.0}
    )
    assert world.drain() is Phase.DRAINED
    assert (world.faults, world.sent[0]) == ([(0.0, "gone"), (3.0, None)], (3.0, "cancel"))


def test_a_broker_that_stays_away_from_the_beginning_ends_the_drain_at_its_deadline():
    world = World({0: EMPTY}, everyone={0: BrokerError("gone")})
    with pytest.raises(BrokerError, match="gone"):
        world.drain(deadline=10)
    assert (10 < world.now < 11, world.sent, world.phases) == (True, [], [])


def test_a_fault_at_the_beginning_that_no_waiting_mends_ends_the_drain_at_once():
    world = World({0: EMPTY}, everyone={0: BrokerError("no right", permanent=True)})
    with pytest.raises(BrokerError, match="no right"):
        world.drain()
    assert (world.now, world.faults) == (0.0, [])


def test_a_drain_that_is_stopped_while_it_waits_to_begin_ends():
    world = World({0: EMPTY}, everyone={0: BrokerError("gone")})
    with pytest.raises(BrokerError, match="gone"):
        world.drain(stopped=lambda: world.now > 1, deadline=600)
    assert world.now < 2


@pytest.mark.parametrize("late", [[], [ALIVE]], ids=["itself", "the other worker of its queue"])
def test_workers_that_have_yet_to_find_the_broker_again_are_waited_for(late):
    found = {0: BrokerError("gone"), 3: late, 20: [ALIVE, worker(W2)]}
    world = World({0: EMPTY, 25: NEW}, everyone=found)
    assert world.drain(deadline=60) is Phase.DRAINED
    assert world.sent[0] == (20.0, "cancel")


def test_a_worker_that_does_not_come_back_with_the_broker_is_refused():
    world = World({0: EMPTY}, everyone={0: BrokerError("gone"), 3: [worker(W2)]})
    with pytest.raises(DrainError, match="does not answer"):
        world.drain(deadline=300)
    assert 3 + 35 < world.now < 3 + 36


def test_a_worker_that_does_not_answer_a_broker_that_does_is_refused_at_once():
    world = World({0: EMPTY}, everyone={0: [worker(W2)]})
    with pytest.raises(DrainError, match="does not answer"):
        world.drain()
    assert world.now == 0.0


def test_a_broker_that_fails_at_the_first_cancellation_is_waited_for():
    world = World({0: ALIVE, 1: EMPTY, 4: NEW}, cancel_faults=1)
    assert world.drain() is Phase.DRAINED
    assert world.faults == [(0.0, "gone"), (0.0, None)]


def test_a_drain_that_is_stopped_restores_at_once():
    world = World({0: EMPTY._replace(busy=1)})
    assert world.drain(stopped=lambda: world.now > 1, deadline=600) is Phase.RESTORED
    assert world.now < 2


def test_the_record_outlives_the_deadline():
    world = World({0: EMPTY._replace(busy=1)}, restores=False)
    world.drain(deadline=10)
    assert world.records[W1].until == 10 + 30


def test_a_worker_that_another_drain_empties_is_refused_and_taken_over_by_force():
    other = Cancellation(worker=W1, queues=("mails",), until=600.0, owner="drain")
    world = World({0: EMPTY, 3: NEW}, records={W1: other})
    with pytest.raises(DrainError, match=r"worker 'a@h' is emptied already, by drain"):
        world.drain()
    assert world.sent == []
    assert world.drain(force=True) is Phase.DRAINED


def test_a_busy_worker_that_goes_on_consuming_is_cancelled_again_now_and_then():
    world = World({0: ALIVE._replace(busy=1), 2.5: EMPTY, 5: NEW})
    assert world.drain() is Phase.DRAINED
    cancels = [at for at, what in world.sent if what == "cancel"]
    assert cancels == [0.0, 0.0, 1.0, 2.0]


def test_after_the_stop_a_worker_that_shuts_down_is_looked_at_with_pauses():
    world = World({0: EMPTY, 5: NEW})
    paused, waited = [], []

    def sleep(seconds):
        paused.append(seconds)
        world.now += seconds

    def wait(seconds):
        waited.append(seconds)
        world.now += 0.0 if stopped() else seconds

    def stopped():
        return world.now >= 2

    drain = Drain(
        world,
        world,
        world.read,
        on_progress=lambda _: None,
        monotonic=lambda: world.now,
        sleep=sleep,
        wait=wait,
        stopped=stopped,
    )
    (ended,) = drain.run([W1], deadline_seconds=60)
    assert (ended.phase, len(waited), len(paused)) == (Phase.DRAINED, 8, 13)
