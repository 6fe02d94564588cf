"""Whether a model keeps what it promised: rows whose truth is known by now, held against the holdout and the bounds.

Nothing is called a drop that chance explains. The rows of today and those of the holdout are two samples, so both are
resampled by themselves, and the difference is taken of each pair of resamples (B. Efron and R. J. Tibshirani, "An
Introduction to the Bootstrap", 1993, chapter 8, two samples; the limit is a percentile, chapter 13).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from tabular.evaluation import bootstrap, gate, slices
from tabular.evaluation.bootstrap import Interval
from tabular.evaluation.drift import Shift
from tabular.metrics.classification import ClassPredictions
from tabular.metrics.lookup import metric, sign
from tabular.metrics.metric import Predictions, rounded
from tabular.sections.rules import Bound, Limits, Shifts

Array: TypeAlias = np.ndarray[Any, Any]
Verdict: TypeAlias = Literal["healthy", "watch", "degraded"]
HEALTHY: Verdict = "healthy"
WATCH: Verdict = "watch"
DEGRADED: Verdict = "degraded"
VERDICTS = (HEALTHY, WATCH, DEGRADED)  # from the best to the worst
# The fewest rows of each of two classes without which a metric of classes is mostly chance.
FEWEST_OF_A_CLASS = 10
EXPECTED = " (if that is to be expected, name it in monitor.shift.expected)"


@dataclass(frozen=True)
class Finding:
    """Something that speaks against a model, what it comes to, and whether no more can be said of the rows."""

    verdict: Verdict
    why: str
    is_last_word: bool = False


@dataclass(frozen=True)
class Drop:
    """How much worse a metric is than on the holdout.

    Attributes
    ----------
    metric
        The name of the metric.
    promised, found
        Its value on the holdout and on the rows of today.
    lower
        The one-sided lower confidence limit of the drop; NaN where the metric has no value in any resample.
    allowed
        The drop that is still allowed, in the metric's unit.
    confidence
        The confidence of the limit.
    """

    metric: str
    promised: float
    found: float
    lower: float
    allowed: float
    confidence: float

    @property
    def size(self) -> float:
        """The drop, above 0 where the model has become worse."""
        return sign(self.metric) * (self.promised - self.found)

    @property
    def seen_from(self) -> float:
        """The drop from which on so few rows would show one with this confidence."""
        return self.size - self.lower

    def said(self, interval: str = "") -> str:
        """The drop in words; `interval` is that of today's value."""
        change = f"{'worse' if self.size > 0 else 'better'} by {rounded(abs(self.size))}" if self.size else "the same"
        limit = f", with {self.confidence:.0%} confidence by at least {rounded(self.lower)}"
        limit = limit if self.lower > 0 else ", which may be chance" if self.size > 0 else ""
        now = f"{self.metric} {rounded(self.found)}{f' ({interval})' if interval else ''}"
        return f"{now}, on the holdout {rounded(self.promised)}: {change}{limit}"

    def findings(self) -> list[Finding]:
        """What the drop comes to: at most one finding."""
        if np.isnan(self.lower):
            return [Finding(WATCH, f"{self.metric} cannot be compared: it has no value in these rows", True)]
        said = f"{self.said()}; allowed is {rounded(self.allowed)}"
        if self.lower > self.allowed:
            return [Finding(DEGRADED, said)]
        return [Finding(WATCH, said)] if self.lower > 0 and self.size > self.allowed else []


def error(name: str, value: float) -> float:
    """How far a value of a metric is from that of perfect predictions.

    These score 1 by a metric of which more is better, and 0 by a loss, or a loss with its sign turned (scikit-learn's
    scorers `neg_…`).
    """
    return abs(1 - value) if metric(name).greater_is_better and not name.startswith("neg_") else abs(value)


def drop(
    now: Predictions,
    holdout: Predictions,
    name: str,
    *,
    most: float,
    confidence: float,
    seed: int,
    groups: tuple[Array | None, Array | None] = (None, None),
    resamples: int = bootstrap.RESAMPLES,
    most_rows: int | None = None,
) -> Drop:
    """Compare a metric of today's rows with that of the holdout, by a bootstrap of both.

    Parameters
    ----------
    now, holdout
        The predictions of both.
    name
        The name of the metric.
    most
        The share by which its distance from a perfect score may grow.
    confidence
        The one-sided confidence of the lower limit.
    seed, resamples, most_rows
        As for `tabular.evaluation.bootstrap.resampled`.
    groups
        The (n,) group of each row of today and of the holdout; None where rows are independent.
    """
    about: dict[str, Any] = {"resamples": resamples, "most_rows": most_rows}
    values = [
        bootstrap.resampled({"": one}, [name], seed=seed + place, groups=of, **about)[""][name]
        for place, (one, of) in enumerate(zip((now, holdout), groups, strict=True))
    ]
    pairs = min(map(len, values))  # a table of very many rows gets fewer resamples
    drops = sign(name) * (values[1][:pairs] - values[0][:pairs])
    known = drops[np.isfinite(drops)]
    lower = float(np.quantile(known, 1 - confidence)) if len(known) else float("nan")
    promised, found = (float(metric(name).score(one)) for one in (holdout, now))
    return Drop(name, promised, found, lower, most * error(name, promised), confidence)


