"""Text files as Arrow streams: the types of their columns found in one pass, typed batches in every later one.

A text column starts as everything that it may be and is narrowed block by block, so that a value in the last line
counts as much as one in the first. What is kept meanwhile is a few words a column.
"""

import csv
import io
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from tabular.data.columns import (
    BOOL,
    FLOAT,
    INT,
    MEANT,
    MOMENT,
    STRING,
    USUAL_MISSING,
    Reading,
    check_finite,
    check_present,
    infinity,
    no_values,
    wrong_value,
)
from tabular.data.files import opened_text
from tabular.data.layout import layout
from tabular.errors import UserError

BLOCK_BYTES = 4 << 20  # of text parsed at a time
ROW_CHARACTERS = 16 << 20  # of the longest row; beyond it, a quote was left open
# What a text must look like to be of a type, from the narrowest type on. A leading zero marks a code ("007").
PATTERNS = {
    BOOL: r"^(true|True|TRUE|false|False|FALSE)$",
    INT: r"^[+-]?(0|[1-9][0-9]*)$",
    FLOAT: r"(?i)^[+-]?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|inf|infinity)$",
    MOMENT: r"^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?$",
}
ZONE = r":.*(Z|[+-]\d\d(:?\d\d)?)$"  # after a colon, or the day of a bare date would pass for one

# Columns with their types, the number of rows, and how the file is read.
Scanned = tuple[pa.Schema, int, Reading]


@dataclass
class _Narrowing:
    """What a text column may still be, after the blocks seen so far."""

    name: str
    kinds: list[pa.DataType] = field(default_factory=lambda: list(PATTERNS))
    seen: bool = False
    infinite: str | None = None

    def see(self, text: pa.Array) -> None:
        """Narrow the candidates by a block, whose missing values are null."""
        if text.null_count == len(text):
            return
        self.seen = True
        if not self.kinds:
            return
        import pyarrow.compute as pc

        text = pc.ascii_trim_whitespace(text)
        kept: list[pa.DataType] = []
        for kind in self.kinds:
            # Whatever is an integer is a float as well, and a check is not free.
            if (kind == FLOAT and INT in kept) or _parsed(text, kind) is not None:
                kept.append(kind)
        self.kinds = kept
        if kept[:1] == [FLOAT] and self.infinite is None:
            infinite = text.filter(pc.is_inf(_parsed(text, FLOAT)))
            self.infinite = infinite[0].as_py() if len(infinite) else None

    def type(self, path: Path) -> pa.DataType:
        """Return the narrowest type that holds all values."""
        if not self.seen:
            raise no_values(path, self.name)
        kind = self.kinds[0] if self.kinds else STRING
        # Only now: among words, "inf" is a word.
        if kind == FLOAT and self.infinite is not None:
            raise infinity(path, self.name, self.infinite)
        return kind


def scan(path: Path, reading: Reading, progress: bool, block_bytes: int) -> Scanned:
    """As `tables.scan`, of a text file."""
    reading, names = layout(path, reading)
    columns = [_Narrowing(name) for name in names]
    rows = 0
    for block in _text_blocks(path, reading, len(names), progress=progress, block_bytes=block_bytes):
        rows += len(block)
        for column, text in zip(columns, block.columns, strict=True):
            column.see(text)
    if rows == 0:
        raise UserError(f"{path}: has a header and no rows")
    schema = pa.schema([(column.name, column.type(path)) for column in columns])
    return schema, rows, reading


def scan_for(path: Path, wanted: pa.Schema, reading: Reading, progress: bool, block_bytes: int) -> Scanned:
    """As `tables.scan_for`, of a text file."""
    reading, names = _layout_for(path, wanted, reading)
    check_present(path, wanted, names)
    types = dict(zip(wanted.names, wanted.types, strict=True))
    positions = [names.index(name) for name in wanted.names]
    rows = 0
    for block in _text_blocks(path, reading, len(names), positions, progress=progress, block_bytes=block_bytes):
        for (name, kind), text in zip(types.items(), block.columns, strict=True):
            if kind != STRING:
                _check_texts(path, name, kind, text, rows)
        rows += len(block)
    return pa.schema([(name, types.get(name, STRING)) for name in names]), rows, reading


def _layout_for(path: Path, wanted: pa.Schema, reading: Reading) -> tuple[Reading, list[str]]:
    """As `layout`, of a file that may have a header, though the one that `reading` is about has none."""
    if reading.columns is not None:
        with suppress(UserError):  # a first row makes no good header
            found, names = layout(path, replace(reading, columns=None))
            if set(names) & set(wanted.names):
                return found, names
    return layout(path, reading)


def _check_texts(path: Path, name: str, kind: pa.DataType, text: pa.Array, before: int) -> None:
    """Refuse the first text that is not of a type; `before` rows of the file come before these."""
    import pyarrow.compute as pc

    if text.null_count == len(text):
        return
    trimmed = pc.ascii_trim_whitespace(text)
    values = _parsed(trimmed, kind)
    if values is None:
        place = _first_wrong(trimmed, kind)
        raise wrong_value(path, name, before + place, text[place], MEANT[kind])
    if kind == FLOAT:
        check_finite(path, name, values, before)


def _first_wrong(text: pa.Array, kind: pa.DataType) -> int:
    """The position of the first text that is not of a type, of texts among which there is one."""

    def holds_until(place: int) -> bool:
        part = text.slice(0, place + 1)
        return part.null_count == len(part) or _parsed(part, kind) is not None

    return bisect_left(range(len(text)), True, key=lambda place: not holds_until(place))


