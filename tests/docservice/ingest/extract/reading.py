"""What the tests of reading share: rules, the collected cases, and one way to read bytes as a worker does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from docservice.domain.number_pattern import number_pattern
from docservice.ingest.extract.limits import Rules
from docservice.ingest.extract.process import process
from docservice.ingest.extract.sniff import sniff

if TYPE_CHECKING:
    from docservice.domain.extraction import Extraction

CASES = Path(__file__).parents[1] / "cases"
RULES = Rules(
    mail_number_header="X-Mail-Number",
    mail_number_pattern=number_pattern(r"\b[A-Z]{2,6}-\d{4}-\d{4,10}\b"),
    max_attachments=500,
    max_bytes=10_000_000,
)


def read(data: bytes) -> Extraction:
    return process(data, sniff(data).document_type, RULES)


def names(found: Extraction) -> list[str]:
    return [part.file_name for part in found.attachments]


def mail(header: str, body: bytes = b"Hello\n") -> bytes:
    """A mail with these header lines, and From and To in front of them."""
    lines = f"From: a@example.org\nTo: b@example.org\n{header}".rstrip("\n")
    return lines.encode("utf-8") + b"\n\n" + body


def multipart(*parts: tuple[str, bytes], kind: str = "mixed") -> bytes:
    """A mail whose parts have these header lines and bodies."""
    written = b"".join(b"--b\n" + header.encode() + b"\n\n" + body + b"\n" for header, body in parts)
    return mail(f"MIME-Version: 1.0\nContent-Type: multipart/{kind}; boundary=b", written + b"--b--\n")
