"""How long a decision takes: ``uv run python -m tests.bench.decision``; the limit is 1 ms.

100 workers and 100 queues, once as one group (each worker consumes all), once as 100 groups (each its own).
The work changes from tick to tick and what was decided is done, so that neither demand has an easy time.
Best and median of many decisions: the machine may be busy with other things.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from typing import TYPE_CHECKING

from autoscaler.core.decider import Decider
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.model import Observation, QueueReading, WorkerReading
from autoscaler.core.policy import Policy
from autoscaler.core.state import State

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT_MILLISECONDS = 1.0
WORKERS = QUEUES = 100
TICKS = 300
POLICY = Policy(max_processes=64)
NAMES = tuple(f"queue-{number}" for number in range(QUEUES))
DECIDERS = {
    "thresholds": Decider(policy=POLICY),
    "latency": Decider(policy=POLICY, target_wait=TargetWaitPolicy()),
    "latency, shadow beside": Decider(policy=POLICY, shadow=TargetWaitPolicy()),
}


def consumed(number: int, *, shared: bool) -> tuple[str, ...]:
    """The queues of one worker."""
    return NAMES if shared else (NAMES[number % QUEUES],)


def observe(at: float, sizes: Sequence[int], rng: random.Random, *, shared: bool) -> Observation:
    """A fleet with a random backlog."""
    workers = tuple(
        WorkerReading(
            name=f"worker-{number}@host",
            processes=size,
            busy=rng.randint(0, size),
            reserved=rng.randint(0, size),
            scheduled=0,
            completed=int(at) * 10,
            uptime_seconds=at,
            queues=consumed(number, shared=shared),
            companion=True,
            start_seconds=1.0,
        )
        for number, size in enumerate(sizes)
    )
    queues = tuple(QueueReading(name=name, waiting=rng.choice((0, 0, 0, 5, 40))) for name in NAMES)
    return Observation(at=at, queues=queues, workers=workers)


def decisions_milliseconds(decider: Decider, *, shared: bool, ticks: int = TICKS) -> list[float]:
    """The time of each of so many decisions in a row."""
    rng = random.Random(1)
    state, sizes, taken = State(), [4] * WORKERS, []
    for tick in range(ticks):
        observation = observe(float(tick), sizes, rng, shared=shared)
        begun = time.perf_counter()
        state, plan = decider.decide(state, observation)
        taken.append((time.perf_counter() - begun) * 1000)
        targets = {decision.worker: decision.target for decision in plan.decisions}
        sizes = [targets[worker.name] or 1 for worker in observation.workers]
    return taken


def main() -> None:
    result = {}
    for name, decider in DECIDERS.items():
        for shared in (True, False):
            taken = decisions_milliseconds(decider, shared=shared)
            fleet = "one group" if shared else f"{QUEUES} groups"
            result[f"{name}, {fleet}"] = {
                "best_ms": round(min(taken), 3),
                "p50_ms": round(statistics.median(taken), 3),
                "within_limit": min(taken) < LIMIT_MILLISECONDS,
            }
    print(json.dumps({"limit_ms": LIMIT_MILLISECONDS, **result}, indent=2))


if __name__ == "__main__":
    main()
