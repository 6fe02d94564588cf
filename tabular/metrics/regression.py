"""Metrics of numbers: the table `METRICS`, each of whose rows is a small function of `NumberPredictions`.

To add a metric, write what it takes of each row, and give it a row in `METRICS`: problem files, the gate and the plots
then know it by its name. scikit-learn's scorers of regressors are known by their own names as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular.errors import UserError, nearest
from tabular.metrics.metric import Floats, Metric, counting, scored

# A variance of a resample that is a smaller share of the mean square about the mean of all rows is not told from
# rounding to seven digits.
LEAST_VARIANCE = 1e-9


@dataclass(frozen=True)
class NumberPredictions:
    """True and predicted numbers of the same rows, checked once for all metrics.

    Attributes
    ----------
    y, predicted : (n,) float array
        The true and the predicted numbers, in the unit of the target.
    low, high : (n,) float array or None
        The ends of each prediction's interval; None where there are none.
    weights : (n,) float array or None
        How much each row counts, from 0 up; None where all rows count alike.

    """

    y: Floats
    predicted: Floats
    low: Floats | None = None
    high: Floats | None = None
    weights: Floats | None = None

    def taken(self, rows: NDArray[Any]) -> NumberPredictions:
        """The predictions of some rows, given by position; a position may occur several times."""
        return replace(
            self,
            y=self.y[rows],
            predicted=self.predicted[rows],
            low=None if self.low is None else self.low[rows],
            high=None if self.high is None else self.high[rows],
            weights=None if self.weights is None else self.weights[rows],
        )


def as_predictions(
    y: Floats,
    predicted: Floats,
    *,
    low: Floats | None = None,
    high: Floats | None = None,
    weights: Floats | None = None,
) -> NumberPredictions:
    """Check true and predicted numbers, all (n,), and make `NumberPredictions` of them.

    Raises
    ------
    UserError
        There are no rows, all have the weight 0, or a prediction is no finite number.
    ValueError
        The shapes do not fit each other, or a weight is none: a mistake of the caller.
    """
    given = {"y": y, "predicted": predicted, "low": low, "high": high, "weights": weights}
    arrays = {name: np.asarray(one, dtype=np.float64) for name, one in given.items() if one is not None}
    shapes = {name: one.shape for name, one in arrays.items()}
    if len(set(shapes.values())) > 1 or arrays["y"].ndim != 1:
        raise ValueError(f"the shapes {shapes} do not fit each other")
    if not len(arrays["y"]):
        raise UserError("there are no rows to score")
    if not np.isfinite(arrays["y"]).all():
        raise ValueError("y holds values that are no finite numbers")
    if not all(np.isfinite(arrays[name]).all() for name in arrays.keys() & {"predicted", "low", "high"}):
        raise UserError("the model gave predictions that are not finite numbers; is its input scaled and complete?")
    if "weights" in arrays:
        if not np.isfinite(arrays["weights"]).all() or arrays["weights"].min() < 0:
            raise ValueError("weights are not a number from 0 up for each row")
        if not arrays["weights"].any():
            raise UserError("there are no rows to score: all have the weight 0")
    return NumberPredictions(**arrays)


def _errors(predictions: NumberPredictions) -> Floats:
    return predictions.predicted - predictions.y


def _absolute_errors(predictions: NumberPredictions) -> Floats:
    return np.abs(_errors(predictions))


def _squared_errors(predictions: NumberPredictions) -> Floats:
    return _errors(predictions) ** 2


def _shares_of_truth(predictions: NumberPredictions) -> Floats:
    """The absolute error as a share of the true number; NaN where that is 0."""
    truth = np.abs(predictions.y)
    shares: Floats = np.divide(_absolute_errors(predictions), truth, out=np.full(len(truth), np.nan), where=truth > 0)
    return shares


def _squared_log_errors(predictions: NumberPredictions) -> Floats:
    """The squared difference of log(1 + number); NaN where one of the two is -1 or less."""
    both = np.column_stack([predictions.y, predictions.predicted])
    logs = np.log1p(both, out=np.full(both.shape, np.nan), where=both > -1)
    return np.asarray((logs[:, 1] - logs[:, 0]) ** 2)


def _moments(predictions: NumberPredictions) -> Floats:
    """(n, 3) of each row the squared error, the true number and its square; off their middle, for exact sums."""
    centred = predictions.y - np.average(predictions.y, weights=predictions.weights)
    return np.column_stack([_squared_errors(predictions), centred, centred**2])


def _r2(means: Floats) -> Floats:
    """R²; NaN of rows whose numbers are equal, or so near to each other that rounding is a part of their variance."""
    variance = means[..., 2] - means[..., 1] ** 2
    is_told = variance > LEAST_VARIANCE * means[..., 2]
    explained = np.divide(means[..., 0], variance, out=np.full(np.shape(variance), np.nan), where=is_told)
    return np.asarray(1 - explained)


def _inside(predictions: NumberPredictions) -> Floats:
    """Whether each true number lies in its interval, as 1 or 0; NaN without intervals."""
    if predictions.low is None or predictions.high is None:
        return np.full(len(predictions.y), np.nan)
    return np.asarray((predictions.low <= predictions.y) & (predictions.y <= predictions.high), dtype=np.float64)


def _widths(predictions: NumberPredictions) -> Floats:
    if predictions.low is None or predictions.high is None:
        return np.full(len(predictions.y), np.nan)
    return predictions.high - predictions.low


def _pinball(level: float) -> Callable[[NumberPredictions], Floats]:
    def losses(predictions: NumberPredictions) -> Floats:
        short = predictions.y - predictions.predicted
        return np.maximum(level * short, (level - 1) * short)

    return losses


def _medians(predictions: NumberPredictions, times: Floats) -> Floats:
    """(b,) the median absolute error of each resample, in which rows count (b, n) times.

    It is the middle between the least error that at least half of the whole lies at or below, and the least one that
    more than half does: of rows that count alike the usual median.
    """
    errors = _absolute_errors(predictions)
    order = np.argsort(errors, kind="stable")
    upto = np.cumsum(times[:, order], axis=1)
    half = upto[:, -1:] / 2
    tiny = 1e-9 * upto[:, -1:]  # of sums of weights that are no whole numbers
    lower, upper = (np.minimum((upto < bound).sum(axis=1), len(order) - 1) for bound in (half - tiny, half + tiny))
    ascending = errors[order]
    return np.asarray((ascending[lower] + ascending[upper]) / 2)


def _averaged(
    name: str,
    of_rows: Callable[[NumberPredictions], Floats],
    of_means: Callable[[Floats], Floats] | None = None,
    *,
    greater_is_better: bool = False,
) -> Metric:
    def of_counting(predictions: NumberPredictions) -> Floats:
        values, weights = of_rows(predictions), predictions.weights
        if weights is not None:
            values[weights == 0] = 0.0  # where such a row has no value, the mean has one all the same
        return values

    def score(predictions: NumberPredictions) -> float:
        mean = np.average(of_counting(predictions), axis=0, weights=predictions.weights)
        return float(mean if of_means is None else of_means(mean))

    return Metric(name, greater_is_better, score, of_rows=of_counting, of_means=of_means)


def _ranked(name: str, of_ranks: Callable[[NumberPredictions, Floats], Floats]) -> Metric:
    def score(predictions: NumberPredictions) -> float:
        counts = np.ones(len(predictions.y)) if predictions.weights is None else predictions.weights
        return float(of_ranks(predictions, counts[None])[0])

    return Metric(name, False, score, of_ranks=of_ranks)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            _averaged("rmse", _squared_errors, np.sqrt),
            _averaged("mae", _absolute_errors),
            _ranked("median_absolute_error", _medians),
            _averaged("r2", _moments, _r2, greater_is_better=True),
            _averaged("mape", _shares_of_truth),
            _averaged("rmsle", _squared_log_errors, np.sqrt),
            _averaged("interval_coverage", _inside, greater_is_better=True),
            _averaged("interval_width", _widths),
        )
    }
)
PINBALL = re.compile(r"pinball_loss_(0?\.\d+)")
# How the names of scikit-learn's scorers of regressors begin (its guide, "The scoring parameter").
_SCORERS = ("d2_absolute_error", "explained_variance", "neg_max_error", "neg_mean_", "neg_median_", "neg_root_", "r2")


def metric(name: str) -> Metric:
    """The metric of this name: one of `METRICS`, `pinball_loss_` with a level, or one of scikit-learn's scorers.

    More is better for every scorer of scikit-learn.

    Raises
    ------
    UserError
        There is no metric of numbers of that name.
    """
    if name in METRICS:
        return METRICS[name]
    found = PINBALL.fullmatch(name)
    if found and 0 < float(found[1]) < 1:
        return _averaged(name, _pinball(float(found[1])))
    known = scorer_names()
    if name not in known:
        raise UserError(
            f"unknown metric {name!r}{nearest(name, [*METRICS, *known])}; known are {', '.join(METRICS)}, "
            "pinball_loss_0.9 for the quantile of 0.9, and scikit-learn's scorers of regressors"
        )
    return Metric(name, True, lambda predictions: _scored(name, predictions))


def scorer_names() -> list[str]:
    """The names of scikit-learn's scorers of regressors."""
    from sklearn.metrics import get_scorer_names

    return [name for name in get_scorer_names() if name.startswith(_SCORERS) and name not in METRICS]


