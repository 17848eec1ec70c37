"""Rows of the decision: each a whole observation and the whole decision it must give."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoscaler.core.decider import Decider, Mode
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.groups import Scope
from autoscaler.core.model import Bounds, Override, PoolKind, Reason, Result
from autoscaler.core.state import State
from tests.support.builders import (
    MIB,
    Walk,
    container,
    decide,
    decision,
    look,
    prompt_policy,
    queue,
    worker,
)


@pytest.mark.parametrize(
    ("waiting", "busy", "expected"),
    [
        pytest.param(2, 4, decision(4, 4, Reason.STEADY), id="load 1.5 is at the watermark: hold"),
        pytest.param(3, 4, decision(4, 7, Reason.LOAD_HIGH), id="load above 1.5: a process for each task"),
        pytest.param(0, 3, decision(4, 4, Reason.STEADY), id="load between the watermarks: hold"),
        pytest.param(0, 2, decision(4, 2, Reason.LOAD_LOW), id="load below 0.6: what runs keeps its process"),
        pytest.param(0, 0, decision(4, 1, Reason.AT_MIN), id="nothing to do: down to min, which says so"),
        pytest.param(50, 4, decision(4, 10, Reason.AT_MAX), id="more work than max: max, which says so"),
    ],
)
def test_the_size_follows_the_load(waiting, busy, expected):
    assert decide(look(waiting, worker(busy=busy))) == (expected,)


def test_reserved_tasks_count_as_load_and_scheduled_ones_do_not():
    assert decide(look(0, worker(busy=4, reserved=4, scheduled=500))) == (decision(4, 8, Reason.LOAD_HIGH),)


def test_a_retiring_process_brings_its_own_task_along():
    assert decide(look(0, worker(processes=2, retiring=6, busy=8))) == (decision(2, 2, Reason.STEADY),)


def test_a_pool_that_somebody_shrank_to_nothing_comes_back_to_min():
    assert decide(look(0, worker(processes=0)), policy=prompt_policy(min_processes=2)) == (
        decision(0, 2, Reason.AT_MIN),
    )


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


@pytest.mark.parametrize(
    ("mode", "override", "leader", "reason"),
    [
        (Mode.DISABLED, Override(), True, Reason.DISABLED),
        (Mode.DRY_RUN, Override(), True, Reason.DRY_RUN),
        (Mode.ACT, Override(paused=True), True, Reason.PAUSED),
        (Mode.ACT, Override(held_workers=frozenset({"celery@one"})), True, Reason.HELD),
        (Mode.ACT, Override(), False, Reason.NOT_LEADER),
    ],
)
def test_what_holds_the_hand_keeps_what_would_have_been_done(mode, override, leader, reason):
    held = decision(4, 7, Reason.LOAD_HIGH, target=4, reason=reason)
    assert decide(look(3, worker(busy=4), override=override, leader=leader), mode=mode) == (held,)


def test_a_backlog_that_cannot_be_read_holds():
    assert decide(look(None, worker(busy=4, reserved=9))) == (decision(4, 4, Reason.STALE),)


def test_one_unknown_queue_stops_a_shrink_and_not_a_growth():
    queues = (queue(None, "broken"), queue(0))
    both = {"queues": ("broken", "celery")}
    assert decide(look(0, worker(**both), queues=queues)) == (decision(4, 4, Reason.STALE),)
    queues = (queue(None, "broken"), queue(5))
    assert decide(look(0, worker(busy=4, **both), queues=queues)) == (decision(4, 9, Reason.LOAD_HIGH),)


def test_an_unresponsive_worker_is_unknown_and_the_others_do_not_shrink():
    walk = Walk(prompt_policy())
    walk.see(0, worker("celery@a", busy=4), worker("celery@b", busy=4))
    plan = walk.see(0, worker("celery@a"))
    assert plan.decisions == (
        decision(4, 4, Reason.PEER_UNRESPONSIVE, name="celery@a"),
        decision(None, None, Reason.UNKNOWN_SIZE, name="celery@b"),
    )


def test_a_worker_that_stays_silent_is_forgotten():
    walk = Walk(prompt_policy(stale_after_seconds=15))
    walk.see(0, worker("celery@a", busy=4), worker("celery@b", busy=4))
    plan = walk.see(0, worker("celery@a"), after=20)
    assert plan.decisions == (decision(4, 1, Reason.AT_MIN, name="celery@a"),)


def test_a_worker_of_the_scope_that_was_never_seen_is_named():
    scope = Scope(workers=frozenset({"celery@gone"}))
    assert decide(look(50), scope=scope) == (decision(None, None, Reason.UNKNOWN_SIZE, name="celery@gone"),)


def test_one_sidecar_for_each_worker_comes_to_the_numbers_of_one_daemon():
    fleet = [
        worker(f"celery@{name}", processes=size, busy=size) for name, size in (("a", 1), ("b", 5), ("c", 2))
    ]
    together = {d.worker: d.target for d in decide(look(9, *fleet))}
    alone = {}
    for member in fleet:
        found = decide(look(9, *fleet), scope=Scope(workers=frozenset({member.name})))
        alone |= {d.worker: d.target for d in found}
    assert together == alone == {"celery@a": 6, "celery@b": 6, "celery@c": 5}


def test_workers_are_sized_by_the_queues_they_consume():
    seen = look(
        0,
        worker("celery@mails", processes=2, busy=2, queues=("mails",)),
        worker("celery@reports", processes=2, busy=2, queues=("reports",)),
        queues=(queue(6, "mails"), queue(0, "reports")),
    )
    assert decide(seen) == (
        decision(2, 8, Reason.LOAD_HIGH, name="celery@mails"),
        decision(2, 2, Reason.STEADY, name="celery@reports"),
    )


def test_queues_that_were_named_are_the_only_ones_that_count():
    seen = look(
        0,
        worker("celery@mails", busy=4, queues=("mails", "other")),
        worker("celery@else", busy=4, queues=("else",)),
        queues=(queue(6, "mails"),),
    )
    assert decide(seen, scope=Scope(queues=frozenset({"mails"}))) == (
        decision(4, 10, Reason.LOAD_HIGH, name="celery@mails"),
    )


def test_the_delays_run_while_the_load_stays_beyond_the_watermark():
    walk = Walk(prompt_policy(scale_up_delay_seconds=3, scale_down_delay_seconds=5))
    reasons = [walk.see(4, worker(busy=4)).decisions[0].reason for _ in range(4)]
    assert reasons == [Reason.DELAYED, Reason.DELAYED, Reason.DELAYED, Reason.LOAD_HIGH]
    walk.see(1, worker(busy=4))  # between the watermarks: the count starts anew
    assert walk.see(4, worker(busy=4)).decisions == (decision(4, 4, Reason.DELAYED),)


def test_a_shrink_goes_only_to_the_highest_wish_of_the_window():
    walk = Walk(prompt_policy(stabilization_seconds=10))
    walk.see(0, worker(busy=4))
    walk.see(4, worker(busy=4), after=1)
    walk.sent(8)
    assert walk.see(0, worker(processes=8, busy=2), after=1).decisions == (
        decision(8, 8, Reason.STABILIZING),
    )
    assert walk.see(0, worker(processes=8, busy=1), after=8).decisions == (
        decision(8, 8, Reason.STABILIZING),
    )
    # Now the wish for 8 is 10 s old; the highest since is the 2 of the third tick.
    assert walk.see(0, worker(processes=8, busy=1), after=1).decisions == (decision(8, 2, Reason.LOAD_LOW),)


def test_a_fresh_start_waits_out_both_cooldowns():
    walk = Walk(prompt_policy(scale_up_cooldown_seconds=3, scale_down_cooldown_seconds=10))
    assert walk.see(50, worker(busy=4)).decisions == (decision(4, 4, Reason.COOLDOWN),)
    assert walk.see(50, worker(busy=4), after=3).decisions == (decision(4, 10, Reason.AT_MAX),)
    assert walk.see(0, worker(), after=6.9).decisions == (decision(4, 4, Reason.COOLDOWN),)
    assert walk.see(0, worker(), after=0.1).decisions == (decision(4, 1, Reason.AT_MIN),)


def test_a_cooldown_starts_when_the_change_is_seen_whoever_made_it():
    walk = Walk(prompt_policy(scale_down_cooldown_seconds=10))
    walk.see(0, worker(busy=4))
    walk.see(0, worker(busy=4), after=20)
    assert walk.see(0, worker(processes=6), after=1).decisions == (decision(6, 6, Reason.COOLDOWN),)
    assert walk.see(0, worker(processes=6), after=10).decisions == (decision(6, 1, Reason.AT_MIN),)


def test_one_action_is_outstanding_until_the_size_shows_it():
    walk = Walk(prompt_policy(settle_seconds=10))
    slow = {"companion": False, "busy": 4}
    assert walk.see(4, worker(**slow)).decisions == (decision(4, 8, Reason.LOAD_HIGH),)
    walk.sent(8)
    waits = decision(4, 8, Reason.OUTSTANDING, target=4)
    assert walk.see(40, worker(**slow)).decisions == (waits,)
    assert walk.see(0, worker(processes=8, companion=False, busy=8)).decisions == (
        decision(8, 8, Reason.STEADY),
    )


def test_an_action_that_never_shows_is_judged_by_the_size_after_the_settle_time():
    walk = Walk(prompt_policy(settle_seconds=10))
    walk.see(4, worker(companion=False, busy=4))
    walk.sent(8, result=Result.UNKNOWN)
    assert walk.see(4, worker(companion=False, busy=4), after=9).decisions[0].reason is Reason.OUTSTANDING
    assert walk.see(4, worker(companion=False, busy=4), after=1).decisions == (
        decision(4, 8, Reason.LOAD_HIGH),
    )


def test_a_restarted_worker_is_adopted_at_the_size_it_came_back_with():
    walk = Walk(prompt_policy(scale_up_cooldown_seconds=3))
    walk.see(4, worker(busy=4), after=0)
    walk.see(4, worker(busy=4), after=5)
    walk.sent(8)
    back = worker(processes=2, busy=2, uptime_seconds=1.0)
    assert walk.see(50, back).decisions == (decision(2, 2, Reason.COOLDOWN),)
    back = worker(processes=2, busy=2, uptime_seconds=4.0)
    assert walk.see(50, back, after=3).decisions == (decision(2, 10, Reason.AT_MAX),)


# The latency demand within the decision


def test_with_a_target_wait_the_latency_demand_decides_and_grows_before_the_target_has_passed():
    walk = Walk(prompt_policy(max_processes=64), target_wait=TargetWaitPolicy(target_wait_seconds=5))
    for _ in range(30):  # one task a second on one process: the service time is learnt
        walk.see(0, worker(processes=1, busy=1, completed=walk.tick))
    plans = [walk.see(40, worker(processes=1, busy=1, completed=walk.tick)) for _ in range(4)]
    wanted = [plan.decisions[0].desired for plan in plans]
    assert wanted[0] in range(1, 41)
    assert max(wanted) >= 8  # 40 tasks of a second within 5 s, by what 4 s leave
    assert {plan.decisions[0].desired_reason for plan in plans if plan.decisions[0].action == "grow"} == {
        Reason.LATENCY
    }


def test_the_latency_demand_is_bound_by_max_and_the_container_like_any_other():
    walk = Walk(prompt_policy(max_processes=3), target_wait=TargetWaitPolicy(target_wait_seconds=1))
    walk.see(500, worker(processes=1, busy=1))
    assert walk.see(500, worker(processes=1, busy=1)).decisions == (decision(1, 3, Reason.AT_MAX),)


def test_on_a_backlog_that_is_not_known_the_latency_demand_does_not_decide():
    walk = Walk(prompt_policy(), target_wait=TargetWaitPolicy())
    walk.see(0, worker(busy=4))
    assert walk.see(None, worker(busy=0)).decisions == (decision(4, 4, Reason.STALE),)


def test_a_shadow_tells_what_the_other_demand_would_have_wished_for_and_changes_nothing():
    plain = Walk(prompt_policy(max_processes=64))
    shadowed = Walk(prompt_policy(max_processes=64), shadow=TargetWaitPolicy(target_wait_seconds=600))
    for walk in (plain, shadowed):
        walk.see(0, worker(busy=4))
    told, without = shadowed.see(20, worker(busy=4)), plain.see(20, worker(busy=4))
    assert told.decisions == without.decisions == (decision(4, 24, Reason.LOAD_HIGH),)
    assert (without.groups[0].shadow_recommended, told.groups[0].shadow_recommended) == (None, 4)


def test_each_group_keeps_the_most_urgent_target_of_its_queues():
    def wish(targets):
        walk = Walk(prompt_policy(max_processes=64), target_wait=TargetWaitPolicy(), target_waits=targets)
        walk.see(0, worker(busy=4))
        return walk.see(60, worker(busy=4)).groups[0].desired

    assert wish({"celery": 600.0}) < wish({"celery": 1.0})
    assert wish({"other": 600.0}) == wish({})


def test_of_queues_that_share_workers_the_most_urgent_target_holds_for_all():
    def wish(targets):
        walk = Walk(prompt_policy(max_processes=64), target_wait=TargetWaitPolicy(), target_waits=targets)
        both = worker(busy=4, queues=("celery", "mails"))
        walk.see(0, both, queues=(queue(0), queue(0, "mails")))
        return walk.see(60, both, queues=(queue(60), queue(0, "mails"))).groups[0].desired

    assert wish({"celery": 600.0, "mails": 1.0}) == wish({"celery": 1.0, "mails": 1.0})
    assert wish({"celery": 600.0, "mails": 1.0}) > wish({"celery": 600.0, "mails": 600.0})


def test_the_latency_demand_shrinks_only_once_it_has_learnt_for_a_while():
    walk = Walk(
        prompt_policy(scale_down_cooldown_seconds=15), target_wait=TargetWaitPolicy(start_worth_seconds=0.1)
    )
    causes = [walk.see(0, worker(processes=4, busy=0)).decisions[0].desired_reason for _ in range(20)]
    assert causes[0] is Reason.COOLDOWN
    assert Reason.LATENCY in causes or Reason.AT_MIN in causes


# Learning while workers come, go and do not answer


def steady(tick, name="celery@one", *, base=0, size=4, service=4):
    """A worker that is always busy and ends a task of each process every ``service`` seconds."""
    return worker(name, processes=size, busy=size, completed=base + tick // service * size)


def test_a_worker_that_comes_back_after_a_silence_leaves_what_is_learnt_as_it_was():
    walk = Walk(prompt_policy(stale_after_seconds=15), target_wait=TargetWaitPolicy())
    for tick in range(240):
        walk.see(0, steady(tick, "celery@a", base=500_000), steady(tick, "celery@b", base=900_000))
    for tick in range(240, 270):  # it is forgotten on the way
        walk.see(0, steady(tick, "celery@a", base=500_000))
    plans = [
        walk.see(0, steady(tick, "celery@a", base=500_000), steady(tick, "celery@b", base=900_000))
        for tick in range(270, 330)
    ]
    learnt = [(plan.groups[0].service_seconds, plan.groups[0].arrivals_per_second) for plan in plans]
    assert all(3.5 < service < 4.5 for service, _ in learnt)
    assert max(arrivals for _, arrivals in learnt) < 4  # 2 a second, and what it had in hand counts once


def test_a_worker_that_joins_brings_none_of_its_past_into_what_is_learnt():
    walk = Walk(prompt_policy(), target_wait=TargetWaitPolicy())
    for tick in range(240):
        walk.see(0, steady(tick))
    plans = [walk.see(0, steady(tick), steady(tick, "celery@two", base=10**6)) for tick in range(240, 260)]
    assert all(3.5 < plan.groups[0].service_seconds < 4.5 for plan in plans)


def test_one_missed_reply_about_its_queues_wipes_nothing_that_is_remembered_of_a_group():
    walk = Walk(prompt_policy(stabilization_seconds=600), target_wait=TargetWaitPolicy())
    for tick in range(240):
        walk.see(0, steady(tick))
    before = walk.state.groups["celery",]
    missed = replace(steady(240), queues=(), queues_known=False)
    plan = walk.see(0, missed)
    assert [one.group.queues for one in plan.groups] == [("celery",)]
    assert walk.state.groups["celery",].target_wait == before.target_wait
    service = walk.see(0, steady(241)).groups[0].service_seconds
    assert 3.5 < service < 4.5


def test_a_group_whose_workers_are_all_away_for_a_while_is_remembered():
    walk = Walk(prompt_policy(stale_after_seconds=15), target_wait=TargetWaitPolicy())
    for tick in range(240):
        walk.see(0, steady(tick))
    other = worker("celery@other", queues=("mails",))
    assert [one.group.queues for one in walk.see(0, other, after=60).groups] == [("mails",)]
    service = walk.see(0, steady(0), other, after=60).groups[0].service_seconds
    assert 3.5 < service < 4.5
    walk.see(0, other, after=3601)
    assert list(walk.state.groups) == [("mails",)]


# A worker that refuses


def test_a_worker_that_refuses_does_not_keep_its_group_from_growing():
    walk = Walk(prompt_policy(max_processes=64, settle_seconds=10))
    sizes = {"celery@a": 4, "celery@b": 4}
    for _ in range(6):
        busy = [worker(name, processes=size, busy=size) for name, size in sizes.items()]
        plan = walk.see(60 - sizes["celery@b"], *busy)
        for one in plan.decisions:
            if one.target != one.current:
                refuses = one.worker == "celery@a"
                result = Result.REFUSED if refuses else Result.DONE
                walk.sent(one.target, name=one.worker, result=result)
                sizes[one.worker] = sizes[one.worker] if refuses else one.target
    assert sizes == {"celery@a": 4, "celery@b": 60}
    assert plan.decisions[0] == decision(4, 4, Reason.REFUSED, name="celery@a")


def test_a_worker_that_refused_is_tried_again_after_a_pause():
    walk = Walk(prompt_policy(settle_seconds=10))
    walk.see(6, worker(busy=4))
    walk.sent(10, result=Result.REFUSED)
    reasons = [walk.see(6, worker(busy=4)).decisions[0].reason for _ in range(11)]
    assert reasons == [Reason.REFUSED] * 9 + [Reason.LOAD_HIGH] * 2


# What a decision carries


def test_a_decision_carries_the_bounds_that_were_applied_and_those_of_peers_are_known_too():
    bounds = Bounds(min_processes=2, max_processes=5, cpu_processes=7)
    box = container(cpu_limit_cores=7.0, cpu_limited=True)
    seen = look(
        50,
        worker("celery@a", container=box),
        worker("celery@b"),
        override=Override(min_processes=2, max_processes=5),
    )
    scope = Scope(workers=frozenset({"celery@a", "celery@gone"}))
    _, plan = Decider(policy=prompt_policy(), scope=scope).decide(State(), seen)
    found = {one.worker: one.bounds for one in (*plan.decisions, *plan.peers)}
    assert found == {
        "celery@a": bounds,
        "celery@b": replace(bounds, cpu_processes=None),
        "celery@gone": None,
    }
    assert [one.worker for one in plan.peers] == ["celery@b"]
