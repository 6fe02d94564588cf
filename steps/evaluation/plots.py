"""The plots of an evaluation: of each candidate, of all candidates together, and of the data."""

from collections.abc import Callable, Mapping
from dataclasses import astuple
from functools import partial
from pathlib import Path

import numpy as np
from mlflow.entities import Run

from steps.evaluation.candidates import Judged
from steps.evaluation.contributions import Explained
from steps.model import flavor
from steps.model.holdout import Holdout
from steps.process import pool
from steps.run import artifacts, thread_budget
from steps.run.step import Step
from tabular.metrics.lookup import sign
from tabular.metrics.regression import NumberPredictions
from tabular.model import importances, intervals
from tabular.plots import classifier_plots, contribution_plots, regressor_plots, search_plots, style, verdict_plots
from tabular.problem import Problem

Drawing = Callable[[], "classifier_plots.Figure"]
# The levels at which it is shown how often intervals hold the truth.
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def draw(
    step: Step,
    problem: Problem,
    holdout: Holdout,
    ranked: list[Judged],
    searches: Mapping[str, Run],
    explained: Explained | None,
) -> None:
    """Draw the plots of each candidate and its search, of all candidates together, and of the data, into `pictures/`.

    Where the problem wants no pictures, only the tables are left that stand for them.

    Parameters
    ----------
    step
        The step that evaluates; the plots become artifacts of its run.
    problem
        The problem.
    holdout
        The holdout rows.
    ranked
        The candidates, the best first.
    searches
        Name of a candidate: the run of hpo that found its hyperparameters.
    explained
        What columns add to the answers of the best; None where that is not told.

    """
    metric = problem.search.metric
    drawings: dict[str, Drawing] = {}
    for candidate in ranked:
        of_candidate = {
            **_answers(step, problem, holdout, candidate),
            **_thresholds(problem, holdout, candidate),
            **_slices(metric, candidate, _weighted(holdout)),
            **_importances(step, metric, candidate),
            **_learning(step, candidate, searches.get(candidate.name), holdout.task(problem).loss),
        }
        drawings |= {f"{candidate.name}/{name}": drawing for name, drawing in of_candidate.items()}
    if explained is not None:
        of_best = _contributions(ranked[0].name, explained)
        drawings |= {f"{ranked[0].name}/{name}": drawing for name, drawing in of_best.items()}
    metrics = {candidate.name: candidate.metrics for candidate in ranked}
    title = f"{problem.name}: candidates on the holdout{_weighted(holdout)}"
    drawings["metrics_of_candidates"] = partial(classifier_plots.metrics_of_candidates, metrics, title=title)
    drawings["scores_with_intervals"] = partial(
        verdict_plots.scores_with_intervals,
        {candidate.name: candidate.metrics[metric] for candidate in ranked},
        {candidate.name: astuple(candidate.intervals[metric]) for candidate in ranked},
        metric=metric,
        title=title,
    )
    drawings |= _of_target(step, problem, holdout)
    if problem.tracking.pictures:
        _save(drawings, step.artifacts / artifacts.PICTURES, thread_budget.threads(step.arguments["share"]))


def _save(drawings: Mapping[str, Drawing], folder: Path, most: int) -> None:
    """Write each drawing as a PNG, in a process pool of `most` processes, since drawing holds Python's lock."""
    _HELD[:] = [(drawing, folder / f"{name}.png") for name, drawing in drawings.items()]
    for _, path in _HELD:
        path.parent.mkdir(parents=True, exist_ok=True)
    with pool.workers(most) as executor:
        list(executor.map(_draw, range(len(_HELD))))
    _HELD.clear()


# What the processes of the pool draw, and where to; they get it through the fork, since a drawing holds all rows.
_HELD: list[tuple[Drawing, Path]] = []


def _draw(number: int) -> None:
    drawing, path = _HELD[number]
    style.save(drawing(), path)


