"""Columns that a module shows take whole numbers as positions, and nothing that only looks like one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.docservice.http.calls import Live, envelope

if TYPE_CHECKING:
    import httpx


@pytest.mark.parametrize("position", [True, False, "1", 1.5, -1, 10_001])
def test_a_position_is_a_whole_number(live: Live, position: object) -> None:
    new = {"module": "mail", "document_type": "email", "column": "title", "position": position}
    with live.client() as client:
        answer = client.post("/document-type-columns", json=new)
    assert answer.status_code == 422
    assert "position" in answer.json()["error"]["detail"]


def test_columns_are_chosen_by_module_and_type(client: httpx.Client) -> None:
    new = {"module": "Choice", "document_type": "email", "column": "mail_number", "label": "Number"}
    made = client.post("/document-type-columns", json=new)
    assert made.status_code == 201
    stored = envelope(made)["data"]
    assert {name: stored[name] for name in ("module", "column", "label", "position")} == {
        "module": "choice",
        "column": "mail_number",
        "label": "Number",
        "position": 0,
    }
    again = client.post("/document-type-columns", json=new)
    assert (again.status_code, envelope(again)["error"]["code"]) == (409, "conflict")
    found = client.get("/document-type-columns", params={"module": "CHOICE", "document_type": "email"})
    assert envelope(found)["data"] == [stored]
    types = client.get("/document-type-columns/mail_number/document-types")
    assert envelope(types)["data"] == [
        {"module": "choice", "document_type": "email", "label": "Number", "position": 0}
    ]
    columns = {item["name"]: item for item in client.get("/modules/choice/columns").json()["data"]}
    assert columns["mail_number"]["document_types"] == ["email"]
    assert columns["mail_number"]["operations"] == [
        *("exact", "prefix", "contains", "suffix", "not", "not_contains", "blank", "filled")
    ]
    assert envelope(client.delete(f"/document-type-columns/{stored['id']}"))["data"] == {"id": stored["id"]}
    assert client.get("/document-type-columns", params={"module": "choice"}).json()["data"] == []


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"column": "blob_key"}, "there is no column 'blob_key'"),
        ({"document_type": "spell"}, "document_type"),
        ({"module": "no module"}, "a module's name has"),
        ({"label": "a\u0000b"}, "label"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_wrong_column_is_refused(client: httpx.Client, change: dict[str, Any], detail: str) -> None:
    new = {"module": "mail", "document_type": "email", "column": "title", **change}
    answer = client.post("/document-type-columns", json=new)
    assert answer.status_code == 422
    assert detail in envelope(answer)["error"]["detail"]
