"""LightGBM fits on bins that are built once; in a search, iterations stop once the scored rows gain no more."""

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from tabular.model.tasks import Task

Array: TypeAlias = np.ndarray[Any, Any]
# A limit for fits whose scores would go on improving.
MOST_ITERATIONS = 5000
# Roughly how many rows x columns x iterations one core does in a second. A search of few seconds plans its fits by this
# figure and not by a clock, since a clock would make the result depend on the machine.
CELLS_A_SECOND = 1e8
# The share of a search's seconds that a fit on a fold may take.
SHARE_OF_A_FIT = 0.12
FEWEST_ITERATIONS = 50
# A fit ends after this many stages without a better score.
PATIENCE = 3
# What a fit of a large table's search may take of one core, and the iterations that it has at least. An iteration
# takes a row of few columns longer than `CELLS_A_SECOND` has it: as long as if it had eight more.
SECONDS_OF_LARGE, FEWEST_OF_LARGE, COLUMNS_MORE = 120, 300, 8
# Parameters that decide how columns are cut into bins: LightGBM refuses to change them for bins that are built.
_OF_BINS = (
    "max_bin",
    "max_bin_by_feature",
    "min_data_in_bin",
    "bin_construct_sample_cnt",
    "data_random_seed",
    "use_missing",
    "zero_as_missing",
    "enable_bundle",
    "linear_tree",
    "categorical_feature",
)


def finds_iterations(estimator: str, named: Mapping[str, Any]) -> bool:
    """Whether the number of iterations is found by staged scores.

    That is so for LightGBM if the problem neither gives nor searches the number of iterations.

    Parameters
    ----------
    estimator
        Import path of the estimator's class.
    named
        Hyperparameters that the problem gives or searches, with their values or spaces.

    Notes
    -----
    A problem that names the kind of boosting is left out too: dart goes on changing the trees of earlier iterations.
    """
    if not estimator.startswith("lightgbm."):
        return False
    return not aliases("num_iterations", "boosting") & set(named)


@functools.cache
def aliases(*names: str) -> frozenset[str]:
    """All names that LightGBM accepts for these parameters."""
    from lightgbm.basic import _ConfigAliases

    return frozenset(_ConfigAliases.get(*names))


def has_linear_trees(estimator: str, params: Mapping[str, Any]) -> bool:
    """Whether the leaves of an estimator's trees are linear models, by its import path and hyperparameters."""
    return estimator.startswith("lightgbm.") and any(params.get(name) for name in aliases("linear_tree"))


def fits_on_bins(names: Collection[str]) -> bool:
    """Whether data sets that are built once serve trials with other values of these hyperparameters.

    They do if none decides how columns are cut into bins, and if `final_score` knows the number of iterations.
    """
    others = aliases(*_OF_BINS) | aliases("num_iterations", "boosting") - {"n_estimators"}
    return not others & set(names)


def iterations_a_stage(learning_rate: float) -> int:
    """The number of iterations from one scoring to the next: more, the smaller the learning rate is (1 to 50)."""
    return int(np.clip(round(1 / learning_rate), 1, 50))


def affordable_iterations(seconds: float | None, cells: int) -> int:
    """The most iterations that a fit may have in a search.

    A search that can afford few iterations finds larger learning rates, since its trials are judged by the scores that
    they reach within these iterations.

    Parameters
    ----------
    seconds
        The length of the search in seconds, or None if only the number of trials limits it.
    cells
        Rows x columns of the fit.

    Returns
    -------
    int
        From `FEWEST_ITERATIONS` to `MOST_ITERATIONS`.
    """
    if seconds is None:
        return MOST_ITERATIONS
    most = SHARE_OF_A_FIT * seconds * CELLS_A_SECOND / max(1, cells)
    return int(np.clip(most, FEWEST_ITERATIONS, MOST_ITERATIONS))


def iterations_of_large(rows: int, columns: int) -> int:
    """The most iterations of a fit in the search of a large table, where further ones go on to gain a little.

    The plan is counted in rows and columns and not by a clock, as in `affordable_iterations`.
    """
    most = SECONDS_OF_LARGE * CELLS_A_SECOND / (rows * (columns + COLUMNS_MORE))
    return int(np.clip(most, FEWEST_OF_LARGE, MOST_ITERATIONS))


