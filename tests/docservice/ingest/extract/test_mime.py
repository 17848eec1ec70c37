"""A mail falls into the parts that its sender meant, also where its structure is broken."""

from __future__ import annotations

import base64
import email.policy
import hashlib
import time
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docservice.ingest.extract.limits import ProcessingError
from docservice.ingest.extract.mime import header_and_body, parts, start_of_mail


def bodies(data: bytes) -> list[bytes]:
    return [part.body() for part in parts(start_of_mail(data))]


HEAD = b"From: a@b\nContent-Type: multipart/mixed; boundary=b\n\n"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (HEAD + b"--b\n\none\n--b\n\ntwo\n--b--\n", [b"one", b"two"]),
        ((HEAD + b"--b\n\none\n--b\n\ntwo\n--b--\n").replace(b"\n", b"\r\n"), [b"one", b"two"]),
        (HEAD + b"preamble\n--b  \n\none\n--b--\nepilogue\n--b\n\nthree\n", [b"one"]),
        (HEAD + b"--b\n\none\n--b\n\nnot closed", [b"one", b"not closed"]),
        (HEAD + b"--b\n\none\n--bc\n\n--b --\nstill\n--b--", [b"one\n--bc\n\n--b --\nstill"]),
        (HEAD + b"--b\n--b\n\ntwo\n--b--\n", [b"", b"two"]),
        (HEAD + b"--b--\n", []),
        (HEAD, [b""]),
        (
            HEAD + b"--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\none\n--b\n\ntwo\n--b--\n",
            [b"one", b"two"],
        ),
        (
            HEAD + b"--b\nContent-Type: multipart/mixed; boundary=c\n\nno c\n--b\n\ntwo\n--b--\n",
            [b"no c", b"two"],
        ),
        (
            HEAD
            + b"--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n--b\n\ntwo\n--b--\n",
            [b"one", b"two"],
        ),
        (b"From: a@b\nContent-Type: multipart/mixed\n\n--b\n\none\n", [b"--b\n\none\n"]),
        (b'From: a@b\nContent-Type: multipart/mixed;\n boundary="b c"\n\n--b c\n\none\n--b c--', [b"one"]),
        (b"From: a@b\nContent-Type: multipart/mixed; boundary*=us-ascii''b\n\n--b\n\none\n--b--", [b"one"]),
        (b"From: a@b\n\nx\n--b\ny", [b"x\n--b\ny"]),
        (b"From: a@b", [b""]),
    ],
)
def test_parts_are_split_at_boundaries(data: bytes, expected: list[bytes]) -> None:
    assert bodies(data) == expected


def header(data: bytes) -> tuple[tuple[tuple[str, bytes], ...], bytes]:
    found, begin = header_and_body(start_of_mail(data))
    return found.fields, start_of_mail(data)[begin:]


@pytest.mark.parametrize(
    ("data", "fields", "body"),
    [
        (b"A: 1\nB : 2\n\nx", (("a", b" 1"), ("b", b" 2")), b"x"),
        (b"A: 1\n 2\n\t3\n\nx", (("a", b" 1\n 2\n\t3"),), b"x"),
        (b"A: 1\nbroken line\nSubject: 2\n\nx", (("a", b" 1"), ("subject", b" 2")), b"x"),
        (b"A: 1\nThe text begins here.\n\nx", (("a", b" 1"),), b"The text begins here.\n\nx"),
        (b"A: 1\r\r\nB: 2\r\r\n\r\r\nx", (("a", b" 1"), ("b", b" 2")), b"x"),
        (b"A: 1\rB: 2\r\rx", (("a", b" 1"), ("b", b" 2")), b"x"),
        (b"From x\n>From y\nA: 1\n\nx", (("a", b" 1"),), b"x"),
        (b"A\n : 1\nB: 2\r\n\nx", (("a", b" 1"), ("b", b" 2")), b"x"),
        (b"A \r\n\t: 1\r\n 2\r\n\r\nx", (("a", b" 1\n 2"),), b"x"),
        (b"A: 1\nHello\n\n : x", (("a", b" 1"),), b"Hello\n\n : x"),
    ],
)
def test_a_header_ends_where_the_text_begins(
    data: bytes, fields: tuple[tuple[str, bytes], ...], body: bytes
) -> None:
    assert header(data) == (fields, body)


@given(
    texts=st.lists(
        st.tuples(
            st.text(
                alphabet=st.characters(exclude_characters="\r\x00", exclude_categories=("Cs",)), max_size=60
            ),
            st.sampled_from(["base64", "quoted-printable", "8bit"]),
        ),
        min_size=1,
        max_size=4,
    ),
    files=st.lists(st.binary(max_size=200), max_size=3),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_the_standard_library_writes_is_read_back(
    texts: list[tuple[str, str]], files: list[bytes], line_end: str
) -> None:
    message = EmailMessage(policy=email.policy.default.clone(linesep=line_end))
    message["From"] = "a@example.org"
    message.make_mixed()
    for written, encoding in texts:
        part = EmailMessage()
        part.set_content(written, cte=encoding)
        message.attach(part)
    for data in files:
        message.add_attachment(data, maintype="application", subtype="octet-stream")
    found = bodies(message.as_bytes())
    assert found[len(texts) :] == files
    read = [body.decode().replace("\r\n", "\n").rstrip("\n") for body in found[: len(texts)]]
    assert read == [written.rstrip("\n") for written, _ in texts]


@pytest.mark.parametrize(
    ("encoding", "written", "data"),
    [
        ("base64", b"SGVs\nbG8=\n", b"Hello"),
        ("Base64", b"SGVsbG8", b"Hello"),
        ("base64", b"SGVs!bG8= SGVsbG8=", b"HelloHello"),
        ("base64", b"SGVsbG8=S", b"Hello"),
        ("quoted-printable", b"H=C3=A9l= \nlo=\n", "Héllo".encode()),
        ("quoted-printable", b"50% = =ZZ", b"50% = =ZZ"),
        ("x-uuencode", b"begin 644 x\n%2&5L;&\\\n`\nend\n", b"Hello"),
        ("unknown", b"Hello", b"Hello"),
    ],
)
def test_an_encoding_is_undone_as_far_as_it_is_one(encoding: str, written: bytes, data: bytes) -> None:
    assert bodies(b"From: a@b\nContent-Transfer-Encoding: " + encoding.encode() + b"\n\n" + written) == [data]


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"--b\n\n" * 9_000,
        HEAD + b"--x\n" * 400_000,
        b"From: a@b\n" + b" \n" * 500_000,
        b"From: a@b\n" + b"X: y\n" * 200_000,
        b"broken\n" * 200_000,
        b"From: a@b\nContent-Type: multipart/mixed" + b'; a="\\"' * 200_000,
        b"From: a@b\nContent-Transfer-Encoding: base64\n\n" + b"=A" * 1_000_000,
        b"From: a@b\nContent-Transfer-Encoding: quoted-printable\n\n" + b"= " * 1_000_000,
        b"From: a@b\nContent-Transfer-Encoding: x-uuencode\n\n" + b"M\n" * 400_000,
    ],
)
def test_a_hostile_structure_takes_bounded_time(data: bytes) -> None:
    started = time.process_time()
    total = hashlib.sha256()
    try:
        for part in parts(start_of_mail(data)):
            total.update(part.body())
    except ProcessingError:
        pass
    assert time.process_time() - started < 15


def test_base64_is_what_it_always_was() -> None:
    data = bytes(range(256)) * 50
    assert bodies(b"From: a@b\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(data)) == [data]
