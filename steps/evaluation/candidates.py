"""Candidates scored on the holdout: predictions, metrics, confidence intervals, slices and importances."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Run
from threadpoolctl import threadpool_limits

from steps.model import flavor
from steps.model.holdout import Holdout
from steps.model.served import TabularModel
from steps.process import pool
from steps.run import artifacts, thread_budget
from steps.run.step import Step
from steps.run.tags import CODE_DIGEST, MODEL, MODEL_DIGEST, MODEL_URI, TRAINED_ON
from tabular.data import summaries
from tabular.errors import UserError, first_line
from tabular.evaluation import bootstrap, gate, ranking, slices
from tabular.evaluation.bootstrap import Interval
from tabular.evaluation.gate import Check
from tabular.evaluation.slices import Scored, Slice
from tabular.metrics.classification import CALIBRATION_ERROR, ClassPredictions
from tabular.metrics.lookup import CLASSIFICATION, REGRESSION, metric, scores, sign, with_named
from tabular.metrics.metric import Predictions
from tabular.model import importances, thresholds
from tabular.problem import Problem

# Number of holdout rows for permutation importances: enough for two digits. Of wide tables fewer, down to the least,
# that have about as many cells; and of models of many trees fewer, which answer about as soon.
IMPORTANCE_ROWS, LEAST_IMPORTANCE_ROWS = 1000, 200
IMPORTANCE_CELLS, IMPORTANCE_TREES = 25_000, 1_000_000


# The metrics of slices, by task, beside the search's and those that the gate requires.
IN_SLICES = {CLASSIFICATION: ("accuracy",), REGRESSION: ("mae", "interval_coverage", "interval_width")}


@dataclass(frozen=True)
class Judged:
    """A candidate and its results on the holdout.

    Attributes
    ----------
    run
        The run of train.
    name
        Name of the model in the problem.
    model
        The loaded model.
    predictions
        Its predictions for the holdout.
    metrics
        Metric: value on the holdout.
    seconds
        Duration of the predictions.
    uncalibrated
        What it would predict for the holdout without its calibration; None of numbers.
    intervals
        Metric: 95 % confidence interval.
    behind
        Interval of the difference to the winner's score, above 0 where this one is worse; None for the winner.
    slices
        The scores on each slice.
    checks
        The results of the gate's requirements.
    importances
        Column: loss of the score when the column is shuffled, the largest first.

    """

    run: Run
    name: str
    model: TabularModel
    predictions: Predictions
    metrics: dict[str, float]
    seconds: float
    uncalibrated: ClassPredictions | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    behind: Interval | None = None
    slices: Sequence[Scored] = ()
    checks: Sequence[Check] = ()
    importances: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def thresholds(self) -> dict[str, list[float]] | None:
        """The effect of each threshold on the labels (`thresholds.effect`); None where there are not two classes."""
        one = self.predictions
        if not isinstance(one, ClassPredictions) or one.positive is None:
            return None
        return thresholds.effect(one.y, one.probabilities, positive=one.positive, weights=one.weights)

    @property
    def passes(self) -> bool:
        """Whether the candidate meets every requirement of the gate."""
        return all(check.passed for check in self.checks)


def judge(
    step: Step, problem: Problem, holdout: Holdout, trained: Sequence[Run]
) -> tuple[list[Judged], dict[str, str]]:
    """Score candidates on the holdout, and rank them: those that pass the gate first, then by cross-validated score.

    Parameters
    ----------
    step
        The step that evaluates.
    problem
        The problem.
    holdout
        The holdout rows.
    trained
        Runs of train, one for each candidate.

    Returns
    -------
    tuple
        The candidates, the best first; and {model: reason} for those that refuse the holdout rows.

    Raises
    ------
    UserError
        Where two runs are of one model, a run was trained on another data set, or a model cannot be loaded.
    """
    _check_names([run.data.tags[MODEL] for run in trained])
    asked, refusing = [], {}
    for run in trained:
        one = _asked(step, problem, holdout, run)
        if isinstance(one, Judged):
            asked.append(one)
        else:
            refusing[run.data.tags[MODEL]] = one
    if not asked:
        return [], refusing
    cuts = problem.evaluation.slices
    parts = slices.cut(holdout.columns(cuts), cuts, holdout.weights)
    shuffled = _rows_to_shuffle(problem, holdout)
    _HELD[:] = [_Work(problem, holdout, asked, parts, shuffled, holdout.taken(shuffled))]
    with pool.workers(min(len(asked), thread_budget.threads(holdout.share))) as executor:
        found = list(executor.map(_looked_at, range(len(asked))))
    _HELD.clear()
    floors = _floors(step, problem, holdout, [values for _, values in found])
    judged = [
        replace(one, **looks, checks=[*gate.check(problem.gate.require, one.metrics, looks["slices"]), *floor])
        for one, (looks, _), floor in zip(asked, found, floors, strict=True)
    ]
    resamples = {one.name: values[problem.search.metric] for one, (_, values) in zip(asked, found, strict=True)}
    ranked = _ranked(step, problem, judged)
    behind = [_behind(one, ranked[0], resamples, problem.search.metric) for one in ranked[1:]]
    return [ranked[0], *behind], refusing


def _check_names(names: list[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(
            f"models: two of the runs are of {twice[0]!r}, and their results go by the model's name: give one"
        )


def _asked(step: Step, problem: Problem, holdout: Holdout, run: Run) -> Judged | str:
    """Load a candidate, predict the holdout, and compute the metrics; where it refuses the rows, the reason."""
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
        artifacts.disown(run)  # so that the next chain trains the model again
        raise
    started = time.perf_counter()
    try:
        outputs, raw = flavor.ask_twice(model, holdout.asked)
    except Exception as error:  # whatever an estimator may raise
        return f"it refuses holdout rows: {first_line(error)}"
    if not np.isfinite(outputs).all():
        return "it gives predictions that are no finite numbers (NaN, infinity) for holdout rows"
    seconds = time.perf_counter() - started
    predictions = holdout.predictions(outputs, threshold=flavor.threshold(model))
    of_classes = [CALIBRATION_ERROR] if holdout.schema.classes else []
    names = with_named(holdout.schema.task, problem.search.metric, *problem.gate.require, *of_classes)
    metrics = scores(predictions, names)
    if np.isnan(metrics[problem.search.metric]):
        return f"on the holdout, {holdout.task(problem).no_value(problem.search.metric, holdout.y, outputs)}"
    before = holdout.predictions(raw) if of_classes else None
    return Judged(run, tags[MODEL], model, predictions, metrics, seconds, before)


@dataclass(frozen=True)
class _Work:
    """What the processes of the pool need; they get it through the fork."""

    problem: Problem
    holdout: Holdout
    candidates: Sequence[Judged]
    slices: Sequence[Slice]
    rows: np.ndarray  # the holdout rows that are shuffled, and what they are
    X: pd.DataFrame


_HELD: list[_Work] = []


def _looked_at(number: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A candidate's confidence intervals, slices and importances; and its scores on each bootstrap resample, by metric.

    Runs in a process of the pool, one candidate each. All candidates have the same resamples, because of the seed, so
    that their scores can be compared resample by resample.
    """
    (work,) = _HELD
    problem, one = work.problem, work.candidates[number]
    is_large = work.holdout.is_streamed
    about: dict[str, Any] = {"seed": problem.seed, "groups": work.holdout.groups}
    found, values = bootstrap.intervals(
        one.predictions, list(one.metrics), **about, most_rows=bootstrap.ROWS_OF_LARGE if is_large else None
    )
    of_slices = dict.fromkeys([problem.search.metric, *problem.gate.require, *IN_SLICES[work.holdout.schema.task]])
    # one thread: the other processes work at the same time, and OpenMP's threads do not survive a fork
    with threadpool_limits(1):
        drops = _importances(work, one)
    in_slice = slices.ROWS_OF_LARGE if is_large else None
    looks = {
        "intervals": found,
        "slices": slices.score(work.slices, one.predictions, list(of_slices), **about, most_rows=in_slice),
        "importances": drops,
    }
    return looks, {name: values[name] for name in (problem.search.metric, gate.metric_of_floor(problem.search.metric))}


