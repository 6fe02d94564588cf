"""Small whole numbers of many rows, such as the classes of all rows of a table: in few bytes, and counted so."""

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
# numpy counts in eight bytes a number, whatever holds it: so many rows are counted at a time.
ROWS = 1_000_000


def kind(values: int) -> np.dtype[Any]:
    """The smallest type that holds so many codes, from 0 on, and -1."""
    return np.dtype(next(found for found in (np.int8, np.int16, np.int32, np.int64) if values <= np.iinfo(found).max))


def counts(codes: Array, values: int) -> Array:
    """(values,) the rows of each of so many codes, of which none is below 0."""
    found = np.zeros(values, dtype=np.int64)
    for start in range(0, len(codes), ROWS):
        found += np.bincount(codes[start : start + ROWS], minlength=values)
    return found
