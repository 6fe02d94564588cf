"""Fitting of candidates: on folds, to estimate their metrics, and on all training rows, for the final model."""

import itertools
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np

from tabular.data.datasets import Column
from tabular.data.folds import Fold
from tabular.data.size import is_large
from tabular.errors import CandidateError, first_line, listed
from tabular.metrics.classification import CALIBRATION_ERROR, DEFAULT_THRESHOLD
from tabular.metrics.lookup import METRICS, scores, sign
from tabular.metrics.metric import Predictions
from tabular.model import calibration, dates, nets, seeds, wide_tables
from tabular.model.boosting import has_linear_trees
from tabular.model.calibration import Calibration
from tabular.model.codes import as_taken
from tabular.model.estimators import (
    build,
    most_categories,
    native,
    preprocessor,
    reads_float32,
    resolve,
    takes_sparse,
    with_weights,
)
from tabular.model.formats import format_of, settle, within
from tabular.model.tasks import Classification, Task
from tabular.model.thresholds import Tuned, tune
from tabular.problem import Model, Preprocessing, of_estimator

Array: TypeAlias = np.ndarray[Any, Any]
# The task's loss by iteration. "iteration": the iterations after which it is taken; "training", "validation": the
# losses. Empty if the estimator has no iterations.
Curves: TypeAlias = dict[str, list[Any]]
# Rows, their class codes or numbers, and how much each counts; None where all count alike.
Weighed: TypeAlias = tuple[Any, Array, Array | None]
# About how many points a curve has: each costs as much time as an iteration.
CURVE_POINTS = 100
# Estimators whose reasons (`steps.model.reasons.Reasons`) need no means of the rows of training.
_OF_TREES = (
    *("lightgbm.", "xgboost.", "catboost.", "sklearn.ensemble.RandomForest", "sklearn.ensemble.ExtraTrees"),
    "sklearn.ensemble.HistGradientBoosting",
)
# Parameters that change nothing of what is learnt.
_EXECUTION = ("n_jobs", "thread_count", "verbose", "verbosity", "allow_writing_files")
# What the libraries' own importances of columns measure, by package, where it is not the impurity of trees.
_MEASURES = {"xgboost": "gain", "catboost": "change of the prediction"}
# For permutation importances: how often each column is shuffled, and the most shuffled rows and cells of one call.
SHUFFLES = 3
SHUFFLED_ROWS = 20_000
SHUFFLED_CELLS = 10_000_000
# How many rows of a large table are encoded and predicted at once.
ROWS_AT_ONCE = 100_000
# Of more columns than these, as many are shuffled by themselves, and the others together.
MOST_SHUFFLED = 100


class RowsApart(ABC):
    """Rows that are no frame in memory: what `fit` and `on_fold` do with them, in their terms."""

    @abstractmethod
    def fit(
        self, candidate: "Candidate", y: Array, *, threads: int, rows: Array | None, weights: Array | None
    ) -> "Fitted":
        """Fit a candidate on all of them or on those at some positions."""

    @abstractmethod
    def on_fold(
        self, candidate: "Candidate", y: Array, fold: Fold, *, threads: int, curves: bool, weights: Array | None
    ) -> "OnFold":
        """Fit and predict one fold."""

    @abstractmethod
    def at(self, rows: Array) -> Any:
        """(m, columns) a frame of the rows at some positions."""


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
class Candidate:
    """A model of the problem with the hyperparameters and columns to fit it with.

    Attributes
    ----------
    name
        The model's name in the problem file.
    model
        The model of the problem.
    params
        Hyperparameters, which replace the model's own: its estimator's, and what is searched of its preprocessing.
    columns
        The data set's columns.
    task
        What is predicted.
    seed
        The estimator's seed.
    threshold
        The decision threshold of two classes, or the name of the metric of labels for which it is tuned.
    calibrate
        How the probabilities of classes are calibrated on the folds: a method of `tabular.model.calibration`, or
        `auto`.
    seeds
        How many fits the model is the mean of (`tabular.model.seeds`): with `seed`, the one after it, and so on.
    """

    name: str
    model: Model
    params: Mapping[str, Any]
    columns: tuple[Column, ...]
    task: Task
    seed: int
    threshold: float | str = DEFAULT_THRESHOLD  # a number, or the metric to tune it for
    calibrate: str = "none"
    seeds: int = 1

    @property
    def treated(self) -> Model:
        """The model with the preprocessing that its hyperparameters say."""
        return self.model.treated(self.params)

    @property
    def of_estimator(self) -> dict[str, Any]:
        """Those of its hyperparameters that are its estimator's."""
        return {name: self.params[name] for name in of_estimator(self.params)}


