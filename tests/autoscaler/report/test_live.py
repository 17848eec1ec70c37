"""The last tick as the page shows it: what is in it, and that it is small."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from autoscaler.core.decider import Mode
from autoscaler.core.model import Override, Result
from autoscaler.report.history import History, TargetWaits
from autoscaler.report.live import MAX_NAME, live
from autoscaler.report.sentence import sentence
from autoscaler.report.streams import event
from tests.support.builders import look, outcome, queue, worker
from tests.support.ticks import Ticks, fleet


def shown(observation, *, mode: Mode = Mode.ACT, **fields: object):
    kept, ticks = History(target_waits=TargetWaits(5.0)), Ticks()
    record = ticks.tick(observation, mode=mode, **fields)
    kept.take(record, hold_seconds=6)
    return live(record, kept, name="default", mode=mode, interval_seconds=2.0)


def said(observation, *, mode: Mode = Mode.ACT, **fields: object) -> str:
    return shown(observation, mode=mode, **fields)["sentence"]


@pytest.mark.parametrize(("workers", "queues", "groups"), [(100, 50, 50), (100, 50, 5), (100, 1, 1)])
def test_a_tick_of_a_hundred_workers_and_fifty_queues_is_below_thirty_kilobytes(
    workers, queues, groups
) -> None:
    assert len(event(shown(fleet(workers, queues, groups=groups)))) < 30_000


def test_a_row_says_what_a_worker_does_and_is_empty_of_what_is_not_known() -> None:
    tick = shown(look(0, worker("a@h", 4, busy=3, retiring=1, reserved=2, scheduled=1)))
    (row,) = (dict(zip(tick["worker_columns"], one, strict=True)) for one in tick["workers"])
    assert row == {
        "worker": "a@h",
        "pool": "prefork",
        "processes": 4,
        "target": 4,
        "busy": 3,
        "retiring": 1,
        "fetched": 2,
        "scheduled": 1,
        "lower": 1,
        "upper": 10,
        "cpu_ratio": None,
        "cpu_cores": None,
        "memory_bytes": None,
        "memory_limit_bytes": None,
        "uptime_seconds": 3600,
        "companion": True,
        "answers": True,
        "reason": "latency",
    }


def test_a_worker_that_does_not_answer_shows_no_numbers() -> None:
    kept, ticks = History(target_waits=TargetWaits(5.0)), Ticks()
    ticks.tick(look(0, worker("a@h"), worker("b@h")))
    record = ticks.tick(look(0, worker("a@h"), at=1001.0))
    kept.take(record, hold_seconds=6)
    tick = live(record, kept, name="default", mode=Mode.ACT, interval_seconds=2.0)

    gone = dict(zip(tick["worker_columns"], tick["workers"][1], strict=True))
    assert (gone["worker"], gone["answers"], gone["processes"], gone["busy"]) == ("b@h", False, None, None)


def test_a_hostile_name_is_cut_and_stays_as_it_is() -> None:
    name = "<img src=x onerror=alert(1)>\u202e" + "x" * 300
    tick = shown(look(0, worker(name)))
    assert tick["workers"][0][0] == name[: MAX_NAME - 1] + "…"


def test_the_steps_come_from_the_decision_and_leave_out_what_they_do_not_have() -> None:
    tick = shown(look(30, worker("a@h", 4, busy=4), override=Override(paused=True)))
    (group,) = tick["groups"]
    recommended = group["steps"][0][0]
    assert group["counts"] == [30, 0, 4, 4]
    assert group["steps"][0] == [recommended, "latency"]
    assert group["steps"][-1] == [4, "paused"]
    assert len(group["steps"]) == 9


@pytest.mark.parametrize(
    ("fields", "mode", "words"),
    [
        ({}, Mode.ACT, "Holding 4 processes."),
        ({"override": Override(paused=True)}, Mode.ACT, "Paused by an administrator at 4 processes."),
        ({"leader": False}, Mode.ACT, "Standing by while another daemon acts; the pools have 4 processes."),
        ({}, Mode.DRY_RUN, "Dry run: the decision is 4 processes, the pools have 4 processes."),
        ({}, Mode.DISABLED, "Disabled: the decision is 4 processes, the pools have 4 processes."),
    ],
)
def test_one_sentence_says_what_it_does(fields, mode, words) -> None:
    wait = "Target wait kept: p95 of the oldest task's wait 0.0 s of 5 s."
    assert said(look(0, worker(busy=4), **fields), mode=mode) == f"{words} {wait}"


def test_the_sentence_names_an_outage_and_a_fleet_that_is_not_there() -> None:
    unread = replace(look(None, queues=(queue(None),)), workers=())
    assert said(unread, faults={"backlog": "gone"}) == "Redis cannot be read: every size stays as it is."
    assert said(replace(look(0), workers=())).startswith("No worker answers.")
    assert said(unread, faults={"pool": "gone"}).startswith("The workers cannot be asked")


def test_the_sentence_ends_with_the_last_change_that_was_done() -> None:
    kept, ticks = History(target_waits=TargetWaits(None)), Ticks()
    done, refused = outcome(8, before=5), outcome(9, before=8, result=Result.REFUSED)
    kept.take(ticks.tick(look(20, worker(processes=5), outcomes=(done,)), outcomes=(done,)), hold_seconds=6)
    record = ticks.tick(look(0, worker(processes=8), outcomes=(refused,)), after=14, outcomes=(refused,))
    kept.take(record, hold_seconds=6)

    assert sentence(record, kept, mode=Mode.ACT).endswith("Last change 14 s ago: 5 → 8, latency.")


def test_an_event_is_json_in_one_line_with_its_time_as_id() -> None:
    text = event(shown(look(0, worker("a\nb\u2028@h")))).decode()
    fields = dict(line.split(": ", 1) for line in text.strip().split("\n"))
    tick = json.loads(fields["data"])
    assert (fields["event"], float(fields["id"])) == ("tick", tick["at"])
    assert text.endswith("\n\n")
