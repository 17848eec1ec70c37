"""An external scaler as a process, on a server where everybody has the rights that we ship and no others."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.support.cluster import Cluster
from tests.support.guarded import guarded
from tests.support.keda_client import serving_keda


@pytest.fixture
def store(tmp_path):
    """A Valkey on which everybody has the rights of deploy/redis/users.acl and no others."""
    with guarded(tmp_path / "guarded", persistent=True) as one:
        yield one


@pytest.fixture
def cluster(tmp_path, store):
    with ExitStack() as stack:
        yield Cluster(folder=tmp_path, stack=stack, server=store.server)


@pytest.fixture
def keda(cluster, store):
    with serving_keda(cluster, store) as running:
        yield running
