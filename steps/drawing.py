"""The pictures of an evaluation: of each candidate, of all beside each other, of the data."""

import json
from pathlib import Path

import mlflow
import numpy as np
from mlflow.entities import Run

from steps import store, tracked
from steps.candidates import Judged
from steps.dataset import DataSet
from tabular import pictures, training
from tabular.metrics import METRICS
from tabular.problem import Problem

# Rows that permutation importance shuffles: enough for its second digit.
IMPORTANCE_ROWS = 2000


def draw(step: tracked.Step, problem: Problem, holdout: DataSet, ranked: list[Judged]) -> None:
    """Draw each candidate, all of them beside each other, and the data; log `pictures/`."""
    folder = step.folder / "pictures"
    folder.mkdir()
    for candidate in ranked:
        _draw_candidate(step, problem, holdout, candidate, folder / candidate.name)
    metrics = {candidate.name: candidate.metrics for candidate in ranked}
    whole = pictures.metrics_of_candidates(metrics, title=f"{problem.name}: candidates on the holdout")
    pictures.save(whole, folder / "metrics_of_candidates.png")
    balance = pictures.class_balance(_tally(step, holdout.source), title=f"{problem.name}: classes")
    pictures.save(balance, folder / "class_balance.png")
    mlflow.log_artifacts(str(folder), "pictures")


def _draw_candidate(step: tracked.Step, problem: Problem, holdout: DataSet, candidate: Judged, folder: Path) -> None:
    folder.mkdir()
    y, probabilities = holdout.y, candidate.probabilities
    about = {"classes": holdout.schema.classes, "positive": holdout.schema.positive}
    title = f"{candidate.name} on the holdout of {problem.name}"
    for picture in (
        pictures.roc_curve,
        pictures.precision_recall_curve,
        pictures.confusion_matrix,
        pictures.calibration_curve,
    ):
        pictures.save(picture(y, probabilities, **about, title=title), folder / f"{picture.__name__}.png")
    kind, importances = _importances(problem, holdout, candidate)
    step_title = f"{candidate.name}: what it looks at"
    pictures.save(
        pictures.feature_importance(importances, kind=kind, title=step_title), folder / "feature_importance.png"
    )
    step.table(
        {"column": list(importances), kind: list(importances.values())}, f"feature_importance/{candidate.name}.json"
    )
    _draw_learning(step, problem, candidate, folder)


def _importances(problem: Problem, holdout: DataSet, candidate: Judged) -> tuple[str, dict[str, float]]:
    """The model's own importance of each column, else by permutation; the most important first."""
    found = training.importances(candidate.model.features, candidate.model.classifier)
    if found is None:
        metric = problem.search.metric
        sign = 1 if METRICS[metric].greater_is_better else -1
        rows = np.random.default_rng(problem.seed).permutation(len(holdout.y))[:IMPORTANCE_ROWS]

        def measure(y: np.ndarray, probabilities: np.ndarray) -> float:
            return sign * holdout.metrics(y, probabilities, [metric])[metric]

        drops = training.permutation_importances(
            candidate.model.probabilities, holdout.X.iloc[rows], holdout.y[rows], measure, seed=problem.seed
        )
        found = f"permutation, loss of {metric}", drops
    kind, importances = found
    return kind, dict(sorted(importances.items(), key=lambda item: -item[1]))


def _draw_learning(step: tracked.Step, problem: Problem, candidate: Judged, folder: Path) -> None:
    """The curves that train and hpo left, where they did."""
    run = candidate.run
    if any(name.endswith("_loss_by_iteration") for name in run.data.metrics):
        curves = json.loads(store.artifact(run, store.CURVES, step.folder).read_text(encoding="utf-8"))
        title = f"{candidate.name}: loss by iteration, mean of the folds"
        pictures.save(pictures.learning_curve(curves, metric="log_loss", title=title), folder / "loss_by_iteration.png")
    search = run.data.tags.get("tabular.search")
    if search:
        trials = store.run(step.client, search, "models", "hpo")
        table = json.loads(store.artifact(trials, store.TRIALS, step.folder).read_text(encoding="utf-8"))
        metric = table["columns"][1]
        scores = [row[1] for row in table["data"]]
        better = METRICS[metric].greater_is_better
        title = f"{candidate.name}: the search"
        drawn = pictures.search_history(
            scores, metric=f"cross-validated {metric}", greater_is_better=better, title=title
        )
        pictures.save(drawn, folder / "search_history.png")


def _tally(step: tracked.Step, source: Run) -> dict[str, dict[str, int]]:
    """Part of the data: the rows of each class in it, as etl counted them."""
    table = json.loads(store.artifact(source, store.CLASSES, step.folder).read_text(encoding="utf-8"))
    names, *counts = zip(*table["data"], strict=True)
    return {
        part: {str(name): count for name, count in zip(names, found, strict=True)}
        for part, found in zip(table["columns"][1:], counts, strict=True)
    }
