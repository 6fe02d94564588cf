"""The hyperparameter search: Hyperopt's TPE over a problem's search space."""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tabular.errors import CandidateError, EngineError, OutOfMemoryError, UserError, first_line
from tabular.search.spaces import flat, labelled, to_hyperopt
from tabular.search.trials import Doc, ExecutorTrials, saved_line
from tabular.sections.models import Space, hyperparameters

# How many points TPE draws at random before it models the scores. Hyperopt's default of 20 is as many trials as a
# search of minutes makes in all.
RANDOM_TRIALS = 10


@dataclass(frozen=True)
class Trial:
    """One point of the search space and the result of its evaluation.

    Attributes
    ----------
    number, params
        The trial's number, from 0, and its hyperparameters.
    score
        The mean score of its parts if the trial is complete; an estimate of this mean if it was pruned; None if it
        failed.
    is_complete, parts, found, seconds
        Those of the trial's `Evaluation`.
    suggest_seconds
        How long Hyperopt took to suggest the trial.
    reason
        The error of a failed trial.
    saved
        The trial as a line of JSON, by which another search can reuse it.

    """

    number: int
    params: Mapping[str, Any]
    score: float | None
    is_complete: bool = True
    parts: tuple[float, ...] = ()
    found: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)
    suggest_seconds: float = field(default=0.0, compare=False)
    reason: str = ""
    saved: str = field(default="", compare=False, repr=False)

    @property
    def all_params(self) -> dict[str, Any]:
        """Its hyperparameters, and those that the evaluation chose by itself."""
        return {**self.params, **self.found}

    @property
    def place(self) -> tuple[bool, int, float]:
        """By what trials are ordered: one that was evaluated whole, or on more parts, is above others."""
        if self.score is None:
            return False, -1, -math.inf
        return self.is_complete, 0 if self.is_complete else len(self.parts), self.score


@dataclass(frozen=True)
class Point:
    """The argument of an objective: a trial's hyperparameters, and the earlier trials that it may be compared with.

    Attributes
    ----------
    params
        The trial's hyperparameters.
    seen
        The earlier trials from which this one was suggested.
    is_given
        Whether the trial is a starting point of the search.
    given_failed
        Whether `seen` holds all starting points and all of them failed.

    """

    params: Mapping[str, Any]
    seen: tuple[Trial, ...] = ()
    is_given: bool = False
    given_failed: bool = False


