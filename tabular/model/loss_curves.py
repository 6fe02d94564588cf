"""The loss of a model by iteration, on the rows that it learns from and on others."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tabular.model.tasks import Task

Array: TypeAlias = np.ndarray[Any, Any]
# The task's loss by iteration. "iteration": the iterations after which it is taken; "training", "validation": the
# losses. Empty if the estimator has no iterations.
Curves: TypeAlias = dict[str, list[Any]]
# Rows, their class codes or numbers, and how much each counts; None where all count alike.
Weighed: TypeAlias = tuple[Any, Array, Array | None]
# About how many points a curve has: each costs as much time as an iteration.
CURVE_POINTS = 100


def curve_points(iterations: int) -> set[int]:
    """The iterations after which the loss is computed; the last one is always among them."""
    stride = max(1, iterations // CURVE_POINTS)
    return {*range(stride, iterations + 1, stride), iterations}


class IterationLosses:
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


def staged(task: Task, estimator: Any, rows: Weighed, seen: Array) -> dict[int, float]:
    """{iteration: the loss after it} of a fitted estimator of scikit-learn's that can be asked after each."""
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


def mean_of(curves: Sequence[Curves]) -> Curves:
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
