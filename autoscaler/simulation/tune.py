"""Searches the parameters of the target wait for the cheapest that keeps the target on a trace.

Every trial goes through the whole decider, so that what is found holds under the bounds of the policy too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autoscaler.core.decider import Decider
from autoscaler.simulation.decided import DecidedScaler
from autoscaler.simulation.engine import simulate
from autoscaler.simulation.report import Summary, summarize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.core.demand.target_wait import TargetWaitPolicy
    from autoscaler.core.policy import Policy
    from autoscaler.simulation.engine import PoolModel
    from autoscaler.simulation.traces import Trace

#: Each is a choice between cost and starts, then between cost and late starts: few, so that none is fitted.
START_WORTHS_SECONDS = (5.0, 10.0, 20.0, 40.0, 80.0)
RELEASE_CAUTIONS = (0.0, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One setting and what came of it; ``price`` is process-seconds and the starts at their worth."""

    parameters: TargetWaitPolicy
    summary: Summary
    price: float
    keeps: bool


def tune(
    trace: Trace,
    model: PoolModel,
    policy: Policy,
    parameters: TargetWaitPolicy,
    *,
    share: float = 0.999,
    starts_are_worth_seconds: float | None = None,
    interval_seconds: float = 1.0,
    min_interval_seconds: float | None = None,
) -> Sequence[Trial]:
    """Return every trial, best first: those that keep the target at ``share`` by price, then by their share.

    Of trials with the same price, the one with fewer starts comes first, then the one with ``parameters``
    themselves, then the lower start worth and caution. ``starts_are_worth_seconds`` is the price of a start
    by which trials are compared, by default that of ``parameters``; the policy's own ``start_worth_seconds``
    is searched, for it works on gaps that it must guess.

    Raises:
        ValueError: where ``share`` is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; it must be above 0 and at most 1")
    worth = parameters.start_worth_seconds if starts_are_worth_seconds is None else starts_are_worth_seconds
    decider = Decider(
        policy=policy, min_interval_seconds=min_interval_seconds, interval_seconds=interval_seconds
    )
    trials = []
    for start_worth in sorted({*START_WORTHS_SECONDS, parameters.start_worth_seconds}):
        for caution in sorted({*RELEASE_CAUTIONS, parameters.release_caution}):
            tried = replace(parameters, start_worth_seconds=start_worth, release_caution=caution)
            scaler = DecidedScaler(
                replace(decider, target_wait=tried),
                name=f"start worth {start_worth:g}, caution {caution:g}",
                start_seconds=model.start_seconds,
                interval_seconds=interval_seconds,
            )
            summary = summarize(simulate(trace, scaler, model), parameters.target_wait_seconds)
            price = summary.process_seconds + worth * summary.starts
            keeps = summary.within_target >= share
            trials.append(Trial(parameters=tried, summary=summary, price=price, keeps=keeps))
    return sorted(trials, key=lambda trial: _order(trial, parameters))


def _order(trial: Trial, given: TargetWaitPolicy) -> tuple[bool, float, int, bool]:
    measure = trial.price if trial.keeps else -trial.summary.within_target
    return not trial.keeps, measure, trial.summary.starts, trial.parameters != given


def distinct(trials: Sequence[Trial]) -> Sequence[Summary]:
    """The figures of the trials in their order, each once, under the name of the first one.

    The name says how many more settings came to the same.
    """
    alike: dict[Summary, list[str]] = {}
    for trial in trials:
        alike.setdefault(replace(trial.summary, policy=""), []).append(trial.summary.policy)
    return [
        replace(figures, policy=names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} alike)")
        for figures, names in alike.items()
    ]
