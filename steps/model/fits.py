"""The final fit of a model: by this process, or by the ranks of the problem at the workers of a cluster."""

from typing import Any

from mlflow.entities import Run

from steps.model.dataset import DataSet
from steps.run import artifacts, engine
from steps.run.step import Step
from steps.run.tags import RANKS, SEEDS
from tabular.model import ranks, training
from tabular.model.boosting import has_linear_trees
from tabular.model.training import Candidate, Fitted
from tabular.problem import Problem
from tabular.sections.models import is_shared


def fit(step: Step, problem: Problem, candidate: Candidate, rows: DataSet, chosen: Any) -> Fitted:
    """Fit a candidate on the rows of a data set at some positions; None: on all."""
    about: dict[str, Any] = {"rows": chosen, "weights": rows.weights}
    count = ranks_of(problem, candidate.name)
    if count == 1:
        return training.fit(candidate, rows.X, rows.y, threads=rows.threads, **about)
    step.log(tags={RANKS: str(count)})
    with engine.opened(step, problem.models[candidate.name].paths(), count) as place:
        return ranks.fit(candidate, rows.X, rows.y, ranks=count, together=place.together, **about)


def found(step: Step, problem: Problem, model: str, search: Run | None) -> tuple[dict[str, Any], int]:
    """The hyperparameters that a run of hpo has found, and how many fits the model is the mean of.

    Without a search no hyperparameters, and as many fits as the problem says.
    """
    if search is None:
        return {}, problem.models[model].seeds or 1
    told = artifacts.content(search, artifacts.BEST_PARAMS, step.folder)
    return told["params"], told.get(SEEDS, 1)  # an earlier version of the project made one fit


def ranks_of(problem: Problem, model: str) -> int:
    """How many processes learn the final model together; 1 of what LightGBM cannot learn so."""
    one = problem.models[model]
    return problem.ranks if is_shared(one.estimator) and not has_linear_trees(one.estimator, one.params) else 1


def told(problem: Problem, candidate: Candidate) -> str:
    """What is said of a model that several processes have learnt, or that is the mean of several fits; else empty."""
    count = ranks_of(problem, candidate.name)
    return ", ".join(filter(None, [mean_of(candidate.fits), f"learnt by {count} ranks" if count > 1 else ""]))


def of(run: Run) -> int:
    """How many fits the model of a run of train is the mean of."""
    params = run.data.params
    return int(params.get(SEEDS, 1)) if is_shared(params["estimator"]) else 1


def mean_of(seeds: int) -> str:
    """What is said of a model that is the mean of several fits; empty of one."""
    return f"the mean of {seeds} fits with different seeds" if seeds > 1 else ""
