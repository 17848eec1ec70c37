"""Answers for ScaledObjects from the last look at the fleet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import pytest
from structlog import get_logger
from structlog.testing import capture_logs

from autoscaler.broker.errors import BrokerError
from autoscaler.core.model import Override
from autoscaler.core.policy import Policy
from autoscaler.keda.answer import Answer, MissingError, UnknownError
from autoscaler.keda.observed import Observed
from autoscaler.keda.question import Question, QuestionError
from autoscaler.keda.recent import MAX_RECENT
from autoscaler.keda.scaler import ScaledObject, Scaler
from autoscaler.sensors.queues import QueuesReading
from tests.support.builders import container, look, queue, worker
from tests.support.keda_fleet import Watched, kept_in

ASKED = ScaledObject(namespace="default", name="worker", metadata={})
FOUR = replace(ASKED, metadata={"processesPerWorker": "4"})


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
        self.observed = Observed("1", lambda: None, monotonic=lambda: self.watched.now)
        self.scaler = Scaler(
            self.watched.fleet,
            self.depths,
            policy=Policy(max_processes=None),
            default=Question(queues=("celery",)),
            reset=lambda: self.resets.append(True),
            redact=lambda text: text.replace("secret", "***"),
            monotonic=lambda: self.watched.now,
            observed=self.observed,
            log=get_logger(),
            unacked=self.count,
        )

    def count(self, places):
        self.read_places = list(places)
        return self.unacked


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "error"), (599, "error"), (601, Answer(processes=0, active=False))]
)
def test_what_somebody_unseen_took_may_run_for_ten_minutes(seconds, expected):
    served, found = Served(), []
    for depth in (3, 2, 0):
        served.depths.waiting = depth
        served.watched.look()
        if depth:
            found.append(served.scaler.answer(FOUR).processes)
    # The pods that took the first message are not scaled in while it may run.
    assert found == [3, 3]
    refused = "messages of queue 'celery' were taken in the last 10 minutes"
    with pytest.raises(UnknownError, match=refused):
        served.scaler.is_active(FOUR)
    served.watched.now += seconds
    served.watched.look()
    if expected != "error":
        assert served.scaler.answer(FOUR) == expected
        return
    with pytest.raises(UnknownError, match=refused):
        served.scaler.answer(FOUR)


class Asked(dict):
    """Queues that workers consume. To look one up takes as long as a second question, or half a second."""

    def __init__(self):
        super().__init__()
        self.looked_up, self.answered = Event(), Event()

    def get(self, *_):
        if not self.looked_up.is_set():
            self.looked_up.set()
            self.answered.wait(0.5)


def test_what_somebody_unseen_took_is_known_to_two_questions_at_once():
    served = Served()
    for depth in (3, 2):
        served.depths.waiting = depth
        served.watched.look()
        served.scaler.answer(FOUR)
    asked = Asked()
    served.watched.fleet.consumed = lambda: asked
    with ThreadPoolExecutor(1) as other:
        first = other.submit(served.scaler.answer, FOUR)
        assert asked.looked_up.wait(5)
        second = served.scaler.answer(FOUR)
        asked.answered.set()
        assert (first.result().processes, second.processes) == (3, 3)


def test_what_a_worker_took_that_is_seen_is_not_unknown():
    served = Served()
    served.watched.look()
    served.depths.waiting = 3
    assert served.scaler.is_active(FOUR)
    served.depths.waiting = 1
    assert served.scaler.answer(FOUR).processes == 3  # its first worker has not been seen yet
    served.depths.waiting = 0
    served.watched.look(worker())
    assert not served.scaler.is_active(FOUR)
    assert served.scaler.answer(FOUR).processes < 3


def limited(cores, **fields):
    return worker(container=container(cpu_limit_cores=cores, cpu_limited=True), **fields)


def test_an_answer_needs_a_fresh_look_and_a_worker_that_answered():
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


def test_the_answer_keeps_workers_by_the_target_that_was_given_first():
    served = Served()
    served.watched.look(limited(3.0, busy=1))
    assert served.scaler.target(ASKED) == 3
    served.watched.look(limited(5.0, busy=1), after=2.0)
    assert served.scaler.answer(ASKED) == Answer(processes=3, active=True)


def test_a_fault_of_redis_drops_the_connection_and_is_reported_without_secrets():
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


def seen_by(served, *workers, after=1.0):
    """What the next look finds, without a look."""
    served.watched.now += after
    served.watched.found = replace(look(0), at=served.watched.now, workers=workers)


def test_a_task_that_was_fetched_after_the_last_look_is_found_by_a_new_one():
    served = Served()
    served.watched.look(worker())
    seen_by(served, worker(busy=1))
    assert served.scaler.is_active(FOUR, anew=False) is False  # in no queue and in no look
    assert (served.scaler.is_active(FOUR), served.scaler.answer(FOUR).processes) == (True, 4)


def test_while_there_is_work_by_the_last_look_nobody_looks_again():
    served = Served()
    served.watched.look(worker(busy=1))
    served.watched.now += 1
    before = served.watched.looks
    assert (served.scaler.is_active(FOUR), served.watched.looks) == (True, before)


def test_a_task_that_came_and_went_between_two_looks_is_work_for_a_minute():
    served = Served()
    served.watched.look(worker(completed=5))
    served.watched.look(worker(completed=5), after=2.0)
    assert not served.scaler.is_active(FOUR)
    seen_by(served, worker(completed=6))
    assert served.scaler.is_active(FOUR)
    assert served.observed.status()[0]["reason"] == "ended"
    seen_by(served, worker(completed=6), after=61.0)
    served.watched.fleet.look()
    assert not served.scaler.is_active(FOUR)


def test_a_worker_that_removed_its_mailbox_is_not_kept():
    served = Served()
    two = (worker("a@h"), worker("b@h", busy=1))
    served.watched.look(*two)
    assert served.scaler.answer(FOUR).processes == 8
    served.watched.look(two[0], after=2.0, unresponsive=("b@h",), left=("b@h",))
    assert served.scaler.answer(FOUR) == Answer(processes=4, active=False)


def test_what_a_killed_worker_held_stays_in_the_answer_beside_a_fresh_one_until_it_is_restored():
    served = Served()
    served.watched.look(worker("a@h", busy=2, reserved=2))
    served.unacked = 4
    served.watched.look(worker("b@h"), after=2.0, unresponsive=("a@h",))
    served.watched.look(worker("b@h"), after=3600.0)
    found = served.scaler.answer(FOUR)
    assert (found, found.why, found.inputs["stranded"]) == (Answer(processes=4, active=True), "stranded", 4)
    # They are somebody else's: another queue is not kept awake by them.
    other = replace(FOUR, metadata={"processesPerWorker": "4", "queue": "other"})
    assert not served.scaler.is_active(other)
    # The fresh worker has fetched them again.
    served.watched.look(worker("b@h", busy=4), after=2.0)
    assert served.scaler.answer(FOUR).inputs["stranded"] == 0
    served.unacked = 0
    served.watched.look(worker("b@h"), after=62.0)
    assert not served.scaler.is_active(FOUR)


@pytest.mark.parametrize("kind", ["busy", "reserved", "scheduled", "rate_limited"])
def test_whatever_a_killed_worker_had_fetched_keeps_one_worker_and_none_of_it_is_forgotten(kind):
    served = Served()
    served.watched.look(worker("a@h", **{kind: 2}))
    served.unacked = 2
    served.watched.look(worker("b@h"), after=2.0, unresponsive=("a@h",))
    served.watched.look(worker("b@h"), after=3600.0)
    found = served.scaler.answer(FOUR)
    assert (found, found.why, found.inputs["stranded"]) == (Answer(processes=4, active=True), "stranded", 2)


def test_what_a_worker_held_that_was_killed_while_it_ended_stays_in_the_answer():
    served = Served()
    served.watched.look(worker("a@h", busy=1), worker("b@h"))
    served.unacked = 1
    # Its grace period was too short: its mailbox is gone already, its task is not acknowledged.
    served.watched.look(worker("b@h"), after=2.0, unresponsive=("a@h",), left=("a@h",))
    served.watched.look(worker("b@h"), after=3600.0)
    found = served.scaler.answer(FOUR)
    assert (found, found.why) == (Answer(processes=4, active=True), "stranded")
    served.unacked = 0
    served.watched.look(worker("b@h"), after=62.0)
    assert not served.scaler.is_active(FOUR)


def test_a_queue_that_nobody_ever_consumed_and_that_is_empty_is_named_once():
    served = Served()
    served.watched.look(worker())
    mistyped = replace(FOUR, metadata={"processesPerWorker": "4", "queue": "celry"})
    with capture_logs() as logs:
        for _ in range(3):
            assert not served.scaler.is_active(mistyped)
    assert [(line["event"], line["queues"]) for line in logs] == [("keda.unknown_queue", ["celry"])]
    assert served.observed.status()[0]["reason"] == "unknown_queue"


def test_ever_new_queues_and_scaled_objects_take_no_more_memory():
    served = Served()
    served.watched.look(worker())
    served.scaler._policy = replace(served.scaler._policy, max_processes=4)
    for number in range(MAX_RECENT + 10):
        asked = ScaledObject(namespace="default", name=f"w{number}", metadata={"queue": f"q{number}"})
        served.scaler.target(asked)
        served.scaler.is_active(asked)
    kept = (served.scaler._targets, served.scaler._unknown, served.scaler._taken, served.observed._said)
    assert [len(recent.items()) for recent in kept] == [MAX_RECENT] * 4


def test_its_page_and_series_say_what_was_answered_and_forget_who_asks_no_more():
    served = Served()
    served.watched.look(worker(processes=2, busy=2))
    served.scaler.answer(FOUR)
    (said,) = served.observed.status()
    assert said == {
        "scaled_object": "default/worker",
        "queues": ["celery"],
        "answered_seconds_ago": 0.0,
        "processes": 4,
        "processes_per_worker": 4,
        "active": True,
        "reason": "running",
        "inputs": {
            "waiting": 0,
            "tasks": 2,
            "workers": 1,
            "busy_workers": 1,
            "recommended": 2,
            "stranded": 0,
        },
        "error": None,
    }
    series = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in served.observed.collect()
        for sample in family.samples
    }
    prefix = "celery_autoscaler_keda_"
    assert series[f"{prefix}answer_processes", "default/worker"] == 4
    assert series[f"{prefix}active", "default/worker", "running"] == 1
    served.watched.now += 1000
    assert served.observed.status() == []


def test_a_fault_in_the_metadata_takes_the_place_of_the_last_answer():
    served = Served()
    served.watched.look(worker(processes=2, busy=2))
    served.scaler.answer(FOUR)
    wrong = replace(FOUR, metadata={"queues": "celery"})
    for call in (served.scaler.answer, served.scaler.is_active):
        with pytest.raises(QuestionError):
            call(wrong)
    (said,) = served.observed.status()
    legal = "legal are queue, processesPerWorker, scaleIn"
    assert (said["processes"], said["error"]) == (None, f"metadata 'queues' is not known; {legal}")
    assert [sample.name for family in served.observed.collect() for sample in family.samples] == [
        "celery_autoscaler_keda_build_info"
    ]


def test_a_paused_fleet_stays_as_it_is_whatever_somebody_unseen_takes():
    served = Served()
    paused = Override(paused=True)
    for depth in (9, 5):
        served.depths.waiting = depth
        served.watched.now += 100
        served.watched.found = look(0, worker(queues=("other",)), at=served.watched.now, override=paused)
        served.watched.fleet.look()
        found = served.scaler.answer(replace(FOUR, metadata={**FOUR.metadata, "queue": "celery,other"}))
        assert (found.processes, found.why) == (4, "paused")


def test_what_one_worker_holds_has_no_number_before_kedas_question_for_it():
    served = Served()
    served.watched.look(worker(container=container(cpu_limit_cores=3.0, cpu_limited=True), busy=1))
    said = lambda: served.observed.status()[0]["processes_per_worker"]  # noqa: E731
    assert served.scaler.is_active(ASKED)
    assert said() is None
    assert served.scaler.target(ASKED) == 3
    assert served.scaler.is_active(ASKED)
    assert said() == 3
