"""How long a decision takes, in CPU time: ``uv run python -m tests.bench.decision``.

100 workers and 100 queues, as one group (each worker consumes all), as ten, and as a hundred: the work
changes from tick to tick and what was decided is done, so that neither demand has an easy time. Then 1000
workers in containers with nothing to do. The aims are 1 ms for one group of 100, and 20 ms for 1000 workers.
Best and median of many decisions: the machine may be busy with other things. Python collects garbage as
seldom as in the daemon, which does it between its ticks.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from typing import TYPE_CHECKING

from autoscaler.cli.run import collect_after_ticks, collect_less
from autoscaler.core.decider import Decider
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.model import ContainerReading, Observation, QueueReading, WorkerReading
from autoscaler.core.policy import Policy
from autoscaler.core.state import State

if TYPE_CHECKING:
    from collections.abc import Sequence

QUEUES = 100
POLICY = Policy(max_processes=64)
NAMES = tuple(f"queue-{number}" for number in range(QUEUES))
MIB = 2**20
DECIDERS = {
    "thresholds": Decider(policy=POLICY),
    "target wait": Decider(
        policy=POLICY, target_wait=TargetWaitPolicy(), min_interval_seconds=0.25, interval_seconds=2.0
    ),
}


def consumed(number: int, groups: int) -> tuple[str, ...]:
    """The queues of one worker, where the workers are so many groups."""
    each = QUEUES // groups
    first = number % groups * each
    return NAMES[first : first + each]


def container(number: int, at: float) -> ContainerReading:
    """What the companion of an idle worker in a container of its own reports."""
    return ContainerReading(
        cpu_limit_cores=4.0,
        cpu_limited=True,
        cpu_usage_seconds=at / 200,
        throttled_seconds=0.0,
        memory_limit_bytes=1000 * MIB,
        memory_limited=True,
        memory_used_bytes=300 * MIB,
        parent_rss_bytes=60 * MIB,
        child_rss_bytes=(50 * MIB,),
        child_peak_bytes=80 * MIB,
        child_peak_p95_bytes=70 * MIB,
        child_shared_bytes=20 * MIB,
        worker_memory_bytes=200 * MIB,
        memory_shared=False,
        oom_kills=0,
        memory_failcnt=0,
        memory_pressure=0.0,
        container_id=str(number),
        cpu_limit_id=str(number),
    )


def observe(at: float, sizes: Sequence[int], rng: random.Random, groups: int, *, idle: bool) -> Observation:
    """A fleet with a random backlog, or with none."""
    workers = tuple(
        WorkerReading(
            name=f"worker-{number}@host",
            processes=size,
            busy=0 if idle else rng.randint(0, size),
            reserved=0 if idle else rng.randint(0, size),
            scheduled=0,
            discarded=0,
            prefetch=4 * size,
            completed=50 if idle else int(at) * 10,
            uptime_seconds=at,
            queues=consumed(number, groups),
            companion=True,
            start_seconds=1.0,
            container=container(number, at) if idle else None,
        )
        for number, size in enumerate(sizes)
    )
    queues = tuple(
        QueueReading(name=name, waiting=0 if idle else rng.choice((0, 0, 0, 5, 40))) for name in NAMES
    )
    return Observation(at=at, queues=queues, workers=workers)


def measure(
    decider: Decider, workers: int, groups: int, *, ticks: int, idle: bool = False
) -> dict[str, float]:
    """The CPU time of a decision, of so many in a row; the first ones, which begin to learn, are left out."""
    collect_after_ticks(workers)
    rng = random.Random(1)
    state, sizes, taken = State(), [4] * workers, []
    for tick in range(ticks):
        observation = observe(2.0 * tick, sizes, rng, groups, idle=idle)
        begun = time.process_time()
        state, plan = decider.decide(state, observation)
        taken.append((time.process_time() - begun) * 1000)
        targets = {decision.worker: decision.target for decision in plan.decisions}
        sizes = [targets[worker.name] or 1 for worker in observation.workers]
    return {"best_ms": round(min(taken[3:]), 2), "p50_ms": round(statistics.median(taken[3:]), 2)}


def main() -> None:
    collect_less()
    for name, decider in DECIDERS.items():
        for groups in (1, 10, 100):
            found = measure(decider, 100, groups, ticks=200)
            print(json.dumps({f"{name}, 100 workers, {groups} groups": found}), flush=True)
        for groups in (10, 100):
            found = measure(decider, 1000, groups, ticks=40, idle=True)
            print(json.dumps({f"{name}, 1000 idle workers, {groups} groups": found}), flush=True)


if __name__ == "__main__":
    main()
