from __future__ import annotations

import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from autoscaler.demo.embedded import RedisServer
from tests.support.browser import running_chromium
from tests.support.cluster import Cluster
from tests.support.programs import skip_without_programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.browser import Chromium


# The tests fork servers beside a gRPC client, whose own threads would end a fork of this process by SIGABRT.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


# Both limits go by the clock, which says nothing of an example where the machine is busy.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="A skipped test fails the run.")


def pytest_configure(config: pytest.Config) -> None:
    """Where no bytecode may be written beside the sources, write it to pytest's cache, for what we start too.

    Else each worker and each process of a test compiles all that it imports.
    """
    cache = getattr(config, "cache", None)  # a run can be without
    if sys.dont_write_bytecode and cache is not None:
        sys.dont_write_bytecode = False
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(cache.mkdir("bytecode"))


@pytest.fixture(scope="session", autouse=True)
def no_bytecode_of_temporary_sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What was compiled of the sources that a test has made goes with them."""
    yield
    if sys.pycache_prefix is not None:
        folder = tmp_path_factory.getbasetemp()
        shutil.rmtree(Path(sys.pycache_prefix, *folder.parts[1:]), ignore_errors=True)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and exitstatus == 0 and session.config.getoption("--no-skips"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow tests first in each process: one that begins at the end keeps all others waiting."""
    skip_without_programs(items)
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    rest = [item for item in items if not item.get_closest_marker("slow")]
    share = -(-len(rest) // processes)
    items[:] = [
        item
        for number in range(processes)
        for item in (*slow[number::processes], *rest[number * share : (number + 1) * share])
    ]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A broker of its own for the test; what is started on it ends first."""
    with RedisServer(tmp_path / "redis", persistent=True) as server, ExitStack() as stack:
        yield Cluster(folder=tmp_path, stack=stack, server=server)


@pytest.fixture
def chromium() -> Iterator[Chromium]:
    """A browser; the test fails over any error of a page or request elsewhere that it did not expect."""
    with running_chromium() as browser:
        yield browser
        assert browser.faults() == []
