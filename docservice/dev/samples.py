"""Sample mails and PDFs for the demo, the tests and the benchmarks: the same number gives the same bytes."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SUBJECTS = ("Offer", "Claim", "Invoice", "Question", "Reminder", "Contract", "Delivery", "Complaint")
_TEXT = """please find attached the papers that we spoke of and tell us when they have come
our number is above and we answer within the week"""
_FIRST_DATE = datetime(2026, 1, 1, tzinfo=UTC)
_WORDS = tuple(_TEXT.split())
_WORDS_IN_A_LINE = 12
_LINES = 48


def sample_pdf(text: str, *, pages: int = 1) -> bytes:
    """A PDF whose first line is ``text``; characters outside ASCII become question marks.

    With more than one page, each page has the lines of a full letter: reading one costs some milliseconds.
    """
    shown = text.encode("ascii", "replace").replace(b"\\", b"").replace(b"(", b"").replace(b")", b"")
    contents = [b"BT /F1 12 Tf 72 720 Td (" + shown + b") Tj ET"]
    if pages > 1:
        contents = [_letter(shown, number, pages) for number in range(1, pages + 1)]
    return _pdf(contents)


def _letter(title: bytes, number: int, pages: int) -> bytes:
    """What is drawn on one page that is full of text."""
    drawn = random.Random(f"{title!r} {number}")  # noqa: S311 - a made-up text, not a secret
    lines = [title, f"Page {number} of {pages}".encode()]
    lines += [" ".join(drawn.choice(_WORDS) for _ in range(_WORDS_IN_A_LINE)).encode() for _ in range(_LINES)]
    return b"BT /F1 12 Tf 14 TL 72 740 Td " + b"\n".join(b"(%s) Tj T*" % line for line in lines) + b" ET"


def _pdf(contents: Sequence[bytes]) -> bytes:
    """The file with a page for each content."""
    first = 4  # the first page's number; its content has the next one
    numbers = range(first, first + 2 * len(contents), 2)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>"
        % (b" ".join(b"%d 0 R" % number for number in numbers), len(contents)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, content in zip(numbers, contents, strict=True):
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (number + 1),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        ]
    written = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(written)
    written += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    written += b"".join(b"%010d 00000 n \n" % place for place in places)
    written += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(written)


def sample_number(number: int) -> str:
    """A mail number that matches the default pattern of the settings."""
    return f"MN-{2020 + number % 7}-{number * 7919 % 1_000_000:06d}"


def sample_mail(number: int, *, size_bytes: int = 4_000, attachment: bool = True, pages: int = 1) -> bytes:
    """A mail of about ``size_bytes`` with its number in the subject, and a PDF of so many pages."""
    drawn = random.Random(number)  # noqa: S311 - a sample text, not a secret
    mail = EmailMessage()
    mail["From"] = f"Sender {number % 97} <sender{number % 97}@example.org>"
    mail["To"] = "office@example.com"
    mail["Subject"] = f"{drawn.choice(_SUBJECTS)} {sample_number(number)}"
    mail["Date"] = format_datetime(_FIRST_DATE + timedelta(minutes=number))
    mail["Message-ID"] = f"<{number}.{drawn.getrandbits(48):x}@example.org>"
    lines: list[str] = []
    left = size_bytes - 1500
    while left > 0:
        line = " ".join(drawn.choice(_WORDS) for _ in range(10))
        lines.append(line)
        left -= len(line) + 1
    mail.set_content("\n".join(lines) or "Nothing more.")
    if attachment:
        mail.add_attachment(
            sample_pdf(f"Paper {number} of {sample_number(number)}", pages=pages),
            maintype="application",
            subtype="pdf",
            filename=f"paper-{number}.pdf",
        )
    return mail.as_bytes()


def sample_files(*, mails: int, pdfs: int, pages: int = 1) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of files to upload; every mail has a PDF attached, and each PDF has ``pages`` pages."""
    for number in range(1, mails + 1):
        yield f"mail-{number}.eml", sample_mail(number, pages=pages)
    for number in range(1, pdfs + 1):
        yield f"letter-{number}.pdf", sample_pdf(f"Letter {number}", pages=pages)
