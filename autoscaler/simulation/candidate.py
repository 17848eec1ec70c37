"""Our own policy as a scaler: the same :func:`autoscaler.core.demand.target_wait.advance` as the daemon's, tick by tick."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.core.demand.target_wait import Signal, TargetWaitState, advance

if TYPE_CHECKING:
    from autoscaler.core.demand.target_wait import TargetWaitPolicy
    from autoscaler.simulation.engine import PoolView


class LatencyScaler:
    """The latency demand, asked every ``interval_seconds``.

    ``start_seconds`` is what the companion would report; None stands for a worker without one.
    """

    on_message = False
    initial_processes = 1

    def __init__(
        self, parameters: TargetWaitPolicy, *, start_seconds: float | None, interval_seconds: float = 1.0
    ) -> None:
        self.name = f"latency {parameters.target_wait_seconds:g} s"
        self.interval_seconds = interval_seconds
        self._parameters = parameters
        self._start_seconds = start_seconds
        self._state = TargetWaitState()

    def wish(self, view: PoolView) -> int:
        """Return the processes wanted after this tick."""
        signal = Signal(
            at=view.at,
            waiting=view.waiting,
            busy=view.busy,
            reserved=view.reserved,
            processes=view.size,
            completed=view.completed,
            oldest_age_seconds=view.oldest_age_seconds,
            start_seconds=self._start_seconds,
        )
        self._state, wanted = advance(self._parameters, self._state, signal)
        return wanted
