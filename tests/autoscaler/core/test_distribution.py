"""From the recommendation for a group to a decision for each of its workers."""

from __future__ import annotations

from autoscaler.core.decider import Decider
from autoscaler.core.groups import Scope
from autoscaler.core.model import Bounds, Override, Reason, Result
from autoscaler.core.state import State
from tests.support.builders import Walk, container, decide, decision, look, prompt_policy, queue, worker


def test_one_sidecar_for_each_worker_computes_the_numbers_of_one_daemon():
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
        "celery@b": bounds._replace(cpu_processes=None),
        "celery@gone": None,
    }
    assert [one.worker for one in plan.peers] == ["celery@b"]
