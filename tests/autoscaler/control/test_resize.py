"""Requests in, outcomes out: what is sent, what is refused, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.broker.errors import BrokerError
from autoscaler.control.remote import UnreadableReply
from autoscaler.control.resize import ResizeRequest, WorkerResizer, command_for, judge
from autoscaler.core.model import Outcome, PoolKind, Result
from tests.support.builders import worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.control.remote import RemoteCommand

TWINS = "two workers answered to this name; give each worker a name of its own"
SILENCE = "no reply in time"
NEITHER = "the reply is neither ok nor error"
NOT_IDLE = (
    "without the companion a shrink loses tasks, and this worker is not known to be idle;"
    " load autoscaler.companion in it, or wait until it is idle"
)


@dataclass
class FakeRemote:
    """A remote control with these replies by worker, or that fails with ``fault``."""

    replies: dict[str, list[Any]] = field(default_factory=dict)
    fault: Exception | None = None
    sent: list[tuple[str, dict[str, Any], tuple[str, ...]]] = field(default_factory=list)

    def call_all(self, commands: Sequence[RemoteCommand]) -> list[dict[str, list[Any]]]:
        self.sent += [(one.name, dict(one.arguments), one.workers or ()) for one in commands]
        if self.fault is not None:
            raise self.fault
        return [
            {name: self.replies[name] for name in one.workers or () if name in self.replies}
            for one in commands
        ]


def request(target, name="a@h", **fields):
    return ResizeRequest(reading=worker(name, **fields), target=target)


def outcome(target, result, detail=None, *, command="pool_resize", before=2, name="a@h"):
    return Outcome(worker=name, before=before, target=target, command=command, result=result, detail=detail)


@given(st.integers(0, 10_000), st.integers(1, 10_000), st.booleans())
def test_every_size_that_is_sent_is_a_whole_number_of_1_or_more_and_leads_to_the_target(
    before, target, companion
):
    command = command_for(request(target, processes=before, companion=companion))
    if before == target:
        assert command is None
        return
    (number,) = command.arguments.values()
    assert type(number) is int
    assert number >= 1
    assert {
        "pool_resize": number,
        "pool_grow": before + number,
        "pool_shrink": before - number,
    }[command.name] == target
    assert (command.name == "pool_resize") == companion


@pytest.mark.parametrize("target", [0, -3, 10_001, True, 4.0, "4", None])
def test_a_target_that_is_no_whole_number_of_1_or_more_is_refused_and_never_sent(target):
    remote = FakeRemote()
    (found,) = WorkerResizer(remote).resize([request(target, processes=2)])
    assert (found.result, remote.sent) == (Result.REFUSED, [])
    assert found.detail == f"the target {target!r} is not a whole number from 1 to 10000"


@pytest.mark.parametrize(
    ("fields", "target", "detail"),
    [
        pytest.param(
            {"processes": None}, 4, "its size cannot be read, so nothing is sent", id="unknown size"
        ),
        pytest.param(
            {"processes": 2, "pool": PoolKind.SOLO},
            4,
            "its solo pool cannot be resized; use --pool prefork, threads, gevent or eventlet",
            id="its pool has one size",
        ),
        pytest.param(
            {"processes": 2, "autoscale": True},
            4,
            "it runs with --autoscale, which does its own resizing; start it without",
            id="it resizes itself",
        ),
        *(
            pytest.param(
                {"processes": 4, "companion": False, "busy": busy, "reserved": reserved},
                2,
                NOT_IDLE,
                id=f"a stock shrink with busy {busy} and reserved {reserved}",
            )
            for busy, reserved in ((1, 0), (0, 1), (None, 0), (0, None), (None, None))
        ),
    ],
)
def test_a_worker_that_must_not_be_resized_is_sent_nothing(fields, target, detail):
    remote = FakeRemote({"a@h": [{"ok": 1}]})
    assert WorkerResizer(remote).resize([request(target, **fields)]) == [
        outcome(target, Result.REFUSED, detail, command="none", before=fields["processes"])
    ]
    assert remote.sent == []


def test_an_idle_stock_worker_shrinks_and_a_busy_one_may_grow():
    remote = FakeRemote({"a@h": [{"ok": 1}], "b@h": [{"ok": 1}]})
    found = WorkerResizer(remote).resize(
        [
            request(1, processes=2, companion=False, busy=0, reserved=0),
            request(3, "b@h", processes=2, companion=False, busy=2, reserved=None),
        ]
    )
    assert [(one.command, one.result) for one in found] == [
        ("pool_shrink", Result.DONE),
        ("pool_grow", Result.DONE),
    ]


def test_a_size_that_the_worker_has_already_sends_nothing_and_is_done():
    remote = FakeRemote()
    assert WorkerResizer(remote).resize([request(2, processes=2)]) == [
        outcome(2, Result.DONE, command="none")
    ]
    assert remote.sent == []


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        pytest.param([{"ok": "pool will grow"}], (Result.DONE, None), id="stock: done"),
        pytest.param([{"ok": {"size": 4, "was": 2}}], (Result.DONE, None), id="companion: done"),
        pytest.param([{"error": "ValueError('no')"}], (Result.REFUSED, "ValueError('no')"), id="refused"),
        pytest.param([{"error": {"a": 1}}], (Result.REFUSED, "{'a': 1}"), id="refused, oddly"),
        pytest.param(
            [{"error": "words\nof a trace " * 99}],
            (Result.REFUSED, "words of a trace " * 17 + "words of a ..."),
            id="refused, at length: in one line, which ends with a whole word",
        ),
        pytest.param(
            [{"error": f"{'at length ' * 28}redis://:{'secret' * 9}@h"}],
            (Result.REFUSED, "at length " * 28 + "redis://***@h"),
            id="refused, with a login that is nobody else's to see",
        ),
        pytest.param([], (Result.UNKNOWN, SILENCE), id="silence"),
        pytest.param([{"ok": 1}, {"ok": 1}], (Result.UNKNOWN, TWINS), id="two of one name"),
        pytest.param(
            [UnreadableReply("application/x-python-serialize")],
            (
                Result.UNKNOWN,
                (
                    "its reply is application/x-python-serialize, which is not read;"
                    " set task_serializer='json' there"
                ),
            ),
            id="pickle",
        ),
        *(
            pytest.param([junk], (Result.UNKNOWN, NEITHER), id=f"junk {junk!r}")
            for junk in (None, [], "ok", {}, 7)
        ),
    ],
)
def test_a_reply_is_judged(replies, expected):
    assert judge(replies) == expected


def test_all_commands_go_out_together_and_workers_that_are_sent_the_same_share_one():
    remote = FakeRemote({"a@h": [{"ok": 1}], "c@h": [{"error": "no"}], "d@h": [{"ok": 1}, {"ok": 1}]})
    found = WorkerResizer(remote).resize(
        [
            request(4, "a@h", processes=2),
            request(0, "x@h", processes=2),
            request(4, "b@h", processes=3),
            request(5, "c@h", processes=2, companion=False),
            request(3, "d@h", processes=2),
        ]
    )
    assert remote.sent == [
        ("pool_resize", {"size": 4}, ("a@h", "b@h")),
        ("pool_grow", {"n": 3}, ("c@h",)),
        ("pool_resize", {"size": 3}, ("d@h",)),
    ]
    assert [(one.worker, one.result) for one in found] == [
        ("a@h", Result.DONE),
        ("x@h", Result.REFUSED),
        ("b@h", Result.UNKNOWN),
        ("c@h", Result.REFUSED),
        ("d@h", Result.UNKNOWN),
    ]


def test_a_broker_that_fails_leaves_every_outcome_unknown_with_its_one_line():
    remote = FakeRemote(fault=BrokerError("ConnectionError: gone"))
    found = WorkerResizer(remote).resize([request(1, processes=2), request(0, "b@h", processes=2)])
    assert found[0] == outcome(1, Result.UNKNOWN, "ConnectionError: gone")
    assert found[1].result is Result.REFUSED