def _floors(
    step: Step, problem: Problem, holdout: Holdout, resamples: Sequence[Mapping[str, np.ndarray]]
) -> list[list[Check]]:
    """For each candidate, the check that it is better than the prior; none where the problem does not ask for it."""
    if not problem.gate.beat_prior:
        return [[] for _ in resamples]
    name = gate.metric_of_floor(problem.search.metric)
    about: dict[str, Any] = {"seed": problem.seed, "groups": holdout.groups}
    about["most_rows"] = bootstrap.ROWS_OF_LARGE if holdout.is_streamed else None
    priors = {str(number): holdout.predictions(one) for number, one in enumerate(_priors(step, holdout))}
    best = max(priors, key=lambda number: sign(name) * metric(name).score(priors[number]))
    of_prior = bootstrap.resampled({"": priors[best]}, [name], **about)[""][name]
    task = holdout.task(problem)
    told = {"prior": task.prior, "advice": task.advice, "candidates": len(resamples)}
    return [[gate.check_floor(name, values[name], of_prior, **told)] for values in resamples]


def _priors(step: Step, holdout: Holdout) -> list[np.ndarray]:
    """What no column is needed for: the classes' shares of the training rows; or their mean, and their median."""
    if not holdout.schema.classes:
        constants = (holdout.source.data.metrics[name] for name in ("target_mean", "target_median"))
        return [np.full((len(holdout.y), 1), constant) for constant in constants]
    counts = artifacts.table(holdout.source, artifacts.CLASSES, step.folder)
    rows = np.array(counts.get(summaries.WEIGHT_OF_TRAIN, counts["train"]), dtype=float)
    return [np.tile(rows / rows.sum(), (len(holdout.y), 1))]


