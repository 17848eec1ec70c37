"""Rows of the decision: each a whole observation and the whole decision it must give."""

from __future__ import annotations

import pytest

from autoscaler.core.decider import Mode
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.groups import Scope
from autoscaler.core.model import Override, Reason, Result
from autoscaler.core.policy import Policy
from tests.support.builders import Walk, decide, decision, look, prompt_policy, queue, worker


def test_a_pool_that_somebody_shrank_to_nothing_comes_back_to_min():
    assert decide(look(0, worker(processes=0)), policy=prompt_policy(min_processes=2)) == (
        decision(0, 2, Reason.AT_MIN),
    )


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
def test_a_blocking_condition_keeps_what_would_have_been_done(mode, override, leader, reason):
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


def test_a_worker_that_stays_unresponsive_is_forgotten():
    walk = Walk(prompt_policy(stale_after_seconds=15))
    walk.see(0, worker("celery@a", busy=4), worker("celery@b", busy=4))
    plan = walk.see(0, worker("celery@a"), after=20)
    assert plan.decisions == (decision(4, 1, Reason.AT_MIN, name="celery@a"),)


def test_a_worker_of_the_scope_that_was_never_seen_is_named():
    scope = Scope(workers=frozenset({"celery@gone"}))
    assert decide(look(50), scope=scope) == (decision(None, None, Reason.UNKNOWN_SIZE, name="celery@gone"),)


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


def test_a_shadow_reports_what_the_other_demand_would_recommend_and_changes_nothing():
    plain = Walk(prompt_policy(max_processes=64))
    shadowed = Walk(prompt_policy(max_processes=64), shadow=TargetWaitPolicy(target_wait_seconds=600))
    for walk in (plain, shadowed):
        walk.see(0, worker(busy=4))
    shadow, without = shadowed.see(20, worker(busy=4)), plain.see(20, worker(busy=4))
    assert shadow.decisions == without.decisions == (decision(4, 24, Reason.LOAD_HIGH),)
    assert (without.groups[0].shadow_recommended, shadow.groups[0].shadow_recommended) == (None, 4)


def test_each_group_keeps_the_most_urgent_target_of_its_queues():
    def desired(targets):
        walk = Walk(prompt_policy(max_processes=64), target_wait=TargetWaitPolicy(), target_waits=targets)
        walk.see(0, worker(busy=4))
        return walk.see(60, worker(busy=4)).groups[0].desired

    assert desired({"celery": 600.0}) < desired({"celery": 1.0})
    assert desired({"other": 600.0}) == desired({})


def test_each_queue_of_a_worker_has_its_own_target():
    def desired(targets):
        walk = Walk(prompt_policy(max_processes=64), target_wait=TargetWaitPolicy(), target_waits=targets)
        both = worker(busy=4, queues=("celery", "mails"))
        walk.see(0, both, queues=(queue(0), queue(0, "mails")))
        return walk.see(60, both, queues=(queue(60), queue(0, "mails"))).groups[0].desired

    # Nothing waits in mails: its target asks for nothing.
    assert desired({"celery": 600.0, "mails": 1.0}) == desired({"celery": 600.0, "mails": 600.0}) == 4
    assert desired({"celery": 1.0, "mails": 600.0}) > 4


def test_the_latency_demand_shrinks_only_once_it_has_learnt_for_a_while():
    walk = Walk(
        prompt_policy(scale_down_cooldown_seconds=15), target_wait=TargetWaitPolicy(start_worth_seconds=0.1)
    )
    causes = [walk.see(0, worker(processes=4, busy=0)).decisions[0].desired_reason for _ in range(20)]
    assert causes[0] is Reason.COOLDOWN
    assert Reason.LATENCY in causes or Reason.AT_MIN in causes


