"""The policies a user would pick instead, each as its source describes it.

Each has one parameter, which its user would size: :data:`PEERS` gives the values worth trying, in ascending
cost. What a source leaves to the platform (how fast a pod starts) is the pool model's, the same for all.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.simulation.engine import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from autoscaler.simulation.engine import PoolModel, PoolView, ReplayResult, Scaler
    from autoscaler.simulation.traces import Trace


class Fixed:
    """So many processes from the start to the end: `celery worker -c N`."""

    on_message = False
    interval_seconds = 60.0

    def __init__(self, processes: int) -> None:
        self.name = f"fixed {processes}"
        self.initial_processes = processes

    def desired(self, view: PoolView) -> int:  # noqa: ARG002 - the protocol's argument
        """Return the size it always had."""
        return self.initial_processes


class CeleryAutoscale:
    """`celery worker --autoscale=MAX,1`: celery/worker/autoscale.py on its event loop.

    At each message, and at a timer of ``KEEPALIVE_SECONDS``, it compares the tasks in hand (reserved and
    running; the broker delivers no more than the prefetch lets it, ``prefetch`` for each of
    *max_processes*) with the pool. It grows to them at once. It shrinks to them where ``KEEPALIVE_SECONDS``
    passed since its last growth (Celery up to 5.5) or, with ``idle_only``, since the last growth and the last
    message (Celery 5.7): there a pool that gets a message every half minute never shrinks.
    """

    KEEPALIVE_SECONDS = 30.0
    on_message = True
    interval_seconds = KEEPALIVE_SECONDS
    initial_processes = 1

    def __init__(self, max_processes: int, model: PoolModel, *, idle_only: bool) -> None:
        self.name = f"celery {'5.7' if idle_only else '5.5'} --autoscale {max_processes},1"
        self._max_processes = max_processes
        self._idle_only = idle_only
        self._max_prefetched = model.prefetch * max_processes
        self._received = 0
        self._last_active: float | None = None

    def desired(self, view: PoolView) -> int:
        """Return the size after this message or timer."""
        received = view.completed + view.busy + view.waiting + view.reserved
        if received > self._received and self._idle_only:
            self._last_active = view.at
        self._received = received
        in_hand = view.busy + min(view.waiting + view.reserved, self._max_prefetched)
        if min(in_hand, self._max_processes) > view.size:
            self._last_active = view.at
            return min(in_hand, self._max_processes)
        resting = self._last_active is not None and view.at - self._last_active > self.KEEPALIVE_SECONDS
        return max(in_hand, 1) if resting and in_hand < view.size else view.size


class KedaListLength:
    """KEDA's `redis` scaler through an HPA with default behaviour, one process in each pod.

    The controller syncs every 15 s and reads the list's length through KEDA each time (its poll of 30 s is
    for activation from zero). It wants ``ceil(length / list_length)`` unless that is within 10 % of the size,
    grows by the larger of 100 % and 4 pods for each 15 s, and shrinks to the largest recommendation of the
    last 300 s.
    """

    SYNC_SECONDS = 15.0
    TOLERANCE = 0.1
    STABILIZATION_SECONDS = 300.0
    on_message = False
    interval_seconds = SYNC_SECONDS
    initial_processes = 1

    def __init__(self, list_length: float) -> None:
        self.name = f"keda list length {list_length:g}"
        self._list_length = list_length
        self._recommended: deque[tuple[float, int]] = deque()

    def desired(self, view: PoolView) -> int:
        """Return the replicas of this sync."""
        needed = view.waiting / self._list_length
        wanted = view.size if abs(needed / view.size - 1) <= self.TOLERANCE else max(1, math.ceil(needed))
        while self._recommended and self._recommended[0][0] <= view.at - self.STABILIZATION_SECONDS:
            self._recommended.popleft()
        self._recommended.append((view.at, wanted))
        if wanted < view.size:
            wanted = min(view.size, max(size for _, size in self._recommended))
        return min(wanted, max(2 * view.size, view.size + 4))


class KnativePodAutoscaler:
    """Knative's KPA on concurrency, one task at a time in each pod (`containerConcurrency: 1`).

    Every 2 s it averages the tasks in the system over a stable window of 60 s and a panic window of 6 s, of
    samples taken each second. It wants the average over ``utilization``; where the panic window asks for
    twice the ready pods it panics: for 60 s it only grows. A step shrinks to half the size at most.
    """

    TICK_SECONDS = 2.0
    STABLE_SECONDS = 60
    PANIC_SECONDS = 6
    PANIC_THRESHOLD = 2.0
    MAX_SCALE_DOWN_RATE = 2.0
    MAX_SCALE_UP_RATE = 1000.0
    on_message = False
    interval_seconds = 1.0
    initial_processes = 1

    def __init__(self, utilization: float) -> None:
        self.name = f"knative kpa {utilization:.0%}"
        self._utilization = utilization
        self._samples: deque[int] = deque(maxlen=self.STABLE_SECONDS)
        self._sum = 0
        self._panic_since: float | None = None
        self._panic_size = 0

    def desired(self, view: PoolView) -> int:
        """Sample each second, decide every other one."""
        if len(self._samples) == self.STABLE_SECONDS:
            self._sum -= self._samples[0]
        self._samples.append(view.busy + view.waiting + view.reserved)
        self._sum += self._samples[-1]
        if round(view.at) % self.TICK_SECONDS:
            return view.size
        ready = max(1, view.size - view.starting)
        panic_samples = [self._samples[-i] for i in range(1, min(self.PANIC_SECONDS, len(self._samples)) + 1)]
        panic = self._limited(sum(panic_samples) / len(panic_samples), ready)
        stable = self._limited(self._sum / len(self._samples), ready)
        if panic >= self.PANIC_THRESHOLD * ready:
            self._panic_since = view.at
        elif self._panic_since is not None and view.at - self._panic_since > self.STABLE_SECONDS:
            self._panic_since, self._panic_size = None, 0
        if self._panic_since is None:
            return stable
        self._panic_size = max(self._panic_size, stable, panic)
        return self._panic_size

    def _limited(self, concurrency: float, ready: int) -> int:
        wanted = math.ceil(concurrency / self._utilization)
        return max(
            min(wanted, int(self.MAX_SCALE_UP_RATE * ready)), int(ready // self.MAX_SCALE_DOWN_RATE), 1
        )


class BacklogPerInstance:
    """AWS target tracking on backlog per instance (EC2 Auto Scaling user guide, "based on Amazon SQS").

    The metric is published each minute: messages waiting over instances in service. Its alarms grow the group
    in proportion after 3 minutes above the target, with a warm-up of 300 s in which those that start count
    as there, and shrink it after 15 minutes more than 10 % below.
    """

    PERIOD_SECONDS = 60.0
    GROW_AFTER_PERIODS = 3
    SHRINK_AFTER_PERIODS = 15
    WARM_UP_SECONDS = 300.0
    SHRINK_BELOW = 0.9
    on_message = False
    interval_seconds = PERIOD_SECONDS
    initial_processes = 1

    def __init__(self, backlog: float) -> None:
        self.name = f"aws backlog per instance {backlog:g}"
        self._backlog = backlog
        self._above = 0
        self._below = 0
        self._warm_at = 0.0

    def desired(self, view: PoolView) -> int:
        """Return the capacity after this minute's data point."""
        per_instance = view.waiting / view.size
        self._above = self._above + 1 if per_instance > self._backlog else 0
        self._below = self._below + 1 if per_instance < self.SHRINK_BELOW * self._backlog else 0
        proportional = max(1, math.ceil(view.waiting / self._backlog))
        if self._above >= self.GROW_AFTER_PERIODS and view.at >= self._warm_at:
            self._warm_at = view.at + self.WARM_UP_SECONDS
            return max(view.size, proportional)
        if self._below >= self.SHRINK_AFTER_PERIODS and view.at >= self._warm_at:
            return min(view.size, proportional)
        return view.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One kind of peer: what it is called, how to make one for a run and the parameter values worth trying.

    Where ``ascending_cost`` is set, the first value that keeps the target is the cheapest.
    """

    name: str
    make: Callable[[float, PoolModel], Scaler]
    parameters: Callable[[PoolModel], Sequence[float]]
    ascending_cost: bool = False


def _upper_bounds(model: PoolModel) -> Sequence[int]:
    """Return up to 16 bounds in ascending order, evenly spread by ratio."""
    low, high = model.min_processes, model.max_processes
    return sorted({round(low * (high / low) ** (step / 15)) for step in range(16)})


_BACKLOGS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

PEERS: Sequence[Peer] = (
    Peer(
        name="fixed",
        make=lambda parameter, _model: Fixed(int(parameter)),
        parameters=lambda model: range(model.min_processes, model.max_processes + 1),
        ascending_cost=True,
    ),
    Peer(
        name="celery 5.7 --autoscale",
        make=lambda parameter, model: CeleryAutoscale(int(parameter), model, idle_only=True),
        parameters=_upper_bounds,
    ),
    Peer(
        name="celery 5.5 --autoscale",
        make=lambda parameter, model: CeleryAutoscale(int(parameter), model, idle_only=False),
        parameters=_upper_bounds,
    ),
    Peer(
        name="keda list length",
        make=lambda parameter, _model: KedaListLength(parameter),
        parameters=lambda _model: _BACKLOGS,
    ),
    Peer(
        name="knative kpa",
        make=lambda parameter, _model: KnativePodAutoscaler(parameter),
        parameters=lambda _model: (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0),
    ),
    Peer(
        name="aws backlog per instance",
        make=lambda parameter, _model: BacklogPerInstance(parameter),
        parameters=lambda _model: _BACKLOGS,
    ),
)


def size_peer(
    peer: Peer, trace: Trace, model: PoolModel, target_wait_seconds: float, share: float = 0.99
) -> ReplayResult:
    """Return the run of ``peer`` as its user would size it: the cheapest that keeps the target for ``share``.

    Where none of its parameter values keeps it, the run that comes nearest is returned.
    """
    best: tuple[bool, float, ReplayResult] | None = None
    for parameter in peer.parameters(model):
        outcome = simulate(trace, peer.make(parameter, model), model)
        within = sum(wait <= target_wait_seconds for wait in outcome.waits_seconds)
        kept = within / len(outcome.waits_seconds)
        keeps = kept >= share
        merit = -outcome.process_seconds if keeps else kept
        if best is None or (keeps, merit) > best[:2]:
            best = (keeps, merit, outcome)
        if keeps and peer.ascending_cost:
            break
    if best is None:
        raise ValueError(f"the peer {peer.name!r} has no parameter value to try")
    return best[2]
