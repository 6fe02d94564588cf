"""What a score's order of rows is worth, for one table or for any number of resamples of its rows at once."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
# Of (n,) truths, (n,) scores and (b, n) how many times each row counts: (b,) values.
OfRanks: TypeAlias = Callable[[NDArray[np.bool_], Floats, Floats], Floats]


def auc(truth: NDArray[np.bool_], scores: Floats, times: Floats) -> Floats:
    """The share of pairs of a true and an untrue row in which the true one scores higher, of equals one half.

    Parameters
    ----------
    truth, scores
        (n,) each.
    times
        (b, n) how often each row counts in each of b tables.

    Returns
    -------
    (b,) float array
        NaN where a table holds true rows only, or none.

    Notes
    -----
    J. A. Hanley and B. J. McNeil, "The Meaning and Use of the Area under a ROC Curve", Radiology 143, 1982. It is
    `sklearn.metrics.roc_auc_score`.
    """
    true, untrue = _tallies(truth, scores, times)
    below = np.cumsum(untrue, axis=1) - untrue
    return _share(np.sum(true * (below + untrue / 2), axis=1), true.sum(axis=1) * untrue.sum(axis=1))


def average_precision(truth: NDArray[np.bool_], scores: Floats, times: Floats) -> Floats:
    """The mean over the true rows of the precision at their scores; as `auc`.

    Notes
    -----
    It is `sklearn.metrics.average_precision_score`: NaN where there is no true row or no untrue one.
    """
    true, untrue = (tally[:, ::-1] for tally in _tallies(truth, scores, times))
    above = np.cumsum(true, axis=1)
    predicted = above + np.cumsum(untrue, axis=1)
    precision = np.divide(above, predicted, out=np.zeros_like(above), where=predicted > 0)
    found = _share(np.sum(true * precision, axis=1), above[:, -1])
    return np.where(untrue.sum(axis=1) > 0, found, np.nan)


def _tallies(truth: NDArray[np.bool_], scores: Floats, times: Floats) -> tuple[Floats, Floats]:
    """(b, distinct scores) each: how many true and untrue rows have each score, the lowest first."""
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
