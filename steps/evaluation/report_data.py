"""What the report is made of: gathered from the runs that led to a verdict."""

import math
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow.entities import Run

from steps.evaluation.champion_test import Verdict
from steps.model.registry import KEPT, REGISTERED
from steps.run import artifacts
from steps.run.step import Step
from steps.run.tags import COMMIT, DATA_DIGEST, MODEL_DIGEST, PARENT, REPOSITORY, SEARCH, SUMMARY
from steps.run.terminal import describe
from tabular.evaluation.gate import Check
from tabular.metrics.classification import METRICS
from tabular.problem import Problem
from tabular.report.report import Link, Picture, Report, Table, shown

MOST_SLICES = 12
# Of the winner's pictures those that stand open, in this order; its others and the other candidates' are unfolded.
FIRST = (
    "roc_curve",
    "precision_recall_curve",
    "confusion_matrix",
    "calibration_curve",
    "threshold_effect",
    "permutation_importance",
    "slices",
)
PROFILE = ("column", "type", "missing_share", "values", "min", "max", "mean", "commonest", "share")


def gather(step: Step, problem: Problem, evaluation: Run, data: Run, verdict: Verdict, version: str | None) -> Report:
    """The report of a verdict; `version` is the champion's number where there is one, `data` the run of etl."""
    winner = verdict.winner
    trained = step.client.get_run(winner["run_id"])
    search, metric = _search(step, trained), problem.search.metric
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
        classes=_table(artifacts.table(data, artifacts.CLASSES, step.folder)),
        profile=_profile(step, data),
        pictures=_pictures(step, evaluation, winner["model"]),
        facts=_facts(step, data, trained, search),
        lineage=_lineage(step, data, search, trained, evaluation),
        commands=_commands(step),
        notes=_notes(data),
    )


def _check(one: dict[str, Any]) -> Check:
    return Check(one["what"], math.nan if one["found"] is None else one["found"], one["passed"])


def _answer(problem: Problem, verdict: Verdict, version: str | None) -> str:
    name, model = problem.registry.name, verdict.winner["model"]
    if verdict.outcome == REGISTERED:
        return f"{model} is the new champion" + (f": {name} version {version}" if version else "")
    if verdict.outcome == KEPT:
        return f"The champion stays: {name} version {version or verdict.champion}"
    return f"Nothing is registered: {model} does not pass"


def _figures(winner: dict[str, Any]) -> dict[str, tuple[float | None, float | None, float | None]]:
    return {name: (value, *winner["intervals"][name]) for name, value in winner["metrics"].items()}


def _leaderboard(step: Step, evaluation: Run, metric: str) -> Table:
    """A row a candidate, with its intervals."""
    found = artifacts.content(evaluation, artifacts.EVALUATION, step.folder)["candidates"]
    others = [name for name in METRICS if name != metric]
    columns = ["model", metric, "95 % interval", "behind", "cross-validated", "training", *others, "gate"]
    rows = []
    for one in found:
        trained, metrics = one["trained"], one["metrics"]
        rows.append(
            [
                one["model"],
                metrics[metric],
                _between(one["intervals"][metric]),
                "best" if one["behind"] is None else _between(one["behind"]),
                trained.get(f"cv_{metric}_mean"),
                trained.get(f"training_{metric}"),
                *(metrics[name] for name in others),
                "not met" if one["unmet"] else "passed",
            ]
        )
    return Table(columns, rows)


def _between(ends: Sequence[float | None]) -> str:
    low, high = ends
    return shown(None) if low is None or high is None else f"{low:.4f} to {high:.4f}"


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
    return _table({name: found[name] for name in PROFILE})


def _table(columns: Mapping[str, list[Any]]) -> Table:
    return Table(list(columns), list(zip(*columns.values(), strict=True)))


def _pictures(step: Step, evaluation: Run, winner: str) -> dict[str, list[Picture]]:
    """Heading: pictures, the most telling first."""
    held = [name for name in artifacts.names(evaluation, step.folder) if name.startswith(f"{artifacts.PICTURES}/")]
    places = {name.removeprefix(f"{artifacts.PICTURES}/").removesuffix(".png"): name for name in held}
    of_winner = [f"{winner}/{name}" for name in FIRST if f"{winner}/{name}" in places]
    of_all = sorted(name for name in places if "/" not in name)
    more = sorted(name for name in places if name.startswith(f"{winner}/") and name not in of_winner)
    first = "scores_with_intervals"
    groups = {"In pictures": [first, *of_winner], f"More of {winner}": more}
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


def _facts(step: Step, data: Run, trained: Run, search: Run | None) -> dict[str, str]:
    """What the runs say of the data and of the model: not the problem at hand, which may have been changed since."""
    params = data.data.params
    made_of = yaml.safe_load(artifacts.artifact(data, artifacts.PROBLEM, step.folder).read_text(encoding="utf-8"))[
        "data"
    ]
    dropped = "; ".join(f"{name} ({reason})" for name, reason in made_of["drop"].items())
    best = {} if search is None else search.data.params
    found = {name.removeprefix("best_"): value for name, value in best.items() if name.startswith("best_")}
    facts = {
        "predicts": f"{made_of['target']} of {made_of['source']}",
        "not seen by any model": dropped,
        "sha256 of the data": data.data.tags[DATA_DIGEST],
        "rows": f"{int(params['rows_train']):,} to learn from, {int(params['rows_holdout']):,} held out",
        "split": f"by {params['split_by']}, {float(params['holdout']):.0%} held out, seed {params['seed']}",
        "estimator": trained.data.params["estimator"],
        "found by the search": describe(found),
        "digest of the model": trained.data.tags[MODEL_DIGEST],
    }
    return {name: value for name, value in facts.items() if value}


def _search(step: Step, trained: Run) -> Run | None:
    """The run of hpo that found a model's hyperparameters, where one did."""
    run_id = trained.data.tags.get(SEARCH)
    return step.client.get_run(run_id) if run_id else None


def _lineage(step: Step, data: Run, search: Run | None, trained: Run, evaluation: Run) -> list[Link]:
    own = step.client.get_run(step.run_id)
    main = step.client.get_run(own.data.tags[PARENT]) if PARENT in own.data.tags else None
    runs = {"main": main, "etl": data, "hpo": search, "train": trained, "evaluate": evaluation, "register": own}
    return [_link(what, run) for what, run in runs.items() if run is not None]


def _link(what: str, run: Run) -> Link:
    tracking = mlflow.get_tracking_uri()
    page = f"{tracking}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    said = run.data.tags.get(SUMMARY, "")
    return Link(what, run.info.run_id, page if tracking.startswith("http") else "", said)


def _commands(step: Step) -> list[str]:
    """How to make it all again, and where to look at it."""
    tags = step.client.get_run(step.run_id).data.tags
    place = tags.get(REPOSITORY, ".")
    tracking = mlflow.get_tracking_uri()
    run_id = tags.get(PARENT, step.run_id)
    return [
        f"export MLFLOW_TRACKING_URI={tracking}",
        f"mlflow run {place} -e reproduce --env-manager uv --experiment-name replays -P run={run_id}",
        *([] if tracking.startswith("http") else [f"mlflow ui --backend-store-uri {tracking}"]),
    ]


def _notes(data: Run) -> list[str]:
    commit = data.data.tags.get(COMMIT)
    return [f"The code is commit {commit}."] if commit else []
