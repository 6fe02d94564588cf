"""Feather (Arrow IPC) and ORC files as Arrow streams."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from tabular.data.columns import BATCH_ROWS, Reading
from tabular.errors import UserError, first_line


def feather_described(path: Path, reading: Reading) -> tuple[pa.Schema, int]:
    """The columns of a Feather file, in the types that they have there, and the number of its rows."""
    with _opened_feather(path) as file:
        schema = file.schema
    if not schema.names:
        return schema, 0
    with _opened_feather(path, [0]) as file:  # of a packed file, one column is unpacked
        return schema, sum(len(file.get_batch(place)) for place in range(file.num_record_batches))


def feather_blocks(path: Path, columns: pa.Schema, reading: Reading, progress: bool) -> Iterator[pa.RecordBatch]:
    """Stream columns of a Feather file, in the types that they have there."""
    with _opened_feather(path) as file:
        places = [file.schema.names.index(name) for name in columns.names]
    with _opened_feather(path, places) as file:
        for place in _with_bar(range(file.num_record_batches), path, progress):
            yield from _cut(file.get_batch(place).select(columns.names))


def orc_described(path: Path, reading: Reading) -> tuple[pa.Schema, int]:
    """The columns of an ORC file, in the types that they have there, and the number of its rows."""
    with _opened_orc(path) as file:
        return file.schema, file.nrows


def orc_blocks(path: Path, columns: pa.Schema, reading: Reading, progress: bool) -> Iterator[pa.RecordBatch]:
    """Stream columns of an ORC file, in the types that they have there."""
    with _opened_orc(path) as file:
        for place in _with_bar(range(file.nstripes), path, progress):
            yield from _cut(file.read_stripe(place, columns=columns.names).select(columns.names))


def _cut(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(batch), BATCH_ROWS):
        yield batch.slice(start, BATCH_ROWS)


def _with_bar(places: range, path: Path, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(places, desc=f"reading {path.name}", leave=False, delay=0.5, disable=not progress)


@contextmanager
def _opened_feather(path: Path, places: list[int] | None = None) -> Iterator[Any]:
    with _damage_told(path, "Feather"), pa.memory_map(str(path)) as source:
        yield pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=places))


@contextmanager
def _opened_orc(path: Path) -> Iterator[Any]:
    from pyarrow import orc

    with _damage_told(path, "ORC"):
        yield orc.ORCFile(str(path))


@contextmanager
def _damage_told(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise UserError(f"{path}: is a damaged {name} file ({first_line(error)}); fetch it again") from error
