"""How far rows have moved from those that a model was trained on: the population stability index of each column.

All is counted batch by batch: what is held is a few counts a column, and the values of a column of categories up to
`MOST_VALUES` of them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabular.data.datasets import Column

Array: TypeAlias = np.ndarray[Any, Any]

# The usual marks: below the first nothing to speak of, from the second on a population that is another one.
SOME, MUCH = 0.1, 0.25
PARTS = 10  # of a column of numbers: between its deciles
# Values from which the deciles are taken, of all columns together; the rows between them are counted, all of them.
SAMPLED_CELLS = 5_000_000
MOST_SAMPLED = 200_000
# Of a column of categories so many have a bin of their own, if they have this share of the rows.
MOST_NAMED = 20
LEAST_SHARE = 0.01
MOST_VALUES = 20_000
# What counts as the share of an empty bin, whose logarithm would be infinite.
FLOOR = 1e-4
CONFIDENCE = 0.95


def population_stability_index(before: Array, now: Array) -> float:
    """The population stability index of two sets of rows, counted into the same bins.

    It is the sum over the bins of ``(p - q) ln(p / q)``, where p and q are the bin's shares of the two: Jeffreys'
    divergence (H. Jeffreys, "An invariant form for the prior probability in estimation problems", 1946; S. Kullback and
    R. A. Leibler, "On information and sufficiency", 1951), under the name and with the marks of 0.1 and 0.25 that it
    has in credit scoring (N. Siddiqi, "Credit Risk Scorecards", 2006).

    Parameters
    ----------
    before, now : (bins,) array of int
        Rows in each bin; the two are interchangeable. A bin that is empty in both does not count; the share of one
        that is empty in one of them is taken as `FLOOR`.

    Returns
    -------
    float
        0 for equal shares, else above 0; NaN where one of the two has no rows.
    """
    p, q = _shares(before, now)
    return float(np.sum((p - q) * np.log(p / q)))


def by_chance(before: Array, now: Array) -> float:
    """The index that 19 of 20 pairs of so many rows each stay below, though both are drawn from one population.

    A small table shifts by chance alone: the index is then about ``(1/n + 1/m)`` times a chi-squared variable with one
    degree of freedom less than there are bins (B. Yurdakul and J. Naranjo, "Statistical properties of the population
    stability index", Journal of Risk Model Validation 14, 2020).
    """
    from scipy.stats import chi2

    p, _ = _shares(before, now)
    if len(p) < 2:
        return 0.0
    return float(chi2.ppf(CONFIDENCE, len(p) - 1) * (1 / before.sum() + 1 / now.sum()))


def _shares(before: Array, now: Array) -> tuple[Array, Array]:
    used = (before + now) > 0
    if not before.any() or not now.any():
        return np.array([np.nan]), np.array([np.nan])
    p, q = before[used] / before.sum(), now[used] / now.sum()
    return np.maximum(p, FLOOR), np.maximum(q, FLOOR)


class Bins(Protocol):
    """How the values of a column are counted."""

    @property
    def names(self) -> list[str]:
        """Of the bins, in the order of the counts."""

    def count(self, values: pa.Array) -> Array:
        """(bins,) int64: how many of these values are in each bin."""


@dataclass(frozen=True)
class Numbers:
    """Bins of numbers and moments: between the deciles, below and above all that there were, and missing.

    A decile that many rows share is one edge: a bin reaches from above an edge up to the next one, itself included.
    """

    low: float
    high: float
    deciles: tuple[float, ...]  # increasing, the highest value among them
    are_dates: bool

    @classmethod
    def of(cls, sample: Array, ends: tuple[float, float] | None, are_dates: bool) -> "Numbers":
        """The bins for a sample of a column's values and the ends of all of them; None: it has no values."""
        if ends is None:
            return cls(np.nan, np.nan, (), are_dates)
        places = np.arange(1, PARTS) / PARTS
        found = np.quantile(sample, places, method="inverted_cdf") if len(sample) else np.zeros(0)
        return cls(*ends, tuple(np.unique(np.append(found, ends[1])).tolist()), are_dates)

    @property
    def names(self) -> list[str]:
        """`below 3`, `3`, `above 3 to 7`, `above 7`, `missing`, and dates as such."""
        if not self.deciles:
            return ["any", "missing"]
        first = self._name(self.low) if self.low == self.deciles[0] else f"{self._name(self.low)} to "
        first += "" if self.low == self.deciles[0] else self._name(self.deciles[0])
        between = [
            f"above {self._name(low)} to {self._name(high)}"
            for low, high in zip(self.deciles, self.deciles[1:], strict=False)
        ]
        return [f"below {self._name(self.low)}", first, *between, f"above {self._name(self.high)}", "missing"]

    def _name(self, value: float) -> str:
        if self.are_dates:
            return str(np.datetime64(round(value * 86_400), "s")).removesuffix("T00:00:00")
        return f"{value:.6g}"

    def count(self, values: pa.Array) -> Array:
        """(bins,) int64: how many of these values are in each bin."""
        present = as_floats(values.drop_null())
        edges = [np.nextafter(self.low, -np.inf), *self.deciles] if self.deciles else []
        inside = np.bincount(np.searchsorted(edges, present), minlength=len(edges) + 1)
        return np.append(inside, values.null_count)


@dataclass(frozen=True)
class Categories:
    """Bins of categories: the common ones by name, then all rare ones, all that there were not, and missing.

    Of a column of too many values the rare ones and the new ones cannot be told apart, and are one bin.
    """

    known: pa.Array  # the commonest first
    named: int  # so many of them have a bin
    is_whole: bool

    @classmethod
    def of(cls, found: Counter[Any], rows: int, type_: pa.DataType, *, is_whole: bool) -> "Categories":
        """The bins for a column's values, each with the number of its rows."""
        common = found.most_common()
        named = sum(count >= LEAST_SHARE * rows for _, count in common[:MOST_NAMED])
        kept = common if is_whole else common[:named]
        return cls(pa.array([value for value, _ in kept], type_), named, is_whole)

    @property
    def names(self) -> list[str]:
        """The categories as text, `(rare)`, `(new)` and `missing`."""
        rest = ["(rare)", "(new)"] if self.is_whole else ["(rare or new)", "(new)"]
        return [str(value) for value in self.known[: self.named].to_pylist()] + [*rest, "missing"]

    def count(self, values: pa.Array) -> Array:
        """(bins,) int64: how many of these values are in each bin."""
        new = self.named + (1 if self.is_whole else 0)
        places = pc.index_in(values.drop_null(), value_set=self.known).to_numpy(zero_copy_only=False)
        places = np.where(np.isnan(places), new, np.minimum(places, self.named)).astype(np.int64)
        return np.append(np.bincount(places, minlength=self.named + 2), values.null_count)


def as_floats(values: pa.Array) -> Array:
    """(n,) float64 of values without nulls; moments as days since 1970."""
    if pa.types.is_timestamp(values.type):
        return np.asarray(values.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(zero_copy_only=False)) / 86_400e6
    return np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False))


