"""Administrators and the workers: every attempt has its status as it is meant, and its record."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import celery
import pytest
import redis

from autoscaler.broker.keys import Keys, publish
from autoscaler.broker.overrides import read_override
from autoscaler.demo.embedded import Process, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

Live = Any  # of conftest

STOCK = """
import celery, time
app = celery.Celery("stock")
app.conf.worker_hijack_root_logger = False

@app.task(name="stock.sleep", ignore_result=True)
def sleep(seconds):
    time.sleep(seconds)
"""


@pytest.fixture
def client(live: Live) -> Iterator[httpx.Client]:
    with live.client("system_admin") as opened:
        yield opened


@pytest.fixture(scope="module")
def worker(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A worker with the companion, of two processes."""
    folder = tmp_path_factory.mktemp("worker")
    command = (sys.executable, "-m", "docservice", "worker", "-c", "2", "-n", "ours@test")
    with Process(command, log_path=folder / "log", environment=live.environment) as process:
        process.wait_until(lambda: " ready." in process.log(), within_seconds=60, what="the worker's start")
        yield "ours@test"


@pytest.fixture
def stock(live: Live, tmp_path: Path) -> Iterator[str]:
    """A worker without the companion, on a queue of its own."""
    (tmp_path / "stock.py").write_text(STOCK)
    app = ("-A", "stock", "-b", live.environment["REDIS_URL"])
    options = ("worker", "-c", "2", "-n", "stock@test", "-Q", "stock", "-l", "INFO")
    command = (sys.executable, "-m", "celery", *app, *options)
    with Process(command, log_path=tmp_path / "log", working_folder=tmp_path) as process:
        process.wait_until(lambda: " ready." in process.log(), within_seconds=60, what="the worker's start")
        yield "stock@test"


