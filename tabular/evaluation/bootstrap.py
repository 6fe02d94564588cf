"""Bootstrap confidence intervals of metrics, computed for many resamples at once.

Intervals are percentile intervals (B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap", 1993,
chapter 13). Resamples are paired: every model is scored on the same resamples, so that a resample with many difficult
rows is difficult for all models.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from tabular.metrics.classification import ClassPredictions
from tabular.metrics.lookup import metric
from tabular.metrics.metric import Metric, Predictions

Array: TypeAlias = np.ndarray[Any, Any]
RESAMPLES = 2000
# The number of resamples for a metric that has to be computed for one resample after another.
RESAMPLES_ONE_BY_ONE = 300
# The most rows x resamples: a table so large that its resamples would take minutes gets fewer of them, but at least
# FEWEST. Its intervals are narrow all the same.
MOST_DRAWS = 200_000_000
FEWEST = 200
# How many rows x resamples are in memory at a time.
CELLS = 1_000_000
# How many rows of a large table the intervals are of: those of all would take minutes for each model.
ROWS_OF_LARGE = 200_000
# Of rows in groups at least so many groups, however large they are.
FEWEST_GROUPS = 200


@dataclass(frozen=True)
class Interval:
    """A confidence interval; both ends are NaN if the figure has no value in any resample."""

    low: float
    high: float


def resampled(
    predictions: Mapping[str, Predictions],
    names: Sequence[str],
    *,
    seed: int,
    groups: Array | None = None,
    resamples: int = RESAMPLES,
    most_rows: int | None = None,
) -> dict[str, dict[str, Array]]:
    """Score models on the same resamples of their rows.

    Parameters
    ----------
    predictions
        The predictions of each model, all of the same n rows, which have the same weights. A row counts in a
        resample as often as it was drawn, times its weight.
    names
        The names of the metrics.
    seed
        The seed of the resamples, which are the same for the same seed and number of rows or groups.
    groups
        The (n,) group of each row, such as its customer. Groups are drawn whole, since dependent rows hold less
        information than as many independent ones. None if the rows are independent.
    resamples
        The most resamples.
    most_rows
        Of more rows than these, so many are drawn by the seed, and resampled in the place of all.

    Returns
    -------
    dict of dict
        For each model and metric, the (resamples,) values. A rank metric is NaN in a resample that holds one class
        only, and every metric where all rows have the weight 0. If all rows are of one group, the only value is NaN:
        one group does not tell how a metric varies between groups.
    """
    (rows,) = {len(one.y) for one in predictions.values()}
    some = drawn(rows, most_rows, seed=seed, groups=groups)
    if some is not None:
        predictions = {model: one.taken(some) for model, one in predictions.items()}
        rows, groups = len(some), None if groups is None else groups[some]
    if groups is not None and len(np.unique(groups)) == 1:
        return {model: {name: np.array([np.nan]) for name in names} for model in predictions}
    wanted = [metric(name) for name in names]
    found: dict[str, dict[str, list[Array]]] = {model: {name: [] for name in names} for model in predictions}
    done = 0
    for times in draws(rows, seed=seed, groups=groups, resamples=resamples):
        for model, one in predictions.items():
            weighted = times if one.weights is None else times * one.weights
            counts = _counts(one, weighted) if isinstance(one, ClassPredictions) else None
            for each in wanted:
                values = _scores(each, one, times, weighted, counts, left=RESAMPLES_ONE_BY_ONE - done)
                found[model][each.name].append(values)
        done += len(times)
    return {model: {name: np.concatenate(values) for name, values in of.items()} for model, of in found.items()}


def drawn(rows: int, most: int | None, *, seed: int, groups: Array | None = None) -> Array | None:
    """The (m,) positions, ascending, of the rows that intervals are of; None where they are of all.

    Parameters are those of `resampled`, with its `most_rows` as `most`. Groups are drawn whole: as large a share of
    them as of rows, and at least `FEWEST_GROUPS`.
    """
    if most is None or rows <= most:
        return None
    generator = np.random.default_rng(seed)
    if groups is None:
        return np.sort(generator.permutation(rows)[:most])
    names, unit = np.unique(groups, return_inverse=True)
    kept = np.zeros(len(names), dtype=bool)
    kept[generator.permutation(len(names))[: max(FEWEST_GROUPS, len(names) * most // rows)]] = True
    return np.flatnonzero(kept[unit])


def intervals(
    predictions: Predictions,
    names: Sequence[str],
    *,
    seed: int,
    groups: Array | None = None,
    most_rows: int | None = None,
) -> tuple[dict[str, Interval], dict[str, Array]]:
    """The 95 % interval of each metric; and the values in the resamples, of metrics that do not grow with noise.

    Parameters are those of `resampled`.
    """
    some = drawn(len(predictions.y), most_rows, seed=seed, groups=groups)
    if some is not None:
        predictions, groups = predictions.taken(some), None if groups is None else groups[some]
    noisy = [name for name in names if metric(name).grows_with_noise]
    others = [name for name in names if name not in noisy]
    values = resampled({"": predictions}, others, seed=seed, groups=groups)[""]
    found = {name: interval(of) for name, of in values.items()}
    return found | {name: wide_interval(predictions, name, seed=seed, groups=groups) for name in noisy}, values


def interval(values: Array, confidence: float = 0.95) -> Interval:
    """The percentile interval of a figure, from its values in the resamples; NaN values are left out."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def wide_interval(
    predictions: Predictions, name: str, *, seed: int, groups: Array | None = None, confidence: float = 0.95
) -> Interval:
    """The interval of a metric that grows with noise, of which it takes this off; parameters are those of `resampled`.

    A resample has the noise of the rows and that of its drawing, so that it is greater than the figure of all rows, and
    this than the true one: a perfectly calibrated model has a calibration error above 0. The noise, the metric of how
    far a resample's means are from those of all rows, is added to the truth at most: the lower end is the figure less a
    noise that 5 % of the resamples exceed. The upper end is that of `interval`, which is too high rather than too low.
    It holds the truth more often than its confidence says.
    """
    wanted = metric(name)
    if wanted.of_rows is None or wanted.of_means is None:
        raise ValueError(f"{name} is not made of means")
    if groups is not None and len(np.unique(groups)) == 1:
        return Interval(float("nan"), float("nan"))
    of_rows = wanted.of_rows(predictions)
    mean = np.average(of_rows, axis=0, weights=predictions.weights)
    values, noise = [], []
    for times in draws(len(predictions.y), seed=seed, groups=groups):
        weighted = times if predictions.weights is None else times * predictions.weights
        with np.errstate(invalid="ignore"):  # of a resample of rows of weight 0 alone
            means = (weighted @ of_rows) / weighted.sum(axis=1)[:, None]
        values.append(wanted.of_means(means))
        noise.append(wanted.of_means(means - mean))
    most = float(np.nanquantile(np.concatenate(noise), confidence))
    return Interval(max(0.0, wanted.score(predictions) - most), interval(np.concatenate(values), confidence).high)


