"""Numbers over time: slots, tiers, gaps, what is stored and read back."""

from __future__ import annotations

import itertools
import json
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autoscaler.report.series import COLUMNS, MAX_SECONDS, OUTAGE, PAUSED, TIERS, Series, row

#: A time at which a slot of every tier begins.
BEGIN = 1_800_000_000.0


def taken(*samples: tuple[float, dict[str, float | None]], hold_seconds: float = 0.0) -> Series:
    series = Series()
    for after, values in samples:
        series.take(BEGIN + after, row(**values), hold_seconds=hold_seconds)
    return series


def column(series: Series, name: str, span_seconds: float, after: float) -> list[float | int | None]:
    return series.column(name, span_seconds, BEGIN + after)


def test_a_time_without_a_sample_is_a_gap_and_an_unknown_value_too() -> None:
    series = taken((0, {"waiting": 3}), (2, {"waiting": None}), (8, {"waiting": 0}))

    assert column(series, "waiting", 10, 9) == [3, None, None, None, 0]


def test_a_sample_holds_until_the_next_one_that_comes_in_time() -> None:
    in_time = taken((0, {"processes": 3}), (6, {"processes": 5}), hold_seconds=6)
    late = taken((0, {"processes": 3}), (6, {"processes": 5}), hold_seconds=5.9)

    assert column(in_time, "processes", 8, 7) == [3, 3, 3, 5]
    assert column(late, "processes", 8, 7) == [3, None, None, 5]


def test_samples_of_one_slot_come_together_by_the_rule_of_their_column() -> None:
    series = taken(
        (0.0, {"waiting": 9, "processes": 2, "flags": PAUSED}),
        (0.5, {"waiting": 1, "processes": 4, "flags": OUTAGE}),
        (1.5, {"waiting": None, "processes": 6, "flags": 0}),
    )

    shown = {name: values[-1] for name, values in series.window(2, BEGIN + 1)["columns"].items()}
    assert {name: shown[name] for name in ("waiting", "processes", "flags", "age")} == {
        "waiting": 9,
        "processes": 4,
        "flags": PAUSED | OUTAGE,
        "age": None,
    }


@pytest.mark.parametrize(
    ("span_seconds", "step"), [(1, 2), (900, 2), (1000, 5), (3600, 5), (21_600, 30), (86_400, 120)]
)
def test_each_span_is_shown_in_the_finest_tier_that_covers_it(span_seconds: float, step: int) -> None:
    window = Series().window(span_seconds, BEGIN)

    lengths = {len(values) for values in window["columns"].values()}
    assert (window["step_seconds"], lengths) == (step, {max(1, int(span_seconds // step))})
    assert window["from"] == BEGIN - (max(1, int(span_seconds // step)) - 1) * step


def test_a_day_at_every_interval_stays_within_its_slots_and_forgets_what_is_older() -> None:
    series = Series()
    for tick in range(0, 2 * int(MAX_SECONDS), 60):
        series.take(BEGIN + tick, row(processes=tick), hold_seconds=180)

    shown = column(series, "processes", MAX_SECONDS, 2 * MAX_SECONDS - 1)
    assert len(shown) == TIERS[-1].length
    assert shown[0] == MAX_SECONDS + 30  # the mean of the two samples of its slot
    assert None not in shown


def test_a_clock_that_is_set_back_or_ahead_harms_nothing() -> None:
    series = taken((0, {"processes": 1}), (900_010, {"processes": 2}), (4, {"processes": 3}), hold_seconds=10)

    assert column(series, "processes", 6, 5) == [1, None, 3]


def test_what_is_stored_and_read_back_is_the_same_and_fits_the_bound() -> None:
    before = Series()
    for tick in range(0, 4000, 2):
        values = dict.fromkeys(COLUMNS, tick / 3)
        before.take(BEGIN + tick, row(**values | {"flags": 0, "age": None}), hold_seconds=6)
    stored = before.changed()
    after = Series()

    after.restore(stored, BEGIN + 4000)

    for span_seconds in (900, 3600, 21_600, 86_400):
        found, expected = (one.window(span_seconds, BEGIN + 4000) for one in (after, before))
        assert found == {
            **expected,
            "columns": {
                name: [
                    None if value is None else pytest.approx(value, rel=1e-6, abs=1e-3) for value in values
                ]
                for name, values in expected["columns"].items()
            },
        }
    assert before.changed() == {}


def test_every_slot_of_the_longest_numbers_takes_a_quarter_of_a_megabyte_stored_and_less_in_memory() -> None:
    series = Series()
    for tick in range(0, int(MAX_SECONDS), 2):
        series.take(BEGIN + tick, row(**dict.fromkeys(COLUMNS, 12_345.679)), hold_seconds=0)

    stored = series.changed()

    sizes = [sys.getsizeof(column) for ring in series._rings for column in (*ring.columns, ring.slots)]
    assert sum(map(len, stored.values())) < 512 * 1024
    assert sum(sizes) < 256 * 1024


def test_what_could_not_be_stored_is_stored_the_next_time() -> None:
    series = taken((0, {"waiting": 1}))
    fields = series.changed()
    series.mark(fields)

    assert series.changed() == fields


@pytest.mark.parametrize(
    "block",
    [
        "",
        "{",
        "7",
        "null",
        "[[1, 2]]",
        "[" * 100_000,
        json.dumps([["a", *[0] * len(COLUMNS)]]),
        json.dumps([[True, *[0] * len(COLUMNS)]]),
        json.dumps([[int(BEGIN // 2), *["x"] * len(COLUMNS)]]),
        json.dumps([[int(BEGIN // 2) + 10**6, *[0] * len(COLUMNS)]]),
        json.dumps([[10**30, *[0] * len(COLUMNS)]]),
        json.dumps([[int(BEGIN // 2), *[10**400] * len(COLUMNS)]]),
    ],
)
def test_what_is_no_block_of_ours_is_left_out(block: str) -> None:
    series = Series()

    series.restore({f"2:{number}": block for number in range(30)}, BEGIN)

    assert set(column(series, "waiting", 900, 0)) == {None}


@settings(max_examples=150)
@given(
    ticks=st.lists(st.tuples(st.floats(0.2, 400), st.none() | st.integers(0, 50)), min_size=1, max_size=60)
)
@example(ticks=[(34.35220648313122, 0), (30.0, None)])  # on the wall clock it is just within what is held
def test_no_value_is_shown_that_was_not_there(ticks: list[tuple[float, int | None]]) -> None:
    """A value in a slot was sampled in it, or held from the sample before; everything else is a gap."""
    series, at = Series(), BEGIN
    samples = []
    for gap, waiting in ticks:
        at += gap
        series.take(at, row(waiting=waiting), hold_seconds=30)
        samples.append((at, waiting))

    window = series.window(900, at)

    for place, value in enumerate(window["columns"]["waiting"]):
        slot = window["from"] + place * 2
        within = {waiting for when, waiting in samples if int(when // 2) * 2 == slot}
        earlier = [
            one
            for one, following in itertools.pairwise(samples)
            if one[0] < slot and following[0] >= slot + 2 and following[0] - one[0] <= 30
        ]
        known = (within or {one[1] for one in earlier[-1:]}) - {None}
        assert value == max(known, default=None)
