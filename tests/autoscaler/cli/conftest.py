"""Commands run in this process against the test's own broker."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from autoscaler.cli.main import main


@pytest.fixture
def autoscaler(cluster):
    def run(*words, **environment):
        return CliRunner().invoke(main, words, env={"REDIS_URL": cluster.server.url, **environment})

    return run
