"""Whatever bytes come, what they hold is found, or a reason is given that a person can read."""

from __future__ import annotations

import re
import zlib
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from docservice.dev.samples import sample_mail, sample_number, sample_pdf
from docservice.domain.documents import DocumentType, file_name
from docservice.domain.extraction import Content, Extraction
from docservice.ingest.extract.limits import ProcessingError, Rules
from docservice.ingest.extract.process import process
from docservice.ingest.extract.sniff import sniff
from tests.docservice.ingest.extract.reading import RULES


def mail(**headers: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "A <a@example.org>"
    message["To"] = "b@example.org"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return message


LONG = "word " * 200_001


@pytest.mark.parametrize(
    ("data", "document_type"),
    [
        (LONG.encode(), DocumentType.TEXT),
        (b"Subject: a\n\n" + LONG.encode(), DocumentType.EMAIL),
        (b"Subject: a\nContent-Type: text/html\n\n" + LONG.encode(), DocumentType.EMAIL),
        (b"Subject: a\nContent-Type: text/html\n\n" + b"<p>word" * 200_001, DocumentType.EMAIL),
        (sample_pdf("word " * 6_000, pages=34), DocumentType.PDF),
    ],
    ids=["text", "mail", "html", "blocks", "pdf"],
)
def test_of_a_long_text_the_start_is_kept_and_what_is_left_out_is_named(
    data: bytes, document_type: DocumentType
) -> None:
    found = process(data, document_type, RULES)
    assert (len(found.text or ""), found.findings) == (
        1_000_000,
        ("of its text the first 1000000 characters are kept",),
    )


@pytest.mark.parametrize("head", [b"", b"Subject: a\n\n"], ids=["text", "mail"])
@pytest.mark.parametrize("before", [b"", b"a", b"aa", b"aaa"])
def test_a_long_text_in_utf_8_without_a_label_is_read_as_such_wherever_it_is_cut(
    head: bytes, before: bytes
) -> None:
    kind = DocumentType.EMAIL if head else DocumentType.TEXT
    found = process(head + before + "\u20ac".encode() * 1_500_000, kind, RULES).text or ""
    assert set(found.removeprefix(before.decode())) == {"\u20ac"}


def test_a_mail_gives_its_number_title_sender_text_and_attachments() -> None:
    message = mail(Subject="Offer MN-2026-000123 for you")
    message.set_content("Hello")
    message.add_attachment(sample_pdf("Paper"), maintype="application", subtype="pdf", filename="../../p.pdf")
    message.add_attachment("note", filename="note.txt")
    outcome = process(message.as_bytes(), DocumentType.EMAIL, RULES)
    assert (outcome.mail_number, outcome.title, outcome.sender, outcome.text) == (
        "MN-2026-000123",
        "Offer MN-2026-000123 for you",
        "A <a@example.org>",
        "Hello\n",
    )
    assert [(part.part, part.file_name, part.content.document_type) for part in outcome.attachments] == [
        (0, "p.pdf", DocumentType.PDF),
        (1, "note.txt", DocumentType.TEXT),
    ]


def test_the_header_of_the_settings_comes_before_the_subject() -> None:
    message = mail(Subject="MN-2026-000123", X_Mail_Number=" my  number 7 ")
    assert process(message.as_bytes(), DocumentType.EMAIL, RULES).mail_number == "MY NUMBER 7"


def test_a_mail_within_a_mail_is_one_attachment() -> None:
    inner = mail(Subject="inner")
    inner.set_content("x")
    outer = mail(Subject="outer")
    outer.set_content("y")
    outer.add_attachment(inner)
    outcome = process(outer.as_bytes(), DocumentType.EMAIL, RULES)
    assert [part.content.document_type for part in outcome.attachments] == [DocumentType.EMAIL]
    assert process(outcome.attachments[0].data, DocumentType.EMAIL, RULES, depth=1).title == "inner"


def test_a_pdf_gives_its_text_and_pages() -> None:
    assert process(sample_pdf("Hello there"), DocumentType.PDF, RULES) == Extraction(
        text="Hello there", pages=1
    )


def test_a_text_loses_what_no_database_keeps() -> None:
    assert process(b"a\x00b\xc3\xa9", DocumentType.TEXT, RULES) == Extraction(text="ab\u00e9")


def test_a_sample_is_what_it_says() -> None:
    outcome = process(sample_mail(7), DocumentType.EMAIL, RULES)
    assert outcome.mail_number == sample_number(7)
    assert len(outcome.attachments) == 1
    assert sniff(sample_mail(7)) == Content(document_type=DocumentType.EMAIL, content_type="message/rfc822")


def _nested_multiparts(depth: int) -> bytes:
    head = b"From: a@b\nSubject: deep\nMIME-Version: 1.0\n"
    body = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (level, level) for level in range(depth)
    )
    return head + body + b"Content-Type: text/plain\n\nx\n"


