"""The replay harness: how a trace is cut and compressed, and one tiny trace on a real worker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from autoscaler.simulation.traces import Trace
from tests.replay.contenders import MAX_PROCESSES, Contender, contenders, latency
from tests.replay.replay import compress, replay

if TYPE_CHECKING:
    from pathlib import Path


def trace(*tasks: tuple[float, float], lasts: float) -> Trace:
    return Trace(
        name="by hand",
        arrivals_seconds=[arrival for arrival, _ in tasks],
        services_seconds=[service for _, service in tasks],
        duration_seconds=lasts,
    )


def test_the_part_with_the_work_nearest_to_the_mean_runs_as_many_times_as_fast():
    whole = trace((1.0, 50.0), (21.0, 6.0), (25.0, 14.0), (41.0, 1.0), lasts=60.0)
    assert compress(whole, seconds=5, speed=4, most_busy=8) == Trace(
        name="by hand, 20 s at 4 times the speed",
        arrivals_seconds=[0.25, 1.25],
        services_seconds=[1.5, 3.5],
        duration_seconds=5,
    )


def test_tasks_are_left_out_until_the_work_fits_and_the_same_ones_each_time():
    whole = trace(*((at / 10, 2.0) for at in range(1000)), lasts=100.0)
    cut, again = (compress(whole, seconds=50, speed=2, most_busy=5, seed=3) for _ in range(2))
    busy = sum(cut.services_seconds) / cut.duration_seconds
    assert (cut == again, 4 < busy < 6) == (True, True)


def test_every_way_to_size_the_worker_has_the_same_bounds_and_its_delays_cut_alike():
    found = contenders(trace((0.0, 1.0), lasts=10.0), 2.5, 2.0)
    assert [(one.name, one.options, dict(one.environment)) for one in found] == [
        ("latency 2.5 s", (), {}),
        ("thresholds", (), {}),
        ("celery --autoscale 16,1", ("--autoscale", "16,1"), {"AUTOSCALE_KEEPALIVE": "15"}),
        ("fixed 1", (), {}),
        ("fixed 16", (), {}),
    ]
    flags = [one.daemon or {} for one in found[:2]]
    assert [(one["max"], one["scale_down_delay"], one["interval"]) for one in flags] == [
        (str(MAX_PROCESSES), "7.5", "0.5")
    ] * 2
    assert (flags[0]["target_wait"], flags[0]["start_worth"]) == ("2.5s", "12.5")


@pytest.mark.slow
def test_a_tiny_trace_on_a_real_worker_grows_it_and_every_task_starts(tmp_path: Path):
    tiny = trace(*((0.5 + at / 10, 0.6) for at in range(12)), lasts=5.0)
    results = {}
    for way in (latency(2.0, 2.0), Contender(name="fixed 2", processes=2)):
        folder = tmp_path / way.name.split()[0]
        folder.mkdir()
        outcome = replay(folder, tiny, way)
        results[way.name] = outcome
    grown, fixed = results["latency 2 s"], results["fixed 2"]
    assert max(grown.waits_seconds) < 20, json.dumps(list(grown.waits_seconds))
    assert (len(grown.waits_seconds), grown.starts > 0, grown.peak_processes > 1) == (12, True, True)
    assert (fixed.starts, fixed.changes, fixed.peak_processes) == (0, 0, 2)
    # 12 tasks of 0.6 s arrive within 1.1 s, two at a time: the last two start after 5 rounds.
    assert 5 * 0.6 - 1.2 <= max(fixed.waits_seconds) < 20
    assert fixed.process_seconds == pytest.approx(2 * 5.0, rel=0.25)
