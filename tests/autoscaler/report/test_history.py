"""The history of a daemon: what of a tick is kept, and what outlasts a restart."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from autoscaler.core.model import Override, QueueReading, Result
from autoscaler.report.history import MAX_ACTIONS, META, TOTAL, History, TargetWaits, group_id
from autoscaler.report.series import COLUMNS, OUTAGE, PAUSED, STANDBY, TIERS
from tests.support.builders import look, outcome, queue, worker
from tests.support.ticks import Ticks, fleet

IDLE = {"fetched": 0, "running": 0, "scheduled": 0, "age": 0, "late": 0, "flags": 0}


def history(target: float | None = 5.0, **by_queue: float) -> History:
    return History(target_waits=TargetWaits(target, by_queue))


def last(kept: History, ticks: Ticks, group: str = TOTAL) -> dict[str, float | int | None]:
    """The values of the last slot, by column."""
    view = kept.view(60, ticks.wall, group)
    assert view is not None
    return {name: values[-1] for name, values in view["columns"].items()}


def waiting(seconds: float | None, *, count: int = 3, name: str = "celery") -> QueueReading:
    return QueueReading(name=name, waiting=count, oldest_age_seconds=seconds)


def test_a_tick_is_kept_with_the_bounds_that_its_decision_carries() -> None:
    kept, ticks = history(), Ticks(min_processes=2, max_processes=4)
    seen = look(0, worker("a@h", 4, busy=1, reserved=2, scheduled=5), worker("b@h", 3))

    kept.take(ticks.tick(seen), hold_seconds=6)

    found = last(kept, ticks)
    assert found == {
        **IDLE,
        "waiting": 0,
        "fetched": 2,
        "running": 1,
        "scheduled": 5,
        "processes": 7,
        "peak": 7,
        "target": found["target"],
        "desired": found["desired"],
        "lower": 4,
        "upper": 8,
        "at_max": 0,
    }


@pytest.mark.parametrize(
    ("queues", "age", "late"),
    [
        ((queue(0),), 0, 0),
        ((waiting(4.5),), 4.5, 0),
        ((waiting(5.5),), 5.5, 1),
        ((waiting(5.5, name="alone"), queue(0)), 5.5, 1),
        ((waiting(None, name="alone"), queue(0)), None, None),
        ((waiting(None),), 0, 0),
        ((queue(None),), None, None),
    ],
    ids=[
        "none waits",
        "in time",
        "late",
        "not consumed",
        "not consumed, age unknown",
        "estimated",
        "not read",
    ],
)
def test_the_wait_is_that_of_the_oldest_task_as_the_decision_knows_it(
    queues: tuple[QueueReading, ...], age: float | None, late: int | None
) -> None:
    kept, ticks = history(), Ticks()

    kept.take(ticks.tick(look(None, worker(), queues=queues)), hold_seconds=6)

    found = last(kept, ticks)
    assert (found["age"], found["late"]) == (age, late)


def test_a_queue_with_a_target_of_its_own_is_late_against_that() -> None:
    kept, ticks = history(slow=60.0), Ticks(target_waits={"slow": 60.0})
    members = worker("a@h", queues=("celery",)), worker("b@h", queues=("slow",))
    for number, seconds in enumerate((30.0, 70.0)):
        queues = (queue(0), waiting(seconds, name="slow"))
        kept.take(ticks.tick(look(None, *members, queues=queues, at=1000.0 + number)), hold_seconds=6)
        found = last(kept, ticks)
        assert (found["age"], found["late"]) == (seconds, number)


def test_where_messages_carry_no_time_their_wait_is_estimated_from_when_they_came() -> None:
    kept, ticks = history(), Ticks()
    for number in range(4):
        seen = look(3, worker(processes=1, busy=1), at=1000.0 + 2 * number)
        kept.take(ticks.tick(seen), hold_seconds=6)

    found = last(kept, ticks)
    assert (found["age"], found["late"]) == (6, 1)


def test_where_thresholds_decide_no_age_is_kept() -> None:
    kept, ticks = history(None), Ticks(thresholds=True)
    kept.take(ticks.tick(look(0)), hold_seconds=6)

    found = last(kept, ticks)
    assert (found["waiting"], found["age"], found["late"]) == (0, None, None)


def test_an_outage_is_a_gap_with_a_flag_and_never_zero() -> None:
    kept, ticks = history(), Ticks()
    kept.take(ticks.tick(look(3)), hold_seconds=6)
    unread = look(None, queues=(queue(None),))
    kept.take(ticks.tick(replace(unread, workers=()), faults={"backlog": "gone"}), hold_seconds=6)

    unknown = dict.fromkeys(COLUMNS, None)
    assert {**last(kept, ticks), "lower": None, "upper": None} == {**unknown, "flags": OUTAGE}


def test_a_worker_that_does_not_answer_makes_the_processes_unknown() -> None:
    kept, ticks = history(), Ticks()
    kept.take(ticks.tick(look(0, worker("a@h", 2), worker("b@h", 2))), hold_seconds=6)
    kept.take(ticks.tick(look(0, worker("a@h", 2), at=1001.0)), hold_seconds=6)

    found = last(kept, ticks)
    assert (found["waiting"], found["processes"], found["running"]) == (0, None, None)


@pytest.mark.parametrize(
    ("fields", "flags"),
    [({"override": Override(paused=True)}, PAUSED), ({"leader": False}, STANDBY), ({}, 0)],
    ids=["paused", "standing by", "neither"],
)
def test_what_explains_a_size_that_does_not_move_is_kept_with_it(
    fields: dict[str, object], flags: int
) -> None:
    kept, ticks = history(), Ticks()
    kept.take(ticks.tick(look(0, **fields)), hold_seconds=6)  # type: ignore[arg-type]

    assert last(kept, ticks)["flags"] == flags


def test_actions_are_kept_with_reason_words_and_outcome_and_the_oldest_go_first() -> None:
    kept, ticks = history(), Ticks()
    for number in range(MAX_ACTIONS + 5):
        sent = outcome(5, before=number, result=Result.REFUSED, detail="no")
        kept.take(ticks.tick(look(9, worker(processes=3)), outcomes=(sent,)), hold_seconds=6)

    view = kept.view(86_400, ticks.wall)
    assert view is not None
    assert len(view["actions"]) == MAX_ACTIONS
    assert view["actions"][-1] == {
        "at": ticks.wall,
        "reason": "latency",
        "worker": "celery@one",
        "command": "pool_resize",
        "before": MAX_ACTIONS + 4,
        "target": 5,
        "result": "refused",
        "detail": "no",
        "why": "the size at which waiting tasks start within the target wait",
    }


def test_a_condition_says_since_when_and_one_that_nobody_could_look_at_still_holds() -> None:
    kept, ticks = history(), Ticks()
    stock = worker(companion=False)
    kept.take(ticks.tick(look(0, stock)), hold_seconds=6)
    began = ticks.wall
    kept.take(ticks.tick(look(0, stock)), hold_seconds=6)
    unread = replace(look(0, queues=(queue(None),)), workers=())
    kept.take(ticks.tick(unread, faults={"backlog": "gone"}), hold_seconds=6)

    found = [(one["kind"], one["name"], one["since"]) for one in kept.conditions()]
    assert ("worker", "celery@one", began) in found
    assert ("sensor", "backlog", ticks.wall) in found

    kept.take(ticks.tick(look(0, worker())), hold_seconds=6)
    assert kept.conditions() == []


def test_each_group_has_a_series_of_its_own_where_there_is_more_than_one() -> None:
    kept, ticks = history(), Ticks()
    mails, pdfs = worker("m@h", 2, queues=("mails",)), worker("p@h", 3, queues=("pdfs",))
    queues = (queue(4, "mails"), queue(1, "pdfs"))

    kept.take(ticks.tick(look(None, mails, pdfs, queues=queues)), hold_seconds=6)

    depths = {
        key: last(kept, ticks, key)["waiting"] for key in (TOTAL, group_id(["mails"]), group_id(["pdfs"]))
    }
    assert list(depths.values()) == [5, 4, 1]
    assert kept.view(60, ticks.wall, "0123456789") is None


def test_groups_beyond_the_tenth_are_in_the_totals_alone_until_another_is_gone() -> None:
    kept, ticks = history(), Ticks()
    kept.take(ticks.tick(fleet(12, 12)), hold_seconds=6)
    names = {tuple(one["queues"]) for one in (kept.view(60, ticks.wall) or {})["groups"]}
    assert len(names) == 10
    kept.changed()

    others = [worker(f"n{number}@h", queues=(f"n{number}",)) for number in range(2)]
    kept.take(ticks.tick(look(None, *others, at=2000.0), after=700), hold_seconds=6)

    groups = (kept.view(60, ticks.wall) or {})["groups"]
    assert [one["queues"] for one in groups[-2:]] == [["n0"], ["n1"]]
    fields, gone = kept.changed()
    assert len(gone) == 2
    assert not gone & fields.keys()


def test_a_new_daemon_goes_on_with_numbers_actions_and_conditions_of_the_last_one() -> None:
    before, ticks = history(), Ticks()
    two = [worker("a@h", 2, queues=("a",), companion=False), worker("b@h", 2, queues=("b",))]
    for _ in range(30):
        seen = look(None, *two, queues=(queue(3, "a"), queue(1, "b")))
        before.take(ticks.tick(seen), hold_seconds=6)
    fields, _ = before.changed()
    actions = [{"at": ticks.wall - 9, "worker": "a@h", "command": "pool_resize", "before": 1, "target": 2}]
    began = before.conditions()[0]["since"]
    after = history()

    after.restore(fields, actions, ticks.wall + 4)
    ticks.wall += 10
    after.take(ticks.tick(seen), hold_seconds=6)

    view = after.view(60, ticks.wall, group_id(["a"]))
    assert view is not None
    assert view["columns"]["waiting"] == [*[3] * 24, None, None, None, None, None, 3]
    assert view["actions"] == actions
    assert [(one["kind"], one["since"]) for one in view["conditions"]] == [("worker", began)]


def test_a_condition_that_was_over_for_long_begins_anew() -> None:
    before, ticks = history(), Ticks()
    seen = look(0, worker(companion=False))
    before.take(ticks.tick(seen), hold_seconds=6)
    fields, _ = before.changed()
    after = history()
    after.restore(fields, [], ticks.wall + 400)
    after.take(ticks.tick(seen, after=402), hold_seconds=6)

    assert after.conditions()[0]["since"] == ticks.wall


@pytest.mark.parametrize(
    ("between", "after"),
    [(look(0, worker(companion=True)), 2.0), (look(0, worker("other@h")), 700.0)],
    ids=["looked at, and over", "not looked at for long"],
)
def test_a_condition_that_ended_around_a_restart_begins_anew_when_it_comes_again(between, after) -> None:
    before, ticks = history(), Ticks()
    seen = look(0, worker(companion=False))
    before.take(ticks.tick(seen), hold_seconds=6)
    kept, later = history(), Ticks(wall=ticks.wall + 4)
    kept.restore(before.changed()[0], [], later.wall)
    for seconds in (2.0, after):
        kept.take(later.tick(between, after=seconds), hold_seconds=6)

    kept.take(later.tick(seen, after=7200.0), hold_seconds=6)

    assert [(one["kind"], one["since"]) for one in kept.conditions()] == [("worker", later.wall)]


@pytest.mark.parametrize(
    "meta",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 1}',
        '{"version": 2, "columns": []}',
        "[" * 100_000,
        json.dumps({"version": 1, "columns": list(COLUMNS), "groups": {}, "conditions": [], "at": 10**400}),
    ],
)
def test_what_another_version_has_stored_is_left_alone(meta: str) -> None:
    kept, ticks = history(), Ticks()
    kept.take(ticks.tick(look(3)), hold_seconds=6)
    fields, _ = kept.changed()
    other = history()

    other.restore({TOTAL: {**fields[TOTAL], META: meta}}, [], ticks.wall)

    assert set(other.view(900, ticks.wall)["columns"]["waiting"]) == {None}  # type: ignore[index]


def test_nothing_is_kept_that_shows_a_secret() -> None:
    kept = History(
        target_waits=TargetWaits(5.0),
        clean=lambda value: json.loads(json.dumps(value).replace("hunter2", "***")),
    )
    ticks = Ticks()
    names = [worker(f"hunter2-{n}@h", queues=(f"hunter2-{n}",), companion=False) for n in range(2)]
    seen = look(None, *names, queues=(queue(1, "hunter2-0"), queue(1, "hunter2-1")))
    sent = outcome(5, name="hunter2-0@h", detail="by hunter2")
    kept.take(ticks.tick(seen, outcomes=(sent,)), hold_seconds=6)

    assert "hunter2" not in json.dumps([kept.view(900, ticks.wall), kept.conditions(), kept.changed()[0]])


def test_a_day_of_ten_groups_is_below_eight_megabytes_stored() -> None:
    kept, ticks = history(), Ticks()
    observation = fleet(10, 10)
    for _ in range(3):
        kept.take(ticks.tick(observation), hold_seconds=6)
    for series in kept._series.values():
        for ring in series._rings:
            for index in range(ring.tier.length):
                ring.slots[index] = int(ticks.wall // ring.tier.step) - index
                for column in ring.columns:
                    column[index] = 12_345.679
            ring.dirty |= set(range(ring.tier.length // ring.tier.block))

    fields, _ = kept.changed()

    stored = sum(len(name) + len(text) for blocks in fields.values() for name, text in blocks.items())
    assert len(fields) == 11
    assert (
        sum(len(blocks) for blocks in fields.values())
        == 11 * sum(tier.length // tier.block for tier in TIERS) + 1
    )
    assert stored < 8_000_000
