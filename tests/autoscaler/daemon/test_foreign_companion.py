"""Real workers whose companion is older or somebody else's: what it answers misleads nobody."""

from __future__ import annotations

import json

import pytest

from tests.autoscaler.daemon.test_daemon import W1, W2, size
from tests.support.cluster import command, started
from tests.support.scripted_replies import WITH_COMPANION, script

#: Fields that an older report lacks, others of a wrong type, and some that are absurdly large.
OLDER = dict.fromkeys(("layout", "resizers", "consuming", "discarded", "child_peak_bytes", "reconnects"))
WRONG = {
    "layout": {"separator": 7, "priority_steps": "all", "visibility_timeout_seconds": "long", "accept": 1},
    "resizers": ["me"],
    "consuming": "yes",
    "discarded": {},
    "child_peak_bytes": "much",
    "container": {"cpu_limit_cores": "two", "oom_kills": [1]},
    "late_running_seconds": [],
    "memory_wait_seconds": True,
    "start_seconds": "soon",
}
HUGE = {
    "layout": {
        "separator": "x" * 10_000,
        "visibility_timeout_seconds": 10**300,
        "priority_steps": [0] * 5000,
    },
    "resizers": {"x" * 10_000: 10**300},
    "discarded": 10**300,
    "reconnects": 10**300,
    "late_running_seconds": 10**300,
    "memory_wait_seconds": 10**300,
    "start_seconds": 10**300,
    "unknown": ["x"] * 5000,
}


def foreign(cluster, name=W1, **options):
    return cluster.worker(name, *WITH_COMPANION, companion=False, **options)


def findings(cluster):
    """What ``check`` finds of companions, by the worker."""
    _, out, _ = command("check", "--json", "--max", "3", REDIS_URL=cluster.server.url)
    found = json.loads(out)["findings"]
    return {
        one["subject"]: (one["level"], one["found"])
        for one in found
        if one["subject"].startswith("companion of")
    }


def lacks(*names):
    return "warn", f"its report lacks {', '.join(names)}, or has it in another form"


@pytest.mark.slow
def test_workers_whose_reports_have_other_fields_are_resized_as_before_and_are_findings(cluster):
    names = {"older@h": OLDER, "wrong@h": WRONG, "huge@h": HUGE}
    for name, changes in names.items():
        foreign(cluster, name, wait=False)
        script(cluster, name, "pool_report", merge=changes)
    for name in names:
        cluster.workers[name].wait_until(
            lambda name=name: "ready." in cluster.workers[name].log(), within_seconds=60, what="its start"
        )
    daemon = cluster.daemon(max="3")
    cluster.hold(15)
    for name in names:
        started(lambda name=name: size(daemon, name) == 3, what=f"the growth of {name}")
    cluster.release()
    for name in names:
        started(lambda name=name: size(daemon, name) == 1, what=f"the shrink of {name}")
    started(lambda: len(cluster.ended()) == 15, what="all tasks")
    assert cluster.lost_and_twice(15) == (0, 0)
    assert {line["result"] for line in daemon.events("pool.resized")} == {"done"}
    assert "crashed" not in daemon.process.log()
    assert findings(cluster) == {
        "companion of older@h": lacks("consuming", "discarded", "layout", "resizers"),
        "companion of wrong@h": lacks(
            "consuming",
            "discarded",
            "layout.priority_steps",
            "layout.separator",
            "layout.visibility_timeout_seconds and 1 more",
        ),
        "companion of huge@h": lacks(
            "discarded", "layout.priority_steps", "layout.separator", "layout.visibility_timeout_seconds"
        ),
    }


@pytest.mark.slow
def test_a_worker_that_refuses_leaves_its_share_to_its_neighbour(cluster):
    foreign(cluster)
    cluster.worker(W2)
    script(cluster, W1, "pool_resize", reply={"error": "not today"})
    daemon = cluster.daemon()
    cluster.hold(9)  # w1 holds two of them, which nobody else can start
    started(lambda: size(daemon, W2) == 6, what="the growth of the other")
    assert size(daemon) == 1
    assert {line["detail"] for line in daemon.events("pool.resize_refused")} == {"not today"}
    cluster.release()
    started(lambda: len(cluster.ended()) == 9, what="all tasks")


@pytest.mark.slow
def test_a_reply_to_a_resize_that_means_nothing_is_not_taken_for_done(cluster):
    foreign(cluster)
    script(cluster, W1, "pool_resize", reply=["certainly"])
    daemon = cluster.daemon()
    cluster.hold(4)
    started(lambda: daemon.events("pool.resize_unknown"), what="the first resize")
    script(cluster, W1, "pool_resize")
    started(lambda: size(daemon) == 4, what="the growth once it is carried out", within_seconds=60)
    assert daemon.events("pool.resize_unknown")[0]["detail"] == "the reply is neither ok nor error"
    assert daemon.metric("actions_total", action="grow", result="unknown") >= 1
    cluster.release()
    started(lambda: len(cluster.ended()) == 4, what="all tasks")


@pytest.mark.slow
def test_a_worker_whose_texts_utf_8_cannot_hold_is_resized_and_shown_by_their_escapes(cluster):
    odd, shown = "odd\udcff@h", r"odd\udcff@h"
    foreign(cluster, ANSWERS_AS=json.dumps(odd))
    queues, resizers = ["celery", "q\ud800"], {"other\udfff": 1e6}
    script(cluster, W1, "pool_report", merge={"queues": queues, "resizers": resizers})
    daemon = cluster.daemon()
    cluster.hold(4)
    in_metrics = shown.replace("\\", r"\\")
    started(lambda: daemon.metric("worker_processes", worker=in_metrics) == 4, what="the growth")
    (found,) = [one for one in daemon.status()["workers"] if one["worker"] == shown]
    assert found["queues"] == ["celery", r"q\ud800"]
    assert {line["worker"] for line in daemon.events("pool.resized")} == {shown}
    assert shown in command("status", REDIS_URL=cluster.server.url)[1]
    assert "crashed" not in daemon.process.log()
    cluster.release()
    started(lambda: len(cluster.ended()) == 4, what="all tasks")
