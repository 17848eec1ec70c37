"""What the scaler trusts of its looks at the fleet, by a clock that the test sets."""

from __future__ import annotations

from dataclasses import replace
from threading import Event

import pytest
from structlog import get_logger
from structlog.testing import capture_logs

from autoscaler.broker.errors import BrokerError
from autoscaler.core.decider import Decider
from autoscaler.core.groups import Scope
from autoscaler.core.model import WorkerLayout
from autoscaler.core.policy import Policy
from autoscaler.core.state import State
from autoscaler.keda.answer import Answer, MissingError, UnknownError
from autoscaler.keda.fleet import Fleet, Pace
from autoscaler.keda.question import Question, QuestionError
from autoscaler.keda.scaler import ScaledObject, Scaler
from autoscaler.report.status import TickRecord
from autoscaler.sensors.queues import QueuesReading
from tests.support.builders import container, look, prompt_policy, queue, worker

PACE = Pace(interval_seconds=2.0, fresh_seconds=10.0, patience_seconds=60.0)
ASKED = ScaledObject(namespace="default", name="worker", metadata={})
FOUR = replace(ASKED, metadata={"processesPerWorker": "4"})


class Watched:
    """A fleet, its clock, and what the next look finds."""

    def __init__(self):
        self.now = 1000.0
        self.state = State()
        self.decider = Decider(policy=prompt_policy(max_processes=None), scope=Scope())
        self.found = look(0, worker())
        self.unresponsive, self.faults = (), {}
        self.fleet = Fleet(self._look, PACE, get_logger(), monotonic=lambda: self.now)

    def _look(self):
        self.state, plan = self.decider.decide(self.state, self.found)
        workers = {name: known.reading for name, known in self.state.workers.items()}
        return TickRecord(
            observation=self.found,
            plan=plan,
            workers=workers,
            unresponsive=self.unresponsive,
            faults=self.faults,
        )

    def look(self, *workers, after=0.0, unresponsive=(), faults=None):
        self.now += after
        self.unresponsive, self.faults = unresponsive, faults or {}
        self.found = replace(look(0), at=self.now, workers=workers)
        self.fleet.look()


class Depths:
    """Queues whose depth the test sets; ``fault`` is raised instead."""

    def __init__(self):
        self.waiting = 0
        self.fault = None

    def read(self, queues):
        if self.fault is not None:
            raise self.fault
        return QueuesReading(queues=tuple(queue(self.waiting, name) for name in queues))


class Served:
    """A scaler over a watched fleet, and what it dropped."""

    def __init__(self):
        self.watched, self.depths, self.resets = Watched(), Depths(), []
        self.unacked, self.read_places = 0, []
        self.scaler = Scaler(
            self.watched.fleet,
            self.depths,
            policy=Policy(max_processes=None),
            default=Question(queues=("celery",)),
            reset=lambda: self.resets.append(True),
            redact=lambda text: text.replace("secret", "***"),
            unacked=self.count,
        )

    def count(self, places):
        self.read_places = list(places)
        return self.unacked


def limited(cores, **fields):
    return worker(container=container(cpu_limit_cores=cores, cpu_limited=True), **fields)


def test_a_look_is_given_out_until_it_is_too_old():
    watched = Watched()
    with pytest.raises(UnknownError, match="the fleet has not been looked at yet"):
        watched.fleet.latest()
    watched.look(worker())
    record = watched.fleet.latest()
    watched.now += 10
    assert watched.fleet.latest() is record
    watched.now += 1
    old = "the fleet was last looked at 11 s ago; 10 s are allowed"
    with pytest.raises(UnknownError, match=old):
        watched.fleet.latest()
    assert watched.fleet.ready() == old
    watched.look(worker())
    assert watched.fleet.ready() is None


def test_the_loop_counts_as_stuck_after_three_times_the_age_of_a_look():
    watched = Watched()
    watched.now += 30
    assert watched.fleet.live() is None
    watched.now += 1
    assert watched.fleet.live() == "no look has ended for 31 s; 30 s are allowed"
    watched.look(worker())
    watched.now += 30
    assert watched.fleet.live() is None


