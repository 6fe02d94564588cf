"""Fitting candidates: on folds to know what to expect, on all training rows to keep."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tabular.datasets import Column
from tabular.errors import UserError, first_line
from tabular.estimators import build, preprocessor, resolve, takes_sparse
from tabular.folds import Fold
from tabular.metrics import classification_metrics
from tabular.problem import Model

Array: TypeAlias = np.ndarray[Any, Any]
Curves: TypeAlias = dict[str, list[float]]


@dataclass(frozen=True)
class Candidate:
    """What there is to fit: a model of the problem with its hyperparameters, on these columns."""

    name: str
    model: Model
    params: Mapping[str, Any]
    columns: tuple[Column, ...]
    classes: int
    positive: int
    seed: int


@dataclass(frozen=True)
class Fitted:
    """A fitted preprocessor and classifier, and the classifier's log loss by iteration where it was followed."""

    features: Any
    classifier: Any
    classes: int
    curves: Curves

    def probabilities(self, X: Any) -> Array:
        """(n, classes) float64; a class that the training rows lacked has probability 0."""
        return _probabilities(self.classifier, self.features.transform(X), self.classes)


@dataclass(frozen=True)
class CrossValidation:
    """Each fold's metrics, and the folds' mean log loss by iteration."""

    scores: tuple[Mapping[str, float], ...]
    curves: Curves
    seconds: float

    def summary(self) -> dict[str, float]:
        """`cv_<metric>_mean` and `cv_<metric>_std` over the folds; the deviation is of the folds, not of their mean."""
        summary = {}
        for name in self.scores[0]:
            values = [score[name] for score in self.scores]
            summary[f"cv_{name}_mean"] = float(np.mean(values))
            summary[f"cv_{name}_std"] = float(np.std(values))
        return summary


def fit(candidate: Candidate, X: Any, y: Array, *, threads: int, validation: tuple[Any, Array] | None = None) -> Fitted:
    """Fit a candidate's preprocessing and classifier on rows.

    Parameters
    ----------
    candidate
        What to fit.
    X
        (n, columns) features, as `steps.served.as_features` gives them.
    y
        (n,) positions of classes.
    threads
        That the classifier may use. The result does not depend on them.
    validation
        Rows whose loss is followed by iteration, beside that of the rows fitted on, where the classifier has
        iterations; nothing is learnt from them.

    Raises
    ------
    UserError
        Where the estimator refuses its hyperparameters or the rows.
    """
    from threadpoolctl import threadpool_limits

    where = f"models.{candidate.name}"
    classifier = build(candidate.model, candidate.params, where=where, seed=candidate.seed, threads=threads)
    features = preprocessor(candidate.columns, resolve(candidate.model), sparse=takes_sparse(classifier))
    # BLAS sums in another order with other threads: one thread gives the same bits on every machine
    with threadpool_limits(limits=1, user_api="blas"):
        Z = features.fit_transform(X)
        followed = [] if validation is None else [(Z, y), (features.transform(validation[0]), validation[1])]
        try:
            curves = _fit(classifier, Z, y, followed, candidate.classes)
        except Exception as error:  # libraries raise errors of their own, such as LightGBMError
            raise UserError(f"{where}: {candidate.model.estimator} refuses to fit: {first_line(error)}") from error
    if classifier.get_params().get("n_jobs") is not None:
        # a forest that predicts in threads sums its trees in the order in which they end
        classifier.set_params(n_jobs=1)
    return Fitted(features, classifier, candidate.classes, curves)


def cross_validate(
    candidate: Candidate,
    X: Any,
    y: Array,
    folds: Sequence[Fold],
    *,
    threads: int,
    names: Sequence[str] | None = None,
    curves: bool = False,
) -> CrossValidation:
    """Fit on each fold's rows and score on its others.

    `names` are the metrics (all by default); `curves` asks for the losses by iteration, which take time.
    """
    started = time.perf_counter()
    scores, followed = [], []
    for fold in folds:
        scored = (X.iloc[fold.score], y[fold.score])
        validation = scored if curves else None
        fitted = fit(candidate, X.iloc[fold.fit], y[fold.fit], threads=threads, validation=validation)
        scores.append(score(candidate, scored[1], fitted.probabilities(scored[0]), names))
        followed.append(fitted.curves)
    return CrossValidation(tuple(scores), _mean_curves(followed), time.perf_counter() - started)


def score(
    candidate: Candidate, y: Array, probabilities: Array, names: Sequence[str] | None = None
) -> Mapping[str, float]:
    """A candidate's metrics on rows."""
    classes = range(candidate.classes)
    return classification_metrics(y, probabilities, classes=classes, positive=candidate.positive, names=names)


def hyperparameters(candidate: Candidate) -> dict[str, Any]:
    """Every hyperparameter of the estimator and of its preprocessing, defaults included; none of conduct."""
    estimator = build(candidate.model, candidate.params, where=candidate.name, seed=candidate.seed, threads=1)
    values = {name: value for name, value in estimator.get_params().items() if name not in ("n_jobs", "verbose")}
    how = resolve(candidate.model).model_dump()
    return {**values, **{f"preprocessing_{name}": value for name, value in how.items()}}


