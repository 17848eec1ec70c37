"""The churn harness: resizes a real worker at random under load and counts every task.

    uv run python -m tests.churn                     10,000 resizes, then the comparison and the growth times
    uv run python -m tests.churn --slice             what the tests run, a minute or two
    uv run python -m tests.churn --only 'kill -9'    the scenarios whose name has this in it
    uv run python -m tests.churn --memory            where memory is short; needs root and v1 groups
    uv run python -m tests.churn --tasks 20000       so many tasks with late acks, retries and countdowns
    uv run python -m tests.churn --daemon-kills 20   daemons killed between a batch and its outcomes

A table goes to the screen, everything as JSON to ``--json FILE``. It exits 1 where the companion lost or
repeated a task, or where size, processes or prefetch did not agree at the end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from autoscaler.demo.embedded import RedisServer
from tests.churn.churn import Churn, Mode
from tests.churn.growth import measure_growth
from tests.churn.kills import Kills
from tests.churn.report import describe, growth_table, run_table, totals
from tests.churn.scenarios import COMPARED, LONG, MEMORY, SCENARIOS, SLICE, VERSIONS, Scenario
from tests.support.cluster import Cluster

Step = tuple[Mode, Scenario, int]


def main() -> int:
    """Run what was asked for."""
    options = _parse()
    if options.daemon_kills:
        return _kill_daemons(options)
    results: dict[str, Any] = {"versions": describe(options.python), "runs": [], "growth": []}
    for number, step in enumerate(_plan(options)):
        results["runs"].append(_run(step, options.python, options.seed + number, options.tasks))
        _tell(f"{len(results['runs'])}. {json.dumps(results['runs'][-1])}")
        _write(options.json, results)
    if options.growth and not options.tasks:
        results["growth"] = [_growth(mode, options) for mode in (Mode.OURS, Mode.STOCK)]
    results["totals"] = totals(results["runs"])
    _write(options.json, results)
    print(run_table(results["runs"]))
    print(growth_table(results["growth"]))
    return 1 if any(map(_is_bad, results["runs"])) else 0


def _plan(options: argparse.Namespace) -> list[Step]:
    if options.tasks:
        return [(Mode.OURS, LONG, 0)]
    chosen = ((options.slice, SLICE), (options.versions, VERSIONS), (options.memory, MEMORY))
    scenarios = next((several for asked, several in chosen if asked), SCENARIOS)
    plan = [(Mode.OURS, scenario, _share(options.resizes, len(scenarios))) for scenario in scenarios]
    if options.compare:
        share = _share(options.compare, len(COMPARED))
        plan += [(mode, scenario, share) for mode in (Mode.STOCK, Mode.AUTOSCALE) for scenario in COMPARED]
    return [step for step in plan if options.only in f"{step[0]}: {step[1]}"]


def _share(total: int, parts: int) -> int:
    return -(-total // parts)


def _run(step: Step, python: str, seed: int, tasks: int) -> dict[str, Any]:
    mode, scenario, resizes = step
    with tempfile.TemporaryDirectory(prefix="churn-") as folder:
        try:
            outcome = Churn(Path(folder), scenario, mode, python=python, seed=seed).run(resizes, tasks)
        except Exception as fault:  # noqa: BLE001 - the other runs still tell something
            return {"mode": mode, "scenario": str(scenario), "error": str(fault)[-2000:]}
    return outcome.as_json()


def _kill_daemons(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="churn-") as name, ExitStack() as stack:
        server = stack.enter_context(RedisServer(Path(name) / "redis", persistent=True))
        found = Kills(Cluster(Path(name), stack, server), seed=options.seed).run(options.daemon_kills)
    _write(options.json, found)
    print(json.dumps(found))
    return 1 if found["lost"] or found["twice"] or found["gathered"] or not found["exact"] else 0


def _growth(mode: Mode, options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="churn-") as folder:
        return measure_growth(Path(folder), mode, rounds=options.growth, python=options.python)


def _is_bad(run: dict[str, Any]) -> bool:
    if run["mode"] != Mode.OURS:
        return False
    return "error" in run or bool(run["lost"] or run["twice"]) or not run["exact"]


def _write(path: Path | None, results: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(results, indent=1) + "\n")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.churn",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--resizes", type=int, default=10_000, help="of the companion, over all scenarios (%(default)s)")
    add("--compare", type=int, default=1500, help="of stock and of --autoscale each (%(default)s; 0: none)")
    add("--growth", type=int, default=10, help="growths to time (%(default)s; 0: none)")
    add("--slice", action="store_true", help="the few scenarios that the tests have time for")
    add("--versions", action="store_true", help="the few that each supported Celery is put through")
    add("--memory", action="store_true", help="those in a control group whose memory is short")
    add("--tasks", type=int, default=0, help="tasks of one long run, instead of all else (%(default)s)")
    add("--daemon-kills", type=int, default=0, help="kills of a daemon, instead of all else (%(default)s)")
    add("--only", default="", help="run only what has this in its name, '<mode>: <scenario>'")
    add("--seed", type=int, default=1, help="of the random sizes and tasks (%(default)s)")
    add("--python", default=sys.executable, help="the Python whose Celery runs the worker")
    add("--json", type=Path, help="the file for all results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
