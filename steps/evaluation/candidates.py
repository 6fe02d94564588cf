"""Candidates judged on the holdout: what each answered, how good that is, and how sure that is."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Run
from threadpoolctl import threadpool_limits

from steps.model import flavor
from steps.model.dataset import DataSet
from steps.model.served import TabularModel
from steps.process import pool
from steps.run import artifacts, thread_budget
from steps.run.step import Step
from steps.run.tags import CODE_DIGEST, MODEL, MODEL_DIGEST, MODEL_URI, TRAINED_ON
from tabular.errors import UserError
from tabular.evaluation import bootstrap, gate, slices
from tabular.evaluation.bootstrap import Interval
from tabular.evaluation.gate import Check
from tabular.evaluation.slices import Scored, Slice
from tabular.metrics.classification import Predictions, metric, scores, sign, with_named
from tabular.model import thresholds, training
from tabular.problem import Problem

# Rows that are shuffled to see what a column is worth: enough for its second digit.
IMPORTANCE_ROWS = 1000


@dataclass(frozen=True)
class Judged:
    """A candidate and what it did on the holdout."""

    run: Run
    name: str
    model: TabularModel
    predictions: Predictions
    metrics: dict[str, float]
    seconds: float
    # of each metric, with 95 % confidence
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    # how far behind the best candidate's its score is, above 0 where it is worse; of the best itself none
    behind: Interval | None = None
    slices: Sequence[Scored] = ()
    checks: Sequence[Check] = ()
    # what its score loses when a column is shuffled, the most important column first
    importances: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def thresholds(self) -> dict[str, list[float]] | None:
        """What each threshold would make of its answers; of more than two classes None."""
        positive = self.predictions.positive
        if positive is None:
            return None
        return thresholds.effect(self.predictions.y, self.predictions.probabilities, positive=positive)

    @property
    def passes(self) -> bool:
        """Whether it meets all that the gate requires."""
        return all(check.passed for check in self.checks)


def judge(step: Step, problem: Problem, holdout: DataSet, trained: Sequence[Run]) -> list[Judged]:
    """Score candidates on the holdout, and rank them: those that pass the gate first, then by the metric.

    Raises
    ------
    UserError
        Where two are of one model, one has learnt from another data set, or a model cannot be loaded.
    """
    _check_names([run.data.tags[MODEL] for run in trained])
    asked = [_asked(step, problem, holdout, run) for run in trained]
    parts = slices.cut(pd.concat([holdout.frame, holdout.slice_only], axis=1), problem.evaluation.slices)
    _HELD[:] = [_Work(problem, holdout, asked, parts)]
    with pool.workers(min(len(asked), thread_budget.threads(holdout.share))) as executor:
        found = list(executor.map(_looked_at, range(len(asked))))
    _HELD.clear()
    judged = [
        replace(one, **looks, checks=gate.check(problem.gate.require, one.metrics, looks["slices"]))
        for one, (looks, _) in zip(asked, found, strict=True)
    ]
    resamples = {one.name: values for one, (_, values) in zip(asked, found, strict=True)}
    ranked = _ranked(judged, problem.search.metric)
    return [ranked[0], *(_behind(one, ranked[0], resamples, problem.search.metric) for one in ranked[1:])]


def _check_names(names: list[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(
            f"models: two of the runs are of {twice[0]!r}, and their results go by the model's name: give one"
        )


def _asked(step: Step, problem: Problem, holdout: DataSet, run: Run) -> Judged:
    """A candidate's answers, and its metrics."""
    tags = run.data.tags
    if tags.get(TRAINED_ON) != holdout.source.data.tags[TRAINED_ON]:
        raise UserError(
            f"models: run {run.info.run_id} was trained on another data set than run {holdout.source.info.run_id} "
            "holds, and may have learnt from these holdout rows: give runs of one data set"
        )
    try:
        model = flavor.load(
            tags[MODEL_URI],
            step.folder,
            code=tags[CODE_DIGEST],
            learnt=tags[MODEL_DIGEST],
        )
    except UserError:
        artifacts.disown(run)  # the next chain trains it anew
        raise
    started = time.perf_counter()
    probabilities = model.probabilities(holdout.X)
    seconds = time.perf_counter() - started
    predictions = holdout.predictions(probabilities, threshold=flavor.threshold(model))
    metrics = scores(predictions, with_named(problem.search.metric, *problem.gate.require))
    return Judged(run, tags[MODEL], model, predictions, metrics, seconds)


@dataclass(frozen=True)
class _Work:
    """What the processes that look closer are forked with."""

    problem: Problem
    holdout: DataSet
    candidates: Sequence[Judged]
    slices: Sequence[Slice]


_HELD: list[_Work] = []


def _looked_at(number: int) -> tuple[dict[str, Any], np.ndarray]:
    """How sure a candidate's metrics are, its slices and importances; and its score on each resample.

    Candidates are looked at side by side, and the seed makes their resamples the same.
    """
    (work,) = _HELD
    problem, one = work.problem, work.candidates[number]
    about = {"seed": problem.seed, "groups": work.holdout.groups}
    values = bootstrap.resampled({"": one.predictions}, list(one.metrics), **about)[""]
    of_slices = dict.fromkeys([problem.search.metric, *problem.gate.require, "accuracy"])
    # one thread each: they work side by side, and OpenMP's threads do not live through a fork
    with threadpool_limits(1):
        importances = _importances(problem, work.holdout, one)
    looks = {
        "intervals": {name: bootstrap.interval(found) for name, found in values.items()},
        "slices": slices.score(work.slices, one.predictions, list(of_slices), **about),
        "importances": importances,
    }
    return looks, values[problem.search.metric]


def _importances(problem: Problem, holdout: DataSet, candidate: Judged) -> dict[str, float]:
    name = problem.search.metric
    rows = np.random.default_rng(problem.seed).permutation(len(holdout.y))[:IMPORTANCE_ROWS]
    threshold = flavor.threshold(candidate.model)

    def measure(probabilities: np.ndarray) -> float:
        return sign(name) * metric(name).score(holdout.predictions(probabilities, threshold=threshold, rows=rows))

    X = holdout.X.iloc[rows]
    drops = training.permutation_importances(candidate.model.probabilities, X, measure, seed=problem.seed)
    return dict(sorted(drops.items(), key=lambda item: -item[1]))


def _ranked(candidates: list[Judged], metric: str) -> list[Judged]:
    """A NaN is last."""

    def place(candidate: Judged) -> tuple[bool, float]:
        value = candidate.metrics[metric]
        return not candidate.passes, float("inf") if np.isnan(value) else -sign(metric) * value

    return sorted(candidates, key=place)


def _behind(one: Judged, best: Judged, resamples: Mapping[str, np.ndarray], metric: str) -> Judged:
    return replace(one, behind=bootstrap.interval(sign(metric) * (resamples[best.name] - resamples[one.name])))


def prediction_table(holdout: DataSet, candidate: Judged) -> pd.DataFrame:
    """(n, 1 + classes) a candidate's answers on the holdout beside the truth, in the data set's row order."""
    classes = np.array([str(label) for label in holdout.schema.classes])
    columns = {
        f"probability_{label}": candidate.predictions.probabilities[:, code] for code, label in enumerate(classes)
    }
    return pd.DataFrame({"truth": classes[holdout.y], **columns})
