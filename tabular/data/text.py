"""Text files as Arrow streams: one pass finds the types of their columns, every later pass yields typed batches.

A column starts with all possible types, and each block rules out those that do not fit, so that a value in the last
line counts as much as one in the first. During the pass only a few words for each column are kept.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from tabular.data import escapes, spills
from tabular.data.ahead import ahead
from tabular.data.columns import NO_VALUES, STRING, UNNAMED, Reading, Scanned, check_present, check_usable
from tabular.data.files import opened_text
from tabular.data.layout import layout
from tabular.data.narrowing import Check, Counting, Narrowing, Seen, as_typed, plain
from tabular.data.parts import check_same_names
from tabular.data.readers import Readers
from tabular.data.spills import Spill
from tabular.errors import UserError

BLOCK_BYTES = 4 << 20  # bytes of text that are parsed at a time
CODED = pa.dictionary(pa.int32(), STRING)  # each text once, and which of them a cell holds
ROW_CHARACTERS = 16 << 20  # characters of the longest row; in a longer one a quote was left open


class EscapesError(UserError):
    """A file in which backslashes escape quotes is being read as one in which they do not."""


def scan(
    path: Path,
    reading: Reading,
    progress: bool,
    block_bytes: int,
    files: Sequence[Path],
    spill: Spill | None,
    readers: Readers | None,
) -> Scanned:
    """Scan the text files of a table that lies at `path`, as `tables.scan` does."""
    each = map if readers is None else readers.each
    ((reading, names),) = each(partial(layout, reading=reading), files[:1])
    others = each(partial(layout, reading=reading), files[1:])
    for file, (_, held) in zip(files[1:], others, strict=True):
        check_same_names(files[0], names, file, held, ordered=True)
    how: dict[str, Any] = {"progress": progress, "block_bytes": block_bytes}
    try:
        return _scan(path, reading, names, files, how, spill, readers)
    except EscapesError:
        return _scan(path, replace(reading, escape="backslash"), names, files, how, spill, readers)


def _scan(
    path: Path,
    reading: Reading,
    names: list[str],
    files: Sequence[Path],
    how: Mapping[str, Any],
    spill: Spill | None,
    readers: Readers | None,
) -> Scanned:
    looked_at = [place for place, name in enumerate(names) if reading.looks_at(name)] or [0]
    columns = [Narrowing(names[at], reading.words(names[at]), reading.types.get(names[at])) for at in looked_at]
    seen = Seen(columns, Counting() if columns[0].name == UNNAMED else None)
    beside = [at for at in range(len(names)) if spill is not None and spill.whole and at not in {*looked_at}]
    about: dict[str, Any] = {"reading": reading, "width": len(names), "positions": [*looked_at, *beside], **how}
    if readers is not None and spill is not None:
        (begun,) = readers.each(partial(_looked_at_apart, seen=seen, most=1, **about), files[:1])
        for part in readers.kept(partial(_looked_at_apart, seen=begun, **about), files, spill):
            seen.add(part)
    else:
        for place, file in enumerate(files):
            _look_at(file, spill.path(place) if spill is not None else None, seen=seen, **about)
    if seen.rows == 0:
        raise UserError(f"{path}: has a header and no rows")
    for column in columns:
        column.check_expected(path)
    faults = {column.name: fault for column in columns if (fault := column.fault()) is not None}
    notes = seen.notes()
    for name in reading.nameless:
        if name in notes and faults.pop(name, None) != NO_VALUES:
            raise UserError(f"{path}: column {names.index(name) + 1} of {len(names)} has no name; give it one")
        notes |= {name: replace(notes[name], index="empty")} if name in notes else {}
    check_usable(path, faults, reading)
    types = {column.name: column.type for column in columns}
    schema = pa.schema([(name, types.get(name, STRING)) for name in names])
    return schema, seen.rows, replace(reading, escape=reading.escape or "double"), notes


def _look_at(
    file: Path,
    kept: Path | None,
    *,
    seen: Seen,
    reading: Reading,
    packed: bool = False,
    most: int | None = None,
    **about: Any,
) -> None:
    """Look at the blocks of a file, or at the first `most` of them, and keep them where they are asked for."""
    blocks = islice(_text_blocks(file, reading, **about), most)
    for block in spills.kept(ahead(blocks), kept, packed=packed):
        for column, found in zip(seen.columns, block.columns, strict=False):
            column.see(found)
        if seen.counting is not None:
            seen.counting.see(as_typed(block.columns[0], pa.field(UNNAMED, STRING), reading))
        seen.rows += len(block)


def _looked_at_apart(file: Path, kept: Path | None = None, *, seen: Seen, **about: Any) -> Seen:
    """What is in a part of a table, whose parts are looked at apart from each other."""
    found = seen.apart()
    _look_at(file, kept, seen=found, packed=True, **about)
    return found.close()


def scan_for(path: Path, wanted: pa.Schema, reading: Reading, progress: bool, block_bytes: int) -> Scanned:
    """Check a text file for columns, as `tables.scan_for` does."""
    reading, names = _layout_for(path, wanted, reading)
    check_present(path, wanted, names)
    try:
        return _scan_for(path, wanted, reading, names, progress, block_bytes)
    except EscapesError:
        return _scan_for(path, wanted, replace(reading, escape="backslash"), names, progress, block_bytes)


def _scan_for(
    path: Path, wanted: pa.Schema, reading: Reading, names: list[str], progress: bool, block_bytes: int
) -> Scanned:
    checks = [Check(path, field.name, field.type, reading) for field in wanted if field.type != STRING]
    looked_at = [names.index(check.name) for check in checks] or [0]
    rows = 0
    for block in _text_blocks(path, reading, len(names), looked_at, progress=progress, block_bytes=block_bytes):
        for check, found in zip(checks, block.columns[: len(checks)], strict=True):
            check.see(found, rows)
        rows += len(block)
    types = dict(zip(wanted.names, wanted.types, strict=True))
    schema = pa.schema([(name, types.get(name, STRING)) for name in names])
    passed_on = {*reading.verbatim, *(set(names) - set(types))}
    reading = replace(reading, verbatim=passed_on, escape=reading.escape or "double")
    return schema, rows, reading, {check.name: check.note() for check in checks}


def _layout_for(path: Path, wanted: pa.Schema, reading: Reading) -> tuple[Reading, list[str]]:
    """The layout of a file that may have a header, although the file that `reading` was written for has none."""
    if reading.columns is not None:
        with suppress(UserError):  # the first row is no valid header
            found, names = layout(path, replace(reading, columns=None), unnamed=True)
            if set(names) & set(wanted.names):
                return found, names
    return layout(path, reading, unnamed=True)


def batches(
    path: Path, names: list[str], wanted: pa.Schema, reading: Reading, spilled: Path | None, *, coded: bool
) -> Iterator[pa.RecordBatch]:
    """Stream the columns of a schema, in its types; `coded`: as dictionaries of values in these types.

    `names` are the names of all columns of the file, `spilled` is where its blocks were kept.
    """
    places = {name: place for place, name in enumerate(names)}
    positions = [places[name] for name in wanted.names]
    if spilled is None:
        blocks = _text_blocks(path, reading, len(names), positions)
    else:
        blocks = spills.read(spilled, [str(position) for position in positions])
    for block in blocks:
        columns = list(zip(block.columns, wanted, strict=True))
        if coded:
            typed = [
                pa.DictionaryArray.from_arrays(found.indices, as_typed(found.dictionary, field, reading))
                for found, field in columns
            ]
            yield pa.record_batch(typed, names=wanted.names)
        else:
            yield pa.record_batch([as_typed(found, field, reading) for found, field in columns], schema=wanted)


def _text_blocks(
    path: Path,
    reading: Reading,
    width: int,
    positions: Sequence[int],
    *,
    progress: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[pa.RecordBatch]:
    """Stream some columns of a text file as blocks of texts, as they are written; they are named by position.

    Each block has its different texts once, as the dictionary of its column: most columns have few.
    """
    header = int(reading.columns is None)
    rest = ""  # the beginning of a row whose end is in a later piece
    with opened_text(path, reading.encoding, progress) as stream:
        # of a wide table a piece holds as many rows as of others
        for piece in chain(stream.pieces(block_bytes * max(1, width // 1000)), ["\n"]):
            text = rest + piece
            if reading.escape is None and escapes.are_in(text, reading.separator or ","):
                raise EscapesError(f"{path}: backslashes escape its quotes; say data.escape: backslash")
            block, broken, rest = _parse(text, reading, width, positions)
            if broken:
                raise _uneven_row(path, reading, width, broken[0])
            if len(rest) > ROW_CHARACTERS:
                break
            if header and len(block):
                # the header's own texts would stay in the dictionaries
                columns = [plain(column.slice(1)).dictionary_encode() for column in block.columns]
                block, header = pa.record_batch(columns, names=block.schema.names), 0
            if len(block):
                yield block
        if rest:
            line = stream.lines - rest.removesuffix("\n").count("\n") + 1
            raise UserError(f"{path}: a quote opened in line {line} is never closed; close it")


def _parse(text: str, reading: Reading, width: int, positions: Sequence[int]) -> tuple[pa.RecordBatch, list[str], str]:
    """Parse the complete rows of a text; return them, the rows of another width, and the incomplete row at the end.

    Arrow's streaming reader is not used: it reads ahead in threads of its own, which crash if Python exits while they
    are in a Python file, and it does not notice a quote that stays open. Instead a mark after the text shows where the
    last complete row ends. The mark closes an open quote and has more fields than any row. The incomplete row, together
    with the mark, is therefore a row of the wrong width, which Arrow hands back unchanged.
    """
    from pyarrow import csv as arrow_csv

    separator = reading.separator or ","
    text, marks = escapes.hidden(text) if reading.escape == "backslash" else (text, None)
    mark = ("\x02" if separator == "\x01" else "\x01") + '"' + separator * width
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
            column_types=dict.fromkeys(names, CODED),
            include_columns=[names[position] for position in positions],
        ),
    )
    *broken, last = aside
    columns, rest = [_whole(column) for column in table.columns], last.removesuffix(mark)
    if marks is not None:
        columns = [pa.DictionaryArray.from_arrays(one.indices, marks.meant_in(one.dictionary)) for one in columns]
        rest = marks.written(rest)
    return pa.record_batch(columns, names=table.column_names), broken, rest


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


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
        plain = (escapes.hidden(line)[0] if reading.escape == "backslash" else line for line in remembered(lines))
        for row in csv.reader(plain, delimiter=reading.separator or ","):
            fields = len(row)
            if row and fields != width:
                break
            start += len(held)
            held.clear()
    start += stream.separator is not None
    if fields == width:  # Python's parser stopped before that row, at a field of more than 128 KiB
        return UserError(f"{path}: a row has not {width} fields: {text[:60]!r}; correct it")
    hint = "is a quote left open there?" if "\n" in text else "correct the line"
    if escapes.ESCAPED in "".join(held) and reading.escape != "backslash":
        hint = "does a backslash escape the quotes there? say data.escape: backslash"
    if width == 1:
        hint = "if another mark separates columns, say which: data.separator; else correct the line"
    expected = f"{width} {'is' if width == 1 else 'are'} expected"
    return UserError(f"{path}: line {start} has {fields} field{'s' * (fields > 1)} where {expected}; {hint}")
