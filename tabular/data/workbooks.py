"""Sheets of workbooks (Excel's .xlsx, .xlsb and .xls, OpenDocument's .ods) as Arrow streams.

A sheet is in memory as a whole while it is read; it has at most a million rows. Empty rows around the table, and
columns without a name and a value, are no part of the table.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from tabular.data.columns import BOOL, FLOAT, INT, MOMENT, STRING, UNNAMED, Reading
from tabular.errors import UserError, as_yaml, first_line, listed, nearest

INSTALL = (
    "`uv pip install -r requirements-excel.txt`, and for `mlflow run` name that file among the dependencies of "
    "python_env.yaml (`- -r requirements-excel.txt`); or save the sheet as CSV"
)
BLOCK_ROWS = 8_192  # rows that are made Arrow's at a time
# What tells a column of cells of several kinds, which is read as in a text file, from one of texts, which stay texts.
MIXED = {b"tabular.mixed": b"true"}
NUMBERS, MOMENTS = {int, float, timedelta}, {date, datetime}
LARGEST_WHOLE = 2**53


def is_mixed(column: pa.Field) -> bool:
    """Whether a column's cells are of several kinds, such as numbers and words."""
    return bool(column.metadata and MIXED.items() <= column.metadata.items())


def settled(path: Path, reading: Reading) -> Reading:
    """The options for reading, with the sheet that is read."""
    with _opened(path) as book:
        return replace(reading, sheet=_chosen(book, path, reading.sheet))


def asked(path: Path, wanted: pa.Schema, reading: Reading) -> Reading:
    """The options for a workbook that a model is asked about: its sheet may have another name, and a header or none."""
    with _opened(path) as book:
        sheet = reading.sheet if reading.sheet in book.sheet_names else None
        reading = replace(reading, sheet=_chosen(book, path, sheet))
    if reading.columns is not None:
        with suppress(UserError):  # the first row is no valid header
            named = replace(reading, columns=None)
            if set(_named(path, named)[0]) & set(wanted.names):
                return named
    return reading


def described(path: Path, reading: Reading) -> tuple[pa.Schema, int]:
    """The columns of a sheet, in the types that hold all their cells, and the number of its rows."""
    names, rows = _named(path, reading)
    words = [reading.words(name) for name in names]
    found: list[set[str]] = [set() for _ in names]
    total = 0
    for block in _blocks(rows):
        total += len(block)
        for kinds, cells, missing in zip(found, zip(*block, strict=True), words, strict=True):
            kinds.update(_kinds(cells, missing))
    # a name is missed, and told by who asks, where there are values
    kept = [(name, kinds) for name, kinds in zip(names, found, strict=True) if name or kinds]
    return pa.schema([_field(name, kinds) for name, kinds in kept]), total


def blocks(path: Path, columns: pa.Schema, reading: Reading, progress: bool) -> Iterator[pa.RecordBatch]:
    """Stream columns, as texts where these are wanted or found, else in types that can be cast to the wanted ones."""
    from tqdm import tqdm

    names, rows = _named(path, reading)
    places = [names.index(column.name) for column in columns]
    with tqdm(desc=f"reading {path.name}", leave=False, delay=0.5, disable=not progress, unit="rows") as bar:
        for block in _blocks(rows):
            cells = list(zip(*block, strict=True))
            arrays = [_array(cells[place], column.type) for place, column in zip(places, columns, strict=True)]
            yield pa.record_batch(arrays, names=columns.names)
            bar.update(len(block))


# --- the sheet --------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import python_calamine
    except ImportError:
        what = "is a workbook of Excel or OpenDocument, for which the package python-calamine is needed"
        raise UserError(f"{path}: {what}: {INSTALL}") from None
    try:
        with path.open("rb") as file:  # what it is, its content says and not its name
            yield python_calamine.load_workbook(file)
    except python_calamine.PasswordError:
        raise UserError(f"{path}: is protected by a password; save it without one") from None
    except python_calamine.CalamineError as error:
        raise UserError(f"{path}: cannot be read as a workbook ({first_line(error)}); save its sheet as CSV") from error


