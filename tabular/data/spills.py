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

# How the blocks of a file that stays here are compressed, and those of one that is sent.
PACKED = {False: None, True: "zstd"}
# Types of codes, and the most texts that each can tell apart.
CODES = ((pa.int8(), 1 << 7), (pa.int16(), 1 << 15), (pa.int32(), 1 << 31))


@dataclass(frozen=True)
class Spill:
    """Where the blocks of a table are kept.

    Attributes
    ----------
    folder : Path
        Where.
    whole : bool
        Whether with the columns that `scan` does not look at.
    alone : bool
        Whether the rows are nowhere else on this machine: the table was read elsewhere.

    """

    folder: Path
    whole: bool = False
    alone: bool = False

    def path(self, place: int) -> Path:
        """The file for the blocks of the table's file at a place in their order."""
        return self.folder / f"blocks-{place}.arrows"

    def holds(self, name: str, reading: Reading) -> bool:
        """Whether the blocks have a column."""
        return self.whole or reading.looks_at(name)


def write(file: BinaryIO, block: pa.RecordBatch, *, packed: bool = False) -> None:
    """Append a block to a file; `packed`: compressed, since it is to be sent."""
    columns = [_narrow(column) if pa.types.is_dictionary(column.type) else column for column in block.columns]
    small = pa.record_batch(columns, names=block.schema.names)
    with pa.ipc.new_stream(file, small.schema, options=pa.ipc.IpcWriteOptions(compression=PACKED[packed])) as stream:
        stream.write_batch(small)


def kept(blocks: Iterator[pa.RecordBatch], path: Path | None, *, packed: bool = False) -> Iterator[pa.RecordBatch]:
    """Stream blocks, and keep them in a file where one is given."""
    if path is None:
        yield from blocks
        return
    with path.open("wb") as file:
        for block in blocks:
            write(file, block, packed=packed)
            yield block


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
