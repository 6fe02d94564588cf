"""Fitting candidates: on folds to know what to expect, on all training rows to keep."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tabular.data.datasets import Column
from tabular.data.folds import Fold
from tabular.errors import UserError, first_line
from tabular.metrics.classification import DEFAULT_THRESHOLD, classification_metrics, log_losses
from tabular.model.estimators import build, preprocessor, resolve, takes_sparse
from tabular.model.thresholds import Tuned, tune
from tabular.problem import Model

Array: TypeAlias = np.ndarray[Any, Any]
# "iteration": after which ones the log loss is taken; "training", "validation": the losses. Empty without iterations.
Curves: TypeAlias = dict[str, list[Any]]
# About so many points of a curve are taken: each costs as much as an iteration.
CURVE_POINTS = 100
# To say what a column is worth it is shuffled so often, and so many shuffled rows are asked about at a time.
SHUFFLES = 3
SHUFFLED_ROWS = 20_000


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
    threshold: float | str = DEFAULT_THRESHOLD  # of two classes; or the metric of labels that it is tuned for


@dataclass(frozen=True)
class Fitted:
    """A fitted preprocessor and classifier, and the classifier's log loss by iteration where it was followed."""

    preprocessor: Any
    classifier: Any
    classes: int
    curves: Curves

    def probabilities(self, X: Any) -> Array:
        """(n, classes) float64; a class that the training rows lacked has probability 0."""
        return _probabilities(self.classifier, self.preprocessor.transform(X), self.classes)


@dataclass(frozen=True)
class OnFold:
    """A fold's true codes (n,), the answers (n, classes), and the log loss by iteration where it was followed."""

    y: Array
    probabilities: Array
    curves: Curves


@dataclass(frozen=True)
class CrossValidation:
    """Each fold's metrics, the folds' mean log loss by iteration, and the threshold of labels.

    Where that is tuned, a fold's metrics are at the threshold that is best on the other folds.
    """

    scores: tuple[Mapping[str, float], ...]
    curves: Curves
    seconds: float
    threshold: float = DEFAULT_THRESHOLD

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
        (n, columns) features, as `steps.model.served.as_features` gives them.
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
    where = f"models.{candidate.name}"
    classifier = build(candidate.model, candidate.params, where=where, seed=candidate.seed, threads=threads)
    features, X_encoded = encode(candidate, X, sparse=takes_sparse(classifier))
    followed = [] if validation is None else [(X_encoded, y), (features.transform(validation[0]), validation[1])]
    curves = fit_encoded(candidate, classifier, X_encoded, y, followed)
    return Fitted(features, classifier, candidate.classes, curves)


def encode(candidate: Candidate, X: Any, *, sparse: bool) -> tuple[Any, Any]:
    """A candidate's preprocessing, fitted on rows, and those rows prepared: (n, prepared columns).

    `sparse` says whether its classifier takes sparse matrices. No hyperparameter that is searched has a say here.
    """
    features = preprocessor(candidate.columns, resolve(candidate.model), sparse=sparse)
    return features, features.fit_transform(X)


def fit_encoded(
    candidate: Candidate, classifier: Any, X_encoded: Any, y: Array, followed: Sequence[tuple[Any, Array]] = ()
) -> Curves:
    """Fit a classifier on prepared rows; gives its log loss by iteration on the rows that are `followed`.

    Raises
    ------
    UserError
        Where it refuses its hyperparameters or the rows.
    """
    from threadpoolctl import threadpool_limits

    # BLAS sums in another order with other threads: one thread gives the same bits on every machine
    with threadpool_limits(limits=1, user_api="blas"):
        try:
            curves = _fit(classifier, X_encoded, y, followed, candidate.classes)
        except Exception as error:  # libraries raise errors of their own, such as LightGBMError
            message = f"{candidate.model.estimator} refuses to fit: {first_line(error)}"
            raise UserError(f"models.{candidate.name}: {message}") from error
    if classifier.get_params().get("n_jobs") is not None:
        # a forest that predicts in threads sums its trees in the order in which they end
        classifier.set_params(n_jobs=1)
    return curves


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
    found = [on_fold(candidate, X, y, fold, threads=threads, curves=curves) for fold in folds]
    return joined(candidate, found, time.perf_counter() - started, names)


def on_fold(candidate: Candidate, X: Any, y: Array, fold: Fold, *, threads: int, curves: bool = False) -> OnFold:
    """As `cross_validate`, on one fold; `joined` makes a cross-validation of all."""
    scored = (X.iloc[fold.score], y[fold.score])
    validation = scored if curves else None
    fitted = fit(candidate, X.iloc[fold.fit], y[fold.fit], threads=threads, validation=validation)
    return OnFold(scored[1], fitted.probabilities(scored[0]), fitted.curves)


