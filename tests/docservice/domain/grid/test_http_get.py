"""The query of a GET, from its parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from docservice.domain.grid.columns import GridError, Op
from docservice.domain.grid.http_get import from_parameters

if TYPE_CHECKING:
    from docservice.domain.grid.query import GridQuery


@pytest.mark.parametrize("written", ["1_0", " 10", "+10", "\uff11\uff10", "1e1", "0x10", "10.0", "true", ""])
@pytest.mark.parametrize("name", ["limit", "offset", "pages", "size_bytes.from"])
def test_a_number_is_written_in_ascii_digits(name: str, written: str) -> None:
    with pytest.raises(GridError):
        from_parameters("mail", [(name, written)])


def test_a_date_alone_is_the_whole_day_in_utc() -> None:
    def asked(**parameters: str) -> GridQuery:
        return from_parameters("mail", [(name.replace("__", "."), raw) for name, raw in parameters.items()])

    day = asked(received_at="2026-01-31")
    assert day == asked(received_at__from="2026-01-31T00:00:00Z", received_at__below="2026-02-01T00:00:00Z")
    assert asked(received_at__to="2026-01-31") == asked(received_at__below="2026-02-01T00:00:00Z")
    assert asked(received_at__above="2026-01-31") == asked(received_at__from="2026-02-01T00:00:00Z")


def test_several_values_mean_any_of_them_and_all_of_negations() -> None:
    query = from_parameters(
        "mail", [("sender", "a"), ("sender", "b"), ("title.not", "x"), ("title.not", "y")]
    )
    assert [
        [[(item.op, item.text) for item in choice] for choice in part.choices] for part in query.filters
    ] == [
        [[(Op.EXACT, "a")], [(Op.EXACT, "b")]],
        [[(Op.NOT, "x")]],
        [[(Op.NOT, "y")]],
    ]
