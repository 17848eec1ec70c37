"""The query of a POST, as grid components send it."""

from __future__ import annotations

from typing import Any

import pytest

from docservice.domain.grid.columns import GridError
from docservice.domain.grid.component_body import from_body


@pytest.mark.parametrize("body", [{"startRow": True}, {"paginationModel": {"pageSize": True}}])
def test_true_is_not_a_number(body: dict[str, Any]) -> None:
    with pytest.raises(GridError):
        from_body("mail", body)
