"""Workers and queues as a graph: which worker can take what waits where."""

from __future__ import annotations

from autoscaler.core.demand.fleet import Channel, Member, Needs, fleet_of
from tests.support.builders import queue, worker


def test_queues_that_the_same_workers_consume_with_one_target_are_one_channel():
    readings = [
        worker("a", 3, busy=2, reserved=1, completed=7, queues=("images", "mails", "texts")),
        worker("b", 1, retiring=1, queues=("mails", "texts", "else")),
    ]
    depths = {name: queue(waiting, name) for name, waiting in (("images", 9), ("mails", 2), ("texts", 3))}
    found = fleet_of(readings, [3, 1], ("images", "mails", "texts"), depths, lambda _: 5.0)
    assert found.members == (Member("a", 3, 2, 1, 7, (0, 1)), Member("b", 1, 0, 0, 0, (1,), 1))
    assert found.channels == (
        Channel(("images",), 5.0, 9, (0,), 9),
        Channel(("mails", "texts"), 5.0, 5, (0, 1), 5),
    )
    assert found.shared() == [1]
    assert [one.exclusive for one in found.consumed] == [(found.channels[0],), ()]


def test_another_target_is_another_channel_and_what_will_be_thrown_away_needs_no_process():
    depths = {"a": queue(10, "a"), "b": queue(4, "b")}
    targets = {"a": 5.0, "b": 60.0}
    found = fleet_of(
        [worker("w", queues=("a", "b"))], [4], ("a", "b"), depths, targets.__getitem__, share_run=0.5
    )
    assert [(one.queues, one.waiting, one.tasks) for one in found.channels] == [
        (("a",), 10, 5),
        (("b",), 4, 2),
    ]
    nothing = fleet_of([worker("w", queues=("a",))], [4], ("a",), depths, targets.__getitem__, share_run=0.0)
    assert [(one.waiting, one.tasks) for one in nothing.channels] == [(0, 0)]


def test_needs_add_up_and_can_be_without_growth():
    needs = Needs(own=(2, 0), shared=(3,), keep=(1, 1), kept=4)
    assert (needs.growth, needs.total, needs.without_growth().total) == (5, 9, 4)
