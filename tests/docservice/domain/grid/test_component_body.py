"""The query of a POST, as grid components send it."""

from __future__ import annotations

from typing import Any

import pytest

from docservice.domain.grid.columns import GridError
from docservice.domain.grid.component_body import from_body, from_filter_model


@pytest.mark.parametrize("body", [{"startRow": True}, {"paginationModel": {"pageSize": True}}])
def test_true_is_not_a_number(body: dict[str, Any]) -> None:
    with pytest.raises(GridError):
        from_body("mail", body)


@pytest.mark.parametrize(
    "value", ["\x00", "\ud800", 10**30, float("nan"), [[{"deep": float("inf")}]], {"\x00": 1}]
)
def test_a_filter_model_that_is_kept_has_nothing_that_postgres_cannot_hold(value: object) -> None:
    model = {"state": {"filterType": "text", "type": "equals", "filter": "failed"}}
    assert from_filter_model("mail", model).filters
    with pytest.raises(GridError, match=r"^filterModel: "):
        from_filter_model("mail", {"state": {**model["state"], "filterType": value}})


@pytest.mark.parametrize(
    "model",
    [
        {"state": {"filterType": "text", "type": "notEqual", "filter": "proccessed"}},
        {"state": {"filterType": "set", "values": ["failed", "proccessed"]}},
        {"items": [{"field": "state", "operator": "not", "value": "proccessed"}]},
    ],
)
def test_a_mistyped_state_is_refused_where_rows_are_changed_and_answered_where_they_are_shown(
    model: dict[str, Any],
) -> None:
    legal = "one of received, processing, processed, failed is needed, not 'proccessed'"
    with pytest.raises(GridError, match=f"^filterModel.state: {legal}$"):
        from_filter_model("mail", model)
    assert from_body("mail", {"filterModel": model}).filters


def test_the_case_of_a_state_matters_as_it_does_in_the_grid() -> None:
    any_case = {"state": {"filterType": "text", "type": "equals", "filter": "FAILED"}}
    assert from_filter_model("mail", any_case).filters
