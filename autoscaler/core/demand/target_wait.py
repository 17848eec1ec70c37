"""How many processes start every task within a target wait, from what is learnt of the work.

No I/O, no logger, no clock. :func:`advance` takes what is remembered and one :class:`Signal` and returns what
to remember and the recommended size; the same input gives the same result.

Growing is lazy: processes are asked for at the last moment, unless more would be needed a tick later. How the
work is learnt is in :mod:`~autoscaler.core.demand.learning`, how long an idle process is kept in
:mod:`~autoscaler.core.demand.retention`.
"""

from __future__ import annotations

import math

from autoscaler.core.demand import retention
from autoscaler.core.demand.learning import (
    MIN_WINDOW_SECONDS,
    Step,
    TargetWaitState,
    batches_after,
    step_since,
)
from autoscaler.core.demand.parameters import TargetWaitPolicy
from autoscaler.core.demand.signal import Signal

__all__ = ["Signal", "TargetWaitPolicy", "TargetWaitState", "advance"]


def advance(
    parameters: TargetWaitPolicy, state: TargetWaitState, signal: Signal
) -> tuple[TargetWaitState, int]:
    """Return what to remember and the recommended number of processes, 1 or more.

    It recommends the current size while the tasks that wait will start in time; bounds, cooldowns and
    ceilings are the caller's. A signal that is not newer than the last one changes nothing and holds.
    """
    if state.last is not None and signal.at <= state.last.at:
        return state, max(1, signal.processes)
    step = step_since(parameters, state, signal)
    batches = batches_after(state.batches, step, signal)
    size = max(signal.processes, signal.busy)
    size += _missing(parameters, signal, step, batches)
    growing = size > signal.processes and bool(signal.backlog)
    learnt = retention.track(
        parameters,
        state.retention,
        signal,
        arrived=max(0, step.net_arrived),
        seconds=step.seconds,
        service_seconds=step.service_seconds,
        slack_seconds=parameters.planned_wait_seconds - step.start_seconds - step.tick_seconds,
        tick_seconds=step.tick_seconds,
    )
    fresh = -math.expm1(-step.seconds / MIN_WINDOW_SECONDS)
    after = TargetWaitState(
        last=signal,
        tick_seconds=step.tick_seconds,
        batches=batches,
        busy_seconds=step.busy_total_seconds,
        ended=step.ended_total,
        arrivals_per_second=max(
            0.0, state.arrivals_per_second * (1 - fresh) + step.net_arrived / step.seconds * fresh
        ),
        ready_at=signal.at + step.start_seconds if growing else state.ready_at,
        retention=learnt,
    )
    if growing:
        return after, size
    if signal.backlog:
        return after, max(1, signal.processes)
    return after, retention.retained(parameters, learnt, signal)


def _missing(
    parameters: TargetWaitPolicy, signal: Signal, step: Step, batches: tuple[tuple[float, int], ...]
) -> int:
    """Return how many processes must be asked for now so that each position starts by its deadline.

    Before the deadline of a position, each busy process becomes free at a rate of one over the service time;
    each idle or starting one takes a task once it is ready and goes on at that rate, and so does each new
    one. None is asked for while the same number would still do a tick later.
    """
    service = step.service_seconds
    spare, spare_in = max(0, signal.processes - signal.busy), step.spare_in_seconds
    now = later = 0.0
    due = False
    position = 0.0
    for since, count in batches:
        position += count * signal.share_run
        left = parameters.planned_wait_seconds - (signal.at - since)
        horizon = max(0.0, left)
        freed = signal.busy * horizon / service
        freed = max(0.0, freed - parameters.release_caution * math.sqrt(freed))
        short = position - freed
        if horizon >= spare_in:
            short -= spare * (1 + (horizon - spare_in) / service)
        if short <= 0:
            continue
        slack = horizon - step.start_seconds
        now = max(now, short / (1 + max(0.0, slack) / service))
        later = max(later, short / (1 + max(0.0, slack - step.tick_seconds) / service))
        due = due or left - step.start_seconds < step.tick_seconds
    needed = math.ceil(now - 1e-9)
    if not (due or math.ceil(later - 1e-9) > needed):
        return 0
    return max(0, min(needed, signal.in_system - max(signal.processes, signal.busy)))
