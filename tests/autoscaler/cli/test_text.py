"""How commands print columns, unknown values, times and the names that exist."""

from __future__ import annotations

import pytest

from autoscaler.cli.text import columns, existing, moment, or_unknown


def test_columns_are_as_wide_as_what_is_in_them_and_lines_have_no_blanks_at_the_end():
    assert columns([("NAME", "N", "WHY"), ("a", "1000", ""), ("bcdef", "2", "x")]) == (
        "NAME   N     WHY\na      1000\nbcdef  2     x"
    )


def test_an_unknown_value_is_a_question_mark_and_zero_is_not_unknown():
    assert [or_unknown(value) for value in (None, 0, "a")] == ["?", "0", "a"]


def test_a_time_is_iso_8601_in_utc():
    assert moment(1_700_000_000.9) == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize(
    ("name", "names", "shown"),
    [
        ("mals", ["sms", "mails"], "did you mean mails? queues: mails, sms"),
        ("x", ["mails"], "queues: mails"),
        ("x", [], "queues: none"),
        ("x", map(str, range(12)), "queues: 0, 1, 10, 11, 2, 3, 4, 5, 6, 7 and 2 more"),
    ],
)
def test_the_names_that_exist_are_listed_with_the_one_that_was_probably_meant(name, names, shown):
    assert existing("queues", name, list(names)) == shown
