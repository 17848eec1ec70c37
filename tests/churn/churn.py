"""One run: a worker under load, resized at random while things go wrong, and what became of every task."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from autoscaler.demo.embedded import wait_until
from tests.churn.attempts import NEXT_ATTEMPT
from tests.churn.bench import Bench, Setup
from tests.churn.scenarios import Load, Pool, Scenario, Task, Trouble
from tests.churn.verdict import Verdict, judge

if TYPE_CHECKING:
    from pathlib import Path

SMALLEST, LARGEST = 1, 8
_FINAL_SIZE = 3
_REST_SECONDS = 120.0
#: Looks between two resizes where the number of tasks is what counts.
_TURNS_PER_RESIZE = 20
#: Tasks kept in the broker and the worker together.
_BACKLOG = {Load.FULL: 48, Load.HALF: 2}
#: Resizes between two troubles; a restart takes long, a kill does not.
_TROUBLE_EVERY = {
    Trouble.KILL: 10,
    Trouble.POOL_RESTART: 40,
    Trouble.BROKER: 150,
    Trouble.CUT: 40,
    Trouble.WORKER: 100,
}


class Mode(StrEnum):
    OURS = "companion"
    STOCK = "stock pool_grow and pool_shrink"
    AUTOSCALE = "celery --autoscale"


_OPTIONS = {
    Mode.OURS: ("-I", "autoscaler.companion"),
    Mode.STOCK: ("-I", "autoscaler.companion"),  # for its report alone
    Mode.AUTOSCALE: ("-I", "autoscaler.companion", "--autoscale", f"{LARGEST},{SMALLEST}"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run came to; ``exact`` is whether size, processes and prefetch agreed at its end."""

    mode: Mode
    scenario: str
    resizes: int
    refused: int
    troubles: int
    deaths: int
    published: int
    lost: int
    twice: int
    redelivered: int
    excused: int
    oom_kills: int
    stalled: bool
    exact: bool
    insides: dict[str, Any]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)


