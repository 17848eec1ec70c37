"""Cursors: those that the service wrote, and texts that are none."""

from __future__ import annotations

import pytest

from docservice.domain.grid.columns import GridError
from docservice.domain.grid.cursor import cursor_text
from docservice.domain.grid.http_get import from_parameters
from docservice.domain.grid.query import Sort


def test_a_cursor_that_the_service_wrote_is_accepted_whatever_its_length() -> None:
    sort = (Sort("title"), Sort("id"))
    text = cursor_text(sort, '["' + "x" * 5000 + '",7]')
    query = from_parameters("mail", [("sort", "title"), ("cursor", text)])
    assert query.after == ("x" * 5000, 7)


def test_a_cursor_with_what_no_text_can_hold_is_refused() -> None:
    sort = (Sort("title"), Sort("id"))
    with pytest.raises(GridError) as refused:
        from_parameters("mail", [("sort", "title"), ("cursor", cursor_text(sort, '["\\u0000",7]'))])
    assert str(refused.value) == "cursor: NUL and unpaired surrogates are not text"


NOT_CURSORS = ("[" * 100_000, '["\\ud800",7]', "[NaN,7]", "9" * 5000, '{"a":1}', '["a",7.0]')


@pytest.mark.parametrize("place", range(len(NOT_CURSORS)))
def test_a_cursor_that_is_not_one_is_refused(place: int) -> None:
    sort = (Sort("title"), Sort("id"))
    with pytest.raises(GridError):
        from_parameters("mail", [("sort", "title"), ("cursor", cursor_text(sort, NOT_CURSORS[place]))])
