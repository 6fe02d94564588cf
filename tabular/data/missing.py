"""The one rule for texts, in every form of a table: blanks at both ends go, and then some words mean missing.

The code that a model carries has the same rule for what is asked later (`steps/model/served.py`).
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

import pyarrow as pa

from tabular.data import kinds
from tabular.data.columns import STRING


@dataclass
class Tally:
    """Counts of a column's cells, block by block: those that are missing, by word, and those that had blanks."""

    missing: Counter[str] = field(default_factory=Counter)
    trimmed: int = 0

    def see(self, found: pa.Array, plain: pa.Array) -> None:
        """Count a block as it was found, and as `texts` or `values` made it of that."""
        import pyarrow.compute as pc

        if plain.null_count:
            gone = found.filter(plain.is_null())
            words = gone if gone.type == STRING else gone.cast(STRING)
            for word in pc.value_counts(pc.utf8_trim_whitespace(words)):
                self.missing[word["values"].as_py() or ""] += word["counts"].as_py()
        if found.type == STRING and not plain.equals(found):
            self.trimmed += pc.sum(pc.not_equal(plain, found)).as_py() or 0


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
