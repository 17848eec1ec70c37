"""What was learnt of workers' memory, in Redis."""

from __future__ import annotations

import io
import json

import redis as redis_client

from autoscaler.core.memory import MemoryRecord, Peaks
from autoscaler.daemon.memory_keeper import MemoryKeeper
from autoscaler.report.log import get_logger

RECORDS = {
    "w@h": MemoryRecord(last_at=10.0, peaks=Peaks(5, 9, 10.0, 10.0), limit_bytes=100, queues=("celery",))
}


class Clock:
    now = 10.0


def keeper(url: str, log: io.StringIO, clock: Clock) -> MemoryKeeper:
    client = redis_client.Redis.from_url(url)
    return MemoryKeeper(
        "a",
        redis=lambda: client,
        log=get_logger(level="info", style="json", redact=str, stream=log),
        monotonic=lambda: clock.now,
        wall=lambda: 1.7e9 + clock.now,
    )


def test_what_one_daemon_stores_the_next_one_restores_and_what_it_knows_itself_wins(cluster):
    clock, log = Clock(), io.StringIO()
    first = keeper(cluster.server.url, log, clock)
    assert first.restore({}) == {}
    first.store(RECORDS)
    assert 3_590_000 < cluster.redis.pttl("autoscaler:a:memory") <= 3_600_000
    first.store({})  # not for half a minute
    clock.now += 5
    restored = keeper(cluster.server.url, log, clock).restore({})
    assert restored["w@h"].peaks == Peaks(5, 9, 10.0, 10.0)
    own = {"w@h": MemoryRecord(last_at=15.0)}
    assert keeper(cluster.server.url, log, clock).restore(own) == own
    first.store({}, now=True)
    assert cluster.redis.get("autoscaler:a:memory") == b"{}"


def test_without_the_right_it_goes_on_and_says_so_once(cluster):
    cluster.redis.execute_command("ACL", "SETUSER", "poor", "on", "nopass", "~autoscaler:*:status", "+@all")
    clock, log = Clock(), io.StringIO()
    poor = keeper(cluster.server.url.replace("redis://", "redis://poor:x@"), log, clock)
    assert [poor.restore(RECORDS), poor.restore(RECORDS)] == [RECORDS, RECORDS]
    poor.store(RECORDS, now=True)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["memory.not_kept"]
