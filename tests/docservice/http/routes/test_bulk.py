"""Documents are deleted and retried one at a time and many at once, and every attempt is on record."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscaler.demo.embedded import wait_until
from tests.support.plain_http import http_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

Live = Any  # of conftest


@dataclass
class Stored:
    """Documents straight in the database, each with a file in the store of blobs."""

    live: Live
    files: dict[int, Path] = field(default_factory=dict)

    def sql(self, statement: str, *arguments: object) -> list[Any]:
        async def run() -> list[Any]:
            connection = await asyncpg.connect(self.live.database_url)
            try:
                return await connection.fetch(statement, *arguments)
            finally:
                await connection.close()

        return asyncio.run(run())

    def add(self, module: str, *, state: str = "processed", parent: int | None = None, part: int = 0) -> int:
        folder = Path(urlsplit(self.live.environment["DOCSERVICE_BLOB_URL"]).path) / "2026-01-01"
        folder.mkdir(parents=True, exist_ok=True)
        key = f"{len(list(folder.iterdir())) + 1000 * len(module):032x}"
        (folder / key).write_bytes(b"bytes of " + module.encode())
        [[document_id]] = self.sql(
            "insert into documents (module, document_type, title, file_name, content_type, size_bytes,"
            " state, failure, sha256, blob_key, parent_id, part)"
            " values ($1, 'email', 't', 'f.eml', 'message/rfc822', $2, $3,"
            " case when $3 = 'failed' then 'broken' end, 's', $4, $5, $6) returning id",
            module,
            len(module) + 9,
            state,
            f"2026-01-01/{key}",
            parent,
            None if parent is None else part,
        )
        self.files[document_id] = folder / key
        return int(document_id)

    def ids(self, module: str) -> set[int]:
        return {row["id"] for row in self.sql("select id from documents where module = $1", module)}

    def audit(self, action: str, module: str) -> list[tuple[str, int]]:
        rows = self.sql(
            "select outcome, status from admin_audit where action = $1 and request ->> 'module' = $2"
            " order by id",
            action,
            module,
        )
        return [(row["outcome"], row["status"]) for row in rows]


@pytest.fixture
def stored(live: Live) -> Stored:
    return Stored(live)


@pytest.fixture
def client(live: Live) -> Iterator[httpx.Client]:
    with live.client() as opened:
        yield opened


def ended(client: httpx.Client, begun: httpx.Response) -> dict[str, Any]:
    """The job that an answer began, once it is done."""
    assert begun.status_code == 202, begun.text
    url = begun.json()["data"]["status_url"]
    job: dict[str, Any] = {}

    def done() -> bool:
        job.update(client.get(url).json()["data"])
        return job["state"] == "done"

    wait_until(done, within_seconds=60, what="the end of the job")
    return job


def gone(stored: Stored, ids: list[int]) -> None:
    """Wait until the files of these documents are removed."""
    wait_until(
        lambda: not any(stored.files[one].exists() for one in ids), within_seconds=60, what="removed files"
    )


def test_a_deleted_document_takes_its_attachments_texts_and_files_along(
    client: httpx.Client, stored: Stored
) -> None:
    mail = stored.add("deep")
    attached = stored.add("deep", parent=mail)
    within = stored.add("deep", parent=attached)
    other = stored.add("deep")
    stored.sql("insert into document_texts values ($1, 'a text')", within)
    assert client.get("/modules/deep/grid").json()["data"]["total"] == 4
    answer = client.delete(f"/documents/{mail}")
    assert (answer.status_code, answer.json()["data"]) == (200, {"id": mail, "deleted": 3})
    assert client.get("/modules/deep/grid").json()["data"]["total"] == 1
    assert client.get(f"/documents/{attached}").status_code == 404
    assert stored.sql("select document_id from document_texts where document_id = $1", within) == []
    gone(stored, [mail, attached, within])
    assert stored.files[other].exists()
    assert stored.audit("documents.delete", "deep") == [("done", 200)]
    again = client.delete(f"/documents/{mail}")
    assert (again.status_code, again.json()["error"]["code"]) == (404, "not_found")


def test_many_are_deleted_by_their_ids_in_one_module_alone(client: httpx.Client, stored: Stored) -> None:
    mine = [stored.add("byids") for _ in range(5)]
    other = stored.add("byids-other")
    begun = client.post("/modules/BYIDS/documents/delete", json={"ids": [*mine[:3], other, 999_999]})
    job = ended(client, begun)
    assert {name: job[name] for name in ("module", "action", "actor", "total", "done", "changed")} == {
        "module": "byids",
        "action": "delete",
        "actor": "operator",
        "total": 3,
        "done": 3,
        "changed": 3,
    }
    assert (stored.ids("byids"), stored.ids("byids-other")) == (set(mine[3:]), {other})
    gone(stored, mine[:3])
    assert stored.audit("documents.delete", "byids") == [("done", 202)]
    assert stored.audit("documents.delete.ended", "byids") == [("done", 200)]


@pytest.mark.parametrize(
    "model",
    [
        {"state": {"filterType": "text", "type": "equals", "filter": "failed"}},
        {"items": [{"field": "state", "operator": "is", "value": "failed"}]},
    ],
)
def test_many_are_deleted_by_the_filter_of_a_grid(
    client: httpx.Client, stored: Stored, model: dict[str, Any]
) -> None:
    for one in stored.ids("byfilter"):
        client.delete(f"/documents/{one}")
    kept = [stored.add("byfilter") for _ in range(2)]
    for _ in range(3):
        stored.add("byfilter", state="failed")
    asked = {"filterModel": model, "expected_total": 3}
    job = ended(client, client.post("/modules/byfilter/documents/delete", json=asked))
    assert (job["total"], job["changed"], stored.ids("byfilter")) == (3, 3, set(kept))


def test_a_filter_that_filters_nothing_deletes_nothing(client: httpx.Client, stored: Stored) -> None:
    mine = {stored.add("careful") for _ in range(3)}
    half_typed = {"title": {"filterType": "text", "type": "contains", "filter": ""}}
    for body in ({"filterModel": {}}, {"filterModel": half_typed}, {}, {"ids": [1], "all": True}):
        refused = client.post("/modules/careful/documents/delete", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")
    other = client.post("/modules/careful/documents/delete", json={"all": True, "expected_total": 2})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "unexpected_total")
    assert other.json()["data"] == {"total": 3}
    assert stored.ids("careful") == mine
    job = ended(client, client.post("/modules/careful/documents/delete", json={"all": True}))
    assert (job["changed"], stored.ids("careful")) == (3, set())
    # Its last document is gone, and it is no unknown module for that.
    assert client.get("/modules/careful/grid").json()["data"]["total"] == 0


def test_a_repeated_key_gets_the_same_job(client: httpx.Client, stored: Stored) -> None:
    ids = [stored.add("keys") for _ in range(3)]
    headers = {"Idempotency-Key": "once"}
    first = client.post("/modules/keys/documents/delete", json={"ids": ids[:2]}, headers=headers)
    again = client.post("/modules/keys/documents/delete", json={"ids": ids[:2]}, headers=headers)
    other = client.post("/modules/keys/documents/delete", json={"ids": ids}, headers=headers)
    assert [answer.status_code for answer in (first, again, other)] == [202, 202, 422]
    assert first.json()["data"] == again.json()["data"]
    ended(client, first)
    assert len(client.get("/modules/keys/bulk-jobs").json()["data"]) == 1
    one = {"Idempotency-Key": "single"}
    deleted = [client.delete(f"/documents/{ids[2]}", headers=one).status_code for _ in range(2)]
    assert deleted == [200, 200]
    assert client.delete(f"/documents/{ids[2]}").status_code == 404


def test_failed_documents_are_processed_again_and_others_are_not(
    client: httpx.Client, stored: Stored
) -> None:
    failed = stored.add("again", state="failed")
    processed = stored.add("again")
    answer = client.post(f"/documents/{failed}/retry")
    assert (answer.status_code, answer.json()["data"]) == (202, {"id": failed, "state": "received"})
    refused = client.post(f"/documents/{processed}/retry")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_failed")
    shown = client.get(f"/documents/{failed}").json()["data"]
    assert (shown["state"], shown["failure"], shown["processed_at"]) == ("received", None, None)
    more = [stored.add("again", state="failed") for _ in range(3)]
    job = ended(client, client.post("/modules/again/documents/retry", json={"all": True}))
    assert (job["total"], job["changed"]) == (5, 3)
    rows = client.get("/modules/again/grid?state=received").json()["data"]["rows"]
    assert {row["id"] for row in rows} == {failed, *more}
    [[sent]] = stored.sql("select count(*) from documents where id = any($1::bigint[])", [failed, *more])
    assert sent == 4
    wait_until(
        lambda: not stored.sql("select 1 from documents where module = 'again' and enqueued_at is null and"
                               " state = 'received'"),
        within_seconds=60,
        what="the messages to the workers",
    )  # fmt: skip


def test_jobs_are_listed_page_by_page(client: httpx.Client, stored: Stored) -> None:
    stored.add("pages")
    for _ in range(3):
        ended(client, client.post("/modules/pages/documents/retry", json={"all": True}))
    first = client.get("/modules/pages/bulk-jobs?limit=2").json()
    rest = client.get(f"/modules/pages/bulk-jobs?limit=2&before={first['meta']['next_before']}").json()
    numbers = [job["number"] for job in (*first["data"], *rest["data"])]
    assert (len(numbers), numbers, rest["meta"]["next_before"]) == (3, sorted(numbers, reverse=True), None)
    assert client.get(f"/modules/byids/bulk-jobs/{first['data'][0]['id']}").status_code == 404


# Rights and the audit

_REQUESTS = (
    ("DELETE", "/documents/{id}", None, "documents.delete"),
    ("POST", "/documents/{id}/retry", None, "documents.retry"),
    ("POST", "/modules/rights/documents/delete", {"ids": [1]}, "documents.delete"),
    ("POST", "/modules/rights/documents/retry", {"ids": [1]}, "documents.retry"),
    ("GET", "/modules/rights/bulk-jobs", None, None),
    ("GET", "/modules/rights/bulk-jobs/00000000-0000-0000-0000-000000000000", None, None),
)


@pytest.mark.parametrize("request_", _REQUESTS)
def test_each_identity_has_its_answer_and_its_record(
    live: Live, stored: Stored, request_: tuple[str, str, Any, str | None]
) -> None:
    method, path, body, action = request_
    document = stored.add("rights", state="failed")
    identities = {
        "viewer": live.tokens["viewer"],
        "elsewhere": live.add_token(name="elsewhere", role="operator", modules=["other"])[1],
        "here": live.add_token(name="here", role="operator", modules=["rights"])[1],
        "none": "ds_" + "x" * 43,
    }
    found = {}
    for name, token in identities.items():
        before = stored.sql("select coalesce(max(id), 0) from admin_audit")[0][0]
        with http_client(live.url, token=token) as client:
            answer = client.request(method, path.format(id=document), json=body)
        records = stored.sql("select * from admin_audit where id > $1 and action = $2", before, action)
        assert [(row["actor"], row["status"]) for row in records] == (
            [] if action is None or name == "none" else [(name, answer.status_code)]
        )
        found[name] = answer.status_code
    allowed = {"DELETE": 200, "POST": 202, "GET": 404 if path.endswith("0") else 200}[method]
    assert found == {"viewer": 403, "elsewhere": 403, "here": allowed, "none": 401}


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"ids": []}, "ids"),
        ({"ids": [0]}, "ids"),
        ({"ids": ["1"]}, "ids"),
        ({"ids": [True]}, "ids"),
        ({"ids": list(range(1, 1002))}, "ids"),
        ({"all": 1}, "all"),
        ({"all": True, "expected_total": -1}, "expected_total"),
        ({"filterModel": []}, "filterModel"),
        ({"filterModel": {"nope": {"type": "equals", "filter": "x"}}}, "there is no column 'nope'"),
        ({"filterModel": {"text": {"type": "equals", "filter": "x"}}}, "text can be filtered by contains"),
        ({"ids": [1], "nope": 1}, "nope"),
        ([], "body"),
        (None, "body"),
    ],
)
@pytest.mark.parametrize("action", ["delete", "retry"])
def test_a_wrong_selection_is_refused_with_what_is_legal(
    client: httpx.Client, stored: Stored, action: str, body: Any, detail: str
) -> None:
    if not stored.ids("wrong"):
        stored.add("wrong")
    answer = client.post(f"/modules/wrong/documents/{action}", json=body)
    assert (answer.status_code, detail in answer.json()["error"]["detail"]) == (422, True), answer.text


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["ids", "filterModel", "expected_total", "items", "title", "state", "type"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    ),
    action=st.sampled_from(["delete", "retry"]),
)
def test_any_json_gets_an_answer_in_the_envelope(live: Live, body: Any, action: str) -> None:
    with live.client("operator") as client:
        answer = client.post(
            f"/modules/drawn/documents/{action}",
            content=json.dumps(body),
            headers={"Content-Type": "application/json"},
        )
    assert answer.status_code in (202, 404, 409, 422)
    assert set(answer.json()) == {"success", "message", "data", "error", "meta"}


# Large jobs


def fill(stored: Stored, module: str, rows: int) -> None:
    stored.sql(
        "insert into documents (module, document_type, mail_number, title, file_name, content_type,"
        " size_bytes, state, sha256, blob_key)"
        " select $1, 'text', 'MN-' || i, 'title ' || i, 'f', 'text/plain', 1,"
        " 'processed', 's', '2026-01-02/' || md5($1 || i) from generate_series(1, $2::int) i",
        module,
        rows,
    )


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_pages_are_answered_while_100_000_documents_are_deleted(client: httpx.Client, stored: Stored) -> None:
    fill(stored, "large", 100_000)
    fill(stored, "small", 1_000)
    stop = threading.Event()
    answered: list[tuple[int, float]] = []

    def read() -> None:
        with stored.live.client("viewer") as reader:
            place = 0
            while not stop.is_set():
                place += 1
                begun = time.monotonic()
                # Never the same twice: each is read from Postgres.
                page = reader.get(
                    f"/modules/small/grid?mail_number.prefix=MN-{place % 1000}&offset={place // 1000}"
                )
                answered.append((page.status_code, time.monotonic() - begun))
                time.sleep(0.01)  # a reader's pace

    reading = threading.Thread(target=read)
    begun = client.post("/modules/large/documents/delete", json={"all": True})
    assert begun.json()["data"]["total"] == 100_000
    reading.start()
    try:
        url = begun.json()["data"]["status_url"]
        wait_until(
            lambda: client.get(url).json()["data"]["state"] == "done", within_seconds=180, what="the deletion"
        )
    finally:
        stop.set()
        reading.join()
    job = client.get(url).json()["data"]
    assert (job["done"], job["changed"], stored.ids("large")) == (100_000, 100_000, set())
    assert {status for status, _ in answered} == {200}
    slowest = sorted(seconds for _, seconds in answered)
    print(f"{len(slowest)} pages, median {slowest[len(slowest) // 2]:.4f} s, slowest {slowest[-1]:.4f} s")
    assert len(answered) > 100  # they went on, all the time


@pytest.mark.slow
def test_a_job_whose_process_ended_is_taken_up_where_it_stopped(
    live: Live, stored: Stored, tmp_path: Path, api_runner: Any
) -> None:
    fill(stored, "resumed", 20_000)
    # Only one process at a time: the other API of this module would take it up at once.
    with api_runner(tmp_path, live.environment) as first:
        url = ""
        with first.client("operator") as client:
            begun = client.post("/modules/resumed/documents/delete", json={"all": True})
            url = begun.json()["data"]["status_url"]
        first.process.kill()
    with live.client("operator") as client:
        wait_until(
            lambda: client.get(url).json()["data"]["state"] == "done", within_seconds=90, what="its end"
        )
        job = client.get(url).json()["data"]
    assert (job["done"], job["changed"], stored.ids("resumed")) == (20_000, 20_000, set())
    assert stored.audit("documents.delete.ended", "resumed") == [("done", 200)]
