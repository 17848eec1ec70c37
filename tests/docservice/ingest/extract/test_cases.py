"""Mails and PDFs that were once read wrong, and those that were always right, each with all that is in it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from docservice.domain.documents import DocumentType
from docservice.domain.extraction import Attachment, Content, Extraction
from docservice.ingest.extract.sniff import sniff
from tests.docservice.ingest.extract.reading import CASES, RULES, read

NUMBER = "MN-2026-0001"
SENT = datetime(2026, 3, 2, 9, tzinfo=UTC)
#: What nearly all of the mails say of themselves.
PLAIN = Extraction(
    title="Order",
    sender="Ann Example <ann@example.org>",
    to_addresses="bob@example.org",
    message_id="<1@example.org>",
    sent_at=SENT,
    text="Hello\n",
)
NUMBERED = replace(PLAIN, mail_number=NUMBER, title=f"Order {NUMBER}")
SHORT = Extraction(title="Order", to_addresses="b@example.org", text="Hello\n")
BARE = Extraction(title=f"Order {NUMBER}", mail_number=NUMBER, text="Hello\n")
DATED = replace(SHORT, sent_at=SENT, sender="a@example.org")


def attached(name: str, data: bytes, kind: DocumentType, content_type: str, part: int = 0) -> Attachment:
    return Attachment(
        part=part,
        file_name=name,
        content=Content(document_type=kind, content_type=content_type),
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def zeros(name: str) -> Extraction:
    part = attached(name, b"\0\0\0", DocumentType.OTHER, "application/octet-stream")
    return replace(PLAIN, text="Hello", attachments=(part,))


def text_part(name: str, data: bytes, part: int = 0) -> Attachment:
    return attached(name, data, DocumentType.TEXT, "text/plain", part)


INNER = (
    b"From: Ann Example <ann@example.org>\r\nTo: bob@example.org\r\n"
    b"Date: Mon, 02 Mar 2026 10:00:00 +0100\r\nMessage-ID: <1@example.org>\r\n"
    b"Subject: Inner MN-2026-0009\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\nHello\r\n"
)
TNEF = b"\x78\x9f\x3e\x22" + b"\0" * 20

ONCE_WRONG = {
    "ascii_declared_utf8_body": replace(PLAIN, text="Envoyé par mobilité\n"),
    "att_base64_of_rfc822": replace(
        PLAIN,
        text="Hello",
        attachments=(attached("inner.eml", INNER, DocumentType.EMAIL, "message/rfc822"),),
    ),
    "att_name_encoded_word_unquoted": zeros("Rechnung ü.pdf"),
    "boundary_missing": replace(
        PLAIN,
        text="This body has no boundary at all, and should be found.\n",
        findings=("the boundary of its parts is missing; it was read as one text",),
    ),
    "charset_iso-8859-8-i": replace(PLAIN, text="שלום\n"),
    "charset_x-sjis": replace(PLAIN, text="日本語\n"),
    "from_comment": replace(SHORT, sender="Ann Example <ann@example.org>"),
    "from_dot_before_bracket": replace(SHORT, sender="Acme Inc. <info@example.org>", sent_at=SENT),
    "from_encoded_newline": replace(SHORT, sender="info@example.org", sent_at=SENT),
    "header_number_too_long": NUMBERED,
    "html_only": replace(PLAIN, text="Müller & Söhne GmbH"),
    "iso-8859-1_is_windows-1252": replace(PLAIN, text="Price: € 100 \u2013 \u201cquoted\u201d\n"),
    "leading_blank_line": NUMBERED,
    "long_dkim_first": NUMBERED,
    "mbox_escaped_from": NUMBERED,
    "no_charset_latin1_body": replace(PLAIN, text="Envoyé par mobilité\n"),
    "one_known_header": BARE,
    "one_known_header_multipart": Extraction(
        sender="ann@example.org",
        text="Hello",
        attachments=(attached("x.pdf", b"%PDF-", DocumentType.PDF, "application/pdf"),),
    ),
    "raw_latin1_subject": Extraction(
        mail_number=NUMBER,
        title=f"Grüße {NUMBER}",
        sender="a@example.org",
        to_addresses="bob@example.org",
        text="Hello\n",
    ),
    "space_before_colon": replace(BARE, sender="Ann <ann@example.org>", to_addresses="b@example.org"),
    "subject_gb2312_is_gbk": replace(DATED, title="訂單 镕"),
    "subject_lower_number": replace(PLAIN, mail_number=NUMBER, title="Re: mn-2026-0001 please"),
    "subject_number_underscore": replace(PLAIN, mail_number=NUMBER, title=f"[Ref_{NUMBER}_x]"),
    "utf8_bom": NUMBERED,
}
ALWAYS_RIGHT = {
    "att_name_encoded_word_folded": zeros("Rechnung ü.pdf"),
    "att_name_encoded_word_quoted": zeros("Rechnung ü.pdf"),
    "att_name_raw_utf8": zeros("Rechnung ü.pdf"),
    "att_name_rfc2231": zeros("Rechnung ü.pdf"),
    "att_name_semicolon": zeros("a;b.pdf"),
    "att_only_ct_name": zeros("x.pdf"),
    "att_tnef": replace(
        PLAIN,
        text="Hello",
        attachments=(attached("winmail.dat", TNEF, DocumentType.OTHER, "application/octet-stream"),),
    ),
    "att_uuencode": replace(PLAIN, text="Hello", attachments=(text_part("x.txt", b"Hello"),)),
    "content_type_broken": replace(PLAIN, text="Find me please\n"),
    "cte_unknown": replace(PLAIN, text="Äpfel\n"),
    "from_dot_space": replace(SHORT, sender="Acme Inc. <info@example.org>", sent_at=SENT),
    "header_number_twice": replace(PLAIN, mail_number=NUMBER),
    "inline_image_and_two_texts": replace(PLAIN, text="Same text"),
    "pgp_mime": replace(
        PLAIN,
        title="...",
        text="",
        attachments=(
            text_part("attachment-1", b"Version: 1"),
            text_part("encrypted.asc", b"-----BEGIN PGP MESSAGE-----", 1),
        ),
        findings=("the mail is encrypted (OpenPGP): without the key of a recipient its text cannot be read",),
    ),
    "raw_utf8_headers": Extraction(
        title="Grüße aus Köln",
        sender="Jörg Müller <jm@example.org>",
        to_addresses="bob@example.org",
        text="Hello\n",
    ),
    "raw_utf8_mail_number_header": replace(DATED, mail_number="ÄÖÜ-2026-0001", title="x", sent_at=None),
    "subject_encoded_newline": replace(DATED, mail_number=NUMBER, title=f"Order {NUMBER}"),
    "subject_encoded_space": replace(PLAIN, title="Café Zürich"),
    "subject_encoded_word_in_quotes": replace(PLAIN, mail_number=NUMBER, title=f'Re: "Grüße" {NUMBER}'),
    "subject_iso-2022-jp": replace(PLAIN, title="日本語"),
    "subject_number_folded": replace(PLAIN, mail_number=NUMBER, title=f"Order {NUMBER} now"),
    "subject_split_multibyte": replace(PLAIN, title="Grüße ö"),
}


@pytest.mark.parametrize("name", ONCE_WRONG)
def test_a_mail_that_was_read_wrong_is_read_right(name: str) -> None:
    data = (CASES / "mails" / f"{name}.eml").read_bytes()
    assert sniff(data).document_type is DocumentType.EMAIL
    assert read(data) == ONCE_WRONG[name]


@pytest.mark.parametrize("name", ALWAYS_RIGHT)
def test_a_mail_that_was_read_right_stays_so(name: str) -> None:
    assert read((CASES / "mails_ok" / f"{name}.eml").read_bytes()) == ALWAYS_RIGHT[name]


def test_every_case_is_expected() -> None:
    assert {path.stem for path in (CASES / "mails").iterdir()} == ONCE_WRONG.keys()
    assert {path.stem for path in (CASES / "mails_ok").iterdir()} == ALWAYS_RIGHT.keys()


def test_the_mail_within_a_mail_has_its_own_number() -> None:
    outer = read((CASES / "mails" / "att_base64_of_rfc822.eml").read_bytes())
    assert read(outer.attachments[0].data).mail_number == "MN-2026-0009"


PDFS = {
    "aes128_empty_password": (),
    "aes256_empty_password": (),
    "leading_bytes": (),
    "plain": (),
    "rc4_empty_password": (),
    "second_part_of_content_cut": ("page 1 is damaged (PdfReadError)",),
}


@pytest.mark.parametrize("name", PDFS)
def test_a_pdf_is_found_and_read(name: str) -> None:
    data = (CASES / "pdfs" / f"{name}.pdf").read_bytes()
    assert sniff(data).document_type is DocumentType.PDF
    assert read(data) == Extraction(text="Find me please", pages=1, findings=PDFS[name])


def test_the_rules_of_these_tests_are_those_of_the_settings() -> None:
    assert RULES.mail_number_pattern.find("mn-2026-0001") == NUMBER
