"""Rank metrics (ROC AUC, average precision) of one table, or of many resamples of its rows at once."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
# A rank metric: a function of (n,) truths, (n,) scores and (b, n) numbers, how many times each row counts in each of b
# resamples, that returns (b,) values.
OfRanks: TypeAlias = Callable[[NDArray[np.bool_], Floats, Floats], Floats]


def auc(truth: NDArray[np.bool_], scores: Floats, times: Floats) -> Floats:
    """The area under the ROC curve of each resample.

    It is the share of the pairs of a true and an untrue row in which the true row has the higher score; a pair with
    equal scores counts one half.

    Parameters
    ----------
    truth : (n,) bool array
        Whether each row is of the positive class.
    scores : (n,) float array
        The score of each row; a higher score means that the positive class is more probable.
    times : (b, n) float array
        How many times each row counts in each of b resamples.

    Returns
    -------
    (b,) float array
        NaN for a resample that holds only true rows or no true row.

    Notes
    -----
    J. A. Hanley and B. J. McNeil, "The Meaning and Use of the Area under a ROC Curve", Radiology 143, 1982. The
    value is that of `sklearn.metrics.roc_auc_score`.
    """
    true, untrue = _tallies(truth, scores, times)
    below = np.cumsum(untrue, axis=1) - untrue
    return _share(np.sum(true * (below + untrue / 2), axis=1), true.sum(axis=1) * untrue.sum(axis=1))


def average_precision(truth: NDArray[np.bool_], scores: Floats, times: Floats) -> Floats:
    """The average precision of each resample: the mean over the true rows of the precision at each row's score.

    Parameters are those of `auc`.

    Returns
    -------
    (b,) float array
        NaN for a resample without a true row or without an untrue row.

    Notes
    -----
    The value is that of `sklearn.metrics.average_precision_score`.
    """
    true, untrue = (tally[:, ::-1] for tally in _tallies(truth, scores, times))
    above = np.cumsum(true, axis=1)
    predicted = above + np.cumsum(untrue, axis=1)
    precision = np.divide(above, predicted, out=np.zeros_like(above), where=predicted > 0)
    found = _share(np.sum(true * precision, axis=1), above[:, -1])
    return np.where(untrue.sum(axis=1) > 0, found, np.nan)


def _tallies(truth: NDArray[np.bool_], scores: Floats, times: Floats) -> tuple[Floats, Floats]:
    """How many true and how many untrue rows have each distinct score.

    Two arrays (b, distinct scores), with the scores in ascending order.
    """
    order = np.argsort(scores, kind="stable")
    ascending = scores[order]
    starts = np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1]])
    counts = np.take(times, order, axis=1)
    true = counts * truth[order]
    if len(starts) < len(order):
        counts, true = (np.add.reduceat(each, starts, axis=1) for each in (counts, true))
    return true, counts - true


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
