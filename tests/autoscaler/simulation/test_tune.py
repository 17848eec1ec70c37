"""The search for the parameters of the target wait."""

from __future__ import annotations

import pytest

from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.policy import Policy
from autoscaler.simulation import workloads
from autoscaler.simulation.tune import tune
from tests.support.traces import MODEL, POLICY, trace


@pytest.mark.slow
def test_tuning_puts_the_cheapest_that_keeps_the_target_first():
    work = workloads.on_off(1, 400.0)
    trials = tune(work, MODEL, POLICY, TargetWaitPolicy(), share=0.99)
    keeping = [trial for trial in trials if trial.keeps]
    assert len(trials) == 24
    assert trials[0] == min(keeping, key=lambda trial: trial.price)
    assert trials[0].summary.within_target >= 0.99


@pytest.mark.slow
def test_tuning_obeys_the_bounds_of_the_policy():
    work = workloads.on_off(1, 120.0)
    trials = tune(work, MODEL, Policy(max_processes=2), TargetWaitPolicy())
    assert {trial.summary.peak_processes for trial in trials} == {2}


def test_tuning_for_a_share_that_is_none_is_refused():
    with pytest.raises(ValueError, match="share is 0; it must be above 0 and at most 1"):
        tune(trace((0.0, 1.0)), MODEL, POLICY, TargetWaitPolicy(), share=0)
