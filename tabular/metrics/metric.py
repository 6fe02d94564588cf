"""What a metric is, and what all predictions have in common, whether of classes or of numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from tabular.errors import UserError, first_line

Codes = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]


class Predictions(Protocol):
    """The truth and the predictions of the same n rows, of which each counts so much."""

    @property
    def y(self) -> NDArray[Any]:
        """(n,) the true class codes, or the true numbers."""

    @property
    def weights(self) -> Floats | None:
        """(n,) how much each row counts, from 0 up; None where all count alike."""

    def taken(self, rows: NDArray[Any]) -> Self:
        """The predictions of some rows, given by position; a position may occur several times."""


Some = TypeVar("Some", bound=Predictions)


@dataclass(frozen=True)
class Metric:
    """A metric: its name, its direction, and the function that scores predictions.

    At most one of `of_counts`, `of_rows` and `of_ranks` is given. With it the metric is computed for many resamples of
    the same rows at once (tabular/evaluation/bootstrap.py); without it, for one resample after another.

    Attributes
    ----------
    name
        The name by which problem files and tables know the metric.
    greater_is_better
        Whether a greater value is better.
    score
        Function of predictions that returns the value.
    of_counts
        For a metric of the confusion matrix alone: function of (..., k, k) matrices and of the positive class's code
        (None for more than two classes) that returns (...) values.
    of_rows
        For a metric of means over the rows: function of predictions that returns (n,) a number of each row, whose
        mean is the metric, or (n, m) several.
    of_means
        Where the metric is not a single mean: function of (..., m) the means of what `of_rows` returns that returns
        (...) values.
    of_ranks
        For a metric of the order of the rows: function of predictions and of (b, n) numbers, how much each row counts
        in each of b resamples, that returns (b,) values.
    grows_with_noise
        Whether chance makes the metric greater, as it does a sum of absolute means, which has `of_rows` and `of_means`.
        Its interval is `tabular.evaluation.bootstrap.wide_interval`.

    """

    name: str
    greater_is_better: bool
    score: Callable[[Any], float]
    of_counts: Callable[[Floats, int | None], Floats] | None = None
    of_rows: Callable[[Any], Floats] | None = None
    of_means: Callable[[Floats], Floats] | None = None
    of_ranks: Callable[[Any, Floats], Floats] | None = None
    grows_with_noise: bool = False


def in_order(names: Collection[str], table: Collection[str]) -> list[str]:
    """Names of metrics: first those of a table, in its order, then the others."""
    return [name for name in table if name in names] + [name for name in dict.fromkeys(names) if name not in table]


def counting(predictions: Some) -> Some:
    """The predictions of the rows that count, those whose weight is above 0."""
    return predictions if predictions.weights is None else predictions.taken(np.flatnonzero(predictions.weights > 0))


def scored(name: str, asked: tuple[Any, Any, Any], weights: Floats | None, *, instead: str) -> float:
    """The value of a scorer of scikit-learn.

    Parameters
    ----------
    name
        The scorer's name.
    asked
        What it is given: an estimator that returns the predictions, the rows to ask it about, and their truth.
    weights
        (n,) how much each row counts, above 0; None where all count alike.
    instead
        A metric that takes weights, for the error.

    Raises
    ------
    UserError
        The scorer raises a ValueError, or takes no weights of rows.
    """
    from sklearn.metrics import get_scorer

    weighted = {} if weights is None else {"sample_weight": weights}
    try:
        return float(get_scorer(name)(*asked, **weighted))
    except (ValueError, TypeError) as error:
        if weighted and "sample_weight" in str(error):
            raise UserError(
                f"{name} takes no weights of rows, which data.weight asks for: take another metric, such as {instead}"
            ) from error
        raise UserError(f"{name} cannot be told of these rows: {first_line(error)}") from error


def over_folds(metrics: Mapping[str, float], name: str) -> str:
    """A metric over the folds in words, by `cv_<name>_mean` and `cv_<name>_std`: `rmse 0.3121 ± 0.0042`."""
    mean, spread = (metrics[f"cv_{name}_{what}"] for what in ("mean", "std"))
    return f"{name} {rounded(mean)} ± {rounded(spread)}"


def rounded(value: float, sign: str = "") -> str:
    """A value as text: four decimals, fewer of a large one, and four digits of one that is tiny or huge.

    With `sign` as "+", a value above 0 has its sign too.
    """
    size = abs(value)
    if size >= 1e12:
        return f"{value:{sign}.4g}"
    if size >= 1000:
        return f"{value:{sign},.{1 if size < 100_000 else 0}f}"
    return f"{value:{sign}.4g}" if 0 < size < 0.001 else f"{value:{sign}.4f}"
