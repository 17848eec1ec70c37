"""Values as others report them: what makes no sense is unknown or empty, and never an error."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.sensors import values

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (7, 7), (7.0, 7), (-1, None), (True, None), ("7", None), (None, None), (2**60, None)],
)
def test_a_count_is_a_whole_number_of_zero_or_more(value, expected):
    assert values.count(value) == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, True, "1", None, [1]])
def test_what_is_no_exact_number_is_unknown(value):
    assert values.number(value) is None


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0.0), (2.5, 2.5), (9, 9.0), (9.1, None), (-0.1, None), (math.nan, None)]
)
def test_an_amount_is_a_number_from_zero_to_what_is_the_highest(value, expected):
    assert values.amount(value, 9) == expected


def test_names_are_sorted_and_each_is_there_once():
    assert values.names(["b", "a", "b", 7]) == ("7", "a", "b")
    assert values.names(None) == ()


def test_texts_are_sorted_each_once_and_the_others_are_left_out():
    assert values.texts(["b", "a", "b", "", 7, None, "x" * 201]) == ("a", "b")
    assert values.texts("ab") == values.texts(None) == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [([9, 0, 3, 0], (0, 3, 9)), ([], ()), ([0, -1], ()), ([0, 256], ()), ([True], ()), ("03", ())],
)
def test_priority_steps_are_known_whole_or_not_at_all(value, expected):
    assert values.steps(value) == expected


@given(JUNK)
def test_any_value_is_read_as_something_or_as_unknown(value):
    found = values.number(value)
    assert found is None or math.isfinite(found)
    assert values.switch(value) in {None, True, False}
    assert values.text(value) in {None, value if isinstance(value, str) else None}
    assert isinstance(values.mapping(value), dict)
    assert isinstance(values.items(value), list)
    assert all(isinstance(one, str) for one in values.texts(value))
