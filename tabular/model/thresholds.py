"""The decision threshold of two classes: the probability from which up the positive class is predicted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tabular.metrics.classification import DEFAULT_THRESHOLD, classification_metrics, metric, sign

Array: TypeAlias = np.ndarray[Any, Any]
# How many thresholds are tried: as many as scikit-learn tries.
CANDIDATES = 100
# The metrics in the table of thresholds: they depend on the threshold, and help to choose another one.
OF_LABELS = ("precision", "recall", "f1_score", "accuracy", "balanced_accuracy")


@dataclass(frozen=True)
class Tuned:
    """Tuned thresholds.

    Attributes
    ----------
    whole
        The threshold with the best mean score over all folds.
    without
        For each fold, the threshold with the best mean score over the other folds.
    """

    whole: float
    without: tuple[float, ...]


def tune(predictions: Sequence[tuple[Array, Array]], name: str, *, positive: int) -> Tuned:
    """Find the threshold whose mean score over the folds is best.

    Parameters
    ----------
    predictions
        For each fold, the (n,) true class codes and the (n, 2) probabilities of its scored rows.
    name
        The name of a metric of predicted labels.
    positive
        The code of the positive class.

    Returns
    -------
    Tuned
        Of equally good thresholds, the one nearest to one half is taken.

    Notes
    -----
    This is what `sklearn.model_selection.TunedThresholdClassifierCV` does when it is given the thresholds to try. The
    thresholds tried here are quantiles of the positive rows' probabilities, so that the recall falls in equal steps
    from one to the next however rare the positive class is. The score of a fold is optimistic at a threshold that was
    chosen on the same rows: `Tuned.without` has for each fold a threshold that was chosen without it.
    """
    of_positives = np.concatenate([probabilities[y == positive, positive] for y, probabilities in predictions])
    quantiles = np.quantile(of_positives, np.linspace(0, 1, CANDIDATES), method="lower")
    tried = np.unique(np.r_[quantiles, DEFAULT_THRESHOLD])
    scores = np.array([sign(name) * _scores(*fold, tried, name, positive) for fold in predictions])
    scores[np.isnan(scores)] = -np.inf
    others = [np.arange(len(predictions)) != place for place in range(len(predictions))]
    return Tuned(_best(tried, scores), tuple(_best(tried, scores[rows]) for rows in others))


def effect(y: Array, probabilities: Array, *, positive: int) -> dict[str, list[float]]:
    """The metrics of the same probabilities at different thresholds.

    Parameters
    ----------
    y
        The (n,) true class codes.
    probabilities
        The (n, 2) probabilities.
    positive
        The code of the positive class.

    Returns
    -------
    dict
        Columns of a table with a row for each threshold: "threshold", ascending, at most `CANDIDATES` and one half;
        "flagged", the share of rows that are predicted positive; and each of `OF_LABELS` by its name.
    """
    scores = probabilities[:, positive]
    tried = np.unique(np.r_[np.quantile(scores, np.linspace(0, 1, CANDIDATES), method="lower"), DEFAULT_THRESHOLD])
    flagged = (scores[:, None] >= tried).mean(axis=0)
    found = {name: _scores(y, probabilities, tried, name, positive) for name in OF_LABELS}
    columns = {"threshold": tried, "flagged": flagged, **found}
    return {name: [float(value) for value in values] for name, values in columns.items()}


def _scores(y: Array, probabilities: Array, thresholds: Array, name: str, positive: int) -> Array:
    """The (thresholds,) values of a metric."""
    of_counts = metric(name).of_counts
    if of_counts is not None:
        return of_counts(_counts(y == positive, probabilities[:, positive], thresholds, positive), positive)
    return np.array([_score(y, probabilities, threshold, name, positive) for threshold in thresholds])


def _score(y: Array, probabilities: Array, threshold: float, name: str, positive: int) -> float:
    found = classification_metrics(
        y, probabilities, classes=range(2), positive=positive, names=[name], threshold=threshold
    )
    return found[name]


def _counts(is_positive: Array, scores: Array, thresholds: Array, positive: int) -> Array:
    """The (thresholds, 2, 2) confusion matrices at ascending thresholds."""
    # how many positive rows, and how many others, are at or above each threshold
    above = [
        len(group) - np.searchsorted(np.sort(group), thresholds)
        for group in (scores[is_positive], scores[~is_positive])
    ]
    counts = np.empty((len(thresholds), 2, 2))
    for truth, predicted, whole in (
        (positive, above[0], is_positive.sum()),
        (1 - positive, above[1], (~is_positive).sum()),
    ):
        counts[:, truth, positive] = predicted
        counts[:, truth, 1 - positive] = whole - predicted
    return counts


def _best(tried: Array, scores: Array) -> float:
    means = scores.mean(axis=0)
    equals = tried[means == means.max()]
    return float(equals[np.argmin(np.abs(equals - DEFAULT_THRESHOLD))])
