"""Commands against the test's own broker, in this process or as processes of their own."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from autoscaler.cli.main import main
from tests.support.cluster import command


@pytest.fixture
def autoscaler(cluster):
    def run(*words, **environment):
        return CliRunner().invoke(main, words, env={"REDIS_URL": cluster.server.url, **environment})

    return run


@pytest.fixture
def autoscaler_process(cluster):
    """The same as processes of their own, beside a real worker."""
    cluster.worker()

    def run(*words, **environment):
        return command(*words, REDIS_URL=cluster.server.url, **environment)

    return run