def draws(rows: int, *, seed: int, groups: Array | None = None, resamples: int = RESAMPLES) -> Iterator[Array]:
    """Draw resamples in batches.

    Parameters
    ----------
    rows
        The number of rows.
    seed, groups, resamples
        As for `resampled`.

    Yields
    ------
    (b, rows) float array
        How many times each row is in each resample of a batch of b.
    """
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


def _counts(predictions: ClassPredictions, weighted: Array) -> Array:
    """The (b, k, k) confusion matrices of the resamples, in which each row counts (b, n) times."""
    k = predictions.probabilities.shape[1]
    rows = np.arange(len(predictions.y))
    cells = sparse.csr_matrix(
        (np.ones(len(rows)), (predictions.y * k + predictions.predicted, rows)), shape=(k * k, len(rows))
    )
    counts: Array = (cells @ weighted.T).T.reshape(len(weighted), k, k)
    return counts


def _scores(
    wanted: Metric, predictions: Predictions, times: Array, weighted: Array, counts: Array | None, *, left: int
) -> Array:
    """The (b,) values of a metric in the resamples; NaN in one that holds rows of weight 0 alone.

    A metric that has to be computed for one resample after another is computed for the first `left` resamples only.
    """
    whole = weighted.sum(axis=1)
    values: Array
    with np.errstate(invalid="ignore"):  # of a whole that is 0
        if wanted.of_counts is not None and isinstance(predictions, ClassPredictions) and counts is not None:
            values = wanted.of_counts(counts, predictions.positive)
        elif wanted.of_rows is not None:
            of_rows = wanted.of_rows(predictions)
            means = (weighted @ of_rows) / (whole if of_rows.ndim == 1 else whole[:, None])
            values = means if wanted.of_means is None else wanted.of_means(means)
        elif wanted.of_ranks is not None:
            values = wanted.of_ranks(predictions, weighted)
        else:
            rows, few = np.arange(len(predictions.y)), times[: max(0, left)].astype(int)
            values = np.array(
                [
                    wanted.score(predictions.taken(np.repeat(rows, one))) if total > 0 else np.nan
                    for one, total in zip(few, whole, strict=False)
                ]
            )
    return np.where(whole[: len(values)] > 0, values, np.nan)
