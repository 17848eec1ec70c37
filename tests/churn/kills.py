"""Daemons killed by SIGKILL between publishing a batch of resizes and gathering its outcomes.

Three workers under load are resized by real daemons, all in one batch. One or two of them kill the daemon
when they have the command, before or after they do it, and stop; the next daemon starts before or after they
go on.
"""

from __future__ import annotations

import json
import random
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
from celery import Celery

from autoscaler.broker.keys import Keys
from autoscaler.demo.embedded import wait_until
from tests.churn.stops import AFTER, BEFORE, key_of
from tests.support.cluster import ticked
from tests.support.traffic import Traffic

if TYPE_CHECKING:
    from redis import Redis

    from tests.support.cluster import Cluster, Daemon

WORKERS = ("w1@h", "w2@h", "w3@h")
SIZES = range(1, 5)
PREFETCH = 2
_LOADS = "tests.churn.stops,tests.churn.insides"
_TASK_SECONDS = 0.1
_WITHIN_SECONDS = 60.0
_KEYS = Keys(name="default")


class Kills:
    """One run over a cluster of its own."""

    def __init__(self, cluster: Cluster, *, seed: int) -> None:
        self._cluster = cluster
        self._redis: Redis = cluster.redis
        self._chance = random.Random(seed)
        self._app = Celery("asks", broker=cluster.server.url, set_as_current=False)
        self._size = self._kills = 0

    def run(self, rounds: int) -> dict[str, Any]:
        """What came of every task and every worker after so many kills."""
        for name in WORKERS:
            self._cluster.worker(name, "-I", _LOADS, companion=False, PREFETCH=str(PREFETCH))
        with Traffic(self._cluster, _TASK_SECONDS) as traffic:
            gathered = self._kill(rounds)
        with suppress(TimeoutError):
            wait_until(
                lambda: len(self._cluster.ended()) == traffic.sent,
                within_seconds=_WITHIN_SECONDS,
                what="the end of all tasks",
            )
        lost, twice = self._cluster.lost_and_twice(traffic.sent)
        exact = [self._is_exact(name) for name in WORKERS]
        self._app.close()
        return {
            "kills": self._kills,
            "gathered": gathered,
            "tasks": traffic.sent,
            "lost": lost,
            "twice": twice,
            "exact": all(exact),
        }

    # -- kills

    def _kill(self, rounds: int) -> int:
        """How many outcomes the daemons had gathered of the batches over which they were killed."""
        self._size = self._chance.choice(SIZES)
        self._limit(self._size)
        daemon, gathered = self._cluster.daemon(), 0
        self._await_sizes(WORKERS)
        while self._kills < rounds:
            self._size = self._chance.choice([size for size in SIZES if size != self._size])
            stopped = self._kill_over(daemon)
            gathered += self._gathered(daemon, stopped)
            self._redis.delete(_KEYS.lease)  # as if it had run out
            if self._chance.random() < 0.5:
                self._go_on(stopped)
                daemon = self._cluster.daemon()
            else:
                daemon = self._cluster.daemon(wait=False)
                daemon.process.wait_until(
                    lambda found=daemon: ticked(found), within_seconds=_WITHIN_SECONDS, what="its first tick"
                )
                self._go_on(stopped)
            self._await_sizes(WORKERS)
        return gathered

    def _kill_over(self, daemon: Daemon) -> list[str]:
        """Let the daemon resize the workers, and end it before it has the outcomes; those that stopped.

        It counts as a kill where two workers or more were in the batch: one that was late with its report is
        in the next one.
        """
        for name in self._chance.sample(WORKERS, self._chance.choice((1, 2))):
            moment = self._chance.choice((BEFORE, AFTER))
            self._redis.set(key_of(name), f"{moment} {daemon.process.pid}")
        self._limit(self._size)
        daemon.process.wait(within_seconds=_WITHIN_SECONDS)
        stopped = [name for name in WORKERS if self._stops(name)]
        self._redis.delete(*map(key_of, WORKERS))
        resized = [name for name in WORKERS if name not in stopped and self._has_size(name)]
        self._kills += len(stopped) + len(resized) > 1
        return stopped

    def _stops(self, name: str) -> bool:
        """Whether the worker has stopped; one that answers has done before what it was told before."""
        process, answers = psutil.Process(self._cluster.workers[name].pid), False

        def known() -> bool:
            nonlocal answers
            answers = process.status() != psutil.STATUS_STOPPED and bool(self._ask(name, "ping", 2))
            return answers or process.status() == psutil.STATUS_STOPPED

        wait_until(known, within_seconds=_WITHIN_SECONDS, what=f"the stop of {name}, or an answer of it")
        return not answers

    def _go_on(self, stopped: list[str]) -> None:
        for name in stopped:
            self._cluster.workers[name].send(signal.SIGCONT)

    def _gathered(self, daemon: Daemon, stopped: list[str]) -> int:
        lines = [line for line in daemon.process.log().splitlines() if line[:1] + line[-1:] == "{}"]
        events = [event for event in map(json.loads, lines) if event["event"].startswith("pool.resize")]
        return sum(event["target"] == self._size and event["worker"] in stopped for event in events)

    def _limit(self, size: int) -> None:
        self._redis.set(_KEYS.override, json.dumps({"min": size, "max": size}))

    # -- workers

    def _ask(self, name: str, command: str, within_seconds: float = 20) -> Any:
        replies = self._app.control.broadcast(
            command, destination=[name], reply=True, timeout=within_seconds, limit=1
        )
        return replies[0][name] if replies else {}

    def _has_size(self, name: str) -> bool:
        return bool(self._ask(name, "pool_report").get("size") == self._size)

    def _await_sizes(self, names: tuple[str, ...]) -> None:
        wait_until(
            lambda: all(map(self._has_size, names)),
            within_seconds=_WITHIN_SECONDS,
            what=f"{self._size} processes in {names}",
        )

    def _is_exact(self, name: str) -> bool:
        """Whether size, processes, prefetch and slots agree, once nothing moves any more."""
        size, fetched = self._size, self._size * PREFETCH
        wanted = {
            "size": size, "ready": size, "retiring": 0, "busy": 0, "reserved": 0, "prefetch": fetched,
            "processes": size, "inqueues": size, "free_slots": [size, size, 0], "initial_prefetch": fetched,
            "asked": fetched, "fetched": fetched, "held": 0,
        }  # fmt: skip
        seen: dict[str, Any] = {}

        def agrees() -> bool:
            insides, channel = self._ask(name, "churn_insides"), self._ask(name, "churn_prefetch")
            seen.update({**insides, **channel, **self._ask(name, "pool_report")})
            return {key: seen.get(key) for key in wanted} == wanted

        try:
            wait_until(agrees, within_seconds=_WITHIN_SECONDS, what="agreement")
        except TimeoutError:
            print(f"{name}: {seen}, wanted {wanted}", flush=True)
            return False
        return True
