"""Blends: the weighted mean of what several candidates predict, with weights chosen out of fold.

R. Caruana, A. Niculescu-Mizil, G. Crew and A. Ksikes, "Ensemble Selection from Libraries of Models", ICML 2004: from
the best candidate on, the one is added again and again that makes the mean of all that were added the best; one that is
added often weighs much, and most are never added.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tabular.errors import UserError
from tabular.metrics.classification import DEFAULT_THRESHOLD, is_of_labels
from tabular.metrics.lookup import metric, sign
from tabular.model.cross_validation import CrossValidation, OutOfFold, joined
from tabular.model.tasks import Task
from tabular.model.training import OnFold

Array: TypeAlias = np.ndarray[Any, Any]
# How many candidates are added, one that was added before included.
ADDITIONS = 25
# The most rows by which they are chosen: more take time, and change a weight in its third digit.
MOST_ROWS = 20_000


@dataclass(frozen=True)
class Blend:
    """How a blend is scored; as much of a candidate as `tabular.model.cross_validation.joined` asks for.

    Attributes
    ----------
    task, threshold, calibrate
        As in `tabular.model.training.Candidate`.
    """

    task: Task
    threshold: float | str = DEFAULT_THRESHOLD
    calibrate: str = "none"


@dataclass(frozen=True)
class Blended:
    """A blend's weights, and what cross-validation says of it.

    Attributes
    ----------
    weights
        (candidates,) above 0 or 0, with the sum 1, chosen on all rows.
    result
        Its cross-validation: the rows of each fold are blended by weights that were chosen on the other folds, so that
        no row is scored by weights that have seen it.
    """

    weights: Array
    result: CrossValidation


def measured_by(name: str) -> str:
    """The metric by which a blend is chosen: the search's, but the log loss where that is of labels, and too coarse."""
    return "log_loss" if is_of_labels(name) else name


def learn(
    blend: Blend,
    candidates: Sequence[OutOfFold],
    y: Array,
    name: str,
    *,
    names: Sequence[str],
    seed: int,
    weights: Array | None = None,
) -> Blended:
    """Choose a blend's weights, and cross-validate it.

    Parameters
    ----------
    blend
        How it is scored.
    candidates
        What each candidate predicted out of fold, all for the same rows and folds; not calibrated.
    y
        (n,) class codes or numbers of all training rows.
    name
        The metric of the search.
    names
        The metrics of the cross-validation.
    seed
        Of the sample of rows, where there are more than `MOST_ROWS`.
    weights
        (n,) how much each row counts; None where all count alike.

    Raises
    ------
    UserError
        Candidates were cross-validated on different folds.
    """
    rows, fold = candidates[0].rows, candidates[0].fold
    if any(not (np.array_equal(one.rows, rows) and np.array_equal(one.fold, fold)) for one in candidates):
        raise UserError("models: their runs were cross-validated on different folds: train them with one problem")
    outputs = np.stack([one.outputs for one in candidates])
    truth, counts = y[rows], None if weights is None else weights[rows]
    draw = np.random.default_rng(seed)

    def chosen(of: Array) -> Array:
        """The weights that are best on the rows at some positions, or on a sample of them."""
        some = np.sort(draw.permutation(of)[:MOST_ROWS])
        measured = measured_by(name)

        def measure(mean: Array) -> float:
            about: dict[str, Any] = {"weights": None if counts is None else counts[some]}
            return sign(measured) * metric(measured).score(blend.task.predictions(truth[some], mean, **about))

        return select(outputs[:, some], measure)

    number = np.arange(fold.max() + 1)
    places = [np.flatnonzero(fold == one) for one in number]
    without = [chosen(np.flatnonzero(fold != one)) for one in number]
    folds = [
        OnFold(rows[at], truth[at], mean(outputs[:, at], own), {}, None if counts is None else counts[at])
        for at, own in zip(places, without, strict=True)
    ]
    return Blended(chosen(np.arange(len(rows))), joined(blend, folds, 0.0, names))


def mean(outputs: Array, weights: Array) -> Array:
    """(n, any) the weighted mean of (candidates, n, any) outputs, summed in the order of the candidates."""
    return np.asarray(sum(weight * one for weight, one in zip(weights, outputs, strict=True) if weight))


def select(outputs: Array, measure: Callable[[Array], float]) -> Array:
    """Choose weights greedily, with replacement.

    Parameters
    ----------
    outputs
        (candidates, n, any) what each candidate predicts.
    measure
        Function of (n, any) predictions that returns a score; greater is better, and NaN is the worst.

    Returns
    -------
    numpy.ndarray
        (candidates,) shares of the additions; of equally good means the one with fewer additions is taken, and of
        equally good candidates the first.
    """
    counts = np.zeros(len(outputs), dtype=int)
    best, best_counts, total = -math.inf, counts, np.zeros_like(outputs[0])
    for added in range(1, ADDITIONS + 1):
        found = [_known(measure((total + one) / added)) for one in outputs]
        place = int(np.argmax(found))
        counts = counts + (np.arange(len(outputs)) == place)
        total = total + outputs[place]
        if found[place] > best or added == 1:
            best, best_counts = found[place], counts
    return np.asarray(best_counts / best_counts.sum())


def _known(score: float) -> float:
    return -math.inf if math.isnan(score) else score
