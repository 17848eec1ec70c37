"""``/docs``: Swagger UI from an installed package, so that it works where there is no network.

The page and its files say nothing of this service: they are the same for everybody. The OpenAPI document is
what ``DOCSERVICE_DOCS`` protects. Where it needs a token, the page asks for one and uses it for the document
and for the calls that are tried out. Nothing is loaded from elsewhere, and no script is inline.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI

#: Nothing from elsewhere, nothing inline: Swagger UI sets styles by script, which no rule here forbids. Its
#: icons are ``data:`` in its own style sheet. Trusted types it cannot do: it assigns HTML as text.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Document service: API</title>
<link rel="icon" href="/docs/favicon.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<form id="token-form" hidden>
<p><label>API token <input id="token" type="password" autocomplete="off" required></label>
<button type="submit">Show the API</button> <span id="fault" role="alert"></span></p>
</form>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = """"use strict";
const form = document.getElementById("token-form");

async function show(token) {
  const headers = token ? {Authorization: `Bearer ${token}`} : {};
  const answer = await fetch("/openapi.json", {headers});
  if (!answer.ok) {
    form.hidden = false;
    const why = answer.status === 403 ? "this token is not an administrator's" : "this token is not valid";
    document.getElementById("fault").textContent = token ? why : "";
    return;
  }
  form.hidden = true;
  const ui = SwaggerUIBundle({
    spec: await answer.json(),
    dom_id: "#swagger-ui",
    deepLinking: true,
    validatorUrl: null,
    onComplete: () => token && ui.preauthorizeApiKey("HTTPBearer", token),
  });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  show(document.getElementById("token").value.trim());
});
show("");
"""
_TYPES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon.png": "image/png"}


def add_docs_page(framework: FastAPI) -> None:
    """Add the page and the files that it loads."""
    add: Callable[..., Any] = framework.add_api_route
    add("/docs", _text(_PAGE, "text/html"), include_in_schema=False)
    add("/docs/start.js", _text(_START, "text/javascript"), include_in_schema=False)
    for name, media_type in _TYPES.items():
        add(f"/docs/{name}", _file(name, media_type), include_in_schema=False)


def _text(text: str, media_type: str) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        return Response(text, media_type=media_type, headers=_HEADERS)

    return answer


def _file(name: str, media_type: str) -> Callable[[], Response]:
    def answer() -> Response:  # read when it is asked for: most processes never serve it
        data = (_folder() / name).read_bytes()
        headers = {**_HEADERS, "Cache-Control": "public, max-age=86400"}
        return Response(data, media_type=media_type, headers=headers)

    return answer


def _folder() -> Path:
    """Where the package has its files; it is found and not imported."""
    found = find_spec("fastapi_offline")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("fastapi_offline is not installed", name="fastapi_offline")
    return Path(found.origin).parent / "static"
