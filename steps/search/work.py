"""The work of a search: its trials, and the best one's folds, in processes of this machine or of a cluster."""

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, replace
from typing import Any

from steps.model import memory_budget
from steps.model.dataset import DataSet
from steps.run import thread_budget
from steps.run.engine import Engine
from steps.search.limits import Limits
from tabular.data.folds import Fold
from tabular.metrics.lookup import with_named
from tabular.model import cross_validation, training
from tabular.model.binned import BinnedRows
from tabular.model.cross_validation import CrossValidation
from tabular.problem import Problem
from tabular.search.racing import ENOUGH_ROWS, ENOUGH_ROWS_OF_WIDE, MOST_SCORED, TrialRunner, parts
from tabular.search.search import Evaluation, Point, Trial, killed

# How much longer cross-validation takes, with all metrics and loss curves, than a trial with its one score.
MORE_WORK = 1.3
# What train takes beside its fit: a process, the training scores, the model logged.
TRAIN_SECONDS = 3.0
# With a limit for the chain, the last model is the mean of as many fits as its cross-validation and final fit can be of
# in this share of the search's seconds. More than four gain little (benchmarks/seeds.py).
SEVERAL, SHARE_OF_SEVERAL = (4, 3, 2), 0.25


@dataclass(frozen=True)
class Work:
    """What a worker process needs to evaluate trials, and to cross-validate the best."""

    rows: DataSet
    problem: Problem
    model: str
    cuts: list[Fold]
    course: TrialRunner
    at_most: int  # the most worker processes
    folds_at_most: int  # that evaluate folds of the best trial
    seconds: float | None  # the seconds of the chain that are this search's, as it was planned; None without a limit

    def candidate(self, params: Mapping[str, Any], seeds: int = 1) -> training.Candidate:
        """The model with these hyperparameters, as the mean of so many fits."""
        return self.rows.candidate(self.problem, self.model, params, seeds)

    @property
    def names(self) -> list[str]:
        """The names of the metrics of the cross-validation."""
        return with_named(self.rows.schema.task, self.problem.search.metric)

    @property
    def threads(self) -> int:
        """The number of threads that each process may use."""
        return max(1, self.rows.threads // self.at_most)

    def at_once(self, threads: int) -> int:
        """The number of trials that may be under way.

        With all processes at work, more trials may wait for the first free process. `threads` may grow during the
        search: main gives this step more threads as other steps end.
        """
        return threads if threads < self.at_most else self.problem.search.max_pending

    def seeds(self, trial: Trial) -> int:
        """How many fits the model is the mean of: as the problem says, or in a chain with a limit as many as fit in."""
        asked = self.problem.models[self.model].seeds
        # this is asked of every trial at every look: no new candidate is checked
        most = replace(self.course.candidate, params=trial.params, seeds=asked or max(SEVERAL)).fits
        if most == 1 or asked is not None:
            return most
        if self.seconds is None or isinstance(self.rows.X, BinnedRows):
            return 1
        one = self._seconds_of_folds(trial) + self._seconds_of_all(trial)
        return next((seeds for seeds in SEVERAL if seeds * one <= SHARE_OF_SEVERAL * self.seconds), 1)

    def seconds_to_cross_validate(self, trial: Trial) -> float:
        """An estimate of the seconds that cross-validation takes, from the seconds of a trial."""
        return (MORE_WORK - 1 + self.seeds(trial)) * self._seconds_of_folds(trial)

    def seconds_to_train(self, trials: Sequence[Trial]) -> list[float]:
        """Estimates of the seconds that train takes: a fit on all rows, its predictions, and its model logged."""
        beside = TRAIN_SECONDS * thread_budget.slowness(self.rows.share)
        return [beside + (MORE_WORK - 1 + self.seeds(trial)) * self._seconds_of_all(trial) for trial in trials]

    def _seconds_of_folds(self, trial: Trial) -> float:
        """The seconds of a fit on each fold, several at a time."""
        to_fit = sum(len(fold.fit) for fold in self.cuts)
        # the last folds may have the machine to themselves
        beside = self.folds_at_most
        rounds = math.ceil(len(self.cuts) / beside) * beside / len(self.cuts)
        return trial.seconds * to_fit / self._fitted(trial) * rounds / beside

    def _seconds_of_all(self, trial: Trial) -> float:
        """The seconds of a fit on all rows."""
        final = len(self.rows.y) if self.rows.most is None else min(self.rows.most, len(self.rows.y))
        return trial.seconds * final / self._fitted(trial) / max(1, self.rows.threads)

    def _fitted(self, trial: Trial) -> int:
        """The number of rows that a trial was fitted on, of all its parts together; at least 1."""
        return max(1, sum(len(part.rows.fit) for part in self.course.parts[: len(trial.parts)]))


# The work that the forked processes share, or that a worker of a cluster has been sent.
_HELD: list[Work] = []


def _hold(work: Work | None, share: str) -> None:
    """Keep the work in this process, with all that trials share computed once; None: let go of it.

    `share` is the thread budget of a worker of a cluster, which has one call at a time; "" where processes are forked.
    """
    _HELD.clear()
    if work is not None:
        work.course.prepare()
        _HELD.append(replace(work, rows=replace(work.rows, share=share), at_most=1, folds_at_most=1) if share else work)


def prepared(rows: DataSet, problem: Problem, model: str, limits: Limits, place: Engine) -> Work:
    """The work, with all that trials share computed once, and kept where trials are evaluated."""
    cuts, candidate = rows.folds(problem), rows.candidate(problem, model, {})
    made_of = parts(
        rows.folds_to_choose(problem),
        latest_first=rows.schema.split_by == "time",
        seed=problem.seed,
        enough=ENOUGH_ROWS_OF_WIDE if rows.is_wide else ENOUGH_ROWS,
        most=MOST_SCORED if isinstance(rows.X, BinnedRows) else None,
    )
    most = min(problem.search.max_pending, limits.trials, place.at_most)
    fitting = memory_budget.of_search(candidate, rows, [part.rows for part in made_of], cuts, most, place)
    course = TrialRunner(
        candidate,
        rows.X,
        rows.y,
        made_of,
        problem.search.metric,
        limits.planned,
        rows.weights,
    )
    work = Work(rows, problem, model, cuts, course, fitting.trials, fitting.folds, limits.of_chain)
    place.give(_hold, work)
    return work


def iteration() -> float:
    """The seconds of an iteration on the rows of a trial, in a worker process."""
    (work,) = _HELD
    return work.course.seconds_an_iteration(threads=work.threads)


def evaluate(point: Point) -> Evaluation:
    """Evaluate a trial, in a worker process."""
    (work,) = _HELD
    return work.course.run(point, threads=work.threads)


def cross_validated(work: Work, winner: Trial, seeds: int, place: Engine) -> CrossValidation:
    """Cross-validate the winner on all folds with all metrics, several folds at a time."""
    started = time.perf_counter()
    params, folds = winner.all_params, len(work.cuts)
    most = min(work.folds_at_most, folds, place.free)
    if work.rows.is_wide:  # each would hold a copy of the rows: one after the other, with all threads
        most = 1
    with place.workers(most) as executor:
        made = [executor.submit(_on_fold, params, seeds, number, most) for number in range(folds)]
        try:
            found = [future.result() for future in made]
        except BrokenExecutor as error:
            raise killed("a process that evaluated a fold") from error
    return cross_validation.joined(work.candidate(params), found, time.perf_counter() - started, work.names)


def _on_fold(params: Mapping[str, Any], seeds: int, number: int, most: int) -> training.OnFold:
    (work,) = _HELD
    folds, most = len(work.cuts), min(most, work.at_most)
    # folds run side by side, `most` at a time; the folds of an incomplete last round share all threads
    beside = most if number < folds - folds % most else folds % most
    threads = max(1, work.rows.threads // beside)
    fold = work.cuts[number]
    about = {"threads": threads, "curves": True, "weights": work.rows.weights}
    return training.on_fold(work.candidate(params, seeds), work.rows.X, work.rows.y, fold, **about)