def _many_attachments(count: int) -> bytes:
    head = b"From: a@b\nSubject: many\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
    part = b"--b\nContent-Disposition: attachment; filename=a.txt\n\nx\n"
    return head + part * count + b"--b--\n"


def _pdf_bomb() -> bytes:
    packed = zlib.compress(b" " * 300_000_000, 9)
    page = sample_pdf("x")
    stream = b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed)
    return re.sub(rb"<< /Length \d+ >>\nstream\n.*?\nendstream", lambda _: stream, page, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (_many_attachments(9_000), DocumentType.EMAIL, "the mail has more than 500 attachments"),
        (_nested_multiparts(60), DocumentType.EMAIL, "nested more than 50 deep"),
        (_nested_multiparts(100_000), DocumentType.EMAIL, "nested more than 50 deep"),
        (
            b"From: a@b\nContent-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * 20_000,
            DocumentType.EMAIL,
            "more than 10000 parts",
        ),
        (b"not a mail", DocumentType.EMAIL, "the file is not a mail: it has no header"),
        (b"%PDF-1.4 nothing", DocumentType.PDF, "the PDF is broken"),
    ],
)
def test_a_hostile_file_fails_with_a_reason(data: bytes, kind: DocumentType, reason: str) -> None:
    with pytest.raises(ProcessingError, match=re.escape(reason)):
        process(data, kind, RULES)


@pytest.mark.slow
def test_a_page_that_unpacks_without_end_costs_that_page_alone() -> None:
    found = process(_pdf_bomb(), DocumentType.PDF, RULES)
    assert (found.text, found.pages, found.findings) == ("", 1, ("page 1 is damaged (LimitReachedError)",))


def test_mails_within_mails_end_somewhere() -> None:
    with pytest.raises(ProcessingError, match="mails are nested more than 5 deep"):
        process(_many_attachments(1), DocumentType.EMAIL, RULES, depth=5)


def test_attachments_that_grow_when_decoded_are_bounded() -> None:
    rules = Rules(
        mail_number_header="X",
        mail_number_pattern=RULES.mail_number_pattern,
        max_attachments=500,
        max_bytes=10,
    )
    message = mail(Subject="big")
    message.add_attachment(b"x" * 100, maintype="application", subtype="octet-stream", filename="a")
    with pytest.raises(ProcessingError, match="attachments have more than 10 bytes"):
        process(message.as_bytes(), DocumentType.EMAIL, rules)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"%PDF-1.7", DocumentType.PDF),
        (b"\x89PNG\r\n\x1a\n", DocumentType.IMAGE),
        (b"PK\x03\x04....[Content_Types].xml", DocumentType.OFFICE),
        (b"PK\x03\x04....a.txt", DocumentType.ARCHIVE),
        (b"From: a@b\r\nSubject: x\r\n\r\n", DocumentType.EMAIL),
        (b"plain text", DocumentType.TEXT),
        (b"\x00\x01\x02", DocumentType.OTHER),
        ("é".encode() * 3000, DocumentType.TEXT),
        (b"", DocumentType.TEXT),
    ],
)
def test_a_type_is_found_from_the_content(head: bytes, kind: DocumentType) -> None:
    assert sniff(head).document_type is kind


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.eml", "a.eml"),
        ("a\x00b\u202egnp.exe", "abgnp.exe"),
        ("..", "unnamed"),
        ("", "unnamed"),
        (None, "unnamed"),
        ("x" * 300 + ".pdf", "x" * 196 + ".pdf"),
    ],
)
def test_a_file_name_is_only_ever_a_name(written: str | None, kept: str) -> None:
    assert file_name(written) == kept


def _storable(text: str | None) -> bool:
    return text is None or ("\x00" not in text and text.encode("utf-8", "strict") is not None)


HEADS = [
    b"",
    b"%PDF-1.4\n",
    b"From: a@b\nSubject: =?utf-8?b?",
    b"From: a\nContent-Type: multipart/mixed; boundary=x\n\n--x\n",
]


@hypothesis_settings(max_examples=200)
@given(
    head=st.sampled_from(HEADS),
    tail=st.binary(max_size=300),
    kind=st.sampled_from(list(DocumentType)),
)
def test_any_bytes_give_an_outcome_that_can_be_stored_or_a_reason(
    head: bytes, tail: bytes, kind: DocumentType
) -> None:
    data = head + tail
    sniff(data)
    try:
        outcome = process(data, kind, RULES)
    except ProcessingError:
        return
    assert all(map(_storable, (outcome.text, outcome.title, outcome.sender, outcome.mail_number)))
    assert all(map(_storable, (outcome.to_addresses, outcome.cc_addresses, outcome.message_id)))
    assert all(_storable(part.file_name) for part in outcome.attachments)
