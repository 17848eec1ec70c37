"""Consumers that a reconnect has lost are told apart from those that an operator has cancelled."""

from __future__ import annotations

import pytest

from autoscaler.control.consumers import Cancellation
from autoscaler.control.given_back import GivenBack
from tests.support.builders import worker

W1 = "w1@h"
BOTH = Cancellation(worker=W1, queues=("a", "b"))


def reading(*queues, uptime=100.0, reconnects=0, known=True):
    return worker(W1, queues=queues, uptime_seconds=uptime, reconnects=reconnects, queues_known=known)


WHOLE, SILENT = reading("a", "b"), None


@pytest.mark.parametrize(
    ("looks", "lost"),
    [
        pytest.param([WHOLE, reading("b", reconnects=1)], ("a",), id="it has connected anew"),
        pytest.param([WHOLE, reading(reconnects=1)], ("a", "b"), id="all of them"),
        pytest.param([WHOLE, SILENT, reading("b")], ("a",), id="it did not answer in between"),
        pytest.param([WHOLE, reading(known=False), reading("b")], ("a",), id="its queues were not known"),
        pytest.param([WHOLE, reading("b")], None, id="an operator has cancelled it"),
        pytest.param([WHOLE, reading("b"), reading("b", reconnects=1)], None, id="and it stays so"),
        pytest.param([WHOLE, SILENT, WHOLE, reading("b")], None, id="cancelled after a missed reply"),
        pytest.param([WHOLE, SILENT, reading("b", uptime=1.0)], None, id="another process"),
        pytest.param([reading("b", reconnects=1)], None, id="it was never seen with them"),
        pytest.param([WHOLE, SILENT], None, id="it does not answer"),
    ],
)
def test_what_is_restored_again(looks, lost):
    memory = GivenBack()
    memory.note(BOTH)
    found = [memory.lost({} if one is None else {W1: one}) for one in looks]
    assert found[-1] == ([] if lost is None else [Cancellation(worker=W1, queues=lost)])


def test_without_companion_it_is_restored_once_more_and_then_left_alone():
    memory = GivenBack()
    memory.note(BOTH)
    looks = [reading("a", "b", reconnects=None), reading("b", reconnects=None)]
    assert [memory.lost({W1: one}) for one in looks] == [[], [Cancellation(worker=W1, queues=("a",))]]
    memory.note(BOTH)
    assert [memory.lost({W1: one}) for one in looks] == [[], []]


def test_what_is_missing_while_an_administrator_holds_the_worker_is_left_alone_also_afterwards():
    memory = GivenBack()
    memory.note(BOTH)
    assert memory.lost({W1: WHOLE}) == []
    assert memory.lost({W1: reading(reconnects=1)}, lambda name: name == W1) == []
    assert memory.lost({W1: reading(reconnects=1)}) == []


def test_what_is_cancelled_anew_is_not_restored_and_what_was_restored_twice_is_remembered_once():
    memory = GivenBack()
    memory.note(BOTH)
    memory.note(Cancellation(worker=W1, queues=("a",)))
    assert memory.lost({W1: WHOLE}) == []
    memory.forget(W1)
    assert memory.lost({W1: reading(reconnects=5)}) == []
    memory.note(Cancellation(worker=W1, queues=()))
    assert memory.lost({W1: reading(reconnects=9)}) == []


def test_workers_that_are_gone_for_good_are_forgotten():
    memory = GivenBack()
    for number in range(3):
        memory.note(Cancellation(worker=f"pod-{number}@h", queues=("celery",)))
    for _ in range(5000):
        assert memory.lost({}) == []
    assert memory._restored.keys() == {"pod-0@h", "pod-1@h", "pod-2@h"}
    memory.lost({"pod-1@h": worker("pod-1@h")})
    assert memory._restored.keys() == {"pod-1@h"}
