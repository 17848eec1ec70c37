"""How many processes the work asks for.

Pure. ``load`` is tasks per process: waiting, reserved and running, ETA tasks left out. Beyond a watermark
for its delay, the wish is the size that brings the load back to 1; between the watermarks the wish is the
size there is. Vocabulary and shape follow the Kubernetes HPA and Knative's autoscaler.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.core.model import Reason

if TYPE_CHECKING:
    from autoscaler.core.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The work before a group of workers and the processes they have for it.

    ``complete`` is False where a part could not be read: the counts are then lower bounds.
    """

    waiting: int
    reserved: int
    running: int
    processes: int
    complete: bool = True

    @property
    def tasks(self) -> int:
        """All tasks that a process does or could do now."""
        return self.waiting + self.reserved + self.running

    @property
    def load(self) -> float:
        """Tasks per process; infinite where tasks wait and no process is there."""
        if self.processes == 0:
            return math.inf if self.tasks else 0.0
        return self.tasks / self.processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Since when the load lies beyond each watermark (monotonic seconds), None where it does not."""

    high_since: float | None = None
    low_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A size asked for, in processes, and why.

    ``recommended`` is what the load alone asks for, before any delay: the stabilization window keeps it.
    """

    processes: int
    reason: Reason
    recommended: int


def thresholds(policy: Policy, watch: Watch, work: Work, at: float) -> tuple[Watch, Wish]:
    """The wish by two watermarks with delays, and the watch to hand in next time.

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
            return watch, Wish(processes=work.processes, reason=Reason.DELAYED, recommended=work.tasks)
        return watch, Wish(processes=work.tasks, reason=reason, recommended=work.tasks)
    return watch, Wish(processes=work.processes, reason=Reason.STEADY, recommended=work.processes)


def _since(earlier: float | None, at: float) -> float:
    return at if earlier is None else earlier