@dataclass(frozen=True)
class Fitted:
    """A fitted preprocessor and estimator.

    Attributes
    ----------
    preprocessor, estimator
        Both fitted.
    task
        What they predict.
    seen
        The codes of the classes in the training rows, ascending; empty where a number is predicted.
    curves
        The estimator's loss by iteration, if that was recorded.
    dates
        What it has learnt of dates; None as usual.
    means
        (encoded columns,) the means of the rows that it was fitted on, missing values left out; None of trees.
    """

    preprocessor: Any
    estimator: Any
    task: Task
    seen: Array
    curves: Curves
    dates: Sequence[str] | None = None
    means: Array | None = None

    def outputs(self, X: Any) -> Array:
        """(n, classes) float64 probabilities, 0 for a class that the training rows lack; or (n, 1) numbers."""
        if not is_large(*X.shape):
            return _outputs(self, self.preprocessor.transform(X))
        blocks = (X.iloc[start : start + ROWS_AT_ONCE] for start in range(0, len(X), ROWS_AT_ONCE))
        return np.concatenate([_outputs(self, self.preprocessor.transform(block)) for block in blocks])


@dataclass(frozen=True)
class OnFold:
    """What the model of a fold predicted for the rows that it was scored on.

    Attributes
    ----------
    rows
        (n,) the rows' positions.
    y
        (n,) the truth.
    outputs
        (n, classes) probabilities, or (n, 1) numbers.
    curves
        The loss by iteration, if that was recorded.
    weights
        (n,) how much each row counts; None where all count alike.
    """

    rows: Array
    y: Array
    outputs: Array
    curves: Curves
    weights: Array | None = None


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


def fit(
    candidate: Candidate,
    X: Any,
    y: Array,
    *,
    threads: int,
    rows: Array | None = None,
    validation: Weighed | None = None,
    weights: Array | None = None,
) -> Fitted:
    """Fit a candidate's preprocessor and estimator.

    Parameters
    ----------
    candidate
        What to fit.
    X
        (n, columns) features, from `steps.model.served.as_features`; or rows that are no frame in memory.
    y
        (n,) class codes or numbers.
    threads
        How many threads the estimator may use. The result does not depend on this number.
    rows
        The positions of the rows to fit on; all by default. They are copied here, and not by who calls, so that the
        copy is gone before the fit begins.
    validation
        Features, class codes or numbers, and weights of rows that are not fitted on. If they are given and the
        estimator has iterations, its loss by iteration is recorded on them and on the fitted rows.
    weights
        (n,) how much each row counts for the estimator, above 0; None where all count alike. The preprocessor takes
        none.

    Raises
    ------
    CandidateError
        The estimator refuses its hyperparameters or the rows.
    """
    if isinstance(X, RowsApart):
        return X.fit(candidate, y, threads=threads, rows=rows, weights=weights)
    estimator = unfitted(candidate, threads=threads)
    y, weights = (y, weights) if rows is None else (y[rows], _of(weights, rows))
    features, X_encoded = encode(candidate, X if rows is None else X.iloc[rows], y, sparse=takes_sparse(estimator))
    followed: list[Weighed] = []
    if validation is not None:
        followed = [(X_encoded, y, weights), (features.transform(validation[0]), *validation[1:])]
    curves = fit_encoded(candidate, estimator, X_encoded, y, followed, weights, threads=threads)
    parts = candidate.model.preprocessing.dates
    means = None if _is_of_trees(candidate) else _means(X_encoded, weights)
    return Fitted(features, estimator, candidate.task, candidate.task.seen(y), curves, parts, means)


