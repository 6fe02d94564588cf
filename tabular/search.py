"""The search for hyperparameters: Hyperopt's TPE over a problem's space."""

import math
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tabular.errors import UserError, first_line
from tabular.problem import Choice, Range
from tabular.trials import Doc, ExecutorTrials


@dataclass(frozen=True)
class Evaluation:
    """What an objective says of a point: its score, and what else is worth keeping."""

    score: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """One point of the space and its score; None where the trial failed, with the reason."""

    number: int
    params: Mapping[str, Any]
    score: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


def search(
    objective: Callable[[dict[str, Any]], Evaluation],
    space: Mapping[str, Range | Choice],
    *,
    start: Mapping[str, Any],
    greater_is_better: bool,
    trials: int,
    timeout: float | None,
    seed: int,
    executor: Executor,
    lag: int = 1,
    at_once: Callable[[], int] | None = None,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Look for the point of a space with the best score, by the tree of Parzen estimators.

    Parameters
    ----------
    objective
        Of hyperparameters; gives their evaluation. An error that it raises is a failed trial, and the search goes on.
    space
        Hyperparameter: what it may be.
    start
        The first trial: the search's result is never worse. What it lacks of the space is left to the estimator.
    greater_is_better
        Whether a higher score is better.
    trials, timeout
        When to stop: after so many trials or seconds, whichever is first. Trials under way then do not count.
    seed
        Of the suggestions: the same seed and lag suggest the same points.
    executor, lag, at_once
        Where trials are evaluated, what their suggestions see, and how many at this moment: see `ExecutorTrials`.
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
    Bergstra, Bardenet, Bengio and Kégl, "Algorithms for Hyper-Parameter Optimization", NIPS 2011; hyperopt.tpe.
    """
    from hyperopt import fmin, tpe
    from hyperopt.fmin import generate_trials_to_calculate

    made = _Made(executor, lag, at_once, space, start, tell)
    first = {name: _within(dimension, start.get(name)) for name, dimension in space.items()}
    made.insert_trial_docs(generate_trials_to_calculate([first])._dynamic_trials)
    fmin(
        _Told(objective, -1 if greater_is_better else 1),
        {name: _dimension(name, dimension) for name, dimension in space.items()},
        algo=tpe.suggest,
        max_evals=trials,
        timeout=timeout,
        trials=made,
        rstate=np.random.default_rng(seed),
        catch_eval_exceptions=True,
        show_progressbar=False,
        verbose=False,
        return_argmin=False,
    )
    if all(trial.score is None for trial in made.made):
        raise UserError(f"search: all {len(made.made)} trials failed: {made.made[0].reason}")
    return made.made


def best(trials: list[Trial], *, greater_is_better: bool) -> Trial:
    """The trial with the best score; of equals the first."""
    sign = 1 if greater_is_better else -1
    return max(trials, key=lambda trial: -math.inf if trial.score is None else sign * trial.score)


@dataclass(frozen=True)
class _Told:
    """The objective as Hyperopt asks it: a loss, and what else is to be kept."""

    objective: Callable[[dict[str, Any]], Evaluation]
    sign: int

    def __call__(self, params: dict[str, Any]) -> dict[str, Any]:
        found = self.objective(params)
        if math.isnan(found.score):
            raise UserError("it has no score: a fold holds one class only")
        loss = self.sign * found.score
        return {"status": "ok", "loss": loss, "score": found.score, "metrics": dict(found.metrics)}


class _Made(ExecutorTrials):
    """The trials of a search, which begins at a point that may lie outside of its space."""

    def __init__(
        self,
        executor: Executor,
        lag: int,
        at_once: Callable[[], int] | None,
        space: Mapping[str, Any],
        start: Mapping[str, Any],
        tell: Callable[[Trial], None],
    ) -> None:
        super().__init__(executor, lag=lag, at_once=at_once)
        self.made: list[Trial] = []
        self._space, self._start, self._tell = space, start, tell
        self._params: dict[int, dict[str, Any]] = {}

    def submit(self, fn: Callable[[Any], Any], number: int, point: Any, seen: Any) -> "Future[Any]":
        """Start a trial."""
        names = [name for name in self._space if number or name in self._start]
        self._params[number] = {name: self._start[name] if number == 0 else point[name] for name in names}
        return super().submit(fn, number, self._params[number], seen)

    def ended(self, doc: Doc) -> None:
        """A trial has ended."""
        number, error = doc["tid"], doc["misc"].get("exception")
        if isinstance(error, BrokenExecutor):
            raise UserError(
                "search: a process that evaluated a trial was killed; if memory ran out, search.lag: 1 needs the least"
            ) from error
        params, result = self._params.pop(number), doc["result"]
        if error is not None:
            trial = Trial(number, params, None, reason=first_line(error))
        else:
            trial = Trial(number, params, result["score"], result["metrics"])
        self.made.append(trial)
        self._tell(trial)


def _within(dimension: Range | Choice, value: Any) -> Any:
    """A value as Hyperopt's suggestions take it: an option's place, a number within the range, else its middle."""
    if isinstance(dimension, Choice):
        places = [place for place, option in enumerate(dimension.options) if _is_same(option, value)]
        return places[0] if places else 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        middle = math.sqrt(dimension.low * dimension.high) if dimension.log else (dimension.low + dimension.high) / 2
        value = round(middle) if dimension.type == "int" else middle
    return min(max(value, dimension.low), dimension.high)


def _is_same(option: Any, value: Any) -> bool:
    return type(option) is type(value) and option == value


def _dimension(name: str, dimension: Range | Choice) -> Any:
    """A dimension of the problem as Hyperopt's."""
    from hyperopt import hp
    from hyperopt.pyll import scope

    if isinstance(dimension, Choice):
        return hp.choice(name, dimension.options)
    low, high = (
        (math.log(dimension.low), math.log(dimension.high)) if dimension.log else (dimension.low, dimension.high)
    )
    if dimension.type == "int":
        draw = hp.qloguniform if dimension.log else hp.quniform
        return scope.int(draw(name, low, high, 1))
    return (hp.loguniform if dimension.log else hp.uniform)(name, low, high)