def booster_text(classifier: Any) -> str | None:
    """A fitted LightGBM model as its text file, or None for another estimator.

    The threads it was fitted with are left out: they are conduct, and the model is the same with any number.
    """
    booster = getattr(classifier, "booster_", None)
    if booster is None or not hasattr(booster, "model_to_string"):
        return None
    return re.sub(r"\[num_threads: -?\d+\]", "[num_threads: 0]", booster.model_to_string())


def importances(features: Any, classifier: Any) -> tuple[str, dict[str, float]] | None:
    """How much each prepared column counts, and the measure's name; None where the classifier does not say.

    `features` and `classifier` are the fitted parts of a model; LightGBM's classifier may be its bare booster.
    """
    names = _feature_names(features)
    if hasattr(classifier, "feature_importance"):
        gains = classifier.feature_importance(importance_type="gain")
        return "gain", dict(zip(names, map(float, gains), strict=True))
    shares = getattr(classifier, "feature_importances_", None)
    if shares is not None:
        return "mean decrease in impurity", dict(zip(names, map(float, shares), strict=True))
    return None


def _feature_names(features: Any) -> list[str]:
    """The prepared columns' names without `numbers__` and `categories__`, where they are told apart without it."""
    names = [str(name) for name in features.get_feature_names_out()]
    short = [name.partition("__")[2] for name in names]
    return short if len(set(short)) == len(short) else names


def permutation_importances(
    probabilities: Callable[[Any], Array], X: Any, y: Array, measure: Callable[[Array, Array], float], *, seed: int
) -> dict[str, float]:
    """How much worse a score gets when one column is shuffled, by column (Breiman 2001, Random Forests, section 10).

    Parameters
    ----------
    probabilities
        Of rows such as X's, (n, classes).
    X
        (n, columns) features; a sample of a few thousand rows is enough.
    y
        (n,) positions of classes.
    measure
        Score of y and probabilities; greater is better.
    seed
        Of the shuffles; each column is shuffled three times and the mean is taken.
    """
    generator = np.random.default_rng(seed)
    whole = measure(y, probabilities(X))
    drops = {}
    for name in X.columns:
        scores = []
        for _ in range(3):
            shuffled = X.assign(**{name: X[name].to_numpy()[generator.permutation(len(X))]})
            scores.append(measure(y, probabilities(shuffled)))
        drops[str(name)] = whole - float(np.mean(scores))
    return drops


def _fit(classifier: Any, Z: Any, y: Array, followed: Sequence[tuple[Any, Array]], classes: int) -> Curves:
    """Fit, and give the log loss by iteration on the rows that are followed."""
    names = ("training", "validation")
    if followed and type(classifier).__module__.startswith("lightgbm"):
        # a class that the rows lack cannot be scored, and LightGBM refuses it
        X, b = zip(*((A, labels) for A, labels in followed if np.isin(labels, y).all()), strict=True)
        # beside its own metrics, which are sums over threads: other bits with other threads
        classifier.fit(Z, y, eval_X=X, eval_y=b, eval_names=list(names[: len(X)]), eval_metric=_iteration_loss)
        return {name: list(losses["log_loss"]) for name, losses in classifier.evals_result_.items()}
    classifier.fit(Z, y)
    if not (followed and hasattr(classifier, "staged_predict_proba")):
        return {}
    return {name: _staged(classifier, A, b, classes) for name, (A, b) in zip(names, followed, strict=True)}


def _iteration_loss(y: Array, probabilities: Array) -> tuple[str, float, bool]:
    """The log loss as LightGBM asks a metric: its name, its value, whether greater is better."""
    if probabilities.ndim == 1:
        of_truth = np.where(y == 1, probabilities, 1 - probabilities)
    else:
        of_truth = probabilities[np.arange(len(y)), y.astype(int)]
    epsilon = np.finfo(np.float64).eps
    return "log_loss", float(-np.mean(np.log(np.clip(of_truth, epsilon, 1 - epsilon)))), False


def _staged(classifier: Any, Z: Any, y: Array, classes: int) -> list[float]:
    losses = []
    for stage in classifier.staged_predict_proba(Z):
        spread = _spread(stage, classifier.classes_, classes)
        losses.append(classification_metrics(y, spread, classes=range(classes), names=["log_loss"])["log_loss"])
    return losses


def _probabilities(classifier: Any, Z: Any, classes: int) -> Array:
    return _spread(classifier.predict_proba(Z), classifier.classes_, classes)


def _spread(probabilities: Array, seen: Array, classes: int) -> Array:
    """Columns for the classes that the training rows had, to columns for all."""
    if len(seen) == classes:
        return np.asarray(probabilities, dtype=np.float64)
    whole = np.zeros((len(probabilities), classes))
    whole[:, np.asarray(seen, dtype=int)] = probabilities
    return whole


def _mean_curves(curves: Sequence[Curves]) -> Curves:
    """The folds' mean, as far as every fold's curve goes; a curve that a fold lacks is left out."""
    shared = set(curves[0]).intersection(*curves)
    mean: Curves = {}
    for name in ("training", "validation"):
        if name in shared:
            length = min(len(curve[name]) for curve in curves)
            mean[name] = [float(value) for value in np.mean([curve[name][:length] for curve in curves], axis=0)]
    return mean
