"""Of two autoscalers on one worker, exactly one yields."""

from __future__ import annotations

import pytest

from autoscaler.core.decider import Decider
from autoscaler.core.model import Action, Reason
from autoscaler.core.rivals import (
    ALIVE_SECONDS,
    MAX_ALIVE_SECONDS,
    NONE,
    Rival,
    remember_rivals,
    rivals,
    yields_to,
)
from autoscaler.core.state import State
from autoscaler.report.deployment import RIVAL_ADVICE, contested
from tests.support.builders import look, prompt_policy, worker

BOTH = worker("w", 1, resizers=(("a", 1.0), ("b", 2.0)))


@pytest.mark.parametrize(
    ("own", "others", "first"),
    [("a", ["b"], None), ("b", ["a"], "a"), ("c", ["a", "b"], "a"), ("", ["a", "b"], None)],
)
def test_the_one_whose_name_sorts_later_yields(own, others, first):
    assert (rivals(BOTH, own), yields_to(BOTH, own)) == (others, first)


@pytest.mark.parametrize("resizers", [None, (), (("b", 1.0),), (("a", ALIVE_SECONDS),)])
def test_without_another_daemon_there_is_nobody_to_yield_to(resizers):
    assert yields_to(worker("w", resizers=resizers), "b") is None


@pytest.mark.parametrize(
    ("own", "action", "target", "reason"),
    [("a", Action.GROW, 9, Reason.LOAD_HIGH), ("b", Action.HOLD, 1, Reason.YIELDING)],
)
def test_the_decision_of_the_one_that_yields_is_to_hold(own, action, target, reason):
    decider = Decider(policy=prompt_policy(), name=own)
    (decision,) = decider.decide(State(), look(9, BOTH))[1].decisions
    assert (decision.action, decision.desired, decision.target, decision.reason) == (
        action,
        9,
        target,
        reason,
    )


def test_both_report_who_the_other_is_and_who_holds():
    assert contested([BOTH], "a") == {
        ("rival", "w"): f"autoscaler b resizes it too; they hold while this one acts; {RIVAL_ADVICE}"
    }
    assert contested([BOTH], "b") == {
        ("rival", "w"): f"autoscaler a resizes it too; this one holds while a acts; {RIVAL_ADVICE}"
    }


def test_two_steady_daemons_exchange_ever_fewer_resizes():
    """b wants another size than a: it acts as soon as a counts as gone, and a puts it right 2 s later."""
    a_acted, known, exchanges = 0.0, NONE, []
    for at in range(0, 86_400, 2):
        reading = worker("w", 1, resizers=(("a", at - a_acted),))
        known = remember_rivals(known, reading, float(at))
        if yields_to(reading, "b", known) is None:
            exchanges.append(at)
            a_acted = at + 2.0
    assert len(exchanges) <= 12  # in a day; each 5 minutes it would be 286
    assert exchanges[-1] - exchanges[-2] >= MAX_ALIVE_SECONDS


@pytest.mark.parametrize(
    ("resizers", "expected"),
    [
        pytest.param((("a", 51.5),), {"a": Rival(0.0, 600.0)}, id="the same resize"),
        pytest.param((("a", 1.0),), {"a": Rival(49.0, 600.0)}, id="it acts while it counts as alive"),
        pytest.param(None, {}, id="no names"),
        pytest.param((("c", 1.0),), {"c": Rival(49.0, 300.0)}, id="another"),
    ],
)
def test_what_is_remembered_of_a_rival(resizers, expected):
    assert remember_rivals({"a": Rival(0.0, 600.0)}, worker(resizers=resizers), 50.0) == expected
