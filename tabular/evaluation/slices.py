"""Metrics of a model on slices of the rows: a good mean may hide a group of rows on which the model is bad."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from tabular.errors import UserError, nearest
from tabular.evaluation import bootstrap
from tabular.evaluation.bootstrap import Interval
from tabular.metrics.lookup import scores, sign
from tabular.metrics.metric import Predictions

Array: TypeAlias = np.ndarray[Any, Any]
# On fewer rows than this a metric is mostly chance: such a slice is shown, but not judged.
FEWEST_ROWS = 30
# A column of numbers or dates with more different values than this is cut into quarters.
MOST_VALUES = 10
QUARTERS = 4
# The most slices of a column: nobody reads a slice for each value of a column such as an id.
MOST_OF_A_COLUMN = 100
RESAMPLES = 500
# How many rows of a slice of a large table its interval is of.
ROWS_OF_LARGE = 20_000
MISSING = "missing"


@dataclass(frozen=True)
class Slice:
    """A slice: the rows that have one value, or one range of values, in a column.

    Attributes
    ----------
    column
        The name of the column.
    value
        The value or range as text.
    rows
        The (m,) positions of the rows.
    is_rest
        Whether the slice holds all the rarer values of a column with many.
    """

    column: str
    value: str
    rows: Array
    is_rest: bool = False

    @property
    def name(self) -> str:
        """The slice's name, such as `hotel = City Hotel`."""
        return f"{self.column} = {self.value}"

    @property
    def is_judged(self) -> bool:
        """Whether the slice has enough rows to be judged."""
        return len(self.rows) >= FEWEST_ROWS


@dataclass(frozen=True)
class Scored:
    """A slice, a model's metrics on it (NaN if one has no value), and the confidence interval of the first metric."""

    slice: Slice
    metrics: Mapping[str, float]
    interval: Interval


def cut(frame: Any, columns: Sequence[str], weights: Array | None = None) -> list[Slice]:
    """Cut rows into slices by the values of some columns.

    Each value of a column is a slice. Numbers and dates with more than `MOST_VALUES` values are cut into quarters.
    Missing values are a slice of their own. If a column has more than `MOST_OF_A_COLUMN` slices, the rarer ones are one
    slice together.

    Parameters
    ----------
    frame
        (n, columns) pandas DataFrame of raw rows.
    columns
        The names of the columns to cut by.
    weights
        (n,) the weight of each row: a row of weight 0 is in no slice.

    Raises
    ------
    UserError
        The frame has no such column.
    """
    import pandas as pd

    check_columns(columns, list(frame))
    found = []
    for column in columns:
        named = _named(frame[column].reset_index(drop=True))
        rare = named.value_counts().index[MOST_OF_A_COLUMN - 1 :]
        rest = f"{len(rare):,} rarer values"
        if len(rare) > 1:
            named = named.mask(named.isin(rare), rest)
        rows = pd.Series(named.index).groupby(named, sort=False)
        for name, of in rows:
            places = of.to_numpy() if weights is None else of.to_numpy()[weights[of] > 0]
            if len(places):
                found.append(Slice(column, name, places, is_rest=name == rest))
    return found


def check_columns(columns: Sequence[str], known: Sequence[object]) -> None:
    """That the data set, which has these known columns, has those that rows are cut by."""
    for column in columns:
        if column not in known:
            names = [str(name) for name in known]
            raise UserError(
                f"evaluation.slices: the data set holds no column {column!r}{nearest(column, names)}; it holds "
                f"{', '.join(names)}"
            )


def notes(slices: Sequence[Slice]) -> list[str]:
    """Notes for the user: the columns whose rarer values are one slice together."""
    return [
        f"evaluation.slices: of {one.column!r} the {MOST_OF_A_COLUMN - 1} commonest values are a slice each, the "
        f"{one.value} one"
        for one in slices
        if one.is_rest
    ]


