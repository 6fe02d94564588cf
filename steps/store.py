"""Reading MLflow's store: runs, their artifacts, the problem and the data set that they hold."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT
from mlflow.utils.uri import is_local_uri

from steps import records
from tabular import problem as problems
from tabular.errors import UserError, first_line
from tabular.problem import Problem

if TYPE_CHECKING:
    from tabular.datasets import Rows, Schema

# The artifacts that one step leaves and another reads.
PROBLEM = "problem.yaml"
DATASET = "dataset"
CLASSES = "classes.json"
PROFILE = "profile.json"
TRIALS = "trials.json"
BEST_PARAMS = "best_params.json"
CROSS_VALIDATION = "cross_validation.json"
CURVES = "loss_by_iteration.json"
LEADERBOARD = "leaderboard.json"
EVALUATION = "evaluation.json"
ENVIRONMENT = "environment.json"
CHAIN = "chain.json"
PREDICTIONS = "predictions"
SLICES, THRESHOLDS = "slices", "thresholds"
PICTURES = "pictures"
VERDICT = "verdict.json"
REPORT = "report.html"
# On the small child by which main shows that a step was not run again: the run whose work it is.
REUSED_FROM = "tabular.reused_from"
# On the small child for a register that had nothing to do: the run whose report says why the champion is what it is.
REPORTED = "tabular.report"
# The champion that a run of register found: what was decided can be decided again against that one.
MET = "tabular.met"


def run(client: MlflowClient, run_id: str, parameter: str, step: str | None = None) -> Run:
    """A run by the id that a parameter gave; where `step` is given, one of that step that has FINISHED."""
    if not run_id:
        raise UserError(f"{parameter}: the id of a run{f' of {step}' if step else ''} is needed, and none was given")
    try:
        found = client.get_run(run_id)
    except MlflowException:
        raise UserError(f"{parameter}: there is no run {run_id!r} in {mlflow.get_tracking_uri()}") from None
    if step is None:
        return found
    reused = found.data.tags.get(REUSED_FROM)
    if reused is not None:
        return run(client, reused, parameter, step)
    entry_point = found.data.tags.get(MLFLOW_PROJECT_ENTRY_POINT)
    if entry_point != step:
        what = f"a run of {entry_point!r}" if entry_point else "no run of ours"
        raise UserError(f"{parameter}: run {run_id} is {what}, and one of {step!r} is needed")
    if found.info.status != "FINISHED":
        raise UserError(f"{parameter}: run {run_id} of {step} is {found.info.status}, and a FINISHED one is needed")
    return found


def artifact(found: Run, path: str, folder: Path) -> Path:
    """An artifact of a run as a local path, checked to be what the run recorded: in place on a local store.

    From a remote one it is downloaded below `folder`.
    """
    local = fetch(found, path, folder)
    records.verify(found, path, local, folder)
    return local


def fetch(found: Run, path: str, folder: Path) -> Path:
    """As `artifact`, unchecked.

    By absolute artifact URI, since MLflow copies what is asked for as `runs:/…` into a folder that nobody removes.
    """
    uri = f"{found.info.artifact_uri}/{path}"
    place = None if is_local_uri(found.info.artifact_uri) else folder / found.info.run_id
    if place is not None:
        if (place / path).exists():
            return place / path
        place.mkdir(parents=True, exist_ok=True)
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=place and str(place)))
    except (MlflowException, OSError) as error:
        raise UserError(
            f"run {found.info.run_id} has no artifact {path!r} that can be read ({first_line(error)})"
        ) from None


def content(found: Run, path: str, folder: Path) -> Any:
    """The plain values of an artifact that `tracked.Step.json` left."""
    return json.loads(artifact(found, path, folder).read_text(encoding="utf-8"))


def table(found: Run, path: str, folder: Path) -> dict[str, list[Any]]:
    """The columns of a table that `tracked.Step.table` left, None where a value is missing."""
    told = content(found, path, folder)
    return {name: [row[place] for row in told["data"]] for place, name in enumerate(told["columns"])}


def by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows of one kind as the columns of a table."""
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def problem(found: Run, folder: Path) -> Problem:
    """The frozen problem that a run holds."""
    path = artifact(found, PROBLEM, folder)
    return problems.parse(path.read_text(encoding="utf-8"), f"{PROBLEM} of run {found.info.run_id}")


def chain(main: Run, folder: Path) -> dict[str, str]:
    """Task: the id of the run that did its work, of a run of main."""
    found: dict[str, str] = content(main, CHAIN, folder)
    return found


def is_run_id(text: str) -> bool:
    """Whether a parameter's value has the form of a run's id."""
    return re.fullmatch("[0-9a-f]{32}", text) is not None


def schema(found: Run, folder: Path) -> "Schema":
    """The schema of the data set that a run of etl holds."""
    from tabular.datasets import Schema

    return Schema.from_json(artifact(found, f"{DATASET}/schema.json", folder).read_text(encoding="utf-8"))


def rows(found: Run, part: str, of: "Schema", folder: Path) -> "Rows":
    """The `train` or `holdout` rows of the data set that a run of etl holds."""
    from tabular.datasets import load

    return load(artifact(found, f"{DATASET}/{part}.parquet", folder), of)
