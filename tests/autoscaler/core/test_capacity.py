"""How many processes fit in a container, by its limits and by its use."""

from __future__ import annotations

import pytest

from autoscaler.core.capacity import (
    Ceiling,
    automatic_max,
    bounds,
    cpu_processes,
    lowest,
    pressure,
    unlearnt_bounds,
    with_rates,
)
from autoscaler.core.memory import fitting, need
from autoscaler.core.model import Bounds, Override, Reason
from autoscaler.core.policy import Policy
from tests.support.builders import MIB, container

CPU = {"cpu_limit_cores": 4.0, "cpu_limited": True}
MEMORY = {
    "memory_limit_bytes": 1000 * MIB,
    "memory_limited": True,
    "parent_rss_bytes": 50 * MIB,
    "child_rss_bytes": (100 * MIB,) * 3,
}


@pytest.mark.parametrize(
    ("cores", "each", "processes"),
    [
        pytest.param(0.1, 1, 1, id="never below one"),
        pytest.param(1.99, 1, 1, id="rounded down"),
        pytest.param(150_000 / 50_000, 1, 3, id="a quotient of microseconds"),
        pytest.param(2.9999999999, 1, 3, id="a hair below a whole number is that number"),
        pytest.param(1.5, 4, 6, id="several for each core"),
        pytest.param(8, 0.25, 2, id="several cores for each"),
        pytest.param(64, 1000, 10_000, id="no more than any worker is resized to"),
    ],
)
def test_so_many_processes_fit_on_the_cores(cores, each, processes):
    assert cpu_processes(cores, each) == processes


@pytest.mark.parametrize(
    ("changes", "processes"),
    [
        pytest.param({}, 8, id="(1000 MiB x 0.85 - 50) / 100"),
        pytest.param({"parent_rss_bytes": None}, 8, id="an unknown parent counts as nothing"),
        pytest.param({"parent_rss_bytes": 2000 * MIB}, 1, id="never below one"),
        pytest.param(
            {"child_rss_bytes": (0, 100 * MIB, 200 * MIB)}, 4, id="the largest child, not a dead one"
        ),
        pytest.param({"child_rss_bytes": ()}, None, id="no child is known"),
        pytest.param({"child_rss_bytes": (0,)}, None, id="only a dead child is known"),
        pytest.param({"memory_limit_bytes": None}, None, id="no limit is known"),
    ],
)
def test_memory_limits_processes(changes, processes):
    box = container(**{**MEMORY, **changes})
    assert fitting(Policy(), box, need(Policy(), box, None)) == processes


@pytest.mark.parametrize(
    ("limits", "set_by_someone", "automatic"),
    [
        pytest.param(None, None, None, id="nothing is known"),
        pytest.param({}, None, None, id="no part is known"),
        pytest.param(CPU, (4, Reason.CPU_CEILING), (4, Reason.CPU_CEILING), id="a CPU limit"),
        pytest.param(
            {**CPU, "cpu_limited": False}, None, (4, Reason.MACHINE), id="a machine binds auto alone"
        ),
        pytest.param(MEMORY, (8, Reason.MEMORY_CEILING), None, id="memory alone makes no automatic max"),
        pytest.param(
            {**MEMORY, **CPU}, (4, Reason.CPU_CEILING), (4, Reason.CPU_CEILING), id="CPU is the lower"
        ),
        pytest.param(
            {**MEMORY, **CPU, "cpu_limit_cores": 30.0},
            (8, Reason.MEMORY_CEILING),
            (8, Reason.MEMORY_CEILING),
            id="memory is the lower",
        ),
    ],
)
def test_the_ceiling_is_the_lower_of_cpu_and_memory(limits, set_by_someone, automatic):
    def made(pair):
        return None if pair is None else Ceiling(processes=pair[0], reason=pair[1])

    seen = None if limits is None else container(**limits)
    each = None if seen is None else need(Policy(), seen, None)
    fixed = lowest(unlearnt_bounds(Policy(max_processes=99), seen))
    found = (fixed, automatic_max(Policy(), seen, each), lowest(unlearnt_bounds(Policy(), seen)))
    by_limits = made(set_by_someone)
    assert found == (
        by_limits or Ceiling(processes=99, reason=Reason.AT_MAX),
        made(automatic),
        made(automatic) or by_limits,
    )


def test_the_bounds_are_the_policys_or_an_administrators_and_the_containers():
    box = container(**{**MEMORY, **CPU})
    policy = Policy(min_processes=2, max_processes=9)
    assert unlearnt_bounds(policy, box) == Bounds(
        min_processes=2, max_processes=9, cpu_processes=4, memory_processes=8
    )
    overridden = unlearnt_bounds(policy, None, Override(min_processes=3, max_processes=5))
    assert overridden == Bounds(min_processes=3, max_processes=5)
    assert overridden.by_name() == {"min": 3, "max": 5}
    assert unlearnt_bounds(Policy(), None) == Bounds(
        min_processes=1, max_processes=None, max_reason=Reason.UNKNOWN_LIMIT
    )


