"""Texts that others have written are read so that UTF-8 can hold them, and a name is still found by them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.foreign_json import loads, readable, spellings

#: Any text of Python's, with halves of pairs.
TEXTS = st.text(st.characters() | st.characters(categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_read_can_be_encoded_wherever_it_is_written(value):
    read = loads(json.dumps(value))
    assert json.loads(json.dumps(read, ensure_ascii=False).encode()) == read


@given(st.text())
def test_what_utf_8_can_hold_is_read_as_it_is(text):
    assert readable({text: [text]}) == {text: [text]}


@given(TEXTS)
def test_who_is_shown_by_a_name_is_found_among_its_spellings(name):
    assert {name, readable(name)} & set(spellings(readable(name)))
    assert {readable(one) for one in spellings(readable(name))} == {readable(name)}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("celery@h", ("celery@h",)),
        (r"w\udcff@h", (r"w\udcff@h", "w\udcff@h")),
        (r"w\u00ff@h", (r"w\u00ff@h",)),
        (r"w\ud83d\ude00@h", (r"w\ud83d\ude00@h", "w\ud83d\ude00@h")),
    ],
)
def test_a_name_with_an_escape_has_two_spellings(name, found):
    assert spellings(name) == found