def _is_of_trees(candidate: Candidate) -> bool:
    path = candidate.model.estimator
    return path.startswith(_OF_TREES) and not has_linear_trees(
        path, {**candidate.model.params, **candidate.of_estimator}
    )


def _means(X_encoded: Any, weights: Array | None) -> Array:
    """(encoded columns,) the mean of each column; X_encoded is an array or a sparse matrix."""
    from threadpoolctl import threadpool_limits

    counts = np.ones(X_encoded.shape[0]) if weights is None else weights
    with threadpool_limits(limits=1, user_api="blas"):  # as in `fit_encoded`
        found = np.asarray(X_encoded.T @ counts / counts.sum())
        for column in np.flatnonzero(np.isnan(found)):
            known = ~np.isnan(X_encoded[:, column])
            found[column] = np.average(X_encoded[known, column], weights=counts[known]) if known.any() else 0.0
        return found


def unfitted(candidate: Candidate, *, threads: int) -> Any:
    """The unfitted estimator of a candidate, which knows what encoded columns are categories if it reads them as such.

    Raises
    ------
    UserError
        As `estimators.build` and `estimators.native`.
    """
    where, model = f"models.{candidate.name}", candidate.treated
    told = native(model, candidate.columns, where)
    if told:
        model = model.model_copy(update={"params": {**model.params, **told}})
    return build(model, candidate.of_estimator, where=where, seed=candidate.seed, threads=threads)


def encode(candidate: Candidate, X: Any, y: Array, *, sparse: bool) -> tuple[Any, Any]:
    """Fit a candidate's preprocessor on rows, and encode these rows to learn from them.

    Where categories are encoded by the target, these rows are not encoded as the fitted preprocessor encodes others:
    each is by what other rows tell of the target (`sklearn.preprocessing.TargetEncoder`). The result does not depend on
    any hyperparameter of the estimator, so that all trials of a search with one preprocessing can share it.

    Parameters
    ----------
    candidate
        Its columns and preprocessing are used.
    X
        (n, columns) features.
    y
        (n,) class codes or numbers, for target encoding, and for steps of the problem's that select by them.
    sparse
        Whether the estimator takes sparse matrices.

    Returns
    -------
    tuple
        The fitted preprocessor and the (n, encoded columns) array or sparse matrix.

    Raises
    ------
    CandidateError
        A step of the problem's refuses the encoded rows, or there are too few rows to encode them by the target.
    """
    from threadpoolctl import threadpool_limits

    how, task, seed = resolve(candidate.treated), candidate.task, candidate.seed
    by_target = task.target_encoder(y, seed) if how.categories == "target" else None
    at_once = wide_tables.COLUMNS_AT_ONCE if wide_tables.is_wide(*X.shape) else None
    X = _learnt_from(candidate, X)
    float32 = is_large(*X.shape) and reads_float32(candidate.treated)
    if float32:  # no copy of the rows as doubles is made beside theirs
        X = X.astype(dict.fromkeys(dates.numbers(candidate.columns, how.dates), np.float32))
    about: dict[str, Any] = {"sparse": sparse, "seed": seed, "at_once": at_once, "target_encoder": by_target}
    about |= {"rows": len(X), "float32": float32}
    features = preprocessor(candidate.columns, how, most_categories=most_categories(candidate.model), **about)
    refusing = _what_may_refuse(how)
    if not refusing:
        try:
            return features, features.fit_transform(X)
        except MemoryError as error:
            raise CandidateError(f"models.{candidate.name}: to encode the rows {_reason(error)}") from error
    try:
        with threadpool_limits(limits=1, user_api="blas"):  # as in `fit_encoded`
            return features, features.fit_transform(X, task.learnt(y))
    except Exception as error:  # transformers raise what they like
        message = f"{', '.join(refusing.values())} refuses to fit: {_reason(error)}"
        raise CandidateError(f"models.{candidate.name}.preprocessing.{next(iter(refusing))}: {message}") from error


