"""When each task that waits must start: in the queues, and fetched by each worker.

Pure. A queue hands out its oldest messages first, so what waits there is the newest of what arrived, and
what a worker holds is the newest of what it fetched. Which queue a worker fetched from is not reported: its
fetches count evenly for those of its queues that had messages, and where none had, for the most urgent.
"""

from __future__ import annotations

import math
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from autoscaler.core.demand.fleet import Fleet, Member

#: So many tasks must start by a time: (latest start, count), oldest first.
Batches = tuple[tuple[float, int], ...]
#: Size, busy, reserved and completed of a worker.
_Seen = tuple[int, int, int, int | None]
#: What came in a gap is taken for so many batches.
_GAP_BATCHES = 16
#: Batches that are remembered of one queue or worker; above it two neighbours are merged.
_MAX_BATCHES = 64


class Backlog(NamedTuple):
    """What waits, by channel (its queues) and by worker, each with its latest starts.

    ``seen`` is what each worker had at the last look. ``starting`` are the processes that a worker has got
    and that do not take tasks yet, by when they do, and ``runs`` when the tasks that it runs have started, at
    the latest.
    """

    queues: Mapping[tuple[str, ...], Batches] = MappingProxyType({})
    held: Mapping[str, Batches] = MappingProxyType({})
    seen: Mapping[str, _Seen] = MappingProxyType({})
    starting: Mapping[str, Batches] = MappingProxyType({})
    runs: Mapping[str, Batches] = MappingProxyType({})


def of_pool(
    batches: Batches, running: int, target_wait_seconds: float, fleet: Fleet, starting: Batches
) -> Backlog:
    """The backlog of one worker that others have joined; ``batches`` are by arrival, oldest first.

    The ``running`` tasks came before them, and the ``starting`` processes are those of one of the workers.
    """
    if not batches:
        return Backlog()
    everything = tuple(sorted(queue for channel in fleet.channels for queue in channel.queues))
    known = ((batches[0][0], running), *batches)
    dated = tuple((since + target_wait_seconds, count) for since, count in known)
    return Backlog(
        queues={everything: dated}, starting=dict.fromkeys((one.name for one in fleet.members), starting)
    )


def as_pool(backlog: Backlog, target_wait_seconds: float) -> tuple[Batches, Batches]:
    """The backlog of several workers as that of the one that is left: by arrival, and what runs."""
    waiting = (*backlog.queues.values(), *backlog.held.values())
    arrived = sorted((due - target_wait_seconds, count) for batches in waiting for due, count in batches)
    return tuple(arrived), tuple(sorted(run for runs in backlog.runs.values() for run in runs))


def follow(
    before: Backlog,
    fleet: Fleet,
    *,
    since: float,
    asked_at: float,
    at: float,
    start_seconds: float,
    start_known: bool = True,
    gap_seconds: float = 0.0,
) -> tuple[Backlog, list[int]]:
    """The backlog as it is at ``at``, and how many tasks each worker has fetched since the last look.

    Tasks that came since the last look came at ``since``, or within ``gap_seconds`` after it. What was asked
    for at that look was asked for at ``asked_at``.
    """
    before = _by_present_channel(before, fleet)
    lasts = [before.seen.get(member.name) for member in fleet.members]
    ended = [0 if last is None else _ended(last, one) for last, one in zip(lasts, fleet.members, strict=True)]
    fetched = list(map(_fetched, lasts, fleet.members, ended))
    queues, handed = _queued(before, fleet, fetched, since=since, gap_seconds=gap_seconds, at=at)
    held, seen, starting, runs = {}, {}, {}, {}
    for number, (member, last) in enumerate(zip(fleet.members, lasts, strict=True)):
        name, processes, busy, reserved, completed, *_ = member
        if reserved:
            had = (*before.held.get(name, ()), *sorted(handed.get(number, ())))
            held[name] = _newest(had, reserved, since + fleet.consumed[number].target_wait_seconds)
        more = 0 if last is None else processes - last[0]
        if more > 0 or name in before.starting:
            known, ready_at = before.starting.get(name, ()), asked_at + start_seconds
            idle = processes - busy
            starts = starting_after(known, more, ready_at, idle=idle, at=at, start_known=start_known)
            if starts:
                starting[name] = starts
        if busy:
            started = busy if last is None else max(0, busy - last[1] + ended[number])
            runs[name] = runs_after(before.runs.get(name, ()), busy, started, at)
        seen[name] = (processes, busy, reserved, completed)
    return Backlog(queues=queues, held=held, seen=seen, starting=starting, runs=runs), fetched


