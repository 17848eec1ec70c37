"""How long a resize takes to bring a process that works: from the command to the first task it runs."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

from autoscaler.demo.embedded import wait_until
from tests.churn.bench import Bench, Setup
from tests.churn.churn import Mode
from tests.churn.scenarios import Scenario

if TYPE_CHECKING:
    from pathlib import Path

_WITHIN_SECONDS = 60.0


def measure_growth(folder: Path, mode: Mode, *, rounds: int, python: str) -> dict[str, Any]:
    """Seconds from growing 1 to 2 until the new process starts its first task, over ``rounds`` growths.

    The one process there is held by another task, so nothing else can take the task that is timed.
    """
    setup = Setup(python=python, processes=1, options=("-I", "autoscaler.companion"))
    with Bench(folder, Scenario(prefetch=1), setup) as bench:
        taken = [_grow_once(bench, mode, number) for number in range(rounds)]
    return {
        "mode": mode,
        "rounds": rounds,
        "median_seconds": round(median(taken), 3),
        "max_seconds": round(max(taken), 3),
    }


def _grow_once(bench: Bench, mode: Mode, number: int) -> float:
    key = f"hold-{number}"
    bench.app.send_task("churn.hold", (key,))
    _await(lambda: bench.ledger.llen(f"{key}:held"), "the start of the holding task")
    bench.app.send_task("churn.work", (number, 0))
    asked = time.time()
    reply = bench.ask("pool_resize", size=2) if mode is Mode.OURS else bench.ask("pool_grow", n=1)
    assert "ok" in reply, reply
    _await(lambda: bench.ledger.hexists("first_start", str(number)), "the start of the timed task")
    taken = float(bench.ledger.hget("first_start", str(number))) - asked
    bench.ledger.rpush(key, "go")
    assert bench.wait_until_idle(_WITHIN_SECONDS)
    reply = bench.ask("pool_resize", size=1) if mode is Mode.OURS else bench.ask("pool_shrink", n=1)
    assert "ok" in reply, reply
    _await(lambda: len(bench.ask("churn_insides")["children"]) == 1, "the end of the second process")
    return taken


def _await(condition: Any, what: str) -> None:
    wait_until(condition, within_seconds=_WITHIN_SECONDS, what=what)
