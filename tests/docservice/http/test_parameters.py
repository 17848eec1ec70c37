"""No route ignores a query parameter."""

from __future__ import annotations

from typing import Any

import pytest

from tests.docservice.http.calls import Live, envelope
from tests.docservice.http.test_deps import ROUTES, VALUES


def test_every_route_but_those_of_health_refuses_what_it_does_not_have(live: Live) -> None:
    wrong = []
    with live.client("system_admin") as client:
        for method, path, body, least in ROUTES:
            answer = client.request(method, path.format(**VALUES) + "?surplus=1", json=body)
            if answer.status_code != (200 if least is None else 422):
                wrong.append((method, path, answer.status_code, answer.text[:100]))
    assert wrong == []


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/modules?limt=1", "limt: no such parameter; there are after, limit"),
        ("/modules?limit=1&limit=2", "limit: given more than once"),
        ("/documents/1?text=1", "text: no such parameter; there is none here"),
    ],
)
def test_the_fault_names_the_parameter_and_what_is_legal(live: Live, path: str, detail: str) -> None:
    with live.client("system_admin") as client:
        answer = client.get(path)
    found: dict[str, Any] = envelope(answer)
    assert (answer.status_code, found["error"]["detail"]) == (422, detail)


def test_what_a_route_has_is_taken_as_often_as_it_may_be_given(live: Live) -> None:
    with live.client("system_admin") as client:
        codes = [client.get(path).status_code for path in ("/modules?limit=1", "/documents?id=1&id=2")]
    assert codes == [200, 200]


def test_a_caller_without_a_token_is_told_nothing_of_parameters(live: Live) -> None:
    with live.client(None) as client:
        assert client.get("/modules?surplus=1").status_code == 401
