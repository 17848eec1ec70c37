"""The history in Redis: what a new leader finds, and that no fault of Redis reaches the tick."""

from __future__ import annotations

import io
import json
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from autoscaler.broker.history_store import EXPIRY_SECONDS
from autoscaler.broker.keys import publish
from autoscaler.daemon.recorder import READ_AGAIN_SECONDS, STORE_SECONDS, Recorder
from autoscaler.daemon.timing import Timing
from autoscaler.demo.embedded import RedisServer
from autoscaler.report.history import History, TargetWaits, group_id
from autoscaler.report.log import get_logger
from tests.support.builders import look, queue, worker
from tests.support.cluster import started
from tests.support.ticks import Ticks, fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = b"autoscaler:a:history"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as one:
        yield one


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis(port=server.port) as one:
        one.flushall()
        yield one


@dataclass
class Daemon:
    """A recorder on a real Redis; its clock goes by the ticks."""

    port: int
    ticks: Ticks
    log: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.client = redis.Redis(port=self.port, socket_timeout=1.5, retry=Retry(NoBackoff(), 0))
        self.history = History(target_waits=TargetWaits(5.0))
        self.recorder = Recorder(
            "a",
            self.history,
            Timing(interval_seconds=2.0),
            redis=lambda: self.client,
            reset=self.client.close,
            log=get_logger(level="info", style="json", redact=str, stream=self.log),
            monotonic=lambda: self.ticks.wall,
            wall=lambda: self.ticks.wall,
        )

    def tick(self, observation: object = None, *, step: bool = True, **fields: object) -> None:
        self.recorder.take(self.ticks.tick(observation or look(3), **fields))  # type: ignore[arg-type]
        if step:
            self.recorder.step()

    def lines(self) -> list[tuple[str, str | None]]:
        return [
            (line["event"], line.get("why")) for line in map(json.loads, self.log.getvalue().splitlines())
        ]

    def waiting(self, span_seconds: float, group: str = "") -> list[float | None]:
        view = self.history.view(span_seconds, self.ticks.wall, group)
        assert view is not None
        return view["columns"]["waiting"]


def test_a_new_leader_goes_on_where_the_last_one_ended(server: RedisServer, client: redis.Redis) -> None:
    ticks = Ticks()
    before = Daemon(server.port, ticks)
    two = look(
        None,
        worker("m@h", queues=("m",)),
        worker("p@h", queues=("p",)),
        queues=(queue(4, "m"), queue(1, "p")),
    )
    for _ in range(10):
        before.tick(two)
    event = {"at": ticks.wall, "reason": "latency", "worker": "m@h", "command": "pool_resize", "before": 1}
    publish(client, "a", "{}", [{**event, "target": 4, "result": "done", "detail": None}], expiry_seconds=9)
    before.recorder.step(last=True)

    after = Daemon(server.port, ticks)
    ticks.wall += 6
    after.tick(two)

    assert after.waiting(28) == [*[5] * 10, None, None, None, 5]
    assert after.waiting(20, group_id(["m"]))[0] == 4
    view = after.history.view(60, ticks.wall)
    assert view is not None
    assert view["actions"] == [
        {**event, "target": 4, "result": "done", "detail": None, "why": view["actions"][0]["why"]}
    ]


def test_what_is_stored_is_bounded_expires_and_is_written_seldom(
    server: RedisServer, client: redis.Redis
) -> None:
    daemon = Daemon(server.port, Ticks())
    seen = fleet(6, 3)
    daemon.tick(seen)
    client.config_resetstat()
    for _ in range(60):
        daemon.tick(seen)

    writes = client.info("commandstats")["cmdstat_hset"]["calls"]  # type: ignore[index]
    groups = [f"autoscaler:a:history:{group_id([name.name])}".encode() for name in seen.queues]
    assert sorted(client.keys()) == sorted([KEY, *groups])
    assert all(EXPIRY_SECONDS - 60 < client.ttl(key) <= EXPIRY_SECONDS for key in client.scan_iter())
    assert writes == 4 * (60 * 2 // STORE_SECONDS)


def test_after_a_fault_that_nobody_foresaw_it_is_tried_again_no_sooner_than_after_any_other() -> None:
    daemon, crashes = Daemon(1, Ticks()), 0
    daemon.client = object()  # type: ignore[assignment]
    for _ in range(50):
        try:
            daemon.tick()
        except AttributeError:
            crashes += 1
    assert crashes == 50 * 2 // STORE_SECONDS


def test_a_standby_writes_nothing_and_reads_again_from_time_to_time(
    server: RedisServer, client: redis.Redis
) -> None:
    ticks = Ticks()
    leader, standby = Daemon(server.port, ticks), Daemon(server.port, ticks)
    leader.tick()
    leader.recorder.step(last=True)
    before = client.hgetall(KEY)

    standby.tick(look(3, leader=False))
    ticks.wall += READ_AGAIN_SECONDS
    standby.tick(look(3, leader=False))

    assert client.hgetall(KEY) == before
    assert standby.waiting(70)[2] == 3, "what the leader saw while it was not looking"


def test_while_redis_is_gone_ticks_are_kept_and_stored_afterwards(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    ticks = Ticks()
    with RedisServer(tmp_path_factory.mktemp("redis"), persistent=True) as server:
        daemon = Daemon(server.port, ticks)
        daemon.tick()
        server.process.kill()
        for _ in range(8):
            daemon.tick()
        assert [event for event, _ in daemon.lines()] == ["history.not_stored"]
        server.start()
        for _ in range(8):
            daemon.tick()
        assert [event for event, _ in daemon.lines()] == ["history.not_stored", "history.stored_again"]
        other = Daemon(server.port, ticks)
        daemon.recorder.step(last=True)
        other.tick(step=False)
        other.recorder.step()

    assert other.waiting(34).count(None) == 0


def test_a_user_without_the_right_to_store_is_told_once_and_the_history_stays_in_memory(
    server: RedisServer, client: redis.Redis
) -> None:
    daemon = Daemon(server.port, Ticks())
    client.set(KEY, "somebody's")
    for _ in range(20):
        daemon.tick()

    (only,) = daemon.lines()
    assert only[0] == "history.not_stored"
    assert "WRONGTYPE" in str(only[1])
    assert daemon.waiting(40) == [3] * 20


def test_the_thread_stores_what_is_left_when_the_daemon_ends(
    server: RedisServer, client: redis.Redis
) -> None:
    daemon = Daemon(server.port, Ticks())
    daemon.recorder.start()
    daemon.tick(step=False)
    started(lambda: daemon.recorder._restored, what="the first reading")
    daemon.recorder.close()

    assert json.loads(client.hget(KEY, "meta") or "{}")["version"] == 1


@pytest.mark.slow
def test_a_redis_that_hangs_keeps_neither_the_tick_nor_the_end_waiting(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        daemon = Daemon(server.port, Ticks())
        daemon.recorder.start()
        daemon.tick(step=False)
        started(lambda: daemon.recorder._restored, what="the first reading")
        server.process.send(signal.SIGSTOP)
        for _ in range(50):
            daemon.tick(step=False)
        assert daemon.waiting(100) == [3] * 50
        started(lambda: daemon.lines() != [], what="the fault")
        daemon.recorder.close()
        server.process.send(signal.SIGCONT)