def test_an_automatic_max_keeps_what_nearly_fits_as_a_stated_one_does():
    # 8 of 107 MiB need 906 of 850 MiB, and stay below memory_high: a peak that moves a little is no reason.
    box = container(**{**MEMORY, **CPU, "cpu_limit_cores": 30.0, "child_rss_bytes": (107 * MIB,)})
    for policy in (Policy(max_processes=20), Policy()):
        each = need(policy, box, None)
        found = [lowest(bounds(policy, box, each=each, size=size)).processes for size in (7, 8, 9)]
        assert found == [7, 8, 7]


def test_rates_come_from_two_readings():
    before = container(cpu_limit_cores=2.0, cpu_usage_seconds=10.0, throttled_seconds=1.0)
    now = container(cpu_limit_cores=2.0, cpu_usage_seconds=15.0, throttled_seconds=2.0)
    expected = now._replace(cpu_usage_ratio=0.5, cpu_throttled_ratio=0.1)
    assert with_rates(before, now, 5.0) == expected


@pytest.mark.parametrize(
    ("before", "seconds"),
    [
        pytest.param(None, 5.0, id="there is no reading before"),
        pytest.param({"cpu_usage_seconds": 99.0, "throttled_seconds": 99.0}, 5.0, id="the counters fell"),
        pytest.param({}, 5.0, id="the counters were unknown"),
        pytest.param({"cpu_usage_seconds": 1.0}, 0.0, id="no time has passed"),
        pytest.param(
            {"cpu_usage_seconds": 1.0, "cpu_limit_cores": 5e-324}, 0.1, id="the limit allows nothing at all"
        ),
    ],
)
def test_rates_are_unknown(before, seconds):
    cores = (before or {}).get("cpu_limit_cores", 2.0)
    now = container(cpu_limit_cores=cores, cpu_usage_seconds=15.0, throttled_seconds=2.0)
    earlier = None if before is None else container(**{"cpu_limit_cores": cores, **before})
    assert with_rates(earlier, now, seconds) == now


@pytest.mark.parametrize(
    ("now", "held"),
    [
        pytest.param(None, {}, id="nothing could be read"),
        pytest.param({"cpu_usage_seconds": 9.0}, {"cpu_usage_seconds": 9.0}, id="the limits could not"),
        pytest.param(
            {"cpu_limit_cores": 8.0, "memory_limit_bytes": MIB},
            {
                "cpu_limit_cores": 8.0,
                "cpu_limited": False,
                "cpu_limit_id": None,
                "memory_limit_bytes": MIB,
                "memory_limited": False,
                "parent_rss_bytes": None,
                "container_id": None,
            },
            id="they are lifted",
        ),
    ],
)
def test_limits_hold_until_they_are_read_anew_and_what_was_in_use_does_not(now, held):
    limits = {**CPU, **MEMORY, "child_rss_bytes": (), "container_id": "a", "cpu_limit_id": "b"}
    full = container(**limits, memory_used_bytes=999 * MIB, cpu_usage_ratio=1.0, cpu_throttled_ratio=1.0)
    found = with_rates(full, None if now is None else container(**now), 1.0)
    assert found == container(**{**limits, **held})


def test_throttled_time_of_many_cpus_is_never_more_than_all_the_time():
    before = container(cpu_limit_cores=1.0, throttled_seconds=0.0)
    now = container(cpu_limit_cores=1.0, throttled_seconds=60.0)
    assert with_rates(before, now, 1.0).cpu_throttled_ratio == 1.0


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        pytest.param({"memory_used_bytes": 920 * MIB}, None, id="at memory_high: nothing"),
        pytest.param({"memory_used_bytes": 921 * MIB}, (7, Reason.MEMORY_PRESSURE), id="above: one fewer"),
        pytest.param({"memory_used_bytes": 1190 * MIB}, (5, Reason.MEMORY_PRESSURE), id="270 MiB are three"),
        pytest.param({"memory_used_bytes": 9000 * MIB}, (1, Reason.MEMORY_PRESSURE), id="never below one"),
        pytest.param(
            {"memory_used_bytes": 9000 * MIB, "memory_limited": False},
            None,
            id="the machine is not the pool's",
        ),
        pytest.param({"cpu_usage_ratio": 0.95}, None, id="at cpu_high: nothing"),
        pytest.param({"cpu_usage_ratio": 0.96}, (8, Reason.CPU_PRESSURE), id="above: no growth"),
        pytest.param({"cpu_throttled_ratio": 0.26}, (8, Reason.CPU_PRESSURE), id="throttled: no growth"),
        pytest.param(
            {"cpu_usage_ratio": 1.0, "memory_used_bytes": 921 * MIB},
            (7, Reason.MEMORY_PRESSURE),
            id="memory comes first",
        ),
    ],
)
def test_use_of_the_container_holds_growth_or_shrinks(use, expected):
    found = pressure(Policy(), container(**{**MEMORY, "cpu_limited": True, **use}), 8)
    assert found == (None if expected is None else Ceiling(processes=expected[0], reason=expected[1]))


def test_retiring_processes_are_counted_as_removed_already():
    full = container(**MEMORY, memory_used_bytes=1190 * MIB)
    found = pressure(Policy(), full, 5, retiring=3)
    assert found == Ceiling(processes=5, reason=Reason.MEMORY_PRESSURE)
    # However many are on their way out: memory above the limit never makes room for growth.
    found = pressure(Policy(), full, 2, retiring=10)
    assert found == Ceiling(processes=2, reason=Reason.MEMORY_PRESSURE)
