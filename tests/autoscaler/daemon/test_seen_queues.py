"""How long a queue is read on that no worker consumes any more."""

from __future__ import annotations

from autoscaler.daemon.seen_queues import KEEP_SECONDS, SeenQueues
from tests.support.builders import queue


def test_a_queue_is_read_on_while_it_holds_something_and_an_hour_beyond():
    seen = SeenQueues()
    seen.note(["q"], (queue(3, "q"),), 0.0)
    seen.note([], (queue(3, "q"),), 10 * KEEP_SECONDS)
    assert seen.names == {"q"}
    seen.note([], (queue(0, "q"),), 11 * KEEP_SECONDS)
    assert seen.names == {"q"}
    seen.note([], (queue(0, "q"),), 11 * KEEP_SECONDS + 1)
    assert seen.names == set()


def test_a_queue_whose_depth_is_unknown_is_read_on():
    seen = SeenQueues()
    seen.note(["q"], (), 0.0)
    seen.note([], (queue(None, "q"),), 2 * KEEP_SECONDS)
    assert seen.names == {"q"}


def test_a_queue_that_no_worker_ever_consumed_is_not_remembered():
    seen = SeenQueues()
    seen.note([], (queue(9, "q"),), 0.0)
    assert seen.names == set()


def test_of_too_many_queues_the_newest_are_kept():
    seen = SeenQueues()
    seen.note([f"old{number}" for number in range(900)], (), 0.0)
    seen.note([f"new{number}" for number in range(900)], (), 1.0)
    assert len(seen.names) == 1000
    assert {f"new{number}" for number in range(900)} < seen.names
