"""How good a classifier's probabilities are: one table of metrics, each a small function of the same answers.

To add a metric, write a function of `Predictions` and give it a row in `METRICS`: problem files, the gate and the
pictures then know it by its name. scikit-learn's scorers of classifiers are known by theirs beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular.errors import UserError, first_line, nearest
from tabular.metrics import rank_metrics
from tabular.metrics.rank_metrics import OfRanks

Codes = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]
# From this probability on the positive class of two is the label, where nothing else was found to be better.
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Predictions:
    """What was true and what the model said, checked once for all metrics.

    Attributes
    ----------
    y : (n,) integer array
        The true class of each row, as a code 0..k-1.
    probabilities : (n, k) float array
        The probability of each class.
    predicted : (n,) integer array
        The code of the label that these probabilities amount to.
    positive : int or None
        The code of the positive class where there are two classes, None where there are more.

    """

    y: Codes
    probabilities: Floats
    predicted: Codes
    positive: int | None

    @property
    def present(self) -> Codes:
        """The codes that occur in y, ascending."""
        return np.unique(self.y)

    def taken(self, rows: NDArray[Any]) -> Predictions:
        """The answers to some of the rows, by their positions; one may stand there several times."""
        return replace(self, y=self.y[rows], probabilities=self.probabilities[rows], predicted=self.predicted[rows])


@dataclass(frozen=True)
class Metric:
    """A metric's name, its direction, and the function that scores `Predictions`.

    What a metric looks at tells how it is computed for many resamples of the same rows at once
    (tabular/evaluation/bootstrap.py).

    Attributes
    ----------
    of_counts
        Scores confusion matrices (..., k, k), where these are all that it looks at.
    of_rows
        Each row's own loss, where the score is their mean.
    of_ranks
        Scores the rows by how many times (b, n) each counts, where it looks at their order.

    """

    name: str
    greater_is_better: bool
    score: Callable[[Predictions], float]
    of_counts: Callable[[Floats, int | None], Floats] | None = None
    of_rows: Callable[[Predictions], Floats] | None = None
    of_ranks: Callable[[Predictions, Floats], Floats] | None = None


def classification_metrics(
    y: Codes,
    probabilities: Floats,
    *,
    classes: Sequence[object],
    positive: int | None = None,
    names: Collection[str] | None = None,
    threshold: float = DEFAULT_THRESHOLD,
) -> dict[str, float]:
    """Score the probabilities of a classifier.

    With two classes, precision, recall, f1_score, roc_auc, average_precision and brier_score are the positive class's.
    With more, they are means over the classes, each against the rest, all of equal weight (macro). Precision, recall
    and f1_score then average over the classes that are in `y` or were predicted, roc_auc and average_precision over
    those in `y`: the others have no curve.

    Parameters
    ----------
    y : (n,) integer array
        The true classes as codes 0..k-1: positions in `classes`.
    probabilities : (n, k) float array
        Each row holds the probabilities of the k classes, in the order of `classes`.
    classes : sequence of length k
        The labels. Some may be absent from `y`; log_loss and brier_score count them all the same.
    positive : int, optional
        The code of the positive class of two, by default 1. Without a meaning for more than two.
    names : collection of str, optional
        The metrics to compute, by default all of `METRICS`.
    threshold : float, optional
        From which probability on the positive class of two is the label.

    Returns
    -------
    dict of str to float
        The metrics in the order of `METRICS`, scikit-learn's after them. roc_auc and average_precision are NaN where
        `y` holds a single class: there is nothing to rank.

    Raises
    ------
    UserError
        A name is not known, there are no rows, a probability is not finite, or one of scikit-learn's scorers refuses.
    ValueError
        The shapes do not fit, or a code lies outside 0..k-1: a mistake of the caller.

    Notes
    -----
    Every value is scikit-learn's own definition. brier_score is the sum over the classes of the squared error of the
    probability, averaged over rows (G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly
    Weather Review 78, 1950). It lies in [0, 2] for three classes and more; for two it is halved, as
    `sklearn.metrics.brier_score_loss` does by default, and lies in [0, 1]. log_loss is in nats, with probabilities kept
    off 0 and 1 by one machine epsilon, so that a single sure mistake costs 36, not infinity.

    """
    predictions = as_predictions(y, probabilities, classes=len(classes), positive=positive, threshold=threshold)
    return scores(predictions, METRICS if names is None else names)


def scores(predictions: Predictions, names: Collection[str]) -> dict[str, float]:
    """The metrics of these names, as `classification_metrics` gives them."""
    wanted = {name: metric(name) for name in names}
    ordered = [name for name in METRICS if name in wanted] + [name for name in wanted if name not in METRICS]
    return {name: float(wanted[name].score(predictions)) for name in ordered}


def predicted_codes(
    probabilities: Floats, *, positive: int | None = None, threshold: float = DEFAULT_THRESHOLD
) -> Codes:
    """The label that each row's probabilities amount to.

    Parameters
    ----------
    probabilities : (n, k) float array
        The probability of each class.
    positive : int, optional
        The code of the positive class of two, by default 1. Without a meaning for more than two.
    threshold : float, optional
        For two classes the positive one is the label wherever its probability is at least this.

    Returns
    -------
    (n,) integer array
        For more than two classes the most probable, the first of equals.

    """
    codes: Codes
    if probabilities.shape[1] == 2:
        code = 1 if positive is None else positive
        codes = np.where(probabilities[:, code] >= threshold, code, 1 - code)
    else:
        codes = np.argmax(probabilities, axis=1)
    return codes


def as_predictions(
    y: Codes, probabilities: Floats, *, classes: int, positive: int | None = None, threshold: float = DEFAULT_THRESHOLD
) -> Predictions:
    """Check what was true and what the model said; parameters and errors are those of `classification_metrics`."""
    k, y = classes, np.asarray(y)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if y.ndim != 1 or probabilities.shape != (len(y), k):
        raise ValueError(f"y {y.shape} and probabilities {probabilities.shape} do not fit {k} classes")
    if not len(y):
        raise UserError("there are no rows to score")
    if y.min() < 0 or y.max() >= k:
        raise ValueError(f"y holds codes outside 0..{k - 1}")
    if positive not in (None, *range(k)):
        raise ValueError(f"positive={positive} is not a code in 0..{k - 1}")
    if not np.isfinite(probabilities).all():
        raise UserError("the model gave probabilities that are not finite numbers; is its input scaled and complete?")
    binary = None if k != 2 else 1 if positive is None else positive
    return Predictions(y, probabilities, predicted_codes(probabilities, positive=positive, threshold=threshold), binary)


def confusion(y: Codes, predicted: Codes, classes: int) -> Floats:
    """(classes, classes): how many rows of each true class were predicted as which."""
    counts = np.bincount(y.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.float64)


# The next five are of counts (..., k, k) as `confusion` makes them, true class by predicted one, and of the positive
# class's code where there are two: any number of thresholds or resamples at once. scikit-learn's check their input for
# milliseconds, at each of thousands of calls; the tests hold these to its values.


def _accuracy(counts: Floats, positive: int | None) -> Floats:
    share: Floats = np.trace(counts, axis1=-2, axis2=-1) / counts.sum(axis=(-2, -1))
    return share


def _balanced_accuracy(counts: Floats, positive: int | None) -> Floats:
    true = counts.sum(axis=-1)
    mean: Floats = np.sum(_recalls(counts), axis=-1) / np.count_nonzero(
        true, axis=-1
    )  # over the classes that are there
    return mean


def _precision(counts: Floats, positive: int | None) -> Floats:
    return _of_classes(_share(_right(counts), counts.sum(axis=-2)), counts, positive)


def _recall(counts: Floats, positive: int | None) -> Floats:
    return _of_classes(_recalls(counts), counts, positive)


def _f1_score(counts: Floats, positive: int | None) -> Floats:
    return _of_classes(_share(2 * _right(counts), counts.sum(axis=-1) + counts.sum(axis=-2)), counts, positive)


def _right(counts: Floats) -> Floats:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _recalls(counts: Floats) -> Floats:
    return _share(_right(counts), counts.sum(axis=-1))


def _share(part: Floats, whole: Floats) -> Floats:
    """0 where there is nothing to share."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)


