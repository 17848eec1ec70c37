"""Which workers share work, and how much of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.groups import Group, Scope, split
from autoscaler.core.state import KnownWorker
from tests.support.builders import worker


def known(*readings, at=5.0):
    return {reading.name: KnownWorker(reading=reading, read_at=at) for reading in readings}


def on(name, *queues, **fields):
    return worker(name, queues=queues, **fields)


def group(workers, queues):
    return Group(workers=tuple(workers.split()), queues=tuple(queues.split()))


@pytest.mark.parametrize(
    ("readings", "scope", "expected"),
    [
        pytest.param([], Scope(), [], id="nobody"),
        pytest.param(
            [on("a", "x"), on("b", "y")], Scope(), [group("a", "x"), group("b", "y")], id="nothing in common"
        ),
        pytest.param(
            [on("a", "x"), on("b", "y"), on("c", "x", "y")],
            Scope(),
            [group("a b c", "x y")],
            id="through a third",
        ),
        pytest.param(
            [on("a"), on("b")], Scope(), [group("a", ""), group("b", "")], id="no queue, each alone"
        ),
        pytest.param(
            [on("a", "x", "z"), on("b", "y", "z")],
            Scope(queues=frozenset("xy")),
            [group("a", "x"), group("b", "y")],
            id="a queue that does not count joins nobody",
        ),
        pytest.param(
            [on("a", "x"), on("b", "z")],
            Scope(queues=frozenset("x")),
            [group("a", "x")],
            id="a worker without a queue that counts is left out",
        ),
        pytest.param(
            [on("a", "x"), on("b", "z")],
            Scope(queues=frozenset("x"), workers=frozenset("b")),
            [group("a", "x"), group("b", "")],
            id="unless it is named",
        ),
        pytest.param(
            [on("a", "x"), on("b", "x")],
            Scope(workers=frozenset("a")),
            [group("a b", "x")],
            id="a sidecar sees those that share its queue",
        ),
    ],
)
def test_workers_that_share_queues_are_one_group(readings, scope, expected):
    assert split(known(*readings), scope) == expected


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.sets(st.sampled_from("uvwxyz")), max_size=9)
)
def test_groups_share_no_queue_and_leave_no_worker_out(consumed):
    found = split(known(*(on(name, *sorted(queues)) for name, queues in consumed.items())), Scope())
    members = [name for one in found for name in one.workers]
    queues = [name for one in found for name in one.queues]
    assert sorted(members) == sorted(consumed)
    assert sorted(queues) == sorted(set().union(*consumed.values()))
    assert len({one.key for one in found}) == len(found)
