"""The delays of the decision: the stabilization window and the cooldowns."""

from __future__ import annotations

from autoscaler.core.model import Reason
from tests.support.builders import Walk, decision, prompt_policy, worker


def test_the_delays_run_while_the_load_stays_beyond_the_watermark():
    walk = Walk(prompt_policy(scale_up_delay_seconds=3, scale_down_delay_seconds=5))
    reasons = [walk.see(4, worker(busy=4)).decisions[0].reason for _ in range(4)]
    assert reasons == [Reason.DELAYED, Reason.DELAYED, Reason.DELAYED, Reason.LOAD_HIGH]
    walk.see(1, worker(busy=4))  # between the watermarks: the count starts anew
    assert walk.see(4, worker(busy=4)).decisions == (decision(4, 4, Reason.DELAYED),)


def test_a_shrink_goes_only_to_the_highest_recommendation_of_the_window():
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
    # Now the recommendation of 8 is 10 s old; the highest since is the 2 of the third tick.
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
