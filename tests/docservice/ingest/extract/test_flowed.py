"""Lines that the sender's program broke are joined as it says."""

from __future__ import annotations

import time

import pytest

from docservice.ingest.extract.flowed import is_flowed, unflowed
from docservice.ingest.extract.mail_headers import content_type


@pytest.mark.parametrize(
    ("kind", "written", "read"),
    [
        ("format=flowed", "one \ntwo\nthree", "one two\nthree"),
        ("format=flowed; delsp=no", "one \r\ntwo", "one two"),
        ("format=flowed; delsp=yes", "No. MN-2026-00 \n01", "No. MN-2026-0001"),
        ("Format=Flowed; DelSp=Yes", "one  \ntwo", "one two"),
        ("format=flowed", "> one \n> two\n>> three \nfour", "> one two\n>> three \nfour"),
        ("format=flowed", " >one\n From x", ">one\nFrom x"),
        ("format=flowed; delsp=yes", "one \n-- \nann", "one\n-- \nann"),
        ("format=flowed", "one \n\ntwo", "one \ntwo"),
        ("format=flowed", "", ""),
    ],
)
def test_lines_are_joined_where_one_ends_with_a_blank(kind: str, written: str, read: str) -> None:
    found = content_type(f"text/plain; {kind}".encode())
    assert (is_flowed(found), unflowed(written, found)) == (True, read)


@pytest.mark.parametrize("kind", ["text/plain", "text/plain; format=fixed", "text/html; format=flowed"])
def test_other_texts_keep_their_lines(kind: str) -> None:
    assert not is_flowed(content_type(kind.encode()))


def test_joining_takes_linear_time() -> None:
    begun = time.process_time()
    unflowed("> a \n" * 200_000, content_type(b"text/plain; format=flowed; delsp=yes"))
    assert time.process_time() - begun < 10
