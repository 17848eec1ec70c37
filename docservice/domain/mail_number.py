"""A mail number: the reference that a mail and its attachments are found by.

The law of this module: values only. A mail number is brought to one form once, at the edge, both when it is
stored and when it is asked for, so that SQL compares bytes and letter case never matters. What the database
does with the patterns made here equals ``==``, ``startswith`` and ``in`` on those forms.
"""

from __future__ import annotations

import unicodedata

MOST_CHARACTERS = 200
#: pg_trgm finds nothing by less: a shorter needle would read the whole table.
FEWEST_TO_CONTAIN = 3
_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


class MailNumberError(ValueError):
    """The text is no mail number, or no part of one; the message says what is legal."""


def normalise(text: str) -> str:
    """The one form of a mail number or of a part of one: composed, upper case, single inner blanks.

    Raises:
        MailNumberError: for an empty or overlong text, control characters, or halves of surrogate pairs.
    """
    if len(text) > MOST_CHARACTERS:
        raise MailNumberError(f"a mail number has at most {MOST_CHARACTERS} characters, not {len(text)}")
    if text.isascii() and text.isprintable():  # nearly all of them: there is nothing to compose
        form = " ".join(text.upper().split())
        if form:
            return form
    form = " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).upper()).split())
    if not form:
        raise MailNumberError("a mail number has at least one character that is not blank")
    if len(form) > MOST_CHARACTERS:
        raise MailNumberError(f"a mail number has at most {MOST_CHARACTERS} characters, not {len(form)}")
    wrong = next((sign for sign in form if unicodedata.category(sign) in ("Cc", "Cs")), None)
    if wrong is not None:
        raise MailNumberError(f"a mail number has no control character such as U+{ord(wrong):04X}")
    return form


def contained(text: str) -> str:
    """The normal form of a part to be found anywhere in a mail number.

    Raises:
        MailNumberError: as :func:`normalise`, and for fewer than three characters.
    """
    form = normalise(text)
    if len(form) < FEWEST_TO_CONTAIN:
        raise MailNumberError(
            f"to search within mail numbers give at least {FEWEST_TO_CONTAIN} characters, not {len(form)}; "
            "a shorter text can be searched as a prefix"
        )
    return form


def range_end(prefix: str) -> str | None:
    """The least text above all that start with ``prefix``, in code point order; None when there is none.

    Code point order is the byte order of UTF-8, and so that of Postgres' collation "C".
    """
    for length in range(len(prefix), 0, -1):
        code = ord(prefix[length - 1])
        if code < _LAST_CODE_POINT:
            following = code + 1
            if following in _SURROGATES:  # no text holds them, and UTF-8 cannot write them
                following = _SURROGATES.stop
            return prefix[: length - 1] + chr(following)
    return None


def like_pattern(part: str, *, anywhere: bool = True) -> str:
    r"""The pattern of SQL's LIKE, with ``\`` as its escape, for texts with ``part`` in them, or in front."""
    escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%" if anywhere else f"{escaped}%"
