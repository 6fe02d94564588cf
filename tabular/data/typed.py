"""Files whose columns or cells have types (Parquet, Feather, ORC, JSON lines, workbooks), with the types of text files.

Texts in them follow the same rule as in a text file, so that one table is one data set in whatever form it comes.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tabular.data import arrow_files, json_lines, kinds, missing, parquet, spills, workbooks
from tabular.data.columns import (
    BOOL,
    FLOAT,
    INFINITE,
    INT,
    MEANT,
    MOMENT,
    NO_VALUES,
    STRING,
    UNNAMED,
    Expected,
    Note,
    Reading,
    Scanned,
    check_finite,
    check_names,
    check_present,
    check_usable,
    wrong_value,
)
from tabular.data.missing import Tally
from tabular.data.narrowing import LARGEST_WHOLE, Check, Counting, Narrowing, Seen, as_typed
from tabular.data.parts import check_same_names
from tabular.data.readers import Readers
from tabular.data.spills import Spill
from tabular.errors import UserError

NO_TEXT = "holds bytes that are no UTF-8 text"
HELD = {BOOL: "true and false", INT: "whole numbers", FLOAT: "numbers", MOMENT: "dates", STRING: "text"}


@dataclass(frozen=True)
class Form:
    """A form of file with types: its name for people, and how its columns and rows are found.

    Attributes
    ----------
    name : str
    described : callable
        (path, reading) to the columns, in the types that they have in the file, and the number of rows.
    blocks : callable
        (path, columns, reading, progress) to a stream of these columns, in the types of the file; where the file has
        none of its own, in the types asked for or in ones that can be cast to them.
    settled : callable
        (path, reading) to the options with what the file itself says; UserError where it does not take one of them.
    asked : callable
        (path, wanted columns, reading) to the options for a file that a model is asked about, as far as what was said
        of the table that it learnt from may be another of this one.
    takes_names : bool
        Whether its files may lack names of columns, which `data.columns` gives then.

    """

    name: str
    described: Callable[[Path, Reading], tuple[pa.Schema, int]]
    blocks: Callable[[Path, pa.Schema, Reading, bool], Iterator[pa.RecordBatch]]
    settled: Callable[[Path, Reading], Reading] = lambda path, reading: reading
    asked: Callable[[Path, pa.Schema, Reading], Reading] = lambda path, wanted, reading: replace(reading, columns=None)
    takes_names: bool = False

    def __reduce__(self) -> tuple[Callable[[str], "Form"], tuple[str]]:
        """Pickle it by its name."""
        return _form, (self.name,)


FORMS = {
    "parquet": Form(
        "Parquet",
        lambda path, reading: parquet.described(path),
        lambda path, columns, reading, progress: parquet.blocks(path, columns.names, progress),
    ),
    "feather": Form("Feather", arrow_files.feather_described, arrow_files.feather_blocks),
    "orc": Form("ORC", arrow_files.orc_described, arrow_files.orc_blocks),
    "json lines": Form("JSON lines", json_lines.described, json_lines.blocks),
    "workbook": Form(
        "workbook",
        workbooks.described,
        workbooks.blocks,
        settled=workbooks.settled,
        asked=workbooks.asked,
        takes_names=True,
    ),
}


def _form(name: str) -> Form:
    return next(form for form in FORMS.values() if form.name == name)


@dataclass
class _Values:
    """A column of numbers, dates or truths during a scan, and notes on its cells."""

    name: str
    kind: pa.DataType
    words: tuple[str, ...]
    expected: Expected | None
    tally: Tally = field(default_factory=Tally)
    values: int = 0
    infinite: bool = False
    low: float = 0
    high: float = 0
    truths: bool = True  # all are 0 or 1
    whole: bool = True  # the file holds them as whole numbers

    def see(self, found: pa.Array) -> None:
        """Look at a block of the column, as `stored` gives it."""
        import pyarrow.compute as pc

        if found.type == pa.uint64() and (pc.max(found).as_py() or 0) >= 2**63:
            self.kind = FLOAT
        typed = _cast(found, self.kind)
        plain = missing.values(typed, self.words)
        self.tally.see(typed, plain, np.ones(len(typed), dtype=np.int64))
        present = plain.drop_null()
        self.values += len(present)
        if self.kind not in (INT, FLOAT) or not len(present):
            return
        self.infinite |= self.kind == FLOAT and pc.any(pc.is_inf(present)).as_py()
        exact = found.filter(plain.is_valid()) if pa.types.is_decimal(found.type) else present
        ends = pc.min_max(exact).as_py()
        self.low, self.high = min(self.low, ends["min"]), max(self.high, ends["max"])
        self.truths &= pc.all(pc.is_in(present, value_set=pa.array([0, 1], self.kind))).as_py()
        self.whole &= not pa.types.is_floating(found.type)

    def apart(self) -> "_Values":
        """The state before the first block of a part that is looked at apart from those before it."""
        return _Values(self.name, self.kind, self.words, self.expected)

    def add(self, other: "_Values") -> None:
        """Add what was found in the part that comes next."""
        self.kind = FLOAT if FLOAT in (self.kind, other.kind) else self.kind
        self.tally.add(other.tally)
        self.values += other.values
        self.infinite |= other.infinite
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.truths &= other.truths
        self.whole &= other.whole

    def close(self) -> None:
        """Nothing to let go of."""

    def fault(self) -> str | None:
        """Why nothing can be learnt from the column: None where it is of use."""
        if not self.values:
            return NO_VALUES
        return f"{INFINITE} (inf)" if self.infinite else None

    @property
    def type(self) -> pa.DataType:
        """The type that the column is read as."""
        asked = self.expected.type if self.expected is not None else None
        if asked == "category" and self.whole and max(-self.low, self.high) > LARGEST_WHOLE:
            return STRING  # names that a float would mix up
        if asked == "boolean" and self.kind in (INT, FLOAT) and self.truths:
            return BOOL
        return self.kind

    def check_expected(self, path: Path) -> None:
        """Nothing to check here: the types of the file are held against the problem's when the data set is made."""

    def note(self) -> Note:
        """The notes on its cells."""
        return Note(missing=dict(self.tally.missing))


