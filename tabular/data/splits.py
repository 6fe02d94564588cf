"""Splits: by which key rows are split, and which rows are held out."""

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabular.data import compact
from tabular.errors import UserError, first_line
from tabular.sections.table import DateParts, Split

Array: TypeAlias = np.ndarray[Any, Any]
# Of more rows than these the random ones to hold out are drawn in so long stretches, by which memory does not grow.
MANY, STRETCH = 1_000_000, 1_000_000


def columns(split: Split) -> list[str]:
    """The columns by which a problem splits its rows; none of a random split."""
    if split.column is None:
        return []
    return [split.column] if isinstance(split.column, str) else list(split.column.model_dump().values())


@dataclass(frozen=True)
class Keys:
    """The split keys of rows, each of which is held once: times, as datetime64[D] or as in the column, or groups.

    Attributes
    ----------
    points
        (k,) the different keys in order.
    codes
        (n,) the position of each row's key among them.

    """

    points: Array
    codes: Array

    def of(self, rows: slice) -> Array:
        """The keys of some rows."""
        return np.asarray(self.points[self.codes[rows]])


@dataclass
class Found:
    """The split keys of the rows seen so far, block by block: its different keys, and which of them each row has."""

    split: Split
    file: str
    held: list[tuple[Array, Array]] = field(default_factory=list)
    dates: dict[Any, Any] = field(default_factory=dict)  # those of (year, month, day), each of which is made once

    def see(self, block: pa.RecordBatch) -> None:
        """Add the rows of a block, whose columns may be dictionaries."""
        if isinstance(self.split.column, DateParts):
            points, codes = self._of_parts(block, self.split.column)
        else:
            points, codes = _values(block, self.split, self.file)
        self.held.append((points, codes.astype(compact.kind(len(points)))))

    def _of_parts(self, block: pa.RecordBatch, parts: DateParts) -> tuple[Array, Array]:
        """The different dates of a block whose parts are in three columns, and (n,) the position of each row's."""
        import pandas as pd

        coded = [_coded(block[name]) for name in (parts.year, parts.month, parts.day)]
        of_rows = np.zeros(len(block), dtype=np.int64)  # a number for each combination of the three
        for values in coded:
            of_rows = of_rows * len(values.dictionary) + values.indices.to_numpy()
        codes, combined = pd.factorize(of_rows)
        found: list[list[Any]] = []
        for values in reversed(coded):
            combined, places = np.divmod(combined, len(values.dictionary))
            found.insert(0, values.dictionary.take(pa.array(places)).to_pylist())
        dates = list(zip(*found, strict=True))
        new = [date for date in dict.fromkeys(dates) if date not in self.dates]
        if new:
            self.dates.update(zip(new, _dates(new, self.file), strict=True))
        return np.array([self.dates[date] for date in dates], dtype="datetime64[D]"), codes

    def whole(self) -> Keys:
        """The keys of all rows."""
        points = np.unique(np.concatenate([points for points, _ in self.held]))
        kind = compact.kind(len(points))
        codes = [np.searchsorted(points, found).astype(kind)[codes] for found, codes in self.held]
        return Keys(points, np.concatenate(codes))


def _values(block: pa.RecordBatch, split: Split, file: str) -> tuple[Array, Array]:
    """The different times or groups of a block in one column, and (n,) the position of each row's."""
    values = block[split.column]
    coded = _coded(values)
    points, codes = coded.dictionary, coded.indices.to_numpy()
    if points.null_count:
        lost = int(np.isin(codes, np.flatnonzero(points.is_null().to_numpy(zero_copy_only=False))).sum())
        raise UserError(f"split.column: {lost} rows of {file} have no {split.column!r}")
    if split.by == "time" and pa.types.is_string(points.type):
        raise UserError(
            f"split.column: {split.column!r} of {file} is neither a date nor a number, but text: {points[0].as_py()!r}"
        )
    return np.asarray(points.to_numpy(zero_copy_only=False)), codes


def _dates(parts: list[tuple[Any, ...]], file: str) -> Array:
    """(n,) dates of years, months (numbers, or English names) and days."""
    import pandas as pd

    years, months, days = zip(*parts, strict=True)
    frame = pd.DataFrame({"year": years, "month": _months(pa.array(months)).to_pandas(), "day": days})
    dates = pd.to_datetime(frame, errors="coerce")
    if dates.isna().any():
        row = frame[dates.isna()].iloc[0].to_dict()
        raise UserError(f"split.column: rows of {file} have no date: {row}")
    return np.asarray(dates.to_numpy(), dtype="datetime64[D]")