def joined(
    candidate: Candidate, folds: Sequence[OnFold], seconds: float, names: Sequence[str] | None = None
) -> CrossValidation:
    """The cross-validation that these folds are, in the order in which they were cut."""
    wanted = candidate.threshold
    if isinstance(wanted, str):
        tuned = tune([(fold.y, fold.probabilities) for fold in folds], wanted, positive=candidate.positive)
    else:
        tuned = Tuned(wanted, (wanted,) * len(folds))
    scores = tuple(
        score(candidate, fold.y, fold.probabilities, names, threshold=threshold)
        for fold, threshold in zip(folds, tuned.without, strict=True)
    )
    return CrossValidation(scores, _mean_curves([fold.curves for fold in folds]), seconds, tuned.whole)


def prior(candidate: Candidate, y: Array, folds: Sequence[Fold], names: Sequence[str] | None = None) -> CrossValidation:
    """Cross-validate the answer that knows no column: the share of each class among the fitted rows, for every row.

    What `sklearn.dummy.DummyClassifier(strategy="prior")` answers.
    """
    found = []
    for fold in folds:
        shares = np.bincount(y[fold.fit], minlength=candidate.classes) / len(fold.fit)
        found.append(OnFold(y[fold.score], np.tile(shares, (len(fold.score), 1)), {}))
    return joined(candidate, found, 0.0, names)


def score(
    candidate: Candidate,
    y: Array,
    probabilities: Array,
    names: Sequence[str] | None = None,
    *,
    threshold: float = DEFAULT_THRESHOLD,
) -> Mapping[str, float]:
    """A candidate's metrics on rows."""
    return classification_metrics(
        y,
        probabilities,
        classes=range(candidate.classes),
        positive=candidate.positive,
        names=names,
        threshold=threshold,
    )


def hyperparameters(candidate: Candidate) -> dict[str, Any]:
    """Every hyperparameter of the estimator and of its preprocessing, defaults included; none of conduct."""
    estimator = build(candidate.model, candidate.params, where=candidate.name, seed=candidate.seed, threads=1)
    values = {name: value for name, value in estimator.get_params().items() if name not in ("n_jobs", "verbose")}
    how = resolve(candidate.model).model_dump()
    return {**values, **{f"preprocessing_{name}": value for name, value in how.items()}}


