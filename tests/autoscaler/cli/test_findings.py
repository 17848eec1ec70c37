"""The findings of ``check``, from readings alone."""

from __future__ import annotations

from autoscaler.cli.findings import (
    Finding,
    contradictions,
    queue_names,
    unconsumed,
    unread,
    worker_names,
    workers,
)
from autoscaler.core.model import QueueReading, WorkerLayout
from autoscaler.sensors.workers import WorkersReading
from autoscaler.settings.load import load
from tests.support.builders import worker

URL = {"REDIS_URL": "redis://h"}


def test_a_queue_that_no_worker_consumes_is_named_with_those_that_exist():
    settings = load({"queue": ("mails", "nope"), "target_wait": ("mials=3s", "mails=3s")}, URL)
    seen = [QueueReading(name=name, waiting=0) for name in ("mails", "mials", "nope")]
    assert queue_names(settings, seen, {"mails", "celery"}) == [
        Finding(
            level="fail",
            subject="--queue nope",
            found="no worker consumes it and it holds no message",
            advice="queues that workers consume: celery, mails",
        ),
        Finding(
            level="fail",
            subject="--target-wait mials",
            found="no worker consumes it and it holds no message",
            advice="did you mean mails? queues that workers consume: celery, mails",
        ),
    ]


def test_a_queue_with_messages_and_no_consumer_is_named_and_one_of_unknown_depth_is_not():
    settings = load({"queue": ("full", "unread")}, URL)
    seen = [
        QueueReading(name="full", waiting=3),
        QueueReading(name="unread", waiting=None, error="WRONGTYPE"),
    ]
    assert queue_names(settings, seen, set()) == [
        Finding(
            level="fail",
            subject="--queue full",
            found="3 waiting, and no worker that answers consumes it",
            advice="start a worker with -Q full",
        )
    ]


def test_queues_that_no_setting_names_are_findings_where_they_hold_tasks():
    waiting = {"mials": 3, "old": 0, "unread": None}
    assert list(unconsumed([QueueReading(name=name, waiting=count) for name, count in waiting.items()])) == [
        Finding(
            level="warn",
            subject="queue mials",
            found="3 waiting, and no worker that answers consumes it",
            advice="start a worker with -Q mials, or correct the queue that its tasks are sent to",
        )
    ]


def test_a_worker_that_does_not_answer_is_named_with_those_that_do():
    settings = load({"worker": ("a@h", "nope@vm")}, URL)
    assert worker_names(settings, ["a@h", *(f"w{number:02}@h" for number in range(20))]) == [
        Finding(
            level="fail",
            subject="--worker nope@vm",
            found="no worker of this name answers",
            advice="workers that answer: a@h, w00@h, w01@h, w02@h, w03@h, w04@h, w05@h, w06@h, w07@h, w08@h"
            " and 11 more",
        )
    ]
    assert worker_names(settings, [])[0].advice == "workers that answer: none"


def test_a_flag_that_a_workers_own_layout_contradicts_is_named_and_a_default_is_not():
    layout = WorkerLayout(separator="|", priority_steps=(0, 5), global_keyprefix="p:")
    reading = worker("a@h", layout=layout)
    agreeing = {"queue_separator": "|", "priority_steps": "0,5", "global_keyprefix": "p:"}
    assert list(contradictions(reading, load({}, URL))) == []
    assert list(contradictions(reading, load(agreeing, URL))) == []
    assert list(contradictions(worker("a@h"), load({"priority_steps": "0,1"}, URL))) == []
    assert list(contradictions(reading, load({**agreeing, "priority_steps": "0,1"}, URL))) == [
        Finding(
            level="warn",
            subject="--priority-steps and worker a@h",
            found="(0, 1) is given and the worker reports (0, 5), which is followed",
            advice="give (0, 5), or leave it out: workers with the companion report their own",
        )
    ]
    assert [one.subject for one in contradictions(reading, load({"queue_separator": ":"}, URL))] == [
        "--queue-separator and worker a@h"
    ]


def test_a_pool_at_its_maximum_is_said_to_be_and_how_it_could_grow():
    settings = load({"max": "4"}, URL)
    at_max, below = (
        list(workers(WorkersReading(workers=(worker(processes=size),)), settings))[-1] for size in (4, 3)
    )
    assert (below.level, below.advice) == ("ok", "")
    assert (at_max.level, at_max.found) == ("ok", f"{below.found}; its pool of 4 is at the maximum")
    assert at_max.advice.startswith("it can only shrink from here: start it with -c 1 to see it grow")


def test_parts_of_redis_that_cannot_be_read_are_named_with_what_follows():
    found = list(unread({"override": "said elsewhere", "ages": "NOPERM b", "mailboxes": "NOPERM a"}))
    assert [(one.level, one.subject, one.found, one.advice.partition(":")[0]) for one in found] == [
        ("warn", "ages", "NOPERM b", "grant lindex on the queues"),
        ("warn", "mailboxes", "NOPERM a", "grant smembers on _kombu.binding.*.pidbox"),
    ]