class Tally:
    """Rows counted into the bins of their columns, batch by batch."""

    def __init__(self, bins: Mapping[str, Bins]) -> None:
        self.bins = bins
        self.counts = {name: np.zeros(len(own.names), dtype=np.int64) for name, own in bins.items()}

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch in, which may hold more columns."""
        for name, own in self.bins.items():
            self.counts[name] += own.count(batch[name])


def tally(batches: Callable[[], Iterable[pa.RecordBatch]], columns: Sequence[Column], rows: int) -> Tally:
    """The rows of a reference, counted into bins that are made from them.

    Parameters
    ----------
    batches
        Gives the rows, from the first one on at each of two calls.
    columns
        Those to count; what is a number is cut between its deciles, the rest goes by its values.
    rows
        How many there are.
    """
    bins = _learn(batches(), columns, rows)
    counted = Tally(bins)
    for batch in batches():
        counted.add(batch)
    return counted


def _learn(batches: Iterable[pa.RecordBatch], columns: Sequence[Column], rows: int) -> dict[str, Bins]:
    learners = {column.name: _OfCategories() if _is_category(column) else _OfNumbers() for column in columns}
    wanted = min(MOST_SAMPLED, SAMPLED_CELLS // max(len(columns), 1))
    generator = np.random.default_rng(0)
    for batch in batches:
        # from a larger table each row with the same chance; from a smaller one all
        sampled = pa.array(generator.random(len(batch)) < wanted / max(rows, 1))
        for name, learner in learners.items():
            learner.add(batch[name], sampled)
    return {name: learner.bins(rows) for name, learner in learners.items()}


def _is_category(column: Column) -> bool:
    return column.kind == "category" or column.dtype == "boolean"


class _OfNumbers:
    def __init__(self) -> None:
        self.sample: list[Array] = []
        self.ends: tuple[float, float] | None = None
        self.are_dates = False

    def add(self, values: pa.Array, sampled: pa.Array) -> None:
        self.are_dates = pa.types.is_timestamp(values.type)
        self.sample.append(as_floats(values.filter(sampled).drop_null()))
        present = as_floats(values.drop_null())
        if len(present):
            low, high = self.ends or (np.inf, -np.inf)
            self.ends = min(low, float(present.min())), max(high, float(present.max()))

    def bins(self, rows: int) -> Bins:
        return Numbers.of(np.concatenate(self.sample or [np.zeros(0)]), self.ends, self.are_dates)


class _OfCategories:
    def __init__(self) -> None:
        self.found: Counter[Any] = Counter()
        self.is_whole = True
        self.type: pa.DataType = pa.string()

    def add(self, values: pa.Array, sampled: pa.Array) -> None:
        self.type = values.type
        counts = pc.value_counts(values.drop_null())
        for value, count in zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True):
            if value in self.found or len(self.found) < MOST_VALUES:
                self.found[value] += count
            else:
                self.is_whole = False

    def bins(self, rows: int) -> Bins:
        return Categories.of(self.found, rows, self.type, is_whole=self.is_whole)


@dataclass(frozen=True)
class Shift:
    """How far a column has moved, and where: the rows in each bin before and now."""

    column: str
    psi: float
    by_chance: float
    bins: tuple[str, ...]
    before: Array
    now: Array

    @property
    def verdict(self) -> str:
        """`none`, `some`, `much`, or `as by chance` for what so few rows may well do."""
        if not self.psi >= SOME:
            return "none"
        if self.psi < self.by_chance:
            return "as by chance"
        return "much" if self.psi >= MUCH else "some"

    def moved(self) -> str:
        """The bin that gained or lost most, with its shares: `'(new)' 0.0 % -> 12.5 %`."""
        before, now = self.before / max(self.before.sum(), 1), self.now / max(self.now.sum(), 1)
        place = int(np.abs(now - before).argmax())
        return f"{self.bins[place]!r} {before[place]:.1%} -> {now[place]:.1%}"


def shifts(before: Tally, now: Tally) -> list[Shift]:
    """The shift of each column, the greatest first; `now` is counted into the bins of `before`."""
    found = [
        Shift(
            name,
            population_stability_index(before.counts[name], now.counts[name]),
            by_chance(before.counts[name], now.counts[name]),
            tuple(own.names),
            before.counts[name],
            now.counts[name],
        )
        for name, own in before.bins.items()
    ]
    return sorted(found, key=lambda shift: -shift.psi)


def rows_of(found: Iterable[Shift], what: str) -> Iterator[dict[str, Any]]:
    """Shifts as rows of a table; `what` they are of: an input or a score."""
    for shift in found:
        yield {
            "column": shift.column,
            "of": what,
            "psi": shift.psi,
            "by_chance": shift.by_chance,
            "shift": shift.verdict,
            "moved_most": shift.moved(),
            "missing_before": shift.before[-1] / max(shift.before.sum(), 1),
            "missing_now": shift.now[-1] / max(shift.now.sum(), 1),
        }


def bins_of(found: Sequence[Shift]) -> dict[str, list[Any]]:
    """The rows in each bin of each column, as a table: column: values."""
    cells = [
        (one.column, name, int(before), int(now))
        for one in found
        for name, before, now in zip(one.bins, one.before, one.now, strict=True)
        if before or now
    ]
    names = ("column", "bin", "rows_before", "rows_now")
    return {name: [cell[place] for cell in cells] for place, name in enumerate(names)}
