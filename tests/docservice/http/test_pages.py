"""The grid and the administrator's console, in a real browser on a real API with a real worker."""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from autoscaler.demo.embedded import Process
from docservice.http.routes.admin_models import ACTIONS, OUTCOMES
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.docservice.http.calls import Live
    from tests.support.browser import Chromium, Tab

HOSTILE = '<img src=x onerror="document.title=`owned`">\u202egnp.exe'
FILES = ("/", "/admin", "/static/grid.js", "/static/admin.js", "/static/ask.js", "/static/page.css")


@pytest.fixture(scope="module")
def worker(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A worker with the companion, of two processes."""
    command = (sys.executable, "-m", "docservice", "worker", "-c", "2", "-n", "ours@test")
    log = tmp_path_factory.mktemp("worker") / "log"
    with Process(command, log_path=log, environment=live.environment) as process:
        process.wait_until(lambda: " ready." in process.log(), within_seconds=60, what="the worker's start")
        yield "ours@test"


def enter(chromium: Chromium, live: Live, path: str, role: str, **options: Any) -> Tab:
    """A tab in which the token of a role was entered."""
    tab = chromium.open(f"{live.url}{path}", **options)
    tab.page.get_by_label("API token").fill(live.tokens[role])
    tab.page.locator("#token-go").click()
    tab.page.locator("#content").wait_for()
    return tab


def mail(number: str, subject: str, text: str) -> bytes:
    return (
        f"From: ann@example.org\r\nSubject: {subject}\r\nX-Mail-Number: {number}\r\n"
        f"Message-ID: <{number}@example.org>\r\nDate: Mon, 05 Jan 2026 10:00:00 +0000\r\n\r\n{text}\r\n"
    ).encode()


def cells(page: Page, column: str) -> list[str]:
    return page.locator(f'.ag-row .ag-cell[col-id="{column}"]').all_inner_texts()


def rows_are(page: Page, column: str, expected: list[str]) -> None:
    """Wait until the grid shows exactly these values."""
    expect(page.locator(f'.ag-row .ag-cell[col-id="{column}"]')).to_have_text(expected)


def test_pages_and_their_files_are_strict_and_the_same_for_everybody(live: Live) -> None:
    with live.client(None) as client:
        for path in FILES:
            answer = client.get(path)
            assert answer.status_code == 200, path
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        loaded = re.findall(r'(?:src|href)="(static/[^"]+)"', client.get("/").text)
        assert {client.get(f"/{name}").status_code for name in loaded} == {200}
        assert "MIT" in client.get("/static/ag-grid.LICENSE.txt").text
        for path in ("/static/grid.html", "/static/..%2fpages.py", "/static/nothing.js"):
            assert client.get(path).status_code == 404, path


def test_a_large_file_is_packed_once_and_has_an_etag_for_each_encoding(live: Live) -> None:
    path = "/static/ag-grid.min.css"
    with live.client(None) as client:
        plain = client.get(path, headers={"Accept-Encoding": "identity"})
        packed = client.get(path, headers={"Accept-Encoding": "gzip"})
        assert packed.content == plain.content
        told = [
            (one.headers.get("content-encoding"), one.headers["vary"], one.status_code)
            for one in (plain, packed)
        ]
        assert told == [(None, "Accept-Encoding", 200), ("gzip", "Accept-Encoding", 200)]
        # Its length is known before it is sent: nothing is packed for the request.
        assert int(packed.headers["content-length"]) < len(plain.content) / 2
        tags = [one.headers["etag"] for one in (plain, packed)]
        assert len(set(tags)) == 2
        again = {
            (encoding, tag): client.get(
                path, headers={"Accept-Encoding": encoding, "If-None-Match": tag}
            ).status_code
            for encoding in ("identity", "gzip")
            for tag in tags
        }
        assert again == {
            ("identity", tags[0]): 304,
            ("identity", tags[1]): 200,
            ("gzip", tags[0]): 200,
            ("gzip", tags[1]): 304,
        }


def mails(folder: Path) -> list[Path]:
    files = []
    for number, subject, text in (
        ("MN-2026-000001", "Claim of water", "The cellar is full of water"),
        ("MN-2026-000002", HOSTILE, "A zeppelin landed"),
        ("MN-2025-000003", "Contract", "Signed and sealed"),
    ):
        files.append(folder / f"{number}.eml")
        files[-1].write_bytes(mail(number, subject, text))
    return files


@pytest.mark.slow
@needs("chromium")
def test_a_person_uploads_watches_filters_searches_and_downloads(
    chromium: Chromium, live: Live, worker: str, tmp_path: Path
) -> None:
    del worker
    files = mails(tmp_path)
    tab = enter(chromium, live, "/", "operator")
    page = tab.page
    expect(page.get_by_label("Module").locator("option")).not_to_have_count(0)
    page.locator("#files").set_input_files([str(file) for file in files])
    if page.locator("#dialog").is_visible() or page.get_by_label("Module").input_value() == "":
        page.get_by_label("Name").fill("mail")
        page.get_by_role("button", name="Use it").click()
    expect(page.locator("#uploads strong")).to_have_text(["processed"] * 3, timeout=60_000)
    page.locator('.ag-header-cell[col-id="mail_number"] .ag-header-cell-label').click()
    rows_are(page, "mail_number", ["MN-2025-000003", "MN-2026-000001", "MN-2026-000002"])
    assert page.title() == "Documents"

    page.locator('input[aria-label="Mail number Filter Input"]').fill("2026")
    rows_are(page, "mail_number", ["MN-2026-000001", "MN-2026-000002"])
    page.get_by_label("Search in texts").fill("zeppelin")
    rows_are(page, "mail_number", ["MN-2026-000002"])

    with page.expect_download() as csv:
        page.get_by_role("button", name="Download as CSV").click()
    exported = csv.value.path().read_text()
    assert ("MN-2026-000002" in exported, "MN-2026-000001" in exported) == (True, False)

    page.locator('.ag-row input[type="checkbox"]').first.check()
    with page.expect_download() as file:
        page.get_by_role("button", name="Download files").click()
    assert file.value.path().read_bytes() == files[1].read_bytes()

    page.locator('.ag-row .ag-cell[col-id="mail_number"]').first.dblclick()
    page.locator("#document summary").click()
    expect(page.locator("#document-text")).to_contain_text("A zeppelin landed")
    assert tab.accessibility_faults() == []
    process_again_and_delete(page)
    rows_are(page, "mail_number", ["MN-2025-000003", "MN-2026-000001"])


def process_again_and_delete(page: Page) -> None:
    """What is open in the grid, and clear the filters that found it."""
    page.get_by_role("button", name="Process again").click()
    page.locator("#dialog").get_by_role("button", name="Process again").click()
    message = page.locator("#message")
    expect(message).to_have_text("Sent again: 0 of 1; only failed documents are.")
    expect(page.get_by_role("button", name="Process again")).to_be_disabled()
    page.locator('.ag-row input[type="checkbox"]').first.check()
    page.get_by_role("button", name="Delete").click()
    page.locator("#dialog").get_by_role("button", name="Delete").click()
    rows_are(page, "mail_number", [])
    expect(message).to_have_text("Deleted: 1 document, attachments included.")
    page.get_by_role("button", name="Clear filters").click()


@pytest.mark.slow
@needs("chromium")
def test_a_viewer_sees_documents_and_why_nothing_can_be_changed(chromium: Chromium, live: Live) -> None:
    tab = enter(chromium, live, "/", "viewer", dark=True, width=400)
    expect(tab.page.locator("#upload-hint")).to_contain_text("takes the role operator")
    assert tab.page.get_by_role("button", name="Delete").is_disabled()
    assert tab.accessibility_faults() == []


@pytest.mark.slow
@needs("chromium")
def test_files_that_are_chosen_while_modules_are_listed_are_uploaded(
    chromium: Chromium, live: Live, tmp_path: Path
) -> None:
    tab = chromium.open(f"{live.url}/")
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    tab.page.route(re.compile(r"/modules\?"), hold)
    with tab.page.expect_request(re.compile(r"/modules\?")):
        tab.page.get_by_label("API token").fill(live.tokens["operator"])
        tab.page.locator("#token-go").click()
    tab.expect_errors("404")  # a module without a document
    accepted = {"documents": [], "status_url": "/documents?id=1"}
    tab.page.route("**/modules/early/documents", partial(_answer, _envelope(accepted)))
    early = tmp_path / "early.txt"
    early.write_text("early")
    tab.page.locator("#files").set_input_files(str(early))
    with tab.page.expect_request("**/modules/early/documents") as uploaded:
        held[0].fulfill(json=_envelope([{"name": "early"}]))
    assert uploaded.value.method == "POST"


def _envelope(data: object) -> dict[str, Any]:
    return {"success": True, "message": None, "data": data, "error": None, "meta": {}}


def _answer(envelope: dict[str, Any], route: Any) -> None:
    route.fulfill(json=envelope)


@pytest.mark.slow
@needs("chromium")
def test_a_token_that_is_limited_is_offered_its_modules_alone(chromium: Chromium, live: Live) -> None:
    tab = chromium.open(f"{live.url}/")
    caller = {"name": "limited", "role": "operator", "modules": ["empty", "untouched"], "expires_at": None}
    for pattern, data in (
        (re.compile("/whoami"), caller),
        (re.compile(r"/modules\?"), [{"name": "untouched"}]),
    ):
        tab.page.route(pattern, partial(_answer, _envelope(data)))
    tab.expect_errors("404")  # a module without a document
    tab.page.get_by_label("API token").fill(live.tokens["operator"])
    tab.page.locator("#token-go").click()
    expect(tab.page.get_by_label("Module").locator("option")).to_have_text(["untouched", "empty"])


@pytest.mark.slow
@needs("chromium")
def test_a_wrong_token_is_refused_in_words_and_is_kept_nowhere(chromium: Chromium, live: Live) -> None:
    tab = chromium.open(f"{live.url}/admin")
    tab.expect_errors("401")
    tab.page.get_by_label("API token").fill("ds_" + "x" * 43)
    tab.page.locator("#token-go").click()
    expect(tab.page.locator("#message")).to_have_text("the token is unknown, expired or revoked")
    assert tab.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


@pytest.mark.slow
@needs("chromium")
def test_an_audit_filter_on_what_there_is_not_is_answered_with_what_there_is(
    chromium: Chromium, live: Live
) -> None:
    tab = enter(chromium, live, "/admin", "system_admin")
    tab.expect_errors("422|504")  # there may be no worker to inspect
    tab.page.locator('#audit-form [name="action"]').fill("nothing")
    tab.page.locator("#audit-go").click()
    expect(tab.page.locator("#message")).to_contain_text("drain_shutdown")


@pytest.mark.slow
@needs("chromium")
@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_others_see_what_they_may_and_why_not_the_rest(chromium: Chromium, live: Live, role: str) -> None:
    tab = enter(chromium, live, "/admin", role)
    expect(tab.page.locator("#role-text")).to_contain_text(f"has the role {role}: it may")
    shown = [
        one
        for one in ("autoscaler", "workers", "columns", "audit")
        if tab.page.locator(f"#{one}-title").is_visible()
    ]
    assert (shown, tab.page.locator("#add-column").is_disabled()) == (["columns"], role == "viewer")
    assert tab.accessibility_faults() == []


@pytest.mark.slow
@needs("chromium")
def test_an_administrator_resizes_holds_limits_pauses_and_reads_the_audit(
    chromium: Chromium, live: Live, worker: str
) -> None:
    tab = enter(chromium, live, "/admin", "system_admin")
    page = tab.page
    row = page.locator("#workers tr").filter(has_text=worker)
    sizes = row.locator("td").nth(1)
    expect(sizes).to_have_text("2")

    page.get_by_role("button", name=f"Grow {worker}").click()
    expect(page.locator("#dialog")).to_contain_text(f"{worker} has 2 processes")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name=f"Grow {worker}")).to_be_focused()
    expect(sizes).to_have_text("2")
    page.get_by_role("button", name=f"Grow {worker}").click()
    page.locator("#dialog").get_by_role("button", name="Grow").click()
    expect(page.locator("#outcomes")).to_contain_text("2 → 3")
    expect(sizes).to_have_text("3")
    expect(page.locator("#override")).to_contain_text(f"{worker} is left as it is")
    expect(page.locator("#audit tr").filter(has_text="grow")).to_have_count(1)

    page.get_by_role("button", name=f"Release {worker}").click()
    page.locator("#dialog").get_by_role("button", name="Release").click()
    expect(page.locator("#override")).to_have_text("Nothing is overridden.")
    page.get_by_role("button", name=f"Hold {worker}").click()
    page.locator("#dialog").get_by_label("Why").fill(HOSTILE)
    page.locator("#dialog").get_by_role("button", name="Hold").click()
    expect(page.locator("#override")).to_contain_text("is left as it is")

    set_and_remove_limits_and_a_pause(page)
    page.locator('#audit-form [name="action"]').fill("grow")
    page.locator("#audit-go").click()
    expect(page.locator("#audit tr")).to_have_count(1)
    page.locator('#audit-form [name="action"]').fill("drain_shutdown")
    page.locator("#audit-go").click()
    expect(page.locator("#audit")).to_have_text("No entry matches.")
    assert page.title() == "Administration"
    assert tab.accessibility_faults() == []


def set_and_remove_limits_and_a_pause(page: Page) -> None:
    page.get_by_role("button", name="Set limits").click()
    page.get_by_label("Minimum").fill("2")
    page.get_by_label("Maximum").fill("4")
    page.locator("#dialog").get_by_role("button", name="Set limits").click()
    expect(page.locator("#override")).to_contain_text("2 to 4 processes")
    page.get_by_role("button", name="Pause").click()
    page.locator("#dialog").get_by_label("Why").fill(HOSTILE)
    page.locator("#dialog").get_by_role("button", name="Pause").click()
    expect(page.locator("#override")).to_contain_text("Paused")
    expect(page.locator("#override")).to_contain_text(HOSTILE)
    page.get_by_role("button", name="Resume").click()
    page.locator("#dialog").get_by_role("button", name="Resume").click()
    expect(page.locator("#override")).not_to_contain_text("Paused")
    expect(page.locator("[aria-busy]")).to_have_count(0)
    expect(page.locator("#resume")).to_be_disabled()
    page.get_by_role("button", name="Remove limits").click()
    page.locator("#dialog").get_by_role("button", name="Remove the limits").click()
    expect(page.locator("#override")).not_to_contain_text("2 to 4 processes")


@pytest.mark.slow
@needs("chromium")
def test_a_command_that_nobody_answers_is_never_called_done(chromium: Chromium, live: Live) -> None:
    tab = enter(chromium, live, "/admin", "system_admin")
    tab.expect_errors("504|404")
    page = tab.page
    seen: list[dict[str, str]] = []

    def silent(route: Any) -> None:
        seen.append({**route.request.headers, "body": route.request.post_data})
        body = {
            "success": False,
            "message": None,
            "data": [],
            "error": {"code": "no_answer", "detail": "w: no answer"},
            "meta": {},
        }
        route.fulfill(status=504, content_type="application/json", body=json.dumps(body))

    worker = {
        "worker": HOSTILE,
        "answered": True,
        "size": 2,
        "busy": 1,
        "reserved": 0,
        "kind": "prefork",
        "companion": True,
        "queues": ["celery"],
        "uptime_seconds": 5,
        "refusal": None,
    }
    page.route(
        "**/admin/celery/inspect",
        lambda route: route.fulfill(json={"success": True, "data": [worker], "error": None, "meta": {}}),
    )
    page.route("**/admin/celery/grow", silent)
    page.locator("#inspect").click()
    page.get_by_role("button", name=re.compile("^Grow")).click()
    page.locator("#dialog").get_by_role("button", name="Grow").click()
    expect(page.locator("#outcomes")).to_contain_text("no answer. It may still take effect")
    assert page.title() == "Administration"
    assert [len(one["idempotency-key"]) for one in seen] == [32]


@pytest.mark.slow
@needs("chromium")
def test_a_drain_is_followed_to_its_report(chromium: Chromium, live: Live, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "docservice", "worker", "-c", "1", "-n", "leaving@test")
    with Process(command, log_path=tmp_path / "log", environment=live.environment) as process:
        process.wait_until(lambda: " ready." in process.log(), within_seconds=60, what="the worker's start")
        tab = enter(chromium, live, "/admin", "system_admin")
        tab.expect_errors("504")  # no worker is left to inspect
        page = tab.page
        shrink = page.get_by_role("button", name="Shrink leaving@test")
        expect(shrink).to_be_disabled()
        expect(shrink).to_have_attribute("title", "A worker keeps at least one process.")
        page.get_by_role("button", name="Drain leaving@test").click()
        page.get_by_label("Also when it is the last worker").check()
        page.locator("#dialog").get_by_role("button", name="Drain").click()
        expect(page.locator("#outcomes")).to_contain_text("Drain: done", timeout=60_000)
        expect(page.locator("#outcomes")).to_contain_text("leaving@test")


@pytest.mark.slow
@needs("chromium")
def test_a_refusal_is_shown_in_its_dialog_which_keeps_what_was_typed(
    chromium: Chromium, live: Live, worker: str
) -> None:
    tab = enter(chromium, live, "/admin", "system_admin")
    tab.expect_errors("409|422")
    page = tab.page
    dialog = page.locator("#dialog")
    refusal = dialog.get_by_role("alert")

    page.get_by_role("button", name=f"Drain {worker}").click()
    dialog.get_by_label("Deadline in seconds").fill("77")
    dialog.get_by_role("button", name="Drain").click()
    expect(refusal).to_have_text(
        re.compile("^queue '.+' would be left without a worker; start another one, or drain it with force$")
    )
    expect(dialog.get_by_label("Deadline in seconds")).to_have_value("77")
    expect(dialog.get_by_label("Force: also when it is the last worker of a queue")).not_to_be_checked()
    assert tab.accessibility_faults() == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator("#outcomes")).to_contain_text("Drain: not done. queue")

    page.get_by_role("button", name="Set limits").click()
    dialog.get_by_label("Minimum").fill("5")
    dialog.get_by_label("Maximum").fill("2")
    dialog.get_by_label("Why").fill(HOSTILE)
    dialog.get_by_role("button", name="Set limits").click()
    expect(refusal).to_contain_text("min is 5, above max, 2")
    expect(dialog.get_by_label("Why")).to_have_value(HOSTILE)
    dialog.get_by_label("Maximum").fill("6")
    dialog.get_by_role("button", name="Set limits").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#override")).to_contain_text("5 to 6 processes")
    page.get_by_role("button", name="Remove limits").click()
    dialog.get_by_role("button", name="Remove the limits").click()
    expect(page.locator("#override")).not_to_contain_text("5 to 6 processes")


@pytest.mark.slow
@needs("chromium")
def test_what_comes_of_a_command_is_shown_though_its_dialog_was_closed(
    chromium: Chromium, live: Live, worker: str
) -> None:
    tab = enter(chromium, live, "/admin", "system_admin")
    tab.expect_errors("409")
    page = tab.page
    dialog = page.locator("#dialog")
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/admin/celery/grow", hold)
    page.get_by_role("button", name=f"Grow {worker}").click()
    with page.expect_request("**/admin/celery/grow"):
        dialog.get_by_role("button", name="Grow").click()
    expect(dialog.get_by_role("alert")).to_have_text("Waiting for the outcome.")
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Pause").click()
    dialog.get_by_label("Why").fill("a deployment")
    refused = {"code": "busy", "detail": "another command to this worker is in progress"}
    held[0].fulfill(
        status=409, json={"success": False, "message": None, "data": [], "error": refused, "meta": {}}
    )
    line = f"Grow: not done. {refused['detail']}"
    expect(page.locator("#outcomes li")).to_have_text([line])
    expect(page.locator("#message")).to_have_text(refused["detail"])
    expect(dialog.get_by_label("Why")).to_have_value("a deployment")
    expect(dialog.get_by_role("alert")).to_be_empty()
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()


@pytest.mark.slow
@needs("chromium")
def test_one_limit_is_removed_alone_by_emptying_its_field(chromium: Chromium, live: Live) -> None:
    with live.client("system_admin") as client:
        changed = client.post("/admin/celery/autoscale", json={"min": 2, "max": 4})
        assert changed.status_code == 200, changed.text
        tab = enter(chromium, live, "/admin", "system_admin")
        tab.expect_errors("504")  # there may be no worker to inspect
        page = tab.page
        dialog = page.locator("#dialog")
        page.get_by_role("button", name="Set limits").click()
        expect(dialog.get_by_label("Maximum")).to_have_value("4")
        dialog.get_by_label("Maximum").fill("")
        dialog.get_by_role("button", name="Set limits").click()
        expect(page.locator("#override")).to_contain_text("2 to --max processes")
        page.get_by_role("button", name="Set limits").click()
        dialog.get_by_label("Minimum").fill("")
        dialog.get_by_role("button", name="Set limits").click()
        expect(dialog.get_by_role("alert")).to_have_text(
            "Give a minimum, a maximum or both. Remove limits removes both."
        )
        dialog.get_by_role("button", name="Cancel").click()
        left = client.get("/admin/celery/autoscale").json()["data"]["override"]
        assert (left["min"], left["max"]) == (2, None)
        client.post("/admin/celery/autoscale", json={"min": None})


#: Resolves once the page has read one more answer and done what it does with it.
_ANSWER_USED = """() => {
  const read = Response.prototype.json;
  window.answerUsed = new Promise((done) => {
    Response.prototype.json = function () { return read.call(this).finally(() => setTimeout(done)); };
  });
}"""


@pytest.mark.slow
@needs("chromium")
def test_a_late_answer_about_another_module_changes_nothing_on_the_page(
    chromium: Chromium, live: Live
) -> None:
    tab = chromium.open(f"{live.url}/")
    page = tab.page
    held: list[Any] = []

    def rows(module: str, total: int) -> dict[str, Any]:
        return _envelope({"rows": [{"id": total, "title": module}], "total": total, "total_capped": False})

    modules = [{"name": name} for name in ("slow", "quick", "unread")]
    page.route(re.compile(r"/modules\?"), partial(_answer, _envelope(modules)))

    def hold(route: Any) -> None:
        held.append(route)

    page.route(
        "**/modules/*/columns",
        lambda route: route.fulfill(json=_envelope([{"name": "title", "label": "Title", "kind": "text"}])),
    )
    page.route("**/modules/unread/columns", hold)
    page.route("**/modules/quick/grid", lambda route: route.fulfill(json=rows("quick", 1)))
    page.route("**/modules/slow/grid", hold)
    page.get_by_label("API token").fill(live.tokens["viewer"])
    with page.expect_request("**/modules/slow/grid"):
        page.locator("#token-go").click()
    page.get_by_label("Module").select_option("quick")
    expect(page.locator("#total")).to_have_text("1 document")
    page.evaluate(_ANSWER_USED)
    held[0].fulfill(json=rows("slow", 7))
    page.evaluate("() => window.answerUsed")
    assert page.locator("#total").inner_text() == "1 document"
    rows_are(page, "title", ["quick"])

    with page.expect_request("**/modules/unread/columns"):
        page.get_by_label("Module").select_option("unread")
    page.get_by_label("Module").select_option("quick")
    rows_are(page, "title", ["quick"])
    page.evaluate(_ANSWER_USED)
    held[1].fulfill(json=_envelope([]))
    page.evaluate("() => window.answerUsed")
    rows_are(page, "title", ["quick"])


@pytest.mark.slow
@needs("chromium")
def test_an_operator_shows_and_removes_a_column(chromium: Chromium, live: Live) -> None:
    tab = enter(chromium, live, "/admin", "operator")
    page = tab.page
    page.get_by_role("button", name="Show a column").click()
    for field, value in (
        ("module", "mail"),
        ("document_type", "email"),
        ("column", "sender"),
        ("label", "<b>From</b>"),
    ):
        page.locator(f'#dialog input[name="{field}"]').fill(value)
    page.locator("#dialog").get_by_role("button", name="Show").click()
    row = page.locator("#columns tr").filter(has_text="<b>From</b>")
    expect(row).to_have_count(1)
    row.get_by_role("button").click()
    page.locator("#dialog").get_by_role("button", name="Remove").click()
    expect(row).to_have_count(0)


def test_the_audit_is_filtered_and_refuses_what_it_does_not_know(live: Live) -> None:
    with live.client("system_admin") as client:
        client.get("/admin/celery/autoscale")

        def actions(**query: str) -> set[str]:
            answer = client.get("/admin/audit", params=query)
            assert answer.status_code == 200, answer.text
            return {row["action"] for row in answer.json()["data"]}

        assert actions(action="autoscale.read", actor="system_admin") == {"autoscale.read"}
        assert actions(actor="nobody") == set()
        assert actions(since="2099-01-01T00:00:00Z") == set()
        for query in ({"acton": "x"}, {"since": "2026-01-01T00:00:00"}, {"since": "soon"}, {"actor": ""}):
            assert client.get("/admin/audit", params=query).status_code == 422, query
        for name, words in (("action", ACTIONS), ("outcome", OUTCOMES)):
            for word in words:
                assert client.get("/admin/audit", params={name: word}).status_code == 200, word
            refused = client.get("/admin/audit", params={name: "grwo"})
            detail = refused.json()["error"]["detail"]
            assert (refused.status_code, detail.partition(": ")[0], detail[-6:]) == (422, name, "'grwo'")
            assert ", ".join(words) in detail
        assert client.get("/admin/audit", params={"limit": 0}).json()["error"]["detail"] == (
            "limit: Input should be greater than or equal to 1, not '0'"
        )
        actions(action="POST /admin/celery/grow")


def test_an_export_by_post_has_the_rows_of_the_grid_and_no_page(live: Live) -> None:
    with live.client("operator") as client:
        filters = {"title": {"filterType": "text", "type": "contains", "filter": "nothing has this"}}
        answer = client.post("/modules/mail/grid.csv", json={"filterModel": filters, "sortModel": []})
        assert (answer.status_code, len(answer.text.splitlines())) == (200, 1)
        refused = client.post("/modules/mail/grid.csv", json={"startRow": 0})
        assert (refused.status_code, "startRow: an export has all rows" in refused.text) == (422, True)
        assert client.post("/modules/mail/grid.csv", json=[1]).status_code == 422