def too_few(now: Predictions, fewest: int, names: Sequence[object] = ()) -> list[Finding]:
    """Whether rows are too few to say anything of a model: at most one finding.

    Parameters
    ----------
    now
        The predictions of the rows; those of weight 0 do not count.
    fewest
        The fewest rows.
    names
        The names of the classes. Of two of them there have to be `FEWEST_OF_A_CLASS` rows each.
    """
    counting = now.y if now.weights is None else now.y[now.weights > 0]
    if len(counting) < fewest:
        return [Finding(WATCH, f"too few rows to say more: {len(counting):,}, and {fewest:,} are needed", True)]
    if isinstance(now, ClassPredictions):
        rows = np.bincount(counting, minlength=len(names))
        if (rows >= FEWEST_OF_A_CLASS).sum() < 2:
            told = ", ".join(f"{count:,} of {label!r}" for label, count in zip(names, rows.tolist(), strict=True))
            need = f"{FEWEST_OF_A_CLASS} rows of two classes are needed"
            return [Finding(WATCH, f"too few rows to say more: {told}, and {need}", True)]
    return []


def unmet(
    require: Mapping[str, Bound],
    metrics: Mapping[str, float],
    intervals: Mapping[str, Interval],
    scored: Sequence[slices.Scored] = (),
) -> list[Finding]:
    """The bounds that are not met: degraded where the whole interval of the metric lies beyond, else to watch.

    Parameters
    ----------
    require
        For each metric, its bounds on all rows and in each slice.
    metrics, intervals
        The metrics on all rows, and their intervals.
    scored
        The slices, with the metrics that have a bound in each slice. A slice has few rows, so a bound that is not met
        in one is something to watch.
    """
    found = []
    for name, bound in require.items():
        of_slices = {name: Bound(in_each_slice=bound.in_each_slice)} if bound.in_each_slice is not None else {}
        for check in gate.check({name: Bound(min=bound.min, max=bound.max)}, metrics) if _has_limits(bound) else []:
            if not check.passed:
                surely = _is_beyond(intervals[name], bound)
                interval = f"95 %: {rounded(intervals[name].low)} to {rounded(intervals[name].high)}"
                found.append(Finding(DEGRADED if surely else WATCH, f"{check.line()} ({interval})"))
        found += [Finding(WATCH, check.line()) for check in gate.check(of_slices, metrics, scored) if not check.passed]
    return found


def _has_limits(bound: Limits) -> bool:
    return bound.min is not None or bound.max is not None


def _is_beyond(interval: Interval, bound: Limits) -> bool:
    below = bound.min is not None and interval.high < bound.min
    return below or (bound.max is not None and interval.low > bound.max)


def shifted(
    inputs: Sequence[Shift], scores: Sequence[Shift], limits: Shifts, passing: Collection[str] = ()
) -> list[Finding]:
    """The shifts that are above the limits and above what chance explains.

    Parameters
    ----------
    inputs, scores
        The shift of the columns and of the scores.
    limits
        The indices from which on a shift is told.
    passing
        Columns that move as time does, such as dates: they do not count, nor do those that are like an id.
    """
    counting = [one for one in inputs if not one.names_rows and one.column not in {*passing, *limits.expected}]
    asked = [(one, limits.inputs, "column", EXPECTED) for one in counting if limits.inputs is not None]
    asked += [(one, limits.scores, "score", "") for one in scores if limits.scores is not None]
    return [
        Finding(WATCH, f"{what} {one.column!r} has moved: {one.said(limit)}{advice}")
        for one, limit, what, advice in asked
        if limit is not None and one.psi >= limit and one.psi > one.by_chance
    ]


def is_at_least(found: Verdict, wanted: Verdict) -> bool:
    """Whether a verdict is as good as another one, or better."""
    return VERDICTS.index(found) <= VERDICTS.index(wanted)


def verdict(findings: Iterable[Finding]) -> Verdict:
    """The verdict on a model, by all that speaks against it; nothing but to watch where rows are too few."""
    found = list(findings)
    if any(one.is_last_word for one in found):
        return WATCH
    return max((one.verdict for one in found), key=VERDICTS.index, default=HEALTHY)
