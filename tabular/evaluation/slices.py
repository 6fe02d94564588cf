"""How a model does on parts of the rows: a good mean may hide a group that it fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from tabular.errors import UserError, nearest
from tabular.evaluation import bootstrap
from tabular.evaluation.bootstrap import Interval
from tabular.metrics.classification import Predictions, scores, sign

Array: TypeAlias = np.ndarray[Any, Any]
# Below so many rows a metric is chance: such a slice is shown, and not judged.
FEWEST_ROWS = 30
# A number of more different values than these is cut into quarters.
MOST_VALUES = 10
QUARTERS = 4
# Of a column like an id nobody reads a slice for each value.
MOST_OF_A_COLUMN = 100
RESAMPLES = 500
MISSING = "missing"


@dataclass(frozen=True)
class Slice:
    """The rows that have one value, or one range of values, in a column: `rows` are their positions.

    `is_rest` says that it holds all values but the commonest.
    """

    column: str
    value: str
    rows: Array
    is_rest: bool = False

    @property
    def name(self) -> str:
        """Such as `hotel = City Hotel`."""
        return f"{self.column} = {self.value}"

    @property
    def is_judged(self) -> bool:
        """Whether it has rows enough."""
        return len(self.rows) >= FEWEST_ROWS


@dataclass(frozen=True)
class Scored:
    """A slice and what a model's metrics are on it; NaN where one has no value. `interval` is of the first metric."""

    slice: Slice
    metrics: Mapping[str, float]
    interval: Interval


def cut(frame: Any, columns: Sequence[str]) -> list[Slice]:
    """The slices of some columns: a category each, or a quarter each of a number or date of many values.

    Of more than `MOST_OF_A_COLUMN` categories the commonest are a slice each, and the others one together.

    Parameters
    ----------
    frame
        (n, columns) raw rows (pandas).
    columns
        Their names.

    Raises
    ------
    UserError
        Where there is no such column.
    """
    import pandas as pd

    found = []
    for column in columns:
        if column not in frame:
            known = [str(name) for name in frame]
            raise UserError(
                f"evaluation.slices: the data set holds no column {column!r}{nearest(column, known)}; it holds "
                f"{', '.join(known)}"
            )
        named = _named(frame[column].reset_index(drop=True))
        rare = named.value_counts().index[MOST_OF_A_COLUMN - 1 :]
        rest = f"{len(rare):,} rarer values"
        if len(rare) > 1:
            named = named.mask(named.isin(rare), rest)
        rows = pd.Series(named.index).groupby(named, sort=False)
        found += [Slice(column, name, of.to_numpy(), is_rest=name == rest) for name, of in rows]
    return found


def notes(slices: Sequence[Slice]) -> list[str]:
    """What a person has to know of slices: of which columns values were taken together."""
    return [
        f"evaluation.slices: of {one.column!r} the {MOST_OF_A_COLUMN - 1} commonest values are a slice each, the "
        f"{one.value} one"
        for one in slices
        if one.is_rest
    ]


def _named(values: Any) -> Any:
    """A column's values as the names of their slices."""
    import pandas as pd

    if values.dtype.kind in "iufM" and values.nunique() > MOST_VALUES:
        edges = values.quantile(np.linspace(0, 1, QUARTERS + 1), interpolation="lower").unique()
        names = [f"{_text(low)} to {_text(high)}" for low, high in pairwise(edges)]
        named = pd.cut(values, edges, right=False, labels=names, ordered=False).astype(object)
        named = named.fillna(names[-1])  # the largest value, which is the last edge
    else:
        named = values.map(_text, na_action="ignore").astype(object)
    return named.mask(values.isna(), MISSING)


def _text(value: Any) -> str:
    if hasattr(value, "date"):
        return str(value)[:10]
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return str(value)


def score(
    slices: Sequence[Slice], predictions: Predictions, names: Sequence[str], *, seed: int, groups: Array | None = None
) -> list[Scored]:
    """A model's metrics on each slice, and how sure the first of them is; the worst slice first.

    Parameters
    ----------
    slices
        From `cut`.
    predictions
        To all rows.
    names
        Of metrics.
    seed, groups
        Of the bootstrap; the groups are those of all rows.
    """
    found = [
        _score(one, predictions.taken(one.rows), names, seed, None if groups is None else groups[one.rows])
        for one in slices
    ]
    return sorted(found, key=lambda scored: (not scored.slice.is_judged, _badness(names[0], scored.metrics[names[0]])))


def _score(one: Slice, predictions: Predictions, names: Sequence[str], seed: int, groups: Array | None) -> Scored:
    metrics = scores(predictions, names)
    interval = Interval(np.nan, np.nan)
    if one.is_judged:
        about: dict[str, Any] = {"seed": seed, "groups": groups, "resamples": RESAMPLES}
        interval = bootstrap.interval(bootstrap.resampled({"": predictions}, names[:1], **about)[""][names[0]])
    return Scored(one, metrics, interval)


def _badness(name: str, value: float) -> float:
    return np.inf if np.isnan(value) else sign(name) * value


def worst(scored: Sequence[Scored], name: str) -> Scored | None:
    """The slice that does worst by a metric, of those that have rows enough and a value; None where none has."""
    judged = [one for one in scored if one.slice.is_judged and not np.isnan(one.metrics[name])]
    return min(judged, key=lambda one: sign(name) * one.metrics[name], default=None)
