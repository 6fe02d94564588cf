"""Duplicates: rows of a table that repeat an earlier one in every column, found by a hash of each row."""

from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from tabular.data.columns import BOOL, FLOAT, INT, MOMENT, STRING
from tabular.data.tables import Table

Array: TypeAlias = np.ndarray[Any, Any]
# The types whose values have a hash; those of any other column, which is dropped, are written out first.
HASHED = (FLOAT, STRING, BOOL, MOMENT, INT)


def repeated(table: Table) -> Array:
    """(n,) bool: the rows of a table that repeat an earlier one in every column."""
    return ~_first_of_each(np.concatenate([hashes(batch) for batch in table.batches()]))


def without(known: Array, found: Array | None) -> Array:
    """(n,) bool: the rows that are known and repeat no earlier one, by (n,) hashes; None: repeated ones stay."""
    return known.copy() if found is None else known & _first_of_each(found)


def _first_of_each(hashes: Array) -> Array:
    first = np.zeros(len(hashes), dtype=bool)
    first[np.unique(hashes, return_index=True)[1]] = True
    return first


def hashes(batch: pa.RecordBatch) -> Array:
    """(n,) uint64 a hash of each row, which depends on the row's values only.

    Missing values are hashed as separate columns. Otherwise pandas would turn whole numbers into floats in a batch with
    missing values, and the hash of a row would depend on the other rows of its batch.
    """
    import pandas as pd

    columns = {}
    for place, found in enumerate(batch.columns):
        values = found if found.type in HASHED else pa.array(map(repr, found.to_pylist()))  # lists of a dropped column
        columns[f"{place} is there"] = values.is_valid().to_numpy(zero_copy_only=False)
        columns[f"{place}"] = values.fill_null(pa.scalar(0).cast(values.type)).to_numpy(zero_copy_only=False)
    return np.asarray(pd.util.hash_pandas_object(pd.DataFrame(columns), index=False))