def _queued(
    before: Backlog, fleet: Fleet, fetched: Sequence[int], *, since: float, gap_seconds: float, at: float
) -> tuple[dict[tuple[str, ...], Batches], dict[int, list[tuple[float, int]]]]:
    """What waits in each channel, and what each worker, by its number, was handed from them."""
    by_channel = _by_channel(before, fleet, fetched)
    queues: dict[tuple[str, ...], Batches] = {}
    handed: dict[int, list[tuple[float, int]]] = {}
    for number, channel in enumerate(fleet.channels):
        old, takers = before.queues.get(channel.queues, ()), by_channel.get(number, {})
        taken = sum(takers.values())
        waiting = channel.waiting
        if not (old or waiting or taken):
            continue
        arrived = max(0, waiting - sum(count for _, count in old) + taken)
        due = since + channel.target_wait_seconds
        known = (*old, *spread(due, gap_seconds, arrived))
        gone, _ = _split(known, taken)
        for taker, count in takers.items():
            part, gone = _split(gone, count)
            handed.setdefault(taker, []).extend(part)
        kept = _newest(known, waiting, due)
        if kept and channel.oldest_age_seconds is not None:
            oldest = at - channel.oldest_age_seconds + channel.target_wait_seconds
            kept = ((min(kept[0][0], oldest), kept[0][1]), *kept[1:])
        if kept:
            queues[channel.queues] = kept
    return queues, handed


def _by_present_channel(backlog: Backlog, fleet: Fleet) -> Backlog:
    """What waited in each channel that there is now: which queues are one is by who consumes them.

    What waited in one that is gone is that of those with its queues, by what waits in each.
    """
    before, present = backlog.queues, {channel.queues for channel in fleet.channels}
    if before.keys() <= present:
        return backlog
    found = {queues: batches for queues, batches in before.items() if queues in present}
    for queues, batches in before.items():
        heirs = [one for one in fleet.channels if not set(queues).isdisjoint(one.queues)]
        waiting = sum(one.waiting for one in heirs)
        for one in heirs if queues not in present else ():
            part = one.waiting / waiting if waiting else 1 / len(heirs)
            more = ((due, math.ceil(count * part)) for due, count in batches)
            found[one.queues] = tuple(sorted((*found.get(one.queues, ()), *more)))
    return backlog._replace(queues=found)


def moved(batches: Batches, seconds: float) -> Batches:
    """The same where each moment is so many seconds later."""
    return tuple((when + seconds, count) for when, count in batches)


def moved_backlog(backlog: Backlog, seconds: float) -> Backlog:
    """The same where each moment is so many seconds later."""
    return backlog._replace(
        queues={queues: moved(batches, seconds) for queues, batches in backlog.queues.items()},
        held={name: moved(batches, seconds) for name, batches in backlog.held.items()},
        starting={name: moved(batches, seconds) for name, batches in backlog.starting.items()},
        runs={name: moved(batches, seconds) for name, batches in backlog.runs.items()},
    )


