"""Metrics of classifiers: the table `METRICS`, each of whose rows is a small function of `ClassPredictions`.

To add a metric, write a function of `ClassPredictions` and give it a row in `METRICS`: problem files, the gate and the
plots then know the metric by its name. scikit-learn's scorers of classifiers are known by their own names as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular.errors import UserError, nearest
from tabular.metrics import rank_metrics
from tabular.metrics.metric import Codes, Floats, Metric, counting, in_order, scored
from tabular.metrics.rank_metrics import OfRanks

# With two classes, the positive one is predicted from this probability up, unless another threshold is given or tuned.
DEFAULT_THRESHOLD = 0.5
# How far probabilities are off, on average. It is no metric of every run: the few rows of a fold tell it badly.
CALIBRATION_ERROR = "calibration_error"
# The bins of equally many rows in which it is found.
CALIBRATION_BINS = 10


@dataclass(frozen=True)
class ClassPredictions:
    """True classes and predicted probabilities of the same rows, checked once for all metrics.

    Attributes
    ----------
    y : (n,) integer array
        The true class of each row, as a code 0..k-1.
    probabilities : (n, k) float array
        The probability of each class.
    predicted : (n,) integer array
        The code of the class that is predicted from these probabilities.
    positive : int or None
        The code of the positive class if there are two classes, None if there are more.
    weights : (n,) float array or None
        How much each row counts, from 0 up; None where all rows count alike, as with weights of 1.

    """

    y: Codes
    probabilities: Floats
    predicted: Codes
    positive: int | None
    weights: Floats | None = None

    @property
    def present(self) -> Codes:
        """The codes that occur in `y`, ascending; a row of weight 0 does not count."""
        return np.unique(self.y if self.weights is None else self.y[self.weights > 0])

    @property
    def counts(self) -> Floats:
        """(n,) how much each row counts."""
        return np.ones(len(self.y)) if self.weights is None else self.weights

    def taken(self, rows: NDArray[Any]) -> ClassPredictions:
        """The predictions of some rows, given by position; a position may occur several times."""
        return replace(
            self,
            y=self.y[rows],
            probabilities=self.probabilities[rows],
            predicted=self.predicted[rows],
            weights=None if self.weights is None else self.weights[rows],
        )


def classification_metrics(
    y: Codes,
    probabilities: Floats,
    *,
    classes: Sequence[object],
    positive: int | None = None,
    names: Collection[str] | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    weights: Floats | None = None,
) -> dict[str, float]:
    """Score the probabilities of a classifier.

    With two classes, precision, recall, f1_score, roc_auc, average_precision and brier_score are those of the positive
    class. With more, precision, recall, f1_score, roc_auc and average_precision are means over the classes, each
    against the rest, all of equal weight (macro). Precision, recall and f1_score then average over the classes that are
    in `y` or were predicted, roc_auc and average_precision over those in `y`: a class that is not in `y` has no curve.

    Parameters
    ----------
    y : (n,) integer array
        The true classes as codes 0..k-1: positions in `classes`.
    probabilities : (n, k) float array
        Each row holds the probabilities of the k classes, in the order of `classes`.
    classes : sequence of length k
        The labels. Some may be absent from `y`; log_loss and brier_score count them all the same.
    positive : int, optional
        The code of the positive class, by default 1. Only used with two classes.
    names : collection of str, optional
        The metrics to compute, by default all of `METRICS`.
    threshold : float, optional
        With two classes, the probability from which up the positive class is predicted.
    weights : (n,) float array, optional
        How much each row counts: one of weight 2 as much as two rows, one of weight 0 nothing. By default all count 1.

    Returns
    -------
    dict of str to float
        The value of each metric: first those of `METRICS`, in its order, then scikit-learn's. roc_auc and
        average_precision are NaN if `y` holds a single class: there is nothing to rank.

    Raises
    ------
    UserError
        A name is not known, there are no rows, a probability is not finite, or a scikit-learn scorer raises an error.
    ValueError
        The shapes do not fit each other, or a code lies outside 0..k-1: a mistake of the caller.

    Notes
    -----
    Every value is scikit-learn's own definition. brier_score is the sum over the classes of the squared error of the
    probability, averaged over rows (G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly
    Weather Review 78, 1950). It lies in [0, 2] for three classes and more; for two it is halved, as
    `sklearn.metrics.brier_score_loss` does by default, and lies in [0, 1]. log_loss is in nats, with probabilities kept
    off 0 and 1 by one machine epsilon, so that one wrong prediction made with certainty costs 36, not infinity.

    """
    about: dict[str, Any] = {"positive": positive, "threshold": threshold, "weights": weights}
    predictions = as_predictions(y, probabilities, classes=len(classes), **about)
    wanted = METRICS if names is None else in_order(names, METRICS)
    return {name: float(metric(name).score(predictions)) for name in wanted}


def predicted_codes(
    probabilities: Floats, *, positive: int | None = None, threshold: float = DEFAULT_THRESHOLD
) -> Codes:
    """The predicted class of each row.

    Parameters
    ----------
    probabilities : (n, k) float array
        The probability of each class.
    positive : int, optional
        The code of the positive class, by default 1. Only used with two classes.
    threshold : float, optional
        With two classes, the positive one is predicted where its probability is at least this.

    Returns
    -------
    (n,) integer array
        The code of each row's class. With more than two classes, the most probable one; of equally probable classes,
        the first.

    """
    codes: Codes
    if probabilities.shape[1] == 2:
        code = 1 if positive is None else positive
        codes = np.where(probabilities[:, code] >= threshold, code, 1 - code)
    else:
        codes = np.argmax(probabilities, axis=1)
    return codes


def as_predictions(
    y: Codes,
    probabilities: Floats,
    *,
    classes: int,
    positive: int | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    weights: Floats | None = None,
) -> ClassPredictions:
    """Check true classes and probabilities, and make `ClassPredictions` of them.

    Parameters and errors are those of `classification_metrics`; `classes` is the number of classes.
    """
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
    if weights is not None:
        weights = np.asarray(weights, dtype=np.float64)
        if weights.shape != y.shape or not np.isfinite(weights).all() or weights.min() < 0:
            raise ValueError(f"weights {weights.shape} are not a number from 0 up for each of {len(y)} rows")
        if not weights.any():
            raise UserError("there are no rows to score: all have the weight 0")
    if not np.isfinite(probabilities).all():
        raise UserError("the model gave probabilities that are not finite numbers; is its input scaled and complete?")
    binary = None if k != 2 else 1 if positive is None else positive
    predicted = predicted_codes(probabilities, positive=positive, threshold=threshold)
    return ClassPredictions(y, probabilities, predicted, binary, weights)


def confusion(y: Codes, predicted: Codes, classes: int, weights: Floats | None = None) -> Floats:
    """The (classes, classes) confusion matrix: rows are true classes, columns are predicted classes.

    With weights of the rows, each cell is the sum of its rows' weights.
    """
    counts = np.bincount(y.astype(np.int64) * classes + predicted, weights=weights, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.float64)


# The next five functions take confusion matrices (..., k, k) as `confusion` makes them, one for each of any number of
# thresholds or resamples, and the positive class's code if there are two classes. scikit-learn's own functions take
# milliseconds to check their input, in each of thousands of calls. Tests compare these functions with scikit-learn's.


def _accuracy(counts: Floats, positive: int | None) -> Floats:
    share: Floats = np.trace(counts, axis1=-2, axis2=-1) / counts.sum(axis=(-2, -1))
    return share


def _balanced_accuracy(counts: Floats, positive: int | None) -> Floats:
    true = counts.sum(axis=-1)
    mean: Floats = np.sum(_recalls(counts), axis=-1) / np.count_nonzero(
        true, axis=-1
    )  # over the classes that have rows
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
    """The quotient of `part` and `whole`; 0 where `whole` is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)


