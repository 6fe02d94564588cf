"""Artifacts of a run: the artifact manifest, written when the run ends, and checks of artifacts against it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from steps.run import artifact_store, kept
from steps.run.step import Step
from steps.run.tags import ARTIFACTS_DIGEST, KEY, MODEL_URI, TOO_LARGE
from tabular import digests
from tabular.errors import UserError, first_line
from tabular.metrics.lookup import CLASSIFICATION, REGRESSION

# Artifacts that one step writes and another reads.
PROBLEM = "problem.yaml"
DATASET = "dataset"
SNAPSHOT = "source/answer.parquet"  # what a database answered, which it may not answer again
LISTING = "source/parts.sha256"  # the digest and path of each part of a table of several files
CLASSES = "classes.json"
TARGET = "target.json"  # of a number: how its values are spread
SUMMARY = {CLASSIFICATION: CLASSES, REGRESSION: TARGET}
PROFILE = "profile.json"
HINTS = "hints.json"
TRIALS = "trials.json"
BEST_PARAMS = "best_params.json"
CROSS_VALIDATION = "cross_validation.json"
OUT_OF_FOLD = "out_of_fold.parquet"  # what the models of the folds predicted
WEIGHTS = "weights.json"  # of a blend: {model: weight}
CURVES = "loss_by_iteration.json"
LEADERBOARD = "leaderboard.json"
EVALUATION = "evaluation.json"
ENVIRONMENT = "environment.json"
CHAIN = "chain.json"
BUDGET = "budget.json"  # of a chain whose seconds are limited: what each step was given, and what it took
KEY_PARTS = "key.json"  # a later chain compares these parts with its own to say what has changed
PREDICTIONS = "predictions"
SLICES, THRESHOLDS, COVERAGE, CONTRIBUTIONS = "slices", "thresholds", "coverage", "contributions"
PICTURES = "pictures"
VERDICT = "verdict.json"
REPORT = "report.html"
# The folder in a step's own folder with the files of the model that it has logged.
MODEL = "logged model"
# The artifact manifest, which lists every artifact of a run but itself, and every file of its logged model:
# {"run": {path: [bytes, sha256]}, "model": {path: [bytes, sha256]}}, and those of a model that is too large for the
# store, which holds none of them (steps.model.flavor); of models that were logged to a remote store by an
# earlier version, null in the place of the sha256.
RECORD = "artifacts.json"
BYTECODE = "__pycache__/"


class DamagedError(UserError):
    """An artifact that is missing, or that differs from what its run recorded."""


# --- fetched ----------------------------------------------------------------------------------------------------------


def artifact(found: Run, path: str, folder: Path) -> Path:
    """Fetch an artifact of a run as a local path, and check it against the artifact manifest.

    On a local store the path is the artifact's own; from a remote store the artifact is downloaded below `folder`,
    unless the chain has kept it.

    Raises
    ------
    UserError
        Where the run has no such artifact that can be read.
    DamagedError
        Where the artifact differs from what the run recorded.
    """
    if not _may_have(found, path, folder):
        raise UserError(f"run {found.info.run_id} has no artifact {path!r}")
    local = fetch(found, path, folder)
    verify(found, path, local, folder)
    return local


def _may_have(found: Run, path: str, folder: Path) -> bool:
    """Whether a run in a remote store may have an artifact, by its manifest, which is fetched in any case.

    Of a file that is not there, a server over an object store answers with an error of its own (500), for which MLflow
    asks again for minutes.
    """
    if is_local_uri(found.info.artifact_uri) or path == RECORD or ARTIFACTS_DIGEST not in found.data.tags:
        return True
    return path in read(found, folder)["run"]


def fetch(found: Run, path: str, folder: Path) -> Path:
    """Fetch an artifact of a run as a local path, as `artifact` does, but without the check.

    The artifact is named by its absolute URI, since MLflow copies `runs:/…` URIs into a folder that nobody removes.
    """
    uri = f"{found.info.artifact_uri}/{path}"
    place = None if is_local_uri(found.info.artifact_uri) else folder / found.info.run_id
    if place is not None:
        if (place / path).exists():
            return place / path
        held = kept.artifact(found.info.run_id, path)
        if held is not None:
            return held
        place.mkdir(parents=True, exist_ok=True)
    try:
        local = artifact_store.fetch(uri, place)
    except artifact_store.FetchError as error:
        raise UserError(f"run {found.info.run_id} has no artifact {path!r} that can be read ({error})") from None
    if place is not None:
        kept.keep_artifact(found.info.run_id, path, local)
    return local


def content(found: Run, path: str, folder: Path) -> Any:
    """The plain values of a JSON artifact that `Step.json` wrote."""
    return json.loads(artifact(found, path, folder).read_text(encoding="utf-8"))


def table(found: Run, path: str, folder: Path) -> dict[str, list[Any]]:
    """The columns of a table that `Step.table` wrote, {name: values}; a missing value is None."""
    told = content(found, path, folder)
    return {name: [row[place] for row in told["data"]] for place, name in enumerate(told["columns"])}


def by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows with the same keys as the columns of a table, {name: values}; empty where there are no rows."""
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


# --- recorded and checked ---------------------------------------------------------------------------------------------


def model_id(uri: str) -> str:
    """The id in `models:/m-…`, by which MLflow ties a run to a logged model; "" for any other URI, and for none."""
    return uri.removeprefix("models:/") if uri.startswith("models:/m-") else ""