def _scored(name: str, predictions: NumberPredictions) -> float:
    """The value of a scorer of scikit-learn for these predictions.

    Raises
    ------
    UserError
        The scorer raises a ValueError, or takes no weights of rows.
    """
    predictions = counting(predictions)
    asked = (_said(predictions.predicted), predictions.y[:, None], predictions.y)
    return scored(name, asked, predictions.weights, instead="rmse")


def _said(predicted: Floats) -> Any:
    """A regressor that returns these predictions, since scikit-learn's scorers call a regressor."""
    from sklearn.base import BaseEstimator, RegressorMixin

    class Said(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        def predict(self, X: Any) -> Floats:
            return predicted

    return Said()


def undefined(predictions: NumberPredictions) -> dict[str, str]:
    """The metrics of `METRICS` that have no value for these rows, with the reason in words."""
    found = {}
    counts = np.ones(len(predictions.y), dtype=bool) if predictions.weights is None else predictions.weights > 0
    zeros = int((predictions.y[counts] == 0).sum())
    if zeros:
        found["mape"] = f"the true number is 0 in {zeros:,} rows, of which no share can be told"
    low = int(((predictions.y <= -1) | (predictions.predicted <= -1))[counts].sum())
    if low:
        found["rmsle"] = f"the true or the predicted number is -1 or less in {low:,} rows, which has no logarithm"
    return found
