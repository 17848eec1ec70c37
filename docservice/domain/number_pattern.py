"""The search for a mail number within a text, by the pattern of the settings.

The law of this module: values only, and time linear in the text whatever the pattern is. RE2 gives that; a
pattern that RE2 does not know is refused when the settings are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import re2

from docservice.domain.mail_number import MailNumberError, normalise

#: What people and programs write for "-": from the hyphen to the full-width one.
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"), "-")
#: Nobody sees them: soft hyphens, zero-width blanks and joiners, marks of direction.
_INVISIBLE = dict.fromkeys(
    (0xAD, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
)
_MAX_PATTERN_CHARACTERS = 1_000


class PatternError(ValueError):
    """The text is no pattern for mail numbers; the message says what is legal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberPattern:
    """What a mail number looks like within a text. Made by :func:`number_pattern`.

    The search takes time linear in the text, whatever the pattern: RE2 does not backtrack.
    """

    source: str
    compiled: Any

    def find(self, text: str) -> str | None:
        """The first mail number in ``text``, in its one form; None when there is none.

        Letter case does not matter, every dash is a hyphen, and an underscore beside a number is no part of
        it unless the pattern says so. Where there is none, one may have invisible characters in it.
        """
        text = text.translate(_DASHES)
        return self._first(text) or (None if text.isascii() else self._first(text.translate(_INVISIBLE)))

    def _first(self, text: str) -> str | None:
        found = [match for form in (text, text.replace("_", " ")) if (match := self.compiled.search(form))]
        for match in sorted(found, key=lambda match: match.start()):
            try:
                return normalise(match[0])
            except MailNumberError:
                continue
        return None


def number_pattern(source: str) -> NumberPattern:
    r"""The pattern that the regular expression ``source`` means, in the syntax of RE2.

    That of Python without look-around and back references; ``\b``, ``\d`` and ``\w`` mean ASCII.

    Raises:
        PatternError: when it is none, or is too long.
    """
    if len(source) > _MAX_PATTERN_CHARACTERS:
        raise PatternError(
            f"too long: a pattern has at most {_MAX_PATTERN_CHARACTERS} characters, not {len(source)}"
        )
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = False
    try:
        return NumberPattern(source=source, compiled=re2.compile(source, options))
    except re2.error as fault:
        reason = fault.args[0].decode("utf-8", "replace") if fault.args else ""
        raise PatternError(
            f"not a regular expression that runs in linear time ({reason}); "
            "look-around and back references are not allowed"
        ) from fault
