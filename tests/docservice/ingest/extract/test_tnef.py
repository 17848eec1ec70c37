"""``winmail.dat`` is opened: its text and its files, and what is damaged is named."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from docservice.domain.documents import DocumentType
from docservice.ingest.extract.tnef import SIGNATURE, Tnef, TnefAttachment, read_tnef
from tests.docservice.ingest.extract.reading import multipart, names, read


def attribute(level: int, name: int, data: bytes) -> bytes:
    return struct.pack("<BHHI", level, name, 0, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)


def unicode_property(name: int, text: str) -> bytes:
    data = text.encode("utf-16-le") + b"\0\0"
    return struct.pack("<HHII", 0x1F, name, 1, len(data)) + data + b"\0" * (-len(data) % 4)


def properties(*items: bytes) -> bytes:
    return struct.pack("<I", len(items)) + b"".join(items)


NUMBER = struct.pack("<HHI", 3, 0x0E07, 1)
NAMED = struct.pack("<HH16sII", 3, 0x8001, b"g" * 16, 0, 7) + struct.pack("<I", 5)
WINMAIL = (
    SIGNATURE
    + b"\x01\x00"
    + attribute(1, 0x9007, struct.pack("<II", 1252, 0))
    + attribute(1, 0x9003, properties(NUMBER, NAMED, unicode_property(0x1000, "Grüße, MN-2026-0001")))
    + attribute(2, 0x9002, b"\0" * 14)
    + attribute(2, 0x8010, b"RECHNU~1.PDF\0")
    + attribute(2, 0x800F, b"%PDF-1.7 x")
    + attribute(2, 0x9005, properties(unicode_property(0x3707, "Rechnung ü.pdf")))
)


def test_its_text_and_its_files_are_those_of_the_mail() -> None:
    header = 'Content-Type: application/ms-tnef; name="winmail.dat"\nContent-Transfer-Encoding: 8bit'
    found = read(multipart((header, WINMAIL)))
    assert (found.text, found.mail_number, found.findings) == ("Grüße, MN-2026-0001", "MN-2026-0001", ())
    assert names(found) == ["winmail.dat", "Rechnung ü.pdf"]
    assert found.attachments[1].content.document_type is DocumentType.PDF


def test_what_comes_before_a_damage_is_kept_and_the_damage_is_named() -> None:
    found = read_tnef(WINMAIL[:-30])
    assert found == Tnef(
        text="Grüße, MN-2026-0001",
        attachments=[TnefAttachment(name="RECHNU~1.PDF", data=b"%PDF-1.7 x")],
        damage="48 bytes are announced and 20 are left",
    )
    shown = read(multipart(("Content-Type: application/ms-tnef; name=winmail.dat", WINMAIL[:-30])))
    assert shown.findings == ("winmail.dat is damaged: 48 bytes are announced and 20 are left",)


@given(st.one_of(st.binary(max_size=100), st.binary(max_size=100).map(lambda tail: WINMAIL[:-40] + tail)))
def test_any_bytes_are_read_as_far_as_they_go(data: bytes) -> None:
    assert isinstance(read_tnef(data), Tnef)
