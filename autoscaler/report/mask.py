"""Takes the logins of URLs out of a text that a user gave. Standard library only: a health check loads it."""

from __future__ import annotations

import re

_MAX_SHOWN = 60


def mask(text: str) -> str:
    """``text`` without what looks like the login of a URL: ``redis://***@host`` for ``redis://me:pw@host``.

    What its options ``password``, ``sentinel_password`` and the like have is left out, too.
    """
    # Greedy up to the last '@': a password may hold '/', '@' and spaces. A path has lost its second slash.
    text = re.sub(r"(:/+).*@", r"\1***@", text, flags=re.DOTALL)
    text = re.sub(r"([?&](?:\w+_)?password=)[^&\s'\")]+", r"\1***", text)
    return re.sub(r"(?<![^\s'\"(=])[^\s@'\"(=/]*:(?!/)[^\s@]+@(?=[^\s@])", "***@", text)


def shown(text: str) -> str:
    """A value that a user gave as a message repeats it: quoted, short, without a login."""
    return repr(mask(text)[:_MAX_SHOWN])
