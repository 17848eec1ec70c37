"""What is text, what is an attachment, and which of several sources counts."""

from __future__ import annotations

import base64

import pytest

from docservice.domain.documents import DocumentType
from tests.docservice.ingest.extract.reading import mail, multipart, names, read


@pytest.mark.parametrize(
    ("header", "body", "number"),
    [
        ("X-Mail-Number: my  7\nSubject: MN-2026-0001", b"MN-2026-0002", "MY 7"),
        ("Subject: MN-2026-0001", b"MN-2026-0002", "MN-2026-0001"),
        ("Subject: Order", b"see mn-2026-0002, thanks", "MN-2026-0002"),
        ("Subject: Order", "see MN\u20112026\u20130003".encode(), "MN-2026-0003"),
        ("Subject: --MN-2026-0001--", b"", "MN-2026-0001"),
        ("Subject: Order", "no\u200bMN-2026-0001 or M\u00adN-2026-0002".encode(), "MN-2026-0001"),
        ("Subject: Order", "see M\u00adN-2026-\u200b\u20600001".encode(), "MN-2026-0001"),
        ("X-Mail-Number:\nX-Mail-Number: 7\nSubject: MN-2026-0001", b"", "7"),
        ("Subject: _mn-2026-0001_ and MN-2026-0002", b"", "MN-2026-0001"),
        ("X-Mail-Number: =?utf-8?q?a=01?=\nSubject: Order", b"", "A"),
        (f"X-Mail-Number: {'9' * 201}", b"", None),
        ("Subject: MN-2026-00", b"", None),
    ],
)
def test_a_number_comes_from_the_header_then_the_subject_then_the_text(
    header: str, body: bytes, number: str | None
) -> None:
    assert read(mail(header, body)).mail_number == number


def test_a_number_in_html_is_found() -> None:
    found = read(mail("Content-Type: text/html", b"<p>No. <b>MN-2026</b>-0001</p>"))
    assert (found.mail_number, found.text) == ("MN-2026-0001", "No. MN-2026-0001")


def test_what_follows_a_large_picture_within_html_is_read() -> None:
    picture = b'<img src="data:image/png;base64,' + b"A" * 5_000_000 + b'">'
    found = read(mail("Content-Type: text/html", b"<p>Hello" + picture + b"<p>No. MN-2026-0001"))
    assert (found.mail_number, found.text, found.findings) == ("MN-2026-0001", "Hello\nNo. MN-2026-0001", ())


def test_a_number_that_the_program_of_the_sender_broke_is_found_and_a_guessed_zone_is_said() -> None:
    header = "Date: Mon, 2 Mar 2026 10:00:00 IST\nContent-Type: text/plain; format=flowed; delsp=yes"
    found = read(mail(header, b"No. MN-2026-00 \n01"))
    assert (found.mail_number, found.text, found.findings) == (
        "MN-2026-0001",
        "No. MN-2026-0001",
        ("the zone IST of its Date is not known, or means several: it was read as UTC",),
    )


def test_a_text_that_is_given_twice_is_kept_once_and_another_is_kept_beside_it() -> None:
    plain, markup = ("Content-Type: text/plain", b"Same\n text"), ("Content-Type: text/html", b"<p>Same text")
    assert read(multipart(plain, markup, kind="alternative")).text == "Same\n text"
    other = ("Content-Type: text/html", b"<p>Order MN-2026-0001")
    assert read(multipart(plain, other, kind="alternative")).text == "Same\n text\n\nOrder MN-2026-0001"


def test_a_named_text_within_the_mail_is_text_and_file() -> None:
    inline = ("Content-Type: text/plain; name=a.txt\nContent-Disposition: inline", b"seen")
    attachment = ("Content-Type: text/plain\nContent-Disposition: attachment", b"not seen")
    found = read(multipart(inline, attachment))
    assert (found.text, names(found)) == ("seen", ["a.txt", "attachment-2"])