def batches(path: Path, names: list[str], wanted: pa.Schema, reading: Reading) -> Iterator[pa.RecordBatch]:
    """Stream the columns of a schema in its types; `names` are those of all columns of the file."""
    positions = [names.index(name) for name in wanted.names]
    for block in _text_blocks(path, reading, len(names), positions):
        yield pa.record_batch([_typed(*pair) for pair in zip(block.columns, wanted.types, strict=True)], schema=wanted)


def _text_blocks(
    path: Path,
    reading: Reading,
    width: int,
    positions: Sequence[int] | None = None,
    *,
    progress: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[pa.RecordBatch]:
    """Stream a text file as blocks of strings, in which what means "missing" is null; columns are named by position."""
    import pyarrow.compute as pc

    missing = pa.array({*USUAL_MISSING, *(text.strip() for text in reading.missing)}, STRING)
    header = int(reading.columns is None)
    rest = ""  # the beginning of a row whose end is yet to come
    with opened_text(path, reading.encoding, progress) as stream:
        for piece in chain(stream.pieces(block_bytes), ["\n"]):
            block, broken, rest = _parse(rest + piece, reading.separator, width, positions)
            if broken:
                raise _uneven_row(path, reading, width, broken[0])
            if len(rest) > ROW_CHARACTERS:
                break
            block, header = block.slice(header), header - min(header, len(block))
            columns = [
                pc.if_else(pc.is_in(pc.ascii_trim_whitespace(text), value_set=missing), None, text)
                for text in block.columns
            ]
            if len(block):
                yield pa.record_batch(columns, names=block.schema.names)
        if rest:
            line = stream.lines - rest.removesuffix("\n").count("\n") + 1
            raise UserError(f"{path}: a quote opened in line {line} is never closed; close it")


def _parse(
    text: str, separator: str | None, width: int, positions: Sequence[int] | None
) -> tuple[pa.RecordBatch, list[str], str]:
    """Parse the whole rows of a text; return them, the rows of another width, and the beginning of a row at its end.

    Arrow's streaming reader is not used: it reads ahead in threads of its own, which crash if Python exits while they
    are in a Python file, and it does not notice a quote that stays open. Here Arrow tells where the last row ends,
    by a mark put after the text: it closes a quote that is open and then has more fields than any row, so that whatever
    it completes is set aside, as it stands, as a row of the wrong width.
    """
    from pyarrow import csv as arrow_csv

    separator = separator or ","
    mark = '\x01"' + separator * width
    data = (text + mark + "\n").encode()
    names = [str(position) for position in range(width)]
    aside: list[str] = []

    def set_aside(row: Any) -> str:
        aside.append(row.text)
        return "skip"

    table = arrow_csv.read_csv(
        pa.BufferReader(data),
        arrow_csv.ReadOptions(block_size=len(data) + 1, column_names=names),
        arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=set_aside),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, STRING),
            include_columns=names if positions is None else [names[position] for position in positions],
        ),
    )
    *broken, last = aside
    columns = [column.combine_chunks() for column in table.columns]
    return pa.record_batch(columns, names=table.column_names), broken, last.removesuffix(mark)


def _typed(text: pa.Array, kind: pa.DataType) -> pa.Array:
    import pyarrow.compute as pc

    return text if kind == STRING else _converted(pc.ascii_trim_whitespace(text), kind)


def _parsed(text: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """Return texts as values of a type, or None where one of them is not of it."""
    import pyarrow.compute as pc

    if not pc.all(pc.match_substring_regex(text, PATTERNS[kind])).as_py():
        return None
    try:
        return _converted(text, kind)
    except pa.ArrowInvalid:  # the 30th of February; an integer of 20 digits
        return None


def _converted(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Convert texts that look like values of a type."""
    import pyarrow.compute as pc

    if kind == BOOL:
        return pc.equal(pc.ascii_lower(text), "true")
    if kind != MOMENT:
        return pc.ascii_ltrim(text, "+").cast(kind)
    text = pc.replace_substring_regex(text, r"(\.\d{6})\d+", r"\1")  # nanoseconds
    zoned = pc.match_substring_regex(text, ZONE)
    if not pc.any(zoned).as_py():
        return text.cast(MOMENT)
    none = pa.scalar(None, STRING)
    utc = pc.if_else(zoned, text, none).cast(pa.timestamp("us", "UTC")).cast(MOMENT)
    return pc.coalesce(utc, pc.if_else(zoned, none, text).cast(MOMENT))


def _uneven_row(path: Path, reading: Reading, width: int, text: str) -> UserError:
    """Describe the first row that is not `width` fields long, whose text Arrow tells, but not its line."""
    held: list[str] = []  # the lines of one row

    def remembered(lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            held.append(line)
            yield line

    start, fields = 1, 0
    with opened_text(path, reading.encoding) as stream, suppress(csv.Error):
        lines = io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8", newline="")
        for row in csv.reader(remembered(lines), delimiter=reading.separator or ","):
            fields = len(row)
            if row and fields != width:
                break
            start += len(held)
            held.clear()
    if fields == width:  # Python's parser gave up before, at a field of more than 128 KiB
        return UserError(f"{path}: a row has not {width} fields: {text[:60]!r}; correct it")
    hint = "is a quote left open there?" if "\n" in text else "correct the line"
    return UserError(f"{path}: line {start} has {fields} field{'s' * (fields > 1)} where {width} are expected; {hint}")
