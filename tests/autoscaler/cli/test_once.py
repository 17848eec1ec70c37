"""``once`` on a real worker: it decides as ``run`` would."""

from __future__ import annotations

import json

import pytest

from tests.support.cluster import command


@pytest.fixture
def autoscaler(cluster):
    cluster.worker()

    def run(*words, **environment):
        return command(*words, REDIS_URL=cluster.server.url, **environment)

    return run


@pytest.mark.slow
def test_once_decides_as_run_would_and_says_what_it_has_not_learnt(cluster, autoscaler):
    cluster.hold(9)
    code, out, err = autoscaler("once", "--max", "5", "--target-wait", "off")
    assert (code, err, out.splitlines()[1].split()[-3:]) == (0, "", ["1", "5", "at_max"])
    assert "Not learnt yet" not in out
    code, out, err = autoscaler("once", "--max", "5", "--interval", "1")
    assert (code, err) == (0, "")
    assert (
        out.splitlines()[2:][0] == "Not learnt yet: how often tasks arrive; run learns it from tick to tick"
    )
    assert "Not learnt yet: how long a task runs; 1 s is assumed" in out.splitlines()
    code, out, _ = autoscaler("once", "--max", "5", "--json")
    found = json.loads(out)
    assert (code, found["target_wait_seconds"], len(found["not_learnt"])) == (0, 5.0, 3)
