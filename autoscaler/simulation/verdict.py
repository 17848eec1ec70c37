"""Which policy of a comparison won, and which ones did not keep the target, in a sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.simulation.report import Summary

#: A policy that starts a smaller share of the tasks within the target is no candidate.
KEPT_SHARE = 0.99


def winner(summaries: Sequence[Summary], *, share: float = KEPT_SHARE) -> Summary | None:
    """The cheapest policy that starts at least ``share`` of the tasks within the target, or None.

    Fewer starts break ties.
    """
    kept = [summary for summary in summaries if summary.within_target >= share]
    return min(kept, key=_rank, default=None)


def _rank(summary: Summary) -> tuple[float, int]:
    return round(summary.cost, 4), summary.starts


def verdict(summaries: Sequence[Summary], target_wait_seconds: float, *, share: float = KEPT_SHARE) -> str:
    """The result as a sentence: the winner, whoever it is, and the next cheapest that keeps the target."""
    best = winner(summaries, share=share)
    if best is None:
        nearest = max(summaries, key=lambda summary: summary.within_target)
        return (
            f"No policy starts {share:.0%} of the tasks within {target_wait_seconds:g} s;"
            f" {nearest.policy} comes nearest with {nearest.within_target:.2%}"
        )
    kept = f"{share:.0%} of the tasks within {target_wait_seconds:g} s"
    equal = [one.policy for one in summaries if one.within_target >= share and _rank(one) == _rank(best)]
    if len(equal) > 1:
        return (
            f"A tie: {', '.join(equal[:-1])} and {equal[-1]} start {kept} at the same least cost,"
            f" {best.cost:.2f}, with {best.starts} starts each"
        )
    said = f"{best.policy} is the cheapest that starts {kept}: cost {best.cost:.2f}"
    second = winner([summary for summary in summaries if summary is not best], share=share)
    if second is None:
        return f"{said}; no other policy keeps the target"
    after = f"{second.policy}: cost {second.cost:.2f}, {second.starts} starts"
    return f"{said}, {best.starts} starts; next is {after}"


def missed(
    summaries: Sequence[Summary], target_wait_seconds: float, *, share: float = KEPT_SHARE
) -> str | None:
    """The policies that do not keep the target, in a sentence that says what their rows show; or None."""
    names = [summary.policy for summary in summaries if summary.within_target < share]
    if not names:
        return None
    return (
        f"These start less than {share:.0%} of the tasks within {target_wait_seconds:g} s, so their cost does"
        f" not compare: {', '.join(names)}. Where a parameter was searched, the row shows the value that"
        " comes nearest"
    )


def distance(ours: Summary, bound: Summary) -> str:
    """How far a policy is from a plan that knows the future, in a sentence."""
    said = f"A plan that knows the future ({bound.policy}) costs {bound.cost:.2f} with {bound.starts} starts"
    if not (bound.cost and bound.starts):
        return said
    cost, starts = ours.cost / bound.cost, ours.starts / bound.starts
    return f"{said}; {ours.policy} takes {cost:.2f} times that cost and {starts:.2f} times those starts"
