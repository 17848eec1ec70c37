"""What each worker needs, and what the queues that several consume need, along the edges between them."""

from __future__ import annotations

import math

import pytest

from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.model import Reason
from tests.support.builders import Walk, prompt_policy, queue, worker
from tests.support.fleet_model import FleetModel, poisson

IMAGES_AND_MAILS = (
    worker("celery@w1", 1, queues=("images", "mails")),
    worker("celery@w2", 1, queues=("mails",)),
)


@pytest.mark.parametrize(
    "decider", [{"target_wait": TargetWaitPolicy()}, {}], ids=["target wait", "thresholds"]
)
def test_a_worker_does_not_grow_for_a_queue_that_it_does_not_consume(decider):
    walk = Walk(prompt_policy(), **decider)
    for _ in range(10):
        plan = walk.see(0, *IMAGES_AND_MAILS, queues=(queue(100, "images"), queue(0, "mails")))
    assert [one.desired for one in plan.decisions] == [10, 1]
    assert plan.decisions[0].reason is Reason.AT_MAX


@pytest.mark.parametrize(
    "decider", [{"target_wait": TargetWaitPolicy()}, {}], ids=["target wait", "thresholds"]
)
def test_a_queue_that_two_workers_consume_goes_where_room_is(decider):
    walk = Walk(prompt_policy(), **decider)
    for _ in range(10):
        plan = walk.see(0, *IMAGES_AND_MAILS, queues=(queue(100, "images"), queue(100, "mails")))
    assert [one.desired for one in plan.decisions] == [10, 10]


@pytest.mark.parametrize(
    "decider", [{"target_wait": TargetWaitPolicy()}, {}], ids=["target wait", "thresholds"]
)
def test_what_a_worker_has_fetched_is_a_reason_to_grow_it_and_no_other(decider):
    walk = Walk(prompt_policy(max_processes=64), **decider)
    holds = worker("celery@a", 1, busy=1, reserved=8)
    for _ in range(10):
        plan = walk.see(0, holds, worker("celery@b", 4), worker("celery@c", 4))
    desired = {one.worker: one.desired for one in plan.decisions}
    assert desired["celery@a"] > 4
    assert max(desired["celery@b"], desired["celery@c"]) <= 4
    (share, *_) = plan.groups[0].shares
    assert (share.worker, share.own, share.shared) == ("celery@a", desired["celery@a"] - 1, 0)


def test_idle_workers_shrink_while_another_one_has_tasks_to_start():
    walk = Walk(prompt_policy(max_processes=64), target_wait=TargetWaitPolicy(start_worth_seconds=0.1))
    holds = worker("celery@a", 2, busy=2, reserved=2)
    for _ in range(30):
        plan = walk.see(0, holds, worker("celery@b", 4))
    desired = {one.worker: one.desired for one in plan.decisions}
    assert desired["celery@a"] >= 2
    assert desired["celery@b"] == 1


@pytest.mark.parametrize(("waiting", "busy"), [(0, 0), (7, 4), (60, 4)])
def test_of_workers_that_share_one_queue_the_total_is_that_of_one_worker(waiting, busy):
    """Where nothing is fetched ahead, the size of a fleet is that of one pool."""

    def totals(*workers):
        walk = Walk(prompt_policy(max_processes=64), target_wait=TargetWaitPolicy())
        return [walk.see(waiting, *workers).groups[0].recommended for _ in range(8)]

    one = totals(worker(processes=8, busy=2 * busy))
    two = totals(worker("celery@a", 4, busy=busy), worker("celery@b", 4, busy=busy))
    # Caution counts for each worker: a fleet never has less.
    assert all(fleet >= single for fleet, single in zip(two, one, strict=True))
    assert all(fleet <= single + 2 for fleet, single in zip(two, one, strict=True))


@pytest.mark.parametrize(("mails", "next_look"), [(5.0, math.inf), (3.0, 1.8), (1.0, math.inf)])
def test_the_next_look_comes_in_time_for_the_queue_of_the_shortest_target(mails, next_look):
    usual = {"target_wait": TargetWaitPolicy(), "min_interval_seconds": 0.5, "interval_seconds": 2.0}
    walk = Walk(prompt_policy(), target_waits={"mails": mails}, **usual)
    plan = walk.see(0, *IMAGES_AND_MAILS, queues=(queue(0, "images"), queue(0, "mails")))
    assert plan.due_at - plan.at == pytest.approx(next_look)


@pytest.mark.parametrize(("most", "is_due"), [(64, True), (4, False)])
def test_workers_that_have_all_that_is_allowed_are_not_looked_at_sooner(most, is_due):
    walk = Walk(prompt_policy(max_processes=most), target_wait=TargetWaitPolicy())
    workers = [worker(f"celery@{number}", 4, busy=4) for number in range(2)]
    for _ in range(8):
        plan = walk.see(100, *workers)
    assert plan.due_at == (plan.at if is_due else math.inf)


@pytest.mark.parametrize("load", [0.3, 0.5, 0.8])
@pytest.mark.parametrize(("workers", "most"), [(2, 8), (4, 4)])
def test_several_workers_keep_the_target_where_one_of_their_size_does(load, workers, most):
    tasks = poisson(load, 16, 2.0, seconds=600, seed=3)
    one, several = FleetModel(1, 16, 1).run(tasks), FleetModel(workers, most, 1).run(tasks)
    assert one.share >= 0.99
    assert several.share >= 0.99
