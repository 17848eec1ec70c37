"""How many processes the work asks for, by two thresholds of the load.

Pure. ``load`` is tasks per process: waiting, reserved and running, ETA tasks left out. Beyond a threshold
for its delay, the recommendation is the size that brings the load back to 1; between the thresholds it is the
current size. Vocabulary and shape follow the Kubernetes HPA and Knative's autoscaler.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core.demand.fleet import Needs
from autoscaler.core.demand.routes import unmet
from autoscaler.core.model import Reason, Recommendation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.core.demand.fleet import Fleet
    from autoscaler.core.demand.work import Work
    from autoscaler.core.policy import Policy


class Watch(NamedTuple):
    """Since when the load is beyond each threshold (monotonic seconds), None where it is not."""

    high_since: float | None = None
    low_since: float | None = None


class HighLoad(NamedTuple):
    """The highest load of any part of a fleet, and the processes of all with which it is 1 there."""

    load: float
    processes: int


def high_load(fleet: Fleet, tasks: Sequence[int], needs: Needs, work: Work) -> HighLoad:
    """The load where it is highest: all of the work, one worker's own tasks, or one channel's consumers.

    ``tasks`` are the :func:`own_tasks`.
    """
    loads = [work.load]
    loads += [_load(count, member.processes) for count, member in zip(tasks, fleet.members, strict=True)]
    for channel in fleet.channels:
        if channel.waiting:
            count = channel.tasks + sum([tasks[one] for one in channel.consumers])
            loads.append(_load(count, sum([fleet.members[one].processes for one in channel.consumers])))
    return HighLoad(max(loads), sum([member.processes for member in fleet.members]) + needs.growth)


def needs_of_load(fleet: Fleet, tasks: Sequence[int]) -> Needs:
    """A process for each task: for a worker's own tasks on it, for those of shared queues along the edges.

    ``tasks`` are the :func:`own_tasks`.
    """
    sizes = [member.processes for member in fleet.members]
    pairs = list(zip(sizes, tasks, strict=True))
    shared = [0] * len(fleet.channels)
    numbers = [one for one in fleet.shared() if fleet.channels[one].waiting]
    if numbers:
        free = [size - count if size > count else 0 for size, count in pairs]
        waiting = [fleet.channels[one].tasks for one in numbers]
        edges = [fleet.channels[one].consumers for one in numbers]
        for number, left in zip(numbers, unmet(waiting, free, edges), strict=True):
            shared[number] = round(left)
    return Needs(
        own=tuple([count - size if count > size else 0 for size, count in pairs]),
        shared=tuple(shared),
        keep=tuple(map(min, sizes, tasks)),
        kept=sum(sizes),
    )


def own_tasks(fleet: Fleet) -> list[int]:
    """What only one worker can do: what it has fetched and runs, and what waits where nobody else consumes.

    By worker. A retiring process does its own task; that task asks for no other process.
    """
    return [
        member.reserved
        + (member.busy - member.retiring if member.busy > member.retiring else 0)
        + consumed.exclusive_tasks
        for member, consumed in zip(fleet.members, fleet.consumed, strict=True)
    ]


def _load(tasks: int, processes: int) -> float:
    return tasks / processes if processes else (math.inf if tasks else 0.0)


def thresholds(
    policy: Policy, watch: Watch, work: Work, at: float, high_load: HighLoad | None = None
) -> tuple[Watch, Recommendation]:
    """The recommendation by two thresholds with delays, and the watch to pass in next time.

    ``high_load`` is the load where it is highest, None where all of the work can be done by any of the
    processes. Incomplete work can only ask for more: what is not known may be work.
    """
    highest = high_load or HighLoad(work.load, work.tasks)
    high = highest.load > policy.scale_up_threshold
    low = not high and work.load < policy.scale_down_threshold and work.complete
    watch = Watch(
        high_since=_since(watch.high_since, at) if high else None,
        low_since=_since(watch.low_since, at) if low else None,
    )
    for since, delay, reason, tasks in (
        (watch.high_since, policy.scale_up_delay_seconds, Reason.LOAD_HIGH, highest.processes),
        (watch.low_since, policy.scale_down_delay_seconds, Reason.LOAD_LOW, work.tasks),
    ):
        if since is None:
            continue
        if at - since < delay:
            return watch, Recommendation(processes=work.processes, reason=Reason.DELAYED, before_delays=tasks)
        return watch, Recommendation(processes=tasks, reason=reason, before_delays=tasks)
    return watch, Recommendation(processes=work.processes, reason=Reason.STEADY, before_delays=work.processes)


def _since(earlier: float | None, at: float) -> float:
    return at if earlier is None else earlier
