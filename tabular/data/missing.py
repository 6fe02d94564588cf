"""The one rule for texts, in every form of a table: blanks at both ends go, and then some words mean missing.

The code that a model carries has the same rule for what is asked later (`steps/model/served.py`).
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from tabular.data import kinds
from tabular.data.columns import STRING

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass
class Tally:
    """Counts of a column's cells, block by block: those that are missing, by word, and those that had blanks."""

    missing: Counter[str] = field(default_factory=Counter)
    trimmed: int = 0

    def see(self, found: pa.Array, plain: pa.Array, cells: Array) -> None:
        """Count the values of a block as they were found, and as `texts` or `values` made them of that.

        `cells` is (n,) the number of cells that hold each.
        """
        import pyarrow.compute as pc

        if plain.null_count:
            is_gone = plain.is_null()
            gone = found.filter(is_gone)
            words = pc.utf8_trim_whitespace(gone if gone.type == STRING else gone.cast(STRING))
            coded = words.dictionary_encode(null_encoding="encode")
            lost = np.bincount(coded.indices.to_numpy(), weights=cells[is_gone.to_numpy(zero_copy_only=False)])
            for word, count in zip(coded.dictionary.to_pylist(), lost.tolist(), strict=True):
                self.missing[word or ""] += int(count)
        if found.type == STRING and not plain.equals(found):
            changed = pc.fill_null(pc.not_equal(plain, found), False)
            self.trimmed += int(cells[changed.to_numpy(zero_copy_only=False)].sum())

    def add(self, other: "Tally") -> None:
        """Add the cells of the part that comes next."""
        self.missing.update(other.missing)
        self.trimmed += other.trimmed


def distinct(found: pa.Array) -> tuple[pa.Array, Array]:
    """The different values of a block, in the order in which they first come, and (values,) the cells that hold each.

    What is missing is a value too. A block of texts may be given as a dictionary, as `tabular.data.text` yields it.
    """
    coded = found if pa.types.is_dictionary(found.type) else found.dictionary_encode(null_encoding="encode")
    return coded.dictionary, np.bincount(coded.indices.to_numpy(), minlength=len(coded.dictionary))


def texts(found: pa.Array, words: tuple[str, ...], *, trim: bool = True) -> pa.Array:
    """Texts without the blanks around them (Unicode's), and null where they are one of the words.

    Parameters
    ----------
    found
        (n,) strings.
    words
        The words that mean missing, without blanks around them.
    trim
        False leaves the blanks of the texts that stay.

    """
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(found)
    return pc.if_else(pc.is_in(trimmed, value_set=_as_array(words)), None, trimmed if trim else found)


def values(found: pa.Array, words: tuple[str, ...]) -> pa.Array:
    """Numbers, dates or truths, and null where a word means that value: `-999` is also -999.0.

    Parameters
    ----------
    found
        (n,) of one of the types of `tabular.data.kinds.PATTERNS`.
    words
        The words that mean missing.

    """
    import pyarrow.compute as pc

    named = kinds.values(words, found.type)
    return pc.if_else(pc.is_in(found, value_set=named), None, found) if len(named) else found


@lru_cache(maxsize=256)
def _as_array(words: tuple[str, ...]) -> pa.Array:
    return pa.array(words, STRING)
