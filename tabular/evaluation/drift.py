"""Drift between the rows that a model was trained on and other rows: the population stability index of each column.

Rows are counted batch by batch. In memory are a few counts for each column, a sample of each column of numbers, and up
to `MOST_VALUES` different values of each column of categories.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabular.data.counts import NEARLY_ALL, ColumnCounts
from tabular.data.datasets import Column
from tabular.data.hints import ROWS_OF_IDS, numbers_on, numbers_rows

Array: TypeAlias = np.ndarray[Any, Any]

# The usual limits of the index: below the first no drift, from the second up a different population.
SOME, MUCH = 0.1, 0.25
PARTS = 10  # into which the deciles cut a column of numbers
# The deciles are estimated from a sample of about SAMPLED_CELLS values of all columns together, and of
# about MOST_SAMPLED rows at most. The rows in the bins between them are counted without sampling.
SAMPLED_CELLS = 5_000_000
MOST_SAMPLED = 200_000
# In a column of categories, the commonest have a bin of their own: at most MOST_NAMED, each with at least this share
# of the rows.
MOST_NAMED = 20
LEAST_SHARE = 0.01
MOST_VALUES = 20_000
# The share that is assumed for an empty bin, since the logarithm of 0 is infinite.
FLOOR = 1e-4
# The chance that any column of rows like those before is called shifted.
CHANCE = 0.01
# Where both samples have so many rows, simulated and chi-squared limits agree.
LARGE = 10_000
# The most bins of all simulated samples of a column: they take some 40 ms.
MOST_DRAWN = 250_000


def population_stability_index(before: Array, now: Array) -> float:
    """The population stability index of two sets of rows, counted into the same bins.

    The index is the sum over the bins of ``(p - q) ln(p / q)``, where p and q are the bin's shares of the two sets. It
    is Jeffreys' divergence (H. Jeffreys, "An invariant form for the prior probability in estimation problems", 1946;
    S. Kullback and R. A. Leibler, "On information and sufficiency", 1951), under the name and with the limits
    of 0.1 and 0.25 that it has in credit scoring (N. Siddiqi, "Credit Risk Scorecards", 2006).

    Parameters
    ----------
    before, now : (bins,) array of int
        The number of rows in each bin; the two are interchangeable. A bin that is empty in both does not count; a bin
        that is empty in one of them has the share `FLOOR` there.

    Returns
    -------
    float
        0 for equal shares, else above 0; NaN if one of the two has no rows.
    """
    p, q = _shares(before, now)
    return float(np.sum((p - q) * np.log(p / q)))


def by_chance(before: Array, now: Array, confidence: float) -> float:
    """A quantile of the index for two samples of these sizes from one population.

    The index of small samples differs from 0 by chance. Tables of as many rows as there are now are drawn from what the
    rows before tell of their population, and counted as these were. That population's shares are uncertain themselves,
    so each table has shares of its own: a Dirichlet distribution with the rows before as its parameters (D. B. Rubin,
    "The Bayesian bootstrap", Annals of Statistics 9, 1981). Of a number that is cut at order statistics of the rows
    before it is their distribution (S. S. Wilks, "Mathematical Statistics", 1962, section 8.7), and what lies below or
    above all of them is as one row. The seed is fixed.

    For two large samples, of n and m rows, nothing is drawn: the index is about ``(1/n + 1/m)`` times a chi-squared
    variable with one degree of freedom less than there are bins (B. Yurdakul and J. Naranjo, "Statistical properties of
    the population stability index", Journal of Risk Model Validation 14, 2020). Small ones leave bins empty, which
    makes the index greater than that.

    Parameters
    ----------
    before, now : (bins,) array of int
        The number of rows in each bin.
    confidence
        The quantile.

    Returns
    -------
    float
        0 if fewer than two bins hold rows, or if one of the two has no rows.
    """
    from scipy.stats import chi2

    used, rows = (before + now) > 0, now.sum()
    if used.sum() < 2 or not before.any() or not rows:
        return 0.0
    if min(before.sum(), rows) >= LARGE:
        return float(chi2.ppf(confidence, used.sum() - 1) * (1 / before.sum() + 1 / rows))
    generator, p = np.random.default_rng(0), _shares(before, now)[0]
    draws = int(min(MOST_DRAWN / len(p), 100 / (1 - confidence)))
    q = generator.multinomial(rows, generator.dirichlet(np.maximum(before[used], 1), size=draws)) / rows
    q = np.maximum(q, FLOOR)
    return float(np.quantile(np.sum((p - q) * np.log(p / q), axis=1), confidence))


def _shares(before: Array, now: Array) -> tuple[Array, Array]:
    used = (before + now) > 0
    if not before.any() or not now.any():
        return np.array([np.nan]), np.array([np.nan])
    p, q = before[used] / before.sum(), now[used] / now.sum()
    return np.maximum(p, FLOOR), np.maximum(q, FLOOR)


class Bins(Protocol):
    """The bins into which the values of a column are counted."""

    @property
    def names_rows(self) -> bool:
        """Whether nearly every row of the reference has a value of its own, as an id has."""

    @property
    def names(self) -> list[str]:
        """The names of the bins, in the order of the counts."""

    def count(self, values: pa.Array) -> Array:
        """(bins,) int64: how many of these values are in each bin."""


@dataclass(frozen=True)
class Numbers:
    """Bins of a column of numbers or dates.

    The values of the reference are cut into bins at their deciles. One more bin is below the lowest of them, one above
    the highest, and one for missing values. A bin excludes its lower edge and includes its upper edge; deciles that are
    equal are one edge.
    """

    low: float
    high: float
    deciles: tuple[float, ...]  # ascending; the last one is the highest value
    are_dates: bool
    names_rows: bool = False

    @classmethod
    def of(
        cls, sample: Array, ends: tuple[float, float] | None, *, are_dates: bool, names_rows: bool = False
    ) -> "Numbers":
        """Make the bins of a column.

        Parameters
        ----------
        sample
            A sample of the column's values.
        ends
            The lowest and the highest of all values; None if the column has none.
        are_dates
            Whether the values are days since 1970.
        names_rows
            Whether the column is like an id.
        """
        if ends is None:
            return cls(np.nan, np.nan, (), are_dates)
        places = np.arange(1, PARTS) / PARTS
        found = np.quantile(sample, places, method="inverted_cdf") if len(sample) else np.zeros(0)
        return cls(*ends, tuple(np.unique(np.append(found, ends[1])).tolist()), are_dates, names_rows)

    @property
    def names(self) -> list[str]:
        """The names of the bins: `below 3`, `3`, `above 3 to 7`, `above 7`, `missing`; dates are written as dates."""
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
    """Bins of a column of categories.

    Each common category has a bin. Then there is one bin for all rare categories, one for new categories, which the
    reference does not hold, and one for missing values. In a column with more than `MOST_VALUES` values, rare and new
    categories cannot be told apart and share a bin.
    """

    known: pa.Array  # categories, the commonest first
    named: int  # how many of them have a bin of their own
    is_whole: bool  # whether `known` holds all categories of the reference
    names_rows: bool = False

    @classmethod
    def of(cls, found: Counter[Any], rows: int, type_: pa.DataType, *, is_whole: bool) -> "Categories":
        """Make the bins of a column.

        Parameters
        ----------
        found
            The number of rows of each value.
        rows
            The number of rows of the table.
        type_
            The type of the column.
        is_whole
            Whether `found` holds all values of the column.
        """
        common = found.most_common()
        named = sum(count >= LEAST_SHARE * rows for _, count in common[:MOST_NAMED])
        kept = common if is_whole else common[:named]
        counted = sum(found.values())
        names_rows = counted > ROWS_OF_IDS and len(found) >= NEARLY_ALL * counted
        return cls(pa.array([value for value, _ in kept], type_), named, is_whole, names_rows)

    @property
    def names(self) -> list[str]:
        """The names of the bins: the common categories as text, `(rare)`, `(new)` and `missing`."""
        rest = ["(rare)", "(new)"] if self.is_whole else ["(rare or new)", "(new)"]
        return [str(value) for value in self.known[: self.named].to_pylist()] + [*rest, "missing"]

    def count(self, values: pa.Array) -> Array:
        """(bins,) int64: how many of these values are in each bin."""
        new = self.named + (1 if self.is_whole else 0)
        places = pc.index_in(values.drop_null(), value_set=self.known).to_numpy(zero_copy_only=False)
        places = np.where(np.isnan(places), new, np.minimum(places, self.named)).astype(np.int64)
        return np.append(np.bincount(places, minlength=self.named + 2), values.null_count)


def as_floats(values: pa.Array) -> Array:
    """Values without nulls as an (n,) float64 array; timestamps are days since 1970."""
    if pa.types.is_timestamp(values.type):
        return np.asarray(values.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(zero_copy_only=False)) / 86_400e6
    return np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False))


class Tally:
    """The number of rows in each bin of each column, counted batch by batch."""

    def __init__(self, bins: Mapping[str, Bins]) -> None:
        self.bins = bins
        self.counts = {name: np.zeros(len(own.names), dtype=np.int64) for name, own in bins.items()}

    def add(self, batch: pa.RecordBatch) -> None:
        """Count the rows of a batch; columns without bins are ignored."""
        for name, own in self.bins.items():
            self.counts[name] += own.count(batch[name])


def tally(batches: Callable[[], Iterable[pa.RecordBatch]], columns: Sequence[Column], rows: int) -> Tally:
    """Make bins from the rows of a reference, and count these rows.

    Parameters
    ----------
    batches
        Returns the batches of the reference, from the first one; it is called twice.
    columns
        The columns to count. Numbers and dates are cut at their deciles, categories and booleans are counted by value.
    rows
        The number of rows.
    """
    bins = _learn(batches(), columns, rows)
    counted = Tally(bins)
    for batch in batches():
        counted.add(batch)
    return counted


def _learn(batches: Iterable[pa.RecordBatch], columns: Sequence[Column], rows: int) -> dict[str, Bins]:
    learners = {column.name: _OfCategories() if _is_category(column) else _OfNumbers(column) for column in columns}
    wanted = min(MOST_SAMPLED, SAMPLED_CELLS // max(len(columns), 1))
    generator = np.random.default_rng(0)
    for batch in batches:
        # of a table with more than `wanted` rows, each row is taken with the same probability; of a smaller one, all
        sampled = pa.array(generator.random(len(batch)) < wanted / max(rows, 1))
        for name, learner in learners.items():
            learner.add(batch[name], sampled)
    return {name: learner.bins(rows) for name, learner in learners.items()}


def _is_category(column: Column) -> bool:
    return column.kind == "category" or column.dtype == "boolean"


class _OfNumbers:
    def __init__(self, column: Column) -> None:
        self.sample: list[Array] = []
        self.ends: tuple[float, float] | None = None
        self.are_dates = False
        self.counts = ColumnCounts(column.name, column.dtype)

    def add(self, values: pa.Array, sampled: pa.Array) -> None:
        self.are_dates = pa.types.is_timestamp(values.type)
        self.counts.add(values)
        self.sample.append(as_floats(values.filter(sampled).drop_null()))
        present = as_floats(values.drop_null())
        if len(present):
            low, high = self.ends or (np.inf, -np.inf)
            self.ends = min(low, float(present.min())), max(high, float(present.max()))

    def bins(self, rows: int) -> Bins:
        sample = np.concatenate(self.sample or [np.zeros(0)])
        names_rows = not self.are_dates and (numbers_on(self.counts) or self._numbers_rows(sample))
        return Numbers.of(sample, self.ends, are_dates=self.are_dates, names_rows=names_rows)

    def _numbers_rows(self, sample: Array) -> bool:
        """Whether the numbers are those of rows, by the rule of etl's hint."""
        times = np.unique(sample, return_counts=True)[1].astype(float)
        pairs = max(len(sample) * (len(sample) - 1.0), 1.0)
        equal = (times * (times - 1)).sum() / pairs * (self.counts.present - 1)
        return numbers_rows(self.counts, is_whole=bool(np.all(sample % 1 == 0)), equal=equal)


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
    """The drift of a column.

    Attributes
    ----------
    column
        The name of the column.
    psi
        The population stability index.
    confidence
        The confidence of its limit `by_chance`.
    bins
        The names of the bins.
    before, now
        The (bins,) number of rows in each bin.
    names_rows
        Whether the column is like an id, which has another value in nearly every row and so always moves.
    """

    column: str
    psi: float
    confidence: float
    bins: tuple[str, ...]
    before: Array
    now: Array
    names_rows: bool = False

    @cached_property
    def by_chance(self) -> float:
        """The index that drift by chance does not exceed: see the function `by_chance`."""
        return by_chance(self.before, self.now, self.confidence)

    @property
    def verdict(self) -> str:
        """`none`, `some`, `much`, or `as by chance` if the index is no more than what so few rows give by chance."""
        if not self.psi >= SOME:
            return "none"
        if self.psi <= self.by_chance:
            return "as by chance"
        return "much" if self.psi >= MUCH else "some"

    def said(self, limit: float = MUCH) -> str:
        """The index, its limit, and where most rows went; of a column like an id, that such a column always moves."""
        why = "another value in nearly every row, as an id has, which always moves" if self.names_rows else self.moved()
        return f"PSI {self.psi:.3f}, the limit is {limit:g}; {why}"

    def moved(self) -> str:
        """The bin whose share of the rows changed most, with its shares: `'(new)' 0.0% -> 12.5%`."""
        before, now = self.before / max(self.before.sum(), 1), self.now / max(self.now.sum(), 1)
        place = int(np.abs(now - before).argmax())
        return f"{self.bins[place]!r} {before[place]:.1%} -> {now[place]:.1%}"


def shifts(before: Tally, now: Tally, columns: int) -> list[Shift]:
    """The drift of each column, the greatest first.

    Each column has a chance of its own to be above a limit by luck, so that each of many is asked for a higher
    confidence (C. E. Bonferroni, "Teoria statistica delle classi e calcolo delle probabilità", 1936).

    Parameters
    ----------
    before, now
        The counts; `now` must be counted into the bins of `before`.
    columns
        The number of all columns, inputs and scores, that are compared for one report.
    """
    confidence = 1 - CHANCE / max(columns, 1)
    found = [
        Shift(
            name,
            population_stability_index(before.counts[name], now.counts[name]),
            confidence,
            tuple(own.names),
            before.counts[name],
            now.counts[name],
            own.names_rows,
        )
        for name, own in before.bins.items()
    ]
    return sorted(found, key=lambda shift: -shift.psi)


def much(found: Iterable[Shift]) -> list[Shift]:
    """Those that have moved much, in their order, but what is like an id last."""
    return sorted((one for one in found if one.verdict == "much"), key=lambda one: one.names_rows)


def rows_of(found: Iterable[Shift], what: str) -> Iterator[dict[str, Any]]:
    """Shifts as rows of a table; `what` says whether the columns are inputs or scores."""
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
    """The number of rows in each bin of each column, as a table: a dict of columns. Empty bins are left out."""
    cells = [
        (one.column, name, int(before), int(now))
        for one in found
        for name, before, now in zip(one.bins, one.before, one.now, strict=True)
        if before or now
    ]
    names = ("column", "bin", "rows_before", "rows_now")
    return {name: [cell[place] for cell in cells] for place, name in enumerate(names)}