def test_it_is_not_ready_while_redis_cannot_be_read_and_tells_faults_once():
    watched = Watched()
    with capture_logs() as told:
        for _ in range(2):
            watched.look(faults={"backlog": "OSError: gone"})
        assert watched.fleet.ready() == "Redis cannot be read: OSError: gone"
        watched.look(worker())
    assert [(one["event"], one["faults"]) for one in told] == [
        ("fleet.faults", {"backlog": "OSError: gone"}),
        ("fleet.faults", {}),
    ]


def test_a_worker_is_unresponsive_from_its_first_missed_reply_until_it_counts_as_gone_or_answers():
    watched = Watched()
    watched.look(worker("a@h"), unresponsive=("c@h", "b@h"))
    assert watched.fleet.unresponsive() == ["b@h", "c@h"]
    watched.look(worker("a@h"), worker("b@h"), after=59.0, unresponsive=("c@h",))
    assert watched.fleet.unresponsive() == ["c@h"]
    watched.now += 1  # 60 s after the first silence, whatever came later
    assert watched.fleet.unresponsive() == []
    watched.look(worker("c@h"))
    watched.look(after=1.0, unresponsive=("c@h",))
    assert watched.fleet.unresponsive() == ["c@h"]


def test_the_queues_of_a_worker_are_remembered_while_it_is_unresponsive():
    watched = Watched()
    watched.look(worker("a@h", busy=1))
    watched.look(worker("a@h", busy=1, queues=()), after=2.0)
    assert watched.fleet.known_queues() == {"a@h": ("celery",)}
    watched.look(after=59.0, unresponsive=("a@h",))
    assert watched.fleet.known_queues() == {"a@h": ("celery",)}
    watched.look(after=3600.0)
    assert watched.fleet.known_queues() == {}


def test_it_looks_until_it_is_stopped():
    watched, stop, looks = Watched(), Event(), []

    def one_look():
        looks.append(True)
        if len(looks) == 2:
            stop.set()
        return watched._look()

    fleet = Fleet(one_look, replace(PACE, interval_seconds=0.0), get_logger(), monotonic=lambda: watched.now)
    fleet.run(stop)
    assert len(looks) == 2


def test_an_answer_needs_a_fresh_look_and_a_worker_that_was_heard():
    served = Served()
    served.watched.look(worker(busy=1))
    assert served.scaler.answer(FOUR) == Answer(processes=4, active=True)
    served.watched.now += 11
    for call in (served.scaler.answer, served.scaler.is_active):
        with pytest.raises(UnknownError, match="last looked at 11 s ago"):
            call(FOUR)
    served.watched.look(after=3600.0, unresponsive=("celery@one",))
    for call in (served.scaler.answer, served.scaler.is_active):
        with pytest.raises(UnknownError, match="worker 'celery@one' does not answer"):
            call(FOUR)
    served.watched.look(after=60.0)
    assert served.scaler.answer(FOUR) == Answer(processes=0, active=False)


def test_a_task_on_a_worker_whose_consumers_were_cancelled_keeps_it():
    served = Served()
    served.watched.look(worker(busy=1))
    served.watched.look(worker(busy=1, queues=()), after=2.0)
    assert served.scaler.answer(FOUR) == Answer(processes=4, active=True)
    mails = replace(FOUR, metadata={**FOUR.metadata, "queue": "mails"})
    assert served.scaler.answer(mails) == Answer(processes=0, active=False)


def test_the_target_stays_what_it_was_first_for_each_scaled_object_and_its_queues():
    served = Served()
    with pytest.raises(MissingError, match="no worker of queue 'celery' has reported"):
        served.scaler.target(ASKED)
    served.watched.look(limited(3.0))
    assert served.scaler.target(ASKED) == 3  # what was missing is not kept
    served.watched.look(limited(5.0), after=2.0)
    other = replace(ASKED, name="other")
    elsewhere = replace(ASKED, namespace="elsewhere")
    assert [served.scaler.target(one) for one in (ASKED, other, elsewhere)] == [3, 5, 5]
    served.watched.now += 3600
    assert served.scaler.target(ASKED) == 3
    assert served.scaler.target(FOUR) == 4
    with pytest.raises(MissingError, match="no worker of queue 'mails' has reported"):
        served.scaler.target(replace(ASKED, metadata={"queue": "mails"}))
    with pytest.raises(QuestionError):
        served.scaler.target(replace(ASKED, metadata={"scaleIn": "never"}))


