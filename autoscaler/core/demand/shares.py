"""How many more processes each worker needs, and each channel, so that every task starts in time.

Pure. What a worker has fetched is its own need, and so is what waits where only it consumes: it is compared
with what the worker's own processes can start. What waits in shared queues is routed to what the workers have
left, each channel along its edges; what no routing can start in time asks for more processes on the workers
that can take it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core.demand.routes import unmet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from autoscaler.core.demand.backlog import Backlog
    from autoscaler.core.demand.fleet import Channel, Consumed, Fleet, Member
    from autoscaler.core.demand.pace import Pace

#: Edges that one look may route over, summed over the moments that are checked.
_MAX_ROUTED_EDGES = 20_000
_MAX_MOMENTS = 16


class Need(NamedTuple):
    """Processes: needed now, needed a tick later, and whether one of the tasks cannot wait for that."""

    now: float = 0.0
    later: float = 0.0
    due: bool = False

    def asked(self) -> int:
        """What to ask for now: nothing while the same number would still do a tick later."""
        needed = math.ceil(self.now - 1e-9)
        return needed if self.due or math.ceil(self.later - 1e-9) > needed else 0


class Look(NamedTuple):
    """A fleet at one moment, with what is known of its backlog and how fast its processes start tasks."""

    fleet: Fleet
    backlog: Backlog
    pace: Pace
    at: float


#: How many tasks one worker's processes start within a horizon.
_Starts = Callable[[float], float]
#: What each worker can start within a horizon, by its number.
_Supplies = Callable[[float], Sequence[float]]


def own_and_shared(look: Look) -> tuple[list[int], list[int]]:
    """More processes by worker, for what only it can start, and by channel, for its consumers together."""
    fleet = look.fleet
    pairs = list(zip(fleet.members, fleet.consumed, strict=True))
    own = [_own(look, member, one) for member, one in pairs]
    shared = [0] * len(fleet.channels)
    waiting = [one for one in fleet.shared() if fleet.channels[one].waiting]
    if not waiting:
        return own, shared
    starts = [_starts(look, member) for member in fleet.members]
    mine = [member.reserved + one.exclusive_tasks for member, one in pairs]
    left = _left_over(look.pace, starts, own, mine)
    if len(waiting) == 1:
        needs = [_alone(look, fleet.channels[waiting[0]], left)]
    else:
        needs = _together(look, [fleet.channels[one] for one in waiting], left)
    for number, need in zip(waiting, needs, strict=True):
        consumers = fleet.channels[number].consumers
        limit = look.pace.max_growth(sum([fleet.members[one].processes for one in consumers]))
        shared[number] = int(max(0, min(need.asked(), fleet.channels[number].tasks, limit)))
    return own, shared


def _own(look: Look, member: Member, consumed: Consumed) -> int:
    if not (member.reserved or consumed.exclusive):
        return 0
    # A process that is to go once its task ends is no free one: taking it back is a growth.
    taken_back = max(0, member.busy - member.processes)
    beyond = member.reserved + consumed.exclusive_tasks - max(0, member.processes - member.busy)
    if beyond <= 0:
        return taken_back
    dated = positions(look.backlog.held.get(member.name, ()), 0)
    if consumed.exclusive:
        queued = [_running(channel, look.backlog) for channel in consumed.exclusive]
        dated += _interleaved(queued, member.reserved)
    need = need_of(dated, _starts(look, member), look.pace, look.at)
    return max(0, min(need.asked(), beyond)) + taken_back


def _starts(look: Look, member: Member) -> _Starts:
    """How many tasks the worker's processes start within a horizon."""
    pace, at, spare = look.pace, look.at, max(0, member.processes - member.busy)
    runs = look.backlog.runs.get(member.name, ())
    starting = look.backlog.starting.get(member.name, ())
    return lambda horizon: pace.freed(runs, at, horizon) + pace.spare(spare, starting, at, horizon)


def _running(channel: Channel, backlog: Backlog) -> Sequence[tuple[float, float]]:
    """The latest starts of what waits in a channel, without what will need no process."""
    batches, share = backlog.queues.get(channel.queues, ()), channel.share_run
    return batches if share == 1 else [(due, count * share) for due, count in batches]


def positions(batches: Sequence[tuple[float, float]], before: float) -> list[tuple[float, float]]:
    """(latest start, how many start up to and with it) of tasks in one order."""
    dated = []
    for due, count in batches:
        before += count
        dated.append((due, before))
    return dated