def _what_may_refuse(how: Preprocessing) -> dict[str, str]:
    """What of a preprocessing learns more of rows than their values, and may refuse them: by its key."""
    found = {
        "steps": ", ".join(step.transformer for step in how.steps),
        "categories": "target encoding" if how.categories == "target" else "",
        "texts": f"the words of {listed(list(how.texts))}" if how.texts else "",
    }
    return {key: what for key, what in found.items() if what}


def _learnt_from(candidate: Candidate, X: Any) -> Any:
    """The columns that a candidate learns from: without a date of which it learns parts only."""
    kept = {column.name for column in candidate.columns if column.kind == "category"}  # texts are, too
    kept |= set(dates.numbers(candidate.columns, candidate.model.preprocessing.dates))
    return X if kept.issuperset(X.columns) else X[[name for name in X.columns if name in kept]]


def encoded_to_learn(candidate: Candidate, fitted: Fitted, X: Any, y: Array, rows: Array) -> Any:
    """(m, encoded columns) those of its training rows that are at some positions, encoded as it has learnt from them.

    Parameters
    ----------
    candidate, fitted
        The candidate, and its fit on all rows.
    X, y
        (n, columns) features and (n,) class codes or numbers of the rows that it was fitted on.
    rows
        (m,) positions.
    """
    if isinstance(X, RowsApart):
        return fitted.preprocessor.transform(X.at(rows))
    if resolve(candidate.treated).categories != "target":
        return fitted.preprocessor.transform(X.iloc[rows])
    return encode(candidate, X, y, sparse=takes_sparse(fitted.estimator))[1][rows]


def fit_encoded(
    candidate: Candidate,
    estimator: Any,
    X_encoded: Any,
    y: Array,
    followed: Sequence[Weighed] = (),
    weights: Array | None = None,
    *,
    threads: int = 1,
) -> Curves:
    """Fit an estimator in place on encoded rows.

    Parameters
    ----------
    candidate
        The candidate of the estimator.
    estimator
        The unfitted estimator.
    X_encoded
        (n, encoded columns) array or sparse matrix.
    y
        (n,) class codes or numbers.
    followed
        Encoded rows, class codes or numbers, and weights on which the loss by iteration is recorded: first the training
        rows, then the validation rows.
    weights
        (n,) how much each row counts, above 0; None where all count alike.
    threads
        How many threads an estimator may use that takes as many as there are, such as scikit-learn's histograms.

    Returns
    -------
    dict
        The loss by iteration; empty if nothing is `followed` or the estimator has no iterations.

    Raises
    ------
    CandidateError
        The estimator refuses its hyperparameters or the rows.
    UserError
        It takes no weights.
    """
    weighted = with_weights(estimator, weights, f"models.{candidate.name}")
    if weighted:
        _draw_by_rows(estimator, len(y))
    with refusing(candidate, threads):
        others = others_of(candidate, estimator)
        curves = _fit(candidate, estimator, X_encoded, y, followed, weighted)
        for other in others:
            _fit(candidate, other, X_encoded, y, (), weighted)
        if others:
            estimator._Booster = seeds.mean([one.booster_ for one in (estimator, *others)])
    settle(estimator)
    if weighted:
        _forget_weights(estimator)
    return curves


def others_of(candidate: Candidate, estimator: Any) -> list[Any]:
    """The unfitted estimators whose fits belong to the mean; none where all fits would be the same."""
    from sklearn.base import clone

    if candidate.seeds == 1 or not seeds.draws(estimator.get_params()):
        return []
    return [clone(estimator).set_params(random_state=candidate.seed + more) for more in range(1, candidate.seeds)]


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Libraries use so many threads within, also those that would use all cores, and linear algebra one.

    BLAS sums in an order that depends on the number of threads: one thread gives the same bits on every machine.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits={"blas": 1, "openmp": threads}):
        yield


@contextmanager
def refusing(candidate: Candidate, threads: int) -> Iterator[None]:
    """Fit a candidate within: what its estimator raises is a CandidateError, and no bit depends on the threads."""
    from joblib import parallel_config

    # Processes would give back copies of what is fitted in parallel, which share less and are stored in other bytes.
    with limited(threads), parallel_config("threading"):
        try:
            yield
        except Exception as error:  # libraries raise their own classes of errors, such as LightGBMError
            message = f"{candidate.model.estimator} refuses to fit: {_reason(error)}"
            raise CandidateError(f"models.{candidate.name}: {message}") from error


