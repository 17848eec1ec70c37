"""Ticks of a made-up fleet, for the history and the pages: real decisions on readings that a test states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.core.decider import Decider
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.model import QueueReading
from autoscaler.core.state import State
from autoscaler.report.status import TickRecord
from tests.support.builders import MIB, container, look, prompt_policy, worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autoscaler.core.model import Observation


class Ticks:
    """A decider over time that gives the record of each tick; ``wall`` is the time of the last one."""

    def __init__(
        self,
        *,
        wall: float = 1_800_000_000.0,
        target_waits: Mapping[str, float] | None = None,
        thresholds: bool = False,
        **policy: object,
    ) -> None:
        self._decider = Decider(
            policy=prompt_policy(**policy),
            target_wait=None if thresholds else TargetWaitPolicy(),
            target_waits=target_waits or {},
        )
        self._state = State()
        self.wall = wall

    def tick(self, observation: Observation, *, after: float = 2.0, **fields: object) -> TickRecord:
        self.wall += after
        self._state, plan = self._decider.decide(self._state, observation)
        workers = {name: known.reading for name, known in self._state.workers.items()}
        plain: dict[str, object] = {"wall_time": self.wall, "seconds": 0.1, "workers": workers}
        return TickRecord(observation=observation, plan=plan, **{**plain, **fields})  # type: ignore[arg-type]


def fleet(
    workers: int, queues: int, *, at: float = 1000.0, busy: int = 2, groups: int | None = None
) -> Observation:
    """So many workers on so many queues, in so many groups that share none."""
    groups = groups or min(workers, queues)
    limits = container(
        cpu_limit_cores=2.0,
        cpu_limited=True,
        cpu_usage_ratio=0.731,
        memory_limit_bytes=2048 * MIB,
        memory_limited=True,
        memory_used_bytes=1234 * MIB,
    )
    names = [f"documents.incoming.{number:02}" for number in range(queues)]
    found = [
        worker(
            f"celery@worker-{number:03}.eu-west-1",
            4,
            busy=busy,
            reserved=number % 5,
            scheduled=number % 3,
            completed=number,
            uptime_seconds=86_400.0 + number,
            queues=tuple(name for place, name in enumerate(names) if place % groups == number % groups),
            container=limits,
        )
        for number in range(workers)
    ]
    readings = tuple(
        QueueReading(
            name=name,
            waiting=100 + place,
            oldest_age_seconds=3.25 + place,
            waiting_by_step=(place, 100, 0, 0),
        )
        for place, name in enumerate(names)
    )
    return look(None, *found, at=at, queues=readings)
