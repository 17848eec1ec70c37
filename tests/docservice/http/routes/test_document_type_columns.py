"""Columns that a module shows take whole numbers as positions, and nothing that only looks like one."""

from __future__ import annotations

from typing import Any

import pytest

Live = Any  # of conftest


@pytest.mark.parametrize("position", [True, False, "1", 1.5, -1, 10_001])
def test_a_position_is_a_whole_number(live: Live, position: object) -> None:
    new = {"module": "mail", "document_type": "email", "column": "title", "position": position}
    with live.client() as client:
        answer = client.post("/document-type-columns", json=new)
    assert answer.status_code == 422
    assert "position" in answer.json()["error"]["detail"]