def _of_classes(values: Floats, counts: Floats, positive: int | None) -> Floats:
    """Of the classes' values (..., k) the positive one's of two, or the mean of those that are true or predicted."""
    if positive is not None:
        found: Floats = values[..., positive]
        return found
    occurs = counts.sum(axis=-1) + counts.sum(axis=-2) > 0
    mean: Floats = np.sum(values, axis=-1, where=occurs) / np.count_nonzero(occurs, axis=-1)
    return mean


def _of_classes_present(predictions: Predictions, times: Floats, of_ranks: OfRanks) -> Floats:
    """A metric of the order of the rows: of the positive class of two, or the mean of each present class's."""
    codes = predictions.present if predictions.positive is None else [predictions.positive]
    found = np.array([of_ranks(predictions.y == code, predictions.probabilities[:, code], times) for code in codes])
    known = np.isfinite(found)  # a resample may lack a class
    mean = np.sum(found, axis=0, where=known) / np.maximum(1, known.sum(axis=0))
    return np.where(known.any(axis=0), mean, np.nan)


# The losses of rows are written out, since scikit-learn's warn of probabilities in single precision, which sum to 1
# only within 1e-7; the tests hold them to scikit-learn's values.


def log_losses(of_truth: Floats) -> Floats:
    """The log loss of each row whose true class was given this probability."""
    epsilon = np.finfo(np.float64).eps
    losses: Floats = -np.log(np.clip(of_truth, epsilon, 1 - epsilon))
    return losses


def _log_losses(predictions: Predictions) -> Floats:
    return log_losses(predictions.probabilities[np.arange(len(predictions.y)), predictions.y])


