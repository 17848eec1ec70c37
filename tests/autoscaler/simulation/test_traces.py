"""Traces read from text, and bad input reported by its row."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.simulation.traces import ServiceModel, Trace, TraceError, parse_counts, parse_tasks

if TYPE_CHECKING:
    from pathlib import Path


def test_tasks_are_read():
    assert parse_tasks(["offset_s,service_s\n", "0.5,1\n", "0.5,0\n", "2,0.25\n"], "t") == Trace(
        name="t",
        arrivals_seconds=[0.5, 0.5, 2.0],
        services_seconds=[1.0, 0.0, 0.25],
        duration_seconds=2.0,
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "t: it is empty; its first row must be 'offset_s,service_s'"),
        ("offset_s,service_s", "t: there is no task in it; a trace has one or more"),
        ("a,b\n1,2", "t, row 1: the header is 'a,b'; it must be 'offset_s,service_s'"),
        ("offset_s,service_s\n1,2\n3", "t, row 3: 1 cells where 2 belong"),
        ("offset_s,service_s\n1,2\n\n", "t, row 3: 0 cells where 2 belong"),
        ("offset_s,service_s\nnoon,2", "t, row 2: offset_s is 'noon'; it must be seconds"),
        ("offset_s,service_s\n1,nan", "t, row 2: service_s is 'nan'; it must be 0 to 31622400 seconds"),
        ("offset_s,service_s\n1,-2", "t, row 2: service_s is '-2'; it must be 0 to 31622400 seconds"),
        ("offset_s,service_s\n1e300,2", "t, row 2: offset_s is '1e300'; it must be 0 to 31622400 seconds"),
        ("offset_s,service_s\n5,1\n4,1", "t, row 3: offset_s is 4, before 5 of the row above; sort it"),
    ],
)
def test_an_invalid_trace_is_reported_in_one_line_with_its_row(text: str, fault: str):
    with pytest.raises(TraceError) as caught:
        parse_tasks(text.splitlines(keepends=True), "t")
    assert str(caught.value) == fault


def test_bytes_that_are_no_text_are_reported(tmp_path: Path):
    path = tmp_path / "trace.csv"
    path.write_bytes(b"offset_s,service_s\n\xff\xfe,1\n")
    with path.open(encoding="utf-8") as lines, pytest.raises(TraceError, match=r"it is not text in UTF-8"):
        parse_tasks(lines, "t")


def test_counts_become_arrivals_within_their_bins_and_the_same_ones_for_a_seed():
    rows = ["timestamp,value", "2014-04-10 00:04:00,3.0", "2014-04-10 00:09:00,0", "2014-04-10 00:14:00,2"]
    service = ServiceModel(mean_seconds=10.0)
    first = parse_counts(rows, "t", service, seed=1)
    assert [int(arrival // 300) for arrival in first.arrivals_seconds] == [0, 0, 0, 2, 2]
    assert (first.duration_seconds, first) == (900.0, parse_counts(rows, "t", service, seed=1))
    assert first != parse_counts(rows, "t", service, seed=2)


def test_drawn_service_times_have_the_given_mean_and_variation():
    rng, model = random.Random(1), ServiceModel(mean_seconds=10.0, variation=0.5)
    drawn = [model.draw(rng) for _ in range(50_000)]
    mean = math.fsum(drawn) / len(drawn)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in drawn) / len(drawn))
    assert (mean, spread) == (pytest.approx(10.0, rel=0.02), pytest.approx(5.0, rel=0.03))


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (
            ["timestamp,value", "2014-04-10 00:04:00,-1"],
            "t, row 2: the count is '-1'; it must be 0 to 20000000",
        ),
        (["offset_s,count", "0,1.5"], "t, row 2: the count is '1.5'; it must be 0 to 20000000"),
        (["offset_s,count", "0,1e12"], "t, row 2: the count is '1e12'; it must be 0 to 20000000"),
        (["offset_s,count", "0,20000000", "60,1"], "t: 20000001 tasks; a trace has at most 20000000"),
        (
            ["offset_s,count", "60,1", "0,1"],
            "t, row 3: its time '0' is not after that of the row above; sort it",
        ),
        (["offset_s,count", "later,1"], "t, row 2: offset_s is 'later'; it must be seconds"),
        (
            ["timestamp,value", "2014-04-10 00:04:00,1", "noon,1"],
            "t, row 3: the time is 'noon'; it must be like 2014-04-10T00:04:00",
        ),
        (
            ["timestamp,value", "2014-04-10,1", "2016-04-10,1"],
            "t, row 3: the time is '2016-04-10', more than a year after the first",
        ),
        (["offset_s,count", "0,1"], "t: how long a bin lasts cannot be derived from one; give bin_seconds"),
        (["offset_s,count"], "t: there is no task in it; a trace has one or more"),
        (["offset_s,count", "0,0", "60,0"], "t: there is no task in it; a trace has one or more"),
    ],
)
def test_invalid_counts_are_reported_in_one_line_with_their_row(rows: list[str], fault: str):
    with pytest.raises(TraceError) as caught:
        parse_counts(rows, "t", ServiceModel(mean_seconds=1.0))
    assert str(caught.value) == fault


@pytest.mark.slow
@given(text=st.text(alphabet='0123456789.,-eE\n"nai', max_size=60))
def test_any_text_is_a_trace_or_a_fault_of_one_line(text: str):
    counts = ServiceModel(mean_seconds=1.0)
    for header, parse in (
        ("offset_s,service_s\n", parse_tasks),
        ("offset_s,count\n", lambda lines, name: parse_counts(lines, name, counts, bin_seconds=60.0)),
    ):
        try:
            parsed = parse([header, *text.splitlines(keepends=True)], "t")
        except TraceError as fault:
            outcome = str(fault)
        else:
            outcome = "in order" if list(parsed.arrivals_seconds) == sorted(parsed.arrivals_seconds) else "\n"
        assert "\n" not in outcome
