"""What the winner is worth that has learnt from all rows: cross-validated on them, with the seconds that are left.

The scores of evaluate are of the model that was judged, which has learnt from fewer rows than the one that is
registered, and so is every cross-validation before it, whose folds are cut of the training rows.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steps.model import blends, fits
from steps.model.dataset import DataSet
from steps.run import lookup, thread_budget
from steps.run.step import Step
from steps.run.tags import FOLDS
from tabular.data.folds import Fold
from tabular.errors import CandidateError, UserError
from tabular.metrics.lookup import with_named
from tabular.metrics.metric import rounded
from tabular.model import budget, cross_validation, training
from tabular.model.cross_validation import CrossValidation
from tabular.model.training import Candidate, OnFold
from tabular.problem import REFIT, Problem

# With so many times the problem's folds, models learn from nearly as many rows as the one that is registered.
TIMES = 2


@dataclass(frozen=True)
class OnAllRows:
    """A candidate on all rows.

    Attributes
    ----------
    candidate
        The candidate, as it is fitted on them.
    rows
        Training and holdout rows together, as it learns from them.
    share
        The share of them that it is fitted on.
    """

    candidate: Candidate
    rows: DataSet
    share: float


def cross_validate(
    step: Step, problem: Problem, members: Mapping[str, OnAllRows], seconds: float
) -> CrossValidation | None:
    """Cross-validate the winner on all rows: one candidate, or the members of a blend.

    The rows of each fold are blended by weights that were chosen on the other folds.

    Parameters
    ----------
    step
        The running step. A replay does as the run that it repeats.
    problem
        The problem.
    members
        The candidates by their models.
    seconds
        How long their fits on all rows took.

    Returns
    -------
    CrossValidation or None
        None in a chain without limit, which has no seconds to spend.

    Raises
    ------
    CandidateError
        With the reason, where the seconds that are left are too few, or it cannot be done.
    """
    count = _repeated(step) if step.arguments["replays"] else _count(step, problem, members, seconds)
    if not count:
        return None
    found = _cross_validated(step, problem, members, count)
    if math.isnan(found.summary()[f"cv_{problem.search.metric}_mean"]):
        raise CandidateError(f"{problem.search.metric} has no value on one of {count} folds")
    return found


def _cross_validated(step: Step, problem: Problem, members: Mapping[str, OnAllRows], count: int) -> CrossValidation:
    started = time.perf_counter()
    cuts = {name: one.rows.folds(problem, count) for name, one in members.items()}
    found = _on_folds(step, members, cuts)
    rows = next(iter(members.values())).rows
    names = with_named(rows.schema.task, problem.search.metric)
    if len(members) == 1:
        ((name, of_folds),) = found.items()
        return cross_validation.joined(members[name].candidate, of_folds, time.perf_counter() - started, names)
    return blends.learn(problem, rows, [cross_validation.out_of_fold(one) for one in found.values()]).result


def told(scores: Mapping[str, float], metric: str) -> str:
    """The mean of a metric over the folds, with their deviation, in words."""
    mean, spread = (scores.get(f"cv_{metric}_{what}", math.nan) for what in ("mean", "std"))
    return f"{metric} {rounded(mean)} ± {rounded(spread)}"


def _repeated(step: Step) -> int:
    """In how many folds the run of refit that is repeated did it; 0 where it did not."""
    then = lookup.run(step.client, step.arguments["replays"], "replays", REFIT)
    return int(then.data.params.get(FOLDS, 0))


def _count(step: Step, problem: Problem, members: Mapping[str, OnAllRows], seconds: float) -> int:
    """The number of folds for which there are seconds, each about those of the fits on all rows; 0 without limit.

    Raises
    ------
    CandidateError
        Where there are too few seconds, or it cannot be done.
    """
    if problem.timeout is None:
        return 0
    rows = next(iter(members.values())).rows
    if rows.is_large:
        raise CandidateError("the table is a large one")
    if any(fits.ranks_of(problem, name) > 1 for name in members):
        raise CandidateError("several ranks learn it")
    left = thread_budget.seconds_left(step.arguments["share"])
    wanted = (TIMES * problem.search.folds, problem.search.folds)
    for count in wanted:
        if count * seconds <= budget.CAUTION * left and _can_be_cut(rows, problem, count):
            return count
    raise CandidateError(f"{wanted[-1]} folds take about {wanted[-1] * seconds:.0f} s, and {max(left, 0):.0f} are left")


def _can_be_cut(rows: DataSet, problem: Problem, count: int) -> bool:
    """Whether all rows can be cut into so many folds: rare classes, few groups or points in time may be too few."""
    rarest = min(map(int, np.bincount(rows.y)[np.unique(rows.y)])) if rows.schema.classes else count
    try:
        return rarest >= count and bool(rows.folds(problem, count))
    except UserError:
        return False


def _on_folds(
    step: Step, members: Mapping[str, OnAllRows], cuts: Mapping[str, Sequence[Fold]]
) -> dict[str, list[OnFold]]:
    """What the models of the folds predict: {model: a result for each fold}.

    Raises
    ------
    CandidateError
        The next fold would not end within the seconds that are left; or a candidate refuses the rows of one.
    """
    found: dict[str, list[OnFold]] = {name: [] for name in members}
    longest = 0.0
    for place in range(len(next(iter(cuts.values())))):
        if longest > (left := thread_budget.seconds_left(step.arguments["share"])):
            raise CandidateError(f"a fold takes about {longest:.1f} s, and {max(left, 0):.0f} are left")
        begun = time.perf_counter()
        for name, one in members.items():
            found[name].append(_on_fold(one, cuts[name][place]))
        longest = max(longest, time.perf_counter() - begun)
    return found


def _on_fold(one: OnAllRows, fold: Fold) -> OnFold:
    candidate, rows = one.candidate, one.rows
    learnt = budget.sample(candidate, one.share, rows.y, fold.fit)
    about: dict[str, Any] = {"threads": rows.threads, "weights": rows.weights}
    return training.on_fold(candidate, rows.X, rows.y, Fold(learnt, fold.score), **about)
