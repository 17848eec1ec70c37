"""``once`` on a real worker: it decides as ``run`` would."""

from __future__ import annotations

import json

import pytest

from tests.support.cluster import command


@pytest.mark.slow
def test_once_decides_as_run_would_and_says_what_it_has_not_learned(cluster, autoscaler_process):
    cluster.hold(9)
    code, out, err = autoscaler_process("once", "--max", "5", "--target-wait", "off")
    assert (code, err, out.splitlines()[1].split()[-3:]) == (0, "", ["1", "5", "at_max"])
    assert out.splitlines()[2] == "at_max: limited by the configured maximum"
    assert "Not learned yet" not in out
    code, out, err = autoscaler_process("once", "--max", "5", "--interval", "1")
    assert (code, err) == (0, "")
    assert out.splitlines()[3] == "Not learned yet: how often tasks arrive; run learns it from tick to tick"
    assert "Not learned yet: how long a task runs; 1 s is assumed" in out.splitlines()
    code, out, _ = autoscaler_process("once", "--max", "5", "--json")
    found = json.loads(out)
    assert (code, found["target_wait_seconds"], len(found["not_learnt"])) == (0, 5.0, 3)


@pytest.mark.slow
def test_once_says_that_a_fresh_run_shrinks_an_idle_pool_later(cluster):
    cluster.worker(processes=3)
    code, out, err = command("once", "--max", "5", REDIS_URL=cluster.server.url)
    assert (code, err, out.splitlines()[1].split()[-3:-1]) == (0, "", ["3", "1"])
    assert out.splitlines()[-1] == (
        "A fresh run holds first: it keeps the size of w1@h while an idle process is cheaper than to start"
        " another one later (--start-worth), and shrinks then."
    )
