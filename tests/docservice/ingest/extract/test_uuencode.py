"""Files that are uuencoded within a text are attached, and a text that only looks so stays a text."""

from __future__ import annotations

import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docservice.ingest.extract.uuencode import uuencoded_files
from tests.docservice.ingest.extract.reading import mail, names, read


def written(name: str, data: bytes, *, end: bytes = b"`\nend\n") -> bytes:
    lines = [binascii.b2a_uu(data[at : at + 45], backtick=True) for at in range(0, len(data), 45)]
    return f"begin 644 {name}\n".encode() + b"".join(lines) + end


@given(
    st.binary(min_size=1, max_size=500), st.sampled_from([b"`\nend\n", b" \nend\n", b"end\n", b"\nend \n"])
)
def test_what_was_written_is_read_back(data: bytes, end: bytes) -> None:
    text = b"before\n" + written("a b.bin", data, end=end) + b"after\n"
    assert uuencoded_files(text) == (b"before\nafter\n", [(b"a b.bin", data)])
    crlf = text.replace(b"\n", b"\r\n")
    assert uuencoded_files(crlf) == (b"before\r\nafter\r\n", [(b"a b.bin", data)])


@pytest.mark.parametrize(
    "text",
    [
        b"begin 644 a way to the house\nand go on\nend\n",
        b"begin 644 a.txt\nend\n",
        written("a.bin", b"x" * 90, end=b""),
        written("a.bin", b"x" * 90).replace(b"M", b"~", 1),
        b"they begin 644 x\n#AB\nend\n",
        b"",
    ],
)
def test_a_text_that_is_no_file_stays_as_it_is(text: bytes) -> None:
    assert uuencoded_files(text) == (text, [])


def test_a_file_behind_one_that_breaks_off_is_found() -> None:
    broken = b"begin 644 a.bin\n"
    text = b"before\n" + broken + written("b.bin", b"data") + b"after\n"
    assert uuencoded_files(text) == (b"before\n" + broken + b"after\n", [(b"b.bin", b"data")])


@given(st.binary(max_size=300).map(lambda data: b"begin 644 x\n" + data))
def test_any_bytes_are_a_text(data: bytes) -> None:
    rest, files = uuencoded_files(data)
    assert len(rest) + sum(len(found) for _, found in files) <= len(data)


@pytest.mark.parametrize(
    "pattern",
    [
        b"begin 644 x\n",
        b"begin 644 x\n#86)C\n",
        b"begin 644 " + b"x" * 300,
        b"begin 644 x" + b" " * 2_000_000 + b"x\n",
    ],
)
def test_a_hostile_text_takes_linear_time(pattern: bytes) -> None:
    uuencoded_files(pattern * (4_000_000 // len(pattern)))


def test_a_file_within_the_text_of_a_mail_is_attached() -> None:
    data = b"%PDF-1.4\n1 0 obj\n"
    found = read(mail("", b"please find it\n\n" + written("=?utf-8?q?Bel=C3=A9g.pdf?=", data) + b"\nyours\n"))
    assert (found.text, names(found)) == ("please find it\n\n\nyours\n", ["Bel\u00e9g.pdf"])
    assert found.attachments[0].data == data