class Churn:
    """One scenario in one mode."""

    def __init__(self, folder: Path, scenario: Scenario, mode: Mode, *, python: str, seed: int) -> None:
        self._scenario = scenario
        self._mode = mode
        self._chance = random.Random(seed)
        self._folder = folder
        self._setup = Setup(python=python, options=_OPTIONS[mode])
        self._sent: dict[int, Task] = {}
        self._next = 0
        self._killed: set[int] = set()
        self._troubles = 0
        self._done = self._refused = 0

    def run(self, resizes: int, tasks: int = 0) -> Outcome:
        """Resize ``resizes`` times, and until ``tasks`` were sent, come to rest and judge."""
        began = time.monotonic()
        with Bench(self._folder, self._scenario, self._setup) as bench:
            turn = 0
            while turn < resizes or self._next < tasks:
                turn += 1
                report = bench.report()
                self._feed(bench, report)
                if turn <= resizes or not turn % _TURNS_PER_RESIZE:
                    self._resize(bench, report["size"], self._chance.randint(SMALLEST, LARGEST))
                self._trouble(bench, turn, resizes)
                self._pause(bench)
            rested = self._come_to_rest(bench)
            insides = self._insides(bench)
            verdict = self._judge(bench)
            oom_kills = bench.oom_kills()
            if verdict.lost:
                print(f"lost: {verdict.lost_numbers[:20]}", flush=True)
        return Outcome(
            mode=self._mode,
            scenario=str(self._scenario),
            resizes=self._done,
            refused=self._refused,
            troubles=self._troubles,
            deaths=bench.deaths,
            published=verdict.published,
            lost=verdict.lost,
            twice=verdict.twice,
            redelivered=verdict.redelivered,
            excused=verdict.excused,
            oom_kills=oom_kills,
            stalled=not rested,
            exact=rested and insides == self._wanted_insides(insides),
            insides=insides,
            seconds=round(time.monotonic() - began, 1),
        )

    # -- load

    def _feed(self, bench: Bench, report: dict[str, Any]) -> None:
        there = bench.waiting() + report["busy"] + report["reserved"]
        for _ in range(_BACKLOG[self._scenario.load] - there):
            task = self._scenario.draw(self._chance)
            number = self._next
            self._next += 1
            self._sent |= {number + attempt * NEXT_ATTEMPT: task for attempt in range(task.retries + 1)}
            bench.app.send_task(
                "churn.work",
                (number, task.seconds, task.retries, task.mebibytes),
                countdown=task.countdown,
                soft_time_limit=task.soft_time_limit,
                time_limit=task.time_limit,
            )

    def _pause(self, bench: Bench) -> None:
        # Now at once, now after a few more tasks: resizes should meet each other in every state.
        after = self._chance.choice((0, 0, 1, 3, 6))
        ends = int(bench.ledger.hlen("ends"))
        deadline = time.monotonic() + 0.25
        while int(bench.ledger.hlen("ends")) < ends + after and time.monotonic() < deadline:
            time.sleep(0.002)

    # -- resizes

    def _resize(self, bench: Bench, size: int, wanted: int) -> None:
        match self._mode:
            case Mode.OURS:
                reply = bench.ask("pool_resize", size=wanted)
            case Mode.AUTOSCALE:
                reply = bench.ask("autoscale", max=wanted, min=wanted)
            case _ if wanted > size:
                reply = bench.ask("pool_grow", n=wanted - size)
            case _ if wanted < size:
                reply = bench.ask("pool_shrink", n=size - wanted)
            case _:
                return
        if reply is not None and "ok" in reply:
            self._done += 1
        else:
            self._refused += 1

    # -- trouble

    def _trouble(self, bench: Bench, turn: int, resizes: int) -> None:
        every = _TROUBLE_EVERY.get(self._scenario.trouble)
        if every is not None and turn % min(every, max(1, resizes // 2)) == 0:
            self._troubles += self._cause_trouble(bench)

    def _cause_trouble(self, bench: Bench) -> bool:
        """Whether there was a moment for it."""
        match self._scenario.trouble:
            case Trouble.KILL:
                number = bench.kill_busy_child()
                if number is not None:
                    self._killed.add(number)
                return number is not None
            case Trouble.BROKER:
                return bench.restart_broker()
            case Trouble.CUT:
                return bench.cut_connections()
            case Trouble.WORKER:
                bench.restart_worker()
            case Trouble.POOL_RESTART:
                bench.ask("pool_restart")
        return True

    # -- the end

    def _judge(self, bench: Bench) -> Verdict:
        redelivers = self._scenario.trouble in {Trouble.BROKER, Trouble.CUT, Trouble.WORKER}
        return judge(self._sent, frozenset(self._killed), bench.ledger, redelivers=redelivers)

    def _come_to_rest(self, bench: Bench) -> bool:
        """Whether all tasks came to an end by themselves; where not, a new worker ends them."""
        if self._mode is Mode.OURS:
            bench.ask("pool_resize", size=_FINAL_SIZE)
        rested = bench.wait_until_idle(_REST_SECONDS)
        if not rested:
            bench.restart_worker()
            bench.wait_until_idle(_REST_SECONDS)
        return rested

    def _insides(self, bench: Bench) -> dict[str, Any]:
        insides: dict[str, Any] = {}

        def settled() -> bool:
            insides.clear()
            insides.update(self._look(bench))
            return insides == self._wanted_insides(insides)

        with suppress(TimeoutError):
            wait_until(settled, within_seconds=15, what="agreement")
        return insides

    def _look(self, bench: Bench) -> dict[str, Any]:
        report, insides = bench.report(), bench.ask("churn_insides")
        channel = bench.ask("churn_prefetch")
        common = {
            "size": report["size"],
            "ready": report["ready"],
            "retiring": report["retiring"],
            "prefetch": report["prefetch"],
            "processes": insides["processes"],
            "initial_prefetch": insides["initial_prefetch"],
            "channel": channel,
        }
        if self._scenario.pool is not Pool.PREFORK:
            return common
        return {
            **common,
            "children": len(insides["children"]),
            "inqueues": insides["inqueues"],
            "busy": insides["busy"],
            "free_slots": insides["free_slots"],
        }

    def _wanted_insides(self, found: dict[str, Any]) -> dict[str, Any]:
        size = _FINAL_SIZE if self._mode is Mode.OURS else found["size"]
        prefetch = size * self._scenario.prefetch
        common = {
            "size": size,
            "ready": size,
            "retiring": 0,
            "prefetch": prefetch,
            "processes": size,
            "initial_prefetch": prefetch,
            "channel": {"asked": prefetch, "fetched": prefetch, "held": 0},
        }
        if self._scenario.pool is not Pool.PREFORK:
            return common
        return {**common, "children": size, "inqueues": size, "busy": 0, "free_slots": [size, size, 0]}
