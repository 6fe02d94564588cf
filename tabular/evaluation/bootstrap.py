"""How sure a metric is: the same resamples of rows for all models, each metric of many resamples at once.

B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: percentile intervals. Resamples are
paired: every model is scored on the same ones, so that what is hard about a resample is hard for all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from tabular.metrics.classification import Metric, Predictions, metric

Array: TypeAlias = np.ndarray[Any, Any]
RESAMPLES = 2000
# A metric that has to be computed anew for each resample gets so many.
RESAMPLES_ONE_BY_ONE = 300
# Of a table so large that its resamples would take minutes there are fewer: its intervals are narrow all the same.
MOST_DRAWS = 200_000_000
FEWEST = 200
# Rows x resamples that are in memory at a time.
CELLS = 1_000_000


@dataclass(frozen=True)
class Interval:
    """Between which values a figure lies with a confidence; NaN where no resample has one."""

    low: float
    high: float


def resampled(
    predictions: Mapping[str, Predictions],
    names: Sequence[str],
    *,
    seed: int,
    groups: Array | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, dict[str, Array]]:
    """Score models on resamples of the rows that they have in common.

    Parameters
    ----------
    predictions
        Model: its predictions; all to the same n rows.
    names
        Of metrics.
    seed
        Of the resamples: the same for the same number of rows or groups.
    groups
        (n,) the groups of rows that are alike, such as those of one customer: they are drawn whole, since rows of which
        one tells the other count for less than as many strangers. None where each row stands for itself.
    resamples
        How many, at most.

    Returns
    -------
    dict
        Model: metric: (resamples,) its values. NaN in a resample that holds one class only, where a metric of ranks has
        no value; NaN alone where all rows are of one group, which says nothing of how another would do.
    """
    (rows,) = {len(one.y) for one in predictions.values()}
    if groups is not None and len(np.unique(groups)) == 1:
        return {model: {name: np.array([np.nan]) for name in names} for model in predictions}
    wanted = [metric(name) for name in names]
    found: dict[str, dict[str, list[Array]]] = {model: {name: [] for name in names} for model in predictions}
    done = 0
    for times in draws(rows, seed=seed, groups=groups, resamples=resamples):
        for model, one in predictions.items():
            counts = _counts(one, times)
            for each in wanted:
                found[model][each.name].append(_scores(each, one, times, counts, left=RESAMPLES_ONE_BY_ONE - done))
        done += len(times)
    return {model: {name: np.concatenate(values) for name, values in of.items()} for model, of in found.items()}


def interval(values: Array, confidence: float = 0.95) -> Interval:
    """The middle share of what a figure was in the resamples."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def draws(rows: int, *, seed: int, groups: Array | None = None, resamples: int = RESAMPLES) -> Iterator[Array]:
    """(b, rows) how many times each row is in each of b resamples, some of them at a time."""
    unit = None if groups is None else np.unique(groups, return_inverse=True)[1]
    units = rows if unit is None else int(unit.max()) + 1
    left = min(resamples, max(FEWEST, MOST_DRAWS // rows))
    at_once = max(1, CELLS // rows)
    generator = np.random.default_rng(seed)
    while left > 0:
        b = min(left, at_once)
        drawn = generator.integers(0, units, (b, units)) + units * np.arange(b)[:, None]
        times = np.bincount(drawn.ravel(), minlength=b * units).reshape(b, units).astype(np.float64)
        yield times if unit is None else times[:, unit]
        left -= b


def _counts(predictions: Predictions, times: Array) -> Array:
    """(b, k, k): each resample's confusion matrix."""
    k = predictions.probabilities.shape[1]
    rows = np.arange(len(predictions.y))
    cells = sparse.csr_matrix(
        (np.ones(len(rows)), (predictions.y * k + predictions.predicted, rows)), shape=(k * k, len(rows))
    )
    counts: Array = (cells @ times.T).T.reshape(len(times), k, k)
    return counts


def _scores(wanted: Metric, predictions: Predictions, times: Array, counts: Array, *, left: int) -> Array:
    """(b,) a metric of resamples; of those beyond the `left` none where each has to be computed by itself."""
    if wanted.of_counts is not None:
        return wanted.of_counts(counts, predictions.positive)
    if wanted.of_rows is not None:
        means: Array = times @ wanted.of_rows(predictions) / times.sum(axis=1)
        return means
    if wanted.of_ranks is not None:
        return wanted.of_ranks(predictions, times)
    rows = np.arange(len(predictions.y))
    return np.array(
        [wanted.score(predictions.taken(np.repeat(rows, one))) for one in times[: max(0, left)].astype(int)]
    )
