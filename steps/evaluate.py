"""evaluate: all candidates on the holdout, which nothing before has read.

Leaves predictions, metrics and pictures of each candidate, the leaderboard, and `evaluation.json` for register. It
reads nothing of the registry.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Metric, Run

from steps import inputs, models, store, tracked
from steps.served import TabularModel, as_features
from steps.train import CURVES
from tabular import gate, pictures, training
from tabular.datasets import Rows, Schema
from tabular.errors import UserError
from tabular.metrics import METRICS, classification_metrics
from tabular.problem import Problem

EVALUATION = "evaluation.json"
# Rows that permutation importance shuffles: enough for its second digit.
IMPORTANCE_ROWS = 2000


@dataclass(frozen=True)
class Holdout:
    """The rows that candidates are judged on."""

    source: Run
    schema: Schema
    rows: Rows
    features: pd.DataFrame

    def metrics(self, probabilities: np.ndarray, names: list[str] | None = None) -> dict[str, float]:
        """Metrics of (n, classes) probabilities on these rows."""
        return classification_metrics(
            self.rows.y, probabilities, classes=self.schema.classes, positive=self.schema.positive, names=names
        )


@dataclass(frozen=True)
class Judged:
    """A candidate and what it did on the holdout."""

    run: Run
    name: str
    model: TabularModel
    probabilities: np.ndarray
    metrics: dict[str, float]
    seconds: float
    checks: list[gate.Check]

    @property
    def passes(self) -> bool:
        """Whether it meets all that the gate requires."""
        return all(check.passed for check in self.checks)


def evaluate(step: tracked.Step) -> None:
    """Score every candidate on the holdout, rank them, draw them."""
    problem = tracked.frozen_problem(step, otherwise=step.arguments["dataset"])
    holdout = load_holdout(step, problem, step.arguments["dataset"])
    candidates = [_judge(step, problem, holdout, run_id) for run_id in step.arguments["models"].split(",")]
    ranked = rank(candidates, problem.search.metric)
    _log(step, problem, ranked)
    with_pictures = step.folder / "pictures"
    _draw(step, problem, holdout, ranked, with_pictures)
    mlflow.log_artifacts(str(with_pictures), "pictures")
    _log_predictions(step, holdout, ranked)


def load_holdout(step: tracked.Step, problem: Problem, dataset: str) -> Holdout:
    """The holdout of a run of etl, logged as an input of the step's run."""
    source = store.run(step.client, dataset, "dataset", "etl")
    schema = store.schema(source, step.folder)
    rows = store.rows(source, "holdout", schema, step.folder)
    inputs.log(
        step,
        name=problem.name,
        digest=source.data.tags["tabular.digest.holdout"],
        source=f"{source.info.artifact_uri}/{store.DATASET}/holdout.parquet",
        context="evaluation",
        rows=len(rows.y),
        schema=schema,
    )
    step.log(tags={"tabular.data_digest": source.data.tags["tabular.data_digest"]})
    return Holdout(source, schema, rows, as_features(rows.frame, [vars(column) for column in schema.columns]))


def rank(candidates: list[Judged], metric: str) -> list[Judged]:
    """Those that pass the gate first, then by the metric on the holdout; a NaN is last."""
    sign = -1 if METRICS[metric].greater_is_better else 1

    def place(candidate: Judged) -> tuple[bool, float]:
        value = candidate.metrics[metric]
        return not candidate.passes, float("inf") if np.isnan(value) else sign * value

    return sorted(candidates, key=place)


def _judge(step: tracked.Step, problem: Problem, holdout: Holdout, run_id: str) -> Judged:
    run = store.run(step.client, run_id, "models", "train")
    tags = run.data.tags
    if "tabular.model_uri" not in tags:
        raise UserError(f"models: run {run_id} of train holds no model: it is {run.info.status}")
    model = models.load(tags["tabular.model_uri"], step.folder, tags["tabular.code_digest"])
    started = time.perf_counter()
    probabilities = model.probabilities(holdout.features)
    seconds = time.perf_counter() - started
    metrics = holdout.metrics(probabilities)
    checks = gate.check(problem.gate.require, metrics)
    return Judged(run, tags["tabular.model"], model, probabilities, metrics, seconds, checks)


