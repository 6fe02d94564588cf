"""The two tasks, and all that fits and scores differ in: what estimators learn and are asked, and how that is judged.

To classify is to give each class a probability; a regression gives a number. Everything else that differs lies where
it is drawn (steps/evaluation/plots.py), served (steps/model/served.py) or read from a table (tabular/data/targets.py).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from tabular.data import targets
from tabular.errors import CandidateError, UserError
from tabular.metrics import classification, lookup, regression
from tabular.metrics.classification import DEFAULT_THRESHOLD, ClassPredictions, log_losses
from tabular.metrics.lookup import Task as Name
from tabular.metrics.regression import NumberPredictions
from tabular.model import nets
from tabular.model.codes import as_taken

Array: TypeAlias = np.ndarray[Any, Any]
Transform: TypeAlias = Literal["none", "log", "log1p"]
# In how many parts training rows are encoded by what the other parts tell of the target.
CROSS_FITTED = 5
# Another scale for a target: what is learnt of a number, and the number that is meant by what was learnt.
SCALES: Mapping[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "none": (np.asarray, np.asarray),
    "log": (np.log, np.exp),
    "log1p": (np.log1p, np.expm1),
}


@dataclass(frozen=True)
class Classification:
    """Classes to tell apart; of two classes, one is positive.

    Attributes
    ----------
    classes
        The number of classes.
    positive
        The code of the positive class; only used with two classes.
    """

    classes: int
    positive: int
    name: ClassVar[Name] = lookup.CLASSIFICATION
    # the loss by iteration, what estimators give, and the method that gives it after each iteration
    loss: ClassVar[str] = "log_loss"
    what: ClassVar[str] = "probabilities"
    # what can be answered without any column, and what a model may know that is no better
    prior: ClassVar[str] = "the classes' shares"
    advice: ClassVar[str] = (
        "it may know no more than how common each class is: give columns that tell the classes apart"
    )
    staged: ClassVar[str] = "staged_predict_proba"

    @property
    def has_threshold(self) -> bool:
        """Whether there is a probability from which on a class is the label: between two classes."""
        return self.classes == 2

    def learnt(self, y: Array) -> Array:
        """(n,) what an estimator is fitted on, for (n,) class codes."""
        return y

    def without_gaps(self, y: Array) -> Array:
        """(n,) what an estimator is fitted on that takes no codes but 0, 1, … without a gap."""
        return np.unique(y, return_inverse=True)[1]

    def seen(self, y: Array) -> Array:
        """The codes among (n,) class codes, ascending."""
        return np.unique(y)

    def outputs(self, estimator: Any, X_encoded: Any, seen: Array) -> Array:
        """(n, classes) probabilities of a fitted classifier for encoded rows; `seen` are the codes it was fitted on."""
        if nets.is_net(type(estimator)):
            return self.whole(nets.probabilities(estimator, X_encoded), seen)
        return self.whole(estimator.predict_proba(as_taken(estimator, X_encoded)), seen)

    def whole(self, found: Array, seen: Array) -> Array:
        """Widen what a library gives, (n, classes seen) or (n,) of two, to (n, classes); others have probability 0."""
        if found.ndim == 1:
            found = np.column_stack([1 - found, found])
        if len(seen) == self.classes:
            return np.asarray(found, dtype=np.float64)
        whole = np.zeros((len(found), self.classes))
        whole[:, np.asarray(seen, dtype=int)] = found
        return whole

    def can_score(self, y: Array, seen: Array) -> bool:
        """Whether all of these classes are among those that were seen, so that each row has a loss."""
        return bool(np.isin(y, seen).all())

    def mean_loss(self, y: Array, outputs: Array, weights: Array | None) -> float:
        """The mean log loss of rows, in nats."""
        return float(np.average(log_losses(outputs[np.arange(len(y)), y]), weights=weights))

    def predictions(
        self, y: Array, outputs: Array, *, threshold: float = DEFAULT_THRESHOLD, weights: Array | None = None
    ) -> ClassPredictions:
        """(n,) class codes beside (n, classes) probabilities, checked; see `classification.as_predictions`."""
        about: dict[str, Any] = {"positive": self.positive, "threshold": threshold, "weights": weights}
        return classification.as_predictions(y, outputs, classes=self.classes, **about)

    def check_learnable(self, y: Array, target: str) -> None:
        """That (n,) class codes can be learnt, as all can."""

    def no_value(self, metric: str, y: Array, outputs: Array) -> UserError:
        """The error that a metric has no value for scored rows."""
        return UserError(f"{metric} has no value: the scored rows are of one class")

    def target_encoder(self, y: Array, seed: int) -> Any:
        """The unfitted encoder of categories by the shares of the classes, for training rows of these classes.

        The parts that it cuts them into have equal shares of each class, where there are rows enough of each.
        """
        from sklearn.model_selection import KFold, StratifiedKFold
        from sklearn.preprocessing import TargetEncoder

        fewest = np.unique(y, return_counts=True)[1].min()
        cut = StratifiedKFold if fewest >= CROSS_FITTED else KFold
        return TargetEncoder(cv=cut(CROSS_FITTED, shuffle=True, random_state=seed))

    def baselines(self, y: Array, weights: Array | None, rows: int) -> list[Array]:
        """What can be answered without any column: (rows, classes) the classes' shares among rows of these classes.

        These are the answers of `sklearn.dummy.DummyClassifier(strategy="prior")`; with weights, shares of them.
        """
        counts = np.bincount(y, weights=weights, minlength=self.classes)
        return [np.tile(counts / counts.sum(), (rows, 1))]


@dataclass(frozen=True)
class Regression:
    """A number to predict.

    Attributes
    ----------
    transform
        The scale on which it is learnt; predictions and metrics are on the target's own.
    """

    transform: Transform = "none"
    name: ClassVar[Name] = lookup.REGRESSION
    loss: ClassVar[str] = "rmse"
    what: ClassVar[str] = "predictions"
    prior: ClassVar[str] = "the mean and the median"
    advice: ClassVar[str] = (
        "it may know no more than the middle of all numbers: give columns that tell more of the target"
    )
    staged: ClassVar[str] = "staged_predict"
    has_threshold: ClassVar[bool] = False

    def learnt(self, y: Array) -> Array:
        """(n,) what an estimator is fitted on, for (n,) numbers."""
        return SCALES[self.transform][0](y)

    without_gaps = learnt

    def seen(self, y: Array) -> Array:
        """Of numbers no codes are seen."""
        return np.empty(0, dtype=np.int64)

    def outputs(self, estimator: Any, X_encoded: Any, seen: Array) -> Array:
        """(n, 1) the numbers that a fitted regressor predicts for encoded rows, on the target's scale."""
        return self.whole(estimator.predict(as_taken(estimator, X_encoded)), seen)

    def whole(self, found: Array, seen: Array) -> Array:
        """(n, 1) numbers on the target's scale, of what a library gives: (n,) or (n, 1) on the scale of learning."""
        learnt = np.asarray(found, dtype=np.float64).reshape(len(found), 1)
        with np.errstate(over="ignore"):  # what is infinite is refused, by name
            return SCALES[self.transform][1](learnt)

    def can_score(self, y: Array, seen: Array) -> bool:
        """Whether each row has a loss, which every number has."""
        return True

    def mean_loss(self, y: Array, outputs: Array, weights: Array | None) -> float:
        """The root of the mean squared error of rows, in the target's unit."""
        return float(np.sqrt(np.average((outputs[:, 0] - y) ** 2, weights=weights)))

    def predictions(
        self, y: Array, outputs: Array, *, threshold: float = DEFAULT_THRESHOLD, weights: Array | None = None
    ) -> NumberPredictions:
        """(n,) numbers beside their predictions, checked; see `regression.as_predictions`.

        `outputs` are (n, 1) predictions, or (n, 3) predictions and the ends of their intervals. Numbers have no
        threshold: it makes no difference.
        """
        low, high = (outputs[:, 1], outputs[:, 2]) if outputs.shape[1] == 3 else (None, None)
        return regression.as_predictions(y, outputs[:, 0], low=low, high=high, weights=weights)

    def check_learnable(self, y: Array, target: str) -> None:
        """That all of (n,) numbers can be learnt on the task's scale.

        Raises
        ------
        UserError
            One of them has no logarithm.
        """
        least, bound = float(y.min()), {"none": -np.inf, "log": 0.0, "log1p": -1.0}[self.transform]
        if least <= bound:
            other = ", or log1p, which is the logarithm of 1 + the number"
            raise UserError(
                f"data.target_transform: {self.transform} needs numbers above {bound:g}, and the least of {target!r} "
                f"is {least:g}: leave it out{other if self.transform == 'log' and least > -1 else ''}"
            )

    def no_value(self, metric: str, y: Array, outputs: Array) -> UserError:
        """The error that a metric has no value for scored rows; one of the candidate where others may have one."""
        why = regression.undefined(self.predictions(y, outputs)).get(metric, "the scored rows have one true number")
        line = f"{metric} has no value: {why}: take another metric, such as {lookup.DEFAULT[self.name]}"
        of_right_ones = lookup.metric(metric).score(self.predictions(y, y[:, None]))
        return UserError(line) if math.isnan(of_right_ones) else CandidateError(line)

    def target_encoder(self, y: Array, seed: int) -> Any:
        """The unfitted encoder of categories by the mean of the number, on the scale on which it is learnt."""
        from sklearn.model_selection import KFold
        from sklearn.preprocessing import TargetEncoder

        return TargetEncoder(target_type="continuous", cv=KFold(CROSS_FITTED, shuffle=True, random_state=seed))

    def baselines(self, y: Array, weights: Array | None, rows: int) -> list[Array]:
        """What can be answered without any column: (rows, 1) the mean, and the median, of these numbers.

        These are the answers of `sklearn.dummy.DummyRegressor`. The mean has the least squared error of all numbers,
        the median the least absolute error.
        """
        constants = (np.average(y, weights=weights), targets.median(y, weights))
        return [np.full((rows, 1), constant) for constant in constants]


Task: TypeAlias = Classification | Regression
