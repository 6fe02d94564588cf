"""The search for hyperparameters: Hyperopt's TPE over a problem's space."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular.errors import UserError
from tabular.problem import Choice, Range


@dataclass(frozen=True)
class Trial:
    """One point of the space and its score."""

    number: int
    params: Mapping[str, Any]
    score: float


def search(
    objective: Callable[[int, dict[str, Any]], float],
    space: Mapping[str, Range | Choice],
    *,
    greater_is_better: bool,
    trials: int,
    timeout: float | None,
    seed: int,
) -> list[Trial]:
    """Look for the point of a space with the best score, by the tree of Parzen estimators.

    Parameters
    ----------
    objective
        Of a trial's number (from 0) and its hyperparameters; gives the score.
    space
        Hyperparameter: what it may be.
    greater_is_better
        Whether a higher score is better.
    trials, timeout
        When to stop: after so many trials, or with the trial under way after so many seconds, whichever is first.
    seed
        Of the suggestions: the same seed suggests the same points.

    Returns
    -------
    list of Trial
        As they were made; at least one.

    Notes
    -----
    Bergstra, Bardenet, Bengio and Kégl, "Algorithms for Hyper-Parameter Optimization", NIPS 2011; hyperopt.tpe.
    """
    from hyperopt import STATUS_OK, Trials, fmin, tpe

    drawn_from = {name: _dimension(name, dimension) for name, dimension in space.items()}
    done: list[Trial] = []
    end = math.inf if timeout is None else time.monotonic() + timeout

    def loss(point: dict[str, Any]) -> dict[str, Any]:
        number = len(done)
        params = {name: point[name] for name in space}
        score = objective(number, params)
        done.append(Trial(number, params, score))
        if math.isnan(score):
            raise UserError(f"search: trial {number} has no score: a fold holds one class only")
        return {"loss": -score if greater_is_better else score, "status": STATUS_OK}

    fmin(
        loss,
        drawn_from,
        algo=tpe.suggest,
        max_evals=trials,
        # Hyperopt's own timeout may end before the first trial, with an error
        early_stop_fn=lambda trials, *state: (time.monotonic() >= end, state),
        trials=Trials(),
        rstate=np.random.default_rng(seed),
        show_progressbar=False,
        verbose=False,
    )
    return done


def best(trials: list[Trial], *, greater_is_better: bool) -> Trial:
    """The trial with the best score; of equals the first."""
    return max(trials, key=lambda trial: trial.score if greater_is_better else -trial.score)


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
