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


def test_a_setting_without_effect_is_said_before_anything_is_read():
    words = ("--target-wait", "3s", "--scale-up-threshold", "3")
    code, out, err = command("once", *words, REDIS_URL="redis://127.0.0.1:1/0")
    first = "autoscaler: --scale-up-threshold: no effect; the target wait decides; these are used by the"
    assert (code, out) == (1, "")
    assert [line[: len(first)] for line in err.splitlines()][:1] == [first]


def test_workers_that_may_not_be_asked_are_told_from_workers_that_are_not_there(cluster):
    cluster.redis.execute_command("ACL SETUSER silent on nopass ~* +@all -publish")
    cluster.redis.sadd("_kombu.binding.celery.pidbox", "\x06\x16\x06\x16w1@h.celery.pidbox")
    url = cluster.server.url.replace("redis://", "redis://silent:x@")
    code, _, err = command("once", REDIS_URL=url)
    assert (code, err.splitlines()[-1][:44]) == (1, "autoscaler: the workers cannot be asked: NoP")
    assert "is one running" not in err