def _of_classes(values: Floats, counts: Floats, positive: int | None) -> Floats:
    """Reduce the classes' values (..., k) to one value (...).

    With two classes that is the positive class's value; with more, the mean over the classes that are true or predicted
    in at least one row.
    """
    if positive is not None:
        found: Floats = values[..., positive]
        return found
    occurs = counts.sum(axis=-1) + counts.sum(axis=-2) > 0
    mean: Floats = np.sum(values, axis=-1, where=occurs) / np.count_nonzero(occurs, axis=-1)
    return mean


def _of_classes_present(predictions: ClassPredictions, times: Floats, of_ranks: OfRanks) -> Floats:
    """The (b,) values of a rank metric: with two classes the positive one's, else the mean over the present ones."""
    codes = predictions.present if predictions.positive is None else [predictions.positive]
    found = np.array([of_ranks(predictions.y == code, predictions.probabilities[:, code], times) for code in codes])
    known = np.isfinite(found)  # a resample may lack a class
    mean = np.sum(found, axis=0, where=known) / np.maximum(1, known.sum(axis=0))
    return np.where(known.any(axis=0), mean, np.nan)


# The losses of single rows are computed here, since scikit-learn's functions warn about probabilities in single
# precision, which sum to 1 only within 1e-7. Tests compare the values with scikit-learn's.