def post(client: httpx.Client, what: str, body: dict[str, Any], key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(f"/admin/celery/{what}", json=body, headers=headers)


def size(client: httpx.Client, name: str) -> int:
    found = {one["worker"]: one for one in client.get("/admin/celery/inspect").json()["data"]}
    processes: int = found[name]["size"]
    return processes


@pytest.mark.slow
def test_no_worker_is_504_and_an_unknown_one_404(
    live: Live, redis_url: str, tmp_path: Path, api_runner: Any
) -> None:
    alone = {**live.environment, "REDIS_URL": redis_url}  # where no worker ever was
    with api_runner(tmp_path, alone) as running, running.client("system_admin") as client:
        assert client.get("/admin/celery/inspect").status_code == 504
        grown = post(client, "grow", {"workers": ["none@test"]})
        assert (grown.status_code, grown.json()["error"]["code"]) == (404, "unknown_worker")
        assert post(client, "drain_shutdown", {"workers": ["none@test"]}).status_code == 404


def test_growing_and_shrinking_are_absolute_and_held(live: Live, client: httpx.Client, worker: str) -> None:
    before = time.time()
    grown = post(client, "grow", {"workers": [worker], "processes": 2, "hold_seconds": 60})
    assert grown.json()["data"] == [
        {"worker": worker, "outcome": "resized", "before": 2, "after": 4, "lossless": True, "detail": None}
    ]
    assert size(client, worker) == 4
    with redis.Redis.from_url(live.environment["REDIS_URL"]) as store:
        held = read_override(store, "default").hold_until[worker]
    assert before + 59 < held < time.time() + 61
    shrunk = post(client, "shrink", {"workers": [worker], "processes": 2})
    assert (shrunk.status_code, size(client, worker)) == (200, 2)


def test_a_repeated_command_happens_once(client: httpx.Client, worker: str) -> None:
    body = {"workers": [worker], "processes": 1}
    first, again = post(client, "grow", body, "key-1"), post(client, "grow", body, "key-1")
    assert (first.status_code, again.status_code) == (200, 200)
    assert (again.json()["data"], size(client, worker)) == (first.json()["data"], 3)
    other = post(client, "grow", {**body, "processes": 2}, "key-1")
    assert (other.status_code, size(client, worker)) == (422, 3)
    post(client, "shrink", body)


def test_no_pool_is_emptied(client: httpx.Client, worker: str) -> None:
    shrunk = post(client, "shrink", {"workers": [worker], "processes": 5})
    detail = "2 processes, asked to remove 5; 1 can be removed, for one has to stay"
    assert (shrunk.status_code, shrunk.json()["error"]) == (
        409,
        {"code": "refused", "detail": f"{worker}: {detail}"},
    )


@pytest.mark.parametrize(
    "body",
    [
        {"workers": []},
        {"workers": ["a b"]},
        {"workers": ["a@b"], "processes": 0},
        {"workers": ["a@b"], "processes": -1},
        {"workers": ["a@b"], "processes": "2"},
        {"workers": ["a@b"], "processes": 1.5},
        {"workers": ["a@b"], "processes": True},
        {"workers": ["a@b"], "n": 1},
        {},
    ],
)
def test_a_command_that_is_not_legal_is_422(client: httpx.Client, body: dict[str, Any]) -> None:
    assert [post(client, what, body).status_code for what in ("grow", "shrink")] == [422, 422]


@pytest.mark.slow
def test_stock_workers_grow_and_shrink_only_when_idle(live: Live, client: httpx.Client, stock: str) -> None:
    grown = post(client, "grow", {"workers": [stock]})
    assert (grown.status_code, grown.json()["data"][0]["lossless"]) == (200, True)
    wait_until(lambda: size(client, stock) == 3, within_seconds=60, what="the growth")
    with celery.Celery(broker=live.environment["REDIS_URL"]) as app:
        app.send_task("stock.sleep", args=(3,), queue="stock")
        wait_until(lambda: busy(client, stock) == 1, within_seconds=60, what="the task's start")
        refused = post(client, "shrink", {"workers": [stock]})
        assert (refused.status_code, "a shrink loses tasks" in refused.json()["error"]["detail"]) == (
            409,
            True,
        )
        wait_until(lambda: busy(client, stock) == 0, within_seconds=60, what="the task's end")
    assert post(client, "shrink", {"workers": [stock]}).status_code == 200
    wait_until(lambda: size(client, stock) == 2, within_seconds=60, what="the shrink")


def busy(client: httpx.Client, name: str) -> int:
    found = {one["worker"]: one for one in client.get("/admin/celery/inspect").json()["data"]}
    return found[name]["busy"] if found[name]["busy"] is not None else -1


def test_an_unresponsive_worker_is_504_with_what_is_known(
    live: Live, client: httpx.Client, worker: str
) -> None:
    with redis.Redis.from_url(live.environment["REDIS_URL"]) as store:
        store.sadd("_kombu.binding.celery.pidbox", "\x06\x16\x06\x16gone@test.celery.pidbox")
        answer = post(client, "grow", {"workers": [worker, "gone@test"]})
        assert answer.status_code == 504
        assert [(one["worker"], one["outcome"]) for one in answer.json()["data"]] == [
            (worker, "resized"),
            ("gone@test", "no_answer"),
        ]
        post(client, "shrink", {"workers": [worker]})
        store.srem("_kombu.binding.celery.pidbox", "\x06\x16\x06\x16gone@test.celery.pidbox")


def test_a_change_of_the_limits_or_a_hold_neither_shortens_a_pause_nor_outlives_it(
    live: Live, client: httpx.Client, worker: str
) -> None:
    paused = post(client, "autoscale", {"paused": True, "expires_in_seconds": 3600, "why": "release"})
    pause_end = paused.json()["data"]["expires_at"]
    changed = post(client, "autoscale", {"max": 5, "expires_in_seconds": 60}).json()["data"]
    assert (changed["expires_at"], changed["why"], changed["max"]) == (pause_end, "release", 5)
    limits_end = changed["limits_expires_at"]
    assert 50 < (datetime.fromisoformat(limits_end) - datetime.now(UTC)).total_seconds() <= 60
    post(client, "grow", {"workers": [worker], "hold_seconds": 30})
    post(client, "shrink", {"workers": [worker], "hold_seconds": 30})
    kept = client.get("/admin/celery/autoscale").json()["data"]["override"]
    assert (kept["paused"], kept["expires_at"], kept["limits_expires_at"]) == (True, pause_end, limits_end)
    with redis.Redis.from_url(live.environment["REDIS_URL"]) as store:
        later = read_override(store, "default").at(time.time() + 100)
    assert (later.paused, later.max_processes, worker in later.held_workers) == (True, None, False)
    resumed = post(client, "autoscale", {"paused": False}).json()["data"]
    assert (resumed["paused"], resumed["max"], resumed["expires_at"]) == (False, 5, limits_end)
    post(client, "autoscale", {"max": None})


def test_the_autoscaler_is_paused_bounded_and_resumed(live: Live, client: httpx.Client) -> None:
    paused = post(client, "autoscale", {"paused": True, "min": 2, "max": 5, "why": "release"}).json()["data"]
    assert {name: paused[name] for name in ("paused", "min", "max", "by", "why")} == {
        "paused": True,
        "min": 2,
        "max": 5,
        "by": "system_admin",
        "why": "release",
    }
    with redis.Redis.from_url(live.environment["REDIS_URL"]) as store:
        assert read_override(store, "default").at(time.time()).paused
        assert 3500 < store.ttl(Keys(name="default").override) <= 3600
        publish(store, "default", '{"tick": 7}', [], expiry_seconds=30)
    wrong = post(client, "autoscale", {"min": 6})
    assert (wrong.status_code, "min is 6, above max, 5" in wrong.json()["error"]["detail"]) == (422, True)
    resumed = post(client, "autoscale", {"paused": False, "max": None, "expires_in_seconds": 5}).json()[
        "data"
    ]
    assert (resumed["paused"], resumed["min"], resumed["max"]) == (False, 2, None)
    assert post(client, "autoscale", {"why": "nothing"}).status_code == 422
    assert post(client, "autoscale", {"max": 3, "why": "NUL \0 cannot be kept"}).status_code == 422
    shown = client.get("/admin/celery/autoscale").json()["data"]
    assert (shown["status"], shown["override"]["min"]) == ({"tick": 7}, 2)


def test_an_invalid_stored_override_is_reported_and_never_overwritten(
    live: Live, client: httpx.Client, worker: str
) -> None:
    key = Keys(name="default").override
    error = {
        "code": "invalid_override",
        "detail": f"stored override: it is not JSON; correct or delete the Redis key {key}",
    }
    before = size(client, worker)
    with redis.Redis.from_url(live.environment["REDIS_URL"]) as store:
        store.set(key, '{"paused": tru}')
        try:
            answers = [
                post(client, "autoscale", {"paused": True}),
                post(client, "grow", {"workers": [worker]}, "invalid"),
                post(client, "shrink", {"workers": [worker]}),
            ]
            shown = client.get("/admin/celery/autoscale").json()["data"]
            stored = store.get(key)
        finally:
            store.delete(key)
    assert [(one.status_code, one.json()["error"]) for one in answers] == [(409, error)] * 3
    assert (shown["override_fault"], shown["override"]["paused"]) == (error["detail"], False)
    assert (stored, size(client, worker)) == (b'{"paused": tru}', before)
    # Nothing was sent, so the same request under the same key is done once the override is corrected.
    assert post(client, "grow", {"workers": [worker]}, "invalid").status_code == 200
    assert size(client, worker) == before + 1
    post(client, "shrink", {"workers": [worker]})


@pytest.mark.slow
def test_a_drain_ends_a_worker_and_loses_nothing(live: Live, client: httpx.Client, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "docservice", "worker", "-c", "2", "-n", "drained@test", "-Q", "lonely")
    with Process(command, log_path=tmp_path / "log", environment=live.environment) as process:
        process.wait_until(lambda: " ready." in process.log(), within_seconds=60, what="the worker's start")
        body = {"workers": ["drained@test"], "deadline_seconds": 20}
        last = post(client, "drain_shutdown", body)
        assert (last.status_code, last.json()["error"]["detail"]) == (
            409,
            "queue 'lonely' would be left without a worker; start another one, or drain it with force",
        )
        begun = post(client, "drain_shutdown", {**body, "force": True})
        assert begun.status_code == 202
        second = post(client, "drain_shutdown", {"workers": ["drained@test"]})
        assert second.status_code == 409
        url = begun.json()["data"]["status_url"]
        wait_until(
            lambda: client.get(url).json()["data"]["state"] != "running", within_seconds=60, what="the drain"
        )
        ended = client.get(url).json()["data"]
        assert (ended["state"], ended["report"]) == (
            "done",
            {"drained@test": {"state": "drained", "left": None}},
        )
        assert process.wait(within_seconds=60) == 0


def test_every_attempt_is_in_the_audit_and_no_token(live: Live, client: httpx.Client) -> None:
    body = {"workers": ["none@test"], "processes": 3}
    for _ in range(3):
        post(client, "grow", body)
    with live.client("operator") as operator:
        post(operator, "grow", body)
    with live.client(None) as nobody:
        post(nobody, "grow", body)
    answer = client.get("/admin/audit", params={"limit": 2})
    shown = ("actor", "action", "outcome", "status", "remote_address")
    assert [tuple(one[name] for name in shown) for one in answer.json()["data"]] == [
        ("operator", "POST /admin/celery/grow", "forbidden", 403, "127.0.0.1"),
        ("system_admin", "grow", "unknown_worker", 404, "127.0.0.1"),
    ]
    assert answer.json()["data"][1]["request"] == {**body, "hold_seconds": 300.0}
    assert not any(token in answer.text for token in live.tokens.values())
    earlier = client.get("/admin/audit", params={"limit": 2, "before": answer.json()["meta"]["next_before"]})
    assert max(one["id"] for one in earlier.json()["data"]) < answer.json()["data"][1]["id"]
    # Strangers are counted, and leave no row.
    assert re.search(r'docservice_admin_refused_total\{status="401"\} [1-9]', client.get("/metrics").text)


def test_callers_without_the_role_cannot_fill_the_audit(live: Live, client: httpx.Client) -> None:
    with live.client("viewer") as viewer:
        refused = [viewer.get("/admin/celery/inspect").status_code for _ in range(45)]
    rows = client.get("/admin/audit", params={"limit": 200}).json()["data"]
    recorded = sum((row["actor"], row["outcome"]) == ("viewer", "forbidden") for row in rows)
    assert set(refused) == {403}
    assert 20 <= recorded <= 40  # twice as many where a minute begins meanwhile
    assert re.search(r'docservice_admin_refused_total\{status="403"\} [1-9]', client.get("/metrics").text)


def execute(url: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


def test_a_partial_success_is_repeated_as_it_was(client: httpx.Client, worker: str) -> None:
    body = {"workers": [worker, "nobody@test"], "processes": 1}
    before = size(client, worker)
    first, again = post(client, "grow", body, "partial"), post(client, "grow", body, "partial")
    assert (first.status_code, again.status_code) == (404, 404)
    assert again.json()["data"] == first.json()["data"]
    assert [one["outcome"] for one in again.json()["data"]] == ["resized", "unknown_worker"]
    assert size(client, worker) == before + 1
    post(client, "shrink", {"workers": [worker]})


def test_a_command_whose_process_died_continues_from_its_saved_progress(
    live: Live, client: httpx.Client, worker: str
) -> None:
    body = {"workers": [worker], "processes": 1}
    now = size(client, worker)
    first = post(client, "grow", body, "died")
    assert (first.status_code, size(client, worker)) == (200, now + 1)
    # As if the process had died after it sent the resize: the plan is saved, the answer is not.
    plan = f'{{"plan:{worker}": {{"before": {now}, "target": {now + 1}}}}}'
    unfinished = f"update idempotency_keys set status = null, answer = '{plan}' where key = 'died'"
    execute(live.database_url, unfinished)
    running = post(client, "grow", body, "died")
    assert (running.status_code, running.headers["retry-after"]) == (409, "2")
    execute(live.database_url, "update idempotency_keys set created_at = now() - interval '2 minutes'")
    continued = post(client, "grow", body, "died")
    assert (continued.status_code, size(client, worker)) == (200, now + 1)
    assert continued.json()["data"] == first.json()["data"]
    assert post(client, "grow", body, "died").json()["message"].startswith("repeated")
    post(client, "shrink", {"workers": [worker]})


def test_a_command_that_changed_nothing_frees_its_key(client: httpx.Client) -> None:
    body = {"workers": ["nobody@test"]}
    for _ in range(2):
        refused = post(client, "grow", body, "nothing")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "unknown_worker")
        assert refused.json()["message"] is None


def test_a_change_whose_record_cannot_be_completed_is_answered_as_made(
    live: Live, client: httpx.Client, worker: str
) -> None:
    before = size(client, worker)
    execute(
        live.database_url,
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$",
        "create trigger refuse before update on admin_audit for each row execute function refuse()",
    )
    try:
        grown = post(client, "grow", {"workers": [worker]})
    finally:
        execute(live.database_url, "drop trigger refuse on admin_audit", "drop function refuse")
    assert (grown.status_code, size(client, worker)) == (200, before + 1)
    records = client.get("/admin/audit", params={"limit": 10}).json()["data"]
    started = next(one for one in records if one["action"] == "grow")
    assert (started["outcome"], started["request"]["workers"]) == ("started", [worker])
    post(client, "shrink", {"workers": [worker]})


def test_no_change_is_made_without_a_record(live: Live, client: httpx.Client, worker: str) -> None:
    before = size(client, worker)
    execute(live.database_url, "alter table admin_audit rename to hidden")
    try:
        grown = post(client, "grow", {"workers": [worker]})
    finally:
        execute(live.database_url, "alter table hidden rename to admin_audit")
    assert (grown.status_code >= 500, size(client, worker)) == (True, before)
