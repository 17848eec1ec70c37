from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from autoscaler.embedded import RedisServer
from tests.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A broker of its own for the test; what is started on it ends first."""
    with RedisServer(tmp_path / "redis", persistent=True) as server, ExitStack() as stack:
        yield Cluster(folder=tmp_path, stack=stack, server=server)
