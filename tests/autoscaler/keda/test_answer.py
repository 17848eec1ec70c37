"""The answer to KEDA, from plain values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoscaler.core.decider import Decider
from autoscaler.core.groups import Scope
from autoscaler.core.model import Observation, Override, QueueReading
from autoscaler.core.policy import Policy
from autoscaler.core.state import State
from autoscaler.keda.answer import (
    Answer,
    MissingError,
    UnknownError,
    answer,
    depths,
    per_worker,
    remember_queues,
)
from autoscaler.keda.question import Question, ScaleIn
from autoscaler.report.status import TickRecord
from tests.support.builders import container, look, prompt_policy, queue, worker

CELERY = Question(queues=("celery",))
SPARE = Question(queues=("celery",), scale_in=ScaleIn.SPARE)


def seen(*observations, policy=None, faults=None):
    """The record of the last of these observations."""
    state = State()
    for observation in observations:
        state, plan = Decider(policy=policy or prompt_policy(), scope=Scope()).decide(state, observation)
    workers = {name: known.reading for name, known in state.workers.items()}
    missed = tuple(sorted(workers.keys() - {reading.name for reading in observation.workers}))
    return TickRecord(
        observation=observation, plan=plan, workers=workers, unresponsive=missed, faults=faults or {}
    )


def answered(question, record, waiting=0, **more):
    return answer(question, record, {"celery": waiting}, per_worker=4, **more)


IDLE, BUSY = worker("a@h"), worker("b@h", busy=1)


@pytest.mark.parametrize(
    ("record", "idle", "spare"),
    [
        pytest.param(seen(look(0, IDLE)), (0, False), (0, False), id="nothing to do"),
        pytest.param(seen(look(0, IDLE, BUSY)), (8, True), (4, True), id="one of two runs a task"),
        pytest.param(
            seen(look(0, IDLE, worker("b@h", reserved=1))), (8, True), (4, True), id="one holds a task"
        ),
        pytest.param(
            seen(look(0, IDLE, worker("b@h", busy=None))), (8, True), (8, True), id="one does not tell"
        ),
        pytest.param(
            seen(look(0, IDLE, worker("b@h", scheduled=1))), (0, True), (0, True), id="one holds an ETA task"
        ),
        pytest.param(
            seen(look(0, IDLE, IDLE), look(30, IDLE, BUSY, at=1001)), (31, True), (31, True), id="much waits"
        ),
        pytest.param(
            seen(look(0, IDLE, BUSY), look(0, IDLE, at=1001)), (8, True), (8, True), id="one does not answer"
        ),
        pytest.param(
            seen(look(0, IDLE, BUSY, override=Override(paused=True))), (8, True), (8, True), id="paused"
        ),
    ],
)
def test_as_long_as_a_task_runs_the_answer_keeps_the_workers(record, idle, spare):
    waiting = record.observation.queues[0].waiting
    assert answered(CELERY, record, waiting) == Answer(processes=idle[0], active=idle[1])
    assert answered(SPARE, record, waiting) == Answer(processes=spare[0], active=spare[1])


def test_a_queue_without_consumers_needs_a_process_for_each_message():
    record = seen(look(0, IDLE))
    both = Question(queues=("celery", "mails"))
    assert answer(both, record, {"celery": 0, "mails": 7}, per_worker=4) == Answer(processes=7, active=True)


SILENCE = Observation(at=1001, queues=(queue(0),))
NO_LIST = QueueReading(name="celery", waiting=None, error="no list")


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (seen(look(0, IDLE), faults={"pool": "OSError: late"}), "pool: OSError: late"),
        (seen(look(0, IDLE), faults={"backlog": "x"}), "backlog: x"),
        pytest.param(
            seen(look(0, IDLE), faults={"mailboxes": "no right"}),
            "mailboxes: no right",
            id="which workers there are is not known",
        ),
        (seen(look(0, IDLE, BUSY), SILENCE), "worker 'a@h' and 1 more does not answer"),
        (seen(look(0, IDLE, queues=(NO_LIST,))), "queue 'celery' cannot be read: no list"),
    ],
)
def test_what_was_not_read_is_no_answer(record, why):
    with pytest.raises(UnknownError, match=why):
        answered(CELERY, record)


def test_a_worker_that_never_answered_is_waited_for_unless_work_waits():
    record = seen(look(0, worker("other@h", queues=("other",))))
    with pytest.raises(UnknownError, match="worker 'a@h' does not answer: what runs there is not known"):
        answered(CELERY, record, unresponsive=("a@h",))
    assert answered(CELERY, record, 3, unresponsive=("a@h",)) == Answer(processes=3, active=True)
    with pytest.raises(UnknownError, match="queue 'q' cannot be read: WRONGTYPE"):
        depths([QueueReading(name="q", waiting=None, error="WRONGTYPE")])


def test_a_worker_holds_what_is_stated_or_its_lowest_bound():
    limited = container(cpu_limit_cores=3.0, cpu_limited=True)
    record = seen(look(0, worker(container=limited)))
    open_ended = Policy(max_processes=None)
    assert per_worker(Question(queues=("celery",), processes_per_worker=9), record, open_ended) == 9
    assert per_worker(CELERY, record, open_ended) == 3
    assert per_worker(CELERY, record, Policy(max_processes=2)) == 2
    assert per_worker(CELERY, None, Policy(max_processes=8)) == 8
    with pytest.raises(MissingError, match="no worker of queue 'celery' has reported"):
        per_worker(CELERY, seen(look(0, worker())), open_ended)


def cancelled(reading):
    return reading._replace(queues=())


MINE = {"a@h": ("celery",), "b@h": ("celery",)}


@pytest.mark.parametrize(
    ("record", "idle", "spare"),
    [
        (seen(look(0, cancelled(IDLE), cancelled(BUSY))), (8, True), (4, True)),
        (seen(look(0, IDLE, cancelled(BUSY))), (8, True), (4, True)),
        (seen(look(9, cancelled(IDLE), cancelled(BUSY))), (10, True), (10, True)),
        (seen(look(0, cancelled(IDLE), cancelled(IDLE))), (0, False), (0, False)),
        (seen(look(0, cancelled(IDLE), worker("b@h", queues=(), scheduled=1))), (0, True), (0, True)),
    ],
)
def test_a_worker_whose_consumers_are_cancelled_counts_for_the_queues_it_had(record, idle, spare):
    waiting = record.observation.queues[0].waiting
    assert answered(CELERY, record, waiting, known_queues=MINE) == Answer(processes=idle[0], active=idle[1])
    assert answered(SPARE, record, waiting, known_queues=MINE) == Answer(processes=spare[0], active=spare[1])
    mails = Question(queues=("mails",))
    assert answer(mails, record, {"mails": 0}, per_worker=4, known_queues=MINE) == Answer(
        processes=0, active=False
    )


@pytest.mark.parametrize(
    ("record", "idle", "spare"),
    [
        pytest.param(seen(look(0, IDLE, cancelled(BUSY))), 4, 0, id="it finishes a task beside an idle one"),
        pytest.param(
            seen(look(0, BUSY, BUSY._replace(name="a@h"))), 4, 4, id="its consumers are not cancelled yet"
        ),
        pytest.param(seen(look(0, cancelled(BUSY))), 0, 0, id="it is the last"),
    ],
)
def test_no_pod_takes_the_place_of_one_that_drains_and_the_trigger_stays_active(record, idle, spare):
    leaving = {"b@h"}
    assert answered(CELERY, record, known_queues=MINE, leaving=leaving) == Answer(processes=idle, active=True)
    assert answered(SPARE, record, known_queues=MINE, leaving=leaving) == Answer(processes=spare, active=True)


def test_a_worker_that_ended_counts_no_more_however_long_its_last_reading_is_kept():
    record = seen(look(0, IDLE, BUSY), look(0, IDLE, at=1001))
    removed = replace(record, left=("b@h",))
    forgotten = replace(record, unresponsive=())  # the sensor asks it no more
    assert [answered(CELERY, one) for one in (removed, forgotten)] == [Answer(processes=4, active=False)] * 2


def test_a_worker_that_holds_a_task_of_an_unknown_queue_counts_for_every_queue():
    record = seen(look(0, cancelled(IDLE), cancelled(BUSY)))
    assert answered(CELERY, record) == Answer(processes=4, active=True)


def test_an_unresponsive_cancelled_worker_is_no_answer_and_one_of_another_queue_does_not_matter():
    record = seen(look(0, cancelled(BUSY)), SILENCE)
    with pytest.raises(UnknownError, match="worker 'b@h' does not answer"):
        answered(CELERY, record, known_queues=MINE)
    mails = {"b@h": ("mails",)}
    assert answered(CELERY, record, unresponsive=("b@h",), known_queues=mails) == Answer(
        processes=0, active=False
    )


def test_queues_are_remembered_while_tasks_are_held_and_forgotten_with_the_worker():
    two = ("celery", "mails")
    steps = [
        (look(0, worker("a@h", busy=1, queues=two)), (), {"a@h": two}),
        (look(0, worker("a@h", busy=1, queues=("mails",)), at=1001), (), {"a@h": two}),
        (look(0, worker("a@h", busy=1, queues=()), at=1002), (), {"a@h": two}),
        (look(0, worker("a@h", queues=("mails",)), at=1003), (), {"a@h": ("mails",)}),
        (look(0, worker("b@h"), at=1004), ("a@h",), {"a@h": ("mails",), "b@h": ("celery",)}),
        (look(0, worker("b@h"), at=1005), (), {"b@h": ("celery",)}),
    ]
    known = {}
    for observation, unresponsive, expected in steps:
        known = remember_queues(known, seen(observation), unresponsive)
        assert known == expected


@pytest.mark.parametrize(("seconds", "active"), [(0, True), (59, True), (60, False)])
def test_a_task_that_ended_between_two_looks_counts_as_work_for_a_minute(seconds, active):
    ticks = [(1000.0, 5), (1002.0, 6), *([(1002.0 + seconds, 6)] if seconds else [])]
    record = seen(*(look(0, worker(completed=completed), at=at) for at, completed in ticks))
    assert answered(CELERY, record) == Answer(processes=0, active=active)


def test_a_worker_whose_tasks_wait_for_their_rate_limit_is_kept():
    record = seen(look(0, worker("a@h", rate_limited=3)))
    assert answered(CELERY, record) == Answer(processes=4, active=True)
