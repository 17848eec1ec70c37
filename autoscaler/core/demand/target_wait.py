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

from autoscaler.core.demand import retention, standing
from autoscaler.core.demand.backlog import Backlog, as_pool, follow, of_pool, runs_after
from autoscaler.core.demand.fleet import Fleet, Needs
from autoscaler.core.demand.learning import (
    MIN_WINDOW_SECONDS,
    Step,
    TargetWaitState,
    after_slip,
    batches_after,
    step_since,
)
from autoscaler.core.demand.pace import UNKNOWN_LOOKS, YOUNG_SHARE, Looks, Pace, Runs
from autoscaler.core.demand.parameters import TargetWaitPolicy
from autoscaler.core.demand.reach import comes_too_late, look_within
from autoscaler.core.demand.retention import Passed, Pool, Retention
from autoscaler.core.demand.shares import Look, due_at, floor, in_hand, need_of, own_and_shared, positions
from autoscaler.core.demand.signal import Signal
from autoscaler.core.demand.standing import Since, Standing, Terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: A signal that is older than the last one by more than this comes from a clock that went back.
_MAX_CLOCK_SLIP_SECONDS = 5.0

#: Where growth comes too late, what was needed within so many tasks or service times is kept.
_HELD_TASKS = 10_000.0
_HELD_SERVICES = 300.0
_MIN_HOLD_SECONDS, _MAX_HOLD_SECONDS = 3600.0, 86_400.0
#: After so many tasks the service time is no guess.
_KNOWN_TASKS = 10.0

__all__ = ["Signal", "TargetWaitPolicy", "TargetWaitState", "advance", "advance_fleet"]


def advance(
    parameters: TargetWaitPolicy, state: TargetWaitState, signal: Signal, looks: Looks = UNKNOWN_LOOKS
) -> tuple[TargetWaitState, int]:
    """Return what to remember and the recommended number of processes of one pool, 1 or more.

    It recommends the current size while the tasks that wait will start in time; bounds, cooldowns and
    ceilings are the caller's. A signal that is not newer than the last one changes nothing and holds.
    ``looks`` says when the next look comes.
    """
    if not _is_newer(state, signal):
        return state, max(1, signal.processes)
    state = _of_one(parameters, _in_time(state, signal))
    step = step_since(parameters, state, signal)
    batches = batches_after(state.batches, step, signal)
    size = max(signal.processes, signal.busy)
    runs = runs_after(state.runs, signal.busy, step.started, signal.at)
    hold = _hold_seconds(parameters, state, step, looks)
    stood = _stood(parameters, state, signal, step, looks)
    stock, service = (stood.processes, stood.service_seconds) if hold else (0, step.service_seconds)
    # Idle processes beside a backlog have been asked for and still start.
    asked = bool(step.starting) and signal.processes > signal.busy
    pace = _pace(parameters, step, looks, held=bool(hold), asked=asked)._replace(service_seconds=service)
    dated = [(since + parameters.target_wait_seconds, count) for since, count in batches]
    size += _missing(pace, signal, step, dated, runs)
    growing = (size > signal.processes and bool(signal.backlog)) or stock > signal.processes
    tasks = stood.in_time(signal.in_system) if hold else signal.in_system
    pool = Pool(signal.at, signal.processes, tasks, max(0, step.net_arrived) if step.counted else 0)
    after = _learn(state, signal, step)._replace(
        batches=batches,
        runs=runs,
        starting=step.starting,
        due_at=min(
            due_at(pace, signal.at, [dated]),
            _look_at([parameters.target_wait_seconds], pace, signal.at, looks),
        ),
        standing=stood,
    )
    if signal.complete and (not hold or stood.sure):
        after = _tracked(parameters, state, after, pool, step, hold_seconds=hold)
    if growing:
        return after, max(size, stock)
    return after, _kept(parameters, after, pool, stock=stock, hold_seconds=hold)


def _tracked(
    parameters: TargetWaitPolicy,
    state: TargetWaitState,
    after: TargetWaitState,
    pool: Pool,
    step: Step,
    *,
    hold_seconds: float,
) -> TargetWaitState:
    """The same with the sizes that were needed; of those that were guesses, none is held."""
    held, backlog = bool(hold_seconds), bool(after.last and after.last.backlog)
    passed = _held(parameters, step, after.standing) if held else _passed(parameters, step, hold_seconds)
    before = Retention() if held and not state.settled else state.retention
    return after._replace(
        retention=retention.track(parameters, before, pool, passed, hold_seconds=hold_seconds),
        settled=state.settled or (not backlog and (held or _is_known(step.ended_total, after.last))),
    )


def _is_known(ended: float, last: Signal | None) -> bool:
    """Whether it is known how long a start and a task take, so that a need is no guess."""
    return ended >= _KNOWN_TASKS and last is not None and last.start_seconds is not None


