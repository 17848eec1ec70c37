"""What an S/MIME part holds: the content of opaque signed data, as CMS (RFC 5652) wraps it.

Pure over bytes: one pass for each level, no recursion, and no signature is checked. CMS comes in BER, where a
length may be left open and a text may be in pieces; the decoder of ``cryptography`` takes DER alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PKCS7 = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07"
_SIGNED = _PKCS7 + b"\x02"
_ENCRYPTED = {
    _PKCS7 + b"\x03",  # enveloped data
    _PKCS7 + b"\x06",  # encrypted data
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17",  # enveloped data with authentication
}
_OBJECT_ID, _SEQUENCE, _FIRST, _OCTETS, _OCTETS_IN_PIECES = 0x06, 0x30, 0xA0, 0x04, 0x24
_OPEN = 0x80
_MAX_LENGTH_BYTES = 8
_MAX_LEVELS = 100


class CmsError(ValueError):
    """The bytes are no complete CMS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cms:
    """``signed`` is the content of opaque signed data; None where it is another kind or has none."""

    encrypted: bool = False
    signed: bytes | None = None


def read_cms(data: bytes) -> Cms:
    """What is in the body of an ``application/pkcs7-mime`` part.

    Raises:
        CmsError: when it ends early or is no CMS.
    """
    outer = _elements(data, *_content(data, 0, len(data), _SEQUENCE))
    kind = _take(outer, _OBJECT_ID)
    if data[slice(*kind)] in _ENCRYPTED:
        return Cms(encrypted=True)
    if data[slice(*kind)] != _SIGNED:
        return Cms()
    signed = _content(data, *_take(outer, _FIRST), _SEQUENCE)
    capsule = _elements(data, *_take(_elements(data, *signed), _SEQUENCE))
    _take(capsule, _OBJECT_ID)
    wrapped = next((place for tag, *place in capsule if tag == _FIRST), None)
    return Cms(signed=None if wrapped is None else b"".join(_octets(data, *wrapped)))


def _take(elements: Iterator[tuple[int, int, int]], tag: int) -> tuple[int, int]:
    """The content of the next element of that tag; those before it are passed over.

    Raises:
        CmsError: when there is none.
    """
    for found, begin, end in elements:
        if found == tag:
            return begin, end
    raise CmsError("it is no CMS")


def _content(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    return _take(_elements(data, at, end), tag)


def _elements(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Tag, begin and end of each element's content."""
    while at < end:
        tag, begin, length = _head(data, at, end)
        if tag == 0:
            return
        if length is None:
            stop, at = _open_end(data, begin, end)
        else:
            stop = at = begin + length
        yield tag, begin, stop


def _head(data: bytes, at: int, end: int) -> tuple[int, int, int | None]:
    """An element's tag, where its content begins, and its length, None where that is open."""
    if end - at < 2:  # noqa: PLR2004 - a tag and a length
        raise CmsError("it ends early")
    tag, first = data[at], data[at + 1]
    at += 2
    if first == _OPEN:
        return tag, at, None
    length = first
    if first > _OPEN:
        size = first - _OPEN
        if size > _MAX_LENGTH_BYTES:
            raise CmsError("it is no CMS")
        length = int.from_bytes(data[at : at + size], "big")
        at += size
    if at + length > end:
        raise CmsError("it ends early")
    return tag, at, length


def _open_end(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Where content of open length ends, and where the next element begins."""
    level = 1
    while at < end:
        tag, begin, length = _head(data, at, end)
        if length is None:
            level += 1
            if level > _MAX_LEVELS:
                raise CmsError("it is nested too deep")
        elif tag == 0 and length == 0:
            level -= 1
            if not level:
                return at, begin
        at = begin + (length or 0)
    raise CmsError("it ends early")


def _octets(data: bytes, at: int, end: int) -> Iterator[bytes]:
    """The pieces of a text, however they are nested."""
    while at < end:
        tag, begin, length = _head(data, at, end)
        if tag == _OCTETS and length is not None:
            yield data[begin : begin + length]
        at = begin if tag == _OCTETS_IN_PIECES else begin + (length or 0)
