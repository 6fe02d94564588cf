"""The decision threshold of two classes: from which probability of the positive one on it is the label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tabular.metrics.classification import DEFAULT_THRESHOLD, classification_metrics, metric, sign

Array: TypeAlias = np.ndarray[Any, Any]
# So many thresholds are tried, as many as scikit-learn does.
CANDIDATES = 100
# The metrics that a threshold moves and that tell why one would choose another.
OF_LABELS = ("precision", "recall", "f1_score", "accuracy", "balanced_accuracy")


@dataclass(frozen=True)
class Tuned:
    """The threshold that is best on all folds, and for each fold the one that is best on the others."""

    whole: float
    without: tuple[float, ...]


def tune(predictions: Sequence[tuple[Array, Array]], name: str, *, positive: int) -> Tuned:
    """Find the threshold whose mean score over the folds is best.

    Parameters
    ----------
    predictions
        Of each fold the scored rows' (n,) true codes and (n, 2) probabilities.
    name
        Of a metric of labels.
    positive
        The code of the positive class.

    Returns
    -------
    Tuned
        Of thresholds that are equally good, those next to one half.

    Notes
    -----
    What `sklearn.model_selection.TunedThresholdClassifierCV` does when it is given the thresholds to try. Those tried
    here are quantiles of the positive rows' probabilities, so that the recall falls in equal steps from one to the next
    however rare the positive class is. A score at the threshold that was chosen by it promises too much: for each
    fold there is one that its rows had no say in.
    """
    of_positives = np.concatenate([probabilities[y == positive, positive] for y, probabilities in predictions])
    quantiles = np.quantile(of_positives, np.linspace(0, 1, CANDIDATES), method="lower")
    tried = np.unique(np.r_[quantiles, DEFAULT_THRESHOLD])
    scores = np.array([sign(name) * _scores(*fold, tried, name, positive) for fold in predictions])
    scores[np.isnan(scores)] = -np.inf
    others = [np.arange(len(predictions)) != place for place in range(len(predictions))]
    return Tuned(_best(tried, scores), tuple(_best(tried, scores[rows]) for rows in others))


def effect(y: Array, probabilities: Array, *, positive: int) -> dict[str, list[float]]:
    """What each threshold would make of the same probabilities.

    Parameters are those of `tune`, of one set of rows.

    Returns
    -------
    dict
        "threshold": up to so many of them, the lowest first; "flagged": the share of rows that are called positive;
        and each of `OF_LABELS` by its name.
    """
    scores = probabilities[:, positive]
    tried = np.unique(np.r_[np.quantile(scores, np.linspace(0, 1, CANDIDATES), method="lower"), DEFAULT_THRESHOLD])
    flagged = (scores[:, None] >= tried).mean(axis=0)
    found = {name: _scores(y, probabilities, tried, name, positive) for name in OF_LABELS}
    columns = {"threshold": tried, "flagged": flagged, **found}
    return {name: [float(value) for value in values] for name, values in columns.items()}


def _scores(y: Array, probabilities: Array, thresholds: Array, name: str, positive: int) -> Array:
    """A metric at each of the thresholds."""
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
    """(thresholds, 2, 2): the confusion matrix at each of ascending thresholds."""
    # of the positive rows and of the others, those at or above each threshold
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
