"""The data of the report, gathered from the runs that led to a verdict."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import yaml
from mlflow.entities import LifecycleStage, Run

from steps.evaluation.champion_test import Verdict
from steps.model import fits, requirements
from steps.model.registry import KEPT, NOT_REGISTERED, REGISTERED
from steps.run import artifacts, lookup, tracking
from steps.run.step import Step, describe
from steps.run.tags import COMMIT, DATA_DIGEST, FOLDS, MODEL, PARENT, REPOSITORY, ROWS_LEARNT, SAMPLES, SEARCH, SUMMARY
from tabular.data import datasets, hints
from tabular.evaluation.gate import Check
from tabular.metrics.classification import CALIBRATION_ERROR
from tabular.metrics.lookup import METRICS, task_of
from tabular.metrics.metric import over_folds
from tabular.problem import BLEND, REFIT, Problem
from tabular.report.report import Link, Picture, Report, Table, shown

MOST_SLICES, MOST_HINTS = 12, 30
# The winner's plots that the report shows at once, in this order. Its other plots, and other candidates', are folded.
FIRST = (
    "roc_curve",
    "precision_recall_curve",
    "confusion_matrix",
    "calibration_curve",
    "threshold_effect",
    "predicted_against_actual",
    "residuals_against_predicted",
    "interval_coverage",
    "error_distribution",
    "contributions",
    "contributions_by_value",
    "permutation_importance",
    "slices",
)
# The columns that the card names as those which count most.
MOST_CONTRIBUTIONS = 5
GONE = "is no longer there"
PROFILE = (
    *("column", "type", "missing_share", "read_as_missing", "values", "min", "max", "mean", "commonest", "share"),
    *("trimmed", "unfit", "looks_like", "tells_target"),
)


def gather(
    step: Step, problem: Problem, evaluation: Run, dataset: str, verdict: Verdict, version: str | None
) -> Report:
    """Gather the report of a verdict.

    Parameters
    ----------
    step
        The step that registers.
    problem
        The problem.
    evaluation
        The run of evaluate.
    dataset
        The id of the run of etl.
    verdict
        The verdict.
    version
        The number of the champion's version; None where there is no champion.

    """
    winner, metric = verdict.winner, problem.search.metric
    behind = _behind(step, evaluation, dataset, winner)
    data = behind["etl"].run
    return Report(
        title=problem.name,
        description=problem.description,
        outcome=verdict.outcome,
        answer=_answer(problem, verdict, version),
        reason=verdict.reason,
        checks=[_check(one) for one in winner["checks"]],
        winner=winner["model"],
        metric=metric,
        figures=_figures(winner),
        leaderboard=_leaderboard(step, evaluation, metric),
        slices=_slices(step, evaluation, winner["model"]),
        left_out=artifacts.content(evaluation, artifacts.EVALUATION, step.folder).get("left_out", {}),
        slice_notes=artifacts.content(evaluation, artifacts.EVALUATION, step.folder).get("notes", []),
        classes=_classes(step, data),
        profile=Table((), ()) if data is None else _profile(step, data),
        pictures=_pictures(step, evaluation, winner["model"]),
        facts=_facts(step, evaluation, winner, behind),
        lineage=[_link(what, one) for what, one in behind.items()],
        missing=[f"{what}, run {one.run_id}, {GONE}" for what, one in behind.items() if one.is_gone],
        commands=_commands(step),
        notes=_notes(data or evaluation),
        weight=evaluation.data.params.get("weight", ""),
        whose=_whose(behind, metric),
        **_hints(step, data),
    )


def _classes(step: Step, data: Run | None) -> Table:
    """The rows of each class; none of a number, whose spread is drawn."""
    if data is None or artifacts.CLASSES not in artifacts.names(data, step.folder):
        return Table((), ())
    return _table(artifacts.table(data, artifacts.CLASSES, step.folder))


def _check(one: dict[str, Any]) -> Check:
    found = math.nan if one["found"] is None else one["found"]
    return Check(one["what"], found, one["passed"], one.get("advice", ""))


def _answer(problem: Problem, verdict: Verdict, version: str | None) -> str:
    name, model = problem.registry.name, verdict.winner["model"]
    if verdict.outcome == REGISTERED:
        return f"{model} is the new champion" + (f": {name} version {version}" if version else "")
    if verdict.outcome == KEPT:
        return f"The champion stays: {name} version {version or verdict.champion}"
    if verdict.outcome == NOT_REGISTERED:
        none = problem.tracking.models == "none"
        why = "the problem wants no models in MLflow" if none else "its files are larger than tracking.largest_model"
        return f"Nothing is registered: {why}, else {model} would be the new champion"
    return f"Nothing is registered: {model} does not pass"


def _figures(winner: dict[str, Any]) -> dict[str, tuple[float | None, float | None, float | None]]:
    return {name: (value, *winner["intervals"][name]) for name, value in winner["metrics"].items()}


def _leaderboard(step: Step, evaluation: Run, metric: str) -> Table:
    """A table with one row for each candidate, with its confidence intervals; those that failed come last."""
    content = artifacts.content(evaluation, artifacts.EVALUATION, step.folder)
    found, failed = content["candidates"], content.get("left_out", {})
    others = [name for name in METRICS[task_of(metric)] if name != metric]
    columns = ["model", "cross-validated", metric, "95 % interval", "behind", "training", *others, "gate"]
    rows = []
    for one in found:
        trained, metrics = one["trained"], one["metrics"]
        rows.append(
            [
                one["model"],
                trained.get(f"cv_{metric}_mean"),
                metrics[metric],
                _between(one["intervals"][metric]),
                "winner" if one["behind"] is None else _between(one["behind"]),
                trained.get(f"training_{metric}"),
                *(metrics[name] for name in others),
                "not met" if one["unmet"] else "passed",
            ]
        )
    rows += [[model, *[None] * (len(columns) - 2), "failed"] for model in failed]
    return Table(columns, rows)


def _between(ends: Sequence[float | None]) -> str:
    low, high = ends
    return shown(None) if low is None or high is None else f"{shown(low)} to {shown(high)}"


def _slices(step: Step, evaluation: Run, model: str) -> Table:
    name = f"{artifacts.SLICES}/{model}.json"
    if name not in artifacts.names(evaluation, step.folder):
        return Table((), ())
    found = artifacts.table(evaluation, name, step.folder)
    judged = found.pop("judged")
    every = _table(found)
    return Table(every.columns, list(compress(every.rows, judged))[:MOST_SLICES])


def _profile(step: Step, data: Run) -> Table:
    found = artifacts.table(data, artifacts.PROFILE, step.folder)
    return _table({name: found[name] for name in PROFILE if name in found})  # an earlier profile has fewer


def _hints(step: Step, data: Run | None) -> dict[str, list[str]]:
    """What etl found that should be looked at, and which of it casts doubt on every score; an old etl has none."""
    if data is None or artifacts.HINTS not in artifacts.names(data, step.folder):
        return {"hints": [], "doubts": []}
    found = artifacts.table(data, artifacts.HINTS, step.folder)
    doubts = [text for kind, text in zip(found["kind"], found["hint"], strict=True) if kind == hints.LEAK]
    rest = [text for kind, text in zip(found["kind"], found["hint"], strict=True) if kind != hints.LEAK]
    more = [f"{len(rest) - MOST_HINTS:,} more in {artifacts.HINTS} of etl"] if len(rest) > MOST_HINTS else []
    return {"hints": [*rest[:MOST_HINTS], *more], "doubts": doubts}


def _table(columns: Mapping[str, list[Any]]) -> Table:
    return Table(list(columns), list(zip(*columns.values(), strict=True)))


def _pictures(step: Step, evaluation: Run, winner: str) -> dict[str, list[Picture]]:
    """The plots under each heading of the report: heading: plots."""
    held = [name for name in artifacts.names(evaluation, step.folder) if name.startswith(f"{artifacts.PICTURES}/")]
    places = {name.removeprefix(f"{artifacts.PICTURES}/").removesuffix(".png"): name for name in held}
    of_winner = [f"{winner}/{name}" for name in FIRST if f"{winner}/{name}" in places]
    of_all = sorted(name for name in places if "/" not in name)
    more = sorted(name for name in places if name.startswith(f"{winner}/") and name not in of_winner)
    first = "scores_with_intervals"
    groups = {"In pictures": [first, *of_winner] if places else [], f"More of {winner}": more}
    groups["All candidates and the data"] = [name for name in of_all if name != first]
    for name in sorted(places):
        model = name.partition("/")[0]
        if "/" in name and model != winner:
            groups.setdefault(model, []).append(name)
    return {
        heading: [_picture(artifacts.artifact(evaluation, places[name], step.folder), name) for name in group]
        for heading, group in groups.items()
        if group
    }


def _picture(path: Path, name: str) -> Picture:
    return Picture(name.rpartition("/")[2].replace("_", " "), path.read_bytes())


def _facts(step: Step, evaluation: Run, winner: Mapping[str, Any], behind: Mapping[str, "Behind"]) -> dict[str, str]:
    """Facts of the data and of the model, as the runs recorded them; the problem file may have changed since."""
    data, search = (behind[what].run if what in behind else None for what in ("etl", "hpo"))
    trained = next(behind[what].run for what in ("train", "blend") if what in behind)
    problem = artifacts.artifact(data or evaluation, artifacts.PROBLEM, step.folder)
    made_of = yaml.safe_load(problem.read_text(encoding="utf-8"))["data"]
    dropped = "; ".join(f"{name} ({reason})" for name, reason in made_of["drop"].items())
    best = {} if search is None else search.data.params
    found = {name.removeprefix("best_"): value for name, value in best.items() if name.startswith("best_")}
    facts = {
        "predicts": f"{made_of['target']} of {made_of['source']}",
        "not seen by any model": dropped,
        "sha256 of the data": evaluation.data.tags[DATA_DIGEST],
        **(_of_rows(data) if data is not None else {}),
        "estimator": "" if trained is None else trained.data.params["estimator"],
        "fitted as": "" if trained is None else fits.mean_of(fits.of(trained)),
        "learnt from": "" if trained is None else _sample(trained),
        "found by the search": describe(found),
        "confidence intervals": artifacts.content(evaluation, artifacts.EVALUATION, step.folder).get("sampled", ""),
        "calibration error": _calibration(winner),
        "columns that count most": _contributions(step, evaluation, winner["model"]),
        "packages": "" if trained is None else requirements.note(trained.data.tags),
        "digest of the model": winner["served"]["model_digest"],
    }
    return {name: value for name, value in facts.items() if value}


def _sample(trained: Run) -> str:
    """How many rows a model learnt from, where that is a sample; else empty."""
    params = trained.data.params
    return f"{int(params[ROWS_LEARNT]):,} of {int(params['rows_train']):,} rows" if ROWS_LEARNT in params else ""


def _whose(behind: Mapping[str, "Behind"], metric: str) -> str:
    """Of which model the figures are, where the one that is registered was fitted on all rows."""
    if REFIT not in behind:
        return ""
    run = behind[REFIT].run
    told, scores = ({}, {}) if run is None else (run.data.params, run.data.metrics)
    rows = f"{int(told['rows']):,} rows" if told else "rows"
    sample, folds = told.get(SAMPLES, ""), told.get(FOLDS, "")
    scored = over_folds(scores, metric) if folds else ""
    return (
        "These figures are of the model that has learnt from the training rows alone. The one that is registered has "
        f"learnt from all {rows}, the holdout among them, with the same hyperparameters."
        + (f" Of these, {sample}." if sample else "")
        + (f" Cross-validated on all rows, in {folds} folds: {scored} (deviation of the folds)." if scored else "")
    )


def _calibration(winner: Mapping[str, Any]) -> str:
    """The calibration error on the holdout after and before calibration; nothing where that changes nothing."""
    after, before = winner["metrics"].get(CALIBRATION_ERROR), winner.get("uncalibrated", {})
    before = before.get(f"{CALIBRATION_ERROR}_uncalibrated")
    if after is None or before is None or after == before:
        return ""
    return f"{shown(after)}, and {shown(before)} before calibration"


def _contributions(step: Step, evaluation: Run, model: str) -> str:
    """The columns that add most to the answers of a model, and how much in the mean; nothing where it does not tell."""
    name = f"{artifacts.CONTRIBUTIONS}/{model}.json"
    if name not in artifacts.names(evaluation, step.folder):
        return ""
    columns, strengths = artifacts.table(evaluation, name, step.folder).items()
    strongest = list(zip(columns[1], strengths[1], strict=True))[:MOST_CONTRIBUTIONS]
    return f"{', '.join(f'{column} {shown(strength)}' for column, strength in strongest)} ({strengths[0]})"


def _of_rows(data: Run) -> dict[str, str]:
    params = data.data.params
    lost, words = int(params.get("rows_without_target", 0)), params.get("target_missing", "")
    return {
        **({"left out": f"{lost:,} rows without a target" + f" ({words})" * bool(words)} if lost else {}),
        **({"rare classes": params["rare_classes"]} if params.get("rare_classes") else {}),
        "rows": f"{int(params['rows_train']):,} to learn from, {int(params['rows_holdout']):,} held out",
        **_of_weights(params),
        "split": f"by {params['split_by']}, {float(params['holdout']):.0%} held out, seed {params['seed']}",
    }


def _of_weights(params: Mapping[str, str]) -> dict[str, str]:
    if "weight" not in params:
        return {}
    low, high, train, holdout = (float(params[f"weight_{what}"]) for what in ("low", "high", "train", "holdout"))
    said = datasets.weights_in_words(low, high, train, holdout, int(params["rows_of_weight_0"]))
    return {"weights of rows": f"{params['weight']}, {said}"}


@dataclass(frozen=True)
class Behind:
    """A run that led to a verdict; `run` is None where the run was purged, so that only its id is known."""

    run_id: str
    run: Run | None

    @property
    def is_gone(self) -> bool:
        """Whether the run was purged, or deleted and not yet purged."""
        return self.run is None or self.run.info.lifecycle_stage == LifecycleStage.DELETED


def _behind(step: Step, evaluation: Run, dataset: str, winner: Mapping[str, Any]) -> dict[str, Behind]:
    """The runs that led to a verdict, in the order of the steps: step: run."""
    judged, served = winner["run_id"], winner["served"]["run_id"]
    trained = lookup.shown(step.client, judged)
    ids = {
        "main": step.tags.get(PARENT),
        "etl": dataset,
        "hpo": trained.data.tags.get(SEARCH) if trained is not None else None,
        "blend" if trained is not None and trained.data.tags.get(MODEL) == BLEND else "train": judged,
        "evaluate": evaluation.info.run_id,
        REFIT: None if served == judged else served,
        "register": step.run_id,
    }
    runs = {what: (run_id, lookup.shown(step.client, run_id)) for what, run_id in ids.items() if run_id}
    return {what: Behind(run_id if run is None else run.info.run_id, run) for what, (run_id, run) in runs.items()}


def _link(what: str, one: Behind) -> Link:
    if one.run is None:
        return Link(what, one.run_id, "", GONE)
    store = tracking.address()
    page = f"{store}/#/experiments/{one.run.info.experiment_id}/runs/{one.run_id}"
    said = GONE if one.is_gone else one.run.data.tags.get(SUMMARY, "")
    return Link(what, one.run_id, page if tracking.is_server() else "", said)


def _commands(step: Step) -> list[str]:
    """The shell commands that reproduce the chain and show its runs."""
    place = step.tags.get(REPOSITORY, ".")
    store = tracking.address()
    run_id = step.tags.get(PARENT, step.run_id)
    return [
        f"export MLFLOW_TRACKING_URI={store}",
        f"mlflow run {place} -e reproduce --env-manager uv --experiment-name replays -P run={run_id}",
        *([] if tracking.is_server() else [f"mlflow ui --backend-store-uri {store}"]),
    ]


def _notes(data: Run) -> list[str]:
    commit = data.data.tags.get(COMMIT)
    return [f"The code is commit {commit}."] if commit else []
