"""Uploads, and the state of documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from docservice.dev.samples import sample_mail
from tests.docservice.http.calls import Live, envelope, upload

if TYPE_CHECKING:
    import httpx


def test_an_upload_is_accepted_with_ids_and_a_status_url(client: httpx.Client) -> None:
    mail = sample_mail(1)
    answer = upload(client, "mail", ("../../a.eml", mail), ("b.bin", b"\x00\x01"))
    data = envelope(answer)["data"]
    assert answer.status_code == 202
    assert [(one["file_name"], one["document_type"], one["size_bytes"]) for one in data["documents"]] == [
        ("a.eml", "email", len(mail)),
        ("b.bin", "other", 2),
    ]
    states = envelope(client.get(data["status_url"]))["data"]
    assert [(one["module"], one["state"]) for one in states] == [("mail", "received")] * 2
    assert (
        envelope(client.get(data["documents"][0]["status_url"]))["data"]["sha256"]
        == data["documents"][0]["sha256"]
    )


def test_nothing_of_an_upload_with_a_fault_is_kept(live: Live, client: httpx.Client) -> None:
    def stored() -> set[Path]:
        blobs = Path(urlsplit(live.environment["DOCSERVICE_BLOB_URL"]).path)
        return {path for path in blobs.rglob("*") if path.is_file()}

    upload(client, "kept", ("a.txt", b"text"))
    before = stored()
    too_large = upload(client, "kept", ("a.txt", b"text"), ("b.bin", b"x" * 2_000_001))
    empty = upload(client, "kept", ("a.txt", b"text"), ("b.bin", b""))
    too_many = upload(client, "kept", *((f"{place}.txt", b"text") for place in range(51)))
    number = upload(client, "kept", ("a.txt", b"text"), mail_number="\x01")
    assert [
        (answer.status_code, envelope(answer)["error"]["detail"])
        for answer in (too_large, empty, too_many, number)
    ] == [
        (413, "the file 'b.bin' has more than 2000000 bytes"),
        (422, "the file 'b.bin' has no bytes"),
        (413, "a request has at most 50 files; send the rest in another"),
        (422, "mail_number: a mail number has no control character such as U+0001"),
    ]
    assert stored() == before
    assert client.get("/modules/kept/grid").json()["data"]["total"] == 1


@pytest.mark.parametrize(
    ("content_type", "body", "status", "detail"),
    [
        ("application/json", b"{}", 415, "multipart/form-data with a boundary is needed"),
        ("multipart/form-data", b"", 415, "multipart/form-data with a boundary is needed"),
        ("multipart/form-data; boundary=b", b"", 422, "ended before its last boundary"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx", 422, "Content-Disposition: form-data"),
        ("multipart/form-data; boundary=b", b"junk" * 100, 422, "malformed"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n--b--\r\n',
            422,
            "the only field beside files is mail_number",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="mail_number"\r\n\r\nMN\r\n--b--\r\n',
            422,
            "the body has no file",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="mail_number"\r\n\r\nMN-1\r\n' * 2 + b"--b--\r\n",
            422,
            "mail_number: given more than once",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="mail_number"\r\n\r\nMN-\xff\r\n--b--\r\n',
            422,
            "mail_number: it is not UTF-8",
        ),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n",
            422,
            "malformed",
        ),
    ],
)
def test_a_body_that_is_no_upload_is_refused(
    client: httpx.Client, content_type: str, body: bytes, status: int, detail: str
) -> None:
    answer = client.post("/modules/mail/documents", content=body, headers={"Content-Type": content_type})
    assert (answer.status_code, detail in envelope(answer)["error"]["detail"]) == (status, True)
