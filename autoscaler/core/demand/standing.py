"""How many processes must be there beforehand where a growth comes too late for the tasks that have come.

Pure. Tasks come at a learnt rate, and some in surges beyond it. What is asked for now is ready a growth
later, so the pool has a base stock: what will be busy by then, and a spare beyond which few tasks wait too
long. It also takes the largest surge that is remembered.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core.demand import arrivals, backlog, queueing
from autoscaler.core.demand.arrivals import Arrivals
from autoscaler.core.demand.backlog import runs_after
from autoscaler.core.demand.pace import YOUNG_SHARE

if TYPE_CHECKING:
    from autoscaler.core.demand.backlog import Batches
    from autoscaler.core.demand.signal import Signal

#: So many tasks that ran are a crowd, and so many times those that are left.
_CROWD = 4
#: The estimate of what only a late start keeps in the system is wrong by no more than as much again.
_DELAYED_ERROR = 2.0
_MIN_SERVICE_SECONDS = 0.001
#: Share of the shortest time between two surges in which none is expected.
_SURELY_APART = 0.7
#: So many times as long as the last step, and there was a time in between that nobody saw.
_MAX_LATE = 1.5


class Since(NamedTuple):
    """What happened in ``seconds`` since the last look: tasks that came, started and ended.

    ``busy_seconds`` were spent by all that ran. ``service_seconds`` is what a task is taken to last while
    nothing is learnt here. The tasks are not all ``counted`` where nobody saw all of that time.
    """

    seconds: float
    arrived: int
    started: int
    ended: int
    busy_seconds: float
    service_seconds: float
    counted: bool = True


class Terms(NamedTuple):
    """What a pool has to keep to: times in seconds, and how many tasks the service time is learnt from.

    A surge is remembered for ``hold_seconds``. ``growth_seconds`` is a usual look and a start.
    """

    target_seconds: float
    growth_seconds: float
    hold_seconds: float
    remembered_tasks: float


class Served(NamedTuple):
    """The service time as learnt from the tasks that have ended, without what those that run have run.

    ``runs`` has when those started, and ``ages`` how long they have run together. ``pending_seconds`` were
    spent by tasks that ended and are not counted yet; ``seconds`` and ``ended`` are the fading sums. Before
    it is ``exact``, the mean is an upper bound.
    """

    runs: Batches = ()
    ages: float = 0.0
    pending_seconds: float = 0.0
    seconds: float = 0.0
    ended: float = 0.0
    exact: bool = False

    def mean_seconds(self, at: float) -> float:
        """The mean of the tasks that ended and of those that run and are older than that."""
        seconds, ended = self.seconds, self.ended
        for since, count in self.runs if self.exact else ():
            if (at - since) * ended <= seconds:
                break
            seconds += (at - since) * count
            ended += count
        return max(seconds / ended, _MIN_SERVICE_SECONDS)


class Standing(NamedTuple):
    """What is remembered where growth comes too late; without ``service_seconds``, nothing is.

    ``came`` is how tasks came. ``delayed`` of those in the system would have ended had they started at once.
    ``stock`` is the size that is needed; ``known`` is whether more tasks have ended than run, so that the
    mean is no guess. All was seen until ``seen_at``.
    """

    came: Arrivals = Arrivals()
    delayed: float = 0.0
    served: Served = Served()
    service_seconds: float = 0.0
    stock: float = 0.0
    known: bool = False
    seen_at: float = -math.inf

    @property
    def processes(self) -> int:
        """The size that is needed."""
        return math.ceil(self.stock - 1e-9)

    @property
    def sure(self) -> bool:
        """Whether what is learnt may be held for long."""
        return self.served.exact and self.known

    @property
    def settles(self) -> bool:
        """Whether it will soon be known how long tasks take: until then nothing is taken away."""
        return self.served.exact and not self.known

    def in_time(self, in_system: int) -> float:
        """How many tasks would be in the system had all started at once."""
        return max(0.0, in_system - _DELAYED_ERROR * self.delayed)


def follow(before: Standing, step: Since, last: Signal | None, signal: Signal, terms: Terms) -> Standing:
    """What is remembered after one step."""
    # What is found at the start is as old as it is said to be, else new.
    unseen_seconds = signal.at - before.seen_at if last else signal.oldest_age_seconds or 0.0
    if not (step.counted and unseen_seconds < _MAX_LATE * step.seconds):
        return _resumed(before, step, unseen_seconds, signal)
    seconds, at = step.seconds, signal.at
    growth, hold = terms.growth_seconds, terms.hold_seconds
    came = arrivals.follow(before.came, seconds, step.arrived, at, growth_seconds=growth, hold_seconds=hold)
    uneven = bool(came.excess or before.came.excess)
    served = _served(before, step, last, signal, terms.remembered_tasks, uneven=uneven)
    service = served.mean_seconds(at) if served.ended else step.service_seconds
    after = Standing(
        came=came,
        # In an endless pool what waits would run, and end at a rate of one over the service time.
        delayed=_delayed(before, signal, seconds, service),
        served=served,
        service_seconds=service,
        known=served.ended >= min(signal.busy, terms.remembered_tasks / 2),
        seen_at=at,
    )
    return _stocked(before, after, seconds, signal, terms) if served.ended else after


def _stocked(before: Standing, after: Standing, seconds: float, signal: Signal, terms: Terms) -> Standing:
    """The same with the size that is needed; it falls as slowly as tasks end and what is learnt changes."""
    stock = _base_stock(after, after.in_time(signal.in_system), signal.at, terms)
    if stock < before.stock:
        stock += (before.stock - stock) * math.exp(
            -seconds / max(after.service_seconds, arrivals.WINDOW_SECONDS)
        )
    return after._replace(stock=stock)


def moved(before: Standing, seconds: float) -> Standing:
    """The same where each moment is so many seconds later."""
    return before._replace(
        came=arrivals.moved(before.came, seconds),
        served=before.served._replace(runs=backlog.moved(before.served.runs, seconds)),
        seen_at=before.seen_at + seconds,
    )


def _resumed(before: Standing, step: Since, unseen_seconds: float, signal: Signal) -> Standing:
    """What is remembered after a time that nobody saw: what was, and that what waits has gathered in it."""
    service = before.service_seconds or step.service_seconds
    came = before.came._replace(excess=0.0, surge_looks=0)
    after = before._replace(came=came, service_seconds=service)
    if not signal.complete:
        return after
    return after._replace(
        delayed=_delayed(before, signal, unseen_seconds, service),
        served=_unseen(before, step, unseen_seconds, signal),
        seen_at=signal.at,
    )


def _delayed(before: Standing, signal: Signal, seconds: float, service_seconds: float) -> float:
    return before.delayed + (signal.backlog - before.delayed) * -math.expm1(-seconds / service_seconds)


def _unseen(before: Standing, step: Since, seconds: float, signal: Signal) -> Served:
    """What is learnt of the service time in ``seconds`` that nobody saw: nothing.

    Those that run are no older than a task lasts: those that ran before may have ended and others begun.
    """
    service, at = before.service_seconds or step.service_seconds, signal.at
    runs = runs_after(before.served.runs, signal.busy, step.started, at - min(seconds, service) / 2)
    runs = tuple((max(since, at - service), count) for since, count in runs)
    ages = sum((at - since) * count for since, count in runs)
    return before.served._replace(runs=runs, ages=ages, pending_seconds=0.0)


def _served(
    before: Standing, step: Since, last: Signal | None, signal: Signal, remembered: float, *, uneven: bool
) -> Served:
    """What is learnt of the service time in one step; ``uneven`` is one in which many tasks came at once."""
    if not signal.continuous:  # what other workers ran has not ended here
        return _unseen(before, step, step.seconds, signal)
    served, waited = before.served, bool(last and last.backlog)
    # Until a task has ended, they may last as long as the step.
    lasts = before.service_seconds if served.ended else step.busy_seconds / max(1, step.ended)
    started_at = signal.at - min(step.seconds, lasts) / 2
    runs = runs_after(served.runs, signal.busy, step.started, started_at)
    ages = sum((signal.at - since) * count for since, count in runs)
    pending = served.pending_seconds + step.busy_seconds - (ages - served.ages)
    after = served._replace(runs=runs, ages=ages, pending_seconds=0.0)
    full = last is not None and waited and bool(signal.backlog) and last.busy == signal.busy
    if (uneven or waited or signal.backlog or _drained(before, step, last, signal)) and not full:
        # Nobody saw how many were busy when, only that none had more time than there was.
        if not step.ended or served.exact:
            return after
        most = max(signal.processes, signal.busy) * step.seconds / step.ended
        return after._replace(
            seconds=min(served.seconds / served.ended, most) if served.ended else most, ended=1.0
        )
    if not step.ended:
        return after._replace(pending_seconds=pending)
    before_it = (served.seconds, served.ended) if served.exact else (0.0, 0.0)
    total, ended = faded(*before_it, max(0.0, pending), step.ended, remembered)
    return after._replace(seconds=total, ended=ended, exact=True)


def _drained(before: Standing, step: Since, last: Signal | None, signal: Signal) -> bool:
    """Whether tasks that ran together have ended at some time of a step that is longer than they last."""
    many = last is not None and last.busy >= _CROWD and signal.busy * _CROWD <= last.busy
    return many and step.seconds > before.service_seconds


def faded(
    total_seconds: float, total_ended: float, seconds: float, ended: int, remembered: float
) -> tuple[float, float]:
    """The sums of a mean with ``ended`` tasks more that took ``seconds`` together, and the older ones less.

    What ends at once has no more weight than what ends one by one, however much it is.
    """
    if not ended:
        return total_seconds, total_ended
    fade = math.exp(-ended / remembered)
    weight = remembered * -math.expm1(-ended / remembered)
    return total_seconds * fade + seconds / ended * weight, total_ended * fade + weight


def crowd(service_seconds: float, target_seconds: float) -> float:
    """Tasks that one process has in it at most, so that the last of them starts in time."""
    return 1 + max(0.0, target_seconds / service_seconds - YOUNG_SHARE)


def _base_stock(known: Standing, running: float, at: float, terms: Terms) -> float:
    """The larger of what an even stream needs and what a surge needs, beside what will not have ended."""
    came, service = known.came, known.service_seconds
    stay = math.exp(-terms.growth_seconds / service)
    come = came.forecast_per_second(terms.growth_seconds) * service * (1 - stay)
    tasks = running * stay + come
    deviation = math.sqrt(running * stay * (1 - stay) + come)
    flow = tasks + queueing.beyond(deviation, terms.target_seconds / service)
    # Until another surge may follow, none has to be taken beside what runs.
    largest, gap = came.surges.next_largest, came.shortest_gap
    follows = gap < math.inf and at + terms.growth_seconds >= came.surge_at + _SURELY_APART * gap
    surge = tasks + largest if follows else largest
    return max(flow, surge / crowd(service, terms.target_seconds))