def _reason(error: Exception) -> str:
    """Why an estimator refuses, in one line; that memory is short is told as such, since another machine may do."""
    said = first_line(error)
    if not isinstance(error, MemoryError):
        return said
    return f"it needs more memory than there is ({said}): its key `rows` lets it learn from a sample"


def _draw_by_rows(estimator: Any, rows: int) -> None:
    """Have forests and the like draw a share of the rows, not of the sum of their weights, which may be any number."""
    for one in within(estimator):
        share = one.get_params(deep=False).get("max_samples")
        if isinstance(share, float):
            one.set_params(max_samples=max(1, int(share * rows)))


def _forget_weights(estimator: Any) -> None:
    """Take out the weights of the training rows that forests and the like keep, and answer without."""
    for one in within(estimator):
        if getattr(one, "_sample_weight", None) is not None:
            one._sample_weight = None


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


def on_fold(
    candidate: Candidate,
    X: Any,
    y: Array,
    fold: Fold,
    *,
    threads: int,
    curves: bool = False,
    weights: Array | None = None,
) -> OnFold:
    """Fit and predict one fold, with the parameters of `cross_validate`; `joined` puts the folds together."""
    if isinstance(X, RowsApart):
        return X.on_fold(candidate, y, fold, threads=threads, curves=curves, weights=weights)
    scored = (X.iloc[fold.score], y[fold.score], _of(weights, fold.score))
    about: dict[str, Any] = {"threads": threads, "validation": scored if curves else None}
    fitted = fit(candidate, X, y, rows=fold.fit, weights=weights, **about)
    with limited(threads):
        outputs = fitted.outputs(scored[0])
    return OnFold(fold.score, scored[1], outputs, fitted.curves, scored[2])


def _of(weights: Array | None, rows: Array) -> Array | None:
    return None if weights is None else weights[rows]


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
    found = OutOfFold(
        np.concatenate([fold.rows for fold in folds]),
        np.repeat(np.arange(len(folds)), [len(fold.rows) for fold in folds]),
        np.concatenate([fold.outputs for fold in folds]),
    )
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
    curves, calibrated = _mean_curves([fold.curves for fold in folds]), None if learnt is None else learnt.calibration
    return CrossValidation(scores, curves, seconds, tuned.whole, calibrated, found)


def of_predictions(
    candidate: Answering, found: OutOfFold, y: Array, names: Sequence[str], weights: Array | None = None
) -> CrossValidation:
    """The cross-validation that left these predictions, without its curves; y and weights are of all training rows."""
    number = np.arange(found.fold.max() + 1)
    places = [np.flatnonzero(found.fold == one) for one in number]
    rows = [found.rows[at] for at in places]
    folds = [OnFold(of, y[of], found.outputs[at], {}, _of(weights, of)) for at, of in zip(places, rows, strict=True)]
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
        constants = candidate.task.baselines(y[fold.fit], _of(weights, fold.fit), len(fold.score))
        each.append([OnFold(fold.score, y[fold.score], one, {}, _of(weights, fold.score)) for one in constants])
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


def hyperparameters(candidate: Candidate) -> dict[str, Any]:
    """All hyperparameters of the estimator and of its preprocessing, with defaults; without threads and verbosity."""
    estimator = build(candidate.model, candidate.of_estimator, where=candidate.name, seed=candidate.seed, threads=1)
    every = nets.hyperparameters(estimator) if nets.is_net(type(estimator)) else estimator.get_params()
    values = {name: value for name, value in every.items() if name not in _EXECUTION}
    how = resolve(candidate.treated).model_dump()
    how |= {"steps": json.dumps(how["steps"])} if how["steps"] else {}
    how |= {} if any(column.dtype == "datetime" for column in candidate.columns) else {"dates": None}
    how = {name: value for name, value in how.items() if value not in ([], {}, None)}
    values |= {"seeds": candidate.seeds} if candidate.seeds > 1 else {}
    return {**values, **{f"preprocessing_{name}": value for name, value in how.items()}}


