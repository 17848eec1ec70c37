"""When each task must start: where it waits, and who has fetched it."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.demand.backlog import Backlog, fewer, follow, spread
from autoscaler.core.demand.fleet import Channel, Fleet, Member


def fleet(waiting, *members, target=5.0):
    return Fleet.of(
        [Member(f"w{number}", *counts, (0,)) for number, counts in enumerate(members)],
        [Channel(("q",), target, waiting, tuple(range(len(members))), waiting)],
    )


def walk(*looks, start_seconds=2.0, start_known=True):
    """The backlog after one look each second, and what was fetched at the last."""
    backlog, fetched = Backlog(), []
    for at, seen in enumerate(looks):
        backlog, fetched = follow(
            backlog,
            seen,
            since=at - 1.0,
            asked_at=at - 1.0,
            at=float(at),
            start_seconds=start_seconds,
            start_known=start_known,
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
    assert backlog.starting == {"w0": ((2.0, 2),)}
    assert walk(*sizes(1, 3, 3, 3))[0].starting == {}


def sizes(*processes: int, busy: int = 0) -> list[Fleet]:
    return [fleet(0, (one, busy, 0, 0)) for one in processes]


def test_each_process_has_a_time_of_its_own_at_which_it_is_ready():
    # A look each second, and a start takes 10 s: what was asked for at 0 is ready at 10, the others at 12.
    assert walk(*sizes(1, 3, 3, 4), start_seconds=10.0)[0].starting == {"w0": ((10.0, 2), (12.0, 1))}
    # Where fewer are idle, the oldest are ready, or have gone.
    running = fleet(0, (4, 2, 0, 0))
    assert walk(*sizes(1, 3, 3, 4), running, start_seconds=10.0)[0].starting == {"w0": ((10.0, 1), (12.0, 1))}
    assert walk(*sizes(1, 3, 3, 4, 1), start_seconds=10.0)[0].starting == {"w0": ((12.0, 1),)}


def test_until_it_is_known_how_long_a_start_takes_those_that_run_no_task_still_start():
    assert walk(*sizes(1, 3, 3, 3), start_known=False)[0].starting == {"w0": ((2.0, 2),)}
    assert walk(*sizes(1, 3), fleet(0, (3, 3, 0, 0)), start_known=False)[0].starting == {}


def test_what_has_come_for_minutes_keeps_its_times_in_few_batches():
    batches: list[tuple[float, int]] = []
    for tick in range(300):  # 40 tasks each 2 s for 10 minutes
        batches = [*fewer([*batches, (2.0 * tick, 80)])]
    assert (len(batches), sum(count for _, count in batches)) == (64, 24_000)
    # Each is less than 5 times its fair part of the ten minutes too old.
    assert max(later - earlier for (earlier, _), (later, _) in pairwise(batches)) < 5 * 600 / 64


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
