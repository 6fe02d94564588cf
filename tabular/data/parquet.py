"""Parquet files as Arrow streams."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from tabular.data.columns import BATCH_ROWS
from tabular.errors import UserError, first_line

# Bytes of a column that are read ahead. By default Arrow keeps all that it has read until the file is closed.
PARQUET_BYTES = 1 << 20


def described(path: Path) -> tuple[pa.Schema, int]:
    """The columns of a file, in the types that they have there, and the number of its rows."""
    with _opened_parquet(path) as file:
        return file.schema_arrow, file.metadata.num_rows


def blocks(path: Path, names: Sequence[str], progress: bool = False) -> Iterator[pa.RecordBatch]:
    """Stream columns of a Parquet file, in the order of `names`, in the types that they have in the file."""
    from tqdm import tqdm

    with _opened_parquet(path) as file:
        rows = file.metadata.num_rows
        bar = tqdm(total=rows, desc=f"reading {path.name}", leave=False, delay=0.5, disable=not progress, unit="rows")
        with bar:
            for block in file.iter_batches(BATCH_ROWS, columns=list(names)):
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
