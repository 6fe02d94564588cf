"""A profile of a table's columns, made batch by batch."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# Above this many different texts in a column, the count is "at least": a profile must not hold a table in memory.
MOST_VALUES = 20_000


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

    def add(self, array: pa.Array) -> None:
        self.rows += len(array)
        self.missing += array.null_count
        if array.null_count == len(array):
            return
        if pa.types.is_string(array.type):
            if len(self.values) < MOST_VALUES:
                for pair in pc.value_counts(array.drop_null()).to_pylist():
                    self.values[pair["values"]] += pair["counts"]
            return
        ends = pc.min_max(array).as_py()
        self.low = ends["min"] if self.low is None else min(self.low, ends["min"])
        self.high = ends["max"] if self.high is None else max(self.high, ends["max"])
        if not pa.types.is_temporal(array.type):
            self.total += pc.sum(array).as_py()

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
            *ends,
            self.total / present if numeric else None,
            common[0][0] if common else None,
            round(common[0][1] / present, 4) if common else None,
        ]


class Profile:
    """Counts, ends, means and commonest values of each column of a data set's rows, train and holdout together."""

    HEADER = (
        "column",
        "type",
        "rows",
        "missing",
        "missing_share",
        "values",
        "min",
        "max",
        "mean",
        "commonest",
        "share",
    )

    def __init__(self, schema: Any) -> None:
        self._columns = [_Column(column.name, column.dtype) for column in schema.columns]

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch in; its columns are those of the schema, by name."""
        for column in self._columns:
            column.add(batch[column.name])

    def table(self) -> dict[str, list[Any]]:
        """Column of the profile: its values, one a column of the data."""
        rows = [column.row() for column in self._columns]
        return {name: [row[place] for row in rows] for place, name in enumerate(self.HEADER)}

    def hints(self) -> tuple[str, ...]:
        """What a person should look at before trusting a model of these columns."""
        hints = []
        for column in self._columns:
            present = column.rows - column.missing
            if column.dtype == "string" and len(column.values) == present > 20:
                hints.append(f"{column.name!r} has another value in every row: if it is a name or an id, drop it")
            elif column.dtype == "double" and present and max(-column.low, column.high) > 2**53:
                hints.append(f"{column.name!r} has numbers of more than 15 digits, which are rounded: an id? drop it")
            elif present and (len(column.values) == 1 or (column.low is not None and column.low == column.high)):
                hints.append(f"{column.name!r} has one value only: it says nothing")
        return tuple(hints)
