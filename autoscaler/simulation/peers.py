"""The policies a user would pick instead, each as its source describes it.

Each has one or two parameters, which its user would size: :data:`PEERS` gives the values worth trying, all
legal. What a source leaves to the platform (how fast a pod starts) is the pool model's, the same for all.
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

    At each message, and at a timer of ``keepalive_seconds`` (the variable ``AUTOSCALE_KEEPALIVE``), it
    compares the tasks in hand (reserved and running; the broker delivers no more than the prefetch lets it,
    ``prefetch`` for each of *max_processes*) with the pool. It grows to them at once. It shrinks to them
    where that time passed since its last growth (Celery up to 5.5) or, with ``idle_only``, since the last
    growth and the last message (Celery 5.7): there a pool that gets a message more often never shrinks.
    """

    KEEPALIVE_SECONDS = 30.0
    on_message = True
    initial_processes = 1

    def __init__(
        self,
        max_processes: int,
        model: PoolModel,
        *,
        idle_only: bool,
        keepalive_seconds: float = KEEPALIVE_SECONDS,
    ) -> None:
        self.name = f"celery {'5.7' if idle_only else '5.5'} --autoscale {max_processes},1"
        if keepalive_seconds != self.KEEPALIVE_SECONDS:
            self.name += f" keepalive {keepalive_seconds:g} s"
        self.interval_seconds = keepalive_seconds
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
        resting = self._last_active is not None and view.at - self._last_active > self.interval_seconds
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

    Every 2 s it averages the tasks in the system over a stable window (60 s, legal from 6 s to 1 h) and a
    panic window of a tenth of it (a second at least), of samples taken each second. It wants the average over
    ``utilization``; where the panic window asks for twice the ready pods it panics: for a stable window it
    only grows. A step shrinks to half the size at most.
    """

    TICK_SECONDS = 2.0
    STABLE_SECONDS = 60
    PANIC_SHARE = 0.1
    PANIC_THRESHOLD = 2.0
    MAX_SCALE_DOWN_RATE = 2.0
    MAX_SCALE_UP_RATE = 1000.0
    on_message = False
    interval_seconds = 1.0
    initial_processes = 1

    def __init__(self, utilization: float, stable_seconds: int = STABLE_SECONDS) -> None:
        self.name = f"knative kpa {utilization:.0%}"
        if stable_seconds != self.STABLE_SECONDS:
            self.name += f" window {stable_seconds} s"
        self._utilization = utilization
        self._stable_seconds = stable_seconds
        self._panic_seconds = max(1, round(stable_seconds * self.PANIC_SHARE))
        self._samples: deque[int] = deque(maxlen=stable_seconds)
        self._sum = 0
        self._panic_since: float | None = None
        self._panic_size = 0

    def desired(self, view: PoolView) -> int:
        """Sample each second, decide every other one."""
        if len(self._samples) == self._stable_seconds:
            self._sum -= self._samples[0]
        self._samples.append(view.busy + view.waiting + view.reserved)
        self._sum += self._samples[-1]
        if round(view.at) % self.TICK_SECONDS:
            return view.size
        ready = max(1, view.size - view.starting)
        panic_samples = [
            self._samples[-i] for i in range(1, min(self._panic_seconds, len(self._samples)) + 1)
        ]
        panic = self._limited(sum(panic_samples) / len(panic_samples), ready)
        stable = self._limited(self._sum / len(self._samples), ready)
        if panic >= self.PANIC_THRESHOLD * ready:
            self._panic_since = view.at
        elif self._panic_since is not None and view.at - self._panic_since > self._stable_seconds:
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
    """One kind of peer: what it is called, how to make one for a run, and the values worth trying.

    ``parameters`` has them for each parameter, the one that is tried while another is searched first. Where
    ``ascending_cost`` is set, the first value that keeps the target is the cheapest.
    """

    name: str
    make: Callable[[Sequence[float], PoolModel], Scaler]
    parameters: Callable[[PoolModel], Sequence[Sequence[float]]]
    ascending_cost: bool = False


def _upper_bounds(model: PoolModel) -> Sequence[int]:
    """Return up to 16 bounds in descending order, evenly spread by ratio."""
    low, high = model.min_processes, model.max_processes
    return sorted({round(low * (high / low) ** (step / 15)) for step in range(16)}, reverse=True)


_BACKLOGS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_KEEPALIVES = (30.0, 5.0, 10.0, 60.0, 120.0)
#: Of one request for each pod, 100 % is the most that is legal.
_UTILIZATIONS = (0.7, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9, 1.0)
_WINDOWS = (60, 6, 10, 15, 30, 120, 300)

PEERS: Sequence[Peer] = (
    Peer(
        name="fixed",
        make=lambda chosen, _model: Fixed(int(chosen[0])),
        parameters=lambda model: [range(model.min_processes, model.max_processes + 1)],
        ascending_cost=True,
    ),
    Peer(
        name="celery 5.7 --autoscale",
        make=lambda chosen, model: CeleryAutoscale(
            int(chosen[0]), model, idle_only=True, keepalive_seconds=chosen[1]
        ),
        parameters=lambda model: [_upper_bounds(model), _KEEPALIVES],
    ),
    Peer(
        name="celery 5.5 --autoscale",
        make=lambda chosen, model: CeleryAutoscale(
            int(chosen[0]), model, idle_only=False, keepalive_seconds=chosen[1]
        ),
        parameters=lambda model: [_upper_bounds(model), _KEEPALIVES],
    ),
    Peer(
        name="keda list length",
        make=lambda chosen, _model: KedaListLength(chosen[0]),
        parameters=lambda _model: [_BACKLOGS],
    ),
    Peer(
        name="knative kpa",
        make=lambda chosen, _model: KnativePodAutoscaler(chosen[0], int(chosen[1])),
        parameters=lambda _model: [_UTILIZATIONS, _WINDOWS],
    ),
    Peer(
        name="aws backlog per instance",
        make=lambda chosen, _model: BacklogPerInstance(chosen[0]),
        parameters=lambda _model: [_BACKLOGS],
    ),
)

#: How often each parameter of a peer with several is searched, the others as found so far.
_ROUNDS = 2


def size_peer(
    peer: Peer,
    trace: Trace,
    model: PoolModel,
    target_wait_seconds: float,
    share: float = 0.99,
    *,
    start_worth_seconds: float = 0.0,
) -> ReplayResult:
    """Return the run of ``peer`` as its user would size it: the cheapest that keeps the target for ``share``.

    A start costs as much as ``start_worth_seconds`` of a process, beside the time that it takes. Where no
    value keeps the target, the run that comes nearest is returned. Parameters are searched one after the
    other.
    """
    axes = peer.parameters(model)
    if not all(axes):
        raise ValueError(f"the peer {peer.name!r} has no parameter value to try")
    chosen = tuple(values[0] for values in axes)
    tried: dict[tuple[float, ...], tuple[bool, float, ReplayResult]] = {}
    for axis in [*range(len(axes))] * (_ROUNDS if len(axes) > 1 else 1):
        for value in axes[axis]:
            one = (*chosen[:axis], value, *chosen[axis + 1 :])
            if one not in tried:
                outcome = simulate(trace, peer.make(one, model), model)
                price = outcome.process_seconds + start_worth_seconds * outcome.starts
                kept = _share_within(outcome, target_wait_seconds)
                tried[one] = (kept >= share, -price if kept >= share else kept, outcome)
            if tried[one][0] and peer.ascending_cost:
                break
        # The first of equals stands.
        chosen = max(tried, key=lambda one: tried[one][:2])
    return tried[chosen][2]


def _share_within(outcome: ReplayResult, target_wait_seconds: float) -> float:
    waits = outcome.waits_seconds
    return sum(wait <= target_wait_seconds for wait in waits) / len(waits)
