"""Whether the target wait can be kept at all within the bounds, and how many processes that would take.

Pure. Tasks that arrive together need so many processes that all of them start within the target: each starts
one at once and then one for each service time. Where that is more than the bounds allow, and the tasks that
wait are late even if all the processes that are allowed take them now, the target is out of reach. It is
remembered for a while, for bursts come and go.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core.demand.learning import start_seconds

if TYPE_CHECKING:
    from autoscaler.core.demand.learning import TargetWaitState
    from autoscaler.core.demand.pace import Looks
    from autoscaler.core.demand.parameters import TargetWaitPolicy

#: How long a need is remembered after it was last seen.
HOLD_SECONDS = 900.0
#: After so many tasks the service time is no guess: the first ones of a new process are slow.
_KNOWN_TASKS = 10.0
#: Looks at arrivals that a busy time is remembered in; above it the two oldest are merged.
_MAX_ARRIVALS = 64
#: Between two looks that are further apart, nobody knows when tasks arrived.
_MAX_GAP_SECONDS = 10.0


class Look(NamedTuple):
    """One look at a group: ``tasks`` are in the system, ``backlog`` of them have not started.

    ``ended`` counts tasks that ended and only its growth means anything; ``service_seconds`` is None until it
    is learnt, ``limit`` (processes) where no bound is known.
    """

    at: float
    tasks: int
    backlog: int
    ended: int
    target_seconds: float
    service_seconds: float | None
    limit: int | None


class Reach(NamedTuple):
    """What is remembered: the last look, and (monotonic seconds, tasks) of arrivals since nothing waited.

    ``current`` processes are needed and not allowed since then, ``earlier`` ones were before that; 0 is none.
    ``needed_at`` is when that was last seen.
    """

    last: Look | None = None
    arrivals: tuple[tuple[float, int], ...] = ()
    current: int = 0
    earlier: int = 0
    needed_at: float = -math.inf

    @property
    def needed(self) -> int:
        """Processes that it takes and that are not allowed; 0 where the target is within reach."""
        return max(self.current, self.earlier)


def look_within(target_seconds: float, growth_seconds: float, looks: Looks) -> float:
    """Seconds within which to look again although nothing is due, so that a growth keeps the target.

    A task is seen a look later, and a growth takes its time from there on. Infinite where the usual look
    comes in time, and where none can.
    """
    usual, least = looks.usual_seconds, looks.least_seconds
    if usual is None or least is None or comes_too_late(target_seconds, growth_seconds, looks):
        return math.inf
    left = max(least, target_seconds - growth_seconds)
    return left if left < usual else math.inf


def comes_too_late(target_seconds: float, growth_seconds: float, looks: Looks) -> bool:
    """Whether a growth cannot keep the target, however often is looked."""
    least = looks.least_seconds
    return least is not None and target_seconds < least + growth_seconds


def shortest_learnt(parameters: TargetWaitPolicy, state: TargetWaitState, looks: Looks) -> float | None:
    """The shortest target that growth can keep, as learnt; None where nobody knows how often is looked."""
    least = looks.least_seconds
    if state.last is None or least is None:
        return None
    return least + start_seconds(parameters, state.last) + parameters.margin_seconds


def surely_served(parameters: TargetWaitPolicy, state: TargetWaitState) -> float | None:
    """The learnt service time, None while so few tasks have ended that it is a guess."""
    known = state.ended >= min(_KNOWN_TASKS, parameters.remembered_tasks / 2)
    return state.service_seconds if known else None


def follow(before: Reach, look: Look) -> Reach:
    """What is remembered after one look."""
    last, current, earlier = before.last, before.current, before.earlier
    if before.needed and (
        look.at - before.needed_at > HOLD_SECONDS or (look.limit is not None and before.needed <= look.limit)
    ):
        current = earlier = 0
    if last is None or look.at - last.at > _MAX_GAP_SECONDS or look.at <= last.at:
        return Reach(look, (), current, earlier, before.needed_at)
    arrived = max(0, look.ended - last.ended) + look.tasks - last.tasks
    known = before.arrivals if last.backlog else ()
    if not last.backlog:
        current, earlier = 0, max(current, earlier)
    arrivals = (*known, ((last.at + look.at) / 2, arrived)) if arrived > 0 else known
    while len(arrivals) > _MAX_ARRIVALS:
        arrivals = ((arrivals[0][0], arrivals[0][1] + arrivals[1][1]), *arrivals[2:])
    needed = _missed(arrivals, look)
    if not needed:
        return Reach(look, arrivals, current, earlier, before.needed_at)
    return Reach(look, arrivals, needed, earlier, look.at)


def _missed(arrivals: tuple[tuple[float, int], ...], look: Look) -> int:
    """The processes that are needed, where they are more than is allowed and a task will be late; else 0."""
    if look.limit is None or sum([tasks for _, tasks in arrivals]) <= look.limit:
        return 0
    needed = _needed(arrivals, look)
    return needed if needed > look.limit and _is_late(arrivals, look, look.limit) else 0


def _needed(arrivals: tuple[tuple[float, int], ...], look: Look) -> int:
    """Processes that start all that arrived in time, had they been there: the most over all last arrivals."""
    if not look.service_seconds:
        return 0
    most, count = 0.0, 0
    for at, tasks in reversed(arrivals):
        count += tasks
        seconds = arrivals[-1][0] - at + look.target_seconds
        most = max(most, count / (1 + seconds / look.service_seconds))
    return math.ceil(most - 1e-9)


def _is_late(arrivals: tuple[tuple[float, int], ...], look: Look, limit: int) -> bool:
    """Whether a task that waits will miss the target although ``limit`` processes take what waits now."""
    remaining = look.backlog
    for at, tasks in reversed(arrivals):
        starts_in = remaining * (look.service_seconds or 0.0) / max(1, limit)
        if remaining > 0 and look.at - at + starts_in > look.target_seconds:
            return True
        remaining -= tasks
    return False