@dataclass(frozen=True)
class Evaluation:
    """The result of an objective for one point.

    Attributes
    ----------
    score
        The score on the parts that were evaluated.
    parts
        The score on each part that was evaluated, in an order that is the same for all trials of a search.
    is_complete
        True if all parts were evaluated, False if the trial was pruned.
    found
        Hyperparameters that the evaluation chose by itself, such as the number of iterations.
    seconds
        How long the evaluation took.

    """

    score: float
    parts: tuple[float, ...] = ()
    is_complete: bool = True
    found: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def search(
    objective: Callable[[Point], Evaluation],
    space: Space,
    *,
    start: Sequence[Mapping[str, Any]],
    trials: int,
    seed: int,
    executor: Executor,
    max_pending: int = 1,
    at_once: Callable[[], int] | None = None,
    is_over: Callable[[Sequence[Trial]], bool] = lambda trials: False,
    saved: Path | None = None,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Search a space for the point with the highest score, by the tree-structured Parzen estimator (TPE).

    Parameters
    ----------
    objective
        Evaluates a point. If it raises an error, the trial has failed, and the search goes on.
    space
        The range or the choices of each hyperparameter.
    start
        The starting points: hyperparameters of the first trials. The result of the search is never worse than theirs. A
        hyperparameter that a starting point lacks keeps the estimator's default.
    trials
        The most trials.
    seed
        The seed of the suggestions: the same seed and `max_pending` suggest the same points if the scores are the same.
    executor, max_pending, at_once
        Where trials are evaluated, which results their suggestions see, and how many trials may run at this moment:
        see `ExecutorTrials`.
    is_over
        Called with the trials that have ended, every tenth of a second, but not before the first trial has ended; if it
        returns True, the search stops, and trials that are still running do not count.
    saved
        A file with lines that are the `Trial.saved` of an earlier search: such a trial is not evaluated again.
    tell
        Called with each trial that has ended, in the order of their numbers.

    Returns
    -------
    list of Trial
        The trials that have ended, numbered from 0 without a gap; at least one.

    Raises
    ------
    CandidateError
        All trials failed (with the reason of the first).
    OutOfMemoryError
        A process of the executor was killed.
    EngineError
        The executor is gone.

    Notes
    -----
    Bergstra, Bardenet, Bengio and Kégl, "Algorithms for Hyper-Parameter Optimization", NIPS 2011; hyperopt.tpe.

    TPE learns from all trials that did not fail. The score of a pruned trial is an estimate: the score of the best
    complete trial before it, plus the difference between the mean scores of the two on the parts that both were
    evaluated on.
    """
    from hyperopt import fmin, tpe

    suggest = partial(tpe.suggest, n_startup_jobs=RANDOM_TRIALS)
    made = _Made(executor, max_pending, at_once, space, start, is_over, tell)
    made.insert_trial_docs([_start(number, labelled(space, params)) for number, params in enumerate(start)])
    fmin(
        _Asked(objective),
        to_hyperopt(space),
        algo=suggest,
        max_evals=trials,
        trials=made,
        rstate=np.random.default_rng(seed),
        catch_eval_exceptions=True,
        trials_save_file=str(saved or ""),
        show_progressbar=False,
        verbose=False,
        return_argmin=False,
    )
    if all(trial.score is None for trial in made.made):
        raise CandidateError(f"search: all {len(made.made)} trials failed: {made.made[0].reason}")
    return made.made


def best(trials: Sequence[Trial]) -> Trial:
    """The complete trial with the highest score; of equal scores, the first.

    If no trial is complete, the best of those that were evaluated on the most parts before they were pruned.
    """
    return max(trials, key=lambda trial: trial.place)


def killed(what: str) -> OutOfMemoryError:
    """The error of a search of which a process was killed, as the system does where memory runs out."""
    needs = f"search: {what} was killed"
    return OutOfMemoryError(
        f"{needs}; if memory ran out, give the model fewer rows (its key `rows`), evaluate trials one by one "
        "(search.max_pending: 1), or leave the model out",
        needs,
    )


@dataclass(frozen=True)
class _Asked:
    """The objective in Hyperopt's form: it returns the loss and the whole evaluation, as values that fit into JSON."""

    objective: Callable[[Point], Evaluation]

    def __call__(self, point: Point) -> dict[str, Any]:
        found = self.objective(point)
        if math.isnan(found.score):
            raise UserError("it has no score")
        return {"status": "ok", "loss": -found.score, **asdict(found)}


def _start(number: int, values: Mapping[str, Any]) -> Doc:
    """A starting point in the form of Hyperopt's trials; a value of None is left out of the point."""
    from hyperopt.fmin import generate_trial

    doc: Doc = generate_trial(number, {label: value for label, value in values.items() if value is not None})
    for part in ("idxs", "vals"):
        doc["misc"][part] |= {label: [] for label, value in values.items() if value is None}
    return doc


class _Made(ExecutorTrials):
    """The trials of a search. Its starting points may lie outside of the search space."""

    def __init__(
        self,
        executor: Executor,
        max_pending: int,
        at_once: Callable[[], int] | None,
        space: Space,
        start: Sequence[Mapping[str, Any]],
        is_over: Callable[[Sequence[Trial]], bool],
        tell: Callable[[Trial], None],
    ) -> None:
        super().__init__(executor, max_pending=max_pending, at_once=at_once)
        self.made: list[Trial] = []
        self._seen: list[Trial] = []  # the same trials without `saved`, which only a file needs
        self._told = 0
        self._names = hyperparameters(space)
        self._start, self._is_over, self._tell = start, is_over, tell

    def submit(self, fn: Callable[[Any], Any], number: int, point: Any, seen: Sequence[Doc]) -> "Future[Any]":
        """Start a trial: submit the objective with its `Point` to the executor."""
        known = tuple(self._seen[: len(seen)])
        given = known[: len(self._start)]
        failed = len(given) == len(self._start) and all(trial.score is None for trial in given)
        asked = Point(self._params(number, point), known, number < len(self._start), failed)
        return super().submit(fn, number, asked, seen)

    def is_over(self) -> bool:
        """Whether the search is to stop."""
        return self._is_over(self.made)

    def ended(self, doc: Doc, point: Any) -> None:
        """Keep a trial that has ended; a killed process or an executor that is gone is raised."""
        number, error = doc["tid"], doc["misc"].get("exception")
        if isinstance(error, EngineError):
            raise error
        if isinstance(error, BrokenExecutor):
            raise killed("a process that evaluated a trial") from error
        params, result = self._params(number, point), doc["result"]
        took = self.suggest_seconds.get(number, 0.0)
        if error is not None:
            reason = first_line(error)
            trial = Trial(number, params, None, is_complete=False, suggest_seconds=took, reason=reason)
        else:
            kept = {name: result[name] for name in ("is_complete", "found", "seconds")}
            parts = tuple(result["parts"])
            score = result["score"] if kept["is_complete"] else self._estimate(result["score"], parts)
            trial = Trial(number, params, score, parts=parts, suggest_seconds=took, saved=saved_line(doc), **kept)
            result["loss"] = -score
        self.made.append(trial)
        self._seen.append(replace(trial, saved=""))

    def meanwhile(self) -> None:
        """Call `tell` with the trials that have ended since the last call."""
        while self._told < len(self.made):
            self._told += 1
            self._tell(self.made[self._told - 1])

    def _params(self, number: int, point: Any) -> dict[str, Any]:
        if number < len(self._start):
            return dict(self._start[number])
        drawn = flat(point)
        return {name: drawn[name] for name in self._names if name in drawn}

    def _estimate(self, score: float, parts: tuple[float, ...]) -> float:
        """Estimate the score that a pruned trial would have on all parts.

        The estimate is the score of the best complete trial, plus the difference between the mean scores of the two on
        the parts that the pruned trial was evaluated on.
        """
        complete = [trial for trial in self.made if trial.is_complete]
        if not complete:
            return score
        ahead = best(complete)
        return float((ahead.score or 0.0) + np.mean(parts) - np.mean(ahead.parts[: len(parts)]))