@dataclass
class Bins:
    """A fold's encoded rows and LightGBM's data sets of them, built once and used by every trial.

    Attributes
    ----------
    X_encoded : (n, encoded columns) array or sparse matrix
        The rows to fit on.
    y : (n,) array
        The class codes, or the numbers, of the rows to fit on.
    Z_scored : (m, encoded columns) array or sparse matrix
        The rows to score.
    task
        What is predicted.
    weights : (n,) array, optional
        How much each of the rows to fit on counts; None where all count alike.
    make
        Makes both data sets of bins that are there already, for parameters from `parameters`; None where they are made
        of the encoded rows.
    """

    X_encoded: Any
    y: Array
    Z_scored: Any
    task: Task
    weights: Array | None = None
    make: Callable[[Mapping[str, Any]], tuple[Any, Any]] | None = None
    _made: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def build(self, estimator: Any) -> None:
        """Build the data sets now, for the parameters of this estimator."""
        self.of(parameters(estimator, self))

    def free_rows(self) -> None:
        """Give the encoded rows' memory back; for fits on the data sets that have been built."""
        self.X_encoded = self.Z_scored = None

    def of(self, params: Mapping[str, Any]) -> tuple[Any, Any]:
        """The data sets to fit on and to score, for parameters from `parameters`."""
        import lightgbm

        if (key := of_bins(params)) not in self._made:
            labels = self.task.without_gaps(self.y)
            if self.make is not None:
                fitted, scored = self.make(params)
                fitted.set_label(labels)
            else:
                fitted = lightgbm.Dataset(self.X_encoded, labels, params=dict(params)).construct()
                scored = lightgbm.Dataset(self.Z_scored, reference=fitted, params=dict(params)).construct()
            self._made[key] = fitted, scored
        return self._made[key]


def of_bins(params: Mapping[str, Any]) -> str:
    """Those of these parameters that decide how columns are cut into bins, as one text."""
    return repr({name: params[name] for name in sorted(aliases(*_OF_BINS) & set(params))})


def staged_scores(
    estimator: Any,
    bins: Bins,
    score: Callable[[Array], tuple[float, float]],
    *,
    most: int = MOST_ITERATIONS,
) -> list[tuple[float, float]]:
    """Fit until the followed score has not improved for `PATIENCE` stages.

    Parameters
    ----------
    estimator
        An unfitted LGBMClassifier or LGBMRegressor; its own number of iterations is not used.
    bins
        The fold.
    score
        Function of what LightGBM gives for the scored rows: (n,) numbers, of two classes the probabilities of the
        second, or (n, classes present in the fitted rows). It returns two scores, the one that is followed and another
        one; higher is better for both.
    most
        The most iterations.

    Returns
    -------
    list
        Both scores after `iterations_a_stage`, twice `iterations_a_stage`, … iterations.

    Notes
    -----
    The trees of each stage are the same that `estimator.fit` makes with this number of iterations: where an iteration
    splits no leaf, a later one may, which draws other rows or columns.
    """
    booster = _booster(estimator, bins)
    found: list[tuple[float, float]] = []

    def stage(raw: Array, _: Any) -> tuple[str, float, bool]:
        found.append(score(raw))
        return "followed", found[-1][0], True

    every = iterations_a_stage(estimator.get_params()["learning_rate"])
    for iteration in range(1, most + 1):
        booster.update()
        if iteration % every == 0 or (iteration == most and not found):
            booster.eval_valid(stage)
            if len(found) - 1 - int(np.argmax([followed for followed, _ in found])) >= PATIENCE:
                break
    return found


def final_score(
    estimator: Any, bins: Bins, score: Callable[[Array], tuple[float, float]], *, iterations: int
) -> tuple[float, float]:
    """Fit so many iterations, and return both scores; parameters as for `staged_scores`."""
    booster = _booster(estimator, bins)
    for _ in range(iterations):
        booster.update()
    return score(_given(booster, booster.valid_sets[0]))


def followed_fit(
    estimator: Any,
    bins: Bins,
    followed: Mapping[str, Any],
    points: Collection[int],
    take: Callable[[int, Mapping[str, Array]], None],
) -> Array:
    """Fit all iterations of an estimator, and return what LightGBM gives for the scored rows.

    Parameters
    ----------
    estimator, bins
        As for `staged_scores`.
    followed
        Data sets of bins, by name, of rows that are asked about meanwhile.
    points
        The iterations after which `take` is called.
    take
        Function of the number of iterations, and of what LightGBM gives for the rows that are followed, by name.
    """
    booster = _booster(estimator, bins)
    for name, rows in followed.items():
        booster.add_valid(rows, name)
    for iteration in range(1, int(estimator.get_params()["n_estimators"]) + 1):
        booster.update()
        if iteration in points:
            take(iteration, {name: _given(booster, rows) for name, rows in followed.items()})
    return _given(booster, booster.valid_sets[0])


