"""``autoscaler history``: what a daemon did over the last hours, when, why, and what came of it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from autoscaler.broker.history_store import read_actions, read_history
from autoscaler.broker.keys import read_status
from autoscaler.cli.options import Parsed, fail, with_settings
from autoscaler.cli.override import SETTINGS, WORKER
from autoscaler.cli.status import read_or_fail
from autoscaler.cli.text import columns, moment, or_unknown
from autoscaler.report.history import MAX_ACTIONS, META, TOTAL, History, TargetWaits, explained, parse_meta
from autoscaler.report.page import DEFAULT_SINCE, parse_since
from autoscaler.report.sentence import seconds as in_seconds
from autoscaler.report.sentence import span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from autoscaler.settings.load import Settings

_WIDTH = 60
_BARS = "▁▂▃▄▅▆▇█"
#: A time of which nothing is known.
_GAP = " "
#: A daemon that acts stores every few seconds; the longest slot of a curve is two minutes.
_OLD_SECONDS = 150.0
_NOBODY = "no daemon named {name} has a history here; is one running, and --name right?"
_NOTHING_YET = (
    "the daemon named {name} runs and has stored no history yet: it does so every 10 s; try again, and where"
    " that does not help, its log says why as history.not_stored"
)
_CURVES = (("waiting", "waiting"), ("running", "running"), ("processes", "processes"), ("oldest wait", "age"))


@click.command("history")
@with_settings(SETTINGS, hidden=WORKER)
@click.option(
    "--since",
    type=Parsed(parse_since, "time"),
    default=DEFAULT_SINCE,
    show_default=True,
    help="How far to look back, from 1s to 24h.",
)
@click.option("--why", is_flag=True, help="What each reason means, and what a worker answered.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of curves and a table.")
def command(settings: Settings, *, since: float, why: bool, as_json: bool) -> None:
    """Print what a daemon did. Curves of the time, and each resize with its reason and outcome."""
    now = time.time()
    view = read_or_fail(settings, lambda redis: _read(redis, settings.name, since, now))
    if view is None:
        runs = read_or_fail(settings, lambda redis: read_status(redis, settings.name)) is not None
        fail([(_NOTHING_YET if runs else _NOBODY).format(name=settings.name)], 1)
    if as_json:
        click.echo(json.dumps(view, indent=2))
        return
    click.echo(f"{settings.name}: the last {span(since)} until {moment(now)}")
    silent = max(0.0, now - view["stored_at"])
    if is_old := silent > _OLD_SECONDS:
        click.echo(
            f"nothing was stored for {span(silent)}: no daemon of this name acts; what follows is older"
        )
    click.echo(_curves(view))
    click.echo(_figures(view["summary"]))
    for one in view["conditions"]:
        word = "condition then:" if is_old else "condition:"
        click.echo(columns([(word, one["kind"], one["name"], f"since {moment(one['since'])}")]))
    click.echo(_actions(view["actions"], why=why))


def _read(redis: Redis, name: str, span_seconds: float, now: float) -> dict[str, Any] | None:
    """The view of the span, None where nothing is stored that can be read."""
    stored = read_history(redis, name)
    meta = parse_meta(stored[TOTAL].get(META))
    if not meta["current"]:
        return None
    history = History(target_waits=TargetWaits(None))
    actions = [explained(one) for one in read_actions(redis, name, MAX_ACTIONS)]
    history.restore({TOTAL: stored[TOTAL]}, actions, now)
    view = history.view(span_seconds, now)
    if view is None:
        return None
    conditions = [
        {"kind": kind, "name": subject, "since": since}
        for (kind, subject), since in meta["conditions"].items()
    ]
    return {key: view[key] for key in view if key not in {"target_wait_seconds", "groups", "group"}} | {
        "name": name,
        "stored_at": meta["at"],
        "conditions": conditions,
    }


def _curves(view: dict[str, Any]) -> str:
    rows, step = [], view["step_seconds"]
    for title, name in _CURVES:
        values = view["columns"][name]
        known = [value for value in values if value is not None]
        told = name != "age" or view["summary"]["age_p95_seconds"] is not None
        if known and told:
            last = in_seconds(known[-1]) if name == "age" else f"{known[-1]:g}"
            highest = in_seconds(max(known)) if name == "age" else f"{max(known):g}"
            ago = (len(values) - 1 - max(place for place, one in enumerate(values) if one is not None)) * step
            when = "now" if ago <= _OLD_SECONDS else f"{span(ago)} ago"
            rows.append((title, sparkline(values, _WIDTH), f"{when} {last}", f"highest {highest}"))
    return columns(rows) if rows else "nothing is known of this time"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """One character for each part of the time, as high as its highest value; a space where none is known."""
    size = max(1, -(-len(values) // width))
    parts = [values[start : start + size] for start in range(0, len(values), size)]
    highest = [max((value for value in part if value is not None), default=None) for part in parts]
    top = max((value for value in highest if value is not None), default=0) or 1
    return "".join(
        _GAP if value is None else _BARS[min(len(_BARS) - 1, int(value / top * (len(_BARS) - 1) + 0.5))]
        for value in highest
    )


def _figures(summary: dict[str, Any]) -> str:
    known = summary["known_seconds"]
    if not known:
        return ""
    fixed = f"a fixed pool of the peak ({summary['peak_processes']:g})"
    parts = [
        f"known {span(known)} of {span(known + summary['unknown_seconds'])}",
        f"process-hours {summary['process_hours']:.2f}, {fixed} {summary['fixed_pool_process_hours']:.2f}",
    ]
    if summary["seconds_at_max"] is not None:
        parts.append(f"at the maximum {span(summary['seconds_at_max'])}")
    if summary["share_in_time"] is not None:
        parts.append(f"within the target wait {summary['share_in_time']:.1%} of the time")
    return "; ".join(parts)


def _actions(actions: Sequence[dict[str, Any]], *, why: bool) -> str:
    if not actions:
        return "no resize in this time"
    more = ("WHY", "ANSWER") if why else ()
    rows = [("AT", "WORKER", "CHANGE", "RESULT", "REASON", *more)]
    for one in actions:
        change = f"{or_unknown(one['before'])} -> {or_unknown(one['target'])}"
        words = (one["worker"], change, one["result"], one["reason"])
        told = (one["why"], one["detail"]) if why else ()
        rows.append((moment(one["at"]), *(word or "" for word in (*words, *told))))
    return columns(rows)
