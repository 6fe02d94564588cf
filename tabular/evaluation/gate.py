"""The gate: the requirements on a candidate's metrics, its floor, and the champion test of a challenger."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from tabular.evaluation import bootstrap, slices
from tabular.metrics.classification import is_of_labels
from tabular.metrics.lookup import metric, sign
from tabular.metrics.metric import Predictions, rounded
from tabular.sections.rules import Bound, Limits

Array: TypeAlias = np.ndarray[Any, Any]
# A challenger is faster or smaller if its cost is at most this share of the champion's.
NOTABLY = 0.9
# The metric in which a candidate is held against the prior, where the search's own looks at labels.
OF_RANKS = "roc_auc"
# How sure it has to be that no candidate of an evaluation is better than the prior by luck.
CONFIDENCE_OF_FLOOR = 0.95
NO_BETTER = "or more rows, or let it pass with gate: {beat_prior: false}"


@dataclass(frozen=True)
class Check:
    """One requirement of the gate, the value that was found, whether it passed, and what helps where it did not."""

    what: str
    found: float
    passed: bool
    advice: str = ""

    def line(self) -> str:
        """The check as a line of text."""
        advice = f" ({self.advice})" if self.advice and not self.passed else ""
        return f"{self.what}: {rounded(self.found)} {'passed' if self.passed else 'not met'}{advice}"


@dataclass(frozen=True)
class TieBreak:
    """The tie-break between equally good models: the cost of each, in seconds for the same rows or in bytes."""

    what: Literal["faster", "smaller"]
    challenger: float
    champion: float

    @property
    def won(self) -> bool:
        """Whether the challenger's cost is at most `NOTABLY` times the champion's."""
        return self.challenger <= NOTABLY * self.champion


@dataclass(frozen=True)
class Comparison:
    """The result of the champion test: a challenger's advantage over the champion on the same rows.

    The advantage is the difference between their values of the metric, in its unit; above 0 the challenger is better.

    Attributes
    ----------
    metric
        The name of the metric.
    challenger, champion
        The value of the metric for each.
    lower
        The lower confidence limit of the advantage.
    confidence
        The one-sided confidence of this limit.
    tie_break
        The tie-break, if the problem asks for one and the two are equally good.
    """

    metric: str
    challenger: float
    champion: float
    lower: float
    confidence: float
    tie_break: TieBreak | None = None

    @property
    def wins(self) -> bool:
        """Whether the challenger is to replace the champion: it is better, or has won the tie-break."""
        return self.better or (self.tie_break is not None and self.tie_break.won)

    @property
    def better(self) -> bool:
        """Whether the advantage is above 0 with the stated confidence."""
        return self.lower > 0

    def is_equal(self, within: float) -> bool:
        """Whether the challenger is, with the stated confidence, worse by less than `within` or not worse at all."""
        return self.lower > -within

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain values."""
        return {**asdict(self), "better": self.better}


def check(
    require: Mapping[str, Bound], metrics: Mapping[str, float], scored: Sequence[slices.Scored] = ()
) -> list[Check]:
    """Check a candidate's metrics on the holdout against each bound of the gate.

    A metric that is NaN passes no bound.

    Parameters
    ----------
    require
        For each metric, its bounds on all rows and in each slice.
    metrics
        The metrics on all rows.
    scored
        The slices, with the metrics that have a bound in each slice.
    """
    checks = []
    for name, bound in require.items():
        checks += _check(name, metrics[name], bound)
        if bound.in_each_slice is not None:
            checks += _check_slices(name, bound.in_each_slice, scored)
    return checks


def metric_of_floor(search_metric: str) -> str:
    """The metric in which candidates are held against the prior: the search's, or ROC AUC where that looks at labels.

    The prior's labels are the commonest class everywhere. A metric of labels says little beside them: a label of
    another class everywhere has a better recall or F1 score, and a good model of a rare class no better accuracy.
    """
    return OF_RANKS if is_of_labels(search_metric) else search_metric


def check_floor(name: str, values: Array, of_prior: Array, *, prior: str, advice: str, candidates: int) -> Check:
    """Check that a candidate is better than the prior: what can be answered without any column.

    Parameters
    ----------
    name
        The metric, from `metric_of_floor`.
    values, of_prior
        (resamples,) the metric of the candidate and of the prior on the same bootstrap resamples.
    prior
        What the prior is, in words.
    advice
        What a candidate may know that is no better, and what would tell more.
    candidates
        How many candidates are checked. Each has a chance of its own to be better by luck, so that each is asked for
        a higher confidence (C. E. Bonferroni, "Teoria statistica delle classi e calcolo delle probabilità", 1936).

    Returns
    -------
    Check
        `found` is the lower confidence limit of the gain, in the metric's unit; NaN, and not passed, if no resample
        has a value.
    """
    what = f"gain in {name} over {prior}, at least, with {CONFIDENCE_OF_FLOOR:.0%} confidence, above 0"
    lower = _lower_limit(sign(name) * (values - of_prior), 1 - (1 - CONFIDENCE_OF_FLOOR) / candidates)
    return Check(what, lower, lower > 0, f"{advice}, {NO_BETTER}")


def _lower_limit(gains: Array, confidence: float) -> float:
    """The one-sided lower confidence limit of a gain, from its values in the resamples; NaN if none has a value."""
    known = gains[np.isfinite(gains)]
    return float(np.quantile(known, 1 - confidence)) if len(known) else float("nan")


def _check(what: str, found: float, limits: Limits) -> list[Check]:
    made = []
    if limits.min is not None:
        made.append(Check(f"{what} at least {limits.min:g}", found, bool(found >= limits.min)))
    if limits.max is not None:
        made.append(Check(f"{what} at most {limits.max:g}", found, bool(found <= limits.max)))
    return made


def _check_slices(name: str, limits: Limits, scored: Sequence[slices.Scored]) -> list[Check]:
    """Check a bound in the worst slice; if no slice has enough rows, the bound is not met."""
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
    most_rows: int | None = None,
) -> Comparison:
    """Run the champion test: compare two models on the same rows by a paired bootstrap.

    Parameters
    ----------
    challenger, champion
        Their predictions of the same rows.
    name
        The name of the metric.
    confidence
        The one-sided confidence: 0.95 asks that the advantage be above 0 in 95 % of the resamples.
    seed, groups, resamples, most_rows
        Parameters of `tabular.evaluation.bootstrap.resampled`. Resamples in which the metric has no value (a rank
        metric, in a resample that holds one class only) are left out.

    Returns
    -------
    Comparison
        Without a tie-break. `lower` is NaN, and the challenger not better, if no resample has a value.
    """
    both = {"challenger": challenger, "champion": champion}
    about: dict[str, Any] = {"seed": seed, "groups": groups, "resamples": resamples, "most_rows": most_rows}
    values = bootstrap.resampled(both, [name], **about)
    advantages = sign(name) * (values["challenger"][name] - values["champion"][name])
    lower = _lower_limit(advantages, confidence)
    whole = [float(metric(name).score(predictions)) for predictions in both.values()]
    return Comparison(name, whole[0], whole[1], lower, confidence)
