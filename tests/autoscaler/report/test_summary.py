"""What a span comes to, over what is known of it."""

from __future__ import annotations

import pytest

from autoscaler.report.series import COLUMNS
from autoscaler.report.summary import percentile, summary


def window(**columns: list[float | None]) -> dict[str, object]:
    length = len(next(iter(columns.values())))
    return {"step_seconds": 900, "columns": {name: columns.get(name, [None] * length) for name in COLUMNS}}


def test_a_span_is_summed_up_over_what_is_known_of_it() -> None:
    found = summary(
        window(
            processes=[2, 4, None, 6],
            peak=[2, 5, None, 8],
            at_max=[0, 0.5, None, 1],
            late=[0, 0, None, 1],
            age=[0, 1.5, None, 9],
            waiting=[0, 3, None, 40],
        )
    )

    assert found == {
        "known_seconds": 2700,
        "unknown_seconds": 900,
        "peak_processes": 8,
        "process_hours": 3.0,
        "fixed_pool_process_hours": 6.0,
        "saved_share": 0.5,
        "seconds_at_max": 1350,
        "share_in_time": 0.6667,
        "age_p95_seconds": 9,
    }


def test_where_the_wait_is_known_only_while_nothing_waits_no_wait_is_told() -> None:
    found = summary(
        window(processes=[1] * 4, waiting=[0, 5, 5, 0], age=[0, None, None, 0], late=[0, None, None, 0])
    )
    assert (found["share_in_time"], found["age_p95_seconds"]) == (None, None)


def test_of_a_span_of_which_nothing_is_known_no_figure_is_made_up() -> None:
    found = summary(window(processes=[None, None]))
    figures = found.keys() - {"known_seconds", "unknown_seconds"}
    assert (found["known_seconds"], found["unknown_seconds"]) == (0, 1800)
    assert {found[name] for name in figures} == {None}


def test_a_pool_of_no_process_saves_nothing_of_nothing() -> None:
    assert summary(window(processes=[0], peak=[0]))["saved_share"] is None


@pytest.mark.parametrize(
    ("values", "share", "found"), [([], 0.5, None), ([3], 0.95, 3), ([1, 2, 3, 4], 0.5, 2), ([4, 1], 1.0, 4)]
)
def test_a_percentile_is_a_value_that_was_there(
    values: list[float], share: float, found: float | None
) -> None:
    assert percentile(values, share) == found
