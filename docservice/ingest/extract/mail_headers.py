"""The values of header fields: text and parameters, as people mean them.

Pure and total: a value is bytes as the mail has them, and whatever they are, there is an answer and no
exception. Encoded words (RFC 2047) are decoded wherever they are, parameters by RFC 2231, raw bytes by
their likely charset.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from docservice.domain.documents import storable
from docservice.ingest.extract.charset import decode
from docservice.ingest.extract.limits import MAX_HEADER_VALUE_BYTES

ENCODED_WORD = re.compile(rb"=\?([^?\s]{1,80})\?([bBqQ])\?((?:[^?]|\?(?!=)){0,2000})\?=")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_MEDIA_TYPE = re.compile(r"[!#-'*+.0-9A-Z^-~-]{1,127}/[!#-'*+.0-9A-Z^-~-]{1,127}", re.ASCII | re.IGNORECASE)
#: Every quote matches, closed or not: one that failed would be tried again from each quote within it.
_QUOTED_OR_SEMICOLON = re.compile(r'"(?:[^"\\]|\\.?)*+(?:"|$)|;', re.DOTALL)
_CONTINUED = re.compile(r"([^*]{1,60})(?:\*(\d{1,4}))?(\*)?")


def text(value: bytes, *, also: str | None = None) -> str:
    """The readable text of a value, on one line. ``also`` is a charset that the mail uses elsewhere."""
    value = value[:MAX_HEADER_VALUE_BYTES].replace(b"\r", b"").replace(b"\n", b"")
    return one_line("".join(_decoded(value, also)))


def one_line(read: str) -> str:
    """The text without control characters, with single blanks, as Postgres can keep it."""
    return " ".join(storable(_CONTROLS.sub(" ", read)).split())


def _decoded(value: bytes, also: str | None) -> list[str]:
    """Pieces of text. Neighbouring encoded words of one charset are one: they may share a character."""
    pieces: list[str] = []
    at, charset, pending = 0, "", b""
    for word in ENCODED_WORD.finditer(value):
        between = value[at : word.start()]
        label = word[1].partition(b"*")[0].decode("ascii", "replace").lower()
        if pending and (between.strip() or label != charset):
            pieces.append(decode(pending, charset, also=also))
            pending = b""
        if between.strip() or at == 0:
            pieces.append(decode(between, also=also))
        charset = label
        pending += _word_bytes(word[2], word[3])
        at = word.end()
    if pending:
        pieces.append(decode(pending, charset, also=also))
    pieces.append(decode(value[at:], also=also))
    return pieces


def _word_bytes(encoding: bytes, written: bytes) -> bytes:
    if encoding in b"qQ":
        return binascii.a2b_qp(written, header=True)
    bare = _NOT_BASE64.sub(b"", written)
    bare = bare[:-1] if len(bare) % 4 == 1 else bare
    return binascii.a2b_base64(bare + b"=" * (-len(bare) % 4))


# Parameters


#: Pieces of parameters as they are written, Latin-1 for bytes, by name and index, and whether each is
#: percent-encoded. A name that ends with ``*`` is in pieces or has a charset (RFC 2231).
_Written = dict[str, dict[int, tuple[str, bool]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentType:
    """A media type in lower case, such as ``text/plain``, its parameters by lower-case name, its boundary."""

    full: str
    parameters: dict[str, str]
    boundary: bytes

    @property
    def is_multipart(self) -> bool:
        """Whether the body is a row of parts."""
        return self.full.startswith("multipart/")


def content_type(value: bytes, *, default: str = "text/plain", also: str | None = None) -> ContentType:
    """The media type of a part; ``text/plain`` where it is broken, ``default`` where there is none."""
    first, written = _written(value)
    found = _MEDIA_TYPE.match(first)
    full = found[0].lower() if found else "text/plain" if value.strip() else default
    boundary = written.get("boundary", {}).get(0, ("", False))[0]
    if "boundary*" in written:
        boundary = _extended_value(written["boundary*"])
    return ContentType(
        full=full, parameters=_read(written, also), boundary=boundary.encode("latin-1", "replace").rstrip()
    )


def disposition(value: bytes, *, also: str | None = None) -> tuple[str, dict[str, str]]:
    """The first word of ``Content-Disposition``, in lower case, and the parameters by lower-case name."""
    first, written = _written(value)
    return first, _read(written, also)


def _written(value: bytes) -> tuple[str, _Written]:
    raw = value[:MAX_HEADER_VALUE_BYTES].replace(b"\r", b"").replace(b"\n", b" ").decode("latin-1")
    pieces = _split_parameters(raw)
    first, _, rest = pieces[0].strip().partition(" ")
    written: _Written = {}
    for piece in [rest, *pieces[1:]]:
        name, equals, value_text = piece.partition("=")
        named = _CONTINUED.fullmatch(name.strip().lower())
        if not equals or named is None:
            continue
        key = named[1] + ("*" if named[2] or named[3] else "")
        written.setdefault(key, {}).setdefault(int(named[2] or 0), (_unquoted(value_text), bool(named[3])))
    return first.lower(), written


def _read(written: _Written, also: str | None) -> dict[str, str]:
    plain = {key: items[0][0] for key, items in written.items() if not key.endswith("*")}
    found = {key: text(value.encode("latin-1"), also=also) for key, value in plain.items()}
    return found | {key[:-1]: _extended_value(items) for key, items in written.items() if key.endswith("*")}


def _split_parameters(raw: str) -> list[str]:
    """The pieces between semicolons outside of quotes."""
    pieces, start = [], 0
    for found in _QUOTED_OR_SEMICOLON.finditer(raw):
        if found[0] == ";":
            pieces.append(raw[start : found.start()])
            start = found.end()
    return [*pieces, raw[start:]]


def _unquoted(written: str) -> str:
    written = written.strip()
    if written.startswith('"'):
        quoted = re.match(r'"((?:[^"\\]|\\.)*+)"', written)
        inner = quoted[1] if quoted else written[1:]
        return re.sub(r'\\(["\\])', r"\1", inner)
    if written.startswith("'") and written.endswith("'") and len(written) > 1:
        return written[1:-1]
    return written


def _extended_value(items: dict[int, tuple[str, bool]]) -> str:
    """A value by RFC 2231: in pieces, percent-encoded, in the charset that the first one names."""
    charset, data = "", b""
    for position, index in enumerate(sorted(items)):
        written, extended = items[index]
        if position == 0 and extended and written.count("'") >= 2:  # noqa: PLR2004 - charset'language'value
            charset, _, written = written.split("'", 2)
        piece = written.encode("latin-1")
        data += unquote_to_bytes(piece) if extended else piece
    if b"=?" in data:
        return text(data)
    return one_line(decode(data, charset or None))
