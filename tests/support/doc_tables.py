"""The generated tables of ``docs/``: ``uv run python -m tests.support.doc_tables`` writes them again.

A table stands between two comments, ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``, on exactly one page.
What is in it comes from the code, the rules or the OpenAPI document; the text around it is written by hand.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import structlog
import yaml

from autoscaler.cli.main import main as autoscaler_command
from autoscaler.core.decider import Decider
from autoscaler.core.model import MEANINGS, Outcome, Reason, Result
from autoscaler.core.policy import Policy
from autoscaler.core.state import State
from autoscaler.report.metrics import Metrics
from autoscaler.report.status import TickRecord
from autoscaler.report.waits import Wait
from autoscaler.report.web import page_failures
from autoscaler.settings import table as settings
from docservice import metrics as docservice_metrics
from docservice.cli.main import main as docservice_command
from docservice.config import Settings, read_settings
from docservice.http.app import create_app, openapi_document
from tests.support.builders import container, look, queue, worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import CollectorRegistry

TOP = Path(__file__).parents[2]
DOCS = TOP / "docs"
RULES = TOP / "deploy/prometheus/rules.yml"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(names)
    return "\n".join([_row(*heads), "|" + "---|" * len(heads), *(_row(*row) for row in rows)])


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def options() -> str:
    return _settings(settings.ALL)


def keda_options() -> str:
    return _settings(settings.KEDA)


def _settings(rows: Iterable[Any]) -> str:
    return _table(
        ("flag", "variable", "default", "meaning"),
        ((_code(one.flag), _code(one.variable), _code(one.default), one.about) for one in rows),
    )


def commands() -> str:
    return _commands(autoscaler_command)


def docservice_commands() -> str:
    return _commands(docservice_command)


def subcommands(command: click.Command) -> dict[str, click.Command]:
    """The commands of a group by their names, in its own order; none where it is no group."""
    if not isinstance(command, click.Group):
        return {}
    context = click.Context(command)
    found = ((name, command.get_command(context, name)) for name in command.list_commands(context))
    return {name: inner for name, inner in found if inner is not None}


def _commands(group: click.Command) -> str:
    program = "docservice" if group is docservice_command else "autoscaler"
    return _table(
        ("command", "what it does"),
        (
            (_code(f"{program} {word}"), command.get_short_help_str(200))
            for word, command in subcommands(group).items()
            if not command.hidden
        ),
    )


def reasons() -> str:
    return _table(("reason", "meaning"), ((_code(reason), MEANINGS[reason]) for reason in Reason))


def metrics() -> str:
    return _metrics(metric_rows())


def _metrics(rows: Iterable[tuple[str, str, str, str]]) -> str:
    return _table(
        ("metric", "type", "labels", "meaning"),
        ((_code(name), kind, labels, about) for name, kind, labels, about in rows),
    )


def metric_rows() -> list[tuple[str, str, str, str]]:
    """Every metric of the daemon with its labels, as the registry shows it after a tick without unknowns.

    Raises:
        ValueError: where a metric has no series, so that its labels cannot be seen.
    """
    seen = look(
        3,
        # One under limits and one on a bare machine: each has series that the other lacks.
        worker("w1@h", container=_known(container())),
        worker("w2@h", container=container(cpu_limit_cores=1.0, memory_limit_bytes=1)),
        queues=(_known(queue(3)),),
    )
    policy = Policy(max_processes=4)
    state, plan = Decider(policy=policy).decide(State(), seen)
    plan = replace(plan, groups=tuple(_known(group) for group in plan.groups))
    outcome = Outcome(worker="w", before=1, target=2, command="pool_resize", result=Result.DONE)
    record = TickRecord(
        observation=seen,
        plan=plan,
        workers={one.name: one for one in seen.workers},
        outcomes=(outcome,),
        memory=state.memory,
        waits=(Wait(queues=("celery",), seconds=1.0, target_seconds=5.0),),
        faults={"lease": "x"},
    )
    reported = Metrics(monotonic=lambda: seen.at)
    reported.record(record)
    # It logs an error, which is below 50.
    unlogged = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(50))
    page_failures(unlogged, reported.registry)("/status", ValueError())
    return list(_families(reported.registry))


def _known(value: Any) -> Any:
    """A frozen value with a 1 in the place of whatever was unknown, and every ``..._limited`` true."""
    named_tuple = hasattr(value, "_fields")
    names = value._fields if named_tuple else [item.name for item in fields(value)]
    changes = {name: "" if name == "error" else 1.0 for name in names if getattr(value, name) is None}
    changes |= {name: True for name in names if name.endswith("_limited")}
    return value._replace(**changes) if named_tuple else replace(value, **changes)


def docservice_metrics_table() -> str:
    return _metrics(_families(docservice_metrics.Metrics()._registry, may_be_empty=True))


def _families(
    registry: CollectorRegistry, *, may_be_empty: bool = False
) -> Iterator[tuple[str, str, str, str]]:
    declared = {
        name: collector._labelnames
        for collector, names in registry._collector_to_names.items()
        if hasattr(collector, "_labelnames")
        for name in names
    }
    for family in registry.collect():
        suffix = "_total" if family.type == "counter" else ""
        name = family.name + suffix
        if name not in declared and not family.samples and not may_be_empty:
            raise ValueError(
                f"{name} has no series; add what it shows to the tick in tests/support/doc_tables.py"
            )
        seen = {label for sample in family.samples for label in sample.labels} - {"le"}
        labels = sorted(seen | set(declared.get(name, ())))
        yield name, family.type, ", ".join(labels), family.documentation


def alerts() -> str:
    rules = yaml.safe_load(RULES.read_text())
    return _table(
        ("alert", "severity", "after", "what to do"),
        (
            (
                f"[{_code(rule['alert'])}](runbooks.md#{rule['alert'].lower()})",
                rule["labels"]["severity"],
                rule.get("for", "at once"),
                " ".join(rule["annotations"]["description"].split()),
            )
            for group in rules["groups"]
            for rule in group["rules"]
            if "alert" in rule
        ),
    )


def docservice_settings() -> str:
    rows = []
    for item in fields(Settings):
        meta = item.metadata
        default = (
            ""
            if item.default is MISSING
            else f"{item.default:g}"
            if isinstance(item.default, float)
            else str(item.default)
        )
        rows.append((_code(meta["name"]), _code(default), meta["about"]))
    return _table(("variable", "default", "meaning"), rows)


def _routes() -> Iterator[tuple[str, str, str]]:
    read = read_settings(
        {"REDIS_URL": "redis://127.0.0.1/0", "DATABASE_URL": "postgresql://127.0.0.1/documents"}
    )
    document = openapi_document(create_app(read).framework)
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            if isinstance(route, dict) and "summary" in route:
                yield method.upper(), path, route["summary"]


def routes() -> str:
    rows = [
        (method, _code(path), about) for method, path, about in _routes() if not path.startswith("/admin")
    ]
    return _table(("method", "path", "what it is"), rows)


def admin_routes() -> str:
    rows = [(method, _code(path), about) for method, path, about in _routes() if path.startswith("/admin")]
    return _table(("method", "path", "what it is"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "admin-routes": admin_routes,
    "alerts": alerts,
    "commands": commands,
    "docservice-commands": docservice_commands,
    "docservice-metrics": docservice_metrics_table,
    "docservice-settings": docservice_settings,
    "keda-options": keda_options,
    "metrics": metrics,
    "options": options,
    "reasons": reasons,
    "routes": routes,
}


def pages() -> list[Path]:
    """The pages of the site."""
    return sorted(DOCS.glob("*.md"))


def written(text: str) -> str:
    """``text`` with each table between its markers as the code has it."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        if begin in text:
            pattern = rf"({re.escape(begin)}).*?({re.escape(end)})"
            table = f"{begin}\n{make()}\n\n{end}"
            text = re.sub(pattern, lambda _match, table=table: table, text, flags=re.DOTALL)
    return text


def main() -> None:
    """Write every page's tables again."""
    for page in pages():
        text = page.read_text()
        if (new := written(text)) != text:
            page.write_text(new)
            print(page.relative_to(TOP))


if __name__ == "__main__":
    main()