def importances(features: Any, estimator: Any) -> tuple[str, dict[str, float]] | None:
    """The estimator's own importances of the encoded columns.

    Parameters
    ----------
    features
        The fitted preprocessor.
    estimator
        The fitted estimator, or the Booster of a LightGBM model.

    Returns
    -------
    tuple or None
        The measure's name and the importance of each encoded column, by its name; None if the estimator has none.
    """
    names: Iterable[str] = _feature_names(features) or map("encoded column {}".format, itertools.count(1))
    if hasattr(estimator, "feature_importance"):
        gains = estimator.feature_importance(importance_type="gain")
        return "gain", dict(zip(names, map(float, gains), strict=isinstance(names, list)))
    # CatBoost's attribute is None in an estimator that was read from a file, and its function finds them anew
    find = getattr(estimator, "get_feature_importance", None)
    shares = getattr(estimator, "feature_importances_", None) if find is None else find()
    if shares is not None:
        measure = _MEASURES.get(type(estimator).__module__.partition(".")[0], "mean decrease in impurity")
        return measure, dict(zip(names, map(float, shares), strict=isinstance(names, list)))
    return None


def _feature_names(features: Any) -> list[str]:
    """The encoded columns' names, without the prefixes `numbers__` and `categories__` if they are unique without."""
    try:
        names = [str(name) for name in features.get_feature_names_out()]
    except (AttributeError, ValueError):  # a step of the problem's may not say
        return []
    short = [name.partition("__")[2] or name for name in names]
    return short if len(set(short)) == len(short) else names


def permutation_importances(
    ask: Callable[[Array], Array],
    X: Array,
    places: Mapping[str, slice | Array],
    measure: Callable[[Array], float],
    *,
    seed: int,
) -> dict[str, float]:
    """The permutation importance of each column: how much worse a score gets when the column is shuffled.

    Parameters
    ----------
    ask
        Function of rows like those of `X` that returns (n, any) what the model predicts.
    X
        (n, encoded columns) encoded rows; a sample of a thousand is enough. To shuffle what a column has become is to
        shuffle the column, since rows are encoded one by one, and takes no encoding of each shuffle.
    places
        Column: where it lies in `X`, as a slice or as positions.
    measure
        Function of what the model predicts for the rows of `X` that returns a score; greater is better.
    seed
        Seed of the shuffles; each column is shuffled three times and the mean is taken.

    Returns
    -------
    dict
        The mean drop of the score, by column. Of more than `MOST_SHUFFLED` columns only those that matter most are
        shuffled by themselves; one more entry says how many the others are, and what they are worth together.

    Notes
    -----
    L. Breiman, "Random Forests", Machine Learning 45, 2001, section 10.
    """
    generator = np.random.default_rng(seed)
    whole = measure(ask(X))
    every = np.arange(X.shape[1])
    encoded = [every[place] for place in places.values()]

    def drops(blocks: Sequence[Array], times: int) -> Array:
        """(blocks,) the mean drop of the score when the columns of a block are shuffled together, a number of times."""
        shuffles = [
            (np.concatenate([encoded[number] for number in block]), generator.permutation(len(X)))
            for block in blocks
            for _ in range(times)
        ]
        found = _scores_when_shuffled(ask, X, measure, shuffles)
        return np.asarray(whole - np.mean(np.reshape(found, (-1, times)), axis=1))

    numbers = np.arange(len(encoded))
    chosen = numbers if len(numbers) <= MOST_SHUFFLED else _most_important(numbers, drops)
    names = list(places)
    found = dict(
        zip((names[number] for number in chosen), drops(list(chosen[:, None]), SHUFFLES).tolist(), strict=True)
    )
    others = np.setdiff1d(numbers, chosen)
    if len(others):
        found[f"the other {len(others):,} columns together"] = float(drops([others], SHUFFLES)[0])
    return found


