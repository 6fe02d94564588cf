"""The profile of a data set's columns, computed batch by batch, and hints at what a person should look at."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tabular.data.columns import USUAL_MISSING, WEIGHT, Note
from tabular.data.narrowing import shown
from tabular.errors import as_yaml, listed

# The most different texts of a column that are counted, since a profile must not hold a table in memory. The profile
# says whether there are more.
MOST_VALUES = 20_000
# Numbers and dates in the formats of other locales, which are read as texts.
DECIMAL_COMMA = r"[+-]?(\d+|\d{1,3}([. ]\d{3})+),\d+|[+-]?\d+"
THOUSANDS = r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?|[+-]?\d{1,3}(\.\d+)?"
WITH_UNIT = r"[+-]?([$€£¥] ?\d[\d,.]*|\d[\d,.]* ?[%$€£¥])"
OTHER_DATE = r"\d{1,2}([./-])\d{1,2}\1(\d{4}|\d\d)( .*)?|\d{4}([./])\d{1,2}\4\d{1,2}( .*)?"
# Words that say "missing" in the language of numbers, and are no value in a column of texts either.
NOT_A_NUMBER = ("", *(word for word in USUAL_MISSING if "nan" in word.lower() or "#" in word))
# Texts of a column with more different ones than these are not looked through for those that differ in case only.
MOST_ALIKE = 1_000
# Rows from which on it is no chance that a column grows with each of them.
ROWS_IN_ORDER = 20


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
    grows: bool = True  # each number is whole and above the one before it
    last: float | None = None

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
        if self.dtype == "double" and self.grows:
            self._see_order(array)

    def _see_order(self, array: pa.Array) -> None:
        steps = pc.pairwise_diff(array)
        first = self.last is None or (array[0].as_py() or 0) > self.last
        whole = pc.all(pc.equal(array, pc.floor(array))).as_py()
        self.grows = first and whole and array.null_count == 0 and pc.all(pc.greater(steps, 0), min_count=0).as_py()
        self.last = array[-1].as_py()

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

    def alike(self) -> list[str]:
        """The first texts that differ in case only."""
        return alike(list(self.values)) if len(self.values) <= MOST_ALIKE else []

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
    `read_as_missing`, `trimmed` and `unfit` count cells of all rows of the file.
    The column of the rows' weights is the last, of the type `weight`.

    Parameters
    ----------
    schema : tabular.data.datasets.Schema
        Of the data set.
    notes : mapping of str to Note
        What became of the cells of the file's columns, the target's too.
    said : collection of str
        The words that the problem itself says mean missing.

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
        "read_as_missing",
        "trimmed",
        "unfit",
    )

    def __init__(self, schema: Any, notes: Mapping[str, Note] | None = None, said: Collection[str] = ()) -> None:
        self._schema = schema
        self._columns = [_Column(column.name, column.dtype) for column in schema.columns]
        self._weight = None if schema.weight is None else _Column(schema.weight, "double")
        self._notes, self._said = notes or {}, said

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch, which has the columns of the schema by name, and the rows' weights."""
        for column in self._columns:
            column.add(batch[column.name])
        if self._weight is not None:
            self._weight.add(batch[WEIGHT])

    def table(self) -> dict[str, list[Any]]:
        """The profile as a table with one row for each column of the data: name of `HEADER`: values."""
        rows = [[*column.row(), *self._of_cells(column.name)] for column in self._columns]
        if self._weight is not None:
            name, _, *others = self._weight.row()
            rows.append([name, "weight", *others, *self._of_cells(name)])
        return {name: [row[place] for row in rows] for place, name in enumerate(self.HEADER)}

    def _of_cells(self, name: str) -> list[Any]:
        note = self._notes.get(name, Note())
        unfit = f"{note.unfit:,}: {shown(note.examples, note.unfit)}" if note.unfit else None
        return [counted(note.missing) or None, note.trimmed, unfit]

    def hints(self) -> tuple[str, ...]:
        """Warnings about columns that a person should look at before trusting a model."""
        return (
            *self._of_target(),
            *self._of_unfit(),
            *self._of_words(),
            *self._of_indices(),
            *(hint for column in self._columns for hint in self._of_values(column)),
        )

    def _of_target(self) -> Iterator[str]:
        target = self._schema.target
        lost = {word: cells for word, cells in self._notes.get(target, Note()).missing.items() if self._doubtful(word)}
        for word, cells in lost.items():
            yield f"{cells:,} rows whose {target!r} is {word!r} were left out: {_way_to_keep(target, word)}"
        labels = [label for label in self._schema.classes if isinstance(label, str)]
        same = alike(labels)
        if same:
            groups = {same[0]: same, **{label: [label] for label in labels if label not in same}}
            way = f"say data.classes: {as_yaml(groups)}" if len(labels) <= MOST_LISTED else "group them in data.classes"
            yield f"the classes {listed(same)} of {target!r} differ in case only: if they mean the same, {way}"

    def _of_unfit(self) -> Iterator[str]:
        for name, note in self._notes.items():
            if not note.unfit:
                continue
            cells = f"{note.unfit:,} cell{'s' * (note.unfit > 1)} of {name!r} ({shown(note.examples, note.unfit)})"
            if note.left_out:
                yield f"{cells} are no {note.meant}s and were read as missing, as data.types says"
            else:
                way = as_yaml({name: {"type": note.meant, "errors": "missing"}})
                yield (
                    f"{cells} are no {note.meant}s, all others are, so the column is one of texts: correct them, or "
                    f"say data.types: {way}, which reads them as missing"
                )

    def _of_words(self) -> Iterator[str]:
        """Words that mean missing, and look like a value among texts: one hint for all columns of a word."""
        columns: dict[str, list[str]] = {}
        for column in self._columns:
            if column.dtype == "string":
                for word in filter(self._doubtful, self._notes.get(column.name, Note()).missing):
                    columns.setdefault(word, []).append(column.name)
        for word, names in columns.items():
            cells = sum(self._notes[name].missing[word] for name in names)
            yield f"{cells:,} cells {word!r} of {listed(names, 3)} were read as missing: {_way_to_keep(names[0], word)}"

    def _doubtful(self, word: str) -> bool:
        return word in USUAL_MISSING and word not in NOT_A_NUMBER and word not in self._said

    def _of_indices(self) -> Iterator[str]:
        used = {column.name for column in self._columns}
        for name, note in self._notes.items():
            if note.index == "counts" and name not in used:
                keep = f"to keep it, say data.types: {as_yaml({name: 'number'})}"
                yield f"{name!r} counts the rows, as an index that pandas writes, and is left out: {keep}"
            elif note.index == "named" and name in used:
                drop = as_yaml({name: "pandas' index"})
                yield f"{name!r} was the index of a pandas frame: if it is an id, say data.drop: {drop}"

    def _of_values(self, column: _Column) -> Iterator[str]:
        name, present = column.name, column.rows - column.missing
        if self._notes.get(name, Note()).unfit:
            return  # said already
        first = next(iter(column.values), "")
        with_comma = next((value for value in column.values if "," in value), "")
        if with_comma and column.looks_like(THOUSANDS):
            yield f"{name!r} has texts such as {with_comma!r}: numbers? write them without a mark between thousands"
        elif with_comma and column.looks_like(DECIMAL_COMMA):
            yield f"{name!r} has texts such as {with_comma!r}: numbers? write them with a decimal point"
        elif first and column.looks_like(WITH_UNIT):
            yield f"{name!r} has texts such as {first!r}: numbers? write them without the sign"
        elif first and column.looks_like(OTHER_DATE):
            yield f"{name!r} has texts such as {first!r}: dates? write them as 2024-12-31"
        elif column.dtype == "string" and present > ROWS_IN_ORDER and not column.repeated:
            yield f"{name!r} has another value in every row: if it is a name or an id, drop it"
        elif column.dtype == "double" and present and max(-column.low, column.high) > 2**53:
            exact = f", or say data.types: {as_yaml({name: 'category'})}"  # of what may be a whole number
            way = f"drop it{exact if max(-column.low, column.high) < 1e30 else ''}"
            yield f"{name!r} has numbers of more than 15 digits, which are rounded: an id? {way}"
        elif column.dtype == "double" and present > ROWS_IN_ORDER and column.grows:
            yield f"{name!r} grows with every row: if it is an id or the order of the rows, drop it"
        elif present and (len(column.values) == 1 or (column.low is not None and column.low == column.high)):
            yield f"{name!r} has one value only: it says nothing"
        elif column.alike():
            same = listed(column.alike(), 4)
            yield f"{name!r} has texts that differ in case only, {same}: if they mean the same, write them alike"


# The most classes that a hint writes out.
MOST_LISTED = 12


def counted(missing: Mapping[str, int]) -> str:
    """Cells that were read as missing, by word, the commonest first: `100 'none', 3 empty`."""
    common = sorted(missing.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{cells:,} {repr(word) if word else 'empty'}" for word, cells in common)


def alike(texts: Sequence[str]) -> list[str]:
    """The first of some different texts that differ from each other in case only; empty where none do."""
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(text.casefold(), []).append(text)
    return next((group for group in groups.values() if len(group) > 1), [])


def _way_to_keep(column: str, word: str) -> str:
    return f"if that is a value, say data.missing: {as_yaml({'columns': {column: {'keep': [word]}}})}"
