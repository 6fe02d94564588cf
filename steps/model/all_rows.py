"""Cross-validation of the winner on all rows.

All scores before it are of models that have learnt from fewer rows than the one that is registered.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steps.model import blends, dataset, fits
from steps.model.dataset import DataSet
from steps.run import lookup, thread_budget
from steps.run.step import Step
from steps.run.tags import FOLDS
from tabular.data.folds import Fold
from tabular.errors import CandidateError, UserError
from tabular.metrics.lookup import with_named
from tabular.model import budget, cross_validation, training
from tabular.model.cross_validation import CrossValidation
from tabular.model.training import Candidate, OnFold
from tabular.problem import REFIT, Problem

# With twice the problem's folds, models learn from nearly as many rows as the one that is registered.
TIMES_THE_FOLDS = 2


@dataclass(frozen=True)
class Fit:
    """How a model is fitted on all rows: the candidate, and the share of the rows that it learns from."""

    candidate: Candidate
    share: float


@dataclass(frozen=True)
class Durations:
    """The seconds that the model on all rows has taken: its fits, and the rest, which weighs a blend."""

    fits: float
    blend: float

    def of(self, folds: int) -> float:
        """The expected seconds of a cross-validation in so many folds."""
        return folds * self.fits + self.of_weights

    @property
    def of_weights(self) -> float:
        """Those to choose the weights of a blend for each fold; of up to twice as many folds as before."""
        return TIMES_THE_FOLDS * self.blend


def cross_validate(
    step: Step, problem: Problem, rows: DataSet, members: Mapping[str, Fit], took: Durations
) -> CrossValidation | None:
    """Cross-validate the winner on all rows: one candidate, or the members of a blend.

    The rows of each fold are blended by weights that were chosen on the other folds.

    Parameters
    ----------
    step
        The running step. A replay does as the run that it repeats.
    problem
        The problem.
    rows
        All rows.
    members
        How the candidates are fitted, by their models.
    took
        What the model on all rows has taken.

    Returns
    -------
    CrossValidation or None
        None where there is no limit, and so no seconds that are left.

    Raises
    ------
    CandidateError
        With the reason, where the seconds that are left are too few, or it cannot be done.
    """
    count = _repeated(step) if step.arguments["replays"] else _count(step, problem, rows, list(members), took)
    if not count:
        return None
    found = _cross_validated(step, problem, rows, members, count, took)
    if math.isnan(found.summary()[f"cv_{problem.search.metric}_mean"]):
        raise CandidateError(f"{problem.search.metric} has no value on one of {count} folds")
    return found


def _repeated(step: Step) -> int:
    """In how many folds the run of refit that is repeated did it; 0 where it did not."""
    then = lookup.run(step.client, step.arguments["replays"], "replays", REFIT)
    return int(then.data.params.get(FOLDS, 0))


def _count(step: Step, problem: Problem, rows: DataSet, models: Sequence[str], took: Durations) -> int:
    """The number of folds for which there are seconds; 0 without limit.

    Raises
    ------
    CandidateError
        Where there are too few seconds, or it cannot be done.
    """
    left = thread_budget.seconds_left(step.arguments["share"])
    if math.isinf(left):
        return 0
    if rows.is_large:
        raise CandidateError("the table is a large one")
    if any(fits.ranks_of(problem, name) > 1 for name in models):
        raise CandidateError("several ranks learn it")
    why = ""
    for count in (TIMES_THE_FOLDS * problem.search.folds, problem.search.folds):
        if took.of(count) > budget.CAUTION * left:
            why = f"{count} folds take about {took.of(count):.0f} s, and {max(left, 0):.0f} s are left"
        elif not _can_be_cut(rows, problem, count):
            why = f"all rows cannot be cut into {count} folds"
        else:
            return count
    raise CandidateError(why)


def _can_be_cut(rows: DataSet, problem: Problem, count: int) -> bool:
    """Whether all rows can be cut into so many folds; into more than the problem says, with each class in each."""
    if rows.schema.classes and count > problem.search.folds and np.unique(rows.y, return_counts=True)[1].min() < count:
        return False
    try:
        return bool(rows.folds(problem, count))
    except UserError:  # few groups, or points in time
        return False


def _cross_validated(
    step: Step, problem: Problem, rows: DataSet, members: Mapping[str, Fit], count: int, took: Durations
) -> CrossValidation:
    started = time.perf_counter()
    of_models = {name: dataset.for_model(rows, problem, name) for name in members}
    cuts = {name: of_model.folds(problem, count) for name, of_model in of_models.items()}
    found: dict[str, list[OnFold]] = {name: [] for name in members}
    longest = 0.0
    for place in range(count):
        left = thread_budget.seconds_left(step.arguments["share"]) - took.of_weights
        if longest > left:
            raise CandidateError(f"a fold takes about {longest:.1f} s, and {max(left, 0):.0f} s are left")
        begun = time.perf_counter()
        for name, one in members.items():
            found[name].append(_on_fold(one, of_models[name], cuts[name][place]))
        longest = max(longest, time.perf_counter() - begun)
    if len(members) > 1:
        return blends.learn(problem, rows, [cross_validation.out_of_fold(one) for one in found.values()]).result
    ((name, of_folds),) = found.items()
    names = with_named(rows.schema.task, problem.search.metric)
    return cross_validation.joined(members[name].candidate, of_folds, time.perf_counter() - started, names)


def _on_fold(one: Fit, rows: DataSet, fold: Fold) -> OnFold:
    learnt = budget.sample(one.candidate, one.share, rows.y, fold.fit)
    about: dict[str, Any] = {"threads": rows.threads, "weights": rows.weights}
    return training.on_fold(one.candidate, rows.X, rows.y, Fold(learnt, fold.score), **about)
