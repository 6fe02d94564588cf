"""Calibration of class probabilities, so that of rows with a probability of 0.3 a share of 0.3 comes true.

It is learnt from what the models of the folds answered for rows that they had not learnt from. A served model applies
it without this repository: what `Calibration.apply` does stands in steps/model/served.py once more, to the same bits.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from tabular.metrics.classification import CALIBRATION_ERROR, as_predictions, log_losses
from tabular.metrics.lookup import metric

Array: TypeAlias = np.ndarray[Any, Any]
Method: TypeAlias = Literal["none", "sigmoid", "isotonic"]
METHODS: tuple[Method, ...] = get_args(Method)
AUTO = "auto"
# A method takes the place of a simpler one where it lowers the mean log loss by more than so many standard errors.
STANDARD_ERRORS = 1.0
# Of fewer rows out of fold, or of a class of fewer, `auto` leaves isotonic regression out: it has a step wherever the
# rows have one by chance.
FEWEST_ROWS, FEWEST_OF_A_CLASS = 1_000, 100
# Newton's method on a convex loss: it ends after a few steps, when the next one would gain less than this share of it.
STEPS, ENOUGH = 50, 1e-14


@dataclass(frozen=True)
class Calibration:
    """What turns an estimator's probabilities into calibrated ones.

    Attributes
    ----------
    method
        `sigmoid`: `softmax(slope * log(p + floor) + offsets)`. `isotonic`: each class's probability by its curve, then
        divided by their sum; of two classes only the second has a curve. `none`: as they are.
    floor
        What is added to a probability before its logarithm is taken, so that one of 0 has one.
    slope, offsets
        Of `sigmoid`; offsets by class code.
    curves
        Of `isotonic`: of each class the breakpoints, ascending, and what becomes of them; between two it is
        interpolated.
    losses
        Of each method that was tried, the cross-validated log loss.
    errors
        The calibration error of all rows out of fold: as the estimators answered ("before"), and calibrated by what
        the other folds tell ("after").
    """

    method: Method = "none"
    floor: float = 0.0
    slope: float = 1.0
    offsets: tuple[float, ...] = ()
    curves: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()
    losses: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)

    def apply(self, probabilities: Array) -> Array:
        """(n, k) calibrated probabilities, for (n, k) probabilities of an estimator."""
        if self.method == "none":
            return probabilities
        if self.method == "sigmoid":
            return _softmax(self.slope * np.log(probabilities + self.floor) + np.array(self.offsets))
        if len(self.curves) == 1:
            second = np.interp(probabilities[:, 1], *self.curves[0])
            return np.column_stack([1 - second, second])
        found = np.column_stack([np.interp(probabilities[:, code], *curve) for code, curve in enumerate(self.curves)])
        calibrated: Array = found / found.sum(axis=1, keepdims=True)
        return calibrated

    def as_dict(self) -> dict[str, Any]:
        """The attributes as plain values, for JSON."""
        curves = [[list(ends) for ends in curve] for curve in self.curves]
        told = {"losses": dict(self.losses), "errors": dict(self.errors)}
        return {**asdict(self), "offsets": list(self.offsets), "curves": curves, **told}

    def served(self) -> dict[str, Any] | None:
        """What a served model has to know, as plain values; None where it has nothing to do."""
        names: Mapping[str, tuple[str, ...]] = {"sigmoid": ("floor", "slope", "offsets"), "isotonic": ("curves",)}
        if self.method == "none":
            return None
        values = self.as_dict()
        return {name: values[name] for name in ("method", *names[self.method])}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Calibration":
        """The calibration that `as_dict` made these values of."""
        curves = tuple((tuple(at), tuple(becomes)) for at, becomes in values["curves"])
        return cls(**{**values, "offsets": tuple(values["offsets"]), "curves": curves})


@dataclass(frozen=True)
class Learnt:
    """A calibration, and what it is worth.

    Attributes
    ----------
    calibration
        Learnt from all rows: for new ones.
    cross_fitted
        (n, k) the rows' own probabilities, those of each fold calibrated by what all others tell.
    """

    calibration: Calibration
    cross_fitted: Array


def learn(
    probabilities: Array,
    y: Array,
    fold: Array,
    *,
    how: str,
    positive: int,
    weights: Array | None = None,
) -> Learnt:
    """Learn a calibration from rows that were scored out of fold.

    Parameters
    ----------
    probabilities
        (n, k) the probability of each class, each row's by a model that has not learnt from it.
    y
        (n,) class codes.
    fold
        (n,) the number of the fold in which each row was scored.
    how
        A method, or `auto`: the simplest than which none is notably better. They are compared by their log loss on
        each fold, learnt from all others; from none by sigmoid to isotonic they are less and less simple, and one takes
        the place of a simpler one where the mean of the rows' differences is above `STANDARD_ERRORS` of its own.
    positive
        The code of the positive class; only used with two classes.
    weights
        (n,) how much each row counts, above 0; None where all count alike. As elsewhere, a row of weight 2 teaches as
        much as two; what goes by chance, the standard error and the fewest rows, goes by rows.

    Returns
    -------
    Learnt
        `none` where there is but one fold, from which nothing can be learnt for itself.

    Notes
    -----
    `sigmoid` is J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999, on the logarithms of
    probabilities, with his targets, which are what regularises it: a row's own class has (N + 1) / (N + k) where N rows
    are of it, each other class 1 / (N + k). Of two classes it is his, on the logit. Of more it has one slope for all
    classes, which is temperature scaling (C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017), and an
    offset for each (A. Alexandari et al., "Maximum Likelihood with Bias-Corrected Calibration", ICML 2020), which mends
    classes that are too probable in all rows. One against the rest, it would have twice as many parameters, and its
    probabilities would not sum to one.

    `isotonic` is B. Zadrozny and C. Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability
    Estimates", KDD 2002: one against the rest, then divided by the sum. It learns Platt's targets too, and so gives no
    probability nearer to 0 or 1 than they are, and no row an infinite loss.

    The choice of `auto` sees all folds. Of three methods, of which a less simple one has to be notably better, it makes
    the cross-fitted loss too good by less than what the folds' models lose by learning from fewer rows.
    """
    from threadpoolctl import threadpool_limits

    counts = np.ones(len(y)) if weights is None else np.asarray(weights, float)
    of_truth = np.arange(len(y)), y
    tried = _tried(y, probabilities.shape[1]) if how == AUTO else tuple(one for one in METHODS if one == how)
    found: dict[str, Array] = {"none": probabilities}
    with threadpool_limits(limits=1, user_api="blas"):  # more would sum in another order
        for method in tried if len(np.unique(fold)) > 1 else ():
            if method != "none":
                found[method] = _cross_fitted(FITS[method], probabilities, y, fold, counts)
        losses = {method: log_losses(values[of_truth]) for method, values in found.items()}
        chosen = _chosen(losses, counts) if how == AUTO else list(losses)[-1]
        calibration = Calibration() if chosen == "none" else FITS[chosen](probabilities, y, counts)
    about: dict[str, Any] = {"classes": probabilities.shape[1], "positive": positive, "weights": weights}
    errors = {
        when: metric(CALIBRATION_ERROR).score(as_predictions(y, found[method], **about))
        for when, method in (("before", "none"), ("after", chosen))
    }
    told = {method: float(np.average(values, weights=counts)) for method, values in losses.items()}
    parts = (calibration.method, calibration.floor, calibration.slope, calibration.offsets, calibration.curves)
    return Learnt(Calibration(*parts, losses=told, errors=errors), found[chosen])


def _tried(y: Array, classes: int) -> tuple[Method, ...]:
    """The methods that `auto` tries, of enough rows isotonic regression among them."""
    enough = len(y) >= FEWEST_ROWS and np.bincount(y, minlength=classes).min() >= FEWEST_OF_A_CLASS
    return METHODS if enough else METHODS[:2]


def _chosen(losses: Mapping[str, Array], counts: Array) -> str:
    """The simplest method than which none is notably better; of each its rows' losses, the simplest first."""
    chosen, *others = losses
    for method in others:
        gains = losses[chosen] - losses[method]
        mean = np.average(gains, weights=counts)
        error = np.sqrt(np.sum(counts**2 * (gains - mean) ** 2)) / counts.sum()
        if mean > STANDARD_ERRORS * error:
            chosen = method
    return chosen


