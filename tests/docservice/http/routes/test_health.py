"""Liveness, readiness and metrics."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.docservice.http.calls import envelope

if TYPE_CHECKING:
    import httpx


def test_health_and_metrics_report_the_current_state(client: httpx.Client) -> None:
    assert envelope(client.get("/livez"))["data"] == {"status": "alive"}
    assert envelope(client.get("/readyz"))["data"] == {
        "status": "ready",
        "postgres": "up",
        "redis": "up",
        "migrations": "applied",
        "background": [],
    }
    client.get("/modules/mail/grid")
    client.get("/modules/mail/grid")
    text = client.get("/metrics").text
    assert re.search(r'docservice_cache_reads_total\{result="hit"\} [1-9]', text)
    assert re.search(r"docservice_cache_load_seconds_count [1-9]", text)
    assert 'route="/modules/{module}/grid",status="200"' in text
    assert "/modules/mail" not in text
