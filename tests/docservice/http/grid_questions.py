"""Drawn questions to a grid, each with what plain Python answers to it over the same rows.

Nothing of the service is used here: each form, GET, AG Grid's and MUI's, is written and understood by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Row: TypeAlias = dict[str, Any]
Passes: TypeAlias = "Callable[[Row], bool]"

START = datetime(2026, 1, 1, tzinfo=UTC)
SEARCHED_COLUMNS = ("title", "sender", "file_name", "failure", "state", "document_type", "content_type")
TEXT_COLUMNS = (*SEARCHED_COLUMNS, "to_addresses", "cc_addresses", "message_id")
NUMBER_COLUMNS = ("pages", "size_bytes", "id", "parent_id")
DATE_COLUMNS = ("received_at", "processed_at", "sent_at")
GREEK = ("\u03c3", "\u03a3", "\u03c2")  # sigma: small, capital, final
TEXTS = (
    *("a", "A", "b", "ab", "aB", "ABC", "abc", "%", "_", "\\", "'", "\u00df", "\u00c4", "\u00e4"),
    *(*GREEK, "ed", "FAIL"),
)
#: All that there can be: a GET refuses another as a whole value.
FIXED = {
    "state": ("received", "processing", "processed", "failed"),
    "document_type": ("email", "pdf", "text", "image", "archive", "office", "other"),
}
#: Words of the documents' texts, as :data:`TEXTS` of their fields; and what is searched for there.
WORDS = ("alpha", "Alpha", "alphabet", "be", "beta", "\u00c4pfel")
SEARCHED = ("alpha", "ALPHA", "alph", "bet", "be", "al", "\u00e4pfel", "nothing")
NUMBERS = ("A", "a", "MN", "mn-1", "MN-12", "12", "-1", "MN-123", "N-1")
INTEGERS = (0, 1, 2, 3, 12, 100)
DECIMALS = (0.5, 1.5, 2.0, -1.5)
BLANK = (None, "")


def fold(text: str) -> str:
    """Each letter in lower case on its own."""
    return "".join(sign.lower()[0] for sign in text).replace("\u03c2", "\u03c3")


@dataclass(frozen=True)
class Question:
    """One request, and what it means: which rows, in which order, which of them."""

    method: str
    parameters: tuple[tuple[str, str], ...]
    body: dict[str, Any] | None
    passes: Passes
    sort: tuple[tuple[str, bool], ...]
    limit: int
    offset: int
    #: How well a row matches, where that decides first.
    rank: Callable[[Row], int] = lambda row: 0  # noqa: ARG005

    def answer(self, rows: list[Row]) -> tuple[list[int], int]:
        """The ids of the page, and the total."""
        found = [row for row in rows if self.passes(row)]
        for column, descending in reversed(self.sort):
            blank = [row for row in found if row[column] is None]
            filled = [row for row in found if row[column] is not None]
            filled.sort(key=lambda row, column=column: row[column], reverse=descending)
            found = filled + blank
        found.sort(key=self.rank, reverse=True)
        ids = [row["id"] for row in found]
        return ids[self.offset : self.offset + self.limit], len(ids)


class _Drawn(Random):
    """Draws the same again from the same seed; ``flipped`` exchanges AND and OR, and nothing else."""

    flipped = False

    def operator(self, both: str, either: str) -> str:
        drawn = self.random() < 0.5
        return both if drawn != self.flipped else either


def draw(seed: int, *, flipped: bool = False) -> Question:
    """A question of any form; ``flipped``, the same conditions and page with AND and OR exchanged."""
    random = _Drawn(seed)
    random.flipped = flipped
    return random.choice((_get, _ag_grid, _ag_grid, _mui, _mui))(random)


# Text, numbers and dates as each form compares them

_TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "exact": lambda a, b: a == b,
    "prefix": lambda a, b: a.startswith(b),
    "contains": lambda a, b: b in a,
    "suffix": lambda a, b: a.endswith(b),
}
_ORDER_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "exact": lambda a, b: a == b,
    "above": lambda a, b: a > b,
    "from": lambda a, b: a >= b,
    "below": lambda a, b: a < b,
    "to": lambda a, b: a <= b,
}


def _text_test(column: str, name: str, wanted: str, *, ignoring: bool) -> Passes:
    """Also the negations ``not`` and ``not_contains``, which keep blanks."""
    if column == "mail_number":
        form: Callable[[str], str] = str.upper
    else:
        form = fold if ignoring else str
    negative = {"not": "exact", "not_contains": "contains"}.get(name)
    test = _TEXT_TESTS[negative or name]

    def passes(row: Row) -> bool:
        if row[column] is None:
            return negative is not None
        return test(form(row[column]), form(wanted)) == (negative is None)

    return passes


def _order_test(column: str, name: str, wanted: Any) -> Passes:
    return lambda row: row[column] is not None and _ORDER_TESTS[name](row[column], wanted)


def _within(column: str, begin: datetime, length: timedelta) -> Passes:
    return lambda row: row[column] is not None and begin <= row[column] < begin + length


def _blank(column: str) -> Passes:
    return lambda row: row[column] in BLANK


def _filled(column: str) -> Passes:
    return lambda row: row[column] not in BLANK


def _not(test: Passes) -> Passes:
    return lambda row: not test(row)


def _all(tests: list[Passes]) -> Passes:
    return lambda row: all(test(row) for test in tests)


def _any(tests: list[Passes]) -> Passes:
    return lambda row: any(test(row) for test in tests)


def _moment(random: _Drawn) -> datetime:
    hours = random.choice((0, 1, 5, 23, 24, 25, 48, 71))
    return START + timedelta(hours=hours, minutes=random.choice((0, 0, 30)))


def _sort(random: _Drawn) -> tuple[tuple[str, bool], ...]:
    """The columns of a sort, the last of them the unique one; none for the default."""
    columns = random.sample(
        ("title", "sender", "pages", "received_at", "mail_number", "state"), random.randint(0, 2)
    )
    if not columns:
        return (("received_at", True), ("id", True))
    chosen = [(column, random.random() < 0.5) for column in columns]
    return (*chosen, ("id", chosen[-1][1]))


def _is_default(sort: tuple[tuple[str, bool], ...]) -> bool:
    return sort == (("received_at", True), ("id", True))


# GET


def _get(random: _Drawn) -> Question:
    parameters: list[tuple[str, str]] = []
    groups: dict[str, list[Passes]] = {}
    for _ in range(random.randint(0, 3)):
        name, raw, test, negative = _parameter(random)
        parameters.append((name, raw))
        groups.setdefault(f"{name}{len(parameters)}" if negative else name, []).append(test)
        if random.random() < 0.3 and not name.endswith(("blank", "filled")) and name.startswith(TEXT_COLUMNS):
            column, _, op = name.partition(".")
            other = _text(random, column, op.removeprefix("i") or "exact")
            parameters.append((name, other))
            again = _text_test(column, op.removeprefix("i") or "exact", other, ignoring=op.startswith("i"))
            groups.setdefault(f"{name}{len(parameters)}" if negative else name, []).append(again)
    sort = _sort(random)
    limit, offset = random.randint(1, 20), random.choice((0, 0, 3))
    page = [("limit", str(limit)), ("offset", str(offset))]
    if not _is_default(sort):
        page.append(("sort", ",".join(f"{'-' if down else ''}{column}" for column, down in sort)))
    if random.random() < 0.2:
        page.append(("total", random.choice(("exact", "capped"))))
    tests = [_any(tests) for tests in groups.values()]
    rank = Question.rank
    if random.random() < 0.2:
        text = random.choice(SEARCHED)
        page.append(("text.contains", text))
        tests.append(_text_search(text))
        rank = _text_rank(text) if _is_default(sort) else rank
    asked = [*parameters, *page]
    random.shuffle(asked)
    return Question("GET", tuple(asked), None, _all(tests), sort, limit, offset, rank)


def _text_search(text: str) -> Passes:
    wanted, rank = fold(text), _text_rank(text)
    return lambda row: rank(row) > 0 or (len(wanted) > 2 and wanted in fold(row["content"] or ""))


def _text_rank(text: str) -> Callable[[Row], int]:
    """How often a document has a word: what ``ts_rank`` of a single word grows with."""
    return lambda row: fold(row["content"] or "").split().count(fold(text))


def _parameter(random: _Drawn) -> tuple[str, str, Passes, bool]:
    """Name, value, meaning, and whether several of it must all hold."""
    column = random.choice((*TEXT_COLUMNS, "mail_number", "mail_number", *NUMBER_COLUMNS, *DATE_COLUMNS))
    if random.random() < 0.15:
        op, raw = random.choice(("blank", "filled")), random.choice(("true", "false"))
        blank = (op == "blank") == (raw == "true")
        return f"{column}.{op}", raw, _blank(column) if blank else _filled(column), True
    if column in NUMBER_COLUMNS or column in DATE_COLUMNS:
        return _ordered_parameter(random, column)
    op = random.choice(("exact", "prefix", "contains", "suffix", "not", "not_contains"))
    ignoring = column != "mail_number" and random.random() < 0.5
    raw = random.choice(NUMBERS) if column == "mail_number" else _text(random, column, op)
    written = f"i{op}" if ignoring else op
    name = column if written == "exact" and random.random() < 0.5 else f"{column}.{written}"
    return name, raw, _text_test(column, op, raw, ignoring=ignoring), op.startswith("not")


def _text(random: _Drawn, column: str, op: str) -> str:
    return random.choice(FIXED[column] if column in FIXED and op in ("exact", "not") else TEXTS)


def _ordered_parameter(random: _Drawn, column: str) -> tuple[str, str, Passes, bool]:
    op = random.choice((*_ORDER_TESTS, "not"))
    name = f"{column}.{op}"
    if column in NUMBER_COLUMNS:
        number = random.choice(INTEGERS)
        test = _not(_order_test(column, "exact", number)) if op == "not" else _order_test(column, op, number)
        return name, str(number), test, op == "not"
    moment = _moment(random)
    if random.random() < 0.5:
        test = _not(_order_test(column, "exact", moment)) if op == "not" else _order_test(column, op, moment)
        return name, moment.isoformat(), test, op == "not"
    day = moment.replace(hour=0, minute=0)
    return name, day.date().isoformat(), _day_test(column, op, day), op == "not"


def _day_test(column: str, op: str, day: datetime) -> Passes:
    end = day + timedelta(days=1)
    return {
        "exact": _within(column, day, timedelta(days=1)),
        "not": _not(_within(column, day, timedelta(days=1))),
        "from": _order_test(column, "from", day),
        "above": _order_test(column, "from", end),
        "to": _order_test(column, "below", end),
        "below": _order_test(column, "below", day),
    }[op]


# AG Grid

_AG_TEXT = {
    "equals": "exact",
    "notEqual": "not",
    "contains": "contains",
    "notContains": "not_contains",
    "startsWith": "prefix",
    "endsWith": "suffix",
}
_AG_ORDER = {
    "equals": "exact",
    "greaterThan": "above",
    "greaterThanOrEqual": "from",
    "lessThan": "below",
    "lessThanOrEqual": "to",
}


def _ag_grid(random: _Drawn) -> Question:
    model: dict[str, Any] = {}
    tests: list[Passes] = []
    columns = (*TEXT_COLUMNS, "mail_number", *NUMBER_COLUMNS, *DATE_COLUMNS)
    for column in random.sample(columns, random.randint(0, 2)):
        model[column], found = _ag_column(random, column)
        tests += found
    sort = _sort(random)
    limit, offset = random.randint(1, 20), random.choice((0, 0, 3))
    body: dict[str, Any] = {
        "startRow": offset,
        "endRow": offset + limit,
        "filterModel": model,
        "sortModel": []
        if _is_default(sort)
        else [_ag_sort(column, descending=down) for column, down in sort],
    }
    if random.random() < 0.5:
        body |= {"rowGroupCols": [], "valueCols": [], "pivotCols": [], "pivotMode": False, "groupKeys": []}
    return Question("POST", (), body, _all(tests), sort, limit, offset)


def _ag_sort(column: str, *, descending: bool) -> dict[str, str]:
    return {"colId": column, "sort": "desc" if descending else "asc"}


def _ag_column(random: _Drawn, column: str, *, depth: int = 1) -> tuple[dict[str, Any], list[Passes]]:
    forms = ("simple", "simple", "compound", "compound", "set", "multi")
    form = random.choice(forms[: None if depth < 3 else -1])
    if form == "set" and column in ("state", "title", "mail_number", "pages"):
        values = random.sample(("failed", "received", "a", "b", None), random.randint(0, 3))
        if column == "pages":
            values = random.sample(("1", "2", None), random.randint(0, 2))
        kept = {
            None if value is None else value.upper() if column == "mail_number" else value for value in values
        }
        return {"filterType": "set", "values": values}, [
            lambda row: (None if row[column] in BLANK else str(row[column])) in kept
        ]
    if form == "compound":
        parts = [_ag_condition(random, column) for _ in range(random.randint(1, 3))]
        operator = random.operator("AND", "OR")
        complete = [test for _, test in parts if test is not None]
        model = {"operator": operator, "conditions": [written for written, _ in parts]}
        return model, complete if operator == "AND" or not complete else [_any(complete)]
    if form == "multi":
        first, test = _ag_condition(random, column)
        second, others = _ag_column(random, column, depth=depth + 1)
        return {"filterType": "multi", "filterModels": [first, second, None]}, [
            *([test] if test else []),
            *others,
        ]
    written, test = _ag_condition(random, column)
    return written, [test] if test else []


def _ag_condition(random: _Drawn, column: str) -> tuple[dict[str, Any], Passes | None]:
    if random.random() < 0.15:
        kind = random.choice(("blank", "notBlank"))
        return {"type": kind}, _blank(column) if kind == "blank" else _filled(column)
    if column in DATE_COLUMNS:
        return _ag_date(random, column)
    if column in NUMBER_COLUMNS:
        return _ag_number(random, column)
    kind = random.choice(tuple(_AG_TEXT))
    raw = random.choice((*(NUMBERS if column == "mail_number" else TEXTS), None))
    written = {"filterType": "text", "type": kind, "filter": raw}
    return written, None if raw is None else _text_test(column, _AG_TEXT[kind], raw, ignoring=True)


def _ag_number(random: _Drawn, column: str) -> tuple[dict[str, Any], Passes | None]:
    kind = random.choice((*_AG_ORDER, "notEqual", "inRange"))
    first, last = random.choice((*INTEGERS, *DECIMALS)), random.choice((*INTEGERS, *DECIMALS))
    written: dict[str, Any] = {"filterType": "number", "type": kind, "filter": first}
    if kind == "notEqual":
        return written, lambda row: row[column] is not None and row[column] != first
    if kind == "inRange":
        return {
            **written,
            "filterTo": last,
        }, lambda row: row[column] is not None and first < row[column] < last
    return written, _order_test(column, _AG_ORDER[kind], first)


def _ag_date(random: _Drawn, column: str) -> tuple[dict[str, Any], Passes | None]:
    kind = random.choice(("equals", "notEqual", "lessThan", "greaterThan", "inRange"))
    first = _moment(random).replace(hour=0, minute=0)
    last = _moment(random).replace(hour=0, minute=0)
    written: dict[str, Any] = {"filterType": "date", "type": kind, "dateFrom": f"{first:%Y-%m-%d %H:%M:%S}"}
    if kind in ("equals", "notEqual"):
        day = _within(column, first, timedelta(days=1))
        written["dateTo"] = None
        return written, day if kind == "equals" else lambda row: row[column] is not None and not day(row)
    if kind == "inRange":
        written["dateTo"] = f"{last:%Y-%m-%d %H:%M:%S}" if random.random() < 0.8 else None
        if written["dateTo"] is None:
            return written, None
        return written, lambda row: row[column] is not None and first < row[column] < last
    return written, _order_test(column, _AG_ORDER[kind], first)


# MUI

_MUI_TEXT = {
    "contains": "contains",
    "doesNotContain": "not_contains",
    "equals": "exact",
    "doesNotEqual": "not",
    "startsWith": "prefix",
    "endsWith": "suffix",
}
_MUI_NUMBER = {"=": "exact", ">": "above", ">=": "from", "<": "below", "<=": "to"}
_MUI_DATE = {
    "is": "exact",
    "not": "not",
    "after": "above",
    "onOrAfter": "from",
    "before": "below",
    "onOrBefore": "to",
}


def _mui(random: _Drawn) -> Question:
    columns = (*TEXT_COLUMNS, "mail_number", *NUMBER_COLUMNS, *DATE_COLUMNS)
    parts = [_mui_item(random, random.choice(columns)) for _ in range(random.randint(0, 3))]
    complete = [test for _, test in parts if test is not None]
    operator = random.operator("and", "or")
    model: dict[str, Any] = {"items": [{"id": place, **item} for place, (item, _) in enumerate(parts)]}
    if len(parts) > 1:
        model["logicOperator"] = operator
    tests = [_any(complete)] if operator == "or" and len(complete) > 1 else complete
    if random.random() < 0.4:
        values = random.choices((*TEXTS, *NUMBERS, "1", "100"), k=random.randint(0, 2))
        quick = random.operator("and", "or")
        model |= {"quickFilterValues": values, "quickFilterLogicOperator": quick}
        found = [_quick_test(value) for value in values]
        tests += [_any(found)] if quick == "or" and found else found
    sort = _sort(random)
    limit, page = random.randint(1, 20), random.choice((0, 0, 1))
    body = {
        "paginationModel": {"page": page, "pageSize": limit},
        "sortModel": []
        if _is_default(sort)
        else [_mui_sort(column, descending=down) for column, down in sort],
        "filterModel": model,
    }
    return Question("POST", (), body, _all(tests), sort, limit, page * limit)


def _mui_sort(column: str, *, descending: bool) -> dict[str, str]:
    return {"field": column, "sort": "desc" if descending else "asc"}


def _quick_test(value: str) -> Passes:
    def passes(row: Row) -> bool:
        if any(row[column] is not None and fold(value) in fold(row[column]) for column in SEARCHED_COLUMNS):
            return True
        if row["mail_number"] is not None and value.upper() in row["mail_number"]:
            return True
        return value.lstrip("-").isdigit() and int(value) in [row[column] for column in NUMBER_COLUMNS]

    return passes


def _item(column: str, operator: str, *value: Any) -> dict[str, Any]:
    return {"field": column, "operator": operator} | ({"value": value[0]} if value else {})


def _mui_item(random: _Drawn, column: str) -> tuple[dict[str, Any], Passes | None]:
    if random.random() < 0.15:
        operator = random.choice(("isEmpty", "isNotEmpty"))
        return _item(column, operator), _blank(column) if operator == "isEmpty" else _filled(column)
    if random.random() < 0.1:
        operator = "=" if column in NUMBER_COLUMNS else "is" if column in DATE_COLUMNS else "contains"
        return _item(column, operator, ""), None
    if column in DATE_COLUMNS:
        return _mui_date(random, column)
    if column in NUMBER_COLUMNS:
        return _mui_number(random, column)
    if column in ("state", "document_type", "content_type") and random.random() < 0.5:
        return _mui_select(random, column)
    raw = random.choice(NUMBERS if column == "mail_number" else TEXTS)
    operator = random.choice(tuple(_MUI_TEXT))
    test = _text_test(column, _MUI_TEXT[operator], raw, ignoring=True)
    return _item(column, operator, random.choice((raw, f" {raw} "))), test


def _mui_number(random: _Drawn, column: str) -> tuple[dict[str, Any], Passes]:
    number = random.choice((*INTEGERS, *DECIMALS))
    operator = random.choice((*_MUI_NUMBER, "!=", "isAnyOf"))
    if operator == "isAnyOf":
        return _item(column, operator, [number, 2]), lambda row: row[column] in (number, 2)
    if operator == "!=":
        return _item(column, operator, number), lambda row: row[column] != number
    return _item(column, operator, number), _order_test(column, _MUI_NUMBER[operator], number)


def _mui_select(random: _Drawn, column: str) -> tuple[dict[str, Any], Passes]:
    wanted = random.choice(("failed", "received", "email", "Failed"))
    operator = random.choice(("is", "not", "isAnyOf"))
    if operator == "not":
        return _item(column, operator, wanted), lambda row: row[column] != wanted
    value = [wanted] if operator == "isAnyOf" else wanted
    return _item(column, operator, value), lambda row: row[column] == wanted


def _mui_date(random: _Drawn, column: str) -> tuple[dict[str, Any], Passes]:
    operator = random.choice(tuple(_MUI_DATE))
    moment = _moment(random)
    written = {"field": column, "operator": operator, "value": f"{moment:%Y-%m-%dT%H:%M}:00.000Z"}
    name = _MUI_DATE[operator]
    if moment.hour == moment.minute == 0:
        test = _day_test(column, name, moment)
    elif name in ("exact", "not"):
        minute = _within(column, moment, timedelta(minutes=1))
        test = minute if name == "exact" else _not(minute)
    else:
        test = _order_test(column, name, moment)
    return written, lambda row: row[column] is not None and test(row)
