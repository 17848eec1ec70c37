"""What the scaler trusts of its looks at the fleet, by a clock that the test sets."""

from __future__ import annotations

from dataclasses import replace
from threading import Event

import pytest
from structlog import get_logger
from structlog.testing import capture_logs

from autoscaler.keda.answer import UnknownError
from autoscaler.keda.fleet import Fleet
from tests.support.builders import worker
from tests.support.keda_fleet import PACE, Watched, kept_in


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


def test_it_is_not_ready_while_redis_cannot_be_read_and_reports_faults_once():
    watched = Watched()
    with capture_logs() as logged:
        for _ in range(2):
            watched.look(faults={"backlog": "OSError: gone"})
        assert watched.fleet.ready() == "Redis cannot be read: OSError: gone"
        watched.look(worker())
    assert [(one["event"], one["faults"]) for one in logged] == [
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
    assert watched.fleet._unresponsive_since.keys() == {"b@h"}
