"""Messages that need no process when they are fetched are no backlog; what waits for a full worker is."""

from __future__ import annotations

import pytest

from autoscaler.core.decider import Decider, Mode
from autoscaler.core.demand.passing import Fetched, follow
from autoscaler.core.demand.signal import Signal
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.model import WorkerLayout
from autoscaler.core.state import State
from autoscaler.report.status import TickRecord, conditions
from tests.support.builders import look, prompt_policy, queue, worker

DEMANDS = [None, TargetWaitPolicy()]


def estimates(*ticks, queues=("celery",), name="w"):
    """The estimate after each tick of (waiting, fields of the worker)."""
    state, found = Fetched(), []
    for waiting, fields in ticks:
        shown = worker(name, 1, **{"prefetch": 4, "discarded": 0, "queues": queues, **fields})
        state, passing = follow(state, [shown], {"celery": queue(waiting)})
        found.append(passing)
    return found


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        pytest.param([(0, {}), (5000, {}), (3000, {"discarded": 2000})], [0, 5000, 3000], id="all of them"),
        pytest.param(
            [(9, {}), (900, {"discarded": 90, "completed": 7, "busy": 1, "reserved": 2})],
            [9, 810],
            id="as many as of those that were fetched",
        ),
        pytest.param(
            [(0, {}), (50, {"busy": 1, "reserved": 4})], [0, 0], id="a full worker: they wait for a process"
        ),
        pytest.param(
            [(0, {}), (50, {"busy": 1, "reserved": 3, "discarded": 900})],
            [0, 0],
            id="a full worker, whatever it threw away before",
        ),
        pytest.param([(0, {}), (50, {}), (50, {})], [0, 50, 0], id="a burst is judged one look later"),
        pytest.param([(5, {}), (50, {"discarded": 1})], [5, 50], id="however few were thrown away"),
        pytest.param(
            [(9, {}), (50, {"discarded": 9}), (50, {"discarded": 9}), (50, {"discarded": 9, "busy": 1})],
            [9, 50, 50, 0],
            id="a worker that fetches nothing for a while",
        ),
        pytest.param(
            [(9, {}), (50, {"discarded": 9}), (0, {"discarded": 9}), *[(50, {"discarded": 9})] * 2],
            [9, 50, 0, 50, 0],
            id="an empty queue ends what was seen before",
        ),
        pytest.param(
            [(0, {}), (900, {"scheduled": 60, "prefetch": 64}), (600, {"scheduled": 360, "prefetch": 364})],
            [0, 900, 600],
            id="kept in the timer for their ETA",
        ),
        pytest.param(
            [
                (9, {"scheduled": 500, "prefetch": 504}),
                (90, {"scheduled": 400, "prefetch": 404, "busy": 1, "completed": 99}),
            ],
            [9, 0],
            id="tasks whose time has come have not passed",
        ),
        pytest.param(
            [(9, {}), (900, {"scheduled": 90, "prefetch": 94, "reserved": 3, "busy": 1})],
            [9, 0],
            id="a worker full of tasks that came with those for the timer",
        ),
        pytest.param([(0, {}), (50, {"prefetch": 0, "discarded": 90})], [0, 50], id="unlimited prefetch"),
        pytest.param(
            [(0, {}), (50, {"layout": WorkerLayout(prefetch_disabled=True), "busy": 1, "discarded": 90})],
            [0, 0],
            id="a full worker that fetches nothing beforehand",
        ),
        pytest.param([(0, {}), (50, {"prefetch": None, "discarded": 90})], [0, 0], id="unknown prefetch"),
        pytest.param([(0, {}), (50, {"discarded": None})], [0, 0], id="not reported"),
        pytest.param([(0, {}), (50, {"busy": None, "discarded": 90})], [0, 0], id="counts not known"),
        pytest.param([(0, {}), (50, {"consuming": False})], [0, 0], id="it fetches nothing at all"),
        pytest.param([(0, {}), (None, {"discarded": 90})], [0, 0], id="unknown depth"),
        pytest.param([(0, {"scheduled": 4}), (50, {"scheduled": 4})], [0, 0], id="full of ETA tasks"),
    ],
)
def test_what_waits_is_judged_by_what_was_fetched(ticks, expected):
    assert estimates(*ticks) == expected


