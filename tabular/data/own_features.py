"""Columns of the user's own: their kinds, and whether each row's depend on that row alone."""

from collections.abc import Callable, Collection, Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from tabular.data.datasets import Column
from tabular.errors import UserError

# How many rows of the first block are asked about one by one, and of each later one: a call takes milliseconds.
ALONE, ALONE_LATER = 50, 5


def found(make: Callable[[Any], Any], blocks: Iterable[Any], where: str, taken: Collection[str]) -> tuple[Column, ...]:
    """The columns that a function makes, after a check that it makes them of each row by itself.

    Parameters
    ----------
    make
        The function of a frame of raw rows that returns a frame of the same index; it may change the frame that it is
        given, and return that.
    blocks
        Frames of the training rows as the function gets them, each numbered from 0.
    where
        What the error messages begin with.
    taken
        Names that no new column may have: those of the table's columns that are no features.

    Returns
    -------
    tuple of Column
        In the order of the function's answer. Numbers, truths, dates and spans of time are numbers, texts categories.

    Raises
    ------
    UserError
        Where it makes no column, changes one of the table's, makes one of numbers and texts, or looks at other rows.
    """
    kinds: dict[str, set[str]] = {}
    before = 0
    for rows in blocks:
        made = make(rows.copy())
        _check_names(made, rows, where, taken)
        new = [name for name in made.columns if name not in rows.columns]
        if before and set(new) != kinds.keys():
            odd = min(map(str, set(new) ^ kinds.keys()))
            raise UserError(f"{where}: it makes the column {odd!r} of some rows and not of others")
        for name in new:
            kinds.setdefault(name, set()).update(_kinds(made[name]))
        _check_each_row(make, rows, made[new], where, before)
        before += len(rows)
    for name, several in kinds.items():
        if len(several) > 1:
            raise UserError(f"{where}: its column {name!r} holds numbers and texts: make it of one kind")
    return tuple(
        Column(name, "string", "category") if several == {"text"} else Column(name, "double", "number")
        for name, several in kinds.items()
    )


def _check_names(made: Any, rows: Any, where: str, taken: Collection[str]) -> None:
    """Raise UserError for an answer without new columns, or with one of a name that is taken."""
    for name in made.columns:
        if not isinstance(name, str):
            raise UserError(f"{where}: it makes a column called {name!r}, which is no text: give it a name")
        if name in taken:
            raise UserError(f"{where}: it makes a column {name!r}, which the table has: call it otherwise")
        if name in rows.columns and _differ(made[name], rows[name]).any():
            raise UserError(f"{where}: it changes the column {name!r} of the table: make a new one of another name")
    if set(made.columns) <= set(rows.columns):
        raise UserError(f"{where}: it makes no new column")


def _kinds(values: Any) -> set[str]:
    """Whether a column holds texts, numbers, or both; nothing where all values are missing."""
    if values.dtype.kind in "biufmM":
        return {"number"} if values.notna().any() else set()
    return {"text" if isinstance(value, str) else "number" for value in values[values.notna()]}


def _check_each_row(make: Callable[[Any], Any], rows: Any, made: Any, where: str, before: int) -> None:
    """Raise UserError where rows get other values when they are asked about alone, in parts or in another order."""
    some = np.unique(np.linspace(0, len(rows) - 1, min(ALONE_LATER if before else ALONE, len(rows))).astype(int))
    shuffled = np.random.default_rng(0).permutation(len(rows))
    parts = [range(start, end) for start, end in pairwise(np.linspace(0, len(rows), 3).astype(int)) if end > start]
    for places in [*([place] for place in some), shuffled, *parts]:
        again = make(rows.iloc[places].reset_index(drop=True))
        for name in made.columns:
            if name not in again.columns:
                raise UserError(f"{where}: it makes the column {name!r} of some rows and not of others")
            differ = _differ(again[name], made[name].iloc[places])
            if differ.any():
                at = int(np.flatnonzero(differ)[0])
                row = int(np.asarray(places)[at])
                raise UserError(
                    f"{where}: its column {name!r} looks at other rows: of training row {before + row} it is "
                    f"{made[name].iloc[row]!r} among {len(rows):,} rows and {again[name].iloc[at]!r} among "
                    f"{len(again):,} of them; a model is asked about one row at a time, so make it of that row alone"
                )


def _differ(one: Any, other: Any) -> Any:
    """(n,) whether two columns differ, row by row; missing is equal to missing."""
    a, b = one.reset_index(drop=True), other.reset_index(drop=True)
    if a.dtype.kind in "biuf" and b.dtype.kind in "biuf":
        # vectors and single numbers may be rounded differently in the last bit
        return ~np.isclose(a.to_numpy(dtype=float), b.to_numpy(dtype=float), rtol=1e-9, atol=0, equal_nan=True)
    first, second = a.astype(object), b.astype(object)
    return ~((first.isna() & second.isna()) | (first == second)).to_numpy(dtype=bool)
