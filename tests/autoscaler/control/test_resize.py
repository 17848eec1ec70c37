"""One command to one worker, and what is known of its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from autoscaler.control.resize import WorkerResizer, command_for, judge
from autoscaler.core.model import Outcome, PoolKind, Result
from tests.support.builders import worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TWINS = "two workers answered to this name; give each worker a name of its own"
SILENCE = "no reply in time; its size is read again before anything else is sent"


@dataclass
class OneReply:
    """A remote control that gives these replies, or fails with ``fault``."""

    replies: list[Any] = field(default_factory=list)
    fault: Exception | None = None
    calls: list[tuple[str, dict[str, Any], list[str]]] = field(default_factory=list)

    def call(
        self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]
    ) -> dict[str, list[Any]]:
        self.calls.append((command, dict(arguments), list(workers)))
        if self.fault is not None:
            raise self.fault
        return {workers[0]: self.replies} if self.replies else {}


@given(st.integers(0, 10_000), st.integers(1, 10_000), st.booleans())
def test_every_size_that_is_sent_is_a_whole_number_of_1_or_more_and_leads_to_the_target(
    before, target, companion
):
    reading = worker(processes=before, companion=companion)
    if before == target:
        with pytest.raises(ValueError, match="cannot be resized"):
            command_for(reading, target)
        return
    name, arguments = command_for(reading, target)
    (number,) = arguments.values()
    assert type(number) is int
    assert number >= 1
    assert {
        "pool_resize": number,
        "pool_grow": before + number,
        "pool_shrink": before - number,
    }[name] == target
    assert (name == "pool_resize") == companion


@pytest.mark.parametrize("target", [0, -3, 10_001, True, 4.0, "4", None])
def test_a_target_that_is_no_whole_number_of_1_or_more_is_never_sent(target):
    remote = OneReply()
    with pytest.raises(ValueError, match="it must be a whole number from 1 to 10000"):
        WorkerResizer(remote).resize(worker(processes=2), target)
    assert remote.calls == []


@pytest.mark.parametrize(
    "reading",
    [
        pytest.param(worker(processes=None), id="its size is unknown"),
        pytest.param(worker(processes=2, pool=PoolKind.THREADS), id="its pool has one size"),
        pytest.param(worker(processes=2, autoscale=True), id="it resizes itself"),
    ],
)
def test_a_worker_that_cannot_be_resized_is_never_told_to(reading):
    remote = OneReply()
    with pytest.raises(ValueError, match="cannot be resized to 4"):
        WorkerResizer(remote).resize(reading, 4)
    assert remote.calls == []


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        pytest.param([{"ok": "pool will grow"}], (Result.DONE, None), id="stock: done"),
        pytest.param([{"ok": {"size": 4, "was": 2}}], (Result.DONE, None), id="companion: done"),
        pytest.param([{"error": "ValueError('no')"}], (Result.REFUSED, "ValueError('no')"), id="refused"),
        pytest.param([{"error": {"a": 1}}], (Result.REFUSED, "{'a': 1}"), id="refused, oddly"),
        pytest.param([], (Result.UNKNOWN, SILENCE), id="silence"),
        pytest.param([{"ok": 1}, {"ok": 1}], (Result.UNKNOWN, TWINS), id="two of one name"),
        *(
            pytest.param(
                [junk],
                (Result.UNKNOWN, "the reply is neither ok nor error; its size is read again"),
                id=f"junk {junk!r}",
            )
            for junk in (None, [], "ok", {}, 7)
        ),
    ],
)
def test_a_reply_is_judged(replies, expected):
    assert judge(replies) == expected


def test_a_resize_is_one_command_to_one_worker():
    remote = OneReply([{"ok": "pool will grow"}])
    outcome = WorkerResizer(remote).resize(worker("a@h", processes=2, companion=False), 5)
    assert outcome == Outcome(
        worker="a@h", before=2, target=5, command="pool_grow", result=Result.DONE, detail=None
    )
    assert remote.calls == [("pool_grow", {"n": 3}, ["a@h"])]


@pytest.mark.parametrize(
    "fault",
    [
        OSError("gone"),
        OperationalError("gone"),
        RedisConnectionError("gone"),
        pytest.param(ValueError("gone"), id="a URL that turned bad in its file"),
    ],
)
def test_a_broker_that_fails_leaves_the_outcome_unknown(fault):
    remote = OneReply(fault=fault)
    outcome = WorkerResizer(remote).resize(worker("a@h", processes=2), 1)
    assert outcome == Outcome(
        worker="a@h",
        before=2,
        target=1,
        command="pool_resize",
        result=Result.UNKNOWN,
        detail=f"{type(fault).__name__}: gone",
    )