def scan(
    form: Form,
    path: Path,
    reading: Reading,
    progress: bool,
    files: Sequence[Path],
    spill: Spill | None,
    readers: Readers | None,
) -> Scanned:
    """Scan the files with types of a table that lies at `path`, as `tables.scan` does.

    Blocks are kept in the spill only where others have read them, since to read such a file again costs little.
    """
    if reading.columns is not None and not form.takes_names:
        raise UserError(f"{path}: a {form.name} file names its columns itself; leave out data.columns")
    if len(files) == 1:
        reading = form.settled(files[0], reading)
    schema, rows = _common(form, files, reading, readers)
    fields = _own_columns(schema)
    check_names(path, [column.name for column in fields])
    if rows == 0:
        raise UserError(f"{path}: has columns and no rows")
    needed = [column for column in fields if reading.looks_at(column.name)]
    faults = {column.name: fault for column in needed if (fault := _fault_of_type(column.type)) is not None}
    looked_at = [column for column in needed if column.name not in faults]
    columns = [_begun(column, reading) for column in looked_at]
    seen = Seen(columns, Counting() if looked_at and looked_at[0].name == UNNAMED else None)
    if readers is not None and spill is not None:
        beside = [pa.field(one.name, _kept_type(one)) for one in fields if spill.whole and one not in needed]
        wanted = pa.schema([*looked_at, *beside] or fields[:1])
        about: dict[str, Any] = {"form": form, "wanted": wanted, "reading": reading}
        (begun,) = readers.each(partial(_looked_at_apart, seen=seen, most=1, **about), files[:1])
        for part in readers.kept(partial(_looked_at_apart, seen=begun, **about), files, spill):
            seen.add(part)
    elif looked_at:
        for file in files:
            _look_at(seen, form.blocks(file, pa.schema(looked_at), reading, progress))
    for column in columns:
        column.check_expected(path)
    faults |= seen.faults
    faults |= {one.name: why for one in columns if one.name not in faults and (why := one.fault()) is not None}
    check_usable(path, {column.name: faults[column.name] for column in fields if column.name in faults}, reading)
    notes = seen.notes()
    for name in _pandas_index(schema) & notes.keys():
        notes[name] = replace(notes[name], index="named")
    types = {column.name: column.type for column in columns}
    return pa.schema([(one.name, types.get(one.name) or _kept_type(one)) for one in fields]), rows, reading, notes


