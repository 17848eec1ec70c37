"""The outcome of a simulation, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import replace

from autoscaler.simulation.engine import ReplayResult, simulate
from autoscaler.simulation.peers import Fixed
from autoscaler.simulation.report import Summary, as_dict, summarize, table
from tests.support.traces import MODEL, trace


def outcome_by_hand() -> ReplayResult:
    return simulate(trace(*[(float(at), 1.0) for at in range(0, 200, 2)]), Fixed(1), MODEL)


def test_a_summary_has_the_figures_of_the_run():
    outcome = replace(outcome_by_hand(), waits_seconds=[float(wait) for wait in range(100, 0, -1)])
    assert summarize(outcome, 90.0) == Summary(
        policy="fixed 1",
        within_target=0.9,
        wait_p50_seconds=50.0,
        wait_p95_seconds=95.0,
        wait_p99_seconds=99.0,
        cost=1.99,
        process_seconds=199.0,
        starts=0,
        changes=0,
        peak_processes=1,
    )


def test_the_table_has_a_line_for_each_policy():
    work = trace((0.0, 1.0), (2.0, 1.0))
    summary = summarize(simulate(work, Fixed(1), MODEL), 5.0)
    assert table(work, 5.0, [summary]).splitlines() == [
        "by hand: 2 tasks in 2 s, target wait 5 s; cost is process-seconds over seconds of work",
        "",
        "policy   in target     p50     p95     p99  cost  starts  changes  peak",
        "-----------------------------------------------------------------------",
        "fixed 1    100.00%  0.00 s  0.00 s  0.00 s  1.50       0        0     1",
    ]


def test_the_dict_is_json_even_where_there_was_no_work():
    work = trace((0.0, 0.0))
    found = as_dict(work, 5.0, [summarize(simulate(work, Fixed(1), MODEL), 5.0)])
    assert json.loads(json.dumps(found, allow_nan=False))["policies"][0]["cost"] is None