def log_losses(of_truth: Floats) -> Floats:
    """The log loss of each row, in nats.

    Parameters
    ----------
    of_truth : (n,) float array
        The predicted probability of each row's true class.
    """
    epsilon = np.finfo(np.float64).eps
    losses: Floats = -np.log(np.clip(of_truth, epsilon, 1 - epsilon))
    return losses


def _log_losses(predictions: ClassPredictions) -> Floats:
    return log_losses(predictions.probabilities[np.arange(len(predictions.y)), predictions.y])


def _squared_errors(predictions: ClassPredictions) -> Floats:
    if predictions.positive is not None:
        squared: Floats = (
            predictions.probabilities[:, predictions.positive] - (predictions.y == predictions.positive)
        ) ** 2
        return squared
    errors = predictions.probabilities.copy()
    errors[np.arange(len(predictions.y)), predictions.y] -= 1
    whole: Floats = np.sum(errors**2, axis=1)
    return whole


def _calibration_misses(predictions: ClassPredictions) -> Floats:
    """(n, bins) what each row's probability is off by, in the bin that it lies in; 0 in the others.

    The sum of the absolute means is the calibration error: how far the mean probability is from the share that came
    true, on average over the bins (M. P. Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian
    Binning", AAAI 2015; bins of equal weight as in K. Nguyen and B. O'Connor, "Posterior calibration and exploratory
    analysis for natural language processing models", EMNLP 2015). Of two classes the probability is that of the
    positive one, of more that of the likeliest, as in the picture of the calibration.
    """
    if predictions.positive is not None:
        score, is_true = predictions.probabilities[:, predictions.positive], predictions.y == predictions.positive
    else:
        likeliest = predictions.probabilities.argmax(axis=1)
        score, is_true = predictions.probabilities.max(axis=1), predictions.y == likeliest
    _, group = np.unique(score, return_inverse=True)
    counts = np.bincount(group, weights=predictions.counts)
    middles = (np.cumsum(counts) - counts / 2) / counts.sum()  # equal scores lie in one bin, which may so have more
    bins = np.minimum((middles * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)[group]
    misses: Floats = np.zeros((len(score), CALIBRATION_BINS))
    misses[np.arange(len(score)), bins] = score - is_true
    return misses


def _calibration_error(means: Floats) -> Floats:
    error: Floats = np.abs(means).sum(axis=-1)
    return error


def _score_of_calibration(predictions: ClassPredictions) -> float:
    means = np.average(_calibration_misses(predictions), axis=0, weights=predictions.weights)
    return float(_calibration_error(means))


def _counted(name: str, of_counts: Callable[[Floats, int | None], Floats]) -> Metric:
    def score(predictions: ClassPredictions) -> float:
        k = predictions.probabilities.shape[1]
        counts = confusion(predictions.y, predictions.predicted, k, predictions.weights)
        return float(of_counts(counts, predictions.positive))

    return Metric(name, True, score, of_counts=of_counts)


def _averaged(name: str, of_rows: Callable[[ClassPredictions], Floats]) -> Metric:
    def score(predictions: ClassPredictions) -> float:
        return float(np.average(of_rows(predictions), weights=predictions.weights))

    return Metric(name, False, score, of_rows=of_rows)


def _ranked(name: str, one: OfRanks) -> Metric:
    def of_ranks(predictions: ClassPredictions, times: Floats) -> Floats:
        return _of_classes_present(predictions, times, one)

    def score(predictions: ClassPredictions) -> float:
        return float(of_ranks(predictions, predictions.counts[None])[0])

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

KNOWN: Mapping[str, Metric] = MappingProxyType(
    {
        **METRICS,
        CALIBRATION_ERROR: Metric(
            CALIBRATION_ERROR,
            False,
            _score_of_calibration,
            of_rows=_calibration_misses,
            of_means=_calibration_error,
            grows_with_noise=True,
        ),
    }
)


# How the names of scikit-learn's scorers of classifiers begin (its guide, "The scoring parameter"): scorers of
# predicted labels, and scorers of probabilities.
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
    """The metric of this name, one of ours, else one of scikit-learn's scorers, of which more is always better.

    Raises
    ------
    UserError
        There is no metric of classes of that name.
    """
    if name in KNOWN:
        return KNOWN[name]
    known = scorer_names()
    if name not in known:
        raise UserError(
            f"unknown metric {name!r}{nearest(name, [*KNOWN, *known])}; known are {', '.join(KNOWN)} and "
            "scikit-learn's scorers of classifiers"
        )
    return Metric(name, True, lambda predictions: _scored(name, predictions))


def scorer_names() -> list[str]:
    """The names of scikit-learn's scorers of classifiers, without those for several labels per row."""
    from sklearn.metrics import get_scorer_names

    families = _OF_LABELS + _OF_PROBABILITIES
    return [name for name in get_scorer_names() if name.startswith(families) and not name.endswith("_samples")]


def never_predicted(predictions: ClassPredictions) -> list[int]:
    """The codes of classes that some rows have and no row is predicted to have."""
    found = counting(predictions)
    return sorted({*found.present.tolist()} - {*found.predicted.tolist()})


def is_of_labels(name: str) -> bool:
    """Whether a metric is computed from predicted labels alone, so that it depends on the decision threshold."""
    return name.startswith(_OF_LABELS)


def _scored(name: str, predictions: ClassPredictions) -> float:
    """The value of a scorer of scikit-learn for these predictions.

    With two classes, the scorer is given 1 as the positive class, whatever its code.

    Raises
    ------
    UserError
        The scorer raises a ValueError, or takes no weights of rows.
    """
    predictions = counting(predictions)  # to a scorer a label is there although its rows count nothing
    y, probabilities, predicted = predictions.y, predictions.probabilities, predictions.predicted
    if predictions.positive is not None:
        y, predicted = (np.asarray(codes == predictions.positive, dtype=int) for codes in (y, predicted))
        probabilities = np.column_stack(
            [1 - probabilities[:, predictions.positive], probabilities[:, predictions.positive]]
        )
    return scored(name, (_said(probabilities, predicted), probabilities, y), predictions.weights, instead="roc_auc")


def _said(probabilities: Floats, predicted: Codes) -> Any:
    """A classifier that returns these predictions, since scikit-learn's scorers call a classifier."""
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Said(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        classes_ = np.arange(probabilities.shape[1])

        def predict(self, X: Any) -> Codes:
            return predicted

        def predict_proba(self, X: Any) -> Floats:
            return probabilities

    return Said()
