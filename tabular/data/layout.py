"""The layout of a text file: its separator and the names of its columns."""

import codecs
import csv
import io
from dataclasses import replace
from itertools import islice
from pathlib import Path

from tabular.data import escapes
from tabular.data.columns import Reading, check_names
from tabular.data.files import BINARY, Utf8, opened, opened_text
from tabular.errors import UserError, as_yaml

PEEK_BYTES = 4 << 20  # bytes of text from which the header and the separator are found
PEEK_ROWS = 200
SEPARATORS = ",;\t|\x01"


def layout(path: Path, reading: Reading, *, unnamed: bool = False) -> tuple[Reading, list[str]]:
    """Find the separator and the column names of a text file.

    Parameters
    ----------
    path
        The file.
    reading
        The options for reading; a separator and column names given there are kept.
    unnamed
        Whether columns may lack a name. The first one always may: pandas and R write an index so; and those may that
        have no value either, as where each line ends with a separator. Each is called as pandas calls it, `Unnamed: 0`.

    Returns
    -------
    tuple
        The options with the separator and `nameless` filled in, and the column names in the file's order.

    Raises
    ------
    UserError
        Where the file is empty or not a text table, the encoding or separator is not valid, or the names are not.

    """
    _check_encoding(reading.encoding)
    _check_text(path, reading.encoding)
    with opened_text(path, reading.encoding) as stream:
        peek = io.BufferedReader(stream).read(PEEK_BYTES)
        said = stream.separator
    text = peek.decode(errors="ignore")  # the last character may be incomplete
    if not text.strip():
        raise UserError(f"{path}: is empty")
    whole = len(peek) < PEEK_BYTES
    separator = reading.separator or said or _separator(text, whole, len(reading.columns or ()))
    if len(separator) != 1 or not separator.isascii() or separator in '"\r\n':
        raise UserError(f"data.separator {separator!r}: must be one ASCII character, such as , ; | or a tab")
    escape = reading.escape or ("backslash" if escapes.are_in(text, separator) else None)
    text, marks = escapes.hidden(text) if escape == "backslash" else (text, None)
    rows = _records(text, separator, whole)
    if not rows:
        raise UserError(f"{path}: line 1 is too long for a header; is a quote left open there?")
    first = rows[0] if marks is None else [marks.meant(name) for name in rows[0]]
    if len(first) == 1 and not unnamed and reading.separator is None:
        _check_marks(path, rows)
    nameless: tuple[str, ...] = ()
    if reading.columns is None:
        may_lack = len(first) if unnamed else int(len(first) > 1)
        empty = [] if unnamed else _empty(path, rows, separator)
        names = [
            name.strip() or (f"Unnamed: {at}" if at < may_lack or at in empty else "") for at, name in enumerate(first)
        ]
        check_names(path, names, "; if line 1 is not a header, name the columns in data.columns")
        nameless = tuple(names[at] for at in empty)
    else:
        names = list(reading.columns)
        if len(names) != len(first):
            raise UserError(f"{path}: line 1 has {len(first)} fields, data.columns names {len(names)}")
        check_names(path, names, " in data.columns")
    return replace(reading, separator=separator, escape=escape, nameless=nameless), names


def _empty(path: Path, rows: list[list[str]], separator: str) -> list[int]:
    """The places after the first where the first rows have neither a name nor a value."""
    first, others = rows[0], rows[1:]
    if others and not first[-1].strip() and all(len(row) == len(first) - 1 for row in others):
        raise UserError(
            f"{path}: line 1 ends with {separator!r}, and the lines below do not: take that mark away from line 1"
        )
    lacking = [at for at, name in enumerate(first) if at and not name.strip()]
    return [at for at in lacking if not any(row[at].strip() for row in others if at < len(row))]


def _check_marks(path: Path, rows: list[list[str]]) -> None:
    """Raise an error for a table of one column whose name and rows hold a mark that may separate columns."""
    name = rows[0][0]
    marks = [mark for mark in dict.fromkeys(name) if not mark.isalnum() and mark not in "_-.'\"()"]
    for mark in sorted(marks, key=str.isspace):
        if len(rows) > 1 and all(row[0].count(mark) == name.count(mark) for row in rows[1:]):
            way = f"say data.separator: {as_yaml(mark)}" if mark.isascii() else "write the file with another mark"
            raise UserError(f"{path}: line 1 is read as one name, {name[:60]!r}; if {mark!r} separates columns, {way}")


def _records(text: str, separator: str, whole: bool) -> list[list[str]]:
    """Return the first rows of a text; unless it is the whole text, without the last one, which may be incomplete."""
    rows: list[list[str]] = []
    try:
        for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=separator), PEEK_ROWS):
            rows += [row] if row else []  # a blank line is no row
    except csv.Error:  # a field of more than 128 KiB: the rows before it are complete
        return rows
    return rows if whole else rows[:-1]


def _separator(text: str, whole: bool, width: int) -> str:
    """Choose the separator that gives the most rows as many fields as the header (or `width`) has, and many fields.

    A file with a bad row still gets its separator, so that the later error is about that row.
    """

    def score(separator: str) -> float:
        widths = [len(row) for row in _records(text, separator, whole)]
        expected = width or (widths[0] if widths else 1)
        return (expected - 1) * widths.count(expected) / max(len(widths), 1)

    return max(SEPARATORS, key=score)


def _check_encoding(encoding: str) -> None:
    try:
        "".encode(encoding)
    except LookupError:
        raise UserError(f"data.encoding {encoding!r}: no such encoding; usual are utf-8, latin-1, cp1252") from None


def _check_text(path: Path, encoding: str) -> None:
    """Raise an error for a file that is not text, before it is reported as text in a wrong encoding."""
    with opened(path) as file:
        head = Utf8(file, path, encoding).raw(4096)
    codec = codecs.lookup(encoding).name
    if codec == "utf-8" and head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path}: is in UTF-16; say data.encoding: utf-16, or save it as UTF-8")
    if head.startswith(BINARY) or (b"\0" in head and not codec.startswith(("utf-16", "utf-32"))):
        raise UserError(f"{path}: is not a text table but binary data; give text with separators, or Parquet")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise UserError(f"{path}: is a web page, not a table; open it in a browser to see what it says")
