from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.decider import Decider, Mode
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.model import Observation, Override, Reason
from autoscaler.core.policy import Policy
from autoscaler.core.state import State
from tests.support.builders import MIB, container, look, prompt_policy, worker


def steps(
    observation: Observation,
    *,
    mode: Mode = Mode.ACT,
    target_wait: TargetWaitPolicy | None = None,
    **policy: object,
) -> dict[str, tuple[int, str | None]]:
    """The steps of the one group: the number that each left, and its reason where it has one."""
    decider = Decider(policy=prompt_policy(**policy), mode=mode, target_wait=target_wait)
    (group,) = decider.decide(State(), observation)[1].groups
    return {str(step.name): (step.processes, step.reason and str(step.reason)) for step in group.steps}


def test_a_growth_that_nothing_limits_passes_every_step_as_recommended() -> None:
    found = steps(look(5, worker(processes=2, busy=2)))

    passed = ("stabilization", "blockage", "cooldown", "step", "min_max", "ceiling", "companion", "gates")
    assert found == {"recommendation": (7, "load_high"), **dict.fromkeys(passed, (7, None))}


@pytest.mark.parametrize(
    ("observation", "policy", "changed"),
    [
        (look(5, worker(processes=2)), {"scale_up_cooldown_seconds": 60}, {"cooldown": (2, "cooldown")}),
        (look(0, worker(processes=9)), {"stabilization_seconds": 60}, {"stabilization": (9, "stabilizing")}),
        (look(50, worker(processes=2)), {"max_step_up": 3}, {"step": (5, "step")}),
        (look(50, worker(processes=2)), {"max_processes": 6}, {"min_max": (6, "at_max")}),
        (look(0, worker(processes=9)), {"min_processes": 3}, {"min_max": (3, "at_min")}),
        (
            look(50, worker(processes=2, container=container(cpu_limit_cores=4.0, cpu_limited=True))),
            {"processes_per_core": 1},
            {"min_max": (10, "at_max"), "ceiling": (4, "cpu_ceiling")},
        ),
        (
            look(0, worker(processes=9, busy=1, companion=False)),
            {},
            {"companion": (9, "shrink_limited")},
        ),
        (look(5, worker(processes=2), override=Override(paused=True)), {}, {"gates": (2, "paused")}),
        (
            look(9, worker(processes=2, rate_limited=3)),
            {},
            {"blockage": (2, "rate_limited")},
        ),
    ],
    ids=["cooldown", "window", "step", "max", "min", "cpu", "companion", "paused", "rate limited"],
)
def test_the_step_that_changes_the_number_names_its_reason(
    observation: Observation, policy: dict[str, object], changed: dict[str, tuple[int, str]]
) -> None:
    named = {
        name: found
        for name, found in steps(observation, **policy).items()
        if found[1] is not None and name != "recommendation"
    }

    assert named == changed


def test_the_target_wait_recommends_and_no_window_holds_it() -> None:
    found = steps(look(0, worker(processes=3)), target_wait=TargetWaitPolicy(), stabilization_seconds=60)

    recommended, reason = found["recommendation"]
    assert (reason, found["stabilization"]) == ("latency", (recommended, None))


def test_a_worker_whose_size_is_not_known_ends_at_the_gates() -> None:
    assert steps(look(5, worker(processes=None)))["gates"] == (0, "unknown_size")


@settings(max_examples=300)
@given(
    waiting=st.none() | st.integers(0, 60),
    sizes=st.lists(st.none() | st.integers(1, 12), min_size=1, max_size=4),
    busy=st.integers(0, 3),
    companion=st.booleans(),
    cores=st.none() | st.floats(0.5, 8),
    minimum=st.integers(1, 4),
    span=st.integers(0, 10),
    step=st.integers(1, 4),
    paused=st.booleans(),
)
def test_the_last_step_is_the_sum_of_the_targets_whatever_was_seen(  # noqa: PLR0917 - drawn
    waiting, sizes, busy, companion, cores, minimum, span, step, paused
) -> None:
    limits = container(cpu_limit_cores=cores, cpu_limited=cores is not None, memory_limit_bytes=512 * MIB)
    workers = [
        worker(f"w{number}@h", size, busy=busy, companion=companion, container=limits)
        for number, size in enumerate(sizes)
    ]
    policy = Policy(
        min_processes=minimum,
        max_processes=minimum + span,
        max_step_up=step,
        max_step_down=step,
        scale_up_delay_seconds=0,
        scale_up_cooldown_seconds=0,
        scale_down_cooldown_seconds=0,
    )
    seen = look(waiting, *workers, override=Override(paused=paused))

    plan = Decider(policy=policy).decide(State(), seen)[1]

    (group,) = plan.groups
    *_, companion_step, gates = group.steps
    targets = [0 if one.target is None else one.target for one in plan.decisions]
    desired = [0 if one.desired is None else one.desired for one in plan.decisions]
    assert (gates.processes, companion_step.processes) == (sum(targets), sum(desired))
    assert group.steps[3].processes == group.desired
    assert gates.reason is not Reason.STEADY
