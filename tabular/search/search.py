"""The search for hyperparameters: Hyperopt's TPE over a problem's space."""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tabular.errors import UserError, first_line
from tabular.problem import Space, hyperparameters
from tabular.search.spaces import flat, labelled, to_hyperopt
from tabular.search.trials import Doc, ExecutorTrials, saved_line

# Before it models scores TPE draws so many points at random; Hyperopt's own 20 are all that a search of minutes makes.
RANDOM_TRIALS = 10


@dataclass(frozen=True)
class Trial:
    """One point of the space and what came of it.

    Attributes
    ----------
    number, params
        Which it is, and its hyperparameters.
    score
        The mean of its parts where it is complete; an estimate on the same scale where it was pruned; None where it
        failed, for the `reason`.
    is_complete, parts, found, seconds
        As its `Evaluation` says.
    suggest_seconds
        That Hyperopt took to suggest it.
    saved
        All of it as a line of JSON, from which another search can go on.

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


@dataclass(frozen=True)
class Point:
    """What an objective is asked: a trial's hyperparameters, and the trials that its suggestion saw.

    `is_given` says that it is one of those that the search begins with, `given_failed` that its suggestion saw all of
    these fail.
    """

    params: Mapping[str, Any]
    seen: tuple[Trial, ...] = ()
    is_given: bool = False
    given_failed: bool = False


@dataclass(frozen=True)
class Evaluation:
    """What an objective says of a point.

    Attributes
    ----------
    score
        On the parts that were evaluated.
    parts
        The score of each, in an order that all trials of a search have in common.
    is_complete
        Whether these are all parts, or the trial was pruned after them.
    found
        Hyperparameters that the evaluation chose by itself, such as a number of iterations.
    seconds
        That it took.

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
    """Look for the point of a space with the highest score, by the tree of Parzen estimators.

    Parameters
    ----------
    objective
        Evaluates a point. An error that it raises is a failed trial, and the search goes on.
    space
        Hyperparameter: what it may be.
    start
        The first trials: the search's result is never worse than theirs. What one lacks of the space is left to the
        estimator.
    trials
        When to stop.
    seed
        Of the suggestions: the same seed and max_pending suggest the same points.
    executor, max_pending, at_once
        Where trials are evaluated, what their suggestions see, and how many at this moment: see `ExecutorTrials`.
    is_over
        Asked of the trials that have ended, every tenth of a second, whether to stop; trials under way then do not
        count. Not asked before the first has ended.
    saved
        A file that holds the `Trial.saved` of an earlier search, a line each: such a trial is not evaluated again.
    tell
        Is told of each trial in its turn.

    Returns
    -------
    list of Trial
        The first so many, without a gap; at least one.

    Raises
    ------
    UserError
        Where every trial failed, with the reason of the first; or where a process of the executor was killed.

    Notes
    -----
    Bergstra, Bardenet, Bengio and Kégl, "Algorithms for Hyper-Parameter Optimization", NIPS 2011; hyperopt.tpe. TPE
    learns from all trials that did not fail. That of one which was pruned is told as the best one's before it, and
    what it differed by on the parts that they share.
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
        raise UserError(f"search: all {len(made.made)} trials failed: {made.made[0].reason}")
    return made.made


def best(trials: Sequence[Trial]) -> Trial:
    """The trial with the highest score of those that are complete; of equals the first.

    Where none is complete it is one of those that got furthest before they were pruned.
    """

    def place(trial: Trial) -> tuple[bool, int, float]:
        if trial.score is None:
            return False, -1, -math.inf
        return trial.is_complete, 0 if trial.is_complete else len(trial.parts), trial.score

    return max(trials, key=place)


@dataclass(frozen=True)
class _Asked:
    """The objective as Hyperopt asks it: a loss, and what else is to be kept, as JSON holds it."""

    objective: Callable[[Point], Evaluation]

    def __call__(self, point: Point) -> dict[str, Any]:
        found = self.objective(point)
        if math.isnan(found.score):
            raise UserError("it has no score")
        return {"status": "ok", "loss": -found.score, **asdict(found)}


def _start(number: int, values: Mapping[str, Any]) -> Doc:
    """A point to begin with, as Hyperopt's trials hold it."""
    from hyperopt.fmin import generate_trial

    doc: Doc = generate_trial(number, {label: value for label, value in values.items() if value is not None})
    for part in ("idxs", "vals"):
        doc["misc"][part] |= {label: [] for label, value in values.items() if value is None}
    return doc


class _Made(ExecutorTrials):
    """The trials of a search, which begins at points that may lie outside of its space."""

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
        self._seen: list[Trial] = []  # the same, without what only a store has use for
        self._told = 0
        self._names = hyperparameters(space)
        self._start, self._is_over, self._tell = start, is_over, tell

    def submit(self, fn: Callable[[Any], Any], number: int, point: Any, seen: Sequence[Doc]) -> "Future[Any]":
        """Start a trial."""
        known = tuple(self._seen[: len(seen)])
        given = known[: len(self._start)]
        failed = len(given) == len(self._start) and all(trial.score is None for trial in given)
        asked = Point(self._params(number, point), known, number < len(self._start), failed)
        return super().submit(fn, number, asked, seen)

    def is_over(self) -> bool:
        """Whether the search is to stop."""
        return self._is_over(self.made)

    def ended(self, doc: Doc, point: Any) -> None:
        """A trial has ended."""
        number, error = doc["tid"], doc["misc"].get("exception")
        if isinstance(error, BrokenExecutor):
            raise UserError(
                "search: a process that evaluated a trial was killed; if memory ran out, search.max_pending: 1 needs "
                "the least"
            ) from error
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
        """Tell of the trials that have ended."""
        while self._told < len(self.made):
            self._told += 1
            self._tell(self.made[self._told - 1])

    def _params(self, number: int, point: Any) -> dict[str, Any]:
        if number < len(self._start):
            return dict(self._start[number])
        drawn = flat(point)
        return {name: drawn[name] for name in self._names if name in drawn}

    def _estimate(self, score: float, parts: tuple[float, ...]) -> float:
        """What a trial that was pruned would have come to: the best one's score, and what it differed by so far."""
        complete = [trial for trial in self.made if trial.is_complete]
        if not complete:
            return score
        ahead = best(complete)
        return float((ahead.score or 0.0) + np.mean(parts) - np.mean(ahead.parts[: len(parts)]))
