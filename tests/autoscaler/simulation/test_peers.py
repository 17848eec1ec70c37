"""The other policies, each as its source describes it."""

from __future__ import annotations

import pytest

from autoscaler.simulation.engine import PoolModel, simulate
from autoscaler.simulation.peers import (
    PEERS,
    BacklogPerInstance,
    CeleryAutoscale,
    KedaListLength,
    KnativePodAutoscaler,
    size_peer,
)
from autoscaler.simulation.report import summarize
from tests.support.traces import MODEL, trace, view


def test_celery_grows_to_the_tasks_it_holds_at_each_message_and_no_further_than_its_prefetch():
    scaler = CeleryAutoscale(8, PoolModel(prefetch=0), idle_only=True)
    assert scaler.desired(view(0.0, busy=1, waiting=5)) == 1
    scaler = CeleryAutoscale(8, MODEL, idle_only=True)
    assert scaler.desired(view(0.0, busy=1, waiting=5)) == 6
    assert scaler.desired(view(0.1, busy=1, waiting=50, size=6)) == 8


@pytest.mark.parametrize(
    ("idle_only", "sizes"),
    [
        pytest.param(True, [4, 4, 4, 1], id="5.7 waits for half a minute without a message"),
        pytest.param(False, [4, 4, 1, 1], id="5.5 waits for half a minute without a growth"),
    ],
)
def test_when_celery_shrinks_depends_on_its_version(*, idle_only: bool, sizes: list[int]):
    scaler = CeleryAutoscale(8, MODEL, idle_only=idle_only)
    found = [
        scaler.desired(view(0.0, busy=1, waiting=3)),
        scaler.desired(view(29.0, busy=1, completed=4, size=4)),  # a message
        scaler.desired(view(31.0, busy=1, completed=4, size=4)),  # the timer
        scaler.desired(view(60.0, completed=5, size=4)),
    ]
    assert found == sizes


def test_celery_5_7_never_shrinks_while_a_message_comes_every_twenty_seconds():
    steady = trace(*[(0.0, 1.0)] * 8, *[(float(at), 1.0) for at in range(20, 600, 20)])
    new = simulate(steady, CeleryAutoscale(8, MODEL, idle_only=True), MODEL)
    old = simulate(steady, CeleryAutoscale(8, MODEL, idle_only=False), MODEL)
    # The first seven growths are one for each message; only the old one ever shrinks: once, from 8 to 1.
    assert [(run.starts, run.changes) for run in (new, old)] == [(7, 7), (7, 8)]


def test_keda_grows_by_the_larger_of_double_and_four_each_sync_and_holds_for_five_minutes():
    scaler = KedaListLength(2.0)
    assert scaler.desired(view(0.0, waiting=60, size=1)) == 5
    assert scaler.desired(view(15.0, waiting=60, size=5)) == 10
    assert scaler.desired(view(30.0, waiting=0, size=10)) == 10
    assert scaler.desired(view(300.0, waiting=0, size=10)) == 10
    assert scaler.desired(view(330.0, waiting=0, size=10)) == 1


def test_keda_leaves_a_size_within_a_tenth_alone():
    assert KedaListLength(1.0).desired(view(0.0, waiting=21, size=20)) == 20


def test_knative_panics_at_twice_its_ready_pods_and_then_only_grows_for_a_minute():
    scaler = KnativePodAutoscaler(1.0)
    assert scaler.desired(view(0.0, busy=1, waiting=3, size=1)) == 4
    sizes = [scaler.desired(view(float(at), size=4)) for at in range(1, 63)]
    assert (set(sizes[:60]), sizes[61]) == ({4}, 2)


def test_knatives_shortest_legal_window_panics_for_six_seconds_on_samples_of_one():
    scaler = KnativePodAutoscaler(1.0, 6)
    assert scaler.desired(view(0.0, busy=1, waiting=3, size=1)) == 4
    sizes = [scaler.desired(view(float(at), size=4)) for at in range(1, 11)]
    assert (scaler.name, sizes) == ("knative kpa 100% window 6 s", [4, 4, 4, 4, 4, 4, 4, 2, 4, 2])


def test_celery_shrinks_after_its_own_keepalive():
    scaler = CeleryAutoscale(8, MODEL, idle_only=False, keepalive_seconds=5.0)
    sizes = [scaler.desired(view(0.0, busy=1, waiting=3)), scaler.desired(view(6.0, busy=1, size=4))]
    assert (scaler.name, sizes, scaler.interval_seconds) == (
        "celery 5.5 --autoscale 8,1 keepalive 5 s",
        [4, 1],
        5.0,
    )


def test_no_peer_is_given_a_value_that_its_source_refuses():
    legal = {"knative kpa": [(0.01, 1.0), (6, 3600)], "fixed": [(1, 64)]}
    found = {peer.name: [(min(axis), max(axis)) for axis in peer.parameters(MODEL)] for peer in PEERS}
    assert {
        name: all(
            low <= least and most <= high
            for (low, high), (least, most) in zip(bounds, found[name], strict=True)
        )
        for name, bounds in legal.items()
    } == dict.fromkeys(legal, True)


def test_a_peer_with_two_parameters_is_sized_in_both():
    bursts = trace(*[(60.0 * burst + 0.1 * place, 2.0) for burst in range(30) for place in range(8)])
    celery = next(peer for peer in PEERS if peer.name == "celery 5.5 --autoscale")
    usual = simulate(bursts, CeleryAutoscale(64, MODEL, idle_only=False), MODEL)
    sized = size_peer(celery, bursts, MODEL, 5.0)
    assert (sized.scaler, sized.process_seconds < usual.process_seconds / 2) == (
        "celery 5.5 --autoscale 3,1 keepalive 5 s",
        True,
    )


def test_aws_grows_in_proportion_after_three_minutes_and_shrinks_after_fifteen():
    scaler = BacklogPerInstance(10.0)
    growing = [scaler.desired(view(60.0 * minute, waiting=40, size=1)) for minute in range(1, 4)]
    shrinking = [scaler.desired(view(60.0 * minute, waiting=0, size=4)) for minute in range(4, 19)]
    assert (growing, shrinking) == ([1, 1, 4], [*[4] * 14, 1])


def test_a_peer_is_sized_to_the_cheapest_that_keeps_the_target():
    pairs = trace(*[(20.0 * step, 8.0) for step in range(50) for _ in range(3)])
    fixed, *_ = PEERS
    # Two processes leave every third task waiting for 8 s; three leave none.
    assert size_peer(fixed, pairs, MODEL, 5.0).scaler == "fixed 3"


def test_a_peer_that_cannot_keep_the_target_shows_its_best_try():
    pairs = trace(*[(20.0 * step, 8.0) for step in range(50) for _ in range(3)])
    aws = PEERS[-1]
    assert summarize(size_peer(aws, pairs, MODEL, 5.0), 5.0).within_target < 0.99
