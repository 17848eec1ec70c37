"""How far one worker may go in a tick, and what stops it at each end."""

from __future__ import annotations

import pytest

from autoscaler.core.model import Override, PoolKind, Reason
from tests.support.builders import MIB, Walk, container, decide, decision, look, prompt_policy, worker


def test_max_lowered_by_an_administrator_shrinks_at_once():
    seen = look(50, worker(processes=8, busy=8), override=Override(max_processes=3))
    assert decide(seen) == (decision(8, 3, Reason.AT_MAX),)


def test_one_step_goes_no_further_than_the_step_limit():
    policy = prompt_policy(max_step_up=2, max_step_down=1)
    assert decide(look(50), policy=policy) == (decision(4, 6, Reason.STEP),)
    assert decide(look(0), policy=policy) == (decision(4, 3, Reason.STEP),)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        pytest.param(
            {"cpu_limit_cores": 6.9, "cpu_limited": True},
            decision(4, 6, Reason.CPU_CEILING),
            id="the CPU quota is below max",
        ),
        pytest.param(
            {"cpu_limit_cores": 6.0, "cpu_limited": False},
            decision(4, 10, Reason.AT_MAX),
            id="a machine without a quota does not overrule max",
        ),
        pytest.param(
            {
                "memory_limit_bytes": 1000 * MIB,
                "memory_limited": True,
                "parent_rss_bytes": 100 * MIB,
                "child_rss_bytes": (150 * MIB,) * 4,
            },
            decision(4, 5, Reason.MEMORY_CEILING),
            id="(1000 MiB x 0.85 - 100) / 150 is 5",
        ),
        pytest.param(
            {"cpu_limit_cores": 8.0, "cpu_limited": True, "cpu_usage_ratio": 0.99},
            decision(4, 4, Reason.CPU_PRESSURE),
            id="the CPU is used up",
        ),
        pytest.param(
            {"cpu_limit_cores": 8.0, "cpu_limited": False, "cpu_usage_ratio": 0.99},
            decision(4, 10, Reason.AT_MAX),
            id="a machine without a quota may be busy with something else",
        ),
        pytest.param(
            {"cpu_limited": True, "cpu_throttled_ratio": 0.5},
            decision(4, 4, Reason.CPU_PRESSURE),
            id="the kernel throttles",
        ),
    ],
)
def test_growth_ends_at_what_fits_in_the_container(limits, expected):
    assert decide(look(50, worker(busy=4, container=container(**limits)))) == (expected,)


def test_the_ceiling_beats_min():
    limited = container(cpu_limit_cores=2.0, cpu_limited=True)
    policy = prompt_policy(min_processes=6)
    assert decide(look(0, worker(processes=4, container=limited)), policy=policy) == (
        decision(4, 2, Reason.CPU_CEILING),
    )


def test_memory_pressure_shrinks_at_once_through_every_delay():
    walk = Walk(prompt_policy(scale_down_cooldown_seconds=600, stabilization_seconds=600, max_step_down=1))
    full = container(
        memory_limit_bytes=1000 * MIB,
        memory_limited=True,
        memory_used_bytes=980 * MIB,
        child_rss_bytes=(30 * MIB,) * 8,
    )
    plan = walk.see(100, worker(processes=8, busy=8, container=full))
    # 980 - 920 MiB are two children of 30 MiB.
    assert plan.decisions == (decision(8, 6, Reason.MEMORY_PRESSURE),)
    walk.sent(6)
    plan = walk.see(100, worker(processes=6, retiring=2, busy=8, container=full))
    assert plan.decisions == (decision(6, 6, Reason.MEMORY_PRESSURE),)


def test_auto_max_is_what_fits_in_the_container_and_without_limits_what_the_machine_has():
    policy = prompt_policy(max_processes=None, processes_per_core=2)
    bare = container(cpu_limit_cores=3.0, cpu_limited=False)
    assert decide(look(50, worker(container=bare)), policy=policy) == (decision(4, 6, Reason.MACHINE),)


def test_auto_max_without_a_known_limit_does_not_grow_and_says_why():
    policy = prompt_policy(max_processes=None)
    assert decide(look(50), policy=policy) == (decision(4, 4, Reason.UNKNOWN_LIMIT),)


def test_limits_that_cannot_be_read_any_more_keep_their_last_value():
    walk = Walk(prompt_policy())
    walk.see(0, worker(busy=4, container=container(cpu_limit_cores=5.0, cpu_limited=True)))
    plan = walk.see(50, worker(busy=4, container=None))
    assert plan.decisions == (decision(4, 5, Reason.CPU_CEILING),)


@pytest.mark.parametrize("pool", [PoolKind.SOLO, PoolKind.OTHER])
def test_a_pool_that_cannot_be_resized_is_left_alone(pool):
    assert decide(look(50, worker(pool=pool))) == (decision(4, 4, Reason.UNSUPPORTED),)


@pytest.mark.parametrize(("companion", "reason"), [(True, Reason.AT_MAX), (False, Reason.UNSUPPORTED)])
def test_a_pool_of_threads_is_resized_by_its_companion_alone(companion, reason):
    (found,) = decide(look(50, worker(pool=PoolKind.THREADS, companion=companion)))
    assert found.reason is reason


def test_a_worker_with_its_own_autoscaler_is_left_alone():
    assert decide(look(50, worker(autoscale=True))) == (decision(4, 4, Reason.UNSUPPORTED),)


@pytest.mark.parametrize(
    ("waiting", "busy", "expected"),
    [
        pytest.param(0, 0, decision(4, 1, Reason.AT_MIN), id="wholly idle: it may shrink"),
        pytest.param(0, 1, decision(4, 4, Reason.SHRINK_LIMITED), id="one task runs: it may not"),
    ],
)
def test_without_a_companion_only_an_idle_worker_shrinks(waiting, busy, expected):
    assert decide(look(waiting, worker(busy=busy, companion=False))) == (expected,)


def test_a_lowered_max_does_not_shrink_a_busy_worker_without_companion():
    seen = look(50, worker(processes=8, busy=8, companion=False), override=Override(max_processes=3))
    assert decide(seen) == (decision(8, 8, Reason.SHRINK_LIMITED),)
