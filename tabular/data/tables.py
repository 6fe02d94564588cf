"""Tables of any size as Arrow streams: one pass over a file finds its types, every later pass yields typed batches.

A file may be larger than the memory: during a pass only a few words for each column are kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from tabular.data import text, typed
from tabular.data.columns import AS_USUAL, BATCH_ROWS, Note, Reading
from tabular.data.files import content
from tabular.errors import UserError, first_line, listed, nearest

BATCH_BYTES = 256 << 20  # a very wide table yields fewer rows at a time


@dataclass(frozen=True)
class Table:
    """A file whose columns, types and length are known; its rows stay in the file.

    Attributes
    ----------
    path : Path
    schema : pa.Schema
        Columns in the file's order; each type one of int64, float64, string, bool and timestamp("us"). Columns that
        nobody looked at (those of `Reading.dropped`, and in `scan_for` all that were not asked for) are strings in a
        text file, and keep their types in a file that has types.
    rows : int
    reading : Reading
        How the file is read, with the separator that was found.
    notes : mapping of str to Note
        Column: what became of its cells, for each column that was looked at.

    """

    path: Path
    schema: pa.Schema
    rows: int
    reading: Reading = AS_USUAL
    notes: Mapping[str, Note] = field(default_factory=dict)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the rows, from the start at every call, in batches of at most `BATCH_ROWS` rows.

        Parameters
        ----------
        columns : sequence of str, optional
            The columns to read, which come in the file's order; all by default.

        Raises
        ------
        UserError
            When a column is not in the table, or the file has changed since it was scanned.

        """
        wanted = self.schema if columns is None else self._selected(columns)
        with_types = typed.FORMS.get(content(self.path))
        if with_types is not None:
            blocks = typed.batches(with_types, self.path, wanted, self.reading)
        else:
            blocks = text.batches(self.path, self.schema.names, wanted, self.reading)
        try:
            yield from _regrouped(blocks)
        except pa.ArrowInvalid as error:
            raise UserError(
                f"{self.path}: changed while it was being read; start again ({first_line(error)})"
            ) from error

    def _selected(self, columns: Sequence[str]) -> pa.Schema:
        known, asked = set(self.schema.names), set(columns)
        for name in columns:
            if name not in known:
                hint = nearest(name, self.schema.names) or f"; it has {listed(self.schema.names)}"
                raise UserError(f"{self.path}: no column {name!r}{hint}")
        return pa.schema([column for column in self.schema if column.name in asked])


def scan(
    path: Path,
    reading: Reading = AS_USUAL,
    *,
    progress: bool = False,
    block_bytes: int = text.BLOCK_BYTES,
) -> Table:
    """Read a file once, in bounded memory, to find its columns, their types over all rows, and its length.

    Text and JSON lines may be plain or compressed by gzip, bzip2, xz or zip (with one table in it). They, Parquet,
    Feather and ORC are told apart by their content.

    Parameters
    ----------
    path : Path
        The file.
    reading : Reading
        How the file is to be read, as far as it is known.
    progress : bool
        Whether a scan of more than half a second draws a progress bar on stderr.
    block_bytes : int
        Bytes of text that are parsed at a time.

    Returns
    -------
    Table
        With at least one row and at least one column, each of which has a value.

    Raises
    ------
    UserError
        When the file is not a table that can be learnt from: absent, empty, binary, damaged, in another encoding, with
        rows of uneven length, unnamed or repeated columns, columns without values, infinities, or nested values.

    """
    with_types = typed.FORMS.get(content(path))
    if with_types is not None:
        return Table(path, *typed.scan(with_types, path, reading, progress))
    return Table(path, *text.scan(path, reading, progress, block_bytes))


def scan_for(
    path: Path,
    wanted: pa.Schema,
    reading: Reading = AS_USUAL,
    *,
    progress: bool = False,
    block_bytes: int = text.BLOCK_BYTES,
) -> Table:
    """Read a file once, in bounded memory, to check that it holds the wanted columns, and only values of their types.

    Unlike in `scan`, the types are known beforehand, so that a column may have no values, and the table no rows.

    Parameters
    ----------
    path, progress, block_bytes
        As for `scan`.
    wanted : pa.Schema
        Columns by name, in any order, each type one of float64, string, bool and timestamp("us"). The file may hold
        more.
    reading : Reading
        How the file is to be read. Its `columns` are used only for a text file whose first line has no wanted name.

    Returns
    -------
    Table
        The table with all columns of the file. In a float64 column, whole numbers beyond 2**53 are rounded.

    Raises
    ------
    UserError
        Where columns are missing (the error lists them), a column holds an infinite value or one of another type (the
        error names the row, counted from 1 below the header), or the file cannot be read.

    """
    with_types = typed.FORMS.get(content(path))
    if with_types is not None:
        return Table(path, *typed.scan_for(with_types, path, wanted, reading, progress))
    return Table(path, *text.scan_for(path, wanted, reading, progress, block_bytes))


def _regrouped(blocks: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Join small blocks and cut large ones, so that a batch is large enough for fast work and fits in memory."""
    held: list[pa.RecordBatch] = []
    for block in blocks:
        held.append(block)
        if sum(map(len, held)) >= BATCH_ROWS or sum(part.nbytes for part in held) >= BATCH_BYTES:
            yield from _joined(held)
            held = []
    yield from _joined(held)


def _joined(blocks: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    return pa.Table.from_batches(blocks).combine_chunks().to_batches(max_chunksize=BATCH_ROWS) if blocks else []
