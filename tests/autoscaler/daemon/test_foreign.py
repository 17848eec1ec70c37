"""A size that nobody here asked for is somebody else's; what Celery itself does to a pool is not."""

from __future__ import annotations

import pytest

from autoscaler.core.model import Outcome, Override, Result
from autoscaler.daemon.foreign import REPORT_SECONDS, ForeignResizes
from tests.support.builders import look, worker


def sent(target, before=4, result=Result.DONE):
    return (Outcome(worker="w", before=before, target=target, command="pool_resize", result=result),)


def seen(*ticks, companion=True):
    """What is reported after each of (seconds, size, fields of the observation)."""
    foreign, found = ForeignResizes(), []
    for at, size, fields in ticks:
        uptime = fields.pop("uptime", 1000 + at)
        reading = worker("w", size, companion=companion, uptime_seconds=uptime)
        found.append(foreign.note(look(0, reading, at=float(at), **fields)))
    return found


@pytest.mark.parametrize(
    ("ticks", "companion", "expected"),
    [
        ([(0, 4, {}), (2, 4, {})], True, ()),
        ([(0, 4, {}), (2, 6, {})], True, ("w",)),
        ([(0, 4, {}), (2, 3, {})], True, ("w",)),
        ([(0, 4, {}), (2, 6, {"outcomes": sent(6)})], True, ()),
        ([(0, 4, {}), (2, 4, {"outcomes": sent(6)}), (4, 6, {})], False, ()),
        ([(0, 4, {}), (2, 8, {"outcomes": sent(6)})], True, ("w",)),
        ([(0, 4, {}), (2, 6, {"outcomes": sent(6, result=Result.REFUSED)})], True, ("w",)),
        ([(0, 4, {}), (2, 6, {"uptime": 1.0})], True, ()),
        ([(0, 4, {}), (2, 3, {}), (4, 4, {})], False, ()),
        ([(0, 4, {}), (2, 3, {}), (30, 3, {})], False, ("w",)),
        ([(0, 4, {}), (2, 5, {})], False, ("w",)),
        ([(0, 4, {}), (2, 6, {"override": Override(held_workers=frozenset({"w"}))})], True, ()),
        ([(0, 4, {}), (2, 6, {}), (3 + REPORT_SECONDS, 6, {})], True, ()),
    ],
)
def test_who_else_resizes_a_worker_is_noticed(ticks, companion, expected):
    assert seen(*ticks, companion=companion)[-1] == expected
