"""What a sample of the training rows shows of a column beside the target: a leak, a group, an id, the order of time.

The holdout is never looked at. Of the training rows only a sample is held, whatever their number, and each of its
columns is sorted once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

Array: TypeAlias = np.ndarray[Any, Any]

# The rows of the sample, and its cells in all columns: of a wide table fewer rows, but not fewer than the last number.
MOST_ROWS, MOST_CELLS, FEWEST_ROWS = 20_000, 8_000_000, 1_000
# Of more training rows than these about so many are drawn first, since to mix rows takes tens of bytes of each.
MOST_TO_MIX = 1_000_000
# Of each class so many rows come first, so that of a rare one there are enough to tell.
OF_EACH_CLASS = 200
FOLDS = 5
# From this score on a column tells the target too well to be known before it. Columns that are honestly measured rarely
# come near: of the data sets that people learn on, the best single columns have a ROC AUC of 0.98 (a tumour's largest
# perimeter) and a balanced accuracy of 0.97 (the width of an iris's petals).
LEAK = 0.99
# The rows that a score needs. Ten rows of a class among fifty are told apart by a column of noise, up to the mark
# above, once in 400 million columns.
ROWS_TO_SCORE, ROWS_OF_CLASS = 50, 10
# A number is scored where its variance is made up by so many rows, like those of a class: a few numbers far from all
# others are hit by chance. An exact line needs fewer: of so many rows by so many, noise has such a correlation once in
# 300,000 columns at most, and of a normal number once in 10^30.
ROWS_OF_LINE, ROWS_OF_LINE_THAT_VARY, EXACT = 20, 5, 0.9998
# A number is cut into parts of so many rows each, and at most into so many; with fewer values each is also a part.
ROWS_OF_BIN, MOST_BINS = 10, 128
# The most numbers that are held at once to score a column: categories, folds and classes multiplied.
MOST_COUNTS = 4_000_000
# A column names groups where it has so many values that are in several rows; these hold at least half of the rows, and
# of each class so many rows, of which so large a share lies with no other class.
FEWEST_GROUPS, ROWS_IN_GROUPS, OF_ONE_CLASS = 50, 20, 0.98
# Rows are in the order of time where so large a share of all steps from row to row goes one way, and there are so many.
IN_ORDER, FEWEST_STEPS = 0.99, 20
# A target drifts where the shares of its classes differ between tenths of the time by so much (Cramér's V, 0.1: a small
# effect by Cohen's marks) and by chance so rarely.
PARTS_OF_TIME, DRIFT, BY_CHANCE = 10, 0.1, 1e-6
# Rows are rarely gathered over more years than these: such a column holds dates of birth.
MOST_YEARS = 30
DAY = 86_400.0
# Names of columns whose numbers are points in time, or years.
TIMES = r"(?i:time|date|stamp|(^|_)(ts|at|on)$)|[a-z](At|On)$"
YEARS = r"(?i)(^|[^a-z])(year|yr|jahr|an[nñ][eéo]e?|jaar)"
FORMATS = ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%Y{0}%m{0}%d", "%d{0}%m{0}%y", "%m{0}%d{0}%y")


class Described(Protocol):
    """A column of a data set's schema, as far as it matters here."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def dtype(self) -> str:
        """Its type: double, string, boolean or datetime."""

    @property
    def kind(self) -> str:
        """How a model uses it: number or category."""


@dataclass(frozen=True)
class Drift:
    """The class whose share changes most between the earliest and the latest tenth of the rows, and both shares."""

    code: int
    earliest: float
    latest: float


@dataclass(frozen=True)
class Evidence:
    """What the sample shows of a column.

    Attributes
    ----------
    rows : int
        The rows of the sample.
    score : float, optional
        How well the column alone tells the target of rows that it was not learnt from: the ROC AUC of two classes, the
        balanced accuracy of more, the R² of a number or of its tenths. None where there are too few rows to say.
    is_whole : bool
        Whether it holds whole numbers.
    equal : float
        How many other rows of the table have a row's value, on average, as far as the sample tells.
    groups : int
        How many of its values are in several rows, all of them of one class; 0 where this is no rule.
    is_ordered : bool
        Whether it is a time, and the rows are in its order.
    drift : Drift, optional
        How the target changes with it, where it is a time and the target does.

    """

    rows: int = 0
    score: float | None = None
    is_whole: bool = False
    equal: float = 0.0
    groups: int = 0
    is_ordered: bool = False
    drift: Drift | None = None

    @property
    def is_leak(self) -> bool:
        """Whether the column tells the target too well."""
        return self.score is not None and self.score >= LEAK


