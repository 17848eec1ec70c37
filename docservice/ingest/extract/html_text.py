"""The text of HTML: what a person reads, without markup, style and script, with entities decoded.

Pure, and linear in the length of the input: each search starts where the last one ended, and what is not
closed ends the text, as it does in browsers.
"""

from __future__ import annotations

import html
import re

from docservice.ingest.extract.limits import READ_CHARACTERS

_TAG_START = re.compile(r"<(?:/?[a-zA-Z]|[!?])")
_TAG_NAME = re.compile(r"/?([a-zA-Z][a-zA-Z0-9]*)")
#: A tag up to its end; quotes may hold ">". Possessive, so that an unclosed one is met once.
_TAG_REST = re.compile(r"""(?:[^>"'=]++|=\s*+(?:"[^"]*+"|'[^']*+')|["'=])*+>""")
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s{0,9}=\s{0,9}[\"']?([\w:.+-]{1,40})", re.IGNORECASE)
_HIDDEN_ENDS = {
    name: re.compile(rf"</{name}\b", re.IGNORECASE)
    for name in ("script", "style", "title", "template", "iframe")
}
_INLINE = {
    *("a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "em", "font", "i", "ins", "kbd", "mark", "q"),
    *("s", "samp", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "var", "wbr"),
}
_BLANKS = re.compile(r"[ \t\r\f\v]+")
_LINES = re.compile(r" ?\n[ \n]*")
#: So many times as long a text may be before its runs of blanks become one.
_BLANK_SHARE = 4


def meta_charset(data: bytes) -> str | None:
    """The charset that an HTML document declares in its first kilobyte, as browsers look for it."""
    found = _META_CHARSET.search(data[:1024])
    return found[1].decode("ascii", "replace") if found else None


def html_text(source: str, *, max_characters: int = READ_CHARACTERS) -> str:
    """The readable text of ``source``: blocks on lines of their own, runs of blanks as one.

    A text that goes on is cut at ``max_characters`` or after. What is not shown does not count: images within
    tags are often longer than all the text behind them.
    """
    written: list[str] = []
    at, left = 0, _BLANK_SHARE * max_characters
    while left > 0 and (start := _TAG_START.search(source, at)) is not None:
        written.append(html.unescape(source[at : start.start()].replace("\n", " ")))
        at, gap = _after_tag(source, start.start())
        written.append(gap)
        left -= len(written[-2]) + len(gap)
    written.append(html.unescape(source[at : at + max(left, 0)].replace("\n", " ")))
    text = "".join(written).replace("\xa0", " ").replace("\xad", "")
    return _LINES.sub("\n", _BLANKS.sub(" ", text)).strip()


def _after_tag(source: str, start: int) -> tuple[int, str]:
    """Where reading goes on after the tag at ``start``, and the text that replaces the tag."""
    if source.startswith("<!--", start):
        end = source.find("-->", start + 2)
        return (len(source) if end < 0 else end + 3), ""
    if source.startswith(("<!", "<?"), start):
        end = source.find(">", start)
        return (len(source) if end < 0 else end + 1), ""
    named = _TAG_NAME.match(source, start + 1)
    rest = _TAG_REST.match(source, start + 1)
    if named is None or rest is None:
        return len(source), ""
    name, end = named[1].lower(), rest.end()
    if name in _HIDDEN_ENDS and source[start + 1] != "/" and not source.startswith("/>", end - 2):
        closing = _HIDDEN_ENDS[name].search(source, end)
        return (closing.start() if closing else len(source)), "\n"
    if name == "td" or name == "th":  # noqa: PLR1714 - two names, no set
        return end, " "
    return end, "" if name in _INLINE else "\n"
