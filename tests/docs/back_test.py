"""Draws the back-test of the docs: ``uv run --extra plot python -m tests.docs.back_test``, about a minute.

The trace is ``docs/examples/bursts.csv``: bursts and pauses, made from a seed. The picture is what the
command of the docs draws; nothing is changed by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

from autoscaler.cli.main import main
from autoscaler.simulation.workloads import on_off

DOCS = Path(__file__).parents[2] / "docs"
TRACE = DOCS / "examples" / "bursts.csv"
PICTURE = DOCS / "back-test.png"
#: As the docs show it.
COMMAND = ("simulate", "docs/examples/bursts.csv", "--max", "64", "--plot", "docs/back-test.png")


def trace_text() -> str:
    """The trace as a file: a row for each task."""
    trace = on_off(seed=2, seconds=900)
    rows = zip(trace.arrivals_seconds, trace.services_seconds, strict=True)
    return "offset_s,service_s\n" + "".join(f"{at:.2f},{takes:.3f}\n" for at, takes in rows)


if __name__ == "__main__":
    TRACE.write_text(trace_text())
    main(COMMAND)
    sys.exit(0)
