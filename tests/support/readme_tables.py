"""The README's tables, made from the code: ``python -m tests.support.readme_tables`` writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

from autoscaler.core.decider import Decider
from autoscaler.core.model import MEANINGS, Outcome, Reason, Result
from autoscaler.core.policy import Policy
from autoscaler.core.state import State
from autoscaler.report.metrics import Metrics
from autoscaler.report.status import TickRecord
from autoscaler.settings import table as config
from tests.support.builders import MIB, container, look, worker

README = Path(__file__).parents[2] / "README.md"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def options() -> str:
    lines = [_row("flag", "variable", "default", "meaning"), "|---|---|---|---|"]
    for setting in config.ALL:
        default = f"`{setting.default}`" if setting.default else ""
        lines.append(_row(f"`{setting.flag}`", f"`{setting.variable}`", default, setting.about))
    return "\n".join(lines)


def reasons() -> str:
    lines = [_row("reason", "meaning"), "|---|---|"]
    lines += [_row(f"`{reason}`", MEANINGS[reason]) for reason in Reason]
    return "\n".join(lines)


def metrics() -> str:
    lines = [_row("metric", "type", "labels", "meaning"), "|---|---|---|---|"]
    lines += [_row(f"`{name}`", kind, labels, about) for name, kind, labels, about in metric_rows()]
    return "\n".join(lines)


def metric_rows() -> list[tuple[str, str, str, str]]:
    """Every metric as the registry shows it after a tick in which all is known."""
    full = container(
        cpu_limit_cores=2.0,
        cpu_limited=True,
        cpu_usage_ratio=0.5,
        cpu_throttled_ratio=0.1,
        memory_limit_bytes=MIB,
        memory_limited=True,
        memory_used_bytes=1,
        child_rss_bytes=(1,),
    )
    seen = look(3, worker(container=full))
    policy = Policy(max_processes=4)
    plan = Decider(policy=policy).decide(State(), seen)[1]
    outcome = Outcome(worker="w", before=1, target=2, command="pool_resize", result=Result.DONE)
    record = TickRecord(
        observation=seen,
        plan=plan,
        workers={one.name: one for one in seen.workers},
        outcomes=(outcome,),
        faults={"lease": "x"},
    )
    told = Metrics(monotonic=lambda: seen.at)
    told.record(record)
    rows = []
    for family in told.registry.collect():
        suffix = "_total" if family.type == "counter" else ""
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        rows.append((family.name + suffix, family.type, ", ".join(labels), family.documentation))
    return rows


TABLES = {"options": options, "reasons": reasons, "metrics": metrics}


def written(text: str) -> str:
    """``text`` with each table between its markers as the code has it."""
    for name, make in TABLES.items():
        pattern = rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)"
        text = re.sub(
            pattern, lambda match, make=make: f"{match[1]}{make()}\n{match[2]}", text, flags=re.DOTALL
        )
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
