"""Memory that callers cannot fill."""

from __future__ import annotations

from autoscaler.keda.recent import MAX_RECENT, Recent


def test_the_one_that_was_not_used_for_the_longest_time_goes_first():
    recent: Recent[int, str] = Recent()
    for number in range(MAX_RECENT):
        recent.put(number, "old")

    recent.put(0, "set again")
    assert recent.get(1) == "old"
    recent.put(MAX_RECENT, "one more")
    recent.drop(3)

    assert (recent.get(2), recent.get(3), recent.get(1), recent.get(0)) == (None, None, "old", "set again")
    assert len(recent.items()) == MAX_RECENT - 1
