"""Folds for cross-validation, cut by the same rule as the holdout."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np

from tabular.data.targets import strata
from tabular.errors import UserError, first_line

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Fold:
    """A fold: positions of the rows to fit on, and of the rows to score."""

    fit: Array
    score: Array


def cut(y: Array, key: Array | None, *, by: Literal["random", "time", "group"], folds: int, seed: int) -> list[Fold]:
    """Cut training rows into folds by the rule that cut the holdout.

    Parameters
    ----------
    y
        (n,) the class codes of the rows, or their numbers to predict, as floats.
    key
        (n,) the time or the group of each row; None for a random split.
    by
        `random`: stratified by class, or by tenths of the numbers; `group`: no group on both sides, stratified as far
        as groups allow; `time`: the later half is cut into stretches, each scored by a model of all rows before it (a
        growing window).
    folds
        Number of folds.
    seed
        Seed of the shuffle; a split by time has none.

    Raises
    ------
    UserError
        Where there are too few groups or points in time, or where a fold would have rows of one class only, or of one
        number.
    """
    are_numbers = np.issubdtype(y.dtype, np.floating)
    if by == "time":
        made = _by_time(np.asarray(key), folds)
    else:
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

        if by == "group" and (groups := len(np.unique(np.asarray(key)))) < folds:
            raise UserError(f"search.folds: {groups} groups cannot be cut into {folds} folds")
        kind = StratifiedKFold if by == "random" else StratifiedGroupKFold
        splitter = kind(n_splits=folds, shuffle=True, random_state=seed)
        try:
            made = [Fold(fit, score) for fit, score in splitter.split(np.zeros(len(y)), _strata(y, folds), key)]
        except ValueError as error:  # no class has a row for each fold
            raise UserError(f"search.folds: {len(y)} rows cannot be cut by {by}: {first_line(error)}") from None
    for number, fold in enumerate(made, start=1):
        for what, rows in (("fitted", fold.fit), ("scored", fold.score)):
            if len(np.unique(y[rows])) < 2:
                raise UserError(
                    f"search.folds: fold {number} of {folds}, cut by {by}, would be {what} on {len(rows)} rows of one "
                    f"{'number' if are_numbers else 'class'}: lower search.folds or change split.by"
                )
    return made


def some(rows: Array, most: int, seed: int) -> Array:
    """At most so many of some positions, drawn at random, ascending; all, as they are, where they are no more."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _strata(y: Array, folds: int) -> Array:
    """(n,) codes by which folds are stratified: the classes, or tenths of numbers as far as there are rows."""
    return strata(y, folds)[0] if np.issubdtype(y.dtype, np.floating) else y


def _by_time(times: Array, folds: int) -> list[Fold]:
    """Folds by time. Rows of one point in time are never separated: each edge moves back to where its point begins.

    The first model is fitted on half of the rows. With equal stretches it would be fitted on a sixth of them (for five
    folds), and would say little about the final model, which learns from six times as many.
    """
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    wanted = np.linspace(len(times) / 2, len(times), folds + 1).round().astype(int)[:-1]
    edges = [int(np.searchsorted(ordered, ordered[edge])) for edge in wanted] + [len(times)]
    if edges[0] == 0 or len(set(edges)) < len(edges):
        raise UserError(f"search.folds: {len(np.unique(times))} points in time cannot be cut into {folds} folds")
    return [Fold(order[:start], order[start:end]) for start, end in pairwise(edges)]
