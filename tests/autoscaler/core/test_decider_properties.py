"""What must hold for every policy and every history: drawn, both of them.

The histories are played by a worker that obeys, late or never, and changes on its own as real ones do.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core import capacity
from autoscaler.core.decider import Decider
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.groups import Scope
from autoscaler.core.model import (
    Action,
    ContainerReading,
    Observation,
    Override,
    QueueReading,
    Reason,
    Result,
    WorkerReading,
)
from autoscaler.core.policy import MAX_PROCESSES, Policy
from autoscaler.core.state import State
from autoscaler.sensors.reports import parse_report
from tests.support.builders import outcome

MIB = 1024 * 1024
FORCED = {
    Reason.AT_MIN,
    Reason.AT_MAX,
    Reason.CPU_CEILING,
    Reason.MEMORY_CEILING,
    Reason.MEMORY_BREACH,
    Reason.MEMORY_PRESSURE,
    Reason.MEMORY_BREACH,
    Reason.UNKNOWN_LIMIT,
}

seconds = st.sampled_from([0.0, 1.0, 4.0, 15.0, 60.0])


@st.composite
def policies(draw):
    low = draw(st.integers(1, 12))
    return Policy(
        min_processes=low,
        max_processes=draw(st.none() | st.integers(low, 24)),
        scale_up_threshold=draw(st.sampled_from([1.0, 1.5, 4.0])),
        scale_down_threshold=draw(st.sampled_from([0.0, 0.6, 1.0])),
        scale_up_delay_seconds=draw(seconds),
        scale_down_delay_seconds=draw(seconds),
        stabilization_seconds=draw(seconds),
        scale_up_cooldown_seconds=draw(seconds),
        scale_down_cooldown_seconds=draw(seconds),
        max_step_up=draw(st.integers(1, 20)),
        max_step_down=draw(st.integers(1, 20)),
        processes_per_core=draw(st.sampled_from([0.5, 1.0, 3.0])),
    )


containers = st.none() | st.builds(
    ContainerReading,
    cpu_limit_cores=st.none() | st.floats(0.1, 16),
    cpu_limited=st.booleans(),
    cpu_usage_ratio=st.none() | st.floats(0, 1.2),
    memory_limit_bytes=st.none() | st.integers(1, 64).map(lambda n: n * 100 * MIB),
    memory_limited=st.booleans(),
    memory_used_bytes=st.none() | st.integers(0, 7000).map(lambda n: n * MIB),
    child_rss_bytes=st.lists(st.integers(0, 500).map(lambda n: n * MIB), max_size=4).map(tuple),
)
counts = st.none() | st.integers(0, 40)
scopes = st.sampled_from([frozenset(), frozenset({"w0"}), frozenset({"w0", "w2"})])
overrides = st.builds(
    Override,
    paused=st.booleans(),
    min_processes=st.none() | st.integers(1, 30),
    max_processes=st.none() | st.integers(1, 30),
    held_workers=st.frozensets(st.sampled_from(["w0", "w1"]), max_size=1),
) | st.just(Override())


demands = st.none() | st.builds(
    TargetWaitPolicy,
    target_wait_seconds=st.sampled_from([0.1, 5.0, 600.0]),
    start_worth_seconds=st.sampled_from([0.1, 25.0, 1000.0]),
    release_caution=st.sampled_from([0.0, 1.5, 10.0]),
)


@st.composite
def readings(draw, name, size):
    return WorkerReading(
        name=name,
        processes=size,
        busy=draw(counts),
        reserved=draw(counts),
        completed=draw(st.sampled_from([None, 0, 7, 10**6])),
        uptime_seconds=draw(st.sampled_from([None, 1.0, 3600.0])),
        queues_known=bool(draw(st.integers(0, 5))),
        queues=draw(st.sampled_from([("a",), ("b",), ("a", "b")])),
        companion=draw(st.booleans()),
        autoscale=draw(st.integers(0, 9)) == 0,
        container=draw(containers),
        resizers=draw(st.sampled_from([None, (), (("other", 3.0),), (("other", 5000.0),)])),
    )


@st.composite
def histories(draw):
    """A policy, a demand and some ticks; the sizes are filled in by the play."""
    ticks = draw(st.lists(st.sampled_from([0.5, 1.0, 5.0, 20.0, 90.0, 4000.0]), min_size=1, max_size=10))
    return draw(policies()), draw(demands), ticks, draw(st.data())


def play(policy, demand, ticks, data):
    """Yield (observation, plan, next state) for each tick, over workers that also come and go."""
    decider = Decider(
        policy=policy,
        target_wait=demand,
        scope=Scope(workers=data.draw(scopes)),
        interval_seconds=data.draw(st.sampled_from([None, 2.0, 300.0])),
    )
    state, at, outcomes = State(), 100.0, []
    sizes = {"w0": data.draw(st.integers(0, 12)), "w1": data.draw(st.integers(1, 12))}
    for step in ticks:
        at += step
        joins, leaves = (data.draw(st.sampled_from([None] * 6 + ["w0", "w1", "w2"])) for _ in range(2))
        if joins:
            sizes.setdefault(joins, data.draw(st.integers(1, 12)))
        if leaves in sizes and len(sizes) > 1:
            del sizes[leaves]
        answering = [name for name in sizes if data.draw(st.integers(0, 5))]
        observation = Observation(
            at=at,
            queues=tuple(QueueReading(name=name, waiting=data.draw(counts)) for name in "ab"),
            workers=tuple(data.draw(readings(name, sizes[name])) for name in answering),
            override=data.draw(overrides),
            leader=bool(data.draw(st.integers(0, 5))),
            outcomes=tuple(outcomes),
        )
        outcomes = []
        state, plan = decider.decide(state, observation)
        yield observation, plan, state
        for decision in plan.decisions:
            if decision.action is Action.HOLD:
                continue
            obeys, result = data.draw(
                st.sampled_from(
                    [
                        (True, Result.DONE),
                        (True, Result.UNKNOWN),
                        (False, Result.UNKNOWN),
                        (False, Result.REFUSED),
                    ]
                )
            )
            outcomes.append(outcome(decision.target, name=decision.worker, result=result, sent_at=at))
            if obeys:
                sizes[decision.worker] = decision.target


@settings(max_examples=40)
@given(histories())
def test_every_command_is_legal_and_within_every_bound(history):
    policy = history[0]
    for observation, plan, _ in play(*history):
        seen = {reading.name: reading for reading in observation.workers}
        for decision in plan.decisions:
            if decision.action is Action.HOLD:
                continue
            reading = seen[decision.worker]  # never on a worker that did not answer
            override = observation.override
            most = policy.max_processes if override.max_processes is None else override.max_processes
            least = policy.min_processes if override.min_processes is None else override.min_processes
            assert type(decision.target) is int
            assert decision.target >= 1
            assert decision.current == reading.processes
            assert reading.unsupported is None
            assert observation.leader
            assert not override.paused
            assert decision.worker not in override.held_workers
            ceiling = capacity.lowest(
                capacity.unlearnt_bounds(policy, reading.container)._replace(max_processes=None)
            )
            if most is not None and decision.action is Action.GROW:
                assert decision.target <= most
            if ceiling is not None:
                assert decision.target <= ceiling.processes or decision.reason is Reason.SHRINK_LIMITED
            if decision.action is Action.SHRINK and decision.reason not in FORCED:
                assert decision.target >= min(least, decision.target if most is None else most)


@settings(max_examples=40)
@given(histories())
def test_the_load_shrinks_nothing_on_data_that_is_not_known(history):
    for observation, plan, _ in play(*history):
        unknown = {queue.name for queue in observation.queues if queue.waiting is None}
        for decision in plan.decisions:
            load = {Reason.LOAD_LOW, Reason.STEP, Reason.LATENCY}
            if decision.action is Action.SHRINK and decision.reason in load:
                group = next(g for g in plan.groups if decision.worker in g.group.workers)
                assert not unknown.intersection(group.group.queues)
                assert group.work.complete


@settings(max_examples=40)
@given(histories())
def test_a_worker_without_companion_never_shrinks_unless_wholly_idle(history):
    for observation, plan, _ in play(*history):
        seen = {reading.name: reading for reading in observation.workers}
        for decision in plan.decisions:
            if decision.action is Action.SHRINK and not seen[decision.worker].companion:
                group = next(g for g in plan.groups if decision.worker in g.group.workers)
                assert (group.work.tasks, group.work.complete) == (0, True)


@settings(max_examples=40)
@given(histories())
def test_one_action_is_outstanding_for_each_worker_and_cooldowns_hold(history):
    policy, demand = history[:2]
    sent, changed, sizes = {}, {}, {}
    for observation, plan, _ in play(*history):
        for reading in observation.workers:
            restarted = reading.name in sizes and _younger(reading, sizes[reading.name])
            if reading.name not in sizes or sizes[reading.name].processes != reading.processes or restarted:
                changed[reading.name] = observation.at
                sent.pop(reading.name, None)
            sizes[reading.name] = reading
        companions = {reading.name for reading in observation.workers if reading.companion}
        for decision in plan.decisions:
            if decision.action is Action.HOLD:
                continue
            if decision.worker in sent and decision.worker not in companions:
                assert observation.at - sent[decision.worker] >= policy.settle_seconds
            sent[decision.worker] = observation.at
            if decision.reason not in FORCED and demand is None:
                passed = observation.at - changed[decision.worker]
                grows = decision.action is Action.GROW
                cooldown = policy.scale_up_cooldown_seconds if grows else policy.scale_down_cooldown_seconds
                assert passed >= cooldown


def _younger(now, before):
    return None not in (now.uptime_seconds, before.uptime_seconds) and (
        now.uptime_seconds < before.uptime_seconds
    )


@settings(max_examples=40)
@given(histories())
def test_the_memory_stays_bounded(history):
    for _, _, state in play(*history):
        assert len(state.workers) <= 3
        assert len(state.groups) <= 3
        for memory in state.groups.values():
            sizes = [size for _, size in memory.window]
            assert sizes == sorted(set(sizes), reverse=True)


@pytest.mark.slow
@settings(max_examples=40)
@given(histories())
def test_only_a_worker_of_others_that_was_asked_again_and_again_counts_as_one_that_does_not_grow(history):
    asked = {}
    for observation, plan, state in play(*history):
        assert plan.without_growth <= state.peers.keys() <= {one.worker for one in plan.peers}
        assert not {one.worker for one in plan.decisions} & {one.worker for one in plan.peers}
        answering = {reading.name: reading for reading in observation.workers}
        for one in plan.peers:
            if one.current is not None:
                same = asked.get(one.worker, (None, 0))
                looks = same[1] if same[0] == one.current else 0
                looks += one.target > one.current
                asked[one.worker] = (one.current, looks)
        asked = {name: seen for name, seen in asked.items() if name in {one.worker for one in plan.peers}}
        for name in plan.without_growth:
            assert asked[name][1] >= 5  # the first look and four that count
            if name in answering:
                assert answering[name].resizers != (("other", 3.0),)


@given(policies(), st.integers(0, 200), st.integers(1, 24), st.integers(0, 24))
def test_more_work_never_asks_for_fewer_processes(policy, waiting, size, busy):
    def target(depth):
        seen = Observation(
            at=0.0,
            queues=(QueueReading(name="a", waiting=depth),),
            workers=(
                WorkerReading(
                    name="w", processes=size, busy=min(busy, size), reserved=0, queues=("a",), companion=True
                ),
            ),
        )
        prompt = replace(
            policy,
            scale_up_delay_seconds=0,
            scale_down_delay_seconds=0,
            scale_up_cooldown_seconds=0,
            scale_down_cooldown_seconds=0,
            stabilization_seconds=0,
        )
        return Decider(policy=prompt).decide(State(), seen)[1].decisions[0].target

    assert target(waiting) <= target(waiting + 1)


# Reports: whoever sends them.

numbers = st.integers(0, 9) | st.sampled_from(
    [None, -1, 0.5, 5e-324, 1e-9, 2**31, 2**53, -(2.0**53), float("nan"), float("inf"), "1", True]
)
OF_WORKER = [
    "size",
    "retiring",
    "busy",
    "reserved",
    "scheduled",
    "completed",
    "uptime_seconds",
    "prefetch",
    "start_seconds",
    "rate_limited",
    "discarded",
    "parent_rss_bytes",
    "worker_memory_bytes",
]
OF_CONTAINER = [
    "cpu_limit_cores",
    "cpu_usage_seconds",
    "throttled_seconds",
    "memory_limit_bytes",
    "memory_used_bytes",
    "oom_kills",
    "memory_failcnt",
    "memory_pressure",
]
limits = st.fixed_dictionaries(
    {
        **dict.fromkeys(OF_CONTAINER, numbers),
        "cpu_limited": st.booleans(),
        "memory_limited": st.booleans(),
        "container_id": st.just("c"),
    }
)
reports = st.fixed_dictionaries(
    {
        **dict.fromkeys(OF_WORKER, numbers),
        "pool": st.just("prefork"),
        "queues": st.sampled_from([["a"], ["a", "a"], ["a", "b"], []]),
        "container": limits,
        "child_peak_bytes": st.fixed_dictionaries({"max": numbers}),
    }
)


@settings(max_examples=40)
@given(policies(), demands, st.lists(st.tuples(reports, reports), min_size=1, max_size=5))
def test_whatever_workers_report_every_tick_ends_with_sizes_that_a_worker_takes(policy, demand, ticks):
    decider, state = Decider(policy=policy, target_wait=demand, interval_seconds=2.0), State()
    for tick, pair in enumerate(ticks):
        seen = Observation(
            at=2.0 * tick,
            queues=(QueueReading(name="a", waiting=1_000_000), QueueReading(name="b", waiting=3)),
            workers=tuple(parse_report(f"w{number}", report) for number, report in enumerate(pair)),
        )
        state, plan = decider.decide(state, seen)
        assert all(group.steps for group in plan.groups)
        for decision in plan.decisions:
            if decision.action is Action.GROW:
                assert 1 <= decision.target <= (policy.max_processes or MAX_PROCESSES)


# Progress: what is safe because it never does anything is no autoscaler.


@st.composite
def fleets(draw):
    """A policy and workers that obey at once, some of them not without being asked for a while."""
    policy = draw(policies())
    names = [f"w{number}" for number in range(draw(st.integers(1, 3)))]
    refuses = draw(st.sampled_from([None, *names[1:]]))
    return policy, draw(demands), {name: draw(st.integers(1, 8)) for name in names}, refuses


def live(policy, demand, sizes, refuses, *, waiting, busy, step):
    """The sizes after 200 ticks of ``step`` seconds under a load that stays."""
    decider, state, outcomes, completed, at = Decider(policy=policy, target_wait=demand), State(), [], 0, 0.0
    for _ in range(200):
        at += step
        completed += 2 if busy else 0
        workers = tuple(
            WorkerReading(
                name=name,
                processes=size,
                busy=size if busy else 0,
                reserved=0,
                completed=completed,
                queues=("a",),
                companion=True,
            )
            for name, size in sizes.items()
        )
        seen = Observation(
            at=at,
            queues=(QueueReading(name="a", waiting=waiting),),
            workers=workers,
            outcomes=tuple(outcomes),
        )
        state, plan = decider.decide(state, seen)
        outcomes = []
        for decision in plan.decisions:
            if decision.action is Action.HOLD:
                continue
            refused = decision.worker == refuses
            result = Result.REFUSED if refused else Result.DONE
            outcomes.append(outcome(decision.target, name=decision.worker, result=result, sent_at=at))
            if not refused:
                sizes[decision.worker] = decision.target
    return sizes


@pytest.mark.slow
@settings(max_examples=30)
@given(fleets())
def test_work_that_waits_for_long_brings_every_worker_that_obeys_to_its_maximum(fleet):
    policy, demand, sizes, refuses = fleet
    policy = replace(policy, max_processes=max(policy.min_processes, policy.max_processes or 24))
    found = live(policy, demand, dict(sizes), refuses, waiting=10_000, busy=True, step=10.0)
    expected = {name: size if name == refuses else policy.max_processes for name, size in sizes.items()}
    assert found == expected


@pytest.mark.slow
@settings(max_examples=30)
@given(fleets())
def test_a_fleet_that_is_idle_for_long_comes_down_to_its_minimum(fleet):
    policy, demand, sizes, refuses = fleet
    policy = replace(
        policy,
        max_processes=max(policy.min_processes, policy.max_processes or 24),
        scale_down_threshold=max(0.5, policy.scale_down_threshold),
    )
    found = live(policy, demand, dict(sizes), refuses, waiting=0, busy=False, step=30.0)
    total = sum(size for name, size in found.items() if name != refuses)
    obeying = len(sizes) - (refuses is not None)
    assert total == obeying * policy.min_processes
