"""The moment that a mail's ``Date`` names, with a sentence where its zone is a guess.

Pure and total, as ``mail_headers``. An offset in digits counts before a name beside it. Of names, those of
RFC 822 mean what it says; others are read where mail programs and the tz database give them one meaning. A
name with several, such as IST, or with none, and a date without a zone are read as UTC, and that is said.
"""

from __future__ import annotations

import re
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from email.utils import parsedate_tz

from docservice.ingest.extract.mail_headers import text

_COMMENT = re.compile(r"\([^()]*\)")
_HALF_DAY = re.compile(r"\b(\d{1,2})(:\d{2}(?::\d{2})?) ?([ap])\.?m\b\.?", re.IGNORECASE)
#: A zone behind a time, also as programs write it beside ``+0100``: ``+01:00``, ``GMT+0100``, ``UTC+1``,
#: ``CET +0100``. Not ``EST+5``, which means the opposite.
_OFFSET = re.compile(
    r"(\d[:.]\d{2}) *(?:(?:GMT|UTC?)? *|[A-Z]{1,5} *(?=[+-]\d{2}:?\d{2}))"
    r"([+-])(\d{1,2})(?::?(\d{2}))?(?![:\d])",
    re.ASCII | re.IGNORECASE,
)
_TIME = re.compile(r"\d{1,2}[:.]\d{2}(?:[:.]\d{2}(?:\.\d{1,9})?)?", re.ASCII)
_ZONE = re.compile(r"[A-Za-z][A-Za-z/_.]*(?:[+-]\d{1,4})?|[+-]\d{1,4}", re.ASCII)
_NO_ZONE = "its Date has no zone: it was read as UTC"
#: Names by hours east of UTC.
_EAST = {
    -10: "HST",
    -9: "AKST HDT",
    -8: "PST AKDT",
    -7: "MST PDT",
    -6: "CST MDT",
    -5: "EST CDT",
    -4: "EDT AST",
    -3.5: "NST",
    -3: "ADT",
    -2.5: "NDT",
    0: "UT UTC GMT Z WET",
    1: "CET MET MEZ WEST BST WAT",
    2: "CEST MEST MESZ EET CAT SAST",
    3: "EEST MSK IDT EAT",
    4: "MSD",
    5: "PKT",
    7: "WIB",
    8: "HKT SGT AWST WITA",
    9: "JST KST WIT",
    9.5: "ACST",
    10: "AEST",
    10.5: "ACDT",
    11: "AEDT",
    12: "NZST",
    13: "NZDT",
}
_HOURS = {name: hours for hours, names in _EAST.items() for name in names.split()}


def date(value: bytes) -> tuple[datetime | None, tuple[str, ...]]:
    """The moment in UTC, or None where the value names none; and a finding where its zone is a guess."""
    written = _HALF_DAY.sub(_whole_day, _COMMENT.sub(" ", text(value[:200])))
    written, finding = _with_offset(_OFFSET.sub(_plain_offset, written).strip())
    for read in (_mail_date, datetime.fromisoformat):
        try:
            found = read(written)
            finding = _NO_ZONE if found.tzinfo is None else finding
            found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
        # What programs write for "none". The first and the last moment of all are infinite to asyncpg.
        if not MINYEAR < found.year < MAXYEAR:
            break
        return found, () if finding is None else (finding,)
    return None, ()


def _with_offset(written: str) -> tuple[str, str | None]:
    """The date with the name of its zone as digits, and a finding where there is none that is known."""
    time = _TIME.search(written)
    if time is None:
        return written, None
    # As `ctime` writes it, the year is between the time and the zone, or behind it.
    zone = _ZONE.search(written, time.end())
    if zone is None:
        return written, _NO_ZONE
    name = zone[0]
    if name[0] in "+-":
        return written, None
    hours = _HOURS.get(name.upper())
    finding = None
    if hours is None:
        finding = f"the zone {name[:40]} of its Date is not known, or means several: it was read as UTC"
    minutes = round((hours or 0) * 60)
    offset = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"
    return f"{written[: zone.start()]}{offset}{written[zone.end() :]}", finding


def _mail_date(written: str) -> datetime:
    """By RFC 5322 and its old forms; an offset of more than a day, as some write, is kept unchanged."""
    parsed = parsedate_tz(written)
    if parsed is None:
        raise ValueError("no date of a mail")
    return datetime(*parsed[:6], tzinfo=UTC) - timedelta(seconds=parsed[9] or 0)


def _plain_offset(found: re.Match[str]) -> str:
    return f"{found[1]} {found[2]}{int(found[3]):02d}{found[4] or '00'}"


def _whole_day(found: re.Match[str]) -> str:
    """A time with AM or PM as one of 24 hours."""
    hour = int(found[1]) % 12 + (12 if found[3] in "pP" else 0)
    return f"{hour:02d}{found[2]}"
