"""Blocks of a table of texts, kept on disk as they were parsed: later passes read them instead of the text.

A file of them is a chain of Arrow streams, one a block, since each has a dictionary and a width of codes of its own: of
a column that has few different texts in a block, a cell takes one byte.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from tabular.data.columns import Reading

# Types of codes, and the most texts that each can tell apart.
CODES = ((pa.int8(), 1 << 7), (pa.int16(), 1 << 15), (pa.int32(), 1 << 31))


@dataclass(frozen=True)
class Spill:
    """Where the blocks of a table are kept, and whether with the columns that `scan` does not look at."""

    folder: Path
    whole: bool = False

    def path(self, place: int) -> Path:
        """The file for the blocks of the table's file at a place in their order."""
        return self.folder / f"blocks-{place}.arrows"

    def holds(self, name: str, reading: Reading) -> bool:
        """Whether the blocks have a column."""
        return self.whole or reading.looks_at(name)


def write(file: BinaryIO, block: pa.RecordBatch) -> None:
    """Append a block, whose columns are dictionaries, to a file."""
    columns = [_narrow(column) for column in block.columns]
    small = pa.record_batch(columns, names=block.schema.names)
    with pa.ipc.new_stream(file, small.schema) as stream:
        stream.write_batch(small)


def _narrow(column: pa.DictionaryArray) -> pa.DictionaryArray:
    kind = next(kind for kind, most in CODES if len(column.dictionary) <= most)
    return pa.DictionaryArray.from_arrays(column.indices.cast(kind), column.dictionary)


def read(path: Path, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Stream some columns of the blocks of a file, in the order of their names."""
    size = path.stat().st_size
    # not mapped into memory: pages that were read would count as this process's until it ends
    with pa.OSFile(str(path)) as file:
        while file.tell() < size:
            with pa.ipc.open_stream(file) as stream:
                for block in stream:
                    yield block.select(names)
