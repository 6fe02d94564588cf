"""The profile of a data set's columns, computed batch by batch."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# The most different texts of a column that are counted, since a profile must not hold a table in memory. The profile
# says whether there are more.
MOST_VALUES = 20_000
# Numbers and dates in the formats of other locales, which are read as texts.
DECIMAL_COMMA = r"[+-]?(\d+|\d{1,3}([. ]\d{3})+),\d+|[+-]?\d+"
OTHER_DATE = r"\d{1,2}([./-])\d{1,2}\1(\d{4}|\d\d)( .*)?|\d{4}([./])\d{1,2}\4\d{1,2}( .*)?"


@dataclass
class _Column:
    name: str
    dtype: str
    rows: int = 0
    missing: int = 0
    total: float = 0.0
    low: Any = None
    high: Any = None
    values: Counter[str] = field(default_factory=Counter)
    more_values: bool = False  # there are more different texts than are counted
    repeated: bool = False  # a text is in more than one row

    def add(self, array: pa.Array) -> None:
        self.rows += len(array)
        self.missing += array.null_count
        if array.null_count == len(array):
            return
        if pa.types.is_string(array.type):
            found = pc.value_counts(array.drop_null())
            for value, count in zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True):
                self._count(value, count)
            return
        ends = pc.min_max(array).as_py()
        self.low = ends["min"] if self.low is None else min(self.low, ends["min"])
        self.high = ends["max"] if self.high is None else max(self.high, ends["max"])
        if not pa.types.is_temporal(array.type):
            self.total += pc.sum(array).as_py()

    def _count(self, value: str, count: int) -> None:
        known = value in self.values
        self.repeated |= known or count > 1
        if known or len(self.values) < MOST_VALUES:
            self.values[value] += count  # exact: a text that is counted is counted from its first row on
        else:
            self.more_values = True

    def looks_like(self, pattern: str) -> bool:
        """Whether more than 90 % of the different texts match a pattern."""
        matching = sum(re.fullmatch(pattern, value.strip()) is not None for value in self.values)
        return matching > 0.9 * len(self.values)

    def row(self) -> list[Any]:
        present = self.rows - self.missing
        ends = [None if end is None else str(end) for end in (self.low, self.high)]
        numeric = self.dtype in ("double", "boolean") and present > 0
        common = self.values.most_common(1)
        return [
            self.name,
            self.dtype,
            self.rows,
            self.missing,
            round(self.missing / self.rows, 4) if self.rows else None,
            len(self.values) or None,
            self.more_values,
            *ends,
            self.total / present if numeric else None,
            common[0][0] if common else None,
            round(common[0][1] / present, 4) if common else None,
        ]


class Profile:
    """Counts, minimum, maximum, mean and commonest value of each column, over training and holdout rows together.

    Where `more_values` is true, `values` is a lower bound, and `commonest` is the commonest of the counted values.
    """

    HEADER = (
        "column",
        "type",
        "rows",
        "missing",
        "missing_share",
        "values",
        "more_values",
        "min",
        "max",
        "mean",
        "commonest",
        "share",
    )

    def __init__(self, schema: Any) -> None:
        self._columns = [_Column(column.name, column.dtype) for column in schema.columns]

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch, which has the columns of the schema by name."""
        for column in self._columns:
            column.add(batch[column.name])

    def table(self) -> dict[str, list[Any]]:
        """The profile as a table with one row for each column of the data: name of `HEADER`: values."""
        rows = [column.row() for column in self._columns]
        return {name: [row[place] for row in rows] for place, name in enumerate(self.HEADER)}

    def hints(self) -> tuple[str, ...]:
        """Warnings about columns that a person should look at before trusting a model."""
        hints = []
        for column in self._columns:
            present = column.rows - column.missing
            first = next(iter(column.values), "")
            with_comma = next((value for value in column.values if "," in value), "")
            if with_comma and column.looks_like(DECIMAL_COMMA):
                hints.append(
                    f"{column.name!r} has texts such as {with_comma!r}: numbers? write them with a decimal point"
                )
            elif first and column.looks_like(OTHER_DATE):
                hints.append(f"{column.name!r} has texts such as {first!r}: dates? write them as 2024-12-31")
            elif column.dtype == "string" and present > 20 and not column.repeated:
                hints.append(f"{column.name!r} has another value in every row: if it is a name or an id, drop it")
            elif column.dtype == "double" and present and max(-column.low, column.high) > 2**53:
                hints.append(f"{column.name!r} has numbers of more than 15 digits, which are rounded: an id? drop it")
            elif present and (len(column.values) == 1 or (column.low is not None and column.low == column.high)):
                hints.append(f"{column.name!r} has one value only: it says nothing")
        return tuple(hints)
