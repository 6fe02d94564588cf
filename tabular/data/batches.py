"""Batches of rows: of as many rows each, whatever a table was read from, so that what is written has the same bytes."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from tabular.data.columns import BATCH_ROWS

BATCH_VALUES = 16 << 20  # a very wide table yields fewer rows at a time
BATCH_BYTES = 512 << 20  # and so does one of very long texts


def at(batches: Iterator[pa.RecordBatch], positions: np.ndarray) -> pa.Table:
    """The rows at (m,) positions, in their order; a position may occur several times. Rows behind them are not read."""
    order = np.argsort(positions, kind="stable")
    wanted, start, found = positions[order], 0, []
    for batch in batches:
        first, last = np.searchsorted(wanted, [start, start + len(batch)])
        found.append(batch.take(pa.array(wanted[first:last] - start)))
        start += len(batch)
        if last == len(wanted):
            break
    return pa.Table.from_batches(found).take(pa.array(np.argsort(order, kind="stable")))


def regrouped(blocks: Iterator[pa.RecordBatch], width: int) -> Iterator[pa.RecordBatch]:
    """Join small blocks and cut large ones to batches that are large enough for fast work and fit in memory.

    Parameters
    ----------
    blocks
        The rows, all blocks with the same columns.
    width
        The number of columns, by which alone it goes how many rows a batch has, unless their texts are very long.

    """
    rows = max(1, min(BATCH_ROWS, BATCH_VALUES // max(width, 1)))
    held: list[pa.RecordBatch] = []
    for block in blocks:
        held.append(block)
        if sum(map(len, held)) >= rows or sum(part.nbytes for part in held) >= BATCH_BYTES:
            whole = _joined(held, rows)
            # a last batch that is not full waits for more rows
            held = [whole.pop()] if len(whole[-1]) < rows and whole[-1].nbytes < BATCH_BYTES else []
            yield from whole
    yield from _joined(held, rows)


def _joined(blocks: list[pa.RecordBatch], rows: int) -> list[pa.RecordBatch]:
    return pa.Table.from_batches(blocks).combine_chunks().to_batches(max_chunksize=rows) if blocks else []
