"""Splits: by which key rows are split, and which rows are held out."""

from fractions import Fraction
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabular.errors import UserError, first_line
from tabular.problem import DateParts, Split

Array: TypeAlias = np.ndarray[Any, Any]


def columns(split: Split) -> list[str]:
    """The columns by which a problem splits its rows; none of a random split."""
    if split.column is None:
        return []
    return [split.column] if isinstance(split.column, str) else list(split.column.model_dump().values())


def keys(batch: pa.RecordBatch, split: Split, file: str) -> Array:
    """(n,) the split key of each row: its time, as datetime64[D] or as in the column, or its group."""
    if isinstance(split.column, DateParts):
        return _dates(batch, split.column, file)
    values = batch[split.column]
    if values.null_count:
        raise UserError(f"split.column: {values.null_count} rows of {file} have no {split.column!r}")
    if split.by == "time" and pa.types.is_string(values.type):
        example = values[0].as_py()
        raise UserError(
            f"split.column: {split.column!r} of {file} is neither a date nor a number, but text: {example!r}"
        )
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _dates(batch: pa.RecordBatch, parts: DateParts, file: str) -> Array:
    import pandas as pd

    month = batch[parts.month]
    if pa.types.is_string(month.type):
        names = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october"]
        names += ["november", "december"]
        short = pc.utf8_slice_codeunits(pc.utf8_lower(month), 0, 3)
        month = pc.add(pc.index_in(short, value_set=pa.array([name[:3] for name in names])), 1)
    frame = pd.DataFrame({"year": batch[parts.year].to_numpy(zero_copy_only=False)})
    frame["month"] = month.to_numpy(zero_copy_only=False)
    frame["day"] = batch[parts.day].to_numpy(zero_copy_only=False)
    dates = pd.to_datetime(frame, errors="coerce")
    if dates.isna().any():
        row = frame[dates.isna()].iloc[0].to_dict()
        raise UserError(f"split.column: rows of {file} have no date: {row}")
    return np.asarray(dates.to_numpy(), dtype="datetime64[D]")


def holdout(codes: Array, keys: Array | None, split: Split, seed: int) -> Array:
    """The mask of the rows that are held out.

    A split by time holds out the latest rows, and never separates rows of the same point in time. A split by group
    holds out whole groups. Splits by group and at random are stratified by class.

    Parameters
    ----------
    codes
        (n,) positions of the rows' classes, or of the parts of their numbers.
    keys
        (n,) the time or the group of each row; None for a random split.
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


def _latest(times: Array, share: float) -> Array:
    points, counts = np.unique(times, return_counts=True)
    later = np.cumsum(counts[::-1])[::-1] / len(times)  # the share of rows at or after each point
    cut = points[np.argmin(np.abs(later - share))]
    return np.asarray(times >= cut)