def _interleaved(
    queued: Sequence[Sequence[tuple[float, float]]], before: int
) -> Iterable[tuple[float, float]]:
    """The same for several queues: a worker takes from them in turn."""
    totals = [sum(count for _, count in batches) for batches in queued]
    for batches in queued:
        for due, position in positions(batches, 0):
            yield due, before + sum(min(position, total) for total in totals)


def need_of(
    dated: Sequence[tuple[float, float]], starts: Callable[[float], float], pace: Pace, at: float
) -> Need:
    """What is needed so that each position starts in time; ``starts`` is what happens anyway by a horizon."""
    now = later = 0.0
    due = False
    first = min([when for when, _ in dated], default=at)
    for when, position in dated:
        left = when - pace.margin_seconds - at
        horizon = pace.horizon(left)
        short = position - starts(horizon)
        if short <= 0:
            continue
        slack = pace.slack(horizon, when - first)
        now = max(now, short / pace.started(slack))
        later = max(later, short / pace.started_later(slack))
        due = due or pace.hurries(left)
    return Need(now, later, due)


def _left_over(pace: Pace, starts: Sequence[_Starts], own: Sequence[int], mine: Sequence[int]) -> _Supplies:
    """What each worker can start within a horizon beyond its own tasks (``mine``), kept for each horizon.

    ``own`` is what it is to grow by for them.
    """
    parts = list(zip(starts, own, mine, strict=True))
    known: dict[float, list[float]] = {}

    def left(horizon: float) -> Sequence[float]:
        if horizon not in known:
            slack = pace.slack(horizon)
            new = pace.started(slack) if slack >= 0 else 0.0
            beyond = [by(horizon) + more * new - tasks for by, more, tasks in parts]
            known[horizon] = [one if one > 0 else 0.0 for one in beyond]
        return known[horizon]

    return left


def _alone(look: Look, channel: Channel, left: _Supplies) -> Need:
    def starts(horizon: float) -> float:
        found = left(horizon)
        return sum([found[one] for one in channel.consumers])

    return need_of(positions(_running(channel, look.backlog), 0), starts, look.pace, look.at)


def _together(look: Look, channels: Sequence[Channel], left: _Supplies) -> list[Need]:
    """The same for channels whose consumers overlap: at each moment, what no routing starts by then."""
    pace = look.pace
    edges = [channel.consumers for channel in channels]
    dated_of = [positions(_running(channel, look.backlog), 0) for channel in channels]
    moments = sorted({due for dated in dated_of for due, _ in dated})
    allowed = max(2, min(_MAX_MOMENTS, _MAX_ROUTED_EDGES // max(1, sum(map(len, edges)))))
    if len(moments) > allowed:
        step = (len(moments) - 1) / (allowed - 1)
        moments = [moments[round(place * step)] for place in range(allowed)]
    needs = [Need()] * len(channels)
    for when in moments:
        time_left = when - pace.margin_seconds - look.at
        horizon = pace.horizon(time_left)
        wanted = [max((position for due, position in dated if due <= when), default=0) for dated in dated_of]
        short = unmet(wanted, left(horizon), edges)
        slack = pace.slack(horizon, when - moments[0])
        new, newer = pace.started(slack), pace.started_later(slack)
        hurry = pace.hurries(time_left)
        for place, missing in enumerate(short):
            if missing > 0:
                before = needs[place]
                needs[place] = Need(
                    max(before.now, missing / new), max(before.later, missing / newer), before.due or hurry
                )
    return needs


def due_at(pace: Pace, at: float, backlogs: Iterable[Sequence[tuple[float, float]]]) -> float:
    """When the next decision is due: the latest at which a process for the most urgent task can be asked for.

    From then on it is looked at as often as is allowed, until the task has started.
    """
    urgent = min((due for dated in backlogs for due, _ in dated), default=math.inf)
    return max(urgent - pace.margin_seconds - pace.start_seconds - pace.tick_seconds, at)


def floor(member: Member, consumed: Consumed) -> int:
    """Below which size a worker must not go: it keeps all it has while tasks wait that it can take."""
    works = member.reserved or consumed.waits
    return member.processes if works else min(member.busy, member.processes)


def in_hand(member: Member, consumed: Consumed) -> int:
    """The tasks that a worker runs and holds, and its part of what waits in the queues that it consumes."""
    return member.busy + member.reserved + consumed.part