def _look_at(seen: Seen, blocks: Iterator[pa.RecordBatch]) -> None:
    """Look at the blocks of a file."""
    for block in blocks:
        for place, (column, found) in enumerate(zip(seen.columns, block.columns, strict=False)):
            values = stored(found)
            if isinstance(column, Narrowing):
                try:
                    values = values.cast(STRING)
                except pa.ArrowInvalid:
                    seen.faults[column.name] = NO_TEXT
                    continue
            column.see(values)
            if seen.counting is not None and place == 0:
                seen.counting.see(values)
        seen.rows += len(block)


def _looked_at_apart(
    file: Path,
    kept: Path | None = None,
    *,
    seen: Seen,
    form: Form,
    wanted: pa.Schema,
    reading: Reading,
    most: int | None = None,
) -> Seen:
    """What is in a part of a table, or its first `most` blocks, whose parts are looked at apart from each other."""
    found = seen.apart()
    blocks = islice(form.blocks(file, wanted, reading, False), most)
    _look_at(found, spills.kept(blocks, kept, packed=True))
    return found.close()


def _described(path: Path, form: Form, reading: Reading) -> tuple[pa.Schema, int]:
    return form.described(path, reading)


def _common(
    form: Form, files: Sequence[Path], reading: Reading, readers: Readers | None = None
) -> tuple[pa.Schema, int]:
    """The columns of all files, in types that hold those of each, and the rows of all together."""
    each = map if readers is None else readers.each
    described = each(partial(_described, form=form, reading=reading), files)
    schema, rows = next(described)
    if len(files) == 1:
        return schema, rows
    check_names(files[0], schema.names)
    held = {column.name: (files[0], column) for column in _own_columns(schema)}
    for file, (other, more) in zip(files[1:], described, strict=True):
        rows += more
        columns = _own_columns(other)
        names = [column.name for column in columns]
        check_names(file, names)
        check_same_names(files[0], list(held), file, names, ordered=False)
        for column in columns:
            held[column.name] = _wider(held[column.name], (file, column))
    return pa.schema([column for _, column in held.values()], schema.metadata), rows


def _wider(one: tuple[Path, pa.Field], other: tuple[Path, pa.Field]) -> tuple[Path, pa.Field]:
    """Of a column's types in two files, the one that holds the values of both, with its file."""
    first, held, file, found = one[0], one[1].type, other[0], other[1].type
    if pa.types.is_null(storage(found)):
        return one
    if pa.types.is_null(storage(held)):
        return other
    kinds_of_both = plain_type(held), plain_type(found)
    if kinds_of_both[0] != kinds_of_both[1] and {*kinds_of_both} != {INT, FLOAT}:
        raise UserError(
            f"{file}: column {one[1].name!r} is of type {found}, and of {held} in {first}: write both with one type, "
            "or name parts that have one by a glob"
        )
    return other if kinds_of_both == (INT, FLOAT) else one


def _begun(column: pa.Field, reading: Reading) -> Narrowing | _Values:
    """The state of a column before the first block of a scan."""
    expected, words = reading.types.get(column.name), reading.words(column.name)
    kind = plain_type(column.type)
    if kind != STRING:
        return _Values(column.name, kind, words, expected)
    # the file says that these are texts: only a date, for which JSON has no type, and what the problem says go over it
    possible = [MOMENT] if expected is None and not workbooks.is_mixed(column) else list(kinds.PATTERNS)
    return Narrowing(column.name, words, expected, possible if expected is None or expected.type != "category" else [])


def _words(reading: Reading, name: str) -> tuple[str, ...]:
    return reading.words(name) if name not in reading.verbatim else tuple(word.strip() for word in reading.missing)