def _kept(
    parameters: TargetWaitPolicy, after: TargetWaitState, pool: Pool, *, stock: int, hold_seconds: float
) -> int:
    """The size to keep where nothing more is needed, no less than ``stock``."""
    signal = after.last
    if signal is None or signal.backlog or not signal.complete:
        return max(1, pool.processes)
    # A shrink takes idle processes and leaves those that still start.
    starting = any(ready_at > pool.at for ready_at, _ in after.starting)
    if hold_seconds and (starting or after.standing.settles):
        return max(1, pool.processes)
    floor = max(1, min(signal.busy, pool.processes), stock)
    return retention.retained(parameters, after.retention, pool, floor, hold_seconds=hold_seconds)


def advance_fleet(
    parameters: TargetWaitPolicy,
    state: TargetWaitState,
    signal: Signal,
    fleet: Fleet,
    looks: Looks = UNKNOWN_LOOKS,
) -> tuple[TargetWaitState, Needs]:
    """Return what to remember and what workers that share queues need, each along its edges.

    ``signal`` is all of ``fleet`` together: service time, arrivals and gaps are learnt from it. Otherwise as
    :func:`advance`.
    """
    sizes = tuple(member.processes for member in fleet.members)
    nothing = Needs((0,) * len(sizes), (0,) * len(fleet.channels), sizes, sum(sizes))
    if not _is_newer(state, signal):
        return state, nothing
    targets = [channel.target_wait_seconds for channel in fleet.channels] or [parameters.target_wait_seconds]
    state = _of_several(_in_time(state, signal), fleet, min(targets))
    step = step_since(parameters, state, signal)
    backlog, fetched = follow(
        state.backlog,
        fleet,
        since=step.since,
        asked_at=signal.at if state.last is None else state.last.at,
        at=signal.at,
        start_seconds=step.start_seconds,
        start_known=step.start_known,
        gap_seconds=step.gap_seconds,
    )
    # Where growth comes in time for some of the queues, no size is held for the others.
    shortest, longest = parameters.aimed_at(min(targets)), parameters.aimed_at(max(targets))
    hold, late = (_hold_seconds(one, state, step, looks) for one in (longest, shortest))
    asked = bool(backlog.starting) and signal.processes > signal.busy
    pace = _pace(longest, step, looks, held=bool(hold), asked=asked)._replace(in_time=not late)
    own, shared = own_and_shared(Look(fleet, backlog, pace, signal.at))
    due = due_at(pace, signal.at, [*backlog.queues.values(), *backlog.held.values()])
    look_at = _look_at(set(targets), pace, signal.at, looks)
    after = _learn(state, signal, step)._replace(backlog=backlog, due_at=min(due, look_at))
    needs = nothing._replace(own=tuple(own), shared=tuple(shared))
    if not signal.complete:
        return after, needs
    passed = _passed(shortest, step, hold)
    came = fetched if step.counted else [0] * len(fetched)
    gaps, keep, kept = _retained(parameters, state, fleet, came, passed, at=signal.at, hold_seconds=hold)
    return after._replace(gaps=gaps, retention=Retention()), needs._replace(keep=keep, kept=kept)


def _retained(
    parameters: TargetWaitPolicy,
    state: TargetWaitState,
    fleet: Fleet,
    fetched: Sequence[int],
    passed: Passed,
    *,
    at: float,
    hold_seconds: float,
) -> tuple[dict[str, Retention], tuple[int, ...], int]:
    """The gaps of each worker, the size that each keeps at least, and what is worth keeping of all."""
    keep = tuple(map(floor, fleet.members, fleet.consumed))
    gaps: dict[str, Retention] = {}
    kept = 0
    # A newcomer learns from what one of the others has learnt.
    before, seen = state.gaps, state.backlog.seen
    known = next(iter(before.values()), state.retention)
    for member, one, arrived, least in zip(fleet.members, fleet.consumed, fetched, keep, strict=True):
        name = member.name
        # What one runs that was not looked at before has not come just now.
        pool = Pool(at, member.processes, in_hand(member, one), arrived if name in seen else 0)
        gaps[name] = learnt = retention.track(parameters, before.get(name, known), pool, passed)
        kept += retention.retained(parameters, learnt, pool, least or 1, hold_seconds=hold_seconds)
    return gaps, keep, kept


def _is_newer(state: TargetWaitState, signal: Signal) -> bool:
    last = state.last
    return last is None or signal.at > last.at or signal.at <= last.at - _MAX_CLOCK_SLIP_SECONDS


def _in_time(state: TargetWaitState, signal: Signal) -> TargetWaitState:
    """The state, moved with the clock where that went back further than a signal can be late."""
    last = state.last
    return state if last is None or signal.at > last.at else after_slip(state, last, signal.at)


def _of_one(parameters: TargetWaitPolicy, state: TargetWaitState) -> TargetWaitState:
    """The state of the one worker that is left of several."""
    if not state.backlog.seen:
        return state
    batches, runs = as_pool(state.backlog, parameters.target_wait_seconds)
    return state._replace(
        batches=batches,
        runs=runs,
        starting=tuple(sorted(one for batches in state.backlog.starting.values() for one in batches)),
        retention=next(iter(state.gaps.values()), state.retention),
        backlog=Backlog(),
        gaps={},
        settled=_is_known(state.ended, state.last),
    )


