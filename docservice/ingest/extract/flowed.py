"""Texts of ``format=flowed`` (RFC 3676): the lines that the sender's program broke are joined again.

Pure and total, in linear time. A line that ends with a blank goes on in the next one, where that is quoted as
deeply; with ``delsp=yes`` the blank is none of the text's, as in Chinese or within a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docservice.ingest.extract.mail_headers import ContentType

_SIGNATURE = "-- "


def is_flowed(kind: ContentType) -> bool:
    """Whether the lines of such a part may be broken."""
    return kind.full == "text/plain" and kind.parameters.get("format", "").strip().lower() == "flowed"


def unflowed(text: str, kind: ContentType) -> str:
    """The text with whole paragraphs as lines; quotes begin with ``>`` for each level, and a blank."""
    keeps_blank = kind.parameters.get("delsp", "").strip().lower() != "yes"
    lines: list[tuple[str, list[str]]] = []
    flows = False
    for written in text.replace("\r\n", "\n").split("\n"):
        inner = written.lstrip(">")
        marks, line = written[: len(written) - len(inner)], inner.removeprefix(" ")
        if not (flows and marks == lines[-1][0] and line != _SIGNATURE):
            lines.append((marks, []))
        flows = line.endswith(" ") and line != _SIGNATURE
        lines[-1][1].append(line[:-1] if flows and not keeps_blank else line)
    return "\n".join(f"{marks} {''.join(pieces)}" if marks else "".join(pieces) for marks, pieces in lines)
