"""The values of header fields, as people mean them."""

from __future__ import annotations

import time

import pytest

from docservice.ingest.extract.mail_headers import content_type, date, text


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


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("Mon, 02 Mar 2026 10:00:00 +0100", "2026-03-02T09:00:00+00:00"),
        ("2 Mar 26 10:00 GMT", "2026-03-02T10:00:00+00:00"),
        ("Mon, 02 Mar 2026 10:00:00 -0000", "2026-03-02T10:00:00+00:00"),
        ("Mon Mar  2 10:00:00 2026", "2026-03-02T10:00:00+00:00"),
        ("2026-03-02T10:00:00+01:00", "2026-03-02T09:00:00+00:00"),
        ("Tue, 30 Nov 1999 23:56:33 -3000 (CST)", "1999-12-02T05:56:33+00:00"),
        ("Mon, 31 Feb 2026 10:00:00 +0100", None),
        ("Mon, 02 Mar 0000 10:00:00 +0100", "2000-03-02T09:00:00+00:00"),
        ("Wed, 20 Sep 1995 00:19:00 (EDT) -0400", "1995-09-20T04:19:00+00:00"),
        ("Wed 29 May 2019 06:09:22 PM EDT", "2019-05-29T22:09:22+00:00"),
        ("29 May 2019 12:09 a.m.", "2019-05-29T00:09:00+00:00"),
        ("Mon, 02 Mar 2026 10:00:00 +01:00", "2026-03-02T09:00:00+00:00"),
        ("Mon, 02 Mar 2026 10:00 -5:30", "2026-03-02T15:30:00+00:00"),
        ("Mon Mar 02 2026 10:00:00 GMT+0100 (CET)", "2026-03-02T09:00:00+00:00"),
        ("Mon, 02 Mar 2026 10:00:00 UTC+1", "2026-03-02T09:00:00+00:00"),
        ("0001-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59.999999Z", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_date_is_a_moment_or_nothing(value: str, moment: str | None) -> None:
    found = date(value.encode())
    assert (found.isoformat() if found else None) == moment
