"""Single values: what is legal, and that numbers are plain ASCII."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.settings.parse import (
    number,
    parse_fanout_prefix,
    parse_name,
    parse_separator,
    parse_size,
    parse_span,
    parse_target,
    whole,
)

SURPRISES = ["٣", "１２", "1_0", " 10", "10 ", "0x10", "1e", "inf", "nan", "", "1,5", "--1", "\n1"]  # noqa: RUF001


@pytest.mark.parametrize("text", SURPRISES)
def test_a_number_that_only_python_understands_is_refused_with_what_is_legal(text):
    with pytest.raises(ValueError, match=r"^it must be a number from 0 to 1000 \(seconds\)$"):
        number(0, 1000)(text)
    with pytest.raises(ValueError, match=r"^it must be a whole number from 0 to 1000 \(tasks\)$"):
        whole(0, 1000, "tasks")(text)


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1.0), ("1.5", 1.5), (".5", 0.5), ("2.", 2.0), ("+3", 3.0), ("1e2", 100.0)]
)
def test_a_decimal_number_is_taken(text, value):
    assert number(0, 1000)(text) == value


@given(st.floats(0, 1000))
def test_what_python_prints_of_a_float_is_taken(value):
    assert number(0, 1000)(repr(value)) == value


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("512Mi", 2**29), ("2Gi", 2**31), ("1g", 10**9), ("3k", 3000), (" 4 MiB ", 2**22), ("7b", 7)],
)
def test_sizes_are_written_as_kubernetes_writes_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("500ms", 0.5), ("30s", 30), ("5m", 300), ("2H", 7200), ("7d", 604_800)]
)
def test_times_have_the_usual_units(text, seconds):
    assert parse_span(text) == seconds


def test_a_separator_may_have_escapes_and_no_others():
    texts = (r"\x06\x16", ":", r"\t|", r"\\x", "é")
    assert [parse_separator(text) for text in texts] == ["\x06\x16", ":", "\t|", r"\x", "é"]
    for text in ("", r"\8", r"\x0", "a\\"):
        with pytest.raises(ValueError, match=r"one or more characters"):
            parse_separator(text)


def test_a_target_is_of_one_queue_or_of_all():
    assert [parse_target("5s"), parse_target("mails=2m")] == [("", 5.0), ("mails", 120.0)]


def test_a_url_is_no_name():
    with pytest.raises(ValueError, match=r"^it is a URL, and a name is needed$"):
        parse_name("redis://:s3cret@h")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("auto", None), ("none", ""), ("NONE", ""), ("/shop-{db}.", "/shop-{db}."), ("/shop.", "/shop.")],
)
def test_a_fanout_prefix_is_a_text_none_or_to_be_found(text, expected):
    assert parse_fanout_prefix(text) == expected


@pytest.mark.parametrize("text", ["/{}.", "/{name}.", "/{db", "/{db.x}.", "shop.", "/shop", "/a.b.", ""])
def test_a_fanout_prefix_that_kombu_could_not_use_is_refused(text):
    with pytest.raises(ValueError, match="it must be auto, none or a text as in"):
        parse_fanout_prefix(text)
