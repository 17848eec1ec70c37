"""Bytes to text, for every charset label that mails carry: right, wrong, missing or unknown.

Pure and total: any bytes with any label give a text. The rules are those of browsers (WHATWG Encoding):
a byte order mark wins, ``iso-8859-1`` and ``us-ascii`` mean windows-1252, ``gb2312`` means gb18030. Unlike a
browser, a label that the bytes contradict is not believed: bytes that are valid UTF-8 are UTF-8, and without
a usable label a detector decides.
"""

from __future__ import annotations

import codecs
import re
from encodings.aliases import aliases

import chardet
import webencodings

#: The detector looks at this much of a text.
_DETECTED_BYTES = 64 * 1024
_ERAS = chardet.EncodingEra.MODERN_WEB | chardet.EncodingEra.LEGACY_ISO

#: Codecs of Python that take bytes to bytes, or that depend on the platform.
_NO_CHARSETS = {
    "base64_codec",
    "bz2_codec",
    "hex_codec",
    "mbcs",
    "quopri_codec",
    "rot_13",
    "uu_codec",
    "zlib_codec",
}
#: Charsets that have no other name, which is why the table of aliases lacks them.
_WITHOUT_ALIAS = {
    "cp720",
    "cp737",
    "cp856",
    "cp874",
    "cp1006",
    "koi8_t",
    "koi8_u",
    "mac_croatian",
    "mac_romanian",
}
_PYTHON_CHARSETS = (set(aliases.values()) | _WITHOUT_ALIAS) - _NO_CHARSETS
#: Where Python's codec of the WHATWG name reads less than browsers do.
_WIDER = {
    "gbk": "gb18030",
    "iso-2022-jp": "iso2022_jp_ext",
    "iso-8859-8-i": "iso8859_8",
    "utf-16le": "utf_16",
    "windows-1252": "cp1252",
}
_BOMS = (
    (codecs.BOM_UTF8, "utf_8"),
    (codecs.BOM_UTF32_LE, "utf_32_le"),
    (codecs.BOM_UTF16_LE, "utf_16_le"),
    (codecs.BOM_UTF16_BE, "utf_16_be"),
)
_IDEOGRAPHIC = ("big5", "cp949", "euc-jp", "euc-kr", "gb18030", "johab", "shift_jis", "shift_jis_2004")
_ASCII = bytes(range(0x80))
#: Of so many bytes beyond ASCII one may be damaged in a text that is taken for UTF-8 all the same.
_DAMAGED_SHARE = 20
_ACCENTED_WORD = re.compile(rb"[A-Za-z][\x80-\xff]|[\x80-\xff][A-Za-z]")
_NOISE = re.compile(r"^[\s\"'=]+|[\s\"';,].*$", re.DOTALL)
_ISO_2022 = re.compile(rb"\x1b(?:\$[@B]|\([BJI]|\$\([CD])")
#: windows-1252 as browsers read it: its five unassigned bytes are control characters.
_WINDOWS_1252 = {
    byte: bytes([byte]).decode("cp1252") for byte in range(0x80, 0xA0) if byte not in b"\x81\x8d\x8f\x90\x9d"
}


def codec_name(label: str | None) -> str | None:
    """The name of Python's codec for a charset label as browsers understand it; None when it is unknown."""
    name = _NOISE.sub("", label or "").lower()
    if not name or len(name) > 40:  # noqa: PLR2004 - no charset has a longer name
        return None
    for spelling in (name, name.replace("_", "-"), name.removeprefix("charset=")):
        found = webencodings.lookup(spelling)
        if found is not None and found.name not in ("replacement", "x-user-defined"):
            return _WIDER.get(found.name) or found.codec_info.name
    key = re.sub(r"[^a-z0-9]+", "_", name.removeprefix("x-").removeprefix("unicode-1-1-")).strip("_")
    key = aliases.get(key, key)
    return key if key in _PYTHON_CHARSETS else None


def decode(data: bytes, label: str | None = None, *, also: str | None = None) -> str:
    """The text of ``data``. ``label`` is its declared charset, ``also`` a charset used elsewhere in the mail.

    Bytes that no candidate reads become U+FFFD.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    codec = codec_name(label)
    if data.isascii() and not _escapes(data) and _is_ascii_superset(codec):
        return data.decode("ascii")
    if codec is None or codec == "cp1252":
        return _guessed(data, codec or codec_name(also), declared=codec is not None)
    text = _strict(data, codec)
    if text is not None:
        return text
    if codec not in ("utf_8", "utf-8"):
        read = _strict(data, "utf_8")
        return data.decode(codec, "replace") if read is None else read
    return _damaged_utf_8(data, codec_name(also))


def _escapes(data: bytes) -> bool:
    return b"\x1b" in data


def _is_ascii_superset(codec: str | None) -> bool:
    return codec is None or not codec.replace("-", "_").startswith(
        ("utf_16", "utf_32", "utf_7", "hz", "iso2022")
    )


def _strict(data: bytes, codec: str) -> str | None:
    try:
        if codec == "cp1252":
            return data.decode("latin-1").translate(_WINDOWS_1252)
        return data.decode(codec)
    except (UnicodeError, LookupError):
        return None


def _guessed(data: bytes, hint: str | None, *, declared: bool) -> str:
    """Read without a label, or with the one that programs write when they do not know."""
    read = _strict(data, "utf_8")
    if read is not None and not _escapes(data):
        return read
    if _ISO_2022.search(data) and (read := _strict(data, "iso2022_jp_ext")) is not None:
        return read
    if read is None and (nearly := _nearly_utf_8(data)) is not None:
        return nearly
    if declared:
        return _strict(data, "cp1252") or ""
    if hint is not None and hint not in ("utf-8", "utf_8") and (read := _strict(data, hint)) is not None:
        return read
    read = _strict(data, _detected(data))
    return read if read is not None else _strict(data, "cp1252") or ""


def _nearly_utf_8(data: bytes) -> str | None:
    """The text where all but a few characters are UTF-8, as of one that was cut off within a character.

    In any other charset next to no character is valid UTF-8.
    """
    read = data.decode("utf-8", "replace")
    beyond_ascii = len(data.translate(None, _ASCII))
    return read if read.count("\ufffd") <= beyond_ascii / _DAMAGED_SHARE else None


def _detected(data: bytes) -> str:
    sample = data[:_DETECTED_BYTES]
    high = len(sample.translate(None, _ASCII))
    # Two letters with accents within a Latin word look like one ideograph.
    latin = high < len(sample) / 4 and _ACCENTED_WORD.search(sample) is not None
    found = chardet.detect(sample, encoding_era=_ERAS, exclude_encodings=_IDEOGRAPHIC if latin else None)
    return codec_name(found["encoding"]) or "cp1252"


def _damaged_utf_8(data: bytes, hint: str | None) -> str:
    """Declared as UTF-8 and not valid: a few damaged characters, or another charset altogether."""
    read = data.decode("utf-8", "replace")
    damaged = read.count("\ufffd")
    intact = sum(sign > "\x7f" for sign in read) - damaged
    if damaged <= 3 * intact or (intact and _detected(data) == "cp1252"):
        return read
    return _guessed(data, hint, declared=False)
