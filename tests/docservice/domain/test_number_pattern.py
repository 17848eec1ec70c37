"""A mail number is found in a text in linear time, however it is written."""

from __future__ import annotations

import time

import pytest

from docservice.domain.number_pattern import PatternError, number_pattern

DEFAULT = number_pattern(r"\b[A-Z]{2,6}-\d{4}-\d{4,10}\b")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("MN-2026-0001", "MN-2026-0001"),
        ("re: mn-2026-0001.", "MN-2026-0001"),
        ("a_MN-2026-0001_b", "MN-2026-0001"),
        ("_one_MN-2026-0001 MN-2026-0002", "MN-2026-0001"),
        ("--MN-2026-0001--", "MN-2026-0001"),
        ("MN\u20102026\u20110001", "MN-2026-0001"),
        ("MN\u20132026\u20140001", "MN-2026-0001"),
        ("\u00e9MN-2026-0001\u00e9", "MN-2026-0001"),
        ("MN-2026-00", None),
        ("", None),
    ],
)
def test_it_is_found_whatever_its_case_and_what_is_around_it(text: str, number: str | None) -> None:
    assert DEFAULT.find(text) == number


def test_a_pattern_that_has_an_underscore_finds_it() -> None:
    assert number_pattern(r"no_\d+").find("see NO_12") == "NO_12"


def test_an_empty_match_is_no_number() -> None:
    assert number_pattern(r"\d*").find("none") is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (r"(a)\1", "not a regular expression that runs in linear time (invalid escape sequence: \\1)"),
        (r"(?<=x)\d+", "not a regular expression that runs in linear time (invalid perl operator: (?<)"),
        ("(", "not a regular expression that runs in linear time (missing ): ()"),
        ("a" * 1001, "too long: a pattern has at most 1000 characters, not 1001"),
    ],
)
def test_a_pattern_that_needs_more_than_linear_time_is_refused(source: str, message: str) -> None:
    with pytest.raises(PatternError) as refused:
        number_pattern(source)
    assert str(refused.value).startswith(message[:60])


@pytest.mark.parametrize("source", [r"(a+)+$", r"(a|aa)+$", r"(.*a){20}$"])
def test_a_pattern_that_would_backtrack_takes_linear_time(source: str) -> None:
    started = time.process_time()
    number_pattern(source).find("a" * 1_000_000 + "b")
    assert time.process_time() - started < 10
