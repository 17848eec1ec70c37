"""The values of header fields, as people mean them."""

from __future__ import annotations

import time

import pytest

from docservice.ingest.extract.mail_headers import content_type, text


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("=?utf-8?Q?Caf=C3=A9 Z=C3=BCrich?=", "Café Zürich"),
        ("=?utf-8?b?R3LD?= =?utf-8?b?vMOfZQ==?=", "Grüße"),
        ("=?utf-8?q?a?=\n =?utf-8?q?b?= c =?utf-8?q?d?=", "ab c d"),
        ("=?utf-8?q?what??= now", "what? now"),
        ("=?utf-8*de?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=?x-unknown?q?Gr=FC=DFe?=", "Grüße"),
        ("=?utf-8?b?R3LDvMOfZQ?=", "Grüße"),
        ("a=?utf-8?q?b?=c", "abc"),
        ("=?utf-8?q?a=00b=07c?=", "a b c"),
        ("=?utf-8?q?broken", "=?utf-8?q?broken"),
    ],
)
def test_a_value_is_readable_text(value: str, read: str) -> None:
    assert text(value.encode()) == read


@pytest.mark.parametrize(
    ("value", "full", "charset"),
    [
        ("text/plain; charset=utf-8", "text/plain", "utf-8"),
        ("TEXT/HTML;CHARSET='utf-8'", "text/html", "utf-8"),
        ('text/html charset="utf-8"', "text/html", "utf-8"),
        ("text/plain (a comment); charset=utf-8", "text/plain", "utf-8"),
        ("text", "text/plain", None),
        ("", "text/plain", None),
        ("application/pdf;;; = ;x", "application/pdf", None),
    ],
)
def test_a_media_type_is_found(value: str, full: str, charset: str | None) -> None:
    found = content_type(value.encode())
    assert (found.full, found.parameters.get("charset")) == (full, charset)


@pytest.mark.parametrize("pattern", ['"\\', '\\"', ';\\"', '"', ";", "=", ";a=b", "a*0*=;", "%"])
def test_a_hostile_value_takes_linear_time(pattern: str) -> None:
    started = time.process_time()
    for start in ("", "x", '"', "\\", ";"):
        content_type((start + pattern * 65_536).encode()[:65_536])
    assert time.process_time() - started < 5
