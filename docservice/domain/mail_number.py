"""A mail number: the reference by which a mail and its attachments are found.

What belongs here: values only. A mail number is brought to one form at the edge, both when it is stored and
when it is searched, so that SQL compares bytes and letter case never matters. What the database does with the
patterns made here equals ``==``, ``startswith``, ``endswith`` and ``in`` on those forms.
"""

from __future__ import annotations

import unicodedata

MAX_CHARACTERS = 200
#: The trigram index finds parts of at least this length; for a shorter one the module's rows are read.
MIN_INDEXED_CHARACTERS = 3
_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


class MailNumberError(ValueError):
    """The text is no mail number, or no part of one; the message says what is legal."""


def normalise(text: str) -> str:
    """The one form of a mail number or of a part of one: composed, upper case, single inner blanks.

    Raises:
        MailNumberError: for an empty or overlong text, control characters, or halves of surrogate pairs.
    """
    if len(text) > MAX_CHARACTERS:
        raise MailNumberError(f"a mail number has at most {MAX_CHARACTERS} characters, not {len(text)}")
    if text.isascii() and text.isprintable():  # nearly all of them: there is nothing to compose
        form = " ".join(text.upper().split())
        if form:
            return form
    form = " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).upper()).split())
    if not form:
        raise MailNumberError("a mail number has at least one character that is not blank")
    if len(form) > MAX_CHARACTERS:
        raise MailNumberError(f"a mail number has at most {MAX_CHARACTERS} characters, not {len(form)}")
    wrong = next((sign for sign in form if unicodedata.category(sign) in ("Cc", "Cs")), None)
    if wrong is not None:
        raise MailNumberError(f"a mail number has no control character such as U+{ord(wrong):04X}")
    return form


def range_end(prefix: str) -> str | None:
    """The smallest text, in code point order, above all that start with ``prefix``; None when there is none.

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


def like_pattern(part: str, *, starts: bool = False, ends: bool = False) -> str:
    r"""The pattern of SQL's LIKE, with ``\`` as its escape, for texts with ``part`` in them.

    With ``starts`` or ``ends`` only at the start or at the end.
    """
    escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{'' if starts else '%'}{escaped}{'' if ends else '%'}"
