"""A file's type is found from its first bytes, also where a mail or a PDF does not begin as it should."""

from __future__ import annotations

import time

import pytest

from docservice.domain.documents import DocumentType
from docservice.ingest.extract.sniff import SNIFFED_BYTES, sniff

MAIL = b"From: a@example.org\nSubject: x\n\nHello\n"
PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"


@pytest.mark.parametrize(
    "data",
    [
        MAIL,
        b"\xef\xbb\xbf" + MAIL,
        MAIL.decode().encode("utf-16"),
        b"\r\n \r\n" + MAIL,
        b" " + MAIL,
        b"From a@example.org Mon Mar  2 10:00:00 2026\n" + MAIL,
        b">From a@example.org Mon Mar  2 10:00:00 2026\r\n" + MAIL,
        MAIL.replace(b"\n", b"\r"),
        MAIL.replace(b"\n", b"\r\r\n"),
        b"From : a@example.org\nSubject\t: x\n\nHello\n",
        b"not a header\nFrom: a@example.org\nSubject: x\n\nHello\n",
        b"From: a@example.org\n\xff\xfe broken\nSubject: x\n\nHello\n",
        b"Received: from a by b; Mon, 2 Mar 2026 10:00:00 +0100\n\nHello\n",
        b"X-Trace: " + b"a" * SNIFFED_BYTES,
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n",
        b"Subject: x\nContent-Type: text/plain\n\nHello\n",
        b"MIME-Version: 1.0\n\nHello\n",
        b"From: a@example.org\nContent-Type: application/pdf\n\n" + PDF,
        b"Content-type: text/plain\n\nHello\n",
        b"Authentication-Results: x;\n" + b" spf=pass; dkim=pass; arc=none;\n" * 1000 + MAIL,
        b"Nowhere-Known: " + b"a" * 10_000 + b"\n" + MAIL,
    ],
)
def test_a_mail_is_a_mail_whatever_comes_before_it(data: bytes) -> None:
    expected = DocumentType.EMAIL if not data.startswith(b"X-Trace") else DocumentType.TEXT
    assert sniff(data).document_type is expected


@pytest.mark.parametrize(
    "data",
    [
        b"Subject: a note\n\nHello\n",
        b"Dear Sir,\nFrom: here to there\nTo: be or not\n",
        b"http://example.org/\nNote: nothing\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\nContent-Type: text/html\n\n<p>Hello\n",
        b"Content-Type: see below\n\nHello\n",
        b"The header %PDF-1.4 begins each file.\n",
        b"key: value\nother: value\n",
    ],
)
def test_a_text_is_no_mail_and_no_pdf(data: bytes) -> None:
    assert sniff(data).document_type is DocumentType.TEXT


@pytest.mark.parametrize(
    "front", [b"", b"\r\n", b"\n\n  ", b"HTTP/1.1 200 OK\r\n\r\n", b"\x00\x05junk", b"\xef\xbb\xbf"]
)
def test_a_pdf_is_a_pdf_with_something_in_front(front: bytes) -> None:
    assert sniff(front + PDF).document_type is DocumentType.PDF


def test_a_pdf_far_within_a_file_is_not_looked_for() -> None:
    assert sniff(b"x" * 1100 + PDF).document_type is DocumentType.TEXT


@pytest.mark.parametrize("pattern", [b"%PDF-1.4", b"%PDF-1.4 1 ", b"1 ", b"1" + b" " * 1000])
def test_a_text_made_to_look_like_pdfs_takes_linear_time(pattern: bytes) -> None:
    head = (b"x%PDF-1.4 " + pattern * SNIFFED_BYTES)[:SNIFFED_BYTES]
    begun = time.thread_time()
    assert sniff(head).document_type is DocumentType.TEXT
    assert time.thread_time() - begun < 1


def test_a_mail_with_a_nul_in_its_header_is_one_and_an_archive_of_mails_is_none() -> None:
    mail = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: x\x00y MN-2026-0077\r\n\r\nbody\r\n"
    archive = b"mail.eml".ljust(512, b"\x00") + mail  # as tar writes it
    assert [sniff(data).document_type for data in (mail, archive)] == [DocumentType.EMAIL, DocumentType.OTHER]