def scan_for(form: Form, path: Path, wanted: pa.Schema, reading: Reading, progress: bool) -> Scanned:
    """Check a file with types for columns, as `tables.scan_for` does."""
    reading = form.asked(path, wanted, reading)
    schema, rows = form.described(path, reading)
    fields = _own_columns(schema)
    check_names(path, [column.name for column in fields])
    check_present(path, wanted, [column.name for column in fields])
    types = {column.name: _kept_type(column) for column in fields}
    for column in fields:
        if column.name in wanted.names:
            types[column.name] = wanted.field(column.name).type
            _check_fits(path, column, types[column.name])
    looked_at = [column for column in fields if column.name in wanted.names and _may_fail(column, types[column.name])]
    checks = {
        column.name: Check(path, column.name, types[column.name], reading)
        for column in looked_at
        if plain_type(column.type) == STRING
    }
    before = 0
    for block in form.blocks(path, pa.schema(looked_at), reading, progress) if looked_at else ():
        for column, found in zip(looked_at, block.columns, strict=True):
            if column.name in checks:
                checks[column.name].see(_as_texts(path, column.name, found), before)
            else:
                _check_values(path, column.name, stored(found), types[column.name], before, reading)
        before += len(block)
    reading = replace(reading, verbatim={*reading.verbatim, *(set(types) - set(wanted.names))})
    return pa.schema(list(types.items())), rows, reading, {name: check.note() for name, check in checks.items()}


def _as_texts(path: Path, name: str, found: pa.Array) -> pa.Array:
    try:
        return stored(found).cast(STRING)
    except pa.ArrowInvalid:
        raise UserError(f"{path}: column {name!r} {NO_TEXT}: write them as text") from None


def _may_fail(column: pa.Field, wanted: pa.DataType) -> bool:
    """Whether the type of a column does not say by itself that each of its values is wanted."""
    found = plain_type(column.type)
    return not pa.types.is_null(storage(column.type)) and (
        wanted == FLOAT or (found == STRING != wanted) or (wanted == BOOL != found) or pa.types.is_binary(column.type)
    )


def _check_values(path: Path, name: str, found: pa.Array, wanted: pa.DataType, before: int, reading: Reading) -> None:
    """Raise an error for the first number of a block that is infinite or, where truths are wanted, neither 1 nor 0."""
    import pyarrow.compute as pc

    if wanted == FLOAT:
        check_finite(path, name, missing.values(_cast(found, FLOAT), _words(reading, name)), before)
    elif wanted == BOOL:
        place = pc.index(pc.is_in(found, value_set=pa.array([0, 1, None], found.type)), False).as_py()
        if place >= 0:
            raise wrong_value(path, name, before + place, found[place].as_py(), MEANT[BOOL])


def _check_fits(path: Path, column: pa.Field, wanted: pa.DataType) -> None:
    """Raise an error for a column whose type is not the wanted one; a column of the null type always fits.

    Texts may turn out to be what is wanted, whole numbers and dates can be written as the texts that are wanted, and
    1 and 0 are truths.
    """
    fault = _fault_of_type(column.type)
    if fault is not None:
        raise UserError(f"{path}: column {column.name!r} {fault}: make numbers or texts of it")
    found = plain_type(column.type)
    as_well = {(INT, FLOAT), (INT, STRING), (MOMENT, STRING), (INT, BOOL), (FLOAT, BOOL)}
    if found not in (wanted, STRING) and (found, wanted) not in as_well:
        what = f"{HELD[found]} ({column.type})"
        raise UserError(f"{path}: column {column.name!r} holds {what}; what is needed is {HELD[wanted]}")


def batches(
    form: Form, path: Path, wanted: pa.Schema, reading: Reading, spilled: Path | None
) -> Iterator[pa.RecordBatch]:
    """Stream the columns of a schema, in its types; `spilled` is where the file's blocks were kept."""
    blocks = form.blocks(path, wanted, reading, False) if spilled is None else spills.read(spilled, wanted.names)
    for block in blocks:
        plain = [_plain(found, column, reading) for found, column in zip(block.columns, wanted, strict=True)]
        yield pa.record_batch(plain, schema=wanted)


