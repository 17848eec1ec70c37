"""Traces and views of a pool, written by hand."""

from __future__ import annotations

from dataclasses import replace

from autoscaler.core.policy import Policy
from autoscaler.simulation.engine import PoolModel, PoolView
from autoscaler.simulation.traces import Trace

MODEL = PoolModel()
POLICY = Policy(max_processes=MODEL.max_processes)


def trace(*tasks: tuple[float, float], lasts: float = 0.0) -> Trace:
    arrivals = [arrival for arrival, _ in tasks]
    return Trace(
        name="by hand",
        arrivals_seconds=arrivals,
        services_seconds=[service for _, service in tasks],
        duration_seconds=max(lasts, arrivals[-1]),
    )


def view(at: float, **counts: int) -> PoolView:
    base = PoolView(
        at=at,
        waiting=0,
        reserved=0,
        busy=0,
        size=1,
        starting=0,
        completed=0,
        oldest_age_seconds=None,
    )
    return replace(base, **counts)
