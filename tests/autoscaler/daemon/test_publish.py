"""What is stored of a tick, how long it lasts, and which lines its conditions come to."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import redis

from autoscaler.broker.keys import read_status
from autoscaler.core.decider import Decider, Mode
from autoscaler.core.state import State
from autoscaler.daemon.publish import ConditionLog, DryRunLog, Publisher
from autoscaler.daemon.timing import Timing
from autoscaler.demo.embedded import RedisServer
from autoscaler.report.log import get_logger
from autoscaler.report.status import TickRecord
from tests.support.builders import look, prompt_policy, worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STATUS = "autoscaler:a:status"
TIMING = Timing(interval_seconds=2.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as one:
        yield one


@dataclass
class Published:
    """A publisher on a real Redis, with a clock that is set by hand."""

    server: RedisServer
    now: float = 1000.0
    log: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.redis = redis.Redis(port=self.server.port)
        self.redis.flushall()
        self.publisher = Publisher(
            "a",
            lambda: self.redis,
            TIMING,
            log=get_logger(level="info", style="json", redact=str, stream=self.log),
            clean=lambda value: value,
            monotonic=lambda: self.now,
        )

    def tick(
        self, *, seconds: float = 0.1, leader: bool = True, faults: Mapping[str, str] | None = None
    ) -> None:
        seen = look(0, leader=leader)
        _, plan = Decider(policy=prompt_policy()).decide(State(), seen)
        record = TickRecord(observation=seen, plan=plan, workers={}, seconds=seconds, faults=faults or {})
        self.publisher.publish(record, lambda: '{"at": 1}')

    def lasts_seconds(self) -> float:
        return self.redis.pttl(STATUS) / 1000


@pytest.mark.parametrize(("tick_seconds", "lasts"), [(0.1, 6), (2.0, 6), (18.0, 54)])
def test_the_status_lasts_for_three_more_ticks_of_the_same_length(server, tick_seconds, lasts):
    published = Published(server)
    published.tick(seconds=tick_seconds)
    assert read_status(published.redis, "a") == {"at": 1}
    assert lasts - 3 < published.lasts_seconds() <= lasts


def test_within_a_slow_tick_the_status_is_kept_from_expiring(server):
    published = Published(server)
    published.publisher.keep_alive()  # nothing is stored yet
    published.tick()
    published.redis.expire(STATUS, 1000)
    published.now += 1.9
    published.publisher.keep_alive()
    assert published.lasts_seconds() > 900
    published.now += 0.2
    published.publisher.keep_alive()
    assert 3 < published.lasts_seconds() <= 6


def test_who_does_not_act_stores_nothing_and_keeps_nothing_alive(server):
    published = Published(server)
    published.tick(leader=False)
    published.now += 60
    published.publisher.keep_alive()
    assert published.redis.exists(STATUS) == 0


# Conditions


def out_of_reach(processes: int) -> str:
    """The state of a worker whose target needs more than is allowed, in short."""
    return f"it takes about {processes} processes on celery5, more than --max 8"


class Lines:
    """What a log of conditions writes over ticks."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.conditions = ConditionLog(get_logger(level="info", style="json", redact=str, stream=self.stream))

    def after(self, found, *, observed=True):
        begin = self.stream.tell()
        self.conditions.update(found, lambda _: observed)
        lines = [json.loads(line) for line in self.stream.getvalue()[begin:].splitlines()]
        return [{key: line[key] for key in line.keys() - {"timestamp", "level"}} for line in lines]


@pytest.mark.parametrize(
    ("states", "logged"),
    [
        pytest.param([10, 11, 12, 9, 10], [10], id="it moves by no more than a quarter"),
        pytest.param([10, 11, 12, 13, 14], [10, 13], id="it creeps"),
        pytest.param([3, 4, 3, 2, 3], [3], id="it moves by its rounding"),
        pytest.param([10, 40, 10], [10, 40, 10], id="it changes"),
        pytest.param([10, None, 10], [10, None, 10], id="it has gone and comes back"),
    ],
)
def test_an_estimate_is_logged_again_only_where_a_person_would_care(states, logged):
    lines, subject = Lines(), ("target_out_of_reach", "a@h")
    written = [
        line.get("state")
        for state in states
        for line in lines.after({} if state is None else {subject: out_of_reach(state)})
    ]
    assert written == [None if state is None else out_of_reach(state) for state in logged]


