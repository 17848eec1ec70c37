"""The replay harness: compressed traces, really published to a real worker, under each way to size it.

    uv run python -m tests.replay                    two made traces, 75 s for each way
    uv run python -m tests.replay TRACE.csv ...      these as well (`offset_s,service_s`)
    uv run python -m tests.replay --only latency     only the ways whose name has this in it

A table for each trace goes to the screen, with --json FILE everything there too. It takes about 8 minutes for
a trace. Run it on a quiet machine: what else runs is in the waits.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoscaler.cli.trace_source import read_trace
from autoscaler.simulation.report import as_dict, summarize, table
from autoscaler.simulation.traces import TraceError
from autoscaler.simulation.workloads import levels, on_off
from tests.replay.contenders import MAX_PROCESSES, contenders
from tests.replay.replay import compress, replay

if TYPE_CHECKING:
    from autoscaler.simulation.engine import ReplayResult
    from autoscaler.simulation.traces import Trace

#: Above it the waits tell more of the machine than of the policies.
_MOST_LOAD = 3.0
_MOST_BUSY = MAX_PROCESSES / 2


def main() -> int:
    """Run what was asked for."""
    options = _parse()
    target = options.target_wait / options.speed
    try:
        traces = [on_off(options.seed), levels(options.seed)] if options.made else []
        traces += [read_trace(path, None, options.seed) for path in options.traces]
    except TraceError as fault:
        print(f"replay: {fault}", file=sys.stderr)
        return 2
    results = []
    for whole in traces:
        trace = compress(
            whole, seconds=options.seconds, speed=options.speed, most_busy=_MOST_BUSY, seed=options.seed
        )
        outcomes = _replay(trace, target, options)
        print(_shown(trace, target, outcomes), flush=True)
        results.append(_as_json(trace, target, outcomes))
        if options.json is not None:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def _replay(trace: Trace, target: float, options: argparse.Namespace) -> list[ReplayResult]:
    outcomes = []
    for contender in contenders(trace, target, options.speed):
        if options.only not in contender.name:
            continue
        load = os.getloadavg()[0]
        note = f"; the load is {load:.1f}, its waits may be the machine's" if load > _MOST_LOAD else ""
        print(f"{trace.name}: {contender.name}{note}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="replay-") as folder:
            outcomes.append(replay(Path(folder), trace, contender))
    return outcomes


def _lost(outcome: ReplayResult) -> int:
    return sum(math.isinf(wait) for wait in outcome.waits_seconds)


def _shown(trace: Trace, target: float, outcomes: list[ReplayResult]) -> str:
    lines = [table(trace, target, [summarize(outcome, target) for outcome in outcomes])]
    lines += [
        f"{outcome.scaler}: {_lost(outcome)} of {len(outcome.waits_seconds)} tasks never started"
        for outcome in outcomes
        if _lost(outcome)
    ]
    return "\n".join([*lines, ""])


def _as_json(trace: Trace, target: float, outcomes: list[ReplayResult]) -> dict[str, Any]:
    """As the simulation's; a wait without end is None."""
    result = as_dict(trace, target, [summarize(outcome, target) for outcome in outcomes])
    for policy, outcome in zip(result["policies"], outcomes, strict=True):
        for key, value in policy.items():
            if isinstance(value, float) and math.isinf(value):
                policy[key] = None
        policy["never_started"] = _lost(outcome)
    return result


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("traces", nargs="*", type=Path, metavar="TRACE", help="CSV files with the header offset_s,service_s")
    add("--no-made", dest="made", action="store_false", help="only the TRACEs given")
    add("--seconds", type=float, default=75, help="of real time for each way (%(default)s)")
    add("--speed", type=float, default=2, help="how many times as fast as in the trace (%(default)s)")
    add("--target-wait", type=float, default=5, help="in seconds of the trace (%(default)s)")
    add("--only", default="", help="the ways whose name has this in it")
    add("--seed", type=int, default=1, help="of the made traces (%(default)s)")
    add("--json", type=Path, help="the file for all results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
