"""JSON is read and written as Python's own module does it, whichever of the two does the work."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.broker.fast_json import dumps, loads

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(), st.lists(SCALARS), max_size=3)


@given(VALUES)
def test_what_others_write_is_read_as_pythons_module_reads_it(value):
    for ascii_only in (True, False):
        assert loads(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(VALUES.filter(lambda value: "Infinity" not in json.dumps(value)))
def test_what_is_written_is_read_by_pythons_module_as_it_was(value):
    for large in (False, True):
        assert json.loads(dumps(value, large=large)) == value


def test_a_lone_surrogate_is_read_as_its_escape_in_letters_and_written():
    assert loads(b'["\\ud800"]') == [r"\ud800"]
    assert dumps(["\ud800"], large=True) == '["\\ud800"]'


def test_what_is_not_a_number_is_read_as_others_write_it_and_written_as_null():
    assert loads(b"[Infinity, -Infinity, 1e999]") == [math.inf, -math.inf, math.inf]
    assert math.isnan(loads(b"NaN"))
    assert dumps([math.inf, math.nan, 1.5], large=True) == "[null,null,1.5]"


def test_numbers_beyond_64_bits_are_read_as_floats_and_written_in_full():
    assert loads(b"[1000000000000000000000]") == [1e21]
    assert dumps([10**21], large=True) == "[1000000000000000000000]"


@pytest.mark.parametrize("text", [b"", b"{", b"[1,]", b'"\xff"', b"\x80\x04K\x01.", b"tru"])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        loads(text)
