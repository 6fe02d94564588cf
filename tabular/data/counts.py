"""What is counted of a column of a data set, batch by batch, and what its texts look like."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# The most different texts of a column that are counted, since a profile must not hold a table in memory. The profile
# says whether there are more.
MOST_VALUES = 20_000
# Numbers and dates in the formats of other locales, which are read as texts.
DECIMAL_COMMA = r"[+-]?(\d+|\d{1,3}([. ]\d{3})+),\d+|[+-]?\d+"
THOUSANDS = r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?|[+-]?\d{1,3}(\.\d+)?"
# A comma that may be either; and one that no mark between thousands is, whatever the other texts look like.
EITHER, NO_THOUSANDS = r"[+-]?\d{1,3},\d{3}", r"[+-]?0\d*,\d+"
WITH_SIGN = r"[+-]?([$€£¥] ?[+-]?\d[\d,.]*|\d[\d,.]* ?[%$€£¥])"
# A point, a blank or an apostrophe between thousands; one point alone is read as the decimal one.
OTHER_THOUSANDS = r"[+-]?[1-9]\d{0,2}([. '\u2019\u00a0\u202f]\d{3})+"
_MONTH = (
    r"(?i:jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|nov(ember)?"
    r"|dec(ember)?)\.?"
)
OTHER_DATE = (
    r"\d{1,2}([./-])\d{1,2}\1(\d{4}|\d\d)( .*)?|\d{4}([./])\d{1,2}\4\d{1,2}( .*)?"
    r"|(19|20)\d\d-(0?[1-9]|1[0-2])(-\d{1,2} .*)?"
    rf"|{_MONTH}[ -](19|20)?\d\d|{_MONTH} \d{{1,2}},? \d{{4}}( .*)?|\d{{1,2}}[ -]{_MONTH}[ -]\d{{2,4}}( .*)?"
)
PLAIN_NUMBER = r"[+-]?(0|[1-9]\d*)(\.\d+)?"
# A number with a unit: one that all of a column's texts have, since several are those of codes, such as 12A and 12B.
WITH_UNIT = r"[+-]?\d[\d,.]* ?([A-Za-zµ°]{1,4}|[A-Za-z]{1,3}/[A-Za-z]{1,3})"
FEWEST_WITH_UNIT = 5
# A column of numbers in which some cells hold a word, such as a dash, has at most so many different words, and at least
# so many different numbers: fewer may be codes.
MOST_WORDS, FEWEST_NUMBERS = 3, 20
# What to do with numbers with a decimal comma, which pandas reads if it is told so.
DECIMAL_POINT = "write them with a decimal point (pandas: read_csv(…, sep=';', decimal=',').to_csv(…, index=False))"
EITHER_WAY = "write them without the comma if it marks thousands, with a point in its place if it is the decimal mark"
# Numbers that often stand for a missing one. A column has one where so many rows hold it, and this share of them, and
# where all its other numbers are so many times smaller, or none is below 0 and this one is.
MARKS = (-99_999, -9_999, -999, -99, 999, 9_999, 99_999, 999_999)
FEWEST_MARKED, SHARE_MARKED, TIMES_OTHERS = 5, 0.01, 2
# Texts of a column with more different ones than these are not looked through for those that differ in case only.
MOST_ALIKE = 1_000
# Of how many values one is in a single row, at least, where a column has another value in nearly every row.
NEARLY_ALL = 0.95


@dataclass
class ColumnCounts:
    """The counts of a column.

    Attributes
    ----------
    name, dtype : str
        As in the schema.
    rows, missing : int
        The rows seen so far, and those without a value.
    low, high
        The least and the greatest value; None for texts.
    values : Counter
        The rows of each text, of the first `MOST_VALUES` ones; these counts are exact.
    more_values : bool
        Whether there are more different texts than are counted.
    repeated : bool
        Whether a text is in more than one row.
    grows : bool
        Whether each number is whole and above the one before it.
    marked : Counter
        The rows of each of `MARKS` that is the least or the greatest number of a batch.
    least, most : float
        The ends of the other numbers.

    """

    name: str
    dtype: str
    rows: int = 0
    missing: int = 0
    total: float = 0.0
    low: Any = None
    high: Any = None
    values: Counter[str] = field(default_factory=Counter)
    more_values: bool = False
    repeated: bool = False
    grows: bool = True
    last: float | None = None
    marked: Counter[float] = field(default_factory=Counter)
    least: float = math.inf
    most: float = -math.inf

    def add(self, array: pa.Array) -> None:
        """Count the rows of a batch."""
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
        if self.dtype == "double":
            self._see_marks(array, ends)
            if self.grows:
                self._see_order(array)

    def _see_marks(self, array: pa.Array, ends: dict[str, Any]) -> None:
        """Count numbers that may mean missing; `ends` are those of the batch."""
        for mark in {ends["min"], ends["max"]}.intersection(MARKS):
            others = array.filter(pc.not_equal(array, mark))
            self.marked[mark] += len(array) - array.null_count - len(others)
            array = others
            ends = pc.min_max(array).as_py()
        if ends["min"] is not None:
            self.least, self.most = min(self.least, ends["min"]), max(self.most, ends["max"])

    def mark(self) -> tuple[float, int] | None:
        """A number that may mean missing, as it is far from all others, and its rows."""
        for mark, rows in self.marked.items():
            if max(FEWEST_MARKED, SHARE_MARKED * self.present) <= rows < self.present:
                sign = 1 if mark > 0 else -1
                others = max(sign * self.most, sign * self.least)
                if others <= 0 or abs(mark) > TIMES_OTHERS * others:
                    return mark, rows
        return None

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

    @property
    def present(self) -> int:
        """The rows with a value."""
        return self.rows - self.missing

    @property
    def has_one_value(self) -> bool:
        """Whether all rows have the same value; missing ones tell rows apart as another value does."""
        if self.missing or not self.rows:
            return False
        return len(self.values) == 1 or (self.low is not None and self.low == self.high)

    @property
    def is_nearly_unique(self) -> bool:
        """Whether nearly every row has another text."""
        return len(self.values) > 0 and len(self.values) >= NEARLY_ALL * self.values.total()

    def looks_like(self, pattern: str) -> bool:
        """Whether more than 90 % of the different texts match a pattern."""
        matching = sum(re.fullmatch(pattern, value.strip()) is not None for value in self.values)
        return matching > 0.9 * len(self.values)

    def _has(self, pattern: str) -> bool:
        return any(re.fullmatch(pattern, value.strip()) for value in self.values)

    def number_in_disguise(self) -> tuple[str, str] | None:
        """A text that shows that the texts are numbers in a form that is not read, and how to write them instead."""
        example = next(iter(self.values), "")
        with_comma = next((value for value in self.values if "," in value), "")
        if with_comma and self.looks_like(THOUSANDS) and not self._has(NO_THOUSANDS):
            amounts = [value for value in self.values if re.fullmatch(THOUSANDS, value.strip())]
            if all(re.fullmatch(EITHER, value.strip()) for value in amounts):
                return with_comma, EITHER_WAY
            return with_comma, "write them without a mark between thousands"
        if with_comma and self.looks_like(DECIMAL_COMMA):
            return with_comma, DECIMAL_POINT
        marked = next((value for value in self.values if re.fullmatch(OTHER_THOUSANDS, value.strip())), "")
        if marked and self.looks_like(rf"{OTHER_THOUSANDS}|[+-]?\d{{1,3}}"):
            return marked, "write them without a mark between thousands"
        if example and self.looks_like(WITH_SIGN):
            return example, "write them without the sign"
        unit = self.unit()
        return (example, f"write them without the {unit}") if unit else None

    def words_among_numbers(self) -> list[str]:
        """The few texts without a digit, the commonest first, where all others are many different numbers."""
        words = [text for text, _ in self.values.most_common() if not re.search(r"\d", text)]
        numbers = len(self.values) - len(words)
        if not words or len(words) > MOST_WORDS or numbers < FEWEST_NUMBERS:
            return []
        told = sum(re.fullmatch(PLAIN_NUMBER, text.strip()) is not None for text in self.values)
        return words if told == numbers else []

    def unit(self) -> str:
        """The unit that all texts have behind a number; "" where there is no such one."""
        if len(self.values) < FEWEST_WITH_UNIT:
            return ""
        first = re.fullmatch(WITH_UNIT, next(iter(self.values)))
        if first is None or not all(re.fullmatch(WITH_UNIT, value) for value in self.values):
            return ""
        return first[1] if all(value.endswith(first[1]) for value in self.values) else ""

    def alike(self) -> list[str]:
        """The first texts that differ in case only."""
        return alike(list(self.values)) if len(self.values) <= MOST_ALIKE else []

    def row(self) -> list[Any]:
        """Its row of the profile."""
        ends = [None if end is None else str(end) for end in (self.low, self.high)]
        numeric = self.dtype in ("double", "boolean") and self.present > 0
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
            self.total / self.present if numeric else None,
            common[0][0] if common else None,
            round(common[0][1] / self.present, 4) if common else None,
        ]


def alike(texts: Sequence[str]) -> list[str]:
    """The first of some different texts that differ from each other in case only; empty where none do."""
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(text.casefold(), []).append(text)
    return next((group for group in groups.values() if len(group) > 1), [])
