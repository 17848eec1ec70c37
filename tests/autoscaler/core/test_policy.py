"""The table of parameters: bounds, contradictions, all faults at once."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.policy import Policy, PolicyError

PARAMETERS = {parameter.name: parameter.metadata for parameter in fields(Policy)}
DELAYS = {
    "scale_up_delay_seconds",
    "scale_down_delay_seconds",
    "stabilization_seconds",
    "scale_up_cooldown_seconds",
    "scale_down_cooldown_seconds",
}


def faults_of(**parameters):
    with pytest.raises(PolicyError) as caught:
        Policy(**parameters)
    return caught.value.faults


def test_the_defaults_are_a_legal_policy_and_every_parameter_has_a_unit_and_a_meaning():
    Policy()
    assert [
        name for name, meta in PARAMETERS.items() if not (meta["unit"] and meta["about"].endswith("."))
    ] == []


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_is_legal_up_to_its_bounds_and_not_beyond(name):
    low, high = PARAMETERS[name]["low"], PARAMETERS[name]["high"]
    whole = PARAMETERS[name]["unit"] == "processes"
    step = 1 if whole else (high - low) / 1000
    others = {"memory_high": 1} if name == "memory_headroom" else {}
    others = {"memory_headroom": 0.05} if name == "memory_high" else others
    others = {"max_processes": None} if name == "min_processes" else others
    for value in (low, high):
        assert getattr(Policy(**others, **{name: value}), name) == value
    for value in (low - step, high + step):
        assert faults_of(**others, **{name: value}) == [
            f"{name} is {value!r}; it must be from {low:g} to {high:g} ({PARAMETERS[name]['unit']})"
        ]


@pytest.mark.parametrize("value", ["4", True, [], 2.5])
def test_a_size_is_a_whole_number(value):
    assert faults_of(min_processes=value) == [
        f"min_processes is {value!r}; it must be a whole number of processes from 1 to 10000"
    ]


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, pytest.param(10**400, id="huge"), "1.5", None, True]
)
def test_a_share_is_a_finite_number(value):
    (fault,) = faults_of(cpu_high=value)
    assert fault.startswith(f"cpu_high is {value!r}; it must be ")


def test_all_faults_are_reported_together():
    found = faults_of(min_processes=0, cpu_high=2, settle_seconds=0)
    assert [fault.partition(" ")[0] for fault in found] == ["min_processes", "cpu_high", "settle_seconds"]


def test_contradictions_are_reported_together_with_what_to_change():
    assert faults_of(min_processes=5, max_processes=3, memory_high=0.5, memory_headroom=0.6) == [
        "max_processes is 3, below min_processes, which is 5; raise the one or lower the other",
        (
            "memory_high is 0.5, below memory_headroom, which is 0.6; the pool would grow into what it must"
            " shrink from: raise memory_high"
        ),
    ]


@given(st.dictionaries(st.sampled_from(sorted(DELAYS)), st.floats(0, 3600)))
def test_the_immediate_policy_is_the_same_one_without_its_delays(delays):
    policy = Policy(max_processes=7, **delays)
    found = policy.immediate()
    assert {name: getattr(found, name) for name in DELAYS} == dict.fromkeys(DELAYS, 0.0)
    kept = PARAMETERS.keys() - DELAYS
    assert {name: getattr(found, name) for name in kept} == {name: getattr(policy, name) for name in kept}
