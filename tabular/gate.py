"""The gate: what a challenger must show before it becomes the champion."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from tabular.metrics import HALF
from tabular.problem import Bound

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Check:
    """One requirement and what was found."""

    what: str
    found: float
    passed: bool

    def line(self) -> str:
        """The check as a person reads it."""
        return f"{self.what}: {self.found:.4f} {'passed' if self.passed else 'not met'}"


@dataclass(frozen=True)
class Contender:
    """A model's (n, classes) probabilities, and from which one on the positive class of two is its label."""

    probabilities: Array
    threshold: float = HALF


@dataclass(frozen=True)
class Comparison:
    """A challenger's advantage over the champion on the same rows, in the metric's own unit; above 0 is better."""

    metric: str
    challenger: float
    champion: float
    lower: float  # the advantage is above this with the stated confidence
    confidence: float

    @property
    def better(self) -> bool:
        """Whether the advantage is above 0 with the stated confidence."""
        return self.lower > 0

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain values."""
        return {**asdict(self), "better": self.better}


def check(require: Mapping[str, Bound], metrics: Mapping[str, float]) -> list[Check]:
    """Each bound of the gate against a candidate's metrics on the holdout. A metric that is NaN passes no bound."""
    checks = []
    for name, bound in require.items():
        found = metrics[name]
        if bound.min is not None:
            checks.append(Check(f"{name} at least {bound.min:g}", found, bool(found >= bound.min)))
        if bound.max is not None:
            checks.append(Check(f"{name} at most {bound.max:g}", found, bool(found <= bound.max)))
    return checks


def compare(
    challenger: Contender,
    champion: Contender,
    y: Array,
    measure: Callable[[Array, Array, float], float],
    *,
    metric: str,
    greater_is_better: bool,
    confidence: float,
    seed: int,
    groups: Array | None = None,
    resamples: int = 300,
) -> Comparison:
    """Compare two models on the same rows by a paired bootstrap (Efron and Tibshirani 1993, chapter 13: percentiles).

    Parameters
    ----------
    challenger, champion
        Their answers to the same rows.
    y
        (n,) positions of classes.
    measure
        The metric of y, probabilities and threshold.
    metric, greater_is_better
        Its name, and which way is better.
    confidence
        One-sided: 0.95 asks that the advantage be above 0 in 95 % of the resamples.
    groups
        (n,) the groups of rows that are alike, such as those of one customer: they are drawn whole, since rows of which
        one tells the other count for less than as many strangers. None where each row stands for itself.
    seed, resamples
        Of the bootstrap. Resamples that hold one class only, where a rank metric is undefined, do not count.
    """
    sign = 1.0 if greater_is_better else -1.0
    unit = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(unit.max()) + 1
    generator = np.random.default_rng(seed)
    differences = []
    for _ in range(resamples):
        times = np.bincount(generator.integers(0, units, units), minlength=units)
        rows = np.repeat(np.arange(len(y)), times[unit])
        scores = [measure(y[rows], one.probabilities[rows], one.threshold) for one in (challenger, champion)]
        differences.append(sign * (scores[0] - scores[1]))
    lower = float(np.nanquantile(differences, 1 - confidence))
    whole = [measure(y, one.probabilities, one.threshold) for one in (challenger, champion)]
    return Comparison(metric, whole[0], whole[1], lower, confidence)
