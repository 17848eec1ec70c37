"""The text of HTML is what a person reads."""

from __future__ import annotations

import time

import pytest

from docservice.ingest.extract.html_text import html_text, meta_charset


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>M&uuml;ller &amp; S&#246;hne&nbsp;GmbH</p>", "Müller & Söhne GmbH"),
        ("<style>p{}</style><script>var a = '<p>';</script>Hello", "Hello"),
        ("<STYLE>x</STYLE >Hello<Script>y</sCRIPT>", "Hello"),
        ("<title>Not shown</title>Hello", "Hello"),
        ("one<br>two<p>three</p>four", "one\ntwo\nthree\nfour"),
        ("MN-<b>2026</b>-0001", "MN-2026-0001"),
        ("<td>one</td><td>two</td>", "one two"),
        ("one <!-- > not shown --> two", "one two"),
        ("<!--[if mso]><p>not shown</p><![endif]-->Hello", "Hello"),
        ("<a href=\"x>y\" title='>'>link</a>", "link"),
        ("<a href=it's>link</a> on", "link on"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<p>line\none\n\nparagraph", "line one paragraph"),
        ("Hello <a href='", "Hello"),
        ("Hello <!-- never closed", "Hello"),
        ("Hello <style>never closed", "Hello"),
        ("in&shy;visible", "invisible"),
        ("", ""),
    ],
)
def test_markup_is_left_out_and_entities_are_decoded(source: str, text: str) -> None:
    assert html_text(source) == text


@pytest.mark.parametrize(
    ("data", "charset"),
    [
        (b'<meta charset="koi8-r">', "koi8-r"),
        (b"<META http-equiv=Content-Type content='text/html; charset=windows-1251'>", "windows-1251"),
        (b"<p>charset=utf-8", None),
    ],
)
def test_the_charset_of_the_document_is_found(data: bytes, charset: str | None) -> None:
    assert meta_charset(data) == charset


@pytest.mark.parametrize(
    "pattern",
    ["<", "<a ", "<!--", "<a b='", '<a b="', "<a '\"=", "<style>", "&", "&#", "</", "<a>", "<a =\"'", "\n "],
)
def test_a_hostile_text_takes_linear_time(pattern: str) -> None:
    started = time.process_time()
    html_text(pattern * (1_000_000 // len(pattern)))
    assert time.process_time() - started < 10
