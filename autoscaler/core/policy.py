"""Every parameter of the decision: default, unit, bounds and meaning in one table, validated at once.

The flags, the environment variables and the documented tables are made from the fields of :class:`Policy`; a
default is here and nowhere else. :func:`parameter` and :func:`validate` serve every policy, that of the
target wait too. Nothing here reads the environment.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

#: The largest size that any worker is ever resized to.
MAX_PROCESSES = 10_000


class PolicyError(ValueError):
    """A policy with faults; ``faults`` has one sentence for each, all of them at once."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What values a parameter may have, in ``unit``; both bounds are legal.

    A parameter of processes is a whole number. ``optional`` allows None.
    """

    low: float
    high: float
    unit: str
    about: str
    optional: bool = False

    def fault(self, name: str, value: object) -> str | None:
        """What is wrong with ``value``, in one sentence with what is legal, or None."""
        if value is None and self.optional:
            return None
        whole = self.unit == "processes"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            kind = "a whole number" if whole else "a number"
            return f"{name} is {value!r}; it must be {kind} of {self.unit} from {self.low:g} to {self.high:g}"
        if not self.low <= value <= self.high:  # NaN is not, and any whole number can be compared
            return f"{name} is {value!r}; it must be from {self.low:g} to {self.high:g} ({self.unit})"
        return None


def parameter(
    default: float | None, *, low: float, high: float, unit: str, about: str, optional: bool = False
) -> Any:
    """A dataclass field whose metadata are those of a :class:`Parameter`."""
    described = Parameter(low=low, high=high, unit=unit, about=about, optional=optional)
    return field(default=default, metadata=asdict(described))


def validate(policy: Any) -> list[str]:
    """The faults of a dataclass whose fields are all made by :func:`parameter`, one sentence each."""
    faults = (Parameter(**one.metadata).fault(one.name, getattr(policy, one.name)) for one in fields(policy))
    return [fault for fault in faults if fault]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How the autoscaler decides. Sizes are processes of one worker; times are seconds.

    Raises:
        PolicyError: with every fault, when a value is out of its bounds or two contradict each other.
    """

    min_processes: int = parameter(
        1, low=1, high=MAX_PROCESSES, unit="processes", about="Minimum processes of a worker."
    )
    max_processes: int | None = parameter(
        None,
        low=1,
        high=MAX_PROCESSES,
        unit="processes",
        about="Maximum processes of a worker; `auto` is what fits in its container.",
        optional=True,
    )
    scale_up_threshold: float = parameter(
        1.5,
        low=1,
        high=1000,
        unit="tasks per process",
        about="Grow when the load, in tasks per process, is above this.",
    )
    scale_down_threshold: float = parameter(
        0.6,
        low=0,
        high=1,
        unit="tasks per process",
        about="Shrink when the load, in tasks per process, is below this.",
    )
    scale_up_delay_seconds: float = parameter(
        0.0, low=0, high=3600, unit="seconds", about="Seconds that the load must stay high before growing."
    )
    scale_down_delay_seconds: float = parameter(
        15.0, low=0, high=86400, unit="seconds", about="Seconds that the load must stay low before shrinking."
    )
    stabilization_seconds: float = parameter(
        30.0,
        low=0,
        high=86400,
        unit="seconds",
        about="Shrink only to the largest size recommended within so many seconds.",
    )
    scale_up_cooldown_seconds: float = parameter(
        3.0,
        low=0,
        high=3600,
        unit="seconds",
        about="Minimum seconds from an observed change of size to a growth.",
    )
    scale_down_cooldown_seconds: float = parameter(
        15.0,
        low=0,
        high=86400,
        unit="seconds",
        about="Minimum seconds from an observed change of size to a shrink.",
    )
    max_step_up: int = parameter(
        16,
        low=1,
        high=MAX_PROCESSES,
        unit="processes",
        about="Maximum processes a worker gains in one action.",
    )
    max_step_down: int = parameter(
        4,
        low=1,
        high=MAX_PROCESSES,
        unit="processes",
        about="Maximum processes a worker loses in one action.",
    )
    processes_per_core: float = parameter(
        1.0,
        low=0.01,
        high=1000,
        unit="processes per core",
        about="Processes per core of the container: 1 for tasks that compute, more for tasks that wait.",
    )
    cpu_high: float = parameter(
        0.95,
        low=0.05,
        high=1,
        unit="share of the CPU limit",
        about="No growth while CPU use is above this share of the limit.",
    )
    throttled_high: float = parameter(
        0.25,
        low=0.01,
        high=1,
        unit="share of time",
        about="No growth while the kernel throttles the container for more than this share of the time.",
    )
    memory_headroom: float = parameter(
        0.85,
        low=0.05,
        high=1,
        unit="share of the memory limit",
        about="Share of the memory limit that the processes may fill; the ceiling follows from it.",
    )
    memory_high: float = parameter(
        0.92,
        low=0.05,
        high=1,
        unit="share of the memory limit",
        about="Shrink at once while memory use is above this share of the limit.",
    )
    memory_per_process_bytes: int | None = parameter(
        None,
        low=1,
        high=2**50,
        unit="bytes",
        about="Memory that a process needs at its peak, as in 200Mi, where it is known beforehand; what is "
        "observed counts where it is more.",
        optional=True,
    )
    settle_seconds: float = parameter(
        10.0,
        low=1,
        high=600,
        unit="seconds",
        about="Seconds to wait for an action to show in a worker's size before its size is taken as read.",
    )
    stale_after_seconds: float = parameter(
        15.0,
        low=0.1,
        high=3600,
        unit="seconds",
        about="Seconds for which an unresponsive worker still counts with its last known size.",
    )

    def __post_init__(self) -> None:
        faults = validate(self)
        if not faults:
            faults = self._contradictions()
        if faults:
            raise PolicyError(faults)

    def immediate(self) -> Policy:
        """The same policy without any delay: the size that it would reach in the end."""
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
