"""The gate: what a challenger must show before it becomes the champion."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from tabular.evaluation import bootstrap, slices
from tabular.metrics.classification import Predictions, metric, sign
from tabular.problem import Bound, Limits

Array: TypeAlias = np.ndarray[Any, Any]
# What costs no less than this share of the champion's is neither faster nor smaller.
NOTABLY = 0.9


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
class TieBreak:
    """What the two cost, for those that are equally good: seconds for the same rows, or bytes."""

    what: Literal["faster", "smaller"]
    challenger: float
    champion: float

    @property
    def won(self) -> bool:
        """Whether the challenger costs notably less."""
        return self.challenger <= NOTABLY * self.champion


@dataclass(frozen=True)
class Comparison:
    """A challenger's advantage over the champion on the same rows, in the metric's own unit; above 0 is better."""

    metric: str
    challenger: float
    champion: float
    lower: float  # the advantage is above this with the stated confidence
    confidence: float
    tie_break: TieBreak | None = None  # of two that are equally good, where the problem asks for one

    @property
    def wins(self) -> bool:
        """Whether the challenger is to replace the champion."""
        return self.better or (self.tie_break is not None and self.tie_break.won)

    @property
    def better(self) -> bool:
        """Whether the advantage is above 0 with the stated confidence."""
        return self.lower > 0

    def is_equal(self, within: float) -> bool:
        """Whether the challenger is, with the stated confidence, worse by no more than this, if it is at all."""
        return self.lower > -within

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain values."""
        return {**asdict(self), "better": self.better}


def check(
    require: Mapping[str, Bound], metrics: Mapping[str, float], scored: Sequence[slices.Scored] = ()
) -> list[Check]:
    """Each bound of the gate against a candidate's metrics on the holdout. A metric that is NaN passes no bound.

    Parameters
    ----------
    require
        Metric: its bounds, of all rows and of each slice.
    metrics
        Of all rows.
    scored
        The slices, with those metrics that have a bound in each of them.
    """
    checks = []
    for name, bound in require.items():
        checks += _check(name, metrics[name], bound)
        if bound.in_each_slice is not None:
            checks += _check_slices(name, bound.in_each_slice, scored)
    return checks


def _check(what: str, found: float, limits: Limits) -> list[Check]:
    made = []
    if limits.min is not None:
        made.append(Check(f"{what} at least {limits.min:g}", found, bool(found >= limits.min)))
    if limits.max is not None:
        made.append(Check(f"{what} at most {limits.max:g}", found, bool(found <= limits.max)))
    return made


def _check_slices(name: str, limits: Limits, scored: Sequence[slices.Scored]) -> list[Check]:
    """A bound in the slice where it is hardest to meet; where no slice can be judged it is not met."""
    worst = slices.worst(scored, name)
    if worst is None:
        return _check(f"{name} in each slice, of which none has {slices.FEWEST_ROWS} rows,", float("nan"), limits)
    return _check(f"{name} of the worst slice, {worst.slice.name},", worst.metrics[name], limits)


def compare(
    challenger: Predictions,
    champion: Predictions,
    name: str,
    *,
    confidence: float,
    seed: int,
    groups: Array | None = None,
    resamples: int = bootstrap.RESAMPLES,
) -> Comparison:
    """Compare two models on the same rows by a paired bootstrap: see `tabular.evaluation.bootstrap`.

    Parameters
    ----------
    challenger, champion
        Their answers to the same rows.
    name
        Of the metric.
    confidence
        One-sided: 0.95 asks that the advantage be above 0 in 95 % of the resamples.
    seed, groups, resamples
        Of the bootstrap. Resamples that hold one class only, where a metric of ranks has no value, do not count.
    """
    both = {"challenger": challenger, "champion": champion}
    values = bootstrap.resampled(both, [name], seed=seed, groups=groups, resamples=resamples)
    advantages = sign(name) * (values["challenger"][name] - values["champion"][name])
    known = advantages[np.isfinite(advantages)]
    lower = float(np.quantile(known, 1 - confidence)) if len(known) else float("nan")
    whole = [float(metric(name).score(predictions)) for predictions in both.values()]
    return Comparison(name, whole[0], whole[1], lower, confidence)