def _named(values: Any) -> Any:
    """The name of each row's slice in a column."""
    import pandas as pd

    if values.dtype.kind in "iufM" and values.nunique() > MOST_VALUES:
        edges = values.quantile(np.linspace(0, 1, QUARTERS + 1), interpolation="lower").unique()
        names = [f"{_text(low)} to {_text(high)}" for low, high in pairwise(edges)]
        named = pd.cut(values, edges, right=False, labels=names, ordered=False).astype(object)
        named = named.fillna(names[-1])  # the largest value, which is the last edge
        return named.mask(values.isna(), MISSING)
    codes, known = pd.factorize(values)  # a text for each value, and not for each row
    texts = np.array([*map(_text, known), MISSING], dtype=object)
    return pd.Series(texts[codes], dtype=object)  # the code of a missing one is -1


def _text(value: Any) -> str:
    if hasattr(value, "date"):
        return str(value)[:10]
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return str(value)


def sampled(rows: int, what: str, *, sliced: bool, grouped: bool) -> str:
    """Of how many of its rows the confidence intervals of a large table are, in words; empty where they are of all.

    Parameters
    ----------
    rows, what
        How many rows there are, and what they are called.
    sliced, grouped
        Whether they are cut into slices, and whether they are in groups, which are drawn whole.
    """
    said = []
    if rows > bootstrap.ROWS_OF_LARGE:
        about = "about " if grouped else ""
        said.append(f"of {about}{bootstrap.ROWS_OF_LARGE:,} of the {rows:,} {what}, drawn at random")
    if sliced and rows > ROWS_OF_LARGE:
        said.append(f"those of a slice of at most {ROWS_OF_LARGE:,} of its rows")
    return ", ".join([*said, "the figures themselves of all rows"]) if said else ""


def score(
    slices: Sequence[Slice],
    predictions: Predictions,
    names: Sequence[str],
    *,
    seed: int,
    groups: Array | None = None,
    most_rows: int | None = None,
) -> list[Scored]:
    """Compute a model's metrics on each slice, with a confidence interval of the first metric.

    Parameters
    ----------
    slices
        The slices, from `cut`.
    predictions
        The predictions of all n rows.
    names
        The names of the metrics.
    seed
        The seed of the bootstrap.
    groups
        The (n,) group of each row, for the bootstrap: see `tabular.evaluation.bootstrap.resampled`.
    most_rows
        Of a slice of more rows than these, the interval is of so many that are drawn by the seed.

    Returns
    -------
    list of Scored
        The worst slice by the first metric is first; slices with too few rows to be judged come last.
    """
    about: dict[str, Any] = {"seed": seed, "most_rows": most_rows, "resamples": RESAMPLES}
    found = [
        _score(
            one, predictions.taken(one.rows), names, {**about, "groups": None if groups is None else groups[one.rows]}
        )
        for one in slices
    ]
    return sorted(found, key=lambda scored: (not scored.slice.is_judged, _badness(names[0], scored.metrics[names[0]])))


def _score(one: Slice, predictions: Predictions, names: Sequence[str], about: Mapping[str, Any]) -> Scored:
    metrics = scores(predictions, names)
    interval = Interval(np.nan, np.nan)
    if one.is_judged:
        interval = bootstrap.interval(bootstrap.resampled({"": predictions}, names[:1], **about)[""][names[0]])
    return Scored(one, metrics, interval)


def _badness(name: str, value: float) -> float:
    return np.inf if np.isnan(value) else sign(name) * value


def as_columns(scored: Sequence[Scored], name: str) -> dict[str, list[Any]]:
    """Scored slices, at least one, as the columns of a table; `name` is the metric whose interval they have."""
    return {
        "column": [one.slice.column for one in scored],
        "value": [one.slice.value for one in scored],
        "rows": [len(one.slice.rows) for one in scored],
        **{metric: [one.metrics[metric] for one in scored] for metric in scored[0].metrics},
        f"{name}_low": [one.interval.low for one in scored],
        f"{name}_high": [one.interval.high for one in scored],
        "judged": [one.slice.is_judged for one in scored],
    }


def worst(scored: Sequence[Scored], name: str) -> Scored | None:
    """The worst slice by a metric, among the slices with enough rows and a value; None if there is none."""
    judged = [one for one in scored if one.slice.is_judged and not np.isnan(one.metrics[name])]
    return min(judged, key=lambda one: sign(name) * one.metrics[name], default=None)