def booster_text(classifier: Any) -> str | None:
    """A fitted LightGBM model as its text file, or None for another estimator.

    The threads it was fitted with and the metric it was watched by are left out: the model is the same with any.
    """
    booster = getattr(classifier, "booster_", None)
    if booster is None or not hasattr(booster, "model_to_string"):
        return None
    text = re.sub(r"\[num_threads: -?\d+\]", "[num_threads: 0]", booster.model_to_string())
    return re.sub(r"\[metric: \S*\]", "[metric: ]", text)


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
    probabilities: Callable[[Any], Array], X: Any, measure: Callable[[Array], float], *, seed: int
) -> dict[str, float]:
    """How much worse a score gets when one column is shuffled, by column (Breiman 2001, Random Forests, section 10).

    Parameters
    ----------
    probabilities
        Of rows such as X's, (n, classes).
    X
        (n, columns) features; a sample of a thousand rows is enough.
    measure
        Score of (n, classes) probabilities of X's rows; greater is better.
    seed
        Of the shuffles; each column is shuffled three times and the mean is taken.
    """
    generator = np.random.default_rng(seed)
    whole = measure(probabilities(X))
    scores: dict[str, list[float]] = {str(name): [] for name in X.columns}
    # several copies a call: to call a forest takes longer than its answers to a hundred rows
    shuffles = [(name, generator.permutation(len(X))) for name in X.columns for _ in range(SHUFFLES)]
    at_once = max(1, SHUFFLED_ROWS // len(X))
    for start in range(0, len(shuffles), at_once):
        part = shuffles[start : start + at_once]
        copies = X.iloc[np.tile(np.arange(len(X)), len(part))].reset_index(drop=True)
        for place, (name, order) in enumerate(part):
            copies.loc[place * len(X) : (place + 1) * len(X) - 1, name] = X[name].to_numpy()[order]
        for (name, _), found in zip(part, np.split(probabilities(copies), len(part)), strict=True):
            scores[str(name)].append(measure(found))
    return {name: whole - float(np.mean(found)) for name, found in scores.items()}


def _fit(classifier: Any, X_encoded: Any, y: Array, followed: Sequence[tuple[Any, Array]], classes: int) -> Curves:
    """Fit, and give the log loss by iteration on the rows that are followed."""
    names = ("training", "validation")
    if followed and type(classifier).__module__.startswith("lightgbm"):
        # a class that the rows lack cannot be scored
        known = {name: rows for name, rows in zip(names, followed, strict=True) if np.isin(rows[1], y).all()}
        losses = _IterationLosses(known, np.unique(y), _points(classifier.get_params()["n_estimators"]))
        # it would ask its own metrics after each iteration
        classifier.set_params(metric="None").fit(X_encoded, y, callbacks=[losses])
        return losses.curves
    classifier.fit(X_encoded, y)
    if not (followed and hasattr(classifier, "staged_predict_proba")):
        return {}
    found = [_staged(classifier, A, b, classes) for A, b in followed]
    return {"iteration": list(found[0]), **{name: list(f.values()) for name, f in zip(names, found, strict=True)}}


def _points(iterations: int) -> set[int]:
    """The iterations after which losses are taken, the last among them."""
    stride = max(1, iterations // CURVE_POINTS)
    return {*range(stride, iterations + 1, stride), iterations}


class _IterationLosses:
    """A callback of LightGBM's that takes the log loss after some iterations.

    As sets to evaluate they would be asked for after each, which takes as long as the iterations do; and LightGBM's own
    metrics are sums over threads: other bits with other threads.
    """

    def __init__(self, followed: Mapping[str, tuple[Any, Array]], classes: Array, points: set[int]) -> None:
        self._followed, self._classes, self._points = followed, classes, points
        self.curves: Curves = {"iteration": [], **{name: [] for name in followed}}

    def __call__(self, env: Any) -> None:
        """An iteration has ended."""
        from lightgbm import Dataset

        booster = env.model
        if env.iteration == env.begin_iteration and "validation" in self._followed:
            X_encoded = self._followed["validation"][0]
            booster.add_valid(Dataset(X_encoded, reference=booster.train_set, params=booster.params), "validation")
        if env.iteration + 1 not in self._points:
            return
        self.curves["iteration"].append(env.iteration + 1)
        asked = {"training": booster.eval_train, "validation": booster.eval_valid}
        for name, (_, y) in self._followed.items():
            asked[name](lambda probabilities, _, name=name, y=y: self._take(name, y, probabilities))

    def _take(self, name: str, y: Array, probabilities: Array) -> tuple[str, float, bool]:
        codes = np.searchsorted(self._classes, y)
        if probabilities.ndim == 1:
            of_truth = np.where(codes == 1, probabilities, 1 - probabilities)
        else:
            of_truth = probabilities[np.arange(len(codes)), codes]
        loss = float(np.mean(log_losses(of_truth)))
        self.curves[name].append(loss)
        return "log_loss", loss, False


def _staged(classifier: Any, X_encoded: Any, y: Array, classes: int) -> dict[int, float]:
    losses, points = {}, _points(_iterations(classifier))
    for iteration, stage in enumerate(classifier.staged_predict_proba(X_encoded), start=1):
        if iteration in points:
            whole = spread(stage, classifier.classes_, classes)
            found = classification_metrics(y, whole, classes=range(classes), names=["log_loss"])
            losses[iteration] = found["log_loss"]
    return losses


def _iterations(classifier: Any) -> int:
    """How many iterations a fitted classifier of stages has."""
    if hasattr(classifier, "n_iter_"):
        return int(classifier.n_iter_)
    return len(classifier.estimators_)


def _probabilities(classifier: Any, X_encoded: Any, classes: int) -> Array:
    return spread(classifier.predict_proba(X_encoded), classifier.classes_, classes)


def spread(probabilities: Array, seen: Array, classes: int) -> Array:
    """(n, seen classes) probabilities to (n, classes); a class that the training rows lacked has probability 0."""
    if len(seen) == classes:
        return np.asarray(probabilities, dtype=np.float64)
    whole = np.zeros((len(probabilities), classes))
    whole[:, np.asarray(seen, dtype=int)] = probabilities
    return whole


def _mean_curves(curves: Sequence[Curves]) -> Curves:
    """The folds' mean, as far as every fold's curve goes; a curve that a fold lacks is left out."""
    shared = set(curves[0]).intersection(*curves)
    if not shared:
        return {}
    length = min(len(curve["iteration"]) for curve in curves)
    mean: Curves = {"iteration": curves[0]["iteration"][:length]}
    for name in ("training", "validation"):
        if name in shared:
            mean[name] = [float(value) for value in np.mean([curve[name][:length] for curve in curves], axis=0)]
    return mean
