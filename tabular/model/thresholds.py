"""The decision threshold of two classes: the probability from which up the positive class is predicted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tabular.metrics.classification import DEFAULT_THRESHOLD, classification_metrics
from tabular.metrics.lookup import metric, sign

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


def tune(
    predictions: Sequence[tuple[Array, Array]],
    name: str,
    *,
    positive: int,
    weights: Sequence[Array | None] | None = None,
) -> Tuned:
    """Find the threshold whose mean score over the folds is best.

    Parameters
    ----------
    predictions
        For each fold, the (n,) true class codes and the (n, 2) probabilities of its scored rows.
    name
        The name of a metric of predicted labels.
    positive
        The code of the positive class.
    weights
        For each fold, how much each of its scored rows counts; None where all count alike.

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
    weights = [None] * len(predictions) if weights is None else weights
    folds = [(y, found, _ones_without(one, y)) for (y, found), one in zip(predictions, weights, strict=True)]
    scores_of_positives = np.concatenate([found[y == positive, positive] for y, found, _ in folds])
    tried = _tried(scores_of_positives, np.concatenate([counts[y == positive] for y, _, counts in folds]))
    scores = np.array([sign(name) * _scores(*fold, tried, name, positive) for fold in folds])
    scores[np.isnan(scores)] = -np.inf
    others = [np.arange(len(predictions)) != place for place in range(len(predictions))]
    return Tuned(_best(tried, scores), tuple(_best(tried, scores[rows]) for rows in others))


def effect(y: Array, probabilities: Array, *, positive: int, weights: Array | None = None) -> dict[str, list[float]]:
    """The metrics of the same probabilities at different thresholds.

    Parameters
    ----------
    y
        The (n,) true class codes.
    probabilities
        The (n, 2) probabilities.
    positive
        The code of the positive class.
    weights
        The (n,) numbers, how much each row counts; None where all count alike.

    Returns
    -------
    dict
        Columns of a table with a row for each threshold: "threshold", ascending, at most `CANDIDATES` and one half;
        "flagged", the share of rows that are predicted positive; and each of `OF_LABELS` by its name.
    """
    scores = probabilities[:, positive]
    counts = _ones_without(weights, y)
    tried = _tried(scores, counts)
    below, whole = _below(scores, counts, tried)
    found = {name: _scores(y, probabilities, counts, tried, name, positive) for name in OF_LABELS}
    columns = {"threshold": tried, "flagged": (whole - below) / whole, **found}
    return {name: [float(value) for value in values] for name, values in columns.items()}


def _ones_without(weights: Array | None, y: Array) -> Array:
    return np.ones(len(y)) if weights is None else weights


def _tried(scores: Array, counts: Array) -> Array:
    """The thresholds to try, ascending: quantiles of the scores of rows that count so much, and one half.

    For rows that all count 1 they are `np.quantile(scores, …, method="lower")`; for whole numbers those of the scores
    repeated as often. Weights below 1 are taken for parts of the least one, so that none is lost to their scale.
    """
    counting = counts > 0
    scores, counts = scores[counting], counts[counting]
    order = np.argsort(scores, kind="stable")
    upto = np.cumsum(counts[order])
    places = np.linspace(0, 1, CANDIDATES) * (upto[-1] - min(1.0, counts.min()))
    lower = np.minimum(np.searchsorted(upto, places, side="right"), len(upto) - 1)
    return np.unique(np.r_[scores[order][lower], DEFAULT_THRESHOLD])


def _below(scores: Array, counts: Array, thresholds: Array) -> tuple[Array, float]:
    """(thresholds,) how much the rows count together whose score is below each threshold; and how much all rows do."""
    order = np.argsort(scores, kind="stable")
    upto = np.r_[0.0, np.cumsum(counts[order])]
    return upto[np.searchsorted(scores[order], thresholds)], float(upto[-1])


def _scores(y: Array, probabilities: Array, counts: Array, thresholds: Array, name: str, positive: int) -> Array:
    """The (thresholds,) values of a metric, for rows that count so much."""
    of_counts = metric(name).of_counts
    if of_counts is not None:
        found = _confusions(y == positive, probabilities[:, positive], counts, thresholds, positive)
        return of_counts(found, positive)
    return np.array([_score(y, probabilities, counts, threshold, name, positive) for threshold in thresholds])


def _score(y: Array, probabilities: Array, counts: Array, threshold: float, name: str, positive: int) -> float:
    about: dict[str, Any] = {"positive": positive, "threshold": threshold}
    weights = None if (counts == 1).all() else counts  # scikit-learn may round sums with weights otherwise
    return classification_metrics(y, probabilities, classes=range(2), names=[name], weights=weights, **about)[name]


def _confusions(is_positive: Array, scores: Array, counts: Array, thresholds: Array, positive: int) -> Array:
    """The (thresholds, 2, 2) confusion matrices at ascending thresholds."""
    found = np.empty((len(thresholds), 2, 2))
    for truth, rows in ((positive, is_positive), (1 - positive, ~is_positive)):
        below, whole = _below(scores[rows], counts[rows], thresholds)
        found[:, truth, positive] = whole - below
        found[:, truth, 1 - positive] = below
    return found


def _best(tried: Array, scores: Array) -> float:
    means = scores.mean(axis=0)
    equals = tried[means == means.max()]
    return float(equals[np.argmin(np.abs(equals - DEFAULT_THRESHOLD))])
