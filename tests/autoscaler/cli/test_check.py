"""Slips in the settings, on a real worker: findings of ``check``, and of ``once``."""

from __future__ import annotations

import json

import pytest
from celery import Celery

from autoscaler.broker.mailboxes import MAILBOXES_KEY
from tests.support.cluster import command, started

W1 = "w1@h"
TARGET = "nobody: no worker consumes it and it holds no message; queues that workers consume: celery"

UNKNOWN = "AUTOSCALER_TARGET_WAT is not a setting and has no effect; did you mean AUTOSCALER_TARGET_WAIT?"


@pytest.mark.slow
def test_unknown_names_are_findings_of_once_and_check(autoscaler_process):
    words = ("--max", "5", "--target-wait", "nobody=3s", "--queue", "celery", "--queue", "nope")
    slip = {"AUTOSCALER_TARGET_WAT": "3s"}
    code, out, err = autoscaler_process("once", *words, **slip)
    assert (code, W1 in out) == (1, True)
    assert err.splitlines() == [
        f"autoscaler: {UNKNOWN}",
        f"autoscaler: --queue {TARGET.replace('nobody', 'nope')}",
        f"autoscaler: --target-wait {TARGET}",
    ]
    code, out, err = autoscaler_process("check", *words, "--json", **slip)
    found = [one for one in json.loads(out)["findings"] if one["level"] in ("fail", "warn")]
    assert (code, err, [one["subject"] for one in found]) == (
        1,
        "",
        ["variable AUTOSCALER_TARGET_WAT", "--queue nope", "--target-wait nobody"],
    )
    code, out, _ = autoscaler_process("check", "--max", "5", "--worker", "nope@vm")
    assert code == 1
    assert (
        f"fail  --worker nope@vm: no worker of this name answers\n      -> workers that answer: {W1}" in out
    )


@pytest.mark.slow
def test_tasks_that_were_sent_to_the_wrong_queue_are_found(cluster):
    cluster.worker(W1)
    sender = Celery("sender", broker=cluster.server.url)
    sender.send_task("anything", queue="mials")
    sender.close()
    waits = "1 waiting, and no worker that answers consumes it"
    code, found = unlike(cluster, "--max", "1")
    assert (code, {name: text for name, (text, _) in found.items()}) == (0, {"queue mials": waits})
    assert unlike(cluster, "--max", "1", "--queue", "celery") == (0, {}), "the others are somebody else's"


SEP = "\x06\x16"
EXPECTED = {
    "option protocol of the URL": "it has no effect on the autoscaler",
    "mailbox of plain@h": "it answers and has no mailbox in Redis, so that other tools do not see it",
    "replies of pickle@h": "they are application/x-python-serialize, which is never read",
    "priorities of celery": "messages wait in 'celery\\x06\\x165', outside the priority_steps by which it is"
    " read",
    "visibility timeout of late@h": "a task with late acknowledgement has been running for longer than the"
    " visibility timeout of 1 s, so the broker delivers it again",
}


def unlike(cluster, *words, url=None):
    """The findings of ``check`` that warn or fail, each with what to do."""
    code, out, err = command("check", "--json", *words, REDIS_URL=url or cluster.server.url)
    assert err == ""
    found = [one for one in json.loads(out)["findings"] if one["level"] != "ok"]
    return code, {one["subject"]: (one["found"], one["advice"]) for one in found}


@pytest.mark.slow
def test_a_deployment_unlike_a_plain_one_is_named_by_check_and_by_run(cluster):
    late = {"task_acks_late": True, "broker_transport_options": {"visibility_timeout": 1}}
    pickle = {"accept_content": ["json", "pickle"], "task_serializer": "pickle"}
    cluster.worker("late@h", SETTINGS=json.dumps(late), wait=False)
    cluster.worker(
        "pickle@h", "--pool", "solo", "-Q", "b", SETTINGS=json.dumps(pickle), C_FORCE_ROOT="1", wait=False
    )
    cluster.worker("plain@h", "-Q", "c", companion=False, wait=False)
    for worker in cluster.workers.values():
        worker.wait_until(lambda worker=worker: "ready." in worker.log(), within_seconds=60, what="a start")
    cluster.hold(1)
    cluster.redis.lpush(f"celery{SEP}5", "{}")
    daemon = cluster.daemon()
    for kind in ("redelivery", "priorities"):
        started(lambda kind=kind: daemon.metric("condition", kind=kind) == 1, what=kind)
    # Only now: a worker writes its mailbox some time after it says that it is ready.
    assert cluster.redis.srem(MAILBOXES_KEY, f"{SEP}{SEP}plain@h.celery.pidbox") == 1
    options = "?health_check_interval=30&socket_keepalive=True&protocol=3"
    code, found = unlike(cluster, "--max", "2", url=f"{cluster.server.url}{options}")
    assert code == 1
    assert {name: text for name, (text, _) in found.items() if name in EXPECTED} == EXPECTED
    assert all(advice for _, advice in found.values())
    (line,) = daemon.events("daemon.started")
    assert line["url_options_ignored"] == []
    cluster.release()
    started(lambda: daemon.metric("condition", kind="redelivery") == 0, what="the end of the task")


@pytest.mark.slow
def test_where_nobody_answers_check_names_where_the_workers_are(cluster):
    elsewhere = cluster.server.url.replace("/0", "/1")
    cluster.worker("other@h", url=elsewhere, wait=False)
    own = {"broker_transport_options": {"fanout_prefix": "/shop."}}
    cluster.worker("own@h", SETTINGS=json.dumps(own), wait=False)
    prefixed = {"broker_transport_options": {"global_keyprefix": "shop:"}}
    cluster.worker("prefixed@h", SETTINGS=json.dumps(prefixed), wait=False)
    for worker in cluster.workers.values():
        worker.wait_until(lambda worker=worker: "ready." in worker.log(), within_seconds=60, what="a start")
    code, found = unlike(cluster)
    assert (code, {name: advice for name, (_, advice) in found.items() if name != "workers"}) == (
        1,
        {
            "worker own@h": "the mailbox of a killed worker, or a worker that hangs or runs a solo pool",
            "global_keyprefix": "give --global-keyprefix 'shop:'",
            "database 1": "end the URL with /1",
            "fanout_prefix": "they were killed or hang, or have a fanout_prefix of their own: give"
            " --fanout-prefix",
        },
    )
    for words, url in (
        (("--fanout-prefix", "/shop."), None),
        (("--global-keyprefix", "shop:"), None),
        ((), elsewhere),
    ):
        assert unlike(cluster, *words, "--max", "1", url=url) == (0, {}), words