def record(step: Step) -> dict[str, str]:
    """Write the artifact manifest among the step's artifacts, before the upload; return the tag with its digest."""
    found: dict[str, Any] = {"run": dict(_recorded(step.artifacts))}
    if model_id(step.tags.get(MODEL_URI, "")) or TOO_LARGE in step.tags:
        found["model"] = dict(_recorded(step.folder / MODEL))
    step.json(found, RECORD)
    return {ARTIFACTS_DIGEST: digests.of_file(step.artifacts / RECORD)}


def damage(client: MlflowClient, run: Run, folder: Path) -> str | None:
    """The first damage to a run's artifacts or logged model, in a few words; None where everything is intact.

    The size of every file is checked; on a local store the digest as well. On a remote store a digest is checked by
    the step that reads the file.
    """
    try:
        held = read(run, folder)["run"]
        listed = _listed(client.list_artifacts, run.info.run_id, held)
        return _differs(held, listed, run.info.artifact_uri) or model_damage(client, run, folder)
    except (UserError, MlflowException, OSError) as error:
        return first_line(error)


def model_damage(client: MlflowClient, run: Run, folder: Path) -> str | None:
    """As `damage`, for the run's model only; None where the run has left no files of one."""
    uri = run.data.tags.get(MODEL_URI)
    if uri is None or TOO_LARGE in run.data.tags:
        return None
    try:
        held, logged = model_files(run, folder), model_id(uri)
        if not logged:
            held = {f"{_folder_of_model(uri)}{name}": of_file for name, of_file in held.items()}
            return _differs(held, _listed(client.list_artifacts, run.info.run_id, held), run.info.artifact_uri)
        listed = _listed(client.list_logged_model_artifacts, logged, held)
        return _differs(held, listed, client.get_logged_model(logged).artifact_location)
    except (UserError, MlflowException, OSError) as error:
        return first_line(error)


def names(run: Run, folder: Path) -> list[str]:
    """The paths of the artifacts that a run recorded."""
    return list(read(run, folder)["run"])


def model_bytes(run: Run, folder: Path) -> int:
    """The size of a run's model in bytes, all files together."""
    return sum(size for size, _ in model_files(run, folder).values())


def model_files(run: Run, folder: Path) -> dict[str, list]:
    """What a run recorded of its model's files: of its logged model, or of the folder of artifacts that is one."""
    whole = read(run, folder)
    if "model" in whole:
        return whole["model"]
    place = _folder_of_model(run.data.tags.get(MODEL_URI, ""))
    return {name.removeprefix(place): held for name, held in whole["run"].items() if name.startswith(place)}


def _folder_of_model(uri: str) -> str:
    """Where a model that is an artifact lies in its run, by its URI `runs:/<run>/<name>`; with a / at the end."""
    return f"{uri.rpartition('/')[2]}/"


def verify(run: Run, name: str, path: Path, folder: Path) -> None:
    """Check a fetched artifact against what its run recorded.

    Raises
    ------
    DamagedError
        Where the artifact differs; the run is then not reused again (`disown`).
    """
    if name == RECORD or ARTIFACTS_DIGEST not in run.data.tags:
        return  # there is no manifest yet: steps read main's problem while main runs
    recorded = read(run, folder)["run"].get(name)
    if recorded is None or recorded[1] == digests.of_file(path):
        return
    disown(run)
    raise DamagedError(
        f"run {run.info.run_id}: its artifact {name!r} is not what it recorded: "
        "run the chain again, which makes it anew"
    )


def disown(run: Run) -> None:
    """Delete a damaged run's key, so that the next chain does its work again instead of reusing it.

    A run whose model is too large for the store is not damaged, and is not reused in any case.
    """
    if TOO_LARGE in run.data.tags:
        return
    client = MlflowClient()
    if KEY in client.get_run(run.info.run_id).data.tags:
        client.delete_tag(run.info.run_id, KEY)


def read(run: Run, folder: Path) -> dict[str, Any]:
    """The artifact manifest of a run, checked against the digest in the run's tag.

    Compiled code is left out: Python writes it anew beside a model's file of code when the model is served in place.

    Raises
    ------
    UserError
        Where the manifest is missing.
    DamagedError
        Where the manifest is not the one that the tag has the digest of.
    """
    path = fetch(run, RECORD, folder)
    if digests.of_file(path) != run.data.tags.get(ARTIFACTS_DIGEST):
        raise DamagedError(f"{RECORD} is not what the run sealed")
    whole = json.loads(path.read_text(encoding="utf-8"))
    return {part: {name: held for name, held in files.items() if BYTECODE not in name} for part, files in whole.items()}


def _recorded(folder: Path) -> Iterator[tuple[str, list]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), [path.stat().st_size, digests.of_file(path)]


def _listed(listing, owner: str, held: Mapping[str, list]):
    """A function that asks a remote store for the sizes of these files, one folder at a time."""

    def sizes() -> dict[str, int]:
        folders = {path.rpartition("/")[0] or None for path in held}
        return {entry.path: entry.file_size for folder in folders for entry in listing(owner, folder)}

    return sizes


def _differs(held: Mapping[str, list], sizes, root: str) -> str | None:
    """The first file that differs from the artifact manifest, in words; None where none does."""
    if is_local_uri(root):
        folder = Path(local_file_uri_to_path(root))
        for name, (size, digest) in held.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is gone"
            if path.stat().st_size != size or (digest is not None and digests.of_file(path) != digest):
                return f"{name} has been altered"
        return None
    there = sizes()
    for name, (size, _) in held.items():
        if name not in there:
            return f"{name} is gone"
        if there[name] != size:
            return f"{name} has been altered"
    return None
