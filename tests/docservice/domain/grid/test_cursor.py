"""Cursors: those that the service wrote, and texts that are none."""

from __future__ import annotations

import pytest

from docservice.domain.grid.columns import GridError
from docservice.domain.grid.cursor import cursor_text
from docservice.domain.grid.http_get import from_parameters
from docservice.domain.grid.query import DEFAULT_SORT, Sort


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


TIME = '"2026-01-01T00:00:00+00:00"'
PLACES = f"{TIME},9,{TIME},3,{TIME},7"
SEARCH = ("text.contains", "invoice")


@pytest.mark.parametrize("last", [f"[{TIME},7]", f"[0.06,{PLACES}]", f"[-1,{PLACES}]", f"[0,{PLACES}]"])
def test_a_cursor_of_a_search_in_texts_belongs_to_one_that_is_not_sorted(last: str) -> None:
    cursor = ("cursor", cursor_text(DEFAULT_SORT, last, ranked=True))
    after = from_parameters("mail", [SEARCH, cursor]).after
    assert after is not None
    assert after[-1] == 7
    for others in ([], [SEARCH, ("sort", "-received_at")]):
        with pytest.raises(GridError, match="not the next_cursor of a page with the same sort"):
            from_parameters("mail", [*others, cursor])
    with pytest.raises(GridError, match="not the next_cursor of a page with the same sort"):
        from_parameters("mail", [SEARCH, ("cursor", cursor_text(DEFAULT_SORT, last))])


@pytest.mark.parametrize(
    "last",
    [
        *(
            f"[{rank},{PLACES}]"
            for rank in ("NaN", "Infinity", "-2", "1e300", "9" * 400, "true", "null", '"1"')
        ),
        *(f"[0.5,{TIME},7]", f"[0.5,{PLACES},8]", f"[0.5,{TIME},9,{TIME},null,{TIME},7]", "[]", "0.5"),
    ],
)
def test_a_cursor_with_a_rank_that_no_text_has_or_places_that_are_none_is_refused(last: str) -> None:
    with pytest.raises(GridError, match="cursor: "):
        from_parameters("mail", [SEARCH, ("cursor", cursor_text(DEFAULT_SORT, last, ranked=True))])