def _plain(found: pa.Array, column: pa.Field, reading: Reading) -> pa.Array:
    """A block of a column in the type that is wanted; what means missing becomes null."""
    values, words = stored(found), _words(reading, column.name)
    if column.type not in kinds.PATTERNS and column.type != STRING:
        return values.cast(column.type)  # a column that is only passed on, which may be of another type in another part
    if column.type == STRING and column.name in reading.verbatim:
        return missing.texts(values.cast(STRING), words, trim=False)
    if column.type == STRING or _is_text(values.type):
        return as_typed(values.cast(STRING), column, reading)
    return missing.values(_cast(values, column.type), words)


def stored(found: pa.Array) -> pa.Array:
    """A block of a column without dictionaries and extensions: seconds of a duration, a UUID's text, null for NaN."""
    import pyarrow.compute as pc

    uuids = isinstance(found.type, pa.UuidType)
    if isinstance(found.type, pa.BaseExtensionType):
        found = found.storage
    if pa.types.is_dictionary(found.type):
        found = found.dictionary_decode()
    if uuids or found.type == pa.binary(16):
        return _uuids(found)
    if pa.types.is_fixed_size_binary(found.type):
        return found.cast(pa.binary())
    if pa.types.is_duration(found.type):
        parts = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[found.type.unit]
        return pc.divide(found.cast(INT).cast(FLOAT, safe=False), parts)
    if pa.types.is_floating(found.type):
        return pc.if_else(pc.is_nan(found), None, found)
    return found


def _uuids(found: pa.Array) -> pa.Array:
    from uuid import UUID

    return pa.array([None if value is None else str(UUID(bytes=value)) for value in found.to_pylist()], STRING)


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if kind == BOOL and values.type != BOOL:
        return values.cast(INT).cast(BOOL)
    # Nanoseconds and digits beyond a float's precision are cut; any other value that does not fit is an error.
    exact = not (kind == FLOAT or (pa.types.is_timestamp(values.type) and values.type.unit == "ns"))
    return values.cast(kind, safe=exact)


def _own_columns(schema: pa.Schema) -> list[pa.Field]:
    """The columns of a file without the index that pandas writes where it has no name."""
    return [column for column in schema if not re.fullmatch(r"__index_level_\d+__", column.name)]


def _pandas_index(schema: pa.Schema) -> set[str]:
    """The columns that were the index of the pandas frame that a file was written from."""
    said = schema.pandas_metadata or {}
    return {name for name in said.get("index_columns", []) if isinstance(name, str)}


def _kept_type(column: pa.Field) -> pa.DataType:
    """The type of a column that is only passed on: its own type, without dictionaries and extensions."""
    found = pa.types
    kind = storage(column.type)
    as_text = (pa.large_string(), pa.string_view(), pa.null(), pa.binary(16), pa.list_(pa.null()), pa.struct([]))
    if isinstance(column.type, pa.UuidType) or kind in as_text:
        return STRING
    return FLOAT if found.is_duration(kind) else pa.binary() if found.is_fixed_size_binary(kind) else kind


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type that a column is read as; texts and all that is none of the other types are STRING."""
    kind = storage(kind)
    plain = {
        BOOL: pa.types.is_boolean(kind),
        INT: pa.types.is_integer(kind),
        FLOAT: pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_duration(kind),
        MOMENT: pa.types.is_date(kind) or pa.types.is_timestamp(kind),
    }
    return next((target for target, holds in plain.items() if holds), STRING)


def _fault_of_type(kind: pa.DataType) -> str | None:
    """Why a column of a type cannot be read; None where it can."""
    kind = storage(kind)
    # Times of day are strings, since text tables have no type for them either; bytes may be UTF-8, as Impala writes it.
    if plain_type(kind) != STRING or _is_text(kind) or pa.types.is_time(kind) or pa.types.is_null(kind):
        return None
    return "holds lists" if pa.types.is_list(kind) or pa.types.is_large_list(kind) else f"holds values of type {kind}"


def _is_text(kind: pa.DataType) -> bool:
    texts = (STRING, pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view())
    return kind in texts or pa.types.is_fixed_size_binary(kind)


def storage(kind: pa.DataType) -> pa.DataType:
    """Return the type inside a dictionary or an extension type."""
    if pa.types.is_dictionary(kind):
        return storage(kind.value_type)
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
