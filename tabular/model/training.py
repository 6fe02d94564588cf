"""Fitting of candidates: on the rows of a fold, whose others they answer, and on all rows, for the final model."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tabular.data.datasets import Column
from tabular.data.folds import Fold
from tabular.data.size import is_large
from tabular.errors import CandidateError, first_line, listed
from tabular.metrics.classification import DEFAULT_THRESHOLD
from tabular.model import dates, nets, seeds, wide_tables
from tabular.model.boosting import has_linear_trees
from tabular.model.codes import as_taken
from tabular.model.estimators import build, most_categories, native, reads_float32, resolve, takes_sparse
from tabular.model.formats import format_of, settle, within
from tabular.model.loss_curves import Curves, IterationLosses, Weighed, curve_points, staged
from tabular.model.preprocessors import preprocessor
from tabular.model.row_weights import with_weights
from tabular.model.tasks import Task
from tabular.sections.models import Model, Preprocessing, of_estimator

Array: TypeAlias = np.ndarray[Any, Any]
# Estimators whose reasons (`steps.model.reasons.Reasons`) need no means of the rows of training.
_OF_TREES = (
    *("lightgbm.", "xgboost.", "catboost.", "sklearn.ensemble.RandomForest", "sklearn.ensemble.ExtraTrees"),
    "sklearn.ensemble.HistGradientBoosting",
)
# Parameters that change nothing of what is learnt.
_EXECUTION = ("n_jobs", "thread_count", "verbose", "verbosity", "allow_writing_files")
# How many rows of a large table are encoded and predicted at once.
ROWS_AT_ONCE = 100_000


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
        With how many seeds it is to be fitted: `seed`, the one after it, and so on.
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
    def fits(self) -> int:
        """How many fits it is the mean of (`tabular.model.seeds`): one for each seed where they differ.

        On the bins of a large table, which are made for one fit, a candidate is given one seed.
        """
        differ = seeds.can_differ(self.model.estimator, {**self.model.params, **self.params})
        return self.seeds if differ else 1

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
    y, weights = (y, weights) if rows is None else (y[rows], of_rows(weights, rows))
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

    return [clone(estimator).set_params(random_state=candidate.seed + more) for more in range(1, candidate.fits)]


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
    """Fit and predict one fold, with parameters as of `tabular.model.cross_validation.cross_validate`."""
    if isinstance(X, RowsApart):
        return X.on_fold(candidate, y, fold, threads=threads, curves=curves, weights=weights)
    scored = (X.iloc[fold.score], y[fold.score], of_rows(weights, fold.score))
    about: dict[str, Any] = {"threads": threads, "validation": scored if curves else None}
    fitted = fit(candidate, X, y, rows=fold.fit, weights=weights, **about)
    with limited(threads):
        outputs = fitted.outputs(scored[0])
    return OnFold(fold.score, scored[1], outputs, fitted.curves, scored[2])


def of_rows(weights: Array | None, rows: Array) -> Array | None:
    """The weights of the rows at some positions; None where all rows count alike."""
    return None if weights is None else weights[rows]


def hyperparameters(candidate: Candidate) -> dict[str, Any]:
    """All hyperparameters of the estimator and of its preprocessing, with defaults; without threads and verbosity."""
    estimator = build(candidate.model, candidate.of_estimator, where=candidate.name, seed=candidate.seed, threads=1)
    every = nets.hyperparameters(estimator) if nets.is_net(type(estimator)) else estimator.get_params()
    values = {name: value for name, value in every.items() if name not in _EXECUTION}
    how = resolve(candidate.treated).model_dump()
    how |= {"steps": json.dumps(how["steps"])} if how["steps"] else {}
    how |= {} if any(column.dtype == "datetime" for column in candidate.columns) else {"dates": None}
    how = {name: value for name, value in how.items() if value not in ([], {}, None)}
    values |= {"seeds": candidate.fits} if candidate.fits > 1 else {}
    return {**values, **{f"preprocessing_{name}": value for name, value in how.items()}}


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
        losses = IterationLosses(task, known, seen, curve_points(estimator.get_params()["n_estimators"]))
        # without this LightGBM computes its own metrics after each iteration
        estimator.set_params(metric="None").fit(X_encoded, task.learnt(y), callbacks=[losses], **weighted)
        return losses.curves
    # XGBoost takes no codes but 0, 1, … without a gap; `Fitted.seen` says which classes they are
    learnt = task.without_gaps(y) if _is_xgboost(estimator) else task.learnt(y)
    estimator.fit(as_taken(estimator, X_encoded), learnt, **weighted)
    if not (followed and hasattr(estimator, task.staged)) or format_of(estimator) is not None:
        return {}
    found = [staged(task, estimator, one, task.seen(y)) for one in followed]
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
