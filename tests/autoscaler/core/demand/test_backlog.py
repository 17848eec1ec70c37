"""When each task must start: where it waits, and who has fetched it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.demand.backlog import Backlog, follow, spread
from autoscaler.core.demand.fleet import Channel, Fleet, Member


def fleet(waiting, *members, target=5.0):
    return Fleet.of(
        [Member(f"w{number}", *counts, (0,)) for number, counts in enumerate(members)],
        [Channel(("q",), target, waiting, tuple(range(len(members))), waiting)],
    )


def walk(*looks):
    """The backlog after one look each second, and what was fetched at the last."""
    backlog, fetched = Backlog(), []
    for at, seen in enumerate(looks):
        backlog, fetched = follow(
            backlog, seen, since=at - 1.0, asked_at=at - 1.0, at=float(at), start_seconds=2.0
        )
    return backlog, fetched


def test_what_is_fetched_takes_its_latest_start_along():
    backlog, fetched = walk(
        fleet(4, (1, 1, 0, 0), (1, 1, 0, 0)),
        fleet(3, (1, 1, 2, 0), (1, 1, 0, 0)),  # one more came, the first worker has fetched two
    )
    assert fetched == [2, 0]
    assert backlog.queues == {("q",): ((4.0, 2), (5.0, 1))}
    assert backlog.held == {"w0": ((4.0, 2),)}


def test_a_task_that_ended_made_room_for_one_that_was_fetched():
    backlog, fetched = walk(fleet(2, (1, 1, 1, 0)), fleet(1, (1, 1, 1, 1)))
    assert (fetched, backlog.queues, backlog.held) == ([1], {("q",): ((4.0, 1),)}, {"w0": ((4.0, 1),)})


def test_the_age_of_the_oldest_message_overrules_what_was_counted():
    seen = fleet(3, (1, 1, 0, 0))
    seen = seen._replace(channels=(seen.channels[0]._replace(oldest_age_seconds=4.0),))
    assert walk(seen)[0].queues == {("q",): ((1.0, 3),)}


def test_what_came_in_a_gap_came_evenly_and_else_at_its_earliest():
    assert spread(5.0, 0.0, 3) == ((5.0, 3),)
    assert spread(5.0, 0.0, 0) == spread(5.0, 16.0, 0) == ()
    assert spread(5.0, 16.0, 3) == ((5.0, 1), (6.0, 1), (7.0, 1))
    assert spread(5.0, 16.0, 33) == ((5.0, 3), *((5.0 + number, 2) for number in range(1, 16)))


def test_new_processes_take_tasks_once_they_have_started():
    backlog, _ = walk(fleet(0, (1, 0, 0, 0)), fleet(0, (3, 0, 0, 0)))
    assert backlog.ready_at == {"w0": 2.0}
    assert (
        walk(fleet(0, (1, 0, 0, 0)), fleet(0, (3, 0, 0, 0)), *[fleet(0, (3, 0, 0, 0))] * 2)[0].ready_at == {}
    )


counts = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 9), st.none() | st.integers(0, 40))


@given(st.lists(st.tuples(st.integers(0, 30), st.lists(counts, min_size=1, max_size=3)), max_size=8))
def test_whatever_is_seen_each_task_that_waits_has_a_latest_start(looks):
    backlog = Backlog()
    for at, (waiting, members) in enumerate(looks):
        seen = fleet(waiting, *members)
        backlog, fetched = follow(
            backlog, seen, since=at - 1.0, asked_at=at - 1.0, at=float(at), start_seconds=1.0
        )
        assert sum(count for _, count in backlog.queues.get(("q",), ())) == waiting
        for member, new in zip(seen.members, fetched, strict=True):
            held = backlog.held.get(member.name, ())
            assert sum(count for _, count in held) == member.reserved
            assert new >= 0