def fit_on_bins(estimator: Any, data: Any, task: Task, y: Array, weights: Array | None) -> None:
    """Fit an estimator in place on a data set of bins, to what its `fit` makes of the rows.

    Parameters
    ----------
    estimator
        An unfitted LGBMClassifier or LGBMRegressor, for which `of_estimator` has made the data set's parameters.
    data
        The data set.
    task, y, weights
        What is predicted, the (n,) class codes or numbers of its rows, and how much each counts; None: all alike.
    """
    import lightgbm

    params = of_estimator(estimator, task, y)
    data.set_label(task.without_gaps(y))
    of_rows = _weights(estimator, Bins(None, y, None, task, weights))
    if of_rows is None:
        data.set_field("weight", None)
    else:
        data.set_weight(of_rows)
    booster = lightgbm.train(params, data, estimator.get_params()["n_estimators"])
    estimator._Booster, estimator.fitted_ = booster.free_dataset(), True
    estimator._n_features = estimator._n_features_in = booster.num_feature()


def of_estimator(estimator: Any, task: Task, y: Array) -> dict[str, Any]:
    """The parameters with which an estimator's `fit` would train, for rows of these (n,) class codes or numbers."""
    from sklearn.preprocessing import LabelEncoder

    seen = task.seen(y)
    if len(seen):  # what a classifier's `fit` keeps of the classes
        estimator._le, estimator._classes, estimator._n_classes = LabelEncoder().fit(seen), seen, len(seen)
        estimator._class_map = {code: place for place, code in enumerate(seen)}
    return {**estimator._process_params("fit"), "metric": "None"}


def _given(booster: Any, rows: Any) -> Array:
    """What a booster gives for the rows of one of its data sets: probabilities of classes, or numbers."""
    found: list[Array] = []

    def keep(raw: Array, _: Any) -> tuple[str, float, bool]:
        found.append(raw.copy())
        return "given", 0.0, True

    booster.eval(rows, "given", keep)
    return found[0]


def _booster(estimator: Any, bins: Bins) -> Any:
    """An unfitted booster on a fold's data sets, which scores the rows to score."""
    import lightgbm

    params = parameters(estimator, bins)
    fitted, scored = bins.of(params)
    if fitted.set_weight(_weights(estimator, bins)).weight is None:
        fitted.set_field("weight", None)  # LightGBM would keep those of an earlier trial
    booster = lightgbm.Booster(params, fitted)
    booster.add_valid(scored, "scored")
    return booster


def parameters(estimator: Any, bins: Bins) -> dict[str, Any]:
    """An estimator's hyperparameters in the form of `lightgbm.train`, which accepts their names as aliases."""
    aside = ("n_estimators", "importance_type", "class_weight")
    params = {name: value for name, value in estimator.get_params().items() if name not in aside and value is not None}
    classes = len(bins.task.seen(bins.y))
    several = {"objective": "multiclass", "num_class": classes}
    objective = {0: {"objective": "regression"}, 2: {"objective": "binary"}}.get(classes, several)
    # feature_pre_filter off: a column that this trial's leaf size cannot split may be split by another trial's, on the
    # same bins; metric off: `staged_scores` computes the scores
    own = {"feature_pre_filter": False, "metric": "None"}
    return {**objective, **params, **own}


def _weights(estimator: Any, bins: Bins) -> Array | None:
    """The (n,) weights of the rows times those of the estimator's `class_weight`, or None without either."""
    from sklearn.utils.class_weight import compute_sample_weight

    wanted = estimator.get_params()["class_weight"]
    if wanted is None:
        return bins.weights
    of_classes: Array = compute_sample_weight(wanted, bins.y)
    return of_classes if bins.weights is None else bins.weights * of_classes


def to_train(estimator: Any, y: Array, task: Task, weights: Array | None) -> tuple[dict[str, Any], Array | None]:
    """What `lightgbm.train` is given for rows: an estimator's hyperparameters, and (n,) the weights of the rows.

    `y` are (n,) class codes or numbers, `weights` the rows' own; see `parameters` and `_weights`.
    """
    bins = Bins(None, y, None, task, weights)
    return parameters(estimator, bins), _weights(estimator, bins)
