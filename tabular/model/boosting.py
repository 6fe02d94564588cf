"""LightGBM as a search fits it: bins that are built once, and as many iterations as the scored rows have use for."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
# An end for fits that would go on for ever.
MOST_ITERATIONS = 5000
# What a core does of rows x columns x iterations in a second, roughly: by it a search of few seconds plans its fits,
# since no clock may have a say in them.
CELLS_A_SECOND = 1e8
# The share of a search's seconds that a fit on a fold may take.
SHARE_OF_A_FIT = 0.12
FEWEST_ITERATIONS = 50
# So many stages without gain end a fit.
PATIENCE = 3
# What decides how columns are cut into bins: LightGBM refuses to change it for bins that are there.
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
    """Whether the number of iterations is to be found by staged scores: LightGBM's, where nothing names it.

    Parameters
    ----------
    estimator
        Import path.
    named
        Hyperparameters that the problem gives or searches, with their values or spaces.

    Notes
    -----
    Not with dart, which goes on changing the trees that it has.
    """
    if not estimator.startswith("lightgbm."):
        return False
    return not aliases("num_iterations", "boosting") & set(named)


@functools.cache
def aliases(*names: str) -> frozenset[str]:
    """All names by which LightGBM knows these parameters."""
    from lightgbm.basic import _ConfigAliases

    return frozenset(_ConfigAliases.get(*names))


def iterations_a_stage(learning_rate: float) -> int:
    """After how many iterations the scored rows are scored: more rarely, the smaller its steps are."""
    return int(np.clip(round(1 / learning_rate), 1, 50))


def affordable_iterations(seconds: float | None, cells: int) -> int:
    """How many iterations a fit may have in a search of so many seconds, on so many rows x columns.

    A search that cannot afford many learns in larger steps, since its trials are judged by what they reach with these.
    """
    if seconds is None:
        return MOST_ITERATIONS
    most = SHARE_OF_A_FIT * seconds * CELLS_A_SECOND / max(1, cells)
    return int(np.clip(most, FEWEST_ITERATIONS, MOST_ITERATIONS))


@dataclass
class Bins:
    """A fold's rows, encoded, as LightGBM's data sets: built once, and used by every trial.

    `Z` (n, columns) and `y` (n,) are to be fitted on, `Z_scored` to be scored.
    """

    X_encoded: Any
    y: Array
    Z_scored: Any
    _made: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def build(self, estimator: Any) -> None:
        """Build them now."""
        self.of(_parameters(estimator, self.y))

    def of(self, params: Mapping[str, Any]) -> tuple[Any, Any]:
        """The two data sets, for parameters as `_parameters` gives them."""
        import lightgbm

        by = {name: params[name] for name in sorted(aliases(*_OF_BINS) & set(params))}
        if (key := repr(by)) not in self._made:
            codes = np.unique(self.y, return_inverse=True)[1]
            fitted = lightgbm.Dataset(self.X_encoded, codes, params=dict(params)).construct()
            scored = lightgbm.Dataset(self.Z_scored, reference=fitted, params=dict(params)).construct()
            self._made[key] = fitted, scored
        return self._made[key]


def staged_scores(
    estimator: Any, bins: Bins, score: Callable[[Array], tuple[float, float]], *, most: int = MOST_ITERATIONS
) -> list[tuple[float, float]]:
    """Fit until the scored rows have nothing to gain for a while.

    Parameters
    ----------
    estimator
        An unfitted LGBMClassifier; its own number of iterations does not count.
    bins
        The fold.
    score
        Of (n, classes present in the fitted rows) probabilities of the scored rows: what is followed, and what else is
        to be known; the higher the better.
    most
        Iterations.

    Returns
    -------
    list
        The scores after `iterations_a_stage`, twice `iterations_a_stage`, … iterations.

    Notes
    -----
    Up to any of these stages the trees are those that `estimator.fit` makes with so many iterations.
    """
    import lightgbm

    params = _parameters(estimator, bins.y)
    fitted, scored = bins.of(params)
    fitted.set_weight(_weights(estimator, bins.y))
    booster = lightgbm.Booster(params, fitted)
    booster.add_valid(scored, "scored")
    found: list[tuple[float, float]] = []

    def stage(raw: Array, _: Any) -> tuple[str, float, bool]:
        found.append(score(np.column_stack([1 - raw, raw]) if raw.ndim == 1 else raw))
        return "followed", found[-1][0], True

    every = iterations_a_stage(params["learning_rate"])
    for iteration in range(1, most + 1):
        no_leaf_splits = booster.update()
        if iteration % every == 0 or ((no_leaf_splits or iteration == most) and not found):
            booster.eval_valid(stage)
            if len(found) - 1 - int(np.argmax([followed for followed, _ in found])) >= PATIENCE:
                break
        if no_leaf_splits:
            break
    return found


def _parameters(estimator: Any, y: Array) -> dict[str, Any]:
    """An LGBMClassifier's hyperparameters as `lightgbm.train` takes them: their names are aliases of its own."""
    aside = ("n_estimators", "importance_type", "class_weight")
    params = {name: value for name, value in estimator.get_params().items() if name not in aside and value is not None}
    classes = len(np.unique(y))
    several = {"objective": "multiclass", "num_class": classes}
    # a column that could not be split with this trial's leaves could be with another's; scores are our own
    own = {"feature_pre_filter": False, "metric": "None"}
    return {**({"objective": "binary"} if classes == 2 else several), **params, **own}


def _weights(estimator: Any, y: Array) -> Array | None:
    """What each row weighs for a `class_weight`."""
    from sklearn.utils.class_weight import compute_sample_weight

    wanted = estimator.get_params()["class_weight"]
    weights: Array | None = None if wanted is None else compute_sample_weight(wanted, y)
    return weights
