"""Workers of another autoscaler that do not take their share of a growth, and who takes it then."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from autoscaler.core.decider import Decider, Mode
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.groups import Scope
from autoscaler.core.model import Action, Override
from autoscaler.core.policy import Policy
from autoscaler.core.state import State
from tests.support.builders import look, outcome, prompt_policy, worker

MINE = Scope(workers=frozenset({"a"}))
PAUSED = Override(paused=True)


class Sidecar:
    """The autoscaler of worker a alone: ten processes at most for each; times are seconds since its start."""

    def __init__(self, policy=None, **settings):
        self.decider = Decider(policy=policy or prompt_policy(), scope=MINE, **settings)
        self.state = State()

    def see(self, at, *, mine=1, peer=1, waiting=12, override=None, **report):
        """The target for a, and whether b counts as one that does not grow."""
        workers = (worker("a", mine, busy=mine, reserved=0), worker("b", peer, busy=peer or 0, **report))
        observation = look(waiting, *workers, at=1000.0 + at, override=override)
        self.state, self.plan = self.decider.decide(self.state, observation)
        [decision] = self.plan.decisions
        return decision.target, self.plan.without_growth == {"b"}


@pytest.mark.parametrize("policy", [None, TargetWaitPolicy()], ids=["thresholds", "target wait"])
def test_what_a_peer_does_not_take_for_a_minute_goes_to_the_others(policy):
    sidecar = Sidecar(target_wait=policy)
    targets = [sidecar.see(at) for at in range(0, 70, 2)]
    share = targets[20][0]
    assert 1 < share < 10
    assert targets[20:30] == [(share, False)] * 10
    assert {grows for grows, _ in targets[31:]} == {10}
    assert [named for _, named in targets[30:]] == [True] * 5


def test_a_peer_that_grows_is_counted_on():
    sidecar = Sidecar()
    for at in range(0, 200, 2):
        _, named = sidecar.see(at, peer=1 + at // 40)
        assert not named


def test_a_peer_that_is_resized_to_the_size_it_has_is_counted_on():
    sidecar = Sidecar()
    assert not any(sidecar.see(at, resizers=(("b", 3.0),))[1] for at in range(0, 200, 2))


def test_a_resize_before_the_growth_is_no_sign_of_an_autoscaler_that_takes_part():
    sidecar = Sidecar()
    seen = [sidecar.see(at, resizers=(("b", 500.0 + at),))[1] for at in range(0, 70, 2)]
    assert seen == [False] * 30 + [True] * 5


@pytest.mark.parametrize("seen", [{"peer": 2}, {"uptime_seconds": 1.0}], ids=["another size", "started anew"])
def test_it_counts_again_in_the_tick_that_shows_it(seen):
    sidecar = Sidecar()
    for at in range(0, 70, 2):
        before = sidecar.see(at)
    assert before == (10, True)
    target, named = sidecar.see(72, **seen)
    assert target < 10  # nothing is taken that it takes itself
    assert not named


def test_time_in_which_nobody_looked_does_not_count():
    sidecar = Sidecar()
    for at in range(0, 10, 2):
        sidecar.see(at)
    after_an_outage = [sidecar.see(at) for at in range(400, 410, 2)]
    assert [named for _, named in after_an_outage] == [False] * 5
    assert max(target for target, _ in after_an_outage) < 10


def test_time_in_which_it_did_not_answer_does_not_count():
    sidecar = Sidecar(prompt_policy(stale_after_seconds=600))
    sidecar.see(0)
    silent = [sidecar.see(at, peer=None)[1] for at in range(2, 200, 2)]
    back = [sidecar.see(at)[1] for at in range(200, 220, 2)]
    assert not any(silent + back)


@pytest.mark.parametrize(
    ("parameters", "interval", "seconds"),
    [
        ({}, 2.0, 60),
        ({"scale_up_delay_seconds": 600}, 2.0, 618),
        ({"scale_up_cooldown_seconds": 300}, 2.0, 318),
        ({"settle_seconds": 100}, 2.0, 108),
        ({}, 300.0, 1210),
    ],
)
def test_no_legal_delay_of_an_autoscaler_with_the_same_settings_is_longer_than_the_patience(
    parameters, interval, seconds
):
    """A growth is decided after the delay and the cooldown of one that has just started, and tried twice."""
    sidecar = Sidecar(prompt_policy(**parameters), interval_seconds=interval)
    delay = parameters.get("scale_up_delay_seconds", 0) + parameters.get("scale_up_cooldown_seconds", 0)
    named_at = next(at for at in range(0, 5000, int(interval)) if sidecar.see(at)[1])
    assert seconds <= named_at - delay <= seconds + interval


def test_delays_that_a_target_wait_does_not_have_lengthen_nothing():
    policy = prompt_policy(scale_up_delay_seconds=600, scale_up_cooldown_seconds=600)
    sidecar = Sidecar(policy, target_wait=TargetWaitPolicy(), interval_seconds=2.0)
    assert next(at for at in range(0, 5000, 2) if sidecar.see(at)[1]) == 60


def test_it_is_remembered_for_the_next_burst_within_an_hour():
    sidecar = Sidecar()
    for at in range(0, 70, 2):
        sidecar.see(at)
    for at in range(70, 3600, 10):
        sidecar.see(at, waiting=0, mine=1)
    assert sidecar.see(3600)[0] == 10
    late = Sidecar()
    for at in range(0, 70, 2):
        late.see(at)
    for at in range(70, 3700, 10):
        late.see(at, waiting=0, mine=1)
    assert late.see(3702)[0] < 10


def test_a_peer_that_does_not_answer_tells_nothing():
    sidecar = Sidecar()
    for at in range(0, 70, 2):
        sidecar.see(at)
    assert sidecar.see(70, peer=None)[1]
    assert sidecar.see(72) == (10, True)


@pytest.mark.parametrize("settings", [{"mode": Mode.DRY_RUN}, {"override": PAUSED}, {"mode": Mode.DISABLED}])
def test_nobody_is_expected_to_grow_where_nobody_is_to_be_resized(settings):
    override = settings.pop("override", None)
    sidecar = Sidecar(**settings)
    assert not any(sidecar.see(at, override=override)[1] for at in range(0, 200, 2))


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({}, 16),
        ({"override": Override(held_workers=frozenset({"b"}))}, 16),
        ({"resizers": (("b", 1.0),)}, None),
    ],
    ids=["nobody resizes it", "held", "resized by its own"],
)
def test_what_a_peer_could_have_and_does_not_get_keeps_no_target(settings, needed):
    """Forty tasks at once take 16 processes to start in time: a has 10 of 10, b has one of 10."""
    sidecar = Sidecar(target_wait=TargetWaitPolicy(), interval_seconds=2.0, min_interval_seconds=0.5)
    for at in range(0, 100, 2):
        sidecar.see(at, mine=10, waiting=0 if at < 20 else 20, completed=5 * at, **settings)
    for at in range(100, 110, 2):
        sidecar.see(at, mine=10, waiting=0, completed=500, **settings)
    for at in range(110, 116, 2):
        sidecar.see(at, mine=10, waiting=40, completed=500, **settings)
    assert (sidecar.plan.groups[0].needed, sidecar.plan.due_at) == (needed, math.inf)


def test_an_autoscaler_of_the_whole_fleet_expects_nothing_of_others():
    decider, state = Decider(policy=prompt_policy()), State()
    for at in range(0, 200, 2):
        state, plan = decider.decide(state, look(12, worker("a", 1), worker("b", 1), at=1000.0 + at))
    assert (state.peers, plan.without_growth) == ({}, frozenset())


class Fleet:
    """Workers with an autoscaler each: these look at different times, and start anew once in 1000 s or so.

    Tasks of two seconds come in bursts. The maximum of the last one's autoscaler is ``last_max``, None where
    it has none.
    """

    def __init__(self, policy, interval, *, last_max, workers=3, seed=7):
        self.random, self.interval = random.Random(seed), interval
        self.names = [f"w{number}" for number in range(workers)]
        policies = [policy] * (workers - 1)
        if last_max:
            policies.append(replace(policy, max_processes=last_max))
        self.deciders = {
            name: Decider(
                policy=own, scope=Scope(workers=frozenset({name})), interval_seconds=interval, name="fleet"
            )
            for name, own in zip(self.names, policies, strict=False)
        }
        self.states = dict.fromkeys(self.deciders, State())
        self.outcomes = dict.fromkeys(self.deciders, ())
        self.looks_at = {name: interval * self.random.random() for name in self.deciders}
        self.sizes, self.resized_at, self.tasks = dict.fromkeys(self.names, 1), {}, 0.0

    def play(self, seconds):
        """The names that any autoscaler took for one that does not grow."""
        named, rate, burst_ends = set(), 0, 0.0
        for at in range(seconds):
            if at >= burst_ends:
                burst_ends, rate = at + self.random.choice([20, 60, 200]), self.random.choice([0, 1, 6, 12])
            self.tasks += rate
            self.tasks -= min(self.tasks, sum(self.sizes.values())) / 2
            for name in [name for name, due in self.looks_at.items() if at >= due]:
                self.looks_at[name] = at + self.interval * self.random.uniform(0.9, 1.1)
                if self.random.random() * 1000 < self.interval:
                    self.states[name], self.outcomes[name] = State(), ()
                named |= self.look(name, at)
        return named

    def look(self, name, at):
        busy = {one: min(size, int(self.tasks) // len(self.names)) for one, size in self.sizes.items()}
        readings = [
            worker(
                one,
                size,
                busy=busy[one],
                uptime_seconds=3600.0 + at,
                resizers=tuple(("fleet", at - when) for when in [self.resized_at.get(one)] if when),
            )
            for one, size in self.sizes.items()
        ]
        waiting = max(0, int(self.tasks) - sum(busy.values()))
        observation = look(waiting, *readings, at=1000.0 + at, outcomes=self.outcomes[name])
        self.states[name], plan = self.deciders[name].decide(self.states[name], observation)
        [decision], self.outcomes[name] = plan.decisions, ()
        if decision.action is not Action.HOLD:
            self.sizes[name], self.resized_at[name] = decision.target, at
            self.outcomes[name] = (outcome(decision.target, name=name, sent_at=1000.0 + at),)
        return plan.without_growth


POLICIES = pytest.mark.parametrize(
    ("parameters", "interval"),
    [({}, 2), ({"scale_up_delay_seconds": 120}, 2), ({"scale_up_cooldown_seconds": 300}, 2), ({}, 60)],
    ids=["defaults", "delay", "cooldown", "interval"],
)


@pytest.mark.slow
@POLICIES
def test_a_fleet_in_which_each_has_its_autoscaler_names_nobody(parameters, interval):
    assert Fleet(Policy(max_processes=10, **parameters), interval, last_max=10).play(2500) == set()


@pytest.mark.slow
@pytest.mark.parametrize("last_max", [None, 2])
def test_a_fleet_names_the_one_without_an_autoscaler_or_with_a_lower_maximum(last_max):
    assert Fleet(Policy(max_processes=10), 2, last_max=last_max).play(2500) == {"w2"}