def _squared_errors(predictions: Predictions) -> Floats:
    if predictions.positive is not None:
        squared: Floats = (
            predictions.probabilities[:, predictions.positive] - (predictions.y == predictions.positive)
        ) ** 2
        return squared
    errors = predictions.probabilities.copy()
    errors[np.arange(len(predictions.y)), predictions.y] -= 1
    whole: Floats = np.sum(errors**2, axis=1)
    return whole


def _counted(name: str, of_counts: Callable[[Floats, int | None], Floats]) -> Metric:
    def score(predictions: Predictions) -> float:
        counts = confusion(predictions.y, predictions.predicted, predictions.probabilities.shape[1])
        return float(of_counts(counts, predictions.positive))

    return Metric(name, True, score, of_counts=of_counts)


def _averaged(name: str, of_rows: Callable[[Predictions], Floats]) -> Metric:
    return Metric(name, False, lambda predictions: float(np.mean(of_rows(predictions))), of_rows=of_rows)


def _ranked(name: str, one: OfRanks) -> Metric:
    def of_ranks(predictions: Predictions, times: Floats) -> Floats:
        return _of_classes_present(predictions, times, one)

    def score(predictions: Predictions) -> float:
        return float(of_ranks(predictions, np.ones((1, len(predictions.y))))[0])

    return Metric(name, True, score, of_ranks=of_ranks)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            _counted("accuracy", _accuracy),
            _counted("balanced_accuracy", _balanced_accuracy),
            _counted("precision", _precision),
            _counted("recall", _recall),
            _counted("f1_score", _f1_score),
            _ranked("roc_auc", rank_metrics.auc),
            _averaged("log_loss", _log_losses),
            _averaged("brier_score", _squared_errors),
            _ranked("average_precision", rank_metrics.average_precision),
        )
    }
)


# What the names of scikit-learn's scorers of classifiers begin with (its guide, "The scoring parameter"): those that
# look at labels, and those that look at probabilities.
_OF_LABELS = (
    "accuracy",
    "balanced_accuracy",
    "f1",
    "jaccard",
    "matthews_corrcoef",
    "neg_negative_likelihood_ratio",
    "positive_likelihood_ratio",
    "precision",
    "recall",
)
_OF_PROBABILITIES = (
    "average_precision",
    "d2_brier_score",
    "d2_log_loss_score",
    "neg_brier_score",
    "neg_log_loss",
    "roc_auc",
    "top_k_accuracy",
)


def metric(name: str) -> Metric:
    """A metric by its name: one of `METRICS`, else one of scikit-learn's scorers, of which more is always better.

    Raises
    ------
    UserError
        Where there is none of that name.
    """
    if name in METRICS:
        return METRICS[name]
    known = scorer_names()
    if name not in known:
        raise UserError(
            f"unknown metric {name!r}{nearest(name, [*METRICS, *known])}; known are {', '.join(METRICS)} and "
            "scikit-learn's scorers of classifiers"
        )
    return Metric(name, True, lambda predictions: _scored(name, predictions))


def scorer_names() -> list[str]:
    """scikit-learn's scorers of classifiers; those of several labels a row are not among them."""
    from sklearn.metrics import get_scorer_names

    families = _OF_LABELS + _OF_PROBABILITIES
    return [name for name in get_scorer_names() if name.startswith(families) and not name.endswith("_samples")]


def is_of_labels(name: str) -> bool:
    """Whether a metric looks at labels alone, so that a threshold has a say in it."""
    return name.startswith(_OF_LABELS)


def with_named(*names: str) -> list[str]:
    """All of `METRICS`, and what else is asked for by name."""
    return list(dict.fromkeys([*METRICS, *names]))


def _scored(name: str, predictions: Predictions) -> float:
    """What a scorer says of a model that gives these answers; of two classes, 1 is the positive one."""
    from sklearn.metrics import get_scorer

    y, probabilities, predicted = predictions.y, predictions.probabilities, predictions.predicted
    if predictions.positive is not None:
        y, predicted = (np.asarray(codes == predictions.positive, dtype=int) for codes in (y, predicted))
        probabilities = np.column_stack(
            [1 - probabilities[:, predictions.positive], probabilities[:, predictions.positive]]
        )
    try:
        return float(get_scorer(name)(_said(probabilities, predicted), probabilities, y))
    except ValueError as error:
        raise UserError(f"{name} cannot be told of these rows: {first_line(error)}") from error


def _said(probabilities: Floats, predicted: Codes) -> Any:
    """A classifier, as scorers ask one, that has given these answers."""
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Said(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        classes_ = np.arange(probabilities.shape[1])

        def predict(self, X: Any) -> Codes:
            return predicted

        def predict_proba(self, X: Any) -> Floats:
            return probabilities

    return Said()


def sign(name: str) -> int:
    """1 for a metric of which more is better, -1 for one of which less is."""
    return 1 if metric(name).greater_is_better else -1
