"""evaluate: all candidates on the holdout, which nothing before has read.

Leaves predictions, metrics and pictures of each candidate, the leaderboard, and `evaluation.json` for register. It
reads nothing of the registry.
"""

import time
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Metric, Run

from steps import dataset, drawing, frozen, models, records, store, tracked
from steps.candidates import Judged
from steps.dataset import TRAINED_ON, DataSet
from tabular import gate
from tabular.errors import UserError
from tabular.metrics import sign, with_named
from tabular.problem import Problem


def evaluate(step: tracked.Step) -> None:
    """Score every candidate on the holdout, rank them, draw them."""
    source = dataset.source(step, step.arguments["dataset"])
    problem = frozen.problem_of(step, source)
    holdout = dataset.load(step, problem, source, "holdout")
    trained = [store.run(step.client, run_id, "models", "train") for run_id in step.arguments["models"].split(",")]
    _check_names([run.data.tags["tabular.model"] for run in trained])
    candidates = [_judge(step, problem, holdout, run) for run in trained]
    ranked = rank(candidates, problem.search.metric)
    _log(step, problem, holdout, ranked)
    _log_predictions(step, holdout, ranked)
    drawing.draw(step, problem, holdout, ranked, _searches(step, trained))


def rank(candidates: list[Judged], metric: str) -> list[Judged]:
    """Those that pass the gate first, then by the metric on the holdout; a NaN is last."""

    def place(candidate: Judged) -> tuple[bool, float]:
        value = candidate.metrics[metric]
        return not candidate.passes, float("inf") if np.isnan(value) else -sign(metric) * value

    return sorted(candidates, key=place)


def _check_names(names: list[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(
            f"models: two of the runs are of {twice[0]!r}, and their results go by the model's name: give one"
        )


def _judge(step: tracked.Step, problem: Problem, holdout: DataSet, run: Run) -> Judged:
    tags = run.data.tags
    if tags.get(TRAINED_ON) != holdout.source.data.tags[TRAINED_ON]:
        raise UserError(
            f"models: run {run.info.run_id} was trained on another data set than run {holdout.source.info.run_id} "
            "holds, and may have learnt from these holdout rows: give runs of one data set"
        )
    try:
        model = models.load(
            tags["tabular.model_uri"],
            step.folder,
            code=tags["tabular.digest.code"],
            learnt=tags["tabular.digest.model"],
        )
    except UserError:
        records.disown(run)  # the next chain trains it anew
        raise
    started = time.perf_counter()
    probabilities = model.probabilities(holdout.X)
    seconds = time.perf_counter() - started
    asked = with_named(problem.search.metric, *problem.gate.require)
    metrics = holdout.metrics(holdout.y, probabilities, asked, threshold=models.threshold(model))
    checks = gate.check(problem.gate.require, metrics)
    return Judged(run, tags["tabular.model"], model, probabilities, metrics, seconds, checks)


def _searches(step: tracked.Step, trained: list[Run]) -> dict[str, Run]:
    """The runs of hpo by their models: those given, else those that the models were trained with."""
    given = step.arguments["searches"].split(",")
    asked = given if any(given) else [run.data.tags.get("tabular.search", "") for run in trained]
    runs = [store.run(step.client, run_id, "searches", "hpo") for run_id in asked if run_id]
    return {run.data.tags["tabular.model"]: run for run in runs}


def _log(step: tracked.Step, problem: Problem, holdout: DataSet, ranked: list[Judged]) -> None:
    best = ranked[0]
    step.client.log_batch(step.run_id, metrics=_metrics(step, ranked))
    rows = [_row(candidate, problem.search.metric) for candidate in ranked]
    step.table({name: [row[name] for row in rows] for name in rows[0]}, store.LEADERBOARD)
    entries = [_entry(candidate) for candidate in ranked]
    step.json({"candidates": entries}, store.EVALUATION)
    step.log(
        params={
            "candidates": ", ".join(candidate.name for candidate in ranked),
            "rows_holdout": len(best.probabilities),
        },
        tags={
            "tabular.winner": best.name,
            "tabular.dataset": step.arguments["dataset"],
            "tabular.digest.evaluation": records.digest([_content(holdout), *map(_lasting, entries)]),
        },
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
        "model_digest": tags["tabular.digest.model"],
        "code_digest": tags["tabular.digest.code"],
        "metrics": {name: None if np.isnan(value) else value for name, value in candidate.metrics.items()},
        "trained": dict(candidate.run.data.metrics),
        "unmet": [check.line() for check in candidate.checks if not check.passed],
        "checks": [check.line() for check in candidate.checks],
    }


def _content(holdout: DataSet) -> list[str]:
    """The digests of the data set that register compares on."""
    return [holdout.source.data.tags[f"tabular.digest.{part}"] for part in ("train", "holdout", "schema")]


def _lasting(entry: dict[str, Any]) -> dict[str, Any]:
    """What of an entry is the same whichever runs hold the models, and however long they took."""
    kept = {name: value for name, value in entry.items() if name not in ("run_id", "model_uri")}
    return {**kept, "trained": {k: v for k, v in entry["trained"].items() if not k.endswith("_seconds")}}


def _log_predictions(step: tracked.Step, holdout: DataSet, ranked: list[Judged]) -> None:
    """Each candidate's answers on the holdout, beside the truth, in the data set's row order."""
    folder = step.artifacts / store.PREDICTIONS
    folder.mkdir()
    classes = np.array([str(label) for label in holdout.schema.classes])
    for candidate in ranked:
        frame = pd.DataFrame({"truth": classes[holdout.y]})
        for code, label in enumerate(classes):
            frame[f"probability_{label}"] = candidate.probabilities[:, code]
        frame.to_parquet(folder / f"{candidate.name}.parquet")