def test_beside_an_estimate_any_other_change_of_a_state_is_logged():
    lines, subject = Lines(), ("target_out_of_reach", "a@h")
    lines.after({subject: out_of_reach(10)})
    (line,) = lines.after({subject: out_of_reach(10).replace("--max 8", "--max 9")})
    assert line["state"].endswith("--max 9")


def test_a_condition_has_a_line_when_it_begins_changes_and_is_over():
    lines, subject = Lines(), ("queue", "x")
    named = {"subject": "queue", "name": "x"}
    assert lines.after({subject: "WRONGTYPE"}) == [{"event": "condition", **named, "state": "WRONGTYPE"}]
    assert lines.after({subject: "WRONGTYPE"}) == []
    assert lines.after({subject: "gone"}) == [{"event": "condition", **named, "state": "gone"}]
    assert lines.after({}) == [{"event": "condition.cleared", **named}]
    assert lines.after({}) == []


def test_what_could_not_be_looked_at_is_not_over():
    lines, subject = Lines(), ("worker", "a@h")
    lines.after({subject: "it shrinks only while idle"})
    assert lines.after({}, observed=False) == []
    assert lines.after({subject: "it shrinks only while idle"}) == []
    assert lines.after({}, observed=None) == [
        {"event": "condition.dropped", "subject": "worker", "name": "a@h"}
    ]


def test_many_that_change_alike_have_one_line():
    lines = Lines()
    found = {("worker", f"w{number:03}@h"): "no companion" for number in range(106)}
    (line,) = lines.after({**found})
    assert (line["count"], line["names"][:2], len(line["names"])) == (106, ["w000@h", "w001@h"], 10)
    assert [line["event"] for line in lines.after({}, observed=None)] == ["condition.dropped"]


def test_a_dry_run_has_a_line_for_each_resize_that_changes():
    stream = io.StringIO()
    dry_run = DryRunLog(get_logger(level="info", style="json", redact=str, stream=stream))

    def after(waiting, *, processes=1, mode=Mode.DRY_RUN):
        begin = stream.tell()
        decider = Decider(policy=prompt_policy(), mode=mode)
        _, plan = decider.decide(State(), look(waiting, worker("a@h", processes=processes)))
        counted = dry_run.update(plan.decisions)
        lines = [json.loads(line) for line in stream.getvalue()[begin:].splitlines()]
        assert len(counted) == len(lines)
        return [
            (line["event"], line["worker"], line["before"], line["target"], line["reason"]) for line in lines
        ]

    grows = [("pool.would_resize", "a@h", 1, 4, "load_high")]
    assert after(4) == grows
    assert after(4) == []
    assert after(2) == [("pool.would_resize", "a@h", 1, 2, "load_high")]
    assert after(1) == []
    assert after(4) == grows, "again, for it was over"
    assert after(5, mode=Mode.ACT) == [], "a daemon that acts leaves nothing out"
    assert dry_run.resizes == 3


@pytest.mark.parametrize(
    "unstored",
    [
        pytest.param({"leader": False}, id="it does not act any more"),
        pytest.param({"faults": {"backlog": "gone"}}, id="the queues cannot be read"),
    ],
)
def test_a_status_that_is_not_stored_again_expires(server, unstored):
    published = Published(server)
    published.tick()
    published.tick(**unstored)
    published.redis.expire(STATUS, 1)
    published.now += 60
    published.publisher.keep_alive()
    assert published.lasts_seconds() <= 1


def test_a_standby_does_not_go_on_reporting_that_it_could_not_publish(server):
    published = Published(server)
    published.redis.config_set("maxmemory", "1")
    try:
        published.tick()
    finally:
        published.redis.config_set("maxmemory", "0")
    published.tick(leader=False)
    events = [json.loads(line) for line in published.log.getvalue().splitlines()]
    assert [one["event"] for one in events if one["subject"] == "publish"] == [
        "condition",
        "condition.cleared",
    ]
