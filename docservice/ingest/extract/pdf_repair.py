"""Repairs of a PDF's page before its text is read: what viewers find all the same, and pypdf does not.

Each repair is made in memory, on the objects of the open file. What is broken otherwise stays as it is.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pypdf.generic import ArrayObject, DictionaryObject, NameObject, StreamObject

from docservice.ingest.extract.limits import MAX_ANNOTATIONS, MAX_PDF_OBJECTS

if TYPE_CHECKING:
    from collections.abc import Iterator

_FONT_CHOICE = re.compile(rb"/([^\s/<>\[\]()]{1,100})\s+[-+.\d]{1,20}\s+Tf\b")
#: Short names of filters: the standard allows them in images within the text alone, old programs wrote them
#: elsewhere.
_FILTERS = {
    "/AHx": "/ASCIIHexDecode",
    "/A85": "/ASCII85Decode",
    "/LZW": "/LZWDecode",
    "/Fl": "/FlateDecode",
    "/RL": "/RunLengthDecode",
}


#: Glyphs of two or three letters, as fonts name them, and as the list of Adobe's names does.
_JOINED = {"f_f": "ff", "f_i": "fi", "f_l": "fl", "f_f_i": "ffi", "f_f_l": "ffl"}


def name_glyphs_plainly(page: Any) -> None:
    """Leave out of the names of glyphs what follows a dot: ``one.oldstyle`` is the letter ``one``."""
    with _what_is_broken_stays():
        fonts = page["/Resources"]["/Font"]
        for name in fonts:
            with _what_is_broken_stays():
                differences = fonts[name]["/Encoding"]["/Differences"]
                for place, item in enumerate(differences):
                    if isinstance(item, NameObject):
                        differences[place] = _plain_name(item)


def _plain_name(name: NameObject) -> NameObject:
    base = name[1:].partition(".")[0]
    return NameObject(f"/{_JOINED.get(base, base)}") if base else name  # .notdef has nothing in front


def lend_fonts(page: Any) -> None:
    """Give the forms that a page draws the page's own fonts where they have none of that name.

    Older files leave the fonts of a form to the page, and viewers look for them there.
    """
    with _what_is_broken_stays():
        resources = page["/Resources"]
        fonts = resources["/Font"]
        for name in resources.get("/XObject", DictionaryObject()).get_object():
            _lend(resources["/XObject"][name], fonts)
        for item in annotations_of(page):
            with _what_is_broken_stays():
                _lend(item["/AP"]["/N"] if "/AP" in item else None, fonts)


def _lend(form: Any, fonts: DictionaryObject) -> None:
    if not isinstance(form, StreamObject) or form.get("/Subtype") != "/Form":
        return
    with _what_is_broken_stays():
        chosen = {"/" + name.decode("latin-1") for name in _FONT_CHOICE.findall(form.get_data())}
        # No other than those: each one costs time for each form.
        for name in sorted(chosen & fonts.keys()):
            form.setdefault(NameObject("/Resources"), DictionaryObject())
            resources: Any = form["/Resources"]
            resources.setdefault(NameObject("/Font"), DictionaryObject())
            if name not in resources["/Font"]:
                resources["/Font"][NameObject(name)] = fonts.raw_get(name)


def annotations_of(page: Any) -> Iterator[Any]:
    """The annotations of a page that can be read."""
    items: list[Any] = []
    with _what_is_broken_stays():
        items = list(page.get("/Annots", ArrayObject()).get_object() or ())[:MAX_ANNOTATIONS]
    for item in items:
        found = None
        with _what_is_broken_stays():
            found = item.get_object()
        if isinstance(found, DictionaryObject):
            yield found


def write_filters_out(page: Any) -> None:
    """Give the streams of a page the full names of their filters; pypdf takes short ones in images alone."""
    left: list[Any] = [page]
    seen: set[int] = set()
    while left and len(seen) < MAX_PDF_OBJECTS:
        item = left.pop()
        with _what_is_broken_stays():
            item = item.get_object()
        if id(item) in seen or not isinstance(item, DictionaryObject | ArrayObject):
            continue
        seen.add(id(item))
        if isinstance(item, ArrayObject):
            left.extend(item)
            continue
        left.extend(value for name, value in item.items() if name not in ("/Parent", "/P"))
        if isinstance(item, StreamObject) and "/Filter" in item:
            with _what_is_broken_stays():
                written: Any = item["/Filter"]
                names = written if isinstance(written, ArrayObject) else [written]
                full = [NameObject(_FILTERS.get(str(name), str(name))) for name in names]
                item[NameObject("/Filter")] = ArrayObject(full)


@contextmanager
def _what_is_broken_stays() -> Iterator[None]:
    """Broken files raise errors of many kinds; what could not be repaired is read as it is."""
    try:
        yield
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001, S110 - see above
        pass