def _cross_fitted(
    fit: Callable[[Array, Array, Array], Calibration], probabilities: Array, y: Array, fold: Array, counts: Array
) -> Array:
    """(n, k) the rows' probabilities, those of each fold calibrated by what all others tell."""
    found = np.empty_like(probabilities)
    for number in np.unique(fold):
        own = fold == number
        found[own] = fit(probabilities[~own], y[~own], counts[~own]).apply(probabilities[own])
    return found


def _targets(y: Array, counts: Array, classes: int) -> tuple[Array, float]:
    """(k, k) Platt's targets, by the row's class; and the weight of the one row that they add of each class.

    That is the rows' mean weight, if this is below 1, so that none is lost to the scale of weights.
    """
    one = min(1.0, float(counts.mean()))
    rows = np.bincount(y, weights=counts, minlength=classes)[:, None]
    return (np.diag(rows[:, 0]) + one) / (rows + classes * one), one


def _sigmoid(probabilities: Array, y: Array, counts: Array) -> Calibration:
    targets, one = _targets(y, counts, probabilities.shape[1])
    floor = float(one / counts.sum())
    Z = np.log(probabilities + floor)
    found = _newton(Z, targets[y], counts)
    if found[0] < 0:  # what it knows is less than nothing: the classes' shares, and not its answers reversed
        found = _newton(Z, targets[y], counts, slope=0.0)
    return Calibration("sigmoid", floor, float(found[0]), tuple(found[1:].tolist()))


