"""The attachments and the text of ``winmail.dat``: TNEF, in which Outlook wraps a mail (MS-OXTNEF).

Pure over bytes and bounded: every length is checked against what is left before it is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from docservice.ingest.extract.charset import decode

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNATURE = b"\x78\x9f\x3e\x22"
_ATTACH_BEGIN, _ATTACH_DATA, _ATTACH_TITLE, _ATTACH_PROPERTIES = 0x9002, 0x800F, 0x8010, 0x9005
_BODY, _MESSAGE_PROPERTIES, _CODEPAGE = 0x800C, 0x9003, 0x9007
_PR_ATTACH_DATA, _PR_ATTACH_NAME, _PR_ATTACH_LONG_NAME = 0x3701, 0x3704, 0x3707
_PR_BODY, _PR_BODY_HTML = 0x1000, 0x1013
_FIXED_SIZES = {2: 4, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 0x0A: 4, 0x0B: 4, 0x14: 8, 0x40: 8, 0x48: 16}
_STRING, _UNICODE = 0x1E, 0x1F
_VARIABLE = (_STRING, _UNICODE, 0x0D, 0x102)
_MANY = 0x1000
_NAMED = 0x8000
#: The identifier of an interface, in front of an object's bytes.
_OBJECT, _INTERFACE_BYTES = 0x0D, 16


class TnefError(ValueError):
    """The bytes are no complete TNEF."""


@dataclass(slots=True)
class TnefAttachment:
    """One file within the wrapping; its name may be empty."""

    name: str = ""
    data: bytes = b""


@dataclass(slots=True)
class Tnef:
    """The contents of a ``winmail.dat``. ``damage`` says why it could not be read to its end, or is empty."""

    text: str = ""
    html: bytes = b""
    attachments: list[TnefAttachment] = field(default_factory=list)
    damage: str = ""


class _Reader:
    """Little-endian values one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes that were not read."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            TnefError: when there are not so many.
        """
        if size < 0 or size > self.left:
            raise TnefError(f"{size} bytes are announced and {self.left} are left")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int = 4) -> int:
        """The next unsigned integer."""
        return int.from_bytes(self.take(size), "little")

    def padded(self, size: int) -> bytes:
        """The next bytes, and over what fills them up to a multiple of four."""
        taken = self.take(size)
        self.take(min(-size % 4, self.left))
        return taken


def read_tnef(data: bytes) -> Tnef:
    """The contents of a ``winmail.dat``; of a damaged one what comes before the damage."""
    reader = _Reader(data)
    found = Tnef()
    if not data.startswith(SIGNATURE):
        found.damage = "the signature is missing"
        return found
    try:
        reader.take(len(SIGNATURE) + 2)
        _read_attributes(reader, found)
    except TnefError as fault:
        found.damage = str(fault)
    return found


def _read_attributes(reader: _Reader, found: Tnef) -> None:
    charset = "cp1252"
    while reader.left >= 9:  # noqa: PLR2004 - level, identifier, length
        level, attribute, _ = reader.number(1), reader.number(2), reader.number(2)
        content = reader.take(reader.number())
        reader.take(min(2, reader.left))  # a checksum
        match attribute:
            case _ if attribute == _CODEPAGE:
                charset = f"cp{int.from_bytes(content[:4], 'little')}"
            case _ if attribute == _BODY:
                found.text = decode(content.rstrip(b"\0"), charset)
            case _ if attribute == _MESSAGE_PROPERTIES and level == 1:
                _read_message(content, charset, found)
            case _ if attribute == _ATTACH_BEGIN:
                found.attachments.append(TnefAttachment())
            case _ if found.attachments:
                _read_attachment(attribute, content, charset, found.attachments[-1])


def _read_message(content: bytes, charset: str, found: Tnef) -> None:
    for name, kind, value in _properties(content):
        if name == _PR_BODY:
            found.text = _string(kind, value, charset) or found.text
        elif name == _PR_BODY_HTML:
            found.html = value


def _read_attachment(attribute: int, content: bytes, charset: str, into: TnefAttachment) -> None:
    if attribute == _ATTACH_DATA:
        into.data = content
    elif attribute == _ATTACH_TITLE:
        into.name = into.name or decode(content.rstrip(b"\0"), charset)
    elif attribute == _ATTACH_PROPERTIES:
        for name, kind, value in _properties(content):
            if name == _PR_ATTACH_LONG_NAME or (name == _PR_ATTACH_NAME and not into.name):
                into.name = _string(kind, value, charset) or into.name
            elif name == _PR_ATTACH_DATA:
                # This is an embedded object, and the data outside it is its picture.
                inside = value[_INTERFACE_BYTES:] if kind == _OBJECT else value
                into.data = max(into.data, inside, key=len)


def _string(kind: int, value: bytes, charset: str) -> str:
    if kind == _UNICODE:
        return value.decode("utf-16-le", "replace").rstrip("\0")
    return decode(value.rstrip(b"\0"), charset)


def _properties(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Identifier, type and the first value of each MAPI property."""
    reader = _Reader(content)
    for _ in range(reader.number()):
        kind, name = reader.number(2), reader.number(2)
        if name >= _NAMED:
            reader.take(16)
            if reader.number():
                reader.padded(reader.number())
            else:
                reader.take(4)
        base = kind & ~_MANY
        if base in _VARIABLE:
            values = [reader.padded(reader.number()) for _ in range(_count(reader))]
        elif base in _FIXED_SIZES:
            count = _count(reader) if kind & _MANY else 1
            values = [reader.take(_FIXED_SIZES[base]) for _ in range(count)]
        else:
            raise TnefError(f"a property has the unknown type {kind:#06x}")
        if values:
            yield name, base, values[0]


def _count(reader: _Reader) -> int:
    count = reader.number()
    if count > reader.left:
        raise TnefError(f"{count} values are announced and {reader.left} bytes are left")
    return count