def _log(step: tracked.Step, problem: Problem, ranked: list[Judged]) -> None:
    best = ranked[0]
    step.client.log_batch(step.run_id, metrics=_metrics(step, ranked))
    rows = [_row(candidate, problem.search.metric) for candidate in ranked]
    step.table({name: [row[name] for row in rows] for name in rows[0]}, "leaderboard.json")
    mlflow.log_dict({"candidates": [_entry(candidate) for candidate in ranked]}, EVALUATION)
    step.log(
        params={
            "candidates": ", ".join(candidate.name for candidate in ranked),
            "rows_holdout": len(best.probabilities),
        },
        tags={"tabular.winner": best.name, "tabular.dataset": step.arguments["dataset"]},
    )
    metric = problem.search.metric
    lines = [f"- {candidate.name}: {metric} {candidate.metrics[metric]:.4f}" for candidate in ranked]
    failing = [check.line() for check in best.checks if not check.passed]
    gate_line = "It passes the gate." if best.passes else f"No candidate passes the gate: {'; '.join(failing)}."
    note = f"{len(best.probabilities):,} rows that nothing before had read.\n\n" + "\n".join(lines)
    step.finish(
        f"evaluate {problem.name}",
        f"best {best.name}, holdout {metric} {best.metrics[metric]:.4f}",
        f"{note}\n\nBest: {best.name}. {gate_line}",
    )


def _metrics(step: tracked.Step, ranked: list[Judged]) -> list[Metric]:
    """The winner's metrics by their plain names; each candidate's as `<model>/<metric>`, tied to its logged model."""
    now = int(time.time() * 1000)
    found = []
    for candidate in ranked:
        model_id = candidate.run.data.tags["tabular.model_uri"].removeprefix("models:/")
        values = {**candidate.metrics, "predict_seconds": candidate.seconds}
        found += [
            Metric(f"{candidate.name}/{name}", value, now, 0, model_id=model_id)
            for name, value in values.items()
            if not np.isnan(value)
        ]
        if candidate is ranked[0]:
            trained = candidate.run.data.metrics
            values |= {name: value for name, value in trained.items() if name.startswith(("training_", "cv_"))}
            found += [Metric(name, value, now, 0) for name, value in values.items() if not np.isnan(value)]
    return found


def _row(candidate: Judged, metric: str) -> dict[str, Any]:
    """A candidate's row of the leaderboard, the metric that ranks first."""
    trained = candidate.run.data.metrics
    others = {name: value for name, value in candidate.metrics.items() if name != metric}
    return {
        "model": candidate.name,
        metric: candidate.metrics[metric],
        f"cv_{metric}_mean": trained.get(f"cv_{metric}_mean"),
        f"cv_{metric}_std": trained.get(f"cv_{metric}_std"),
        f"training_{metric}": trained.get(f"training_{metric}"),
        **others,
        "fit_seconds": trained.get("fit_seconds"),
        "predict_seconds": candidate.seconds,
        "gate": "passed" if candidate.passes else "not met",
        "run": candidate.run.info.run_id,
    }


def _entry(candidate: Judged) -> dict[str, Any]:
    """What register needs to know of a candidate."""
    tags = candidate.run.data.tags
    return {
        "model": candidate.name,
        "run_id": candidate.run.info.run_id,
        "model_uri": tags["tabular.model_uri"],
        "model_digest": tags["tabular.model_digest"],
        "code_digest": tags["tabular.code_digest"],
        "metrics": {name: None if np.isnan(value) else value for name, value in candidate.metrics.items()},
        "trained": dict(candidate.run.data.metrics),
        "unmet": [check.line() for check in candidate.checks if not check.passed],
        "checks": [check.line() for check in candidate.checks],
    }


def _log_predictions(step: tracked.Step, holdout: Holdout, ranked: list[Judged]) -> None:
    """Each candidate's answers on the holdout, beside the truth, in the data set's row order."""
    folder = step.folder / "predictions"
    folder.mkdir()
    classes = np.array([str(label) for label in holdout.schema.classes])
    for candidate in ranked:
        frame = pd.DataFrame({"truth": classes[holdout.rows.y]})
        for code, label in enumerate(classes):
            frame[f"probability_{label}"] = candidate.probabilities[:, code]
        frame.to_parquet(folder / f"{candidate.name}.parquet")
    mlflow.log_artifacts(str(folder), "predictions")


