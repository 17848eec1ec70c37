"""The description of the API, and the page that shows it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from docservice.http.app import create_app
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docservice.config import Settings
    from tests.docservice.http.calls import Live
    from tests.support.browser import Chromium, Tab


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
            assert rules["default-src"] == "'none'"
            assert {rules[kind] for kind in ("script-src", "style-src", "connect-src")} == {"'self'"}
        assert re.findall(r"<script>|<script [^>]*>[^<]|\son\w+=|https?://", page.text) == []


def test_the_described_api_has_a_scheme_for_its_token(live: Live) -> None:
    with live.client(None) as client:
        document = client.get("/openapi.json").json()
        assert "/modules/{module}/grid" in document["paths"]
        (scheme,) = document["components"]["securitySchemes"].items()
        assert (scheme[0], scheme[1]["type"], scheme[1]["scheme"]) == ("HTTPBearer", "http", "bearer")
        start = client.get("/docs/start.js").text
        assert f'preauthorizeApiKey("{scheme[0]}", token)' in start


def try_out(tab: Tab, path: str, **values: str) -> str:
    """Call a route from the page; what the page shows of the answer."""
    block = tab.page.locator(".opblock-get").filter(has=tab.page.locator(f'[data-path="{path}"]'))
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    for name, value in values.items():
        block.locator(f"tr[data-param-name={name}] input").fill(value)
    block.get_by_role("button", name="Execute").click()
    answer = block.locator(".live-responses-table")
    answer.locator(".response-col_description").first.wait_for()
    return answer.inner_text()


def status_of(answer: str) -> str:
    """The status in what the page shows of an answer."""
    return re.findall(r"(?m)^(\d{3})\b", answer)[0]


@pytest.mark.slow
@needs("chromium")
def test_a_token_entered_at_authorize_is_used_for_a_call_and_nothing_is_loaded_from_elsewhere(
    live: Live, chromium: Chromium
) -> None:
    tab = chromium.open(f"{live.url}/docs")
    tab.expect_errors("401")  # what the browser says of the first call, which has no token
    assert status_of(try_out(tab, "/documents/{document_id}", document_id="1")) == "401"
    tab.page.get_by_role("button", name="Authorize").first.click()
    dialog = tab.page.locator(".dialog-ux")
    dialog.locator("input").fill(live.tokens["operator"])
    dialog.get_by_role("button", name="Apply credentials").click()
    dialog.get_by_role("button", name="Close").click()
    answer = try_out(tab, "/modules/{module}/columns", module="mail")
    assert (status_of(answer), "mail_number" in answer) == ("200", True)
    assert tab.origins == {live.url}


@pytest.fixture
def restricted(live: Live, api_runner: Any, tmp_path: Path) -> Iterator[Live]:
    """Another API on the same servers, described to administrators only, as by default."""
    with api_runner(tmp_path, live.environment, DOCSERVICE_DOCS="admin") as running:
        yield running


@pytest.mark.slow
@needs("chromium")
def test_a_page_for_administrators_asks_for_a_token_and_uses_it(restricted: Live, chromium: Chromium) -> None:
    tab = chromium.open(f"{restricted.url}/docs")
    tab.expect_errors("40[13]")  # of the document without a token, and with an operator's
    tab.page.get_by_label("API token").fill(restricted.tokens["operator"])
    tab.page.get_by_role("button", name="Show the API").click()
    tab.page.get_by_text("this token is not an administrator's").wait_for()
    tab.page.get_by_label("API token").fill(restricted.tokens["system_admin"])
    tab.page.get_by_role("button", name="Show the API").click()
    answer = try_out(tab, "/modules/{module}/columns", module="mail")
    assert (status_of(answer), tab.origins) == ("200", {restricted.url})
