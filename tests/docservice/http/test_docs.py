"""The description of the API, and the page that shows it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest

from docservice.http.app import create_app

if TYPE_CHECKING:
    from docservice.config import Settings
    from tests.docservice.http.calls import Live


@pytest.mark.parametrize(
    ("docs", "statuses"), [("off", [404, 404]), ("admin", [200, 401]), ("open", [200, 200])]
)
def test_the_api_is_described_only_where_the_settings_say_so(
    settings: Settings, docs: str, statuses: list[int]
) -> None:
    async def ask() -> list[int]:
        app = create_app(replace(settings, docs=docs))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [(await client.get(path)).status_code for path in ("/docs", "/openapi.json")]

    assert asyncio.run(ask()) == statuses


def test_docs_load_all_they_need_from_this_service_alone(live: Live) -> None:
    with live.client(None) as client:
        page = client.get("/docs")
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert loaded == [
            "/docs/favicon.png",
            "/docs/swagger-ui.css",
            "/docs/swagger-ui-bundle.js",
            "/docs/start.js",
        ]
        answers = [client.get(path) for path in loaded]
        assert [answer.status_code for answer in answers] == [200] * 4
        kinds = [answer.headers["content-type"].partition(";")[0] for answer in answers]
        assert kinds == ["image/png", "text/css", "text/javascript", "text/javascript"]
        assert "SwaggerUIBundle" in answers[2].text
        for answer in (page, *answers):
            rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
            assert (rules["default-src"], rules["script-src"], rules["connect-src"]) == (
                "'none'",
                "'self'",
                "'self'",
            )
        assert re.findall(r"<script>|<script [^>]*>[^<]|\son\w+=|https?://", page.text) == []


def test_the_described_api_has_a_scheme_for_its_token(live: Live) -> None:
    with live.client(None) as client:
        document = client.get("/openapi.json").json()
        assert "/modules/{module}/grid" in document["paths"]
        (scheme,) = document["components"]["securitySchemes"].items()
        assert (scheme[0], scheme[1]["type"], scheme[1]["scheme"]) == ("HTTPBearer", "http", "bearer")
        start = client.get("/docs/start.js").text
        assert f'preauthorizeApiKey("{scheme[0]}", token)' in start