def _draw(step: tracked.Step, problem: Problem, holdout: Holdout, ranked: list[Judged], folder: Path) -> None:
    folder.mkdir()
    for candidate in ranked:
        _draw_candidate(step, problem, holdout, candidate, folder / candidate.name)
    metrics = {candidate.name: candidate.metrics for candidate in ranked}
    whole = pictures.metrics_of_candidates(metrics, title=f"{problem.name}: candidates on the holdout")
    pictures.save(whole, folder / "metrics_of_candidates.png")
    tally = {side: _tally(holdout.source, side, holdout.schema) for side in ("train", "holdout")}
    pictures.save(pictures.class_balance(tally, title=f"{problem.name}: classes"), folder / "class_balance.png")


def _draw_candidate(step: tracked.Step, problem: Problem, holdout: Holdout, candidate: Judged, folder: Path) -> None:
    folder.mkdir()
    y, probabilities = holdout.rows.y, candidate.probabilities
    about = {"classes": holdout.schema.classes, "positive": holdout.schema.positive}
    title = f"{candidate.name} on the holdout of {problem.name}"
    for draw in (
        pictures.roc_curve,
        pictures.precision_recall_curve,
        pictures.confusion_matrix,
        pictures.calibration_curve,
    ):
        pictures.save(draw(y, probabilities, **about, title=title), folder / f"{draw.__name__}.png")
    kind, importances = _importances(problem, holdout, candidate)
    step_title = f"{candidate.name}: what it looks at"
    pictures.save(
        pictures.feature_importance(importances, kind=kind, title=step_title), folder / "feature_importance.png"
    )
    step.table(
        {"column": list(importances), kind: list(importances.values())}, f"feature_importance/{candidate.name}.json"
    )
    _draw_learning(step, problem, candidate, folder)


def _importances(problem: Problem, holdout: Holdout, candidate: Judged) -> tuple[str, dict[str, float]]:
    """The model's own importance of each column, else by permutation; the most important first."""
    found = training.importances(candidate.model.features, candidate.model.classifier)
    if found is None:
        metric = problem.search.metric
        sign = 1 if METRICS[metric].greater_is_better else -1
        rows = np.random.default_rng(problem.seed).permutation(len(holdout.rows.y))[:IMPORTANCE_ROWS]

        def measure(y: np.ndarray, probabilities: np.ndarray) -> float:
            about = {"classes": holdout.schema.classes, "positive": holdout.schema.positive}
            return sign * classification_metrics(y, probabilities, **about, names=[metric])[metric]

        drops = training.permutation_importances(
            candidate.model.probabilities, holdout.features.iloc[rows], holdout.rows.y[rows], measure, seed=problem.seed
        )
        found = f"permutation, loss of {metric}", drops
    kind, importances = found
    return kind, dict(sorted(importances.items(), key=lambda item: -item[1]))


def _draw_learning(step: tracked.Step, problem: Problem, candidate: Judged, folder: Path) -> None:
    """The curves that train and hpo left, where they did."""
    run = candidate.run
    if any(name.endswith("_loss_by_iteration") for name in run.data.metrics):
        curves = json.loads(store.artifact(run, CURVES, step.folder).read_text(encoding="utf-8"))
        title = f"{candidate.name}: loss by iteration, mean of the folds"
        pictures.save(pictures.learning_curve(curves, metric="log_loss", title=title), folder / "loss_by_iteration.png")
    search = run.data.tags.get("tabular.search")
    if search:
        trials = store.run(step.client, search, "models", "hpo")
        table = json.loads(store.artifact(trials, "trials.json", step.folder).read_text(encoding="utf-8"))
        metric = table["columns"][1]
        scores = [row[1] for row in table["data"]]
        better = METRICS[metric].greater_is_better
        title = f"{candidate.name}: the search"
        drawn = pictures.search_history(
            scores, metric=f"cross-validated {metric}", greater_is_better=better, title=title
        )
        pictures.save(drawn, folder / "search_history.png")


def _tally(source: Run, side: str, schema: Schema) -> dict[str, int]:
    """Rows of each class, as etl counted them."""
    metrics = source.data.metrics
    return {str(label): int(metrics.get(f"rows_{side}_{label}", 0)) for label in schema.classes}


if __name__ == "__main__":
    tracked.run("evaluate", evaluate)