def _coded(values: pa.Array) -> pa.DictionaryArray:
    return values if pa.types.is_dictionary(values.type) else values.dictionary_encode(null_encoding="encode")


def _months(values: pa.Array) -> pa.Array:
    """Months as numbers, which may be written as English names."""
    if not pa.types.is_string(values.type):
        return values
    names = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october"]
    names += ["november", "december"]
    short = pc.utf8_slice_codeunits(pc.utf8_lower(values), 0, 3)
    return pc.add(pc.index_in(short, value_set=pa.array([name[:3] for name in names])), 1)


def holdout(codes: Array, keys: Array | None, split: Split, seed: int) -> Array:
    """The mask of the rows that are held out.

    A split by time holds out the latest rows, and never separates rows of the same point in time. A split by group
    holds out whole groups. Splits by group and at random are stratified by class.

    Parameters
    ----------
    codes
        (n,) positions of the rows' classes, or of the parts of their numbers.
    keys
        (n,) the position of each row's time or group among all; None for a random split.
    split
        The kind of split, and the share of the rows to hold out.
    seed
        Seed of a random split or a split by group.

    Returns
    -------
    ndarray
        (n,) bool.

    Raises
    ------
    UserError
        Where there are too few rows or groups for the split.

    """
    if split.by == "random" and len(codes) > MANY:
        return _some_of_many(codes, split.holdout, seed)
    if split.by == "time":
        return _latest(np.asarray(keys), split.holdout)
    try:
        if split.by == "group":
            held_out = _some_groups(codes, np.asarray(keys), split.holdout, seed)
        else:
            held_out = _some_rows(codes, split.holdout, seed)
    except ValueError as error:
        raise UserError(
            f"split.holdout: {split.holdout:g} of {len(codes)} rows cannot be held out by a {split.by} split: "
            f"{first_line(error)}"
        ) from None
    found = np.zeros(len(codes), dtype=bool)
    found[held_out] = True
    return found


def _some_rows(codes: Array, share: float, seed: int) -> Array:
    from sklearn.model_selection import StratifiedShuffleSplit

    splitter = StratifiedShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    _, held_out = next(splitter.split(np.zeros(len(codes)), codes))
    return np.asarray(held_out)


def _some_of_many(codes: Array, share: float, seed: int) -> Array:
    """(n,) bool: of each class a share of its rows, each of which is as probable to be drawn as any other.

    scikit-learn holds tens of bytes a row for this. Here rows are drawn stretch by stretch: how many of a class are
    drawn from a stretch is itself drawn, from what is left of the class and what is left to draw of it.
    """
    draw, left = np.random.default_rng(seed), compact.counts(codes, int(codes.max()) + 1)
    exact = left * (np.ceil(len(codes) * share) / len(codes))
    need = np.floor(exact).astype(np.int64)
    short = round(float(exact.sum())) - int(need.sum())
    need[np.argsort(need - exact, kind="stable")[:short]] += 1
    found = np.zeros(len(codes), dtype=bool)
    for start in range(0, len(codes), STRETCH):
        stretch = codes[start : start + STRETCH]
        for code in range(len(left)):
            rows = np.flatnonzero(stretch == code)
            drawn = draw.hypergeometric(need[code], left[code] - need[code], len(rows)) if len(rows) else 0
            found[start + draw.choice(rows, drawn, replace=False)] = True
            left[code] -= len(rows)
            need[code] -= drawn
    return found


def _some_groups(codes: Array, groups: Array, share: float, seed: int) -> Array:
    """Positions of whole groups with about a share of the rows: some folds of a `StratifiedGroupKFold`."""
    from sklearn.model_selection import StratifiedGroupKFold

    part = Fraction(share).limit_denominator(max(10, round(1 / min(share, 1 - share))))  # 0.2 is one of 5 folds
    found = len(np.unique(groups))
    if found < part.denominator:
        raise ValueError(f"there are {found} groups, and {part.denominator} are needed")
    splitter = StratifiedGroupKFold(n_splits=part.denominator, shuffle=True, random_state=seed)
    folds = islice(splitter.split(np.zeros(len(codes)), codes, groups), part.numerator)
    return np.concatenate([held_out for _, held_out in folds])


def _latest(codes: Array, share: float) -> Array:
    """(n,) bool: the rows of the latest points in time, given by their positions in the order of time."""
    counts = compact.counts(codes, int(codes.max()) + 1)
    later = np.cumsum(counts[::-1])[::-1] / len(codes)  # the share of rows at or after each point
    return np.asarray(codes >= np.argmin(np.abs(later - share)))