NONE = Evidence()


def sampled(codes: Array, train: Array, columns: int) -> Array:
    """(n,) bool, the rows of the sample, drawn from the training rows.

    Parameters
    ----------
    codes
        (n,) positions of the rows' classes.
    train
        (n,) bool, the training rows.
    columns
        The number of columns.

    """
    rows = np.flatnonzero(_thinned(codes, train) if np.count_nonzero(train) > MOST_TO_MIX else train)
    most = min(MOST_ROWS, max(FEWEST_ROWS, MOST_CELLS // max(columns, 1)))
    if len(rows) > most:
        rows = np.random.default_rng(0).permutation(rows)
        by_class = np.argsort(codes[rows], kind="stable")
        ordered = codes[rows][by_class]
        of_class = np.empty(len(rows), dtype=np.int64)  # a row's place among those of its class
        of_class[by_class] = np.arange(len(rows)) - np.searchsorted(ordered, ordered)
        rows = rows[np.argsort(of_class >= OF_EACH_CLASS, kind="stable")][:most]
    mask = np.zeros(len(codes), dtype=bool)
    mask[rows] = True
    return mask


def _thinned(codes: Array, train: Array) -> Array:
    """(n,) bool, about `MOST_TO_MIX` of the training rows at random, and of rare classes enough for a sample."""
    rows = np.zeros(int(codes.max()) + 1, dtype=np.int64)
    stretches = [slice(start, start + MOST_TO_MIX) for start in range(0, len(codes), MOST_TO_MIX)]
    for stretch in stretches:
        rows += np.bincount(codes[stretch][train[stretch]], minlength=len(rows))
    share = np.maximum(MOST_TO_MIX / rows.sum(), 2 * OF_EACH_CLASS / np.maximum(rows, 1))
    draw, found = np.random.default_rng(0), np.zeros(len(codes), dtype=bool)
    for stretch in stretches:
        found[stretch] = train[stretch] & (draw.random(len(codes[stretch])) < share[codes[stretch]])
    return found


def look(
    columns: Sequence[Described], rows: pa.Table, codes: Array, table_rows: int, numbers: Array | None = None
) -> dict[str, Evidence]:
    """Look at each column of the sample.

    Parameters
    ----------
    columns
        The columns of the schema.
    rows
        The sample, in the order of the table.
    codes
        (n,) positions of the classes of its rows; of a number to predict, of its parts in their order.
    table_rows
        The rows of the data set that the sample stands for.
    numbers
        (n,) the numbers to predict; None of classes.

    Returns
    -------
    dict
        Column: what the sample shows of it.

    """
    present, y = np.unique(codes, return_inverse=True)
    draw = np.random.default_rng(0)
    counts = np.bincount(y) if len(y) else np.zeros(1)
    is_enough = len(present) > 1 and len(y) >= ROWS_TO_SCORE and counts.min() >= ROWS_OF_CLASS
    target = _Target(y, len(present), present, draw.integers(0, FOLDS, len(y)), draw.permutation(len(y)))
    if numbers is not None and len(y):
        target = replace(target, scales=(_centred(numbers), _centred(y)), is_series=_is_series(numbers))
    return {
        column.name: _look(column, rows[column.name].combine_chunks(), target, table_rows, is_enough=is_enough)
        for column in columns
    }


@dataclass(frozen=True)
class _Target:
    """(n,) classes of the sample's rows, their number and names, the fold of each row, and the rows in any order.

    Of a number to predict `scales` are (n,) the numbers and their parts, about 0, and `is_series` whether it hardly
    changes from row to row.
    """

    y: Array
    classes: int
    present: Array
    folds: Array
    mixed: Array
    scales: tuple[Array, ...] = ()
    is_series: bool = False


def _look(column: Described, array: Any, target: _Target, table_rows: int, *, is_enough: bool) -> Evidence:
    if isinstance(array, pa.ChunkedArray):  # of no rows
        return NONE
    is_text = column.dtype == "string"
    values = None if is_text else _numbers(array)
    codes, counts = _coded_texts(array) if values is None else _coded_numbers(values)
    if not len(counts):
        return NONE
    is_whole = column.dtype == "double" and values is not None and bool(np.all(_present(values) % 1 == 0))
    pairs = float((counts * (counts - 1.0)).sum())
    all_pairs = len(codes) * (len(codes) - 1.0)
    names = is_text or column.kind == "category" or is_whole
    moments = _moments(column, array, values, is_whole=is_whole)
    is_name = is_text or column.kind == "category"
    score: float | None = None
    if target.scales:
        score = _score_of_number(codes, counts, None if is_name else values, target)
    elif is_enough:
        score = _score(codes, counts, target, is_name=is_name)
    return Evidence(
        rows=len(codes),
        score=score,
        is_whole=is_whole,
        equal=pairs / all_pairs * (table_rows - 1) if all_pairs else 0.0,
        groups=_groups(codes, len(counts), target, is_ordered=not is_text and column.kind == "number") if names else 0,
        is_ordered=moments is not None and is_ordered(moments),
        drift=None if moments is None or _is_birth(moments) or _only_order(column) else _drift(moments, target),
    )


def _numbers(array: pa.Array) -> Array:
    """(n,) floats, NaN where a value is missing; a date as seconds since 1970."""
    if pa.types.is_timestamp(array.type):
        return np.asarray(array.cast(pa.int64()).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)) / 1e6
    return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=float)