def test_what_a_report_says_is_text_and_the_mail_it_is_about_is_attached() -> None:
    found = read(
        multipart(
            ("Content-Type: text/plain", b"Could not be delivered."),
            (
                "Content-Type: message/delivery-status",
                b"Final-Recipient: rfc822; c@example.org\nStatus: 5.1.1",
            ),
            ("Content-Type: text/rfc822-headers", b"Subject: Order MN-2026-0001"),
            ("Content-Type: message/rfc822", b"Subject: inner\nFrom: c@example.org\n\nx"),
            kind="report",
        )
    )
    assert found.text == (
        "Could not be delivered.\n\nFinal-Recipient: rfc822; c@example.org\nStatus: 5.1.1"
        "\n\nSubject: Order MN-2026-0001"
    )
    assert [(part.file_name, part.content.document_type) for part in found.attachments] == [
        ("mail.eml", DocumentType.EMAIL)
    ]


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "7bit", "BASE64 ", "8bit"])
def test_a_mail_within_a_mail_is_kept_byte_for_byte(encoding: str) -> None:
    inner = b"From: c@example.org\nSubject: =?utf-8?q?inner?= MN-2026-0009\n\nx=y"
    written = {"base64": base64.encodebytes(inner), "quoted-printable": inner.replace(b"=", b"=3D")}
    body = written.get(encoding.strip().lower(), inner)
    header = f"Content-Type: message/rfc822\nContent-Transfer-Encoding: {encoding}"
    found = read(multipart((header, body)))
    assert [part.data for part in found.attachments] == [inner]
    assert read(found.attachments[0].data).mail_number == "MN-2026-0009"


def test_the_parts_of_a_digest_are_mails() -> None:
    found = read(
        multipart(("", b"From: a@b\nSubject: one\n\nx"), ("", b"From: a@b\nSubject: two\n\ny"), kind="digest")
    )
    assert [read(part.data).title for part in found.attachments] == ["one", "two"]


def test_a_text_that_is_not_the_base64_that_it_claims_is_read_as_it_stands() -> None:
    body = "Größe: 5 m, Farbe: rot; bitte bis Montag!\n".encode()
    assert read(mail("Content-Transfer-Encoding: base64", body)).text == body.decode()


def test_people_dates_and_ids_are_kept() -> None:
    found = read(
        mail(
            "Cc: =?utf-8?q?J=C3=B6rg?= <j@example.org>,\n  k@example.org\n"
            "Message-ID: <x@example.org>\nDate: Tue, 3 Mar 2026 01:02:03 -0500 (EST)"
        )
    )
    assert (found.sender, found.to_addresses, found.cc_addresses, found.message_id) == (
        "a@example.org",
        "b@example.org",
        "Jörg <j@example.org>, k@example.org",
        "<x@example.org>",
    )
    assert found.sent_at is not None
    assert found.sent_at.isoformat() == "2026-03-03T06:02:03+00:00"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('Content-Disposition: attachment; filename="=?iso-8859-1?q?f=FCr?= you.pdf"', "für you.pdf"),
        ("Content-Disposition: attachment; filename=two words.pdf", "two words.pdf"),
        ("Content-Disposition: attachment; filename*=iso-8859-1'de'f%FCr.pdf", "für.pdf"),
        ("Content-Disposition: attachment; filename*0=one; filename*1=-two.pdf", "one-two.pdf"),
        ("Content-Disposition: attachment; filename*1=-two.pdf; filename*0=one", "one-two.pdf"),
        ("Content-Disposition: attachment; filename=a.pdf; filename*=utf-8''%C3%A4.pdf", "ä.pdf"),
        ('Content-Disposition: attachment; filename="C:\\temp\\a \\"b\\".pdf"', 'a "b".pdf'),
        ("Content-Disposition: attachment\n ;filename=\n  a.pdf", "a.pdf"),
        ('Content-Type: application/pdf; name="=?utf-8?b?w6QucGRm?="', "ä.pdf"),
        ('Content-Disposition: attachment; filename="=?gb2312?B?tqm1pS5wZGY=?="', "订单.pdf"),
        ("Content-Disposition: attachment; filename*=utf-8''..%2F..%2Fetc%2Fpasswd", "passwd"),
        ('Content-Disposition: attachment; filename="never closed.pdf', "never closed.pdf"),
    ],
)
def test_the_name_of_an_attachment_is_found_in_every_encoding(header: str, name: str) -> None:
    header = header if header.startswith("Content-Type") else f"Content-Type: application/pdf\n{header}"
    assert names(read(multipart((header, b"x")))) == [name]


def test_the_raw_name_of_an_attachment_is_in_the_charset_of_the_mail() -> None:
    data = multipart(
        ("Content-Type: text/plain; charset=koi8-r", "Привет".encode("koi8-r")),
        ('Content-Type: application/pdf; name="NAME"', b"x"),
    ).replace(b"NAME", "Счёт.pdf".encode("koi8-r"))
    found = read(data)
    assert (found.text, names(found)) == ("Привет", ["Счёт.pdf"])
