"""How many processes the work asks for, by two thresholds of the load.

Pure. ``load`` is tasks per process: waiting, reserved and running, ETA tasks left out. Beyond a threshold
for its delay, the recommendation is the size that brings the load back to 1; between the thresholds it is the
current size. Vocabulary and shape follow the Kubernetes HPA and Knative's autoscaler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.core.model import Reason, Recommendation

if TYPE_CHECKING:
    from autoscaler.core.demand.work import Work
    from autoscaler.core.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Since when the load is beyond each threshold (monotonic seconds), None where it is not."""

    high_since: float | None = None
    low_since: float | None = None


def thresholds(policy: Policy, watch: Watch, work: Work, at: float) -> tuple[Watch, Recommendation]:
    """The recommendation by two thresholds with delays, and the watch to pass in next time.

    Incomplete work can only ask for more: what is not known may be work.
    """
    load = work.load
    high = load > policy.scale_up_threshold
    low = load < policy.scale_down_threshold and work.complete
    watch = Watch(
        high_since=_since(watch.high_since, at) if high else None,
        low_since=_since(watch.low_since, at) if low else None,
    )
    for since, delay, reason in (
        (watch.high_since, policy.scale_up_delay_seconds, Reason.LOAD_HIGH),
        (watch.low_since, policy.scale_down_delay_seconds, Reason.LOAD_LOW),
    ):
        if since is None:
            continue
        if at - since < delay:
            return watch, Recommendation(
                processes=work.processes, reason=Reason.DELAYED, before_delays=work.tasks
            )
        return watch, Recommendation(processes=work.tasks, reason=reason, before_delays=work.tasks)
    return watch, Recommendation(processes=work.processes, reason=Reason.STEADY, before_delays=work.processes)


def _since(earlier: float | None, at: float) -> float:
    return at if earlier is None else earlier