def _of_several(state: TargetWaitState, fleet: Fleet, target_wait_seconds: float) -> TargetWaitState:
    """The state of one worker that others have joined."""
    if state.backlog.seen or state.last is None:
        return state
    backlog = of_pool(state.batches, state.last.busy, target_wait_seconds, fleet, state.starting)
    return state._replace(backlog=backlog, batches=(), runs=())


def _look_at(targets: Iterable[float], pace: Pace, at: float, looks: Looks) -> float:
    """When to look for tasks that have not come yet, infinite where the usual look comes in time."""
    return at + min((look_within(one, pace.growth_seconds, looks) for one in targets), default=math.inf)


def _hold_seconds(parameters: TargetWaitPolicy, state: TargetWaitState, step: Step, looks: Looks) -> float:
    """How long to keep what the tasks needed last, whatever it costs: 0 where growth comes in time.

    Where it does not, only what is there already starts a task in time.
    """
    growth_seconds = step.start_seconds + parameters.margin_seconds
    if not comes_too_late(parameters.target_wait_seconds, growth_seconds, looks):
        return 0.0
    tasks_seconds = _HELD_TASKS / max(state.arrivals_per_second, 1e-9)
    hold = max(tasks_seconds, _HELD_SERVICES * step.service_seconds, _MIN_HOLD_SECONDS)
    return min(hold, _MAX_HOLD_SECONDS)


def _stood(
    parameters: TargetWaitPolicy,
    state: TargetWaitState,
    signal: Signal,
    step: Step,
    looks: Looks,
) -> Standing:
    """What must be there beforehand; nothing where a growth is known to come in time."""
    hold = _hold_seconds(parameters, state, step, looks)
    if not hold and step.start_known:
        return Standing()
    terms = Terms(
        target_seconds=parameters.target_wait_seconds,
        growth_seconds=step.start_seconds + (looks.usual_seconds or 0.0),
        hold_seconds=max(hold, _MIN_HOLD_SECONDS),
        remembered_tasks=max(parameters.remembered_tasks, state.arrivals_per_second * MIN_WINDOW_SECONDS),
    )
    since = Since(
        step.seconds,
        max(0, step.net_arrived),
        step.started,
        step.ended,
        step.busy_seconds,
        step.service_seconds,
        step.counted,
    )
    return standing.follow(state.standing, since, state.last, signal, terms)


def _held(parameters: TargetWaitPolicy, step: Step, stood: Standing) -> Passed:
    """What happens to pools that start the tasks by themselves: no start can be late, and no look."""
    service_seconds = stood.service_seconds
    return retention.passed(
        step.seconds,
        service_seconds=service_seconds,
        slack_seconds=parameters.target_wait_seconds - YOUNG_SHARE * service_seconds,
        tick_seconds=step.tick_seconds,
    )


def _passed(parameters: TargetWaitPolicy, step: Step, hold_seconds: float) -> Passed:
    # What is held has to start the tasks by itself, and young tasks end late; else there is time for a growth
    # less.
    held_lead = YOUNG_SHARE * step.service_seconds
    lead = held_lead if hold_seconds else step.start_seconds + step.tick_seconds
    return retention.passed(
        step.seconds,
        service_seconds=step.service_seconds,
        slack_seconds=parameters.planned_wait_seconds - lead,
        tick_seconds=step.tick_seconds,
    )


def _learn(state: TargetWaitState, signal: Signal, step: Step) -> TargetWaitState:
    """What is learnt of the work as a whole: how long tasks take and how many come.

    Nothing is where a part of it is not known; what came in a time that nobody saw gives no rate.
    """
    if not signal.complete:
        return state._replace(last=signal)
    fresh = -math.expm1(-step.seconds / MIN_WINDOW_SECONDS) if step.counted else 0.0
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
        retention=state.retention,
        standing=state.standing,
        starting=step.starting,
        settled=state.settled,
    )


def _pace(parameters: TargetWaitPolicy, step: Step, looks: Looks, *, held: bool, asked: bool) -> Pace:
    tick, soonest = step.tick_seconds, looks.soonest_seconds
    return Pace(
        service_seconds=step.service_seconds,
        start_seconds=step.start_seconds,
        tick_seconds=tick if soonest is None else min(tick, soonest),
        margin_seconds=parameters.margin_seconds,
        caution=parameters.release_caution,
        start_known=step.start_known,
        service_known=step.ended_total > 0 or not held,
        held_seconds=parameters.planned_wait_seconds if held or (asked and not step.start_known) else None,
    )


def _missing(pace: Pace, signal: Signal, step: Step, dated: Sequence[tuple[float, float]], runs: Runs) -> int:
    """Return how many processes must be asked for now so that each position starts by its deadline.

    None is asked for while the same number would still do a tick later.
    """
    spare, share = max(0, signal.processes - signal.busy), signal.share_run
    need = need_of(
        positions([(due, count * share) for due, count in dated], 0),
        lambda horizon: (
            pace.freed(runs, signal.at, horizon) + pace.spare(spare, step.starting, signal.at, horizon)
        ),
        pace,
        signal.at,
    )
    limit = min(signal.in_system - max(signal.processes, signal.busy), pace.max_growth(signal.processes))
    return int(max(0, min(need.asked(), limit)))
