"""Duplicates: rows of a table that repeat an earlier one in every column, found by a hash of each row.

Of each row a hash of eight bytes is kept; of many rows they are on disk, in parts of which one is in memory at a time.
"""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from tabular.data.columns import BOOL, FLOAT, INT, MOMENT, STRING
from tabular.data.tables import Table

Array: TypeAlias = np.ndarray[Any, Any]
# The types whose values have a hash; those of any other column, which is dropped, are written out first.
HASHED = (FLOAT, STRING, BOOL, MOMENT, INT)
# The rows whose hashes are compared at a time, about.
ROWS_OF_PART = 1_000_000
MISSING = np.uint64(0x9E3779B97F4A7C15)  # the hash of a value that is missing
# A hash and its row, as they lie on disk.
PAIR = np.dtype([("hash", np.uint64), ("row", np.int64)])


class Seen:
    """The hashes of rows, and which of these rows repeat no earlier one.

    Parameters
    ----------
    rows
        About how many rows there will be: of many, hashes go to disk.
    folder
        Where.

    """

    def __init__(self, rows: int, folder: Path) -> None:
        self._rows = 0
        self._held: list[Array] = []
        parts = -(-rows // ROWS_OF_PART)
        self._paths = [folder / f"hashes-{part}" for part in range(parts)] if parts > 1 else []

    def add(self, hashes: Array) -> None:
        """Add (n,) hashes of the rows that come next."""
        if self._paths:
            pairs = np.empty(len(hashes), dtype=PAIR)
            pairs["hash"], pairs["row"] = hashes, np.arange(self._rows, self._rows + len(hashes))
            part = hashes % np.uint64(len(self._paths))
            for place, path in enumerate(self._paths):
                with path.open("ab") as file:
                    file.write(pairs[part == place].tobytes())
        else:
            self._held.append(hashes)
        self._rows += len(hashes)

    def first(self) -> Array:
        """(n,) bool: the rows that repeat no earlier one."""
        found = np.ones(self._rows, dtype=bool)
        if self._held:
            found[_repeated(np.concatenate(self._held))] = False
        for path in self._paths:
            pairs = np.fromfile(path, dtype=PAIR)
            found[pairs["row"][_repeated(pairs["hash"])]] = False
        return found


def _repeated(hashes: Array) -> Array:
    """The positions of the hashes that repeat an earlier one."""
    ordered = np.sort(hashes)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return np.zeros(0, dtype=np.int64)
    places = np.flatnonzero(np.isin(hashes, twice))
    firsts = np.unique(hashes[places], return_index=True)[1]
    return np.delete(places, firsts)


def repeated(table: Table) -> Array:
    """(n,) bool: the rows of a table that repeat an earlier one in every column."""
    with TemporaryDirectory() as folder:
        seen = Seen(table.rows, Path(folder))
        for block in table.coded():
            seen.add(hashes(block))
        return ~seen.first()


def hashes(block: pa.RecordBatch) -> Array:
    """(n,) uint64 a hash of each row, which depends on the row's values and the order of its columns only."""
    return _joined([_of_values(column) for column in block.columns], len(block))


def _joined(columns: Iterable[Array], rows: int) -> Array:
    found = np.zeros(rows, dtype=np.uint64)
    for column in columns:
        found ^= column
        found *= np.uint64(0xBF58476D1CE4E5B9)
        found ^= found >> np.uint64(29)
    return found


def _of_values(values: pa.Array) -> Array:
    """(n,) uint64 a hash of each value; of a dictionary, of each of its values once."""
    from pandas.util import hash_array

    if pa.types.is_string(values.type):
        values = values.dictionary_encode(null_encoding="encode")
    if pa.types.is_dictionary(values.type):
        are_texts = values.type.value_type == STRING
        of_each = _of_different(values.dictionary) if are_texts else _of_values(values.dictionary)
        return np.asarray(of_each[values.indices.to_numpy()])
    if values.type not in HASHED:
        return _of_different(pa.array(map(repr, values.to_pylist())))  # lists of a dropped column
    plain = values.fill_null(pa.scalar(0).cast(values.type)) if values.null_count else values
    found = np.asarray(hash_array(plain.to_numpy(zero_copy_only=False)))
    return np.where(values.is_null().to_numpy(zero_copy_only=False), MISSING, found) if values.null_count else found


def _of_different(texts: pa.Array) -> Array:
    """(n,) uint64 a hash of each text."""
    from pandas.util import hash_array

    objects = texts.fill_null("").to_numpy(zero_copy_only=False)
    found = np.asarray(hash_array(objects, categorize=False))
    return np.where(texts.is_null().to_numpy(zero_copy_only=False), MISSING, found) if texts.null_count else found
