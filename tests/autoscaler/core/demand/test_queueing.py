"""How many processes an even stream of tasks needs, beside the exact formula for such a queue."""

from __future__ import annotations

import math

import pytest

from autoscaler.core.demand.queueing import SHARE, beyond


def late(servers: int, mean: float, target_services: float) -> float:
    """Share of the tasks that wait longer: Erlang's C, and how long a task waits where all are busy."""
    if servers <= mean:
        return 1.0
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = mean * blocked / (number + mean * blocked)
    busy = blocked / (1 - mean / servers * (1 - blocked))
    return busy * math.exp(-(servers - mean) * target_services)


@pytest.mark.parametrize("target_services", [0.0, 0.2, 1.0, 5.0, 250.0])
@pytest.mark.parametrize("mean", [0.05, 0.3, 0.8, 2.0, 4.0, 32.0, 49.0])
def test_for_few_tasks_it_is_the_least_number_of_processes_that_keeps_the_share(
    mean: float, target_services: float
):
    found = round(mean + beyond(math.sqrt(mean), target_services))
    assert late(found, mean, target_services) <= SHARE < late(found - 1, mean, target_services)


@pytest.mark.parametrize("target_services", [0.0, 0.2, 1.0, 5.0, 250.0])
@pytest.mark.parametrize("mean", [51.0, 150.0, 400.0])
def test_for_many_it_is_about_as_many(mean: float, target_services: float):
    found = math.ceil(mean + beyond(math.sqrt(mean), target_services))
    assert late(found + 2, mean, target_services) <= SHARE < late(found - 2, mean, target_services)


def test_nothing_beyond_what_surely_runs_is_needed():
    assert beyond(0.0, 1.0) == 0
