from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from autoscaler.embedded import RedisServer
from tests.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="A skipped test fails the run.")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and exitstatus == 0 and session.config.getoption("--no-skips"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A broker of its own for the test; what is started on it ends first."""
    with RedisServer(tmp_path / "redis", persistent=True) as server, ExitStack() as stack:
        yield Cluster(folder=tmp_path, stack=stack, server=server)