def test_another_queues_backlog_counts_in_full():
    assert estimates((0, {}), (900, {"discarded": 500}), queues=("mails",)) == [0, 0]


def test_a_worker_that_joins_or_restarts_throws_nothing_away_by_that():
    assert estimates((0, {"discarded": 4000}), (50, {"discarded": 0})) == [0, 50]
    state, _ = follow(Fetched(), [worker("a", discarded=0, prefetch=4)], {"celery": queue(9)})
    joined = [worker("a", discarded=0, prefetch=4), worker("b", discarded=9000, prefetch=4)]
    assert follow(state, joined, {"celery": queue(50)})[1] == 0


@pytest.mark.parametrize(("waiting", "passing"), [(5, 6), (5, -1)])
def test_no_more_can_be_thrown_away_than_wait(waiting, passing):
    with pytest.raises(ValueError, match=f"passing is {passing}; it is from 0 to waiting, which is 5"):
        Signal(at=0.0, waiting=waiting, busy=0, reserved=0, processes=1, passing=passing)


def flood(demand):
    """Each plan of 5,000 expired messages that come beside one task of 4 s each 4 s, at 2 s a tick.

    First come, first served: no task is fetched until the last expired message is.
    """

    def picture(at, waiting=0, discarded=0, *, busy=1, reserved=0, ended=None):
        counts = {"busy": busy, "reserved": reserved, "completed": at // 4 if ended is None else ended}
        return look(waiting, worker("w", 1, discarded=discarded, prefetch=4, **counts), at=1000.0 + at)

    looks = [picture(at) for at in range(0, 400, 2)]
    looks += [picture(400, 5000, 3)]
    looks += [picture(400 + 2 * n, 5000 - 1000 * n, 1000 * n, busy=0, ended=101) for n in range(1, 5)]
    looks += [picture(at, 0, 5000) for at in range(410, 500, 2)]
    looks += [picture(500 + at, 200, 5000, reserved=3) for at in (0, 2, 4)]
    decider, state, plans = Decider(policy=prompt_policy(), target_wait=demand), State(), []
    for one in looks:
        state, plan = decider.decide(state, one)
        plans.append(plan)
    return plans


@pytest.mark.parametrize("demand", DEMANDS)
def test_thousands_of_expired_messages_grow_no_pool_and_a_burst_after_them_does(demand):
    *during, _, _, after = [plan.decisions[0].target for plan in flood(demand)]
    assert (set(during), after) == ({1}, 10)


def test_thousands_of_expired_messages_leave_what_is_learnt_as_it_was():
    learnt = [plan.groups[0] for plan in flood(TargetWaitPolicy())][150:250]
    assert [one.service_seconds for one in learnt] == pytest.approx([4.0] * 100, rel=0.2)
    assert [one.arrivals_per_second for one in learnt] == pytest.approx([0.25] * 100, abs=0.1)


@pytest.mark.parametrize("kind", ["discarded", "scheduled"])
def test_workers_that_let_messages_pass_for_long_are_no_workers_that_consume_nothing(kind):
    def picture(at):
        shown = worker("w", 1, **{"discarded": 0, "prefetch": 4 + 300 * at, kind: 300 * at})
        return look(100_000 - 300 * at, shown, at=1000.0 + at)

    decider, state = Decider(policy=prompt_policy(), target_wait=TargetWaitPolicy()), State()
    for at in range(0, 120, 2):
        state, plan = decider.decide(state, picture(at))
    record = TickRecord(observation=picture(118), plan=plan, workers={"w": picture(118).workers[0]})
    assert conditions(record, Mode.ACT) == {}
    assert plan.decisions[0].target == 1
