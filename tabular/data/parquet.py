"""Parquet files as Arrow streams, with the column types that text files have too."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tabular.data.columns import (
    BATCH_ROWS,
    BOOL,
    FLOAT,
    INT,
    MOMENT,
    STRING,
    Reading,
    check_finite,
    check_names,
    check_present,
    infinity,
    no_values,
)
from tabular.errors import UserError, first_line

# Bytes of a column that are read ahead. By default Arrow keeps all that it has read until the file is closed.
PARQUET_BYTES = 1 << 20

# Columns with their types, the number of rows, and how the file is read.
Scanned = tuple[pa.Schema, int, Reading]


def scan(path: Path, reading: Reading, progress: bool) -> Scanned:
    """Scan a Parquet file, as `tables.scan` does."""
    import pyarrow.compute as pc

    if reading.columns is not None:
        raise UserError(f"{path}: a Parquet file names its columns itself; leave out data.columns")
    with _opened_parquet(path) as file:
        rows, columns = file.metadata.num_rows, _plain_columns(file.schema_arrow)
        check_names(path, [column.name for column in columns])
        kinds = {column.name: _plain_type(path, column) for column in columns}
    if rows == 0:
        raise UserError(f"{path}: has columns and no rows")
    seen = set()
    for block in blocks(path, list(kinds), progress):
        for name, values in zip(kinds, block.columns, strict=True):
            if kinds[name] == INT and values.type == pa.uint64() and (pc.max(values).as_py() or 0) >= 2**63:
                kinds[name] = FLOAT
            plain = _plain(values, kinds[name], reading.missing)
            if kinds[name] == FLOAT and pc.any(pc.is_inf(plain)).as_py():
                raise infinity(path, name, "inf")
            seen |= {name} if plain.null_count < len(plain) else set()
    for name in kinds:
        if name not in seen:
            raise no_values(path, name)
    return pa.schema(list(kinds.items())), rows, reading


def scan_for(path: Path, wanted: pa.Schema, reading: Reading, progress: bool) -> Scanned:
    """Check a Parquet file for columns, as `tables.scan_for` does."""
    reading = replace(reading, columns=None)  # a Parquet file names its columns itself
    with _opened_parquet(path) as file:
        rows, columns = file.metadata.num_rows, _plain_columns(file.schema_arrow)
    check_names(path, [column.name for column in columns])
    check_present(path, wanted, [column.name for column in columns])
    types = {column.name: _kept_type(column) for column in columns}
    for column in columns:
        if column.name in wanted.names:
            types[column.name] = wanted.field(column.name).type
            _check_fits(path, column, types[column.name])
    numbers = [column.name for column in wanted if column.type == FLOAT]
    before = 0
    for block in blocks(path, numbers, progress) if numbers else ():
        for name, values in zip(numbers, block.columns, strict=True):
            check_finite(path, name, _plain(values, FLOAT, reading.missing), before)
        before += len(block)
    return pa.schema(list(types.items())), rows, reading


def _kept_type(column: pa.Field) -> pa.DataType:
    """The type of a column that is only passed on: its own type, without dictionaries and extensions."""
    kind = _storage(column.type)
    return STRING if kind in (pa.large_string(), pa.string_view(), pa.null()) else kind


def _check_fits(path: Path, column: pa.Field, wanted: pa.DataType) -> None:
    """Raise an error for a column whose type is not the wanted one; a column of the null type always fits."""
    found = _plain_type(path, column)
    if found != wanted and (found, wanted) != (INT, FLOAT) and not pa.types.is_null(_storage(column.type)):
        held = {BOOL: "true and false", INT: "whole numbers", FLOAT: "numbers", MOMENT: "dates", STRING: "text"}
        what = f"{held[found]} ({column.type})"
        raise UserError(f"{path}: column {column.name!r} holds {what}; what is needed is {held[wanted]}")


def batches(path: Path, wanted: pa.Schema, reading: Reading) -> Iterator[pa.RecordBatch]:
    """Stream the columns of a schema, in its types."""
    for block in blocks(path, wanted.names):
        plain = [
            _plain(values, kind, reading.missing) for values, kind in zip(block.columns, wanted.types, strict=True)
        ]
        yield pa.record_batch(plain, schema=wanted)


def blocks(path: Path, names: list[str], progress: bool = False) -> Iterator[pa.RecordBatch]:
    """Stream columns of a Parquet file, in the order of `names`, in the types that they have in the file."""
    from tqdm import tqdm

    with _opened_parquet(path) as file:
        rows = file.metadata.num_rows
        bar = tqdm(total=rows, desc=f"reading {path.name}", leave=False, delay=0.5, disable=not progress, unit="rows")
        with bar:
            for block in file.iter_batches(BATCH_ROWS, columns=names):
                yield block.select(names)  # for a name with a dot, iter_batches also gives nested fields
                bar.update(len(block))


@contextmanager
def _opened_parquet(path: Path) -> Iterator[Any]:
    import pyarrow.parquet as pq

    try:
        # Spark's int96 would overflow in nanoseconds for years after 2262.
        how = {"coerce_int96_timestamp_unit": "us", "pre_buffer": False, "buffer_size": PARQUET_BYTES}
        with pq.ParquetFile(path, **how) as file:
            yield file
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: is a damaged Parquet file ({first_line(error)}); fetch it again") from error


def _plain_columns(schema: pa.Schema) -> list[pa.Field]:
    """The columns of a Parquet file without the index that pandas writes."""
    return [column for column in schema if not re.fullmatch(r"__index_level_\d+__", column.name)]


def _plain_type(path: Path, column: pa.Field) -> pa.DataType:
    """Return the type that a Parquet column is read as."""
    kind = _storage(column.type)
    plain = {
        BOOL: pa.types.is_boolean(kind),
        INT: pa.types.is_integer(kind),
        FLOAT: pa.types.is_floating(kind) or pa.types.is_decimal(kind),
        MOMENT: pa.types.is_date(kind) or pa.types.is_timestamp(kind),
        # Times of day are strings, since text tables have no type for them either.
        STRING: kind in (STRING, pa.large_string(), pa.string_view())
        or pa.types.is_time(kind)
        or pa.types.is_null(kind),
    }
    found = next((target for target, holds in plain.items() if holds), None)
    if found is None:
        what = "lists" if pa.types.is_list(kind) or pa.types.is_large_list(kind) else f"values of type {kind}"
        raise UserError(f"{path}: column {column.name!r} holds {what}: drop it, or make numbers or texts of it")
    return found


def _storage(kind: pa.DataType) -> pa.DataType:
    """Return the type inside a dictionary or an extension type."""
    if pa.types.is_dictionary(kind):
        return _storage(kind.value_type)
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _plain(values: pa.Array, kind: pa.DataType, missing: Sequence[str]) -> pa.Array:
    """Convert a Parquet column to its plain type; not-a-number and the texts of `missing` become null."""
    import pyarrow.compute as pc

    if isinstance(values.type, pa.BaseExtensionType):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    # Nanoseconds and digits beyond a float's precision are cut; any other value that does not fit is an error.
    exact = not (kind == FLOAT or (pa.types.is_timestamp(values.type) and values.type.unit == "ns"))
    plain = values.cast(kind, safe=exact)
    if not missing or pa.types.is_nested(kind):
        return plain
    texts = pc.ascii_trim_whitespace(plain.cast(STRING))
    named = pa.array([text.strip() for text in missing], STRING)
    return pc.if_else(pc.is_in(texts, value_set=named), None, plain)
