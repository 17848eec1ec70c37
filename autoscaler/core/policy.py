"""Every parameter of the decision: default, unit, bounds and meaning in one table, validated at once.

The command line, the environment variables and the README's table are made from the fields of
:class:`Policy`; a default stands here and nowhere else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

#: More processes than any one worker is ever told to have.
MAX_PROCESSES = 10_000


class PolicyError(ValueError):
    """A policy with faults; ``faults`` has one sentence for each, all of them at once."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def _parameter(default: float | str | None, *, low: float, high: float, unit: str, about: str) -> Any:
    metadata = {"low": low, "high": high, "unit": unit, "about": about}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How the autoscaler decides. Sizes are processes of one worker; times are seconds.

    Raises:
        PolicyError: with every fault, when a value is out of its bounds or two contradict each other.
    """

    min_processes: int = _parameter(
        1, low=1, high=MAX_PROCESSES, unit="processes", about="Fewest processes of a worker."
    )
    max_processes: int | None = _parameter(
        None,
        low=1,
        high=MAX_PROCESSES,
        unit="processes",
        about="Most processes of a worker; `auto` is what its container bears.",
    )
    scale_up_threshold: float = _parameter(
        1.5, low=1, high=1000, unit="tasks per process", about="Grow when the load is above this."
    )
    scale_down_threshold: float = _parameter(
        0.6, low=0, high=1, unit="tasks per process", about="Shrink when the load is below this."
    )
    scale_up_delay_seconds: float = _parameter(
        0.0, low=0, high=3600, unit="seconds", about="How long the load must stay high before growing."
    )
    scale_down_delay_seconds: float = _parameter(
        15.0, low=0, high=86400, unit="seconds", about="How long the load must stay low before shrinking."
    )
    stabilization_seconds: float = _parameter(
        30.0,
        low=0,
        high=86400,
        unit="seconds",
        about="Shrink only to the highest size wished for within this window.",
    )
    scale_up_cooldown_seconds: float = _parameter(
        3.0, low=0, high=3600, unit="seconds", about="Least time from an observed change to a growth."
    )
    scale_down_cooldown_seconds: float = _parameter(
        15.0, low=0, high=86400, unit="seconds", about="Least time from an observed change to a shrink."
    )
    max_step_up: int = _parameter(
        16, low=1, high=MAX_PROCESSES, unit="processes", about="Most processes a worker gains in one action."
    )
    max_step_down: int = _parameter(
        4, low=1, high=MAX_PROCESSES, unit="processes", about="Most processes a worker loses in one action."
    )
    processes_per_core: float = _parameter(
        1.0,
        low=0.01,
        high=1000,
        unit="processes per core",
        about="Processes that one core of the container bears: 1 for computing, more for waiting tasks.",
    )
    cpu_high: float = _parameter(
        0.95, low=0.05, high=1, unit="share of the CPU limit", about="No growth while CPU use is above this."
    )
    throttled_high: float = _parameter(
        0.25,
        low=0.01,
        high=1,
        unit="share of time",
        about="No growth while the kernel throttles the container for more of the time than this.",
    )
    memory_headroom: float = _parameter(
        0.85,
        low=0.05,
        high=1,
        unit="share of the memory limit",
        about="Memory the processes may fill; the ceiling follows from it.",
    )
    memory_high: float = _parameter(
        0.92,
        low=0.05,
        high=1,
        unit="share of the memory limit",
        about="Shrink at once while memory use is above this.",
    )
    settle_seconds: float = _parameter(
        10.0,
        low=1,
        high=600,
        unit="seconds",
        about="How long an action may take to show in a worker's size before it is judged by what is read.",
    )
    stale_after_seconds: float = _parameter(
        15.0,
        low=0.1,
        high=3600,
        unit="seconds",
        about="How long a silent worker still counts with its last known size.",
    )

    def __post_init__(self) -> None:
        faults = [
            fault
            for parameter in fields(self)
            if (fault := _out_of_bounds(self, parameter.name, parameter.metadata))
        ]
        if not faults:
            faults = self._contradictions()
        if faults:
            raise PolicyError(faults)

    def immediate(self) -> Policy:
        """The same policy without any delay: what it would come to in the end."""
        return replace(
            self,
            scale_up_delay_seconds=0.0,
            scale_down_delay_seconds=0.0,
            stabilization_seconds=0.0,
            scale_up_cooldown_seconds=0.0,
            scale_down_cooldown_seconds=0.0,
        )

    def _contradictions(self) -> list[str]:
        faults = []
        if self.max_processes is not None and self.max_processes < self.min_processes:
            faults.append(
                f"max_processes is {self.max_processes}, below min_processes, which is {self.min_processes};"
                " raise the one or lower the other"
            )
        if self.memory_high < self.memory_headroom:
            faults.append(
                f"memory_high is {self.memory_high}, below memory_headroom, which is {self.memory_headroom};"
                " the pool would grow into what it must shrink from: raise memory_high"
            )
        return faults


def _out_of_bounds(policy: Policy, name: str, metadata: Any) -> str | None:
    value = getattr(policy, name)
    if value is None and name == "max_processes":
        return None
    low, high, unit = metadata["low"], metadata["high"], metadata["unit"]
    wants_int = isinstance(metadata["low"], int) and unit == "processes"
    legal_type = isinstance(value, int) if wants_int else isinstance(value, int | float)
    if isinstance(value, bool) or not legal_type:
        kind = "a whole number" if wants_int else "a number"
        return f"{name} is {value!r}; it must be {kind} of {unit} from {low:g} to {high:g}"
    if not (math.isfinite(value) and low <= value <= high):
        return f"{name} is {value!r}; it must be from {low:g} to {high:g} ({unit})"
    return None
