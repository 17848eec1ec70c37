"""Work that more processes would not run: no growth for it, and a reason that says why."""

from __future__ import annotations

import pytest

from autoscaler.core.blockage import STALLED_AFTER_SECONDS
from autoscaler.core.decider import Decider, Mode
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.model import Reason, WorkerLayout
from autoscaler.core.state import State
from autoscaler.report.deployment import NOT_CONSUMING_STATE
from autoscaler.report.status import TickRecord, conditions
from tests.support.builders import look, prompt_policy, worker

ETA = WorkerLayout(eta_task_limit=10)
DEMANDS = [None, TargetWaitPolicy()]


def plans(*looks, demand=None):
    """The plan of each tick of one decider."""
    decider, state, found = Decider(policy=prompt_policy(), target_wait=demand), State(), []
    for one in looks:
        state, plan = decider.decide(state, one)
        found.append(plan)
    return found


def run(waiting, demand, *, seconds=10, **fields):
    """The last decision after ticks of 2 s with the same picture."""
    looks = [look(waiting, worker("w", 1, **fields), at=1000.0 + at) for at in range(0, seconds + 1, 2)]
    return plans(*looks, demand=demand)[-1].decisions[0]


@pytest.mark.parametrize("demand", DEMANDS)
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"rate_limited": 31}, Reason.RATE_LIMITED),
        ({"consuming": False}, Reason.NOT_CONSUMING),
    ],
)
def test_no_growth_for_what_more_processes_would_not_run(demand, fields, reason):
    decision = run(200, demand, **fields)
    assert (decision.target, decision.reason) == (1, reason)


@pytest.mark.parametrize("demand", DEMANDS)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"rate_limited": 31, "busy": 1},  # no process is idle: the other tasks need more
        {"rate_limited": 31, "reserved": 2},
        {"rate_limited": 0},
        {"consuming": None},
        {"layout": ETA, "scheduled": 9},
        {"layout": WorkerLayout(eta_task_limit=None), "scheduled": 5000},
    ],
)
def test_growth_where_more_processes_help(demand, fields):
    assert run(200, demand, **fields).target == 10


@pytest.mark.parametrize("demand", DEMANDS)
def test_messages_behind_a_full_eta_limit_are_no_backlog(demand):
    assert run(990, demand, layout=ETA, scheduled=10).target == 1
    # What is fetched and could run is: growing helps it.
    assert run(990, demand, layout=ETA, scheduled=10, busy=1, reserved=5).target > 1


def test_a_group_with_one_worker_that_still_fetches_has_its_backlog():
    full, free = worker("a", 1, layout=ETA, scheduled=10), worker("b", 1, layout=ETA, scheduled=0)
    (plan,) = plans(look(50, full, free))
    assert plan.groups[0].work.waiting == 50


def test_a_fleet_that_takes_nothing_for_long_stops_growing_and_says_so():
    def picture(at, size, completed=7, waiting=50):
        return look(waiting, worker("w", size, completed=completed), at=1000.0 + at)

    quiet = [picture(at, 10) for at in range(0, int(STALLED_AFTER_SECONDS) + 3, 2)]
    *early, late = plans(*quiet)
    assert [plan.groups[0].blocked_by for plan in early[:5]] == [None] * 5
    assert late.groups[0].blocked_by is Reason.NOT_CONSUMING
    record = TickRecord(observation=quiet[-1], plan=late, workers={"w": quiet[-1].workers[0]})
    assert conditions(record, Mode.ACT) == {("not_consuming", "w"): NOT_CONSUMING_STATE}
    # One task that ends, or an empty queue, ends it.
    assert plans(*quiet, picture(40, 10, completed=8))[-1].groups[0].blocked_by is None
    assert plans(*quiet, picture(40, 10, waiting=0))[-1].groups[0].blocked_by is None


def test_discarded_tasks_leave_what_is_learnt_as_it_was():
    """5,000 revoked tasks come and are thrown away in two ticks, beside 1 task of 4 s each 4 s."""

    def picture(at, waiting=0, discarded=0):
        shown = worker("w", 2, busy=1, completed=at // 4, discarded=discarded)
        return look(waiting, shown, at=1000.0 + at)

    calm = [picture(at) for at in range(0, 400, 2)]
    flood = [picture(400, 5000), picture(402, 2500, 2500), picture(404, 0, 5000)]
    after = [picture(at, 0, 5000) for at in range(406, 500, 2)]
    found = [plan.groups[0] for plan in plans(*calm, *flood, *after, demand=TargetWaitPolicy())]
    before, last = found[len(calm) - 1], found[-1]
    assert last.service_seconds == pytest.approx(before.service_seconds, rel=0.1)
    assert last.arrivals_per_second == pytest.approx(before.arrivals_per_second, rel=0.5)


def test_the_last_end_of_a_task_is_remembered_for_keda():
    looks = [
        look(0, worker("w", 1, completed=count), at=1000.0 + at) for at, count in ((0, 5), (2, 6), (4, 6))
    ]
    assert [plan.groups[0].ended_at for plan in plans(*looks)] == [None, 1002.0, 1002.0]