def _rows_to_shuffle(problem: Problem, holdout: Holdout) -> np.ndarray:
    most = min(IMPORTANCE_ROWS, max(LEAST_IMPORTANCE_ROWS, IMPORTANCE_CELLS // len(holdout.schema.columns)))
    shuffled = np.random.default_rng(problem.seed).permutation(len(holdout.y))
    return shuffled[holdout.counting[shuffled]][:most]


def _importances(work: _Work, candidate: Judged) -> dict[str, float]:
    problem, name = work.problem, work.problem.search.metric
    threshold = flavor.threshold(candidate.model)
    most = max(LEAST_IMPORTANCE_ROWS, IMPORTANCE_TREES // max(1, _trees(candidate.model)))
    rows = work.rows[:most]

    def measure(outputs: np.ndarray) -> float:
        return sign(name) * metric(name).score(work.holdout.predictions(outputs, threshold=threshold, rows=rows))

    asked = _to_shuffle(candidate.model, work.X[:most])
    drops = importances.permutation_importances(*asked, measure, seed=problem.seed)
    return dict(sorted(drops.items(), key=lambda item: -item[1]))


def _trees(model: TabularModel) -> int:
    """The number of LightGBM's trees that a model asks for a row."""
    if model.members:
        return sum(_trees(one) for _, one in model.members.values())
    return int(model.estimator.num_trees()) if hasattr(model.estimator, "num_trees") else 0


def _to_shuffle(
    model: TabularModel, X: pd.DataFrame
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray, dict[str, slice | np.ndarray]]:
    """What permutation importances shuffle: how a model is asked, (n, any) rows for it, and the place of each column.

    The rows are those that the model prepares of the features. They are the features themselves, which take longer,
    where it does not say what becomes of a column, makes columns of several (the user's own, or the days between two
    dates), or makes so many of them that copies would not fit into memory.
    """
    of_dates = model.description.get("dates", [])
    of_several = model.own is not None or any("since" in one for one in of_dates)
    says = not getattr(model, "members", {}) and not of_several and hasattr(model.encoder, "places")
    places = model.encoder.places() if says else None
    features = {name: X[name].to_numpy() for name in X}
    prepared = model.encoder.prepare(model.dates.added(features) if of_dates else features) if places else None
    if places is None or prepared is None or prepared.shape[0] * prepared.shape[1] > importances.SHUFFLED_CELLS:

        def ask(values: np.ndarray) -> np.ndarray:
            return flavor.ask(model, pd.DataFrame(values, columns=X.columns, dtype=object).astype(X.dtypes))

        return ask, X.to_numpy(dtype=object), {name: slice(at, at + 1) for at, name in enumerate(X.columns)}
    places = _of_raw_columns(places, X, of_dates, prepared.shape[1])
    if isinstance(prepared, np.ndarray):
        return model.of_prepared, prepared, places
    kind = type(prepared)  # of sparse matrix
    return lambda values: model.of_prepared(kind(values)), prepared.toarray(), places


def _of_raw_columns(
    places: Mapping[str, slice], X: pd.DataFrame, of_dates: Sequence[Mapping[str, str]], width: int
) -> dict[str, slice | np.ndarray]:
    """Where each column of raw rows lies in prepared rows, in their order, in which shuffles are drawn.

    A date lies where all that is made of it does.
    """
    every = np.arange(width)
    found: dict[str, slice | np.ndarray] = {name: places[name] for name in X.columns if name in places}
    for name in dict.fromkeys(one["of"] for one in of_dates):
        parts = [name, *(one["name"] for one in of_dates if one["of"] == name)]
        found[name] = np.concatenate([every[places[part]] for part in parts if part in places])
    return {name: found[name] for name in X.columns}


def _ranked(step: Step, problem: Problem, judged: Sequence[Judged]) -> list[Judged]:
    """The candidates in the order of `ranking.ranked`, which does not look at their scores on the holdout."""
    name, ties, folds = problem.search.metric, problem.evaluation.ties, problem.search.folds
    by_name, promises = {one.name: one for one in judged}, []
    for one in judged:
        mean, spread = (one.run.data.metrics.get(f"cv_{name}_{what}", np.nan) for what in ("mean", "std"))
        size = artifacts.model_bytes(one.run, step.folder) if ties == "smaller" else 0
        error = spread / np.sqrt(folds - 1)  # the deviation is not Bessel's
        promises.append(ranking.Promise(one.name, one.passes, sign(name) * mean, error, size))
    return [by_name[name] for name in ranking.ranked(promises, ties=ties)]


def _behind(one: Judged, best: Judged, resamples: Mapping[str, np.ndarray], metric: str) -> Judged:
    return replace(one, behind=bootstrap.interval(sign(metric) * (resamples[best.name] - resamples[one.name])))


def prediction_table(holdout: Holdout, candidate: Judged) -> pd.DataFrame:
    """(n, any) each holdout row's truth, its weight where rows have one, and what a candidate predicts for it."""
    weight, found = {} if holdout.weights is None else {"weight": holdout.weights}, candidate.predictions
    if isinstance(found, ClassPredictions):
        classes = np.array([str(label) for label in holdout.schema.classes])
        columns = {f"probability_{label}": found.probabilities[:, code] for code, label in enumerate(classes)}
        return pd.DataFrame({"truth": classes[holdout.y], **weight, **columns})
    ends = {"prediction_low": found.low, "prediction_high": found.high}
    return pd.DataFrame({"truth": holdout.y, **weight, "prediction": found.predicted, **ends})
