"""Which pods leave, by the records of drains on a server that gives a right or does not."""

from __future__ import annotations

import json

import redis
from structlog.testing import CapturingLogger

from autoscaler.broker.keys import CANCELLED_KEY
from autoscaler.control.consumers import Consumers
from autoscaler.keda.leaving import Leaving
from tests.support.guarded import guarded

NOW = 1000.0


def record(owner, until):
    return json.dumps({"queues": ["celery"], "until": until, "owner": owner})


def test_those_leave_that_the_command_is_draining_and_without_the_right_nobody_which_is_said_once(tmp_path):
    with guarded(tmp_path / "guarded") as store:
        written = {
            "leaves@h": record("drain", NOW + 1),
            "drained-in-vain@h": record("drain", NOW - 1),
            "quiesced@h": record("default", NOW + 1),
            "by-an-administrator@h": record("docservice", NOW + 1),
            "unreadable@h": "{",
        }
        store.admin.hset(CANCELLED_KEY, mapping=written)
        said = CapturingLogger()
        found = [
            leaving.read()
            for user in ("keda", "operator")
            for leaving in [_leaving(store.url(user), said)]
            for _ in range(2)
        ]
        assert found == [frozenset({"leaves@h"})] * 2 + [frozenset()] * 2
        assert [call.args for call in said.calls] == [("keda.drains_unreadable",)]
        assert "lacks this right" in said.calls[0].kwargs["why"]
        assert store.admin.hlen(CANCELLED_KEY) == len(written)  # it only reads


def _leaving(url, log):
    client = redis.Redis.from_url(url)
    return Leaving(Consumers(None, lambda: client, CANCELLED_KEY, owner="keda", wall=lambda: NOW), log)
