from __future__ import annotations

from dataclasses import replace

from autoscaler.simulation.report import Summary
from autoscaler.simulation.verdict import missed, verdict, winner

OURS = Summary(
    policy="target wait 5 s",
    within_target=1.0,
    wait_p50_seconds=0.0,
    wait_p95_seconds=1.0,
    wait_p99_seconds=2.0,
    cost=1.91,
    process_seconds=191.0,
    starts=40,
    changes=50,
    peak_processes=9,
)
KNATIVE = replace(OURS, policy="knative", cost=1.88, starts=60)
CHEAP_AND_LATE = replace(OURS, policy="keda", cost=0.5, within_target=0.98)


def test_another_policy_that_is_cheaper_is_named_as_the_winner():
    assert verdict([OURS, KNATIVE, CHEAP_AND_LATE], 5.0) == (
        "knative is the cheapest that starts 99% of the tasks within 5 s: cost 1.88, 60 starts;"
        " next is target wait 5 s: cost 1.91, 40 starts"
    )


def test_of_equal_costs_the_one_with_fewer_starts_wins():
    assert winner([replace(KNATIVE, cost=1.91), OURS]) is OURS


def test_a_tie_is_said_to_be_one():
    equal = [replace(OURS, policy=name) for name in ("target wait 5 s", "fixed 2", "knative")]
    assert verdict([*equal, replace(OURS, policy="keda", starts=41)], 5.0) == (
        "A tie: target wait 5 s, fixed 2 and knative start 99% of the tasks within 5 s at the same least"
        " cost, 1.91, with 40 starts each"
    )


def test_a_policy_alone_says_that_no_other_keeps_the_target():
    assert verdict([OURS, CHEAP_AND_LATE], 5.0) == (
        "target wait 5 s is the cheapest that starts 99% of the tasks within 5 s: cost 1.91;"
        " no other policy keeps the target"
    )


def test_where_nobody_keeps_the_target_the_nearest_is_named():
    late = replace(OURS, within_target=0.5)
    assert verdict([late, CHEAP_AND_LATE], 5.0) == (
        "No policy starts 99% of the tasks within 5 s; keda comes nearest with 98.00%"
    )


def test_the_policies_that_do_not_keep_the_target_are_named_with_what_their_rows_show():
    assert missed([OURS, KNATIVE], 5.0) is None
    assert missed([OURS, CHEAP_AND_LATE], 5.0) == (
        "These start less than 99% of the tasks within 5 s, so their cost does not compare: keda. Where a"
        " parameter was searched, the row shows the value that comes nearest"
    )