def _present(values: Array) -> Array:
    return np.asarray(values[~np.isnan(values)])


def _coded_texts(array: pa.Array) -> tuple[Array, Array]:
    """(n,) each row's value as its number, -1 where it is missing; and (values,) the rows of each."""
    found = array.dictionary_encode()
    codes = found.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, np.bincount(codes[codes >= 0], minlength=len(found.dictionary))


def _coded_numbers(values: Array) -> tuple[Array, Array]:
    """As `_coded_texts`; the values are numbered in their order."""
    order = np.argsort(values, kind="stable")  # what is missing comes last
    order = order[: len(values) - int(np.isnan(values).sum())]
    ascending = values[order]
    is_new = np.ones(len(order), dtype=np.int64)
    is_new[1:] = ascending[1:] != ascending[:-1]
    codes = np.full(len(values), -1)
    codes[order] = np.cumsum(is_new) - 1
    return codes, np.bincount(codes[order])


# --- how well a column alone tells the class --------------------------------------------------------------------------


def _score(codes: Array, counts: Array, target: _Target, *, is_name: bool) -> float:
    """The score of a column's values; of an ordered one the best of several ways to learn from it."""
    if is_name:
        return _by_share(codes, _common(counts, MOST_COUNTS // (FOLDS * target.classes) - 2), target)
    scores = [_by_neighbours(codes, target), *(_by_share(codes, bins, target) for bins in _bins(codes, counts))]
    if target.classes == 2:
        scores.append(_by_order(codes, len(counts), target.y))
    return max(scores)


def _bins(codes: Array, counts: Array) -> list[Array]:
    """(values,) the bin of each value of an ordered column, in the ways that are tried."""
    parts, found = min(MOST_BINS, max(2, len(codes) // ROWS_OF_BIN)), []
    if len(counts) <= MOST_BINS:
        found.append(np.arange(len(counts)))
    if len(counts) > parts:
        found.append((np.cumsum(counts) - counts) * parts // counts.sum())
    return found


def _common(counts: Array, most: int) -> Array:
    """(values,) a number for each of the commonest values; 0 for those in one row, which teach nothing of others."""
    order = np.argsort(-counts, kind="stable")[:most]
    order = order[counts[order] > 1]
    bins = np.zeros(len(counts), dtype=np.int64)
    bins[order] = np.arange(len(order)) + 1
    return bins


def _by_share(codes: Array, bin_of_code: Array, target: _Target) -> float:
    """The score of the classes' shares among the rows of the same bin, counted in the other folds."""
    classes, size = target.classes, int(bin_of_code.max()) + 2
    bins = np.where(codes < 0, size - 1, bin_of_code[codes])
    cells = (bins * FOLDS + target.folds) * classes + target.y
    counts = np.bincount(cells, minlength=size * FOLDS * classes).reshape(size, FOLDS, classes)
    prior = counts.sum(axis=(0, 1)) / len(bins)
    others = counts.sum(axis=1, keepdims=True) - counts
    shares = (others + prior) / (others.sum(axis=2, keepdims=True) + 1)
    if classes == 2:
        held = counts.sum(axis=2) > 0
        return _auc_of_shares(shares[held][:, 1], counts[held])
    said = (shares / prior).argmax(axis=2)
    right = np.take_along_axis(counts, said[..., None], axis=2)
    return _balanced(np.bincount(said.ravel(), weights=right.ravel(), minlength=classes), counts.sum(axis=(0, 1)))


def _by_neighbours(codes: Array, target: _Target) -> float:
    """The score of the classes of the rows next to each row in the order of the values; equal ones in any order."""
    mixed = target.mixed[np.argsort(codes[target.mixed], kind="stable")]
    y = target.y[mixed]
    if target.classes == 2:
        near = np.convolve(y, (1, 0, 1), mode="same")
        return _auc(np.bincount(near * 2 + y, minlength=6).reshape(-1, 2))
    right = np.r_[y[1] == y[0], y[1:] == y[:-1]]
    return _balanced(np.bincount(y, weights=right), np.bincount(y))


def _balanced(right: Array, rows: Array) -> float:
    return float(np.mean(right / rows))


def _by_order(codes: Array, size: int, y: Array) -> float:
    """The ROC AUC of an ordered column, in the better direction; what is missing comes first."""
    found = _auc(np.bincount((codes + 1) * 2 + y, minlength=2 * size + 2).reshape(-1, 2))
    return max(found, 1 - found)


def _auc_of_shares(shares: Array, counts: Array) -> float:
    """The ROC AUC of (n,) scores, in any order, with (n, 2) numbers of untrue and true rows that have them."""
    order = np.argsort(shares, kind="stable")
    ascending = shares[order]
    starts = np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1]])
    return _auc(np.add.reduceat(counts[order], starts, axis=0))


def _auc(counts: Array) -> float:
    """The ROC AUC of (n, 2) numbers of untrue and true rows with each of n scores, the lowest first.

    `tabular.metrics.rank_metrics.auc` gives the same, for many resamples at once; here there are many columns instead,
    whose scores are sorted already.
    """
    untrue, true = counts[:, 0].astype(float), counts[:, 1].astype(float)
    below = untrue.cumsum()
    return float(true @ (below - untrue / 2) / (below[-1] * true.sum()))


# --- how well a column alone tells a number ---------------------------------------------------------------------------


def _score_of_number(codes: Array, counts: Array, values: Array | None, target: _Target) -> float | None:
    """The R² of a column, of the number or of its tenths, whichever is higher; None where too few rows tell.

    The tenths tell where a few large numbers make up the variance, and where the column holds a bent copy. Of a series
    only a straight line counts: any column that hardly changes from row to row either, such as its date, has neighbours
    with nearly the same number. `values` are those of an ordered column.
    """
    found: list[float] = []
    for y in target.scales:
        total, rows_that_vary = float((y**2).sum()), _rows_that_vary(y)
        if len(y) >= ROWS_TO_SCORE and rows_that_vary >= ROWS_OF_CLASS:
            found.extend(max(1 - error / total, 0.0) for error in _errors(codes, counts, values, y, target))
        elif values is not None and len(y) >= ROWS_OF_LINE and rows_that_vary >= ROWS_OF_LINE_THAT_VARY:
            error = _off_a_line(values, y)
            found.extend([1 - error / total] if error <= (1 - EXACT) * total else [])
    return max(found, default=None)


def _errors(codes: Array, counts: Array, values: Array | None, y: Array, target: _Target) -> list[float]:
    """The squared errors of several ways to learn numbers about 0 from a column."""
    line = [] if values is None else [_off_a_line(values, y)]
    if target.is_series:
        return line
    if values is None:
        return [_off_bins(codes, _common(counts, MOST_COUNTS // FOLDS - 2), y, target)]
    bins = [_off_bins(codes, bins, y, target) for bins in _bins(codes, counts)]
    return [*line, *bins, _off_neighbours(codes, y, target)]


def _centred(values: Array) -> Array:
    """(n,) numbers about 0, of at most about 1, so that no square of them is infinite."""
    scaled = values / (np.abs(values).max(initial=0) or 1)
    return np.asarray(scaled - scaled.mean())


def _rows_that_vary(y: Array) -> float:
    """How many rows make up the variance of numbers about 0: of two equal classes all, of one far number that one."""
    squares = y**2
    return float(squares.sum() ** 2 / (squares**2).sum()) if squares.any() else 0.0


def _off_a_line(values: Array, y: Array) -> float:
    """The squared error of the straight line through all other rows; of the mean, where a row lacks the value."""
    held, errors = ~np.isnan(values), y.copy()
    x = _centred(values[held])
    spread = (x**2).sum()
    if spread:
        of_held = y[held] - y[held].mean()
        leverage = 1 / len(x) + x**2 / spread
        off = of_held - x * (x @ of_held / spread)
        # a row that alone makes up the spread of x is not told by any other
        errors[held] = np.where(leverage < 1 - 1e-9, off / np.maximum(1 - leverage, 1e-9), y[held])
    return float((errors**2).sum())


def _off_bins(codes: Array, bin_of_code: Array, y: Array, target: _Target) -> float:
    """The squared error of the mean of the rows of the same bin in the other folds; 0 where there are none."""
    size = int(bin_of_code.max()) + 2
    bins = np.where(codes < 0, size - 1, bin_of_code[codes])
    cells = bins * FOLDS + target.folds
    rows = np.bincount(cells, minlength=size * FOLDS).reshape(size, FOLDS)
    sums = np.bincount(cells, weights=y, minlength=size * FOLDS).reshape(size, FOLDS)
    others = rows.sum(axis=1, keepdims=True) - rows
    means = (sums.sum(axis=1, keepdims=True) - sums) / np.maximum(others, 1)
    return float(((y - means.ravel()[cells]) ** 2).sum())


def _off_neighbours(codes: Array, y: Array, target: _Target) -> float:
    """The squared error of the mean of the rows next to each in the order of the values; equal ones in any order."""
    return _off_next(y[target.mixed[np.argsort(codes[target.mixed], kind="stable")]])


def _off_next(y: Array) -> float:
    """The squared error of the mean of the numbers before and after each."""
    near = np.convolve(y, (0.5, 0, 0.5), mode="same")
    near[0], near[-1] = y[1], y[-2]
    return float(((y - near) ** 2).sum())


def _is_series(numbers: Array) -> bool:
    """Whether the rows next to each row have nearly its number, and the rows are not sorted by it."""
    if len(numbers) < ROWS_TO_SCORE or is_ordered(numbers):
        return False
    y = _centred(numbers)
    return _off_next(y) <= (1 - LEAK) * float((y**2).sum())


# --- groups -----------------------------------------------------------------------------------------------------------


def _groups(codes: Array, size: int, target: _Target, *, is_ordered: bool) -> int:
    """How many values are in several rows, where all rows of a value have one class; 0 where this is no rule.

    By chance it would be none: of classes that are as common as each other half of all pairs are mixed, and of a rare
    class nearly all rows lie with those of another.
    """
    held = codes >= 0
    if not held.all():
        return 0
    table = np.bincount(codes * target.classes + target.y, minlength=size * target.classes).reshape(size, -1)
    several = table[table.sum(axis=1) > 1]
    if len(several) < FEWEST_GROUPS or several.sum() * 2 < len(codes):
        return 0
    pure = several[np.count_nonzero(several, axis=1) == 1]
    if is_ordered and len(pure) > 1 and _runs(pure.argmax(axis=1)):
        return 0
    rows, alone = several.sum(axis=0), pure.sum(axis=0)
    judged = rows >= ROWS_IN_GROUPS
    is_rule = judged.sum() > 1 and bool(np.all(alone[judged] >= OF_ONE_CLASS * rows[judged]))
    return len(several) if is_rule and alone.sum() >= OF_ONE_CLASS * rows.sum() else 0


def _runs(classes: Array) -> bool:
    """Whether neighbours in the order of the values have one class far oftener than by chance: no names are so."""
    shares = np.bincount(classes) / len(classes)
    return bool(np.mean(classes[1:] != classes[:-1]) < (1 - (shares**2).sum()) / 2)


# --- time -------------------------------------------------------------------------------------------------------------


def _moments(column: Described, array: pa.Array, values: Array | None, *, is_whole: bool) -> Array | None:
    """(n,) the column as points in time, in seconds; None where it is no time, or is missing in a row."""
    if array.null_count:
        return None
    if values is None:
        return other_dates(array)
    if column.dtype == "datetime":
        return values
    return _moments_of_numbers(column.name, values) if is_whole else None


def _moments_of_numbers(name: str, values: Array) -> Array | None:
    """(n,) whole numbers as points in time, in seconds; None where they are none."""
    low, high = values.min(), values.max()
    month, day = values // 100 % 100, values % 100
    if low >= 19000101 and high <= 21001231 and _all_within(month, 1, 12) and _all_within(day, 1, 31):
        return np.asarray(((values // 10_000 - 1970) * 372 + month * 31 + day) * DAY * 365.25 / 372)
    for unit in (1.0, 1e3, 1e6, 1e9):  # seconds since 1970 and parts of them, from 1990 on
        if low >= 631e6 * unit and high < 4.2e9 * unit and re.search(TIMES, name):
            return np.asarray(values / unit)
    if low >= 1950 and high <= 2100 and re.search(YEARS, name):
        return np.asarray((values - 1970) * DAY * 365.25)
    return None


def _all_within(values: Array, low: float, high: float) -> bool:
    return bool(values.min() >= low and values.max() <= high)


def other_dates(array: pa.Array) -> Array | None:
    """(n,) texts as points in time, in seconds, where all are dates in one of the usual formats that are not ISO's.

    Of several formats that fit, such as day and month or month and day, the one that puts the rows in order is taken.
    """
    import pandas as pd

    first = re.match(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}", array[0].as_py() or "")
    if first is None:
        return None
    found = array.dictionary_encode()
    texts = pd.Series(found.dictionary.to_pylist(), dtype=object).str.extract(r"^(\S+)", expand=False)
    fitting = []
    for form in FORMATS:
        days = pd.to_datetime(texts, format=form.format(first[1]), errors="coerce")
        if not days.isna().any():
            seconds = days.to_numpy().astype("datetime64[s]").astype(float)
            fitting.append(seconds[found.indices.to_numpy(zero_copy_only=False)])
    return next((moments for moments in fitting if is_ordered(moments)), fitting[0] if fitting else None)


def is_ordered(moments: Array) -> bool:
    """Whether rows are in the order of time, forwards or backwards, nearly everywhere."""
    steps = np.diff(moments)
    up, down = int((steps > 0).sum()), int((steps < 0).sum())
    return up + down >= FEWEST_STEPS and max(up, down) >= IN_ORDER * (up + down)


def _only_order(column: Described) -> bool:
    """Whether only the order of rows tells that a column is when they came about: years may also be of building."""
    return column.dtype == "double" and re.search(YEARS, column.name) is not None


def _is_birth(moments: Array) -> bool:
    return bool(np.ptp(moments) > MOST_YEARS * 365.25 * DAY)


def _drift(moments: Array, target: _Target) -> Drift | None:
    """How the shares of the classes differ between tenths of the time; None where they may not."""
    from scipy.stats import chi2

    codes, counts = _coded_numbers(moments)
    parts = ((np.cumsum(counts) - counts) * PARTS_OF_TIME // len(codes))[codes]
    table = np.bincount(parts * target.classes + target.y, minlength=PARTS_OF_TIME * target.classes)
    table = table.reshape(PARTS_OF_TIME, -1)
    table = table[table.sum(axis=1) > 0]
    if len(table) < 2 or target.classes < 2:
        return None
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / len(codes)
    squares = float(((table - expected) ** 2 / expected).sum())
    freedom = (len(table) - 1) * (target.classes - 1)
    strength = np.sqrt(max(squares - freedom, 0.0) / len(codes) / min(len(table) - 1, target.classes - 1))
    if strength < DRIFT or chi2.sf(squares, freedom) > BY_CHANCE:
        return None
    shares = table / table.sum(axis=1, keepdims=True)
    code = int(np.abs(shares[-1] - shares[0]).argmax())
    return Drift(int(target.present[code]), float(shares[0, code]), float(shares[-1, code]))
