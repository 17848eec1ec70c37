"""Reports of companions that are older, newer or somebody else's: whatever they say, the tick goes on.

``FULL`` has every field that the companion of today reports, which a test of a real worker holds.
"""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autoscaler.cli.deployment_findings import maxima, unlike
from autoscaler.core.decider import Decider, Mode
from autoscaler.core.model import Action, Observation, QueueReading
from autoscaler.core.policy import Policy
from autoscaler.core.state import State
from autoscaler.report.status import TickRecord, conditions, status
from autoscaler.sensors.reports import parse_report
from autoscaler.sensors.workers import WorkersReading
from autoscaler.settings.load import load
from tests.support.worker_replies import FULL, JUNK

SETTINGS = load({"max": "6"}, {"REDIS_URL": "redis://h/0"})
DECIDER = Decider(policy=Policy(max_processes=6, processes_per_core=6))
HUGE = st.sampled_from(
    [10**400, -(10**400), 2.0**70, "x" * 10_000, ["x"] * 2_000, {"x": "y" * 10_000}, math.nan]
)
ABSENT = object()


def fields(report):
    """The path of every field, those of an object within too."""
    for name, value in report.items():
        yield (name,)
        if isinstance(value, dict):
            yield from ((name, *inner) for inner in fields(value))


FIELDS = sorted(fields(FULL))


def changed(report, path, value):
    """The report with one field of another value, or without it."""
    name, *rest = path
    if name not in report or (rest and not isinstance(report[name], dict)):
        return report
    if rest:
        return {**report, name: changed(report[name], rest, value)}
    left = {key: found for key, found in report.items() if key != name}
    return left if value is ABSENT else {**left, name: value}


def tick(report):
    """Two ticks over a worker with this report beside one of today: what is decided and said."""
    reading, peer = parse_report("w@h", report), parse_report("peer@h", FULL)
    state, records = State(), []
    for at in (1000.0, 1002.0):
        seen = Observation(at=at, queues=(QueueReading(name="celery", waiting=50),), workers=(reading, peer))
        state, plan = DECIDER.decide(state, seen)
        workers = {name: known.reading for name, known in state.workers.items()}
        records.append(TickRecord(observation=seen, plan=plan, workers=workers, memory=state.memory))
    for record in records:
        json.dumps(status(record), allow_nan=False)
        conditions(record, Mode.ACT)
    found = [*unlike(WorkersReading(workers=(reading, peer)), ()), *maxima((reading, peer), SETTINGS)]
    return records[-1].plan.decisions, [one.subject for one in found]


def mine(decisions):
    (found,) = (one for one in decisions if one.worker == "w@h")
    return found


@settings(suppress_health_check=[HealthCheck.too_slow])  # by the clock, which a loaded machine has not
@given(st.dictionaries(st.sampled_from(FIELDS), st.just(ABSENT) | JUNK | HUGE, max_size=8))
@example({("busy",): ABSENT, ("queues",): ABSENT})
def test_fields_that_are_missing_of_a_wrong_type_or_huge_end_no_tick_and_shrink_nothing(changes):
    report = FULL
    for path, value in changes.items():
        report = changed(report, path, value)
    decisions, _ = tick(report)
    if report.get("size") != FULL["size"]:
        return
    limits = {("container",), ("child_peak_bytes",), ("child_rss_bytes",), ("parent_rss_bytes",)}
    if not {path[:1] for path in changes} & limits:
        assert mine(decisions).action is not Action.SHRINK


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
@pytest.mark.parametrize(
    "value", [ABSENT, None, "junk", -1, 10**400, [], {}], ids=lambda value: repr(value)[:9]
)
def test_each_field_alone_may_be_missing_of_a_wrong_type_or_huge(path, value):
    tick(changed(FULL, path, value))


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (("size",), "size"),
        (("busy",), "busy"),
        (("reserved",), "reserved"),
        (("uptime_seconds",), "uptime_seconds"),
        (("discarded",), "discarded"),
        (("consuming",), "consuming"),
        (("resizers",), "resizers"),
        (("layout",), "layout"),
        (("layout", "separator"), "layout.separator"),
        (("layout", "priority_steps"), "layout.priority_steps"),
    ],
)
def test_a_report_that_lacks_what_decides_is_a_finding(gone, said):
    reading = parse_report("w@h", changed(FULL, gone, ABSENT))
    (found,) = unlike(WorkersReading(workers=(reading,)), ())
    assert (found.level, found.subject) == ("warn", "companion of w@h")
    assert found.found == f"its report lacks {said}, or has it in another form"


def test_a_report_of_today_is_no_finding():
    assert list(unlike(WorkersReading(workers=(parse_report("w@h", FULL),)), ())) == []
