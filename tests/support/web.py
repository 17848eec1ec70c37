"""The pages of a daemon whose answers a test sets, and a health check that asks them."""

from __future__ import annotations

import http.client
import io
from dataclasses import dataclass, field
from typing import Any

from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from autoscaler.cli.main import main
from autoscaler.report.log import get_logger
from autoscaler.report.web import Pages, page_failures


def healthcheck(*words, **environment):
    done = CliRunner().invoke(main, ["healthcheck", *words], env=environment)
    return done.exit_code, done.stdout, done.stderr


@dataclass
class Site:
    """Pages whose answers a test sets, and where they are."""

    live: str | None = None
    ready: str | None = None
    status: dict[str, Any] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    log: io.StringIO = field(default_factory=io.StringIO)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def pages(self) -> Pages:
        log = get_logger(level="info", style="json", redact=str, stream=self.log)
        return Pages(
            live=lambda: self.live,
            ready=lambda: self.ready,
            status=lambda: self.status,
            registry=self.registry,
            failed=page_failures(log, self.registry),
        )

    def get(self, path, method="GET", **headers):
        peer = http.client.HTTPConnection(self.host, self.port, timeout=5)
        try:
            peer.request(method, path, headers=headers)
            answer = peer.getresponse()
            return answer.status, answer.getheader("Content-Type"), answer.read().decode()
        finally:
            peer.close()
