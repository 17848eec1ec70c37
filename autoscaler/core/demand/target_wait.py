"""How many processes start every task within a target wait, from what is learnt of the work.

No I/O, no logger, no clock. :func:`advance` takes what is remembered and one :class:`Signal` and returns what
to remember and the recommended size; the same input gives the same result.

Growing is lazy: processes are asked for at the last moment, unless more would be needed a tick later. How the
work is learnt is in :mod:`~autoscaler.core.demand.learning`, how long an idle process is kept in
:mod:`~autoscaler.core.demand.retention`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from autoscaler.core.demand import retention
from autoscaler.core.demand.backlog import follow, runs_after
from autoscaler.core.demand.fleet import Fleet, Needs
from autoscaler.core.demand.learning import (
    MIN_WINDOW_SECONDS,
    Step,
    TargetWaitState,
    batches_after,
    since_anew,
    step_since,
)
from autoscaler.core.demand.pace import Pace, Runs
from autoscaler.core.demand.parameters import TargetWaitPolicy
from autoscaler.core.demand.retention import Passed, Pool, Retention
from autoscaler.core.demand.shares import Look, due_at, floor, in_hand, need_of, own_and_shared, positions
from autoscaler.core.demand.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A signal that is older than the last one by more than this comes from a clock that went back.
_MAX_CLOCK_SLIP_SECONDS = 5.0

__all__ = ["Signal", "TargetWaitPolicy", "TargetWaitState", "advance", "advance_fleet"]


def advance(
    parameters: TargetWaitPolicy, state: TargetWaitState, signal: Signal, soonest_seconds: float | None = None
) -> tuple[TargetWaitState, int]:
    """Return what to remember and the recommended number of processes of one pool, 1 or more.

    It recommends the current size while the tasks that wait will start in time; bounds, cooldowns and
    ceilings are the caller's. A signal that is not newer than the last one changes nothing and holds.
    ``soonest_seconds`` from now is the next look possible, None where looks come at even distances.
    """
    if not _is_newer(state, signal):
        return state, max(1, signal.processes)
    state = _in_time(state, signal)
    step = step_since(parameters, state, signal)
    batches = batches_after(state.batches, step, signal)
    size = max(signal.processes, signal.busy)
    runs = runs_after(state.runs, signal.busy, step.started, signal.at)
    pace = _pace(parameters, step, soonest_seconds)
    dated = [(since + parameters.target_wait_seconds, count) for since, count in batches]
    size += _missing(pace, signal, step, dated, runs)
    growing = size > signal.processes and bool(signal.backlog)
    pool = Pool(signal.at, signal.processes, signal.in_system, max(0, step.net_arrived))
    after = _learn(state, signal, step)._replace(
        batches=batches,
        runs=runs,
        ready_at=signal.at + step.start_seconds if growing else state.ready_at,
        retention=retention.track(parameters, state.retention, pool, _passed(parameters, step)),
        due_at=due_at(pace, signal.at, [dated]),
    )
    if growing:
        return after, size
    if signal.backlog:
        return after, max(1, signal.processes)
    floor = max(1, min(signal.busy, signal.processes))
    return after, retention.retained(parameters, after.retention, pool, floor)


def advance_fleet(
    parameters: TargetWaitPolicy,
    state: TargetWaitState,
    signal: Signal,
    fleet: Fleet,
    soonest_seconds: float | None = None,
) -> tuple[TargetWaitState, Needs]:
    """Return what to remember and what workers that share queues need, each along its edges.

    ``signal`` is all of ``fleet`` together: service time, arrivals and gaps are learnt from it. Otherwise as
    :func:`advance`.
    """
    sizes = tuple(member.processes for member in fleet.members)
    nothing = Needs((0,) * len(sizes), (0,) * len(fleet.channels), sizes, signal.processes)
    if not _is_newer(state, signal):
        return state, nothing
    state = _in_time(state, signal)
    step = step_since(parameters, state, signal)
    backlog, fetched = follow(
        state.backlog,
        fleet,
        since=step.since,
        asked_at=signal.at if state.last is None else state.last.at,
        at=signal.at,
        start_seconds=step.start_seconds,
    )
    pace = _pace(parameters, step, soonest_seconds)
    own, shared = own_and_shared(Look(fleet, backlog, pace, signal.at))
    consumed = fleet.consumed()
    keep = list(map(floor, fleet.members, consumed))
    gaps: dict[str, Retention] = {}
    kept = 0
    passed = _passed(parameters, step)
    # A newcomer learns from what one of the others has learnt.
    known = next(iter(state.gaps.values()), Retention())
    for member, one, arrived, least in zip(fleet.members, consumed, fetched, keep, strict=True):
        pool = Pool(signal.at, member.processes, in_hand(member, one), arrived)
        learnt = retention.track(parameters, state.gaps.get(member.name, known), pool, passed)
        gaps[member.name] = learnt
        kept += retention.retained(parameters, learnt, pool, max(1, least))
    due = due_at(pace, signal.at, [*backlog.queues.values(), *backlog.held.values()])
    after = _learn(state, signal, step)._replace(backlog=backlog, gaps=gaps, due_at=due)
    return after, Needs(tuple(own), tuple(shared), tuple(keep), kept)


def _is_newer(state: TargetWaitState, signal: Signal) -> bool:
    last = state.last
    return last is None or signal.at > last.at or signal.at <= last.at - _MAX_CLOCK_SLIP_SECONDS


def _in_time(state: TargetWaitState, signal: Signal) -> TargetWaitState:
    """The state, begun anew where the clock went back further than a signal can be late."""
    return state if state.last is None or signal.at > state.last.at else since_anew(state, signal.at)


def _passed(parameters: TargetWaitPolicy, step: Step) -> Passed:
    return retention.passed(
        step.seconds,
        service_seconds=step.service_seconds,
        slack_seconds=parameters.planned_wait_seconds - step.start_seconds - step.tick_seconds,
        tick_seconds=step.tick_seconds,
    )


def _learn(state: TargetWaitState, signal: Signal, step: Step) -> TargetWaitState:
    """What is learnt of the work as a whole: how long tasks take and how many come."""
    fresh = -math.expm1(-step.seconds / MIN_WINDOW_SECONDS)
    return TargetWaitState(
        last=signal,
        tick_seconds=step.tick_seconds,
        busy_seconds=step.busy_total_seconds,
        ended=step.ended_total,
        pending_seconds=step.pending_seconds,
        doubted=step.doubted,
        arrivals_per_second=max(
            0.0, state.arrivals_per_second * (1 - fresh) + step.net_arrived / step.seconds * fresh
        ),
        ready_at=state.ready_at,
    )


def _pace(parameters: TargetWaitPolicy, step: Step, soonest_seconds: float | None) -> Pace:
    tick = step.tick_seconds
    return Pace(
        service_seconds=step.service_seconds,
        start_seconds=step.start_seconds,
        tick_seconds=tick if soonest_seconds is None else min(tick, soonest_seconds),
        margin_seconds=parameters.margin_seconds,
        caution=parameters.release_caution,
    )


def _missing(pace: Pace, signal: Signal, step: Step, dated: Sequence[tuple[float, float]], runs: Runs) -> int:
    """Return how many processes must be asked for now so that each position starts by its deadline.

    None is asked for while the same number would still do a tick later.
    """
    spare, share = max(0, signal.processes - signal.busy), signal.share_run
    need = need_of(
        positions([(due, count * share) for due, count in dated], 0),
        lambda horizon: (
            pace.freed(runs, signal.at, horizon) + pace.spare(spare, horizon, step.spare_in_seconds)
        ),
        pace,
        signal.at,
    )
    return max(0, min(need.asked(), signal.in_system - max(signal.processes, signal.busy)))