def _chosen(book: Any, path: Path, asked_for: str | None) -> str:
    """The name of the sheet that is read: the one asked for, or the only one that is shown and holds anything."""
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    tables = [one for one in book.sheets_metadata if one.typ == SheetTypeEnum.WorkSheet]
    names: list[str] = [one.name for one in tables]
    if asked_for is not None:
        if asked_for not in names:
            hint = nearest(asked_for, names) or f"; its sheets: {listed(names)}"
            raise UserError(f"data.sheet: {path.name} has no sheet {asked_for!r}{hint}")
        return asked_for
    seen = [one.name for one in tables if one.visible == SheetVisibleEnum.Visible]
    filled: list[str] = [name for name in seen if book.get_sheet_by_name(name).start is not None]
    if len(filled) == 1:
        return filled[0]
    if not filled:
        raise UserError(f"{path}: has no sheet that is shown and holds anything; its sheets: {listed(names)}")
    raise UserError(
        f"{path}: has {len(filled)} sheets, {listed(filled)}: say which in the problem, such as data: "
        f"{as_yaml({'sheet': filled[0]})}, or save that sheet as a file of its own"
    )


def _named(path: Path, reading: Reading) -> tuple[list[str], Iterator[list[Any]]]:
    """The names of the columns, "" where there is none, and the rows below them."""
    with _opened(path) as book:
        name = _chosen(book, path, reading.sheet)
        sheet = book.get_sheet_by_name(name)
    if sheet.start is None:
        raise UserError(f"{path}: the sheet {name!r} is empty")
    rows = _rows(sheet)
    if reading.columns is not None:
        if len(reading.columns) != sheet.width:
            raise UserError(
                f"{path}: the sheet {name!r} has {sheet.width} columns, data.columns names {len(reading.columns)}"
            )
        return list(reading.columns), rows
    names = [(_text(cell) or "").strip() for cell in next(rows, [])]
    if len(names) > 1 and not names[0]:
        names[0] = UNNAMED
    return names, rows


def _rows(sheet: Any) -> Iterator[list[Any]]:
    """The rows of a sheet with a cell that is not empty, and the empty ones between them."""
    empty: list[list[Any]] = []
    begun = False
    for row in sheet.iter_rows():
        if all(isinstance(cell, str) and not cell.strip() for cell in row):
            empty.append(row)
            continue
        if begun:
            yield from empty
        empty, begun = [], True
        yield row


def _blocks(rows: Iterator[list[Any]]) -> Iterator[list[list[Any]]]:
    while block := list(islice(rows, BLOCK_ROWS)):
        yield block


# --- cells ------------------------------------------------------------------------------------------------------------


def _kinds(cells: Sequence[Any], words: Sequence[str]) -> set[str]:
    """The kinds of some cells of a column: whole, number, truth, moment, text, and word for one that means missing."""
    types = set(map(type, cells))
    found = {"truth"} if bool in types else set()
    found |= {"moment"} if types & MOMENTS else set()
    found |= {"text"} if time in types else set()
    if types & NUMBERS:
        numbers = [cell for cell in cells if type(cell) in NUMBERS]
        found |= {"whole" if all(map(_is_whole, numbers)) else "number"}
    if str in types:
        texts = {cell.strip() for cell in cells if type(cell) is str} - {""}
        found |= ({"text"} if texts - {*words} else set()) | ({"word"} if texts & {*words} else set())
    return found


def _is_whole(number: Any) -> bool:
    return not isinstance(number, timedelta) and number == int(number) and abs(number) <= LARGEST_WHOLE


def _field(name: str, kinds: set[str]) -> pa.Field:
    """A column with the type that holds cells of these kinds."""
    values = kinds - {"word"}
    types = {"whole": INT, "number": FLOAT, "truth": BOOL, "moment": MOMENT, "text": STRING}
    if not values:
        return pa.field(name, pa.null())
    if values == {"text"}:
        return pa.field(name, STRING)
    if "word" not in kinds and (len(values) == 1 or values == {"whole", "number"}):
        return pa.field(name, FLOAT if "number" in values else types[values.pop()])
    return pa.field(name, STRING, metadata=MIXED)


def _array(cells: Sequence[Any], wanted: pa.DataType) -> pa.Array:
    values = [None if type(cell) is str and not cell.strip() else cell for cell in cells]
    types = set(map(type, values)) - {type(None)}
    if types and wanted != STRING:
        if types <= NUMBERS:
            return pa.array([_number(value) for value in values], FLOAT).cast(INT if wanted == INT else FLOAT)
        if types <= MOMENTS:
            return pa.array([_moment(value) for value in values], MOMENT)
        if types == {bool}:
            return pa.array(values, BOOL)
    return pa.array([_text(value) for value in values], STRING)


def _number(value: Any) -> float | None:
    if value is None:
        return None
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def _moment(value: Any) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    return datetime(value.year, value.month, value.day)


def _text(value: Any) -> str | None:
    """A cell as a text file would have it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    number = _number(value)
    return repr(int(value)) if _is_whole(value) else repr(number)
