"""The WHERE of grids: written from a query's shape and the table of columns, never from a caller's words.

What belongs here: conditions as SQL, and the arguments that they are run with. A value is always an argument,
and each argument knows the position of its value in a query: a statement is written once for all queries of a
shape.

How it works: each condition is written so that an index can answer it if there is one. Texts are searched
through one trigram index over all text columns together (``docservice_search``): a row whose column contains
a text also contains it there. That condition is added beside the exact one wherever every alternative of a
filter has it. The texts of documents are in a table of their own, with an index of words and one of trigrams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from docservice.domain import mail_number
from docservice.domain.grid.columns import FILTERED, IGNORING_CASE, Kind, Op
from docservice.domain.grid.query import Choice, Condition, Filter, GridQuery, Value, searches_text
from docservice.domain.mail_number import MIN_INDEXED_CHARACTERS

#: The position of an argument's value in a query.
Source: TypeAlias = Callable[[GridQuery], Value]
#: A condition's place: of its filter, of its choice within that, of itself within that.
Place: TypeAlias = tuple[int, int, int]

SQL_TYPES = {Kind.INTEGER: "bigint", Kind.DATETIME: "timestamptz"}
_COMPARISONS = {Op.EXACT: "=", Op.FROM: ">=", Op.ABOVE: ">", Op.TO: "<=", Op.BELOW: "<"}
_FOUND_BY_TEXT = (
    *(Op.EXACT, Op.PREFIX, Op.CONTAINS, Op.SUFFIX),
    *(Op.IEXACT, Op.IPREFIX, Op.ICONTAINS, Op.ISUFFIX),
)
# The arguments of the expression that the index ``documents_search`` is made of, in its order.
_SEARCHED_COLUMNS = (
    *("id", "document_type", "mail_number", "title", "sender", "file_name", "content_type"),
    *("size_bytes", "state", "failure", "pages", "parent_id"),
)
_SEARCH = "docservice_search({})".format(
    ", ".join("d.pages::bigint" if name == "pages" else f"d.{name}" for name in _SEARCHED_COLUMNS)
)
# No text is above all texts that begin with it.
_LAST = chr(0x10FFFF)


class Arguments:
    """The values that a statement is run with; each source is bound once and named by its place."""

    def __init__(self, placeholder: Callable[[int, str], str]) -> None:
        self._placeholder = placeholder
        self.sources: list[Source] = []
        self.types: list[str] = []

    def bind(self, source: Source, sql_type: str) -> str:
        """Its name within the statement."""
        if source in self.sources:
            return self._placeholder(self.sources.index(source) + 1, sql_type)
        self.sources.append(source)
        self.types.append(sql_type)
        return self._placeholder(len(self.sources), sql_type)

    def bind_added(self, sql_type: str) -> str:
        """The name of one more argument, the last one, whose value the caller adds behind :meth:`values`."""
        self.types.append(sql_type)
        return self._placeholder(len(self.types), sql_type)

    def values(self, query: GridQuery) -> list[Value]:
        """The values of one query, in the order of their places."""
        return [source(query) for source in self.sources]


def direct(place: int, sql_type: str) -> str:
    """An argument of the statement itself."""
    # The type is named for numbers: otherwise it is that of the column, which may be too small for the value.
    return f"${place}::bigint" if sql_type == "bigint" else f"${place}"


def lookup(place: int, _sql_type: str) -> str:
    """An argument of one look-up among several in a statement."""
    return f"q.a{place}"


def asked_module(query: GridQuery) -> Value:
    """The module of a query."""
    return query.module


def conditions_shape(query: GridQuery) -> tuple[object, ...]:
    """What the WHERE depends on apart from values: equal for queries with the same WHERE."""
    return tuple([_filter_shape(part) for part in query.filters])


def _filter_shape(part: Filter) -> tuple[object, ...]:
    if len(part.choices) == 1 and len(part.choices[0]) == 1:  # most of them
        return _condition_shape(part.choices[0][0])
    choices = tuple([tuple([_condition_shape(item) for item in choice]) for choice in part.choices])
    texts = searched_texts(part)
    return choices, None if texts is None else tuple([texts.index(text) for text in texts])


def _condition_shape(item: Condition) -> tuple[object, ...]:
    """Short texts are compared in another way than those that the trigram index finds."""
    return item.column, item.op, item.text[:1] == _LAST, len(item.text) < MIN_INDEXED_CHARACTERS


def _short(item: Condition) -> bool:
    """Whether it is a search in texts for less than the trigram index finds."""
    return FILTERED[item.column].kind is Kind.DOCUMENT_TEXT and len(item.text) < MIN_INDEXED_CHARACTERS


def where(query: GridQuery, arguments: Arguments, *, done: Filter | None = None) -> str:
    """The condition of rows, total and export; ``done`` is a filter that is applied elsewhere."""
    parts = [f"d.module = {arguments.bind(asked_module, 'text')}"]
    for place, part in enumerate(query.filters):
        if part is done:
            continue
        if not query.selective and searched_texts(part) is not None:
            parts.append(_searched(place, part, arguments))
        parts.append(any_of(place, part, arguments))
    return " and ".join(parts)


def uses_search(query: GridQuery) -> bool:
    """Whether a search index may serve it, which only a plan that knows the values can decide."""
    if searches_text(query.filters):
        return True
    return not query.selective and any(searched_texts(part) is not None for part in query.filters)


def searched_texts(part: Filter) -> list[str] | None:
    """A text for each choice that each row of it contains; None when a choice has none, or there is none."""
    found = [_searched_text(choice, alone=len(part.choices) == 1) for choice in part.choices]
    return [text for text in found if text is not None] if found and None not in found else None


def _searched_text(choice: Choice, *, alone: bool) -> str | None:
    for item in choice:
        kind = FILTERED[item.column].kind
        if item.op not in _FOUND_BY_TEXT or item.column not in _SEARCHED_COLUMNS:
            continue
        if len(item.text) < MIN_INDEXED_CHARACTERS:
            continue
        # Alone, a number or one of few values is compared faster than searched.
        if alone and (kind is Kind.INTEGER or (kind is Kind.SET and not _ignores_case(item))):
            continue
        return item.text
    return None


def _ignores_case(item: Condition) -> bool:
    return item.op in IGNORING_CASE.values()


def _searched(place: int, part: Filter, arguments: Arguments) -> str:
    texts = searched_texts(part) or []
    patterns = [
        f"docservice_fold({arguments.bind(_search_pattern(place, number), 'text')})"
        for number, text in enumerate(texts)
        if texts.index(text) == number
    ]
    if len(patterns) == 1:
        return f"{_SEARCH} like {patterns[0]}"
    return f"{_SEARCH} like any (array[{', '.join(patterns)}])"


def _search_pattern(part: int, number: int) -> Source:
    def source(query: GridQuery) -> Value:
        texts = searched_texts(query.filters[part]) or []
        return mail_number.like_pattern(texts[number])

    return source


def any_of(place: int, part: Filter, arguments: Arguments, *, by_trigrams: bool = False) -> str:
    """One filter; ``by_trigrams`` writes conditions on mail numbers as their trigram index answers them."""
    if not part.choices:
        return "false"
    first = part.choices[0][0]
    if len(part.choices) > 1 and all(
        len(choice) == 1 and choice[0].op is Op.EXACT and choice[0].column == first.column
        for choice in part.choices
    ):
        # One range of the index for each, in one scan.
        sql_type = SQL_TYPES.get(FILTERED[first.column].kind, "text")
        values = [arguments.bind(_value((place, number, 0)), sql_type) for number in range(len(part.choices))]
        return f"d.{first.column} in ({', '.join(values)})"
    written = []
    for number, choice in enumerate(part.choices):
        conditions = [
            _condition((place, number, at), item, arguments, by_trigrams=by_trigrams)
            for at, item in enumerate(choice)
        ]
        written.append(conditions[0] if len(conditions) == 1 else f"({' and '.join(conditions)})")
    return written[0] if len(written) == 1 else f"({' or '.join(written)})"


def _condition(place: Place, item: Condition, arguments: Arguments, *, by_trigrams: bool) -> str:
    kind = FILTERED[item.column].kind
    name = f"d.{item.column}"
    if item.op is Op.BLANK:
        return f"{name} is null" if kind in SQL_TYPES else f"({name} is null or {name} = '')"
    if item.op is Op.FILLED:
        return f"{name} is not null" if kind in SQL_TYPES else f"{name} <> ''"
    if kind is Kind.DOCUMENT_TEXT:
        return _document_text(place, item, arguments)
    if item.op in _COMPARISONS or item.op is Op.NOT:
        sign = _COMPARISONS.get(item.op, "is distinct from")
        return f"{name} {sign} {arguments.bind(_value(place), SQL_TYPES.get(kind, 'text'))}"
    if _ignores_case(item):
        return _ignoring_case(place, item, arguments)
    return _text_condition(place, item, arguments, by_trigrams=by_trigrams)


def _document_text(place: Place, item: Condition, arguments: Arguments) -> str:
    """All the words of the value, in any order, or the value as a part of the text."""
    found = f"t.words @@ {text_words(place, arguments)}"
    if not _short(item):  # after the words: what they found need not be read
        found += (
            f" or docservice_fold(t.content) like docservice_fold({arguments.bind(_pattern(place), 'text')})"
        )
    return f"d.id in (select t.document_id from document_texts t where {found})"


def text_words(place: Place, arguments: Arguments) -> str:
    """The words of the value of a search in texts, as a ``tsquery``."""
    return f"plainto_tsquery('simple', docservice_fold({arguments.bind(_value(place), 'text')}))"


def text_place(query: GridQuery) -> Place:
    """Where a query has its first search in texts.

    Raises:
        ValueError: when it has none.
    """
    for number, part in enumerate(query.filters):
        for choice, items in enumerate(part.choices):
            for at, item in enumerate(items):
                if FILTERED[item.column].kind is Kind.DOCUMENT_TEXT:
                    return number, choice, at
    raise ValueError("the query searches no texts")


def _text_condition(place: Place, item: Condition, arguments: Arguments, *, by_trigrams: bool) -> str:
    """A case-sensitive condition on a text."""
    name = f"d.{item.column}"
    if item.op is Op.PREFIX and not by_trigrams:
        return _prefix(place, item, arguments)
    if item.op is Op.CONTAINS and FILTERED[item.column].kind is not Kind.MAIL_NUMBER:
        return f"strpos({name}, {arguments.bind(_value(place), 'text')}) > 0"
    if item.op is Op.NOT_CONTAINS:
        return f"({name} is null or strpos({name}, {arguments.bind(_value(place), 'text')}) = 0)"
    pattern = _pattern(place, starts=item.op is Op.PREFIX, ends=item.op is Op.SUFFIX)
    return f"{name} like {arguments.bind(pattern, 'text')}"  # which the trigram index answers


def _ignoring_case(place: Place, item: Condition, arguments: Arguments) -> str:
    name = f"docservice_fold(d.{item.column})"
    if item.op is Op.ISUFFIX:
        return f"{name} like docservice_fold({arguments.bind(_pattern(place, ends=True), 'text')})"
    value = f"docservice_fold({arguments.bind(_value(place), 'text')})"
    if item.op is Op.IEXACT:
        return f"{name} = {value}"
    if item.op is Op.INOT:
        return f"{name} is distinct from {value}"
    if item.op is Op.IPREFIX:
        return f"starts_with({name}, {value})"
    if item.op is Op.ICONTAINS:
        return f"strpos({name}, {value}) > 0"
    return f"(d.{item.column} is null or strpos({name}, {value}) = 0)"


def _prefix(place: Place, item: Condition, arguments: Arguments) -> str:
    name = f"d.{item.column}"
    first = arguments.bind(_value(place), "text")
    if item.text[:1] == _LAST:
        return f"({name} >= {first} and starts_with({name}, {first}))"
    end = arguments.bind(lambda query: mail_number.range_end(_at(query, place).text) or _LAST, "text")
    return f"({name} >= {first} and {name} < {end})"


def _at(query: GridQuery, place: Place) -> Condition:
    part, choice, item = place
    return query.filters[part].choices[choice][item]


def _value(place: Place) -> Source:
    def source(query: GridQuery) -> Value:
        item = _at(query, place)
        if item.value is None:
            raise ValueError(f"the condition {item.op} of {item.column} has no value")
        return item.value

    return source


def _pattern(place: Place, *, starts: bool = False, ends: bool = False) -> Source:
    return lambda query: mail_number.like_pattern(_at(query, place).text, starts=starts, ends=ends)
