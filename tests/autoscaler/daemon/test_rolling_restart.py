"""A new worker that starts under the name of one that has not ended yet: it is found, resized and works."""

from __future__ import annotations

import signal

import pytest

from autoscaler.broker.mailboxes import MAILBOXES_KEY
from tests.autoscaler.daemon.test_daemon import W1, size
from tests.support.cluster import started

MEMBER = f"\x06\x16\x06\x16{W1}.celery.pidbox"


@pytest.mark.slow
@pytest.mark.parametrize("companion", [True, False])
def test_the_successor_of_a_worker_is_resized_although_the_old_one_took_the_mailbox_away(cluster, companion):
    old = cluster.worker(W1, companion=companion)
    daemon = cluster.daemon(stale_after="1")
    started(lambda: size(daemon) == 1, what="the first reading")
    cluster.worker(W1, companion=companion, processes=2)
    old.send(signal.SIGTERM)
    assert old.wait(within_seconds=60) == 0
    # As it ends it takes the mailbox away; some versions of Celery put it back a moment later, others do not.
    cluster.redis.srem(MAILBOXES_KEY, MEMBER)
    cluster.hold(9)  # however many of them the daemon sees first, so many need all that it may have
    started(lambda: size(daemon) == 6, what="the growth of the new one", within_seconds=60)
    assert daemon.get("/readyz")[0] == 200
    if companion:
        started(lambda: cluster.redis.sismember(MAILBOXES_KEY, MEMBER), what="its mailbox")
    else:
        started(lambda: daemon.metric("condition", kind="mailbox") == 1, what="what is wrong with it")
    cluster.release()
    started(lambda: len(cluster.ended()) == 9, what="all tasks")
    assert cluster.lost_and_twice(9) == (0, 0)
