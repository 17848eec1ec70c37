"""Workers that answer and consume nothing count once that lasts, and not while they are emptied."""

from __future__ import annotations

import pytest

from autoscaler.daemon.without_consumers import REPORT_AFTER_SECONDS, WithoutConsumers
from tests.support.builders import look, worker

LONG = REPORT_AFTER_SECONDS
NONE = {"queues": (), "consuming": False}


def noted(*ticks, cancelled=()):
    """What is reported after the last tick of (seconds, fields of the worker; None where it is silent)."""
    memory, found = WithoutConsumers(), ()
    for at, fields in ticks:
        shown = () if fields is None else (worker("w", **fields),)
        found = memory.note(look(0, *(shown or (worker("other"),)), at=at), cancelled)
    return found


@pytest.mark.parametrize(
    ("ticks", "found"),
    [
        pytest.param([(0, NONE), (LONG, NONE)], ("w",), id="for long"),
        pytest.param([(0, NONE), (LONG - 1, NONE)], (), id="not for long yet"),
        pytest.param([(0, NONE), (20, {}), (LONG + 10, NONE)], (), id="it consumed in between"),
        pytest.param([(0, NONE), (20, None), (LONG, NONE)], ("w",), id="it was silent in between"),
        pytest.param([(0, NONE), (4000, None), (4001, NONE)], (), id="it was gone for an hour"),
        pytest.param([(0, {"queues": ()}), (LONG, {"queues": ()})], ("w",), id="without companion"),
        pytest.param(
            [(0, {"queues": (), "queues_known": False}), (LONG, {"queues": (), "queues_known": False})],
            (),
            id="its queues are not known",
        ),
    ],
)
def test_it_counts_once_it_lasts(ticks, found):
    assert noted(*ticks) == found


def test_a_worker_that_is_emptied_on_purpose_does_not_count():
    assert noted((0, NONE), (LONG, NONE), cancelled={"w"}) == ()