def _most_important(numbers: Array, drops: Callable[[Sequence[Array], int], Array]) -> Array:
    """Of columns, by number, the `MOST_SHUFFLED` that matter most, ascending.

    To shuffle each by itself would take time by the square of the number of columns, since each prediction reads them
    all. Blocks of neighbours are shuffled instead, those that matter least are put aside, and the others are halved,
    until a block is a column.
    """
    blocks = [block for block in np.array_split(numbers, 2 * MOST_SHUFFLED) if len(block)]
    while True:
        first = np.argsort(-drops(blocks, 1), kind="stable")[:MOST_SHUFFLED]
        best = [blocks[place] for place in first]
        if all(len(block) == 1 for block in best):
            return np.sort(np.concatenate(best))
        blocks = [half for block in best for half in np.array_split(block, 2) if len(half)]


def _scores_when_shuffled(
    ask: Callable[[Array], Array],
    X: Array,
    measure: Callable[[Array], float],
    shuffles: Sequence[tuple[Array, Array]],
) -> list[float]:
    """The score after each shuffle: positions of encoded columns, and the order that their rows are brought in.

    Several shuffled copies of the rows are predicted in one call, which has a cost of its own, above that of a hundred
    rows; but no more than `SHUFFLED_CELLS`.
    """
    at_once = max(1, min(SHUFFLED_ROWS // len(X), SHUFFLED_CELLS // max(1, X.size)))
    found: list[float] = []
    for start in range(0, len(shuffles), at_once):
        part = shuffles[start : start + at_once]
        copies = np.tile(X, (len(part), 1))
        for number, (columns, order) in enumerate(part):
            copies[number * len(X) : (number + 1) * len(X), columns] = X[np.ix_(order, columns)]
        found += [measure(one) for one in np.split(ask(copies), len(part))]
    return found


def _fit(
    candidate: Candidate,
    estimator: Any,
    X_encoded: Any,
    y: Array,
    followed: Sequence[Weighed],
    weighted: Mapping[str, Array],
) -> Curves:
    """Fit an estimator in place, and return the loss by iteration on the followed rows.

    `weighted` are the weights of the rows by the name that the estimator has for them; empty where all count alike.
    """
    names, task = ("training", "validation"), candidate.task
    if nets.is_net(type(estimator)):
        return _fit_net(task, estimator, X_encoded, y, dict(zip(names, followed, strict=False)), candidate.seed)
    if isinstance(of_classes := getattr(estimator, "class_weight", None), dict):
        # LightGBM refuses the weight of a class that the rows lack, as those of a fold may
        here = set(task.seen(y).tolist())
        estimator.set_params(class_weight={code: weight for code, weight in of_classes.items() if code in here})
    if followed and type(estimator).__module__.startswith("lightgbm"):
        # LightGBM cannot score a class that the fitted rows lack
        seen = task.seen(y)
        known = {name: rows for name, rows in zip(names, followed, strict=True) if task.can_score(rows[1], seen)}
        losses = _IterationLosses(task, known, seen, curve_points(estimator.get_params()["n_estimators"]))
        # without this LightGBM computes its own metrics after each iteration
        estimator.set_params(metric="None").fit(X_encoded, task.learnt(y), callbacks=[losses], **weighted)
        return losses.curves
    # XGBoost takes no codes but 0, 1, … without a gap; `Fitted.seen` says which classes they are
    learnt = task.without_gaps(y) if _is_xgboost(estimator) else task.learnt(y)
    estimator.fit(as_taken(estimator, X_encoded), learnt, **weighted)
    if not (followed and hasattr(estimator, task.staged)) or format_of(estimator) is not None:
        return {}
    found = [_staged(task, estimator, one, task.seen(y)) for one in followed]
    return {"iteration": list(found[0]), **{name: list(f.values()) for name, f in zip(names, found, strict=True)}}


def _fit_net(task: Task, net: Any, X_encoded: Any, y: Array, followed: Mapping[str, Weighed], seed: int) -> Curves:
    """Fit a net in place, and return the loss by epoch on the followed rows. It takes no weights."""
    seen, points = task.seen(y), curve_points(net.max_epochs)
    # it cannot score a class that the fitted rows lack
    known = {name: rows for name, rows in followed.items() if task.can_score(rows[1], seen)}
    curves: Curves = {"iteration": [], **{name: [] for name in known}}

    def take(epoch: int) -> None:
        if epoch in points:
            curves["iteration"].append(epoch)
            for name, (A, b, weights) in known.items():
                curves[name].append(task.mean_loss(b, task.outputs(net, A, seen), weights))

    nets.fit(net, X_encoded, y, seed, take if known else lambda epoch: None)
    return curves if known else {}


def curve_points(iterations: int) -> set[int]:
    """The iterations after which the loss is computed; the last one is always among them."""
    stride = max(1, iterations // CURVE_POINTS)
    return {*range(stride, iterations + 1, stride), iterations}


class _IterationLosses:
    """A callback of LightGBM that computes the loss after some of the iterations.

    LightGBM's `eval_set` is not used: its metrics are computed after every iteration, which takes as long as the
    iterations themselves, and they are sums over threads, whose bits depend on the number of threads.
    """

    def __init__(self, task: Task, followed: Mapping[str, Weighed], seen: Array, points: set[int]) -> None:
        self._task, self._followed, self._seen, self._points = task, followed, seen, points
        self.curves: Curves = {"iteration": [], **{name: [] for name in followed}}

    def __call__(self, env: Any) -> None:
        """Compute the losses if an iteration has ended after which they are wanted."""
        from lightgbm import Dataset

        booster = env.model
        if env.iteration == env.begin_iteration and "validation" in self._followed:
            X_encoded = self._followed["validation"][0]
            booster.add_valid(Dataset(X_encoded, reference=booster.train_set, params=booster.params), "validation")
        if env.iteration + 1 not in self._points:
            return
        self.curves["iteration"].append(env.iteration + 1)
        asked = {"training": booster.eval_train, "validation": booster.eval_valid}
        for name, (_, y, weights) in self._followed.items():
            asked[name](lambda found, _, name=name, y=y, weights=weights: self._take(name, y, weights, found))

    def _take(self, name: str, y: Array, weights: Array | None, found: Array) -> tuple[str, float, bool]:
        loss = self._task.mean_loss(y, self._task.whole(found, self._seen), weights)
        self.curves[name].append(loss)
        return self._task.loss, loss, False


def _staged(task: Task, estimator: Any, rows: Weighed, seen: Array) -> dict[int, float]:
    X_encoded, y, weights = rows
    losses, points = {}, curve_points(_iterations(estimator))
    for iteration, stage in enumerate(getattr(estimator, task.staged)(X_encoded), start=1):
        if iteration in points:
            losses[iteration] = task.mean_loss(y, task.whole(stage, seen), weights)
    return losses


def _iterations(estimator: Any) -> int:
    """The number of iterations of a fitted estimator that can be asked after each."""
    if hasattr(estimator, "n_iter_"):
        return int(estimator.n_iter_)
    return len(estimator.estimators_)


def _is_xgboost(estimator: Any) -> bool:
    own = format_of(estimator)
    return own is not None and own.kind.startswith("xgboost.")


def _outputs(fitted: Fitted, X_encoded: Any) -> Array:
    kind = type(fitted.estimator).__name__
    try:
        found = fitted.task.outputs(fitted.estimator, X_encoded, fitted.seen)
    except Exception as error:  # as in `fit_encoded`
        raise CandidateError(f"{kind} refuses to predict: {_reason(error)}") from error
    if not np.isfinite(found).all():
        wrong = int((~np.isfinite(found)).any(axis=1).sum())
        rows = f"{wrong:,} of {len(found):,} rows"
        raise CandidateError(f"{kind} gives {fitted.task.what} that are no finite numbers (NaN, infinity) for {rows}")
    return found


def _mean_curves(curves: Sequence[Curves]) -> Curves:
    """The mean of the folds' curves, up to the length of the shortest; a curve that a fold lacks is left out."""
    shared = set(curves[0]).intersection(*curves)
    if not shared:
        return {}
    length = min(len(curve["iteration"]) for curve in curves)
    mean: Curves = {"iteration": curves[0]["iteration"][:length]}
    for name in ("training", "validation"):
        if name in shared:
            mean[name] = [float(value) for value in np.mean([curve[name][:length] for curve in curves], axis=0)]
    return mean