def spread(since: float, gap_seconds: float, count: int) -> Batches:
    """When ``count`` tasks came: all at ``since`` at the earliest, or evenly over a gap that began then.

    What happened in a gap nobody saw: all of it at its beginning would make each task late.
    """
    if not gap_seconds:
        return ((since, count),) if count else ()
    each, rest = divmod(count, _GAP_BATCHES)
    counts = [each + (place < rest) for place in range(_GAP_BATCHES)]
    step = gap_seconds / _GAP_BATCHES
    return tuple((since + step * place, part) for place, part in enumerate(counts) if part)


def runs_after(before: Batches, busy: int, started: int, started_at: float) -> Batches:
    """When the tasks that run have started: the oldest end first."""
    return _newest((*before, (started_at, started)) if started else before, busy, started_at)


def starting_after(
    before: Batches, more: int, ready_at: float, *, idle: int, at: float, start_known: bool
) -> Batches:
    """The processes that are not ready: of those that were not before, and ``more`` that are at ``ready_at``.

    No more than are ``idle``: what runs a task is ready, and the oldest are the first. Without a
    ``start_known`` nothing else tells that one is ready.
    """
    after = at if start_known else -math.inf
    starts = [(when, count) for when, count in (*before, (ready_at, more)) if when > after and count > 0]
    return _newest(starts, min(max(0, idle), sum([count for _, count in starts])), ready_at)


def _fetched(last: _Seen | None, member: Member, ended: int) -> int:
    more = member.busy + member.reserved
    if last is not None:
        more += ended - last[1] - last[2]
    return max(0, more)


def _ended(last: _Seen, member: Member) -> int:
    now, before = member.completed, last[3]
    # A worker that restarted counts from 0 again.
    return 0 if now is None or before is None or now < before else now - before


def _by_channel(before: Backlog, fleet: Fleet, fetched: Sequence[int]) -> dict[int, dict[int, int]]:
    """How many messages of each channel each worker has fetched, by their numbers."""
    full = [bool(one.waiting or before.queues.get(one.queues)) for one in fleet.channels]
    found: dict[int, dict[int, int]] = {}
    for number, member in enumerate(fleet.members):
        count = fetched[number]
        if not count or not member.channels:
            continue
        sources = [one for one in member.channels if full[one]]
        if not sources:  # they went through within the time between two looks
            sources = [min(member.channels, key=lambda one: fleet.channels[one].target_wait_seconds)]
        each, rest = divmod(count, len(sources))
        for place, source in enumerate(sources):
            share = each + (place < rest)
            if share:
                found.setdefault(source, {})[number] = share
    return found


def _split(batches: Sequence[tuple[float, int]], count: int) -> tuple[Batches, Batches]:
    """The first ``count`` tasks, as far as there are, and the others."""
    first: list[tuple[float, int]] = []
    for place, (due, there) in enumerate(batches):
        if there >= count:
            if count:
                first.append((due, count))
            rest = batches[place + 1 :] if there == count else ((due, there - count), *batches[place + 1 :])
            return tuple(first), tuple(rest)
        first.append((due, there))
        count -= there
    return tuple(first), ()


def _newest(batches: Sequence[tuple[float, int]], count: int, due: float) -> Batches:
    """The last ``count`` tasks; those that are not known came back, and are as old as the oldest known."""
    kept: list[tuple[float, int]] = []
    for when, there in reversed(batches):
        if not count:
            break
        taken = min(there, count)
        kept.append((when, taken))
        count -= taken
    kept.reverse()
    if count:
        kept.insert(0, (min(kept[0][0], due) if kept else due, count))
    return fewer(kept)


def fewer(batches: list[tuple[float, int]]) -> Batches:
    """No more batches than are remembered: neighbours become one that is as old as the older of them.

    Those are merged whose tasks then are least too old together. To merge the oldest ones only would make all
    that came in minutes as old as the first of it.
    """
    while len(batches) > _MAX_BATCHES:
        errors = [(later - when) * count for (when, _), (later, count) in pairwise(batches)]
        place = errors.index(min(errors))
        (when, count), (_, more) = batches[place : place + 2]
        batches[place : place + 2] = [(when, count + more)]
    return tuple(batches)
