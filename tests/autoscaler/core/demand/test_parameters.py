"""The parameters of the target wait and their validation."""

from __future__ import annotations

import math

import pytest

from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.policy import PolicyError


def test_faults_of_the_parameters_are_reported_all_at_once():
    with pytest.raises(PolicyError) as caught:
        TargetWaitPolicy(target_wait_seconds=0.0, start_worth_seconds=math.inf, remembered_gaps=True)
    assert caught.value.faults == [
        "target_wait_seconds is 0.0; it must be from 0.1 to 86400 (seconds)",
        "start_worth_seconds is inf; it must be from 0.1 to 86400 (seconds)",
        "remembered_gaps is True; it must be a number of gaps from 1 to 1e+06",
    ]
