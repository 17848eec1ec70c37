"""Each error of a request has the one envelope."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.docservice.http.calls import envelope

if TYPE_CHECKING:
    import httpx


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("PUT", "/modules/mail/grid", 405),
        ("PUT", "/modules/mail/grid.csv", 405),
        ("DELETE", "/livez", 405),
        ("GET", "/documents/999999", 404),
        ("GET", "/documents/nine", 422),
        ("GET", "/documents/99999999999999999999", 422),
        ("GET", "/modules/a%20b/grid", 422),
        ("GET", "/modules/%E2%84%AAelvin/grid", 422),
        ("GET", "/modules/..%2F..%2Fetc/grid", 404),
        ("DELETE", "/document-type-columns/999999", 404),
    ],
)
def test_every_fault_is_reported_in_the_envelope(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert envelope(answer)["error"]["detail"]
