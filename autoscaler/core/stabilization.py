"""The steps of the decision that depend on time: the stabilization window, then the cooldowns.

Pure, in the vocabulary of the Kubernetes HPA. Each step takes a recommendation and returns it or a smaller
change, with the reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.core.model import Reason

if TYPE_CHECKING:
    from autoscaler.core.model import Recommendation
    from autoscaler.core.policy import Policy
    from autoscaler.core.state import GroupState

Window = tuple[tuple[float, int], ...]


def keep(window: Window, newest: tuple[float, int], window_seconds: float) -> Window:
    """The window with the newest one, without what is too old or can never be the largest again."""
    since = newest[0] - window_seconds
    return (*(one for one in window if one[0] > since and one[1] > newest[1]), newest)


def stabilize(memory: GroupState, recommendation: Recommendation, current_total: int) -> Recommendation:
    """Shrink only to the largest size recommended within the window."""
    if recommendation.processes >= current_total:
        return recommendation
    largest = max((size for _, size in memory.window), default=recommendation.processes)
    if largest >= current_total:
        return recommendation._replace(processes=current_total, reason=Reason.STABILIZING)
    return recommendation._replace(processes=max(recommendation.processes, largest))


def cooldowns(policy: Policy, memory: GroupState, at: float) -> tuple[float, float]:
    """Seconds until a growth and until a shrink may follow the last observed change."""
    passed = at - memory.changed_at
    return (
        max(0.0, policy.scale_up_cooldown_seconds - passed),
        max(0.0, policy.scale_down_cooldown_seconds - passed),
    )


def cool_down(
    recommendation: Recommendation, current_total: int, *, up: float, down: float
) -> Recommendation:
    """Hold while the cooldown of the recommended direction runs, ``up`` or ``down`` seconds from now."""
    grows, shrinks = recommendation.processes > current_total, recommendation.processes < current_total
    if (grows and up > 0) or (shrinks and down > 0):
        return recommendation._replace(processes=current_total, reason=Reason.COOLDOWN)
    return recommendation
