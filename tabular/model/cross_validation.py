"""Cross-validation: what the models of the folds answered, put together to scores, a calibration and a threshold."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np

from tabular.data.folds import Fold
from tabular.metrics.classification import CALIBRATION_ERROR, DEFAULT_THRESHOLD
from tabular.metrics.lookup import METRICS, scores, sign
from tabular.metrics.metric import Predictions
from tabular.model import calibration, loss_curves
from tabular.model.calibration import Calibration
from tabular.model.loss_curves import Curves
from tabular.model.tasks import Classification, Task
from tabular.model.thresholds import Tuned, tune
from tabular.model.training import Candidate, OnFold, of_rows, on_fold

Array: TypeAlias = np.ndarray[Any, Any]


class Answering(Protocol):
    """How outputs become answers and are scored: what a `Candidate` has in common with a blend of several."""

    @property
    def task(self) -> Task:
        """What is predicted."""

    @property
    def threshold(self) -> float | str:
        """The decision threshold of two classes, or the name of the metric of labels for which it is tuned."""

    @property
    def calibrate(self) -> str:
        """How the probabilities of classes are calibrated on the folds."""


@dataclass(frozen=True)
class OutOfFold:
    """What the models of all folds predicted for rows that they had not learnt from.

    Attributes
    ----------
    rows
        (m,) the rows' positions, in the order of the folds.
    fold
        (m,) the number of the fold in which each was scored.
    outputs
        (m, classes) probabilities, not calibrated, or (m, 1) numbers.
    """

    rows: Array
    fold: Array
    outputs: Array


@dataclass(frozen=True)
class CrossValidation:
    """The result of a cross-validation.

    Attributes
    ----------
    scores
        Each fold's metrics. If probabilities are calibrated, they are of those that are calibrated by the other folds;
        if the threshold is tuned, they are at the threshold that is best on the other folds.
    curves
        The mean over the folds of the loss by iteration.
    seconds
        How long it took.
    threshold
        The decision threshold; if it is tuned, the one that is best on all folds.
    calibration
        What calibrates the probabilities of classes, learnt on all folds; None of numbers, and in the cross-validation
        of an earlier run.
    out_of_fold
        What the models of the folds predicted.
    """

    scores: tuple[Mapping[str, float], ...]
    curves: Curves
    seconds: float
    threshold: float
    calibration: Calibration | None
    out_of_fold: OutOfFold

    def as_dict(self) -> dict[str, Any]:
        """The results as plain values, without the predictions."""
        names = ("scores", "curves", "seconds", "threshold")
        told = {} if self.calibration is None else {"calibration": self.calibration.as_dict()}
        return {**{name: getattr(self, name) for name in names}, **told}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], out_of_fold: OutOfFold) -> "CrossValidation":
        """The cross-validation that `as_dict` made these values of, with what the models of the folds predicted."""
        told = values.get("calibration")
        found = None if told is None else Calibration.from_dict(told)
        return cls(**{**values, "calibration": found}, out_of_fold=out_of_fold)

    def calibrated(self, outputs: Array) -> Array:
        """What the final model answers where its estimator gives these (n, classes) probabilities or (n, 1) numbers."""
        return outputs if self.calibration is None else self.calibration.apply(outputs)

    def summary(self) -> dict[str, float]:
        """`cv_<metric>_mean` and `cv_<metric>_std`: mean and standard deviation (not standard error) over the folds."""
        summary = {}
        for name in self.scores[0]:
            values = [score[name] for score in self.scores]
            summary[f"cv_{name}_mean"] = float(np.mean(values))
            summary[f"cv_{name}_std"] = float(np.std(values))
        return summary

    def of_calibration(self) -> dict[str, float]:
        """What calibration does to all rows out of fold: their calibration error and log loss, after and before."""
        found = self.calibration
        if found is None:
            return {}
        return {
            f"cv_{CALIBRATION_ERROR}": found.errors["after"],
            f"cv_{CALIBRATION_ERROR}_uncalibrated": found.errors["before"],
            "cv_log_loss_calibrated": found.losses[found.method],
            "cv_log_loss_uncalibrated": found.losses["none"],
        }


def cross_validate(
    candidate: Candidate,
    X: Any,
    y: Array,
    folds: Sequence[Fold],
    *,
    threads: int,
    names: Sequence[str] | None = None,
    curves: bool = False,
    weights: Array | None = None,
) -> CrossValidation:
    """Cross-validate a candidate: for each fold, fit on its training rows and score its other rows.

    Parameters
    ----------
    candidate
        What to fit.
    X
        (n, columns) features, from `steps.model.served.as_features`.
    y
        (n,) class codes or numbers.
    folds
        Positions of the rows to fit on and of the rows to score.
    threads
        How many threads the estimator may use.
    names
        The metrics, by default all.
    curves
        Whether to record the loss by iteration, which takes time.
    weights
        (n,) how much each row counts, above 0, in fits and scores; None where all count alike.

    Raises
    ------
    CandidateError
        As `fit`; or the estimator refuses rows that it is asked about, or gives no numbers for them.
    """
    started = time.perf_counter()
    about: dict[str, Any] = {"threads": threads, "curves": curves, "weights": weights}
    found = [on_fold(candidate, X, y, fold, **about) for fold in folds]
    return joined(candidate, found, time.perf_counter() - started, names)


def joined(
    candidate: Answering, folds: Sequence[OnFold], seconds: float, names: Sequence[str] | None = None
) -> CrossValidation:
    """Put the results of folds, in the order of the folds, together to a cross-validation.

    Parameters
    ----------
    candidate
        The candidate that was fitted, or the blend. Its probabilities are calibrated here, and then its threshold is
        tuned if it names a metric.
    folds
        The result of each fold, from `on_fold`.
    seconds
        How long the fits took.
    names
        The metrics, by default all.
    """
    found = out_of_fold(folds)
    learnt = _calibrated(candidate, folds, found)
    if learnt is not None:
        ends = np.cumsum([len(fold.rows) for fold in folds])[:-1]
        parts = np.split(learnt.cross_fitted, ends)
        folds = [replace(fold, outputs=part) for fold, part in zip(folds, parts, strict=True)]
    wanted = candidate.threshold
    if isinstance(wanted, str) and isinstance(candidate.task, Classification):
        answers = [(fold.y, fold.outputs) for fold in folds]
        tuned = tune(answers, wanted, positive=candidate.task.positive, weights=[fold.weights for fold in folds])
    else:
        threshold = float(wanted)
        tuned = Tuned(threshold, (threshold,) * len(folds))
    scores = tuple(
        score(candidate, fold.y, fold.outputs, names, threshold=threshold, weights=fold.weights)
        for fold, threshold in zip(folds, tuned.without, strict=True)
    )
    curves, calibrated = (
        loss_curves.mean_of([fold.curves for fold in folds]),
        None if learnt is None else learnt.calibration,
    )
    return CrossValidation(scores, curves, seconds, tuned.whole, calibrated, found)


def out_of_fold(folds: Sequence[OnFold]) -> OutOfFold:
    """What the models of all folds predicted, put together in the order of the folds."""
    return OutOfFold(
        np.concatenate([fold.rows for fold in folds]),
        np.repeat(np.arange(len(folds)), [len(fold.rows) for fold in folds]),
        np.concatenate([fold.outputs for fold in folds]),
    )


def of_predictions(
    candidate: Answering, found: OutOfFold, y: Array, names: Sequence[str], weights: Array | None = None
) -> CrossValidation:
    """The cross-validation that left these predictions, without its curves; y and weights are of all training rows."""
    number = np.arange(found.fold.max() + 1)
    places = [np.flatnonzero(found.fold == one) for one in number]
    rows = [found.rows[at] for at in places]
    folds = [
        OnFold(of, y[of], found.outputs[at], {}, of_rows(weights, of)) for at, of in zip(places, rows, strict=True)
    ]
    return joined(candidate, folds, 0.0, names)


def _calibrated(candidate: Answering, folds: Sequence[OnFold], found: OutOfFold) -> calibration.Learnt | None:
    """The calibration of what the models of the folds answered; None of numbers."""
    if not isinstance(candidate.task, Classification):
        return None
    y = np.concatenate([fold.y for fold in folds])
    given = [fold.weights for fold in folds if fold.weights is not None]
    about: dict[str, Any] = {"how": candidate.calibrate, "positive": candidate.task.positive}
    return calibration.learn(found.outputs, y, found.fold, weights=np.concatenate(given) if given else None, **about)


def prior(
    candidate: Candidate,
    y: Array,
    folds: Sequence[Fold],
    names: Sequence[str] | None = None,
    weights: Array | None = None,
) -> CrossValidation:
    """Cross-validate the baselines that use no column (`Task.baselines`); of each metric the best of them counts."""
    candidate = replace(candidate, calibrate="none")  # shares are what they are
    each: list[list[OnFold]] = []
    for fold in folds:
        constants = candidate.task.baselines(y[fold.fit], of_rows(weights, fold.fit), len(fold.score))
        each.append([OnFold(fold.score, y[fold.score], one, {}, of_rows(weights, fold.score)) for one in constants])
    every = [joined(candidate, found, 0.0, names) for found in zip(*each, strict=True)]
    of_folds = zip(*(one.scores for one in every), strict=True)
    best = tuple({name: _best(name, [one[name] for one in scores]) for name in scores[0]} for scores in of_folds)
    return replace(every[0], scores=best)


def _best(name: str, values: Sequence[float]) -> float:
    """The best of a metric's values; NaN where it has none."""
    known = [value for value in values if not math.isnan(value)]
    return max(known, key=lambda value: sign(name) * value, default=math.nan)


def score(
    candidate: Answering,
    y: Array,
    outputs: Array,
    names: Sequence[str] | None = None,
    *,
    threshold: float = DEFAULT_THRESHOLD,
    weights: Array | None = None,
) -> Mapping[str, float]:
    """Compute the metrics of a candidate's (n, classes) probabilities, or (n, 1) numbers; by default all of its task's.

    Other parameters as for `Classification.predictions`.
    """
    predictions: Predictions = candidate.task.predictions(y, outputs, threshold=threshold, weights=weights)
    return scores(predictions, METRICS[candidate.task.name] if names is None else names)
