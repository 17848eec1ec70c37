"""The parameters of the target wait: default, unit, bounds and meaning, as for every other policy."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autoscaler.core.policy import PolicyError, parameter, validate


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetWaitPolicy:
    """The parameters of the target wait; everything else is learnt.

    Raises:
        PolicyError: with every fault, when a value is out of its bounds.
    """

    target_wait_seconds: float = parameter(
        5.0, low=0.1, high=86400, unit="seconds", about="Every task starts within this time of its arrival."
    )
    start_worth_seconds: float = parameter(
        35.0,
        low=0.1,
        high=86400,
        unit="seconds",
        about="Idle seconds you would pay to avoid one process start; higher means fewer starts.",
    )
    assumed_start_seconds: float = parameter(
        1.0,
        low=0,
        high=3600,
        unit="seconds",
        about="Time from a resize to a ready process, until it is learnt.",
    )
    margin_seconds: float = parameter(
        0.2,
        low=0,
        high=3600,
        unit="seconds",
        about="Reserve for a late tick or start; it is taken off the target.",
    )
    release_caution: float = parameter(
        0.0,
        low=0,
        high=10,
        unit="standard deviations",
        about="How cautiously to count on busy processes to become free in time: their expected number is "
        "lowered by so many standard deviations. Higher grows earlier; 0 counts on the mean.",
    )
    remembered_tasks: float = parameter(
        50,
        low=1,
        high=1_000_000,
        unit="tasks",
        about="Number of ended tasks that the service time is learnt from.",
    )
    remembered_gaps: float = parameter(
        30,
        low=1,
        high=1_000_000,
        unit="gaps",
        about="Number of gaps between two needs that each size learns from.",
    )

    def __post_init__(self) -> None:
        faults = validate(self)
        if faults:
            raise PolicyError(faults)

    def aimed_at(self, target_wait_seconds: float) -> TargetWaitPolicy:
        """The same for queues with a target of their own."""
        if target_wait_seconds == self.target_wait_seconds:
            return self
        return replace(self, target_wait_seconds=target_wait_seconds)

    @property
    def planned_wait_seconds(self) -> float:
        """The wait that is planned for."""
        return max(0.0, self.target_wait_seconds - self.margin_seconds)
