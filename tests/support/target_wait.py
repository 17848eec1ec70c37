"""The target wait fed with signals by hand, and a state that has learnt a service time."""

from __future__ import annotations

from typing import Any

from autoscaler.core.demand.target_wait import Signal, TargetWaitPolicy, TargetWaitState, advance

PARAMETERS = TargetWaitPolicy(target_wait_seconds=5.0, assumed_start_seconds=1.0, margin_seconds=0.0)


def signal(at: float, waiting: int, busy: int, processes: int, **more: Any) -> Signal:
    """A signal of a pool whose start takes a second, as learnt, unless it says otherwise."""
    return Signal(
        at=at, waiting=waiting, busy=busy, reserved=0, processes=processes, **{"start_seconds": 1.0, **more}
    )


def play(
    signals: list[Signal], parameters: TargetWaitPolicy = PARAMETERS, state: TargetWaitState | None = None
) -> tuple[TargetWaitState, list[int]]:
    state = state or TargetWaitState()
    sizes = []
    for each in signals:
        state, size = advance(parameters, state, each)
        sizes.append(size)
    return state, sizes


def learnt(service_seconds: int, processes: int, *, ticks: int = 600) -> tuple[TargetWaitState, int]:
    """A pool that was always busy and ended a task of each process every ``service_seconds``."""
    state, completed = TargetWaitState(), 0
    for at in range(ticks):
        completed = at // service_seconds * processes
        state, _ = advance(PARAMETERS, state, signal(float(at), 0, processes, processes, completed=completed))
    return state, completed
