"""Lists of priorities that nobody reads: which are looked at, when, and what is remembered."""

from __future__ import annotations

from redis.exceptions import NoPermissionError, ResponseError

from autoscaler.sensors.queues import KeyLayout
from autoscaler.sensors.strays import EVERY_READINGS, StrayLists, outside_steps

PLAIN = KeyLayout()
WIDE = KeyLayout(priority_steps=tuple(range(10)))
OUTSIDE = tuple(f"q\x06\x16{priority}" for priority in (1, 2, 4, 5, 7, 8))


def test_lists_outside_the_steps_are_those_that_no_layout_of_the_queue_reads():
    assert outside_steps("q", (PLAIN,)) == OUTSIDE
    assert outside_steps("q", (PLAIN, WIDE)) == ()
    assert outside_steps("q", (KeyLayout(prefix="p:", separator="|", priority_steps=range(9)),)) == ("p:q|9",)


def test_they_are_looked_at_now_and_then_and_remembered_in_between():
    strays = StrayLists()
    due = strays.due(["q"], {}, PLAIN)
    assert due == [("q", key) for key in OUTSIDE]
    strays.note(due, [0, 2, 0, 0, 0, 1])
    for _ in range(EVERY_READINGS - 1):
        assert strays.due(["q"], {}, PLAIN) == []
        assert strays.of("q") == (OUTSIDE[1], OUTSIDE[5])
    again = strays.due(["q"], {}, PLAIN)
    assert again == due
    strays.note(again, [0] * 6)
    assert strays.of("q") == ()


def test_a_key_that_is_no_list_does_not_end_the_search():
    strays = StrayLists()
    strays.note(strays.due(["q"], {}, PLAIN), [ResponseError("WRONGTYPE"), 2, 0, 0, 0, 0])
    assert strays.of("q") == OUTSIDE[1:2]
    assert len(strays.due(["r"], {}, PLAIN)) == len(OUTSIDE)


def test_a_queue_that_is_new_is_looked_at_and_one_that_is_gone_is_forgotten():
    strays = StrayLists()
    strays.note(strays.due(["q"], {}, PLAIN), [1] * 6)
    assert {queue for queue, _ in strays.due(["q", "r"], {"r": (PLAIN,)}, PLAIN)} == {"r"}
    strays.due(["r"], {}, PLAIN)
    assert strays.of("q") == ()


def test_without_the_right_to_look_nobody_looks_again():
    strays = StrayLists()
    strays.note(strays.due(["q"], {}, PLAIN), [NoPermissionError("NOPERM")] * 6)
    assert (strays.of("q"), strays.due(["r"], {}, PLAIN)) == ((), [])
