"""JSON that others have written, read so that each text in it can be shown, logged and stored.

JSON may escape half of a pair of surrogates, which UTF-8 cannot hold. Such a half is replaced by its escape,
in letters, where a text enters. What belongs here: reading. What may never enter: what a text means.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ESCAPE = re.compile(r"\\u(d[89a-f][0-9a-f]{2})")


def loads(text: str | bytes) -> Any:
    """What a text says, as :func:`readable`.

    Raises:
        ValueError: where it is not JSON. RecursionError: where it is nested too deeply.
    """
    return readable(json.loads(text))


def readable(value: Any) -> Any:
    r"""The value with each lone surrogate of its texts and keys in letters, as in ``\udcff``.

    Raises:
        RecursionError: where it is nested too deeply.
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {readable(key): readable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [readable(one) for one in value]
    return value


def spellings(name: str) -> tuple[str, ...]:
    """All names that :func:`readable` shows as this one, itself first."""
    escaped = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), name)
    return (name,) if escaped == name else (name, escaped)
