"""Text files as Arrow streams: one pass finds the types of their columns, every later pass yields typed batches.

A column starts with all possible types, and each block rules out those that do not fit, so that a value in the last
line counts as much as one in the first. During the pass only a few words for each column are kept.
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

BLOCK_BYTES = 4 << 20  # bytes of text that are parsed at a time
ROW_CHARACTERS = 16 << 20  # characters of the longest row; in a longer one a quote was left open
# The pattern of texts of each type, from the narrowest type on. A leading zero marks a code ("007"), not a number.
PATTERNS = {
    BOOL: r"^(true|True|TRUE|false|False|FALSE)$",
    INT: r"^[+-]?(0|[1-9][0-9]*)$",
    FLOAT: r"(?i)^[+-]?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|inf|infinity)$",
    MOMENT: r"^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?$",
}
ZONE = r":.*(Z|[+-]\d\d(:?\d\d)?)$"  # after a colon, since the day of a bare date also matches

# Columns with their types, the number of rows, and how the file is read.
Scanned = tuple[pa.Schema, int, Reading]


@dataclass
class _Narrowing:
    """The types that a text column may still have, after the blocks seen so far."""

    name: str
    kinds: list[pa.DataType] = field(default_factory=lambda: list(PATTERNS))
    seen: bool = False
    infinite: str | None = None

    def see(self, text: pa.Array) -> None:
        """Rule out types that do not fit a block, whose missing values are null."""
        if text.null_count == len(text):
            return
        self.seen = True
        if not self.kinds:
            return
        import pyarrow.compute as pc

        text = pc.ascii_trim_whitespace(text)
        kept: list[pa.DataType] = []
        for kind in self.kinds:
            # Every integer is also a float: skip the check, which takes time.
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
        # Not earlier: in a column of words, "inf" is a word.
        if kind == FLOAT and self.infinite is not None:
            raise infinity(path, self.name, self.infinite)
        return kind


def scan(path: Path, reading: Reading, progress: bool, block_bytes: int) -> Scanned:
    """Scan a text file, as `tables.scan` does."""
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
    """Check a text file for columns, as `tables.scan_for` does."""
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
    """The layout of a file that may have a header, although the file that `reading` was written for has none."""
    if reading.columns is not None:
        with suppress(UserError):  # the first row is no valid header
            found, names = layout(path, replace(reading, columns=None))
            if set(names) & set(wanted.names):
                return found, names
    return layout(path, reading)


def _check_texts(path: Path, name: str, kind: pa.DataType, text: pa.Array, before: int) -> None:
    """Raise an error for the first text that is not of a type; `before` rows of the file precede these texts."""
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
    """The position of the first text that is not of a type; at least one text must not be."""

    def holds_until(place: int) -> bool:
        part = text.slice(0, place + 1)
        return part.null_count == len(part) or _parsed(part, kind) is not None

    return bisect_left(range(len(text)), True, key=lambda place: not holds_until(place))


def batches(path: Path, names: list[str], wanted: pa.Schema, reading: Reading) -> Iterator[pa.RecordBatch]:
    """Stream the columns of a schema, in its types; `names` are the names of all columns of the file."""
    places = {name: place for place, name in enumerate(names)}
    positions = [places[name] for name in wanted.names]
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
    """Stream a text file as blocks of strings, with null for missing values; columns are named by position."""
    import pyarrow.compute as pc

    missing = pa.array({*USUAL_MISSING, *(text.strip() for text in reading.missing)}, STRING)
    header = int(reading.columns is None)
    rest = ""  # the beginning of a row whose end is in a later piece
    with opened_text(path, reading.encoding, progress) as stream:
        # of a wide table a piece holds as many rows as of others
        for piece in chain(stream.pieces(block_bytes * max(1, width // 1000)), ["\n"]):
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
    """Parse the complete rows of a text; return them, the rows of another width, and the incomplete row at the end.

    Arrow's streaming reader is not used: it reads ahead in threads of its own, which crash if Python exits while they
    are in a Python file, and it does not notice a quote that stays open. Instead a mark after the text shows where the
    last complete row ends. The mark closes an open quote and has more fields than any row. The incomplete row, together
    with the mark, is therefore a row of the wrong width, which Arrow hands back unchanged.
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
    """Return texts as values of a type, or None where any of them is not of that type."""
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
    """The error for the first row that has not `width` fields: Arrow gives its text, and this finds its line."""
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
    if fields == width:  # Python's parser stopped before that row, at a field of more than 128 KiB
        return UserError(f"{path}: a row has not {width} fields: {text[:60]!r}; correct it")
    hint = "is a quote left open there?" if "\n" in text else "correct the line"
    return UserError(f"{path}: line {start} has {fields} field{'s' * (fields > 1)} where {width} are expected; {hint}")
