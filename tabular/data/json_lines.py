"""JSON lines (an object a line) as Arrow streams.

Arrow parses a block where it can. It takes no column of numbers and texts, which data of this form often have, and no
number beyond a float: such a block is parsed by Python, ten times slower, with the same result.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from tabular.data.columns import BOOL, FLOAT, INT, MOMENT, STRING, Reading
from tabular.data.files import opened_text
from tabular.errors import UserError

BLOCK_BYTES = 4 << 20  # bytes that are parsed at a time
LARGEST = 2**63 - 1
# Whole numbers beyond Arrow's are held as decimals of so many digits, or else as floats.
DIGITS = 38
# The types that Arrow is told to expect; it must not take a text for a date by itself.
EXPECTED = {STRING: STRING, MOMENT: STRING, FLOAT: FLOAT, INT: INT, BOOL: BOOL}


def described(path: Path, reading: Reading) -> tuple[pa.Schema, int]:
    """The columns of a file, in the order in which they appear first, with the types that hold all their values."""
    kinds: dict[str, set[type]] = {}
    largest: dict[str, int] = {}  # of whole numbers, without the sign
    rows = 0
    for block in _blocks(path, reading, progress=False):
        table = block.parsed(None)
        if table is not None and not _is_rounded(table):
            found = {field.name: {_python(field.type)} for field in table.schema}
            rows += table.num_rows
        else:
            objects = block.objects()
            names = dict.fromkeys(name for row in objects for name in row)
            found = {name: {type(row.get(name)) for row in objects} for name in names}
            for name in names:
                numbers = (abs(row[name]) for row in objects if type(row.get(name)) is int)
                largest[name] = max(largest.get(name, 0), *numbers, 0)
            rows += len(objects)
        for name, types in found.items():
            kinds.setdefault(name, set()).update(types)
    return pa.schema([(name, _type(found, largest.get(name, 0))) for name, found in kinds.items()]), rows


def blocks(path: Path, columns: pa.Schema, reading: Reading, progress: bool) -> Iterator[pa.RecordBatch]:
    """Stream columns, as texts where these are wanted, else in types that can be cast to the wanted ones."""
    for block in _blocks(path, reading, progress):
        table = block.parsed(columns) if all(kind in EXPECTED for kind in columns.types) else None
        if table is not None:
            yield from table.select(columns.names).combine_chunks().to_batches()
            continue
        objects = block.objects()
        arrays = [_array([row.get(column.name) for row in objects], column.type) for column in columns]
        yield pa.record_batch(arrays, names=columns.names)


class _Block:
    """Some whole lines of a file."""

    def __init__(self, path: Path, text: str, before: int) -> None:
        self._path, self._text, self._before = path, text, before

    def parsed(self, columns: pa.Schema | None) -> pa.Table | None:
        """The rows as Arrow parses them, with the wanted columns or with all; None where it cannot."""
        from pyarrow import json as arrow_json

        data, how = self._text.encode(), arrow_json.ParseOptions()
        if columns is not None:
            wanted = pa.schema([(column.name, EXPECTED[column.type]) for column in columns])
            how = arrow_json.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore")
        try:
            return arrow_json.read_json(pa.BufferReader(data), arrow_json.ReadOptions(block_size=len(data) + 1), how)
        except pa.ArrowInvalid:
            return None

    def objects(self) -> list[dict[str, Any]]:
        """The rows as Python parses them; UserError for a line that is no object."""
        lines = enumerate(self._text.split("\n"), self._before + 1)
        return [self._object(line, text) for line, text in lines if text.strip()]

    def _object(self, line: int, text: str) -> dict[str, Any]:
        try:
            found = json.loads(text)
        except ValueError as error:
            raise UserError(f"{self._path}: line {line} is not JSON ({error}); correct the line") from None
        if not isinstance(found, dict):
            what = f"is not an object of columns, but {text.strip()[:40]!r}"
            raise UserError(f"{self._path}: line {line} {what}; correct the line")
        return found


def _blocks(path: Path, reading: Reading, progress: bool) -> Iterator[_Block]:
    rest, before = "", 0
    with opened_text(path, reading.encoding, progress) as stream:
        for piece in chain(stream.pieces(BLOCK_BYTES), ["\n"]):
            lines, end, rest = (rest + piece).rpartition("\n")
            if lines.strip():
                yield _Block(path, lines + end, before)
            before += lines.count("\n") + len(end)


def _is_rounded(table: pa.Table) -> bool:
    """Whether a column may hold whole numbers that Arrow has made floats of."""
    import pyarrow.compute as pc

    ends = (pc.max(pc.abs(column)).as_py() for column in table.columns if column.type == FLOAT)
    return any(end is not None and end > LARGEST for end in ends)


def _python(kind: pa.DataType) -> type:
    """Python's type for one that Arrow has found in JSON, where dates are texts."""
    if pa.types.is_nested(kind):
        return dict if pa.types.is_struct(kind) else list
    return {BOOL: bool, INT: int, FLOAT: float, pa.null(): type(None)}.get(kind, str)


def _type(found: set[type], largest: int) -> pa.DataType:
    """The type that holds all values of a column; texts where there are several kinds."""
    found = found - {type(None)}
    if not found:
        return pa.null()
    if found == {int}:
        return INT if largest <= LARGEST else pa.decimal128(DIGITS, 0) if largest < 10**DIGITS else FLOAT
    if found <= {int, float}:
        return FLOAT
    if found & {dict, list}:
        return pa.struct([]) if dict in found else pa.list_(pa.null())
    return BOOL if found == {bool} else STRING


def _array(values: Sequence[Any], wanted: pa.DataType) -> pa.Array:
    if wanted != STRING:
        largest = max((abs(value) for value in values if type(value) is int), default=0)
        wanted = _type(set(map(type, values)), largest)
    if wanted == STRING:
        values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    elif wanted == FLOAT:
        values = [None if value is None else float(value) for value in values]
    return pa.array(values, wanted)