def _answers(step: Step, problem: Problem, holdout: Holdout, candidate: Judged) -> dict[str, Drawing]:
    """The plots of a candidate's predictions for the holdout."""
    if isinstance(candidate.predictions, NumberPredictions):
        return _numbers(step, problem, holdout, candidate, candidate.predictions)
    schema = holdout.schema
    about = {"classes": schema.classes, "positive": schema.positive}
    about |= {} if holdout.weights is None else {"weights": holdout.weights}
    title = f"{candidate.name} on the holdout of {problem.name}{_weighted(holdout)}"
    drawn = (
        classifier_plots.roc_curve,
        classifier_plots.precision_recall_curve,
        classifier_plots.confusion_matrix,
        classifier_plots.calibration_curve,
    )
    found = {
        picture.__name__: partial(picture, holdout.y, candidate.predictions.probabilities, **about, title=title)
        for picture in drawn
    }
    threshold = flavor.threshold(candidate.model)
    return {**found, "confusion_matrix": partial(found["confusion_matrix"], threshold=threshold)}


def _numbers(
    step: Step, problem: Problem, holdout: Holdout, candidate: Judged, found: NumberPredictions
) -> dict[str, Drawing]:
    """The plots of predicted numbers and of their intervals."""
    title, target = f"{candidate.name} on the holdout of {problem.name}{_weighted(holdout)}", holdout.schema.target
    drawn = (
        regressor_plots.predicted_against_actual,
        regressor_plots.residuals_against_predicted,
        regressor_plots.error_distribution,
    )
    about = {"target": target, "weights": holdout.weights, "title": title}
    drawings: dict[str, Drawing] = {
        picture.__name__: partial(picture, found.y, found.predicted, **about) for picture in drawn
    }
    levels = sorted({*LEVELS, problem.evaluation.coverage})
    held = [
        intervals.coverage_of(found.y, *flavor.ends_at(candidate.model, found, one), found.weights) for one in levels
    ]
    columns = {"coverage": levels, "held": [share for share, _ in held], "width": [width for _, width in held]}
    step.table(columns, f"{artifacts.COVERAGE}/{candidate.name}.json")
    # of weighted rows as many as tell as much: L. Kish, "Survey Sampling", 1965
    counts = np.ones(len(found.y)) if found.weights is None else found.weights
    rows = round(counts.sum() ** 2 / (counts**2).sum())
    drawings["interval_coverage"] = partial(
        regressor_plots.interval_coverage, levels, columns["held"], columns["width"], rows, target=target, title=title
    )
    return drawings


def _weighted(holdout: Holdout) -> str:
    return "" if holdout.schema.weight is None else f", weighted by {holdout.schema.weight}"


def _thresholds(problem: Problem, holdout: Holdout, candidate: Judged) -> dict[str, Drawing]:
    """The plot of the effect of thresholds; none for more than two classes."""
    if candidate.thresholds is None:
        return {}
    return {
        "threshold_effect": partial(
            verdict_plots.threshold_effect,
            candidate.thresholds,
            threshold=flavor.threshold(candidate.model),
            positive=holdout.schema.classes[candidate.predictions.positive],
            title=f"{candidate.name}: thresholds on the holdout of {problem.name}{_weighted(holdout)}",
        )
    }


def _slices(metric: str, candidate: Judged, weighted: str) -> dict[str, Drawing]:
    """The plot of a candidate's worst slices; none without slices. `weighted` ends its title."""
    if not candidate.slices:
        return {}
    judged = [one for one in candidate.slices if one.slice.is_judged]
    return {
        "slices": partial(
            verdict_plots.worst_slices,
            [one.slice.name for one in judged],
            [len(one.slice.rows) for one in judged],
            [one.metrics[metric] for one in judged],
            [astuple(one.interval) for one in judged],
            whole=candidate.metrics[metric],
            metric=metric,
            title=f"{candidate.name}: slices of the holdout{weighted}",
        )
    }


def _importances(step: Step, metric: str, candidate: Judged) -> dict[str, Drawing]:
    """The plots of importances: the estimator's own, where it has one, and by permutation."""
    lost = f"permutation, loss of {metric}", candidate.importances
    columns, alone = len(candidate.model.description["columns"]), importances.MOST_SHUFFLED
    few = f", {alone} of {columns:,} columns one by one" if columns > alone else ""
    model, own_of = candidate.model, importances.importances
    # a blend has none of its own
    kind, own = (None if getattr(model, "members", {}) else own_of(model.preprocessor, model.estimator)) or lost
    own = dict(sorted(own.items(), key=lambda item: -item[1]))
    step.table({"column": list(own), kind: list(own.values())}, f"feature_importance/{candidate.name}.json")
    draw, title = classifier_plots.feature_importance, f"{candidate.name}: what it looks at"
    return {
        "feature_importance": partial(draw, own, kind=kind, title=title),
        "permutation_importance": partial(draw, candidate.importances, kind=f"{lost[0]}{few}", title=title),
    }