def _newton(Z: Array, targets: Array, counts: Array, slope: float | None = None) -> Array:
    """(1 + k,) the slope and the offsets with the least log loss of soft targets; the first offset is 0.

    With a `slope` given, only the offsets are found.
    """
    k = Z.shape[1]
    free = np.arange(1 + k) > 1 if slope is not None else np.arange(1 + k) != 1
    values: Array = np.r_[1.0 if slope is None else slope, np.zeros(k)]

    def loss(values: Array) -> tuple[float, Array]:
        Q = _softmax(values[0] * Z + values[1:])
        return float(-np.sum(counts[:, None] * targets * np.log(np.maximum(Q, np.finfo(float).tiny)))), Q

    least, Q = loss(values)
    for _ in range(STEPS):
        weighted = counts[:, None] * Q
        off = Z - np.sum(Q * Z, axis=1, keepdims=True)
        residuals = weighted - counts[:, None] * targets
        gradient = np.r_[np.sum(residuals * Z), residuals.sum(axis=0)]
        hessian = np.empty((1 + k, 1 + k))
        hessian[0, 0] = np.sum(weighted * off**2)
        hessian[0, 1:] = hessian[1:, 0] = np.sum(weighted * off, axis=0)
        hessian[1:, 1:] = np.diag(weighted.sum(axis=0)) - weighted.T @ Q
        step = np.zeros(1 + k)  # the shortest, where several are as good: of equal answers the slope stays as it is
        step[free] = np.linalg.lstsq(hessian[np.ix_(free, free)], -gradient[free], rcond=1e-12)[0]
        if -gradient @ step <= ENOUGH * least:
            break
        length = 1.0
        while (found := loss(values + length * step))[0] > least and length > 1e-6:
            length /= 2
        if found[0] >= least:
            break
        values, (least, Q) = values + length * step, found
    return values


def _softmax(scores: Array) -> Array:
    parts = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Array = parts / parts.sum(axis=1, keepdims=True)
    return shares


def _isotonic(probabilities: Array, y: Array, counts: Array) -> Calibration:
    from sklearn.isotonic import IsotonicRegression

    k = probabilities.shape[1]
    rows, one = np.bincount(y, weights=counts, minlength=k), min(1.0, float(counts.mean()))
    curves = []
    for code in (1,) if k == 2 else range(k):
        of_it, others = rows[code], rows.sum() - rows[code]
        targets = np.where(y == code, (of_it + one) / (of_it + 2 * one), one / (others + 2 * one))
        fitted = IsotonicRegression(out_of_bounds="clip")
        fitted.fit(probabilities[:, code], targets, sample_weight=counts)
        curves.append((tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist())))
    return Calibration("isotonic", curves=tuple(curves))


FITS: Mapping[str, Callable[[Array, Array, Array], Calibration]] = {"sigmoid": _sigmoid, "isotonic": _isotonic}
