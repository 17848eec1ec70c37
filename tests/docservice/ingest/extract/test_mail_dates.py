"""The moment of a mail, and where its zone is a guess."""

from __future__ import annotations

import pytest

from docservice.ingest.extract.mail_dates import date

NO_ZONE = ("its Date has no zone: it was read as UTC",)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("Mon, 02 Mar 2026 10:00:00 +0100", "2026-03-02T09:00:00+00:00"),
        ("2 Mar 26 10:00 GMT", "2026-03-02T10:00:00+00:00"),
        ("Mon, 02 Mar 2026 10:00:00 -0000", "2026-03-02T10:00:00+00:00"),
        ("2026-03-02T10:00:00+01:00", "2026-03-02T09:00:00+00:00"),
        ("Tue, 30 Nov 1999 23:56:33 -3000 (CST)", "1999-12-02T05:56:33+00:00"),
        ("Mon, 31 Feb 2026 10:00:00 +0100", None),
        ("Mon, 02 Mar 0000 10:00:00 +0100", "2000-03-02T09:00:00+00:00"),
        ("Wed, 20 Sep 1995 00:19:00 (EDT) -0400", "1995-09-20T04:19:00+00:00"),
        ("Wed 29 May 2019 06:09:22 PM EDT", "2019-05-29T22:09:22+00:00"),
        ("Mon, 02 Mar 2026 10:00:00 +01:00", "2026-03-02T09:00:00+00:00"),
        ("Mon, 02 Mar 2026 10:00 -5:30", "2026-03-02T15:30:00+00:00"),
        ("Mon Mar 02 2026 10:00:00 GMT+0100 (CET)", "2026-03-02T09:00:00+00:00"),
        ("Mon, 02 Mar 2026 10:00:00 UTC+1", "2026-03-02T09:00:00+00:00"),
        ("Mon, 02 Mar 2026 10:00:00 EST", "2026-03-02T15:00:00+00:00"),
        ("Mon, 02 Mar 2026 10:00:00 CET", "2026-03-02T09:00:00+00:00"),
        ("Mon, 02 Mar 2026 10:00 mesz", "2026-03-02T08:00:00+00:00"),
        ("Thu, 02 Jul 2026 10:00:00 BST", "2026-07-02T09:00:00+00:00"),
        ("Mon Mar  2 10:00:00 CET 2026", "2026-03-02T09:00:00+00:00"),
        ("Mon Mar  2 10:00:00 2026 JST", "2026-03-02T01:00:00+00:00"),
        ("Mon, 02 Mar 2026 10:00:00 CET +0200", "2026-03-02T08:00:00+00:00"),
        ("Mon, 02 Mar 2026 10:00:00 +0200 CET", "2026-03-02T08:00:00+00:00"),
        ("Mon, 02 Mar 2026 10:00:00 ACST", "2026-03-02T00:30:00+00:00"),
        ("Mon, 02 Mar 2026 10:00:00 NST", "2026-03-02T13:30:00+00:00"),
        ("2026-03-02T10:00:00Z", "2026-03-02T10:00:00+00:00"),
        ("0001-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59.999999Z", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_date_is_a_moment_or_nothing(value: str, moment: str | None) -> None:
    found, findings = date(value.encode())
    assert (found.isoformat() if found else None, findings) == (moment, ())


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("Mon Mar  2 10:00:00 2026", "2026-03-02T10:00:00+00:00"),
        ("29 May 2019 12:09 a.m.", "2019-05-29T00:09:00+00:00"),
        ("2026-03-02T10:00:00", "2026-03-02T10:00:00+00:00"),
        ("2026-03-02", "2026-03-02T00:00:00+00:00"),
    ],
)
def test_a_date_without_a_zone_is_read_as_utc_and_that_is_said(value: str, moment: str) -> None:
    found, findings = date(value.encode())
    assert (found.isoformat() if found else None, findings) == (moment, NO_ZONE)


@pytest.mark.parametrize("zone", ["IST", "XYZ", "A", "EST+5", "Europe/Berlin"])
def test_a_zone_that_means_several_or_nothing_is_read_as_utc_and_named(zone: str) -> None:
    found, findings = date(f"Mon, 02 Mar 2026 10:00:00 {zone}".encode())
    assert (found.isoformat() if found else None, findings) == (
        "2026-03-02T10:00:00+00:00",
        (f"the zone {zone} of its Date is not known, or means several: it was read as UTC",),
    )
