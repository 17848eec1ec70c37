"""What ``check`` says of deployments unlike a plain one: in one line what is found, and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoscaler.broker.mailboxes import MailboxSet
from autoscaler.broker.url import parse_redis_url
from autoscaler.cli.deployment_findings import address, maxima, nobody, unlike, url_options
from autoscaler.cli.findings import Finding
from autoscaler.control.addresses import Address
from autoscaler.core.model import QueueReading
from autoscaler.sensors.reports import parse_report
from autoscaler.sensors.workers import WorkersReading
from autoscaler.settings.load import load
from tests.support.builders import MIB, container, worker
from tests.support.worker_replies import FULL

URL = {"REDIS_URL": "redis://h/0"}
SETTINGS = load({}, URL)
PLAIN = parse_report("a@h", FULL)


def test_each_option_of_the_url_without_effect_is_named_with_what_to_give_instead():
    found = list(url_options(parse_redis_url("redis://h?global_keyprefix=p&protocol=3&socket_timeout=2")))
    assert [(one.level, one.subject, one.advice) for one in found] == [
        ("warn", "option global_keyprefix of the URL", "give --global-keyprefix"),
        (
            "warn",
            "option protocol of the URL",
            "nothing, if another program reads it; Celery itself refuses such URLs",
        ),
    ]


def test_where_workers_listen_is_said_where_it_was_found_and_is_not_the_usual_place():
    assert list(address((Address(),), given=False)) == []
    elsewhere = (Address(exchange="app1"), Address(prefix=""))
    assert list(address(elsewhere, given=True)) == []
    (found,) = address(elsewhere, given=False)
    assert (found.level, found.found) == (
        "ok",
        "workers listen at control_exchange='app1'; control_exchange='celery' and fanout_prefix=False",
    )


@pytest.mark.parametrize(
    ("flags", "mailboxes", "sets", "databases", "expected"),
    [
        pytest.param({}, (), (), (), [], id="nothing is found"),
        pytest.param(
            {},
            (),
            (MailboxSet(prefix="shop:", exchange="celery"),),
            (),
            [
                (
                    "global_keyprefix",
                    "workers have their mailboxes under the prefix 'shop:'",
                    "give --global-keyprefix 'shop:'",
                )
            ],
            id="a forgotten prefix",
        ),
        pytest.param(
            {"global_keyprefix": "x"},
            (),
            (MailboxSet(prefix="", exchange="celery"),),
            (),
            [
                (
                    "global_keyprefix",
                    "workers have their mailboxes under the prefix ''",
                    "leave --global-keyprefix out",
                )
            ],
            id="a prefix that nobody has",
        ),
        pytest.param(
            {"control_exchange": ("app2",)},
            (),
            (MailboxSet(prefix="", exchange="app1"),),
            (),
            [
                (
                    "control_exchange",
                    "workers have their mailboxes at app1",
                    "give --control-exchange app1, or leave it out",
                )
            ],
            id="another exchange",
        ),
        pytest.param(
            {},
            (),
            (),
            (1,),
            [
                (
                    "database 1",
                    "workers have their mailboxes there, and the URL names database 0",
                    "end the URL with /1",
                )
            ],
            id="another database",
        ),
        pytest.param(
            {},
            ("a@h",),
            (MailboxSet(prefix="", exchange="celery"),),
            (),
            [
                (
                    "fanout_prefix",
                    "a@h have a mailbox, and none answers with kombu's own fanout_prefix or without one",
                    "they were killed or hang, or have a fanout_prefix of their own: give --fanout-prefix",
                )
            ],
            id="mailboxes and no answer",
        ),
    ],
)
def test_where_nobody_answers_the_place_where_workers_may_be_is_named(
    flags, mailboxes, sets, databases, expected
):
    found = list(nobody(load(flags, URL), mailboxes, sets, databases))
    assert [(one.subject, one.found, one.advice) for one in found] == expected
    assert {one.level for one in found} <= {"fail"}


@pytest.mark.parametrize(
    ("reading", "queues", "expected"),
    [
        pytest.param(WorkersReading(workers=(PLAIN,)), (), None, id="a plain fleet"),
        pytest.param(
            WorkersReading(workers=(PLAIN,), unregistered=("a@h",)), (), "mailbox of a@h", id="mailbox gone"
        ),
        pytest.param(
            WorkersReading(unreadable={"b@h": "application/x-python-serialize"}),
            (),
            "replies of b@h",
            id="pickle",
        ),
        pytest.param(WorkersReading(beats=("celerybeat@h",)), (), "beat celerybeat@h", id="beat"),
        pytest.param(
            WorkersReading(),
            (QueueReading(name="q", waiting=0, stray_lists=("q:5",)),),
            "priorities of q",
            id="a priority outside the steps",
        ),
        pytest.param(
            WorkersReading(workers=(PLAIN._replace(late_running_seconds=3601.0),)),
            (),
            "visibility timeout of a@h",
            id="a task beyond the visibility timeout",
        ),
        pytest.param(
            WorkersReading(workers=(PLAIN._replace(late_running_seconds=3600.0),)),
            (),
            None,
            id="a task within it",
        ),
        pytest.param(
            WorkersReading(workers=(PLAIN._replace(layout=replace(PLAIN.layout, contract=2)),)),
            (),
            "companion of a@h",
            id="a newer companion",
        ),
        pytest.param(
            WorkersReading(workers=(PLAIN._replace(processes=None, busy=None),)),
            (),
            "companion of a@h",
            id="an older or a foreign companion",
        ),
        pytest.param(
            WorkersReading(workers=(worker("a@h", companion=False, busy=None),)), (), None, id="no companion"
        ),
    ],
)
def test_what_is_unlike_a_plain_fleet_is_one_finding_with_what_to_do(reading, queues, expected):
    found = list(unlike(reading, queues))
    assert [one.subject for one in found] == ([] if expected is None else [expected])
    assert all(one.advice or one.level == "ok" for one in found)


def sharing(*sizes, **fields):
    """Workers under one limit."""
    box = {"container_id": "c", "cpu_limit_cores": 2.0, "parent_rss_bytes": 50 * MIB, **fields}
    return [worker(f"w{number}@h", size, container=container(**box)) for number, size in enumerate(sizes, 1)]


def test_the_maxima_of_workers_that_are_too_many_processes_together_are_named():
    six = load({"max": "6"}, URL)
    assert list(maxima(sharing(1, 1), six)) == [
        Finding(
            level="warn",
            subject="maxima of w1@h, w2@h",
            found="at their maxima they are 12 processes on one machine, which holds 2 by its 2 cores (1"
            " process a core)",
            advice="lower --max so that they are 2 together, or raise --processes-per-core where tasks wait"
            " (I/O) more than they compute",
        )
    ]
    assert list(maxima(sharing(1, 1), load({"max": "6", "processes_per_core": "6"}, URL))) == []
    assert list(maxima(sharing(1), six)) == []
    assert list(maxima([worker("a@h"), worker("b@h")], six)) == []
    # Who shares a limit that someone set shares it by decision.
    assert list(maxima(sharing(1, 1, cpu_limited=True), six)) == []


def test_memory_may_hold_fewer_than_the_cores_do():
    box = {"memory_limit_bytes": 1000 * MIB, "child_peak_bytes": 300 * MIB}
    settings = load({"max": "3", "processes_per_core": "9"}, URL)
    (found,) = maxima(sharing(1, 1, **box), settings)
    assert found.found == (
        "at their maxima they are 6 processes on one machine, which holds 2 by its memory (300 MiB a process)"
    )