def steady(tick, name="celery@one", *, base=0, size=4, service=4):
    """A worker that is always busy and ends a task of each process every ``service`` seconds."""
    return worker(name, processes=size, busy=size, completed=base + tick // service * size)


def test_a_worker_that_answers_again_leaves_what_is_learnt_as_it_was():
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
    before = walk.state.groups["celery",].target_wait
    missed = steady(240)._replace(queues=(), queues_known=False)
    plan = walk.see(0, missed)
    assert [one.group.queues for one in plan.groups] == [("celery",)]
    after = walk.state.groups["celery",].target_wait
    assert after == before._replace(last=after.last, runs=after.runs, standing=after.standing)
    assert after.standing.served.mean_seconds(240.0) == before.standing.served.mean_seconds(240.0)
    assert after.standing.came.per_second == before.standing.came.per_second
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


LOOKS = {"min_interval_seconds": 0.5, "interval_seconds": 2.0}


def quick(completed, *names):
    """Workers that end 50 short tasks a second each, with more of them at hand all the time."""
    return [worker(name, 2, busy=2, reserved=4, completed=completed, start_seconds=1.0) for name in names]


def test_a_worker_that_does_not_answer_makes_no_pool_grow_beyond_what_the_target_wait_asks_for():
    walk = Walk(
        prompt_policy(max_processes=64), target_wait=TargetWaitPolicy(target_wait_seconds=60), **LOOKS
    )
    for tick in range(60):
        walk.see(200, *quick(100 * tick, "a", "b", "c"), after=2)
    held = decision(2, 2, Reason.PEER_UNRESPONSIVE, name="a")
    for tick in range(60, 67):
        plan = walk.see(200, *quick(100 * tick, "a", "b"), after=2)
        assert plan.decisions == (
            held,
            held._replace(worker="b"),
            decision(None, None, Reason.UNKNOWN_SIZE, name="c"),
        )
    plan = walk.see(200, *quick(6700, "a", "b", "c"), after=2)
    assert {one.reason for one in plan.decisions} == {Reason.LATENCY}
    assert 0.03 < plan.groups[0].service_seconds < 0.05


@pytest.mark.parametrize("names", ["a", "ab"])
def test_what_waits_after_an_outage_has_not_all_come_at_its_beginning(names):
    policy = prompt_policy(max_processes=64, stale_after_seconds=15)
    walk = Walk(policy, target_wait=TargetWaitPolicy(target_wait_seconds=30), **LOOKS)
    for tick in range(60):
        walk.see(0, *quick(100 * tick, *names), after=2)
    for _ in range(30):  # nothing can be read: the workers go on, and are forgotten on the way
        others = worker("other", 1, queues=("mails",))
        walk.see(None, others, queues=(queue(None), queue(0, "mails")), after=2)
    plan = walk.see(40, *quick(9000, *names), after=2)
    sizes = [one.target for one in plan.decisions if one.worker in names]
    assert sum(sizes) <= 4 * len(names)  # 40 wait of thousands that came in that minute
    tick_seconds = walk.state.groups["celery",].target_wait.tick_seconds
    assert 2 <= tick_seconds < 6


def slow(name, size):
    """A worker whose tasks take ten seconds; none has ended for a while."""
    queues = ("celery", "mails") if name in "mn" else ("celery",)
    return worker(name, size, busy=size, completed=0, start_seconds=1.0, queues=queues)


def aged(change, *names):
    """By look after a dozen tasks came: the oldest wait, and whether a worker grows.

    The workers are the first of ``names``, and from look ``change`` on the second: m and n consume another
    queue too.
    """
    policy = prompt_policy(max_processes=40, stale_after_seconds=0.5)
    walk = Walk(policy, target_wait=TargetWaitPolicy(target_wait_seconds=10), **LOOKS)
    for tick in range(60):
        ended = tick // 10
        workers = (slow(name, 4)._replace(completed=4 * ended) for name in names[0])
        walk.see(0, *workers, queues=(queue(0), queue(0, "mails")))
    found = []
    for tick in range(1, 11):
        there = names[tick >= change]
        workers = (slow(name, 4)._replace(completed=20) for name in there)
        plan = walk.see(12, *workers, queues=(queue(12), queue(0, "mails")))
        grows = any(one.target > 4 for one in plan.decisions)
        found.append((round(plan.groups[0].oldest_wait_seconds), grows))
    return found


@pytest.mark.parametrize(
    "names",
    [
        ("a", "a"),
        ("a", "ab"),
        ("ab", "a"),
        ("ab", "abc"),
        pytest.param(("a", "am"), id="another queue is theirs from now on"),
        pytest.param(("am", "a"), id="another queue is theirs no more"),
        pytest.param(("mn", "mnb"), id="one more consumes one of two queues that were consumed alike"),
        pytest.param(("mnb", "mn"), id="two queues are consumed alike from now on"),
    ],
)
def test_tasks_that_wait_keep_their_age_when_a_worker_joins_or_leaves(names):
    assert aged(6, *names) == [(age, age >= 9) for age in range(1, 11)]


@pytest.mark.parametrize("names", ["a", "ab"])
@pytest.mark.parametrize(("target", "other", "grows"), [(0.5, 600.0, True), (600.0, 0.5, False)])
def test_a_target_of_its_own_is_the_same_to_a_queue_as_the_one_of_all(names, target, other, grows):
    def targets(default, own):
        policy = prompt_policy(max_processes=64)
        walk = Walk(
            policy, target_wait=TargetWaitPolicy(target_wait_seconds=default), target_waits=own, **LOOKS
        )
        for tick in range(60):
            workers = [slow(name, 2)._replace(completed=tick // 5 * 2) for name in names]
            walk.see(0, *workers, after=2)
        walk.see(30, *(one._replace(reserved=2) for one in workers), after=2)
        plan = walk.see(30, *(one._replace(reserved=2) for one in workers), after=2)
        return [one.target for one in plan.decisions]

    assert targets(other, {"celery": target}) == targets(target, {})
    assert (sum(targets(target, {})) > 2 * len(names)) is grows


def test_a_queue_with_time_to_spare_is_not_kept_to_the_target_of_another_that_no_growth_keeps():
    walk = Walk(
        prompt_policy(max_processes=64),
        target_wait=TargetWaitPolicy(target_wait_seconds=0.5),
        target_waits={"mails": 600.0},
        **LOOKS,
    )
    both = slow("a", 4)._replace(queues=("celery", "mails"))
    for tick in range(60):
        walk.see(0, both._replace(completed=tick // 5 * 4), queues=(queue(0), queue(0, "mails")), after=2)
    plan = walk.see(0, both, queues=(queue(0), queue(40, "mails")), after=2)
    assert plan.decisions == (decision(4, 4, Reason.LATENCY, name="a"),)


def busy_walk(names, depths, *, reserved=0):
    """Workers that are busy throughout: of each tick, the size of all and whether a look is due sooner."""
    walk = Walk(Policy(max_processes=16), target_wait=TargetWaitPolicy(), **LOOKS)
    sizes, found = dict.fromkeys(names, 2), []
    for tick, waiting in enumerate(depths):
        queues = tuple(queue(depth, name) for name, depth in waiting.items())
        workers = (
            worker(
                name,
                size,
                busy=size,
                reserved=reserved,
                completed=4 * tick,
                queues=tuple(waiting),
                start_seconds=1.0,
            )
            for name, size in sizes.items()
        )
        plan = walk.see(0, *workers, after=2, queues=queues)
        sizes = {one.worker: one.target or 0 for one in plan.decisions}
        found.append((sum(sizes.values()), plan.due_at < walk.at + 2))
    return found


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_a_backlog_that_can_be_read_no_longer_neither_grows_a_pool_nor_has_it_looked_at_sooner(names):
    depths = [{"q": 0}] * 10 + [{"q": None}] * 60
    assert set(busy_walk(names, depths, reserved=2)[10:]) == {(2 * len(names), False)}


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_the_tasks_of_one_queue_get_older_though_another_one_can_never_be_read(names):
    depths = [{"q": 30, "broken": None}] * 20
    # Those that run start some of the 30 before a new process could.
    assert busy_walk(names, depths)[-1][0] >= 15 * len(names)


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_tasks_that_come_and_go_are_no_older_where_another_queue_can_be_read_no_longer(names):
    depths = [{"q": 3 * (tick % 2), "broken": 0 if tick < 3 else None} for tick in range(60)]
    assert busy_walk(names, depths)[-1][0] == 2 * len(names)


def test_tasks_that_run_are_seen_where_another_worker_does_not_say_what_it_does():
    walk = Walk(prompt_policy(max_processes=20))
    for waiting in (0, 10):
        walk.see(waiting, worker("a", 2), worker("b", 2))
    plans = [
        walk.see(10, worker("a", 2, busy=2, reserved=2, completed=tick), worker("b", 2, busy=None), after=2)
        for tick in range(20)
    ]
    assert {plan.groups[0].blocked_by for plan in plans} == {None}


def test_others_take_what_a_worker_that_is_held_would_take():
    held = Override(held_workers=frozenset({"a"}))
    found = decide(look(6, worker("a", 1, busy=1), worker("b", 4, busy=4), override=held))
    assert found == (
        decision(1, 6, Reason.LOAD_HIGH, name="a", target=1, reason=Reason.HELD),
        decision(4, 10, Reason.LOAD_HIGH, name="b"),
    )


def test_a_worker_that_refused_is_tried_again_after_a_pause():
    walk = Walk(prompt_policy(settle_seconds=10))
    walk.see(6, worker(busy=4))
    walk.sent(10, result=Result.REFUSED)
    reasons = [walk.see(6, worker(busy=4)).decisions[0].reason for _ in range(11)]
    assert reasons == [Reason.REFUSED] * 9 + [Reason.LOAD_HIGH] * 2