def test_the_answer_keeps_workers_by_the_target_that_was_told():
    served = Served()
    served.watched.look(limited(3.0, busy=1))
    assert served.scaler.target(ASKED) == 3
    served.watched.look(limited(5.0, busy=1), after=2.0)
    assert served.scaler.answer(ASKED) == Answer(processes=3, active=True)


def test_a_fault_of_redis_drops_the_connection_and_is_told_without_secrets():
    served = Served()
    served.watched.look(worker())
    served.depths.fault = BrokerError("ConnectionResetError: secret")
    with pytest.raises(UnknownError, match=r"^Redis cannot be read: ConnectionResetError: \*\*\*$"):
        served.scaler.answer(FOUR)
    assert served.resets == [True]
    served.depths.fault = None
    served.depths.waiting = None
    with pytest.raises(UnknownError, match="queue 'celery' cannot be read"):
        served.scaler.is_active(FOUR)
    assert served.resets == [True]


def test_what_a_killed_worker_had_fetched_keeps_one_worker_where_none_is_left_to_restore_it():
    served = Served()
    served.unacked = 3
    served.watched.look(worker(busy=1, reserved=3))
    served.watched.look(after=3600.0)
    assert served.scaler.answer(FOUR) == Answer(processes=4, active=True)
    assert served.scaler.is_active(FOUR)
    served.watched.look(worker("mails@h", queues=("mails",)), after=2.0)  # it restores them
    assert served.scaler.answer(FOUR) == Answer(processes=0, active=False)
    served.watched.look(after=3600.0)
    served.unacked = 0
    assert served.scaler.answer(FOUR) == Answer(processes=0, active=False)


def kept_in(key, prefix=None):
    return WorkerLayout(unacked_key=key, global_keyprefix=prefix)


def test_what_was_fetched_is_counted_where_the_killed_workers_kept_it_and_nobody_restores_it():
    served = Served()
    served.unacked = 3
    shop, mails = kept_in("shop-unacked", "shop:"), kept_in("mails-unacked")
    served.watched.look(worker(layout=shop), worker("mails@h", queues=("mails",), layout=mails))
    served.watched.look(worker("mails@h", queues=("mails",), layout=mails), after=3600.0)
    # The worker that is left restores what is in its own hash alone.
    assert served.scaler.answer(FOUR) == Answer(processes=4, active=True)
    assert served.read_places == [("shop:", "shop-unacked")]
    served.watched.look(worker(queues=(), layout=shop), after=2.0)  # it consumes nothing
    assert served.scaler.answer(FOUR).active
    served.watched.look(worker(layout=shop), after=2.0)
    assert not served.scaler.answer(FOUR).active
    served.watched.look(after=3600.0)
    assert served.scaler.answer(FOUR).active
    assert served.read_places == [("shop:", "shop-unacked")]


def test_of_many_places_the_latest_are_remembered():
    watched = Watched()
    for number in range(150):
        watched.look(worker(layout=kept_in(f"key{number}")))
    assert [place.key for place in watched.fleet.places()] == [f"key{number}" for number in range(50, 150)]


def test_a_worker_whose_mailbox_is_gone_is_forgotten_once_it_counts_as_gone():
    watched = Watched()
    watched.look(unresponsive=("a@h", "b@h"))
    watched.look(after=59.0, unresponsive=("b@h",))
    assert watched.fleet.unresponsive() == ["a@h", "b@h"]
    watched.look(after=2.0, faults={"pool": "OSError: gone"})
    watched.look(unresponsive=("b@h",))
    assert watched.fleet.unresponsive() == []
    assert watched.fleet._silent_since.keys() == {"b@h"}