def _contributions(name: str, explained: Explained) -> dict[str, Drawing]:
    """The plots of what columns add to a candidate's answers: in the mean, and by the value of the strongest."""
    strengths = explained.strengths
    rows = len(next(iter(explained.values.values())))
    title = f"{name}: what columns add to its answers to {rows:,} holdout rows"
    kind = f"mean |contribution| to {explained.scale}"
    added = {column: explained.values[column] for column in strengths}
    about = {"scale": explained.scale, "title": title}
    return {
        "contributions": partial(classifier_plots.feature_importance, strengths, kind=kind, title=title),
        "contributions_by_value": partial(
            contribution_plots.contributions_by_value, explained.features, added, **about
        ),
    }


def _learning(step: Step, candidate: Judged, search: Run | None, loss: str) -> dict[str, Drawing]:
    """The plots of the loss by iteration and of the search, where train and hpo left their data."""
    found: dict[str, Drawing] = {}
    run = candidate.run
    if any(name.endswith("_loss_by_iteration") for name in run.data.metrics):
        curves = artifacts.content(run, artifacts.CURVES, step.folder)
        title = f"{candidate.name}: loss by iteration, mean of the folds"
        found["loss_by_iteration"] = partial(
            classifier_plots.learning_curve, curves, iterations=curves.pop("iteration"), metric=loss, title=title
        )
    return {**found, **(_of_search(step, candidate.name, search) if search is not None else {})}


def _of_search(step: Step, name: str, search: Run) -> dict[str, Drawing]:
    """The plots of a search: its history, the importance of hyperparameters, and the trials along each."""
    columns = artifacts.table(search, artifacts.TRIALS, step.folder)
    metric = search.data.params["search_metric"]
    scores = [np.nan if score is None else score for score in columns[metric]]
    # this also holds hyperparameters that a trial finds by itself; a failed trial has none of them
    own = {"trial", metric, "complete", "trial_seconds", "ended_seconds"}
    hyperparameters = {key: column for key, column in columns.items() if key not in own}
    about = {"metric": metric, "greater_is_better": sign(metric) > 0}
    return {
        "search_history": partial(
            search_plots.search_history,
            scores,
            columns["ended_seconds"],
            columns["complete"],
            baseline=search.data.metrics[f"baseline_cv_{metric}"],
            title=f"{name}: the search",
            **about,
        ),
        "search_importance": partial(
            search_plots.hyperparameter_importance,
            hyperparameters,
            scores,
            title=f"{name}: what mattered in the search",
        ),
        "search_slices": partial(
            search_plots.search_slices,
            hyperparameters,
            scores,
            columns["complete"],
            title=f"{name}: the trials along each hyperparameter",
            **about,
        ),
    }


def _of_target(step: Step, problem: Problem, holdout: Holdout) -> dict[str, Drawing]:
    """The plot of the target in both parts of the data set."""
    if holdout.schema.classes:
        tally = _tally(step, holdout.source)
        return {"class_balance": partial(classifier_plots.class_balance, tally, title=f"{problem.name}: classes")}
    spread = artifacts.table(holdout.source, artifacts.TARGET, step.folder)
    edges = [*spread["from"], spread["to"][-1]]
    parts = {part: (edges, spread[part]) for part in ("train", "holdout")}
    target = holdout.schema.target
    drawing = partial(regressor_plots.target_distribution, parts, target=target, title=f"{problem.name}: {target}")
    return {"target_distribution": drawing}


def _tally(step: Step, source: Run) -> dict[str, dict[str, int]]:
    """The number of rows of each class in each part of the data set, as etl counted them: part: {class: rows}."""
    counts = artifacts.table(source, artifacts.CLASSES, step.folder)
    names = list(map(str, counts.pop("class")))
    return {part: dict(zip(names, counts[part], strict=True)) for part in ("train", "holdout")}
