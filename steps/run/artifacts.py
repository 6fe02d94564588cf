"""The artifacts of a run: recorded file by file when it ends, fetched, and checked to be what was recorded."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from steps.run.step import Step
from steps.run.tags import ARTIFACTS_DIGEST, KEY, MODEL_URI
from tabular import digests
from tabular.errors import UserError, first_line

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
KEY_PARTS = "key.json"  # by which a later chain says what has changed
PREDICTIONS = "predictions"
SLICES, THRESHOLDS = "slices", "thresholds"
PICTURES = "pictures"
VERDICT = "verdict.json"
REPORT = "report.html"
# Of all of a run's artifacts but itself: {"run": {path: [bytes, sha256]}, "model": {path: [bytes, sha256 or null]}}.
RECORD = "artifacts.json"


class DamagedError(UserError):
    """An artifact that is gone, or not what its run recorded."""


# --- fetched ----------------------------------------------------------------------------------------------------------


def artifact(found: Run, path: str, folder: Path) -> Path:
    """An artifact of a run as a local path, checked to be what the run recorded: in place on a local store.

    From a remote one it is downloaded below `folder`.
    """
    local = fetch(found, path, folder)
    verify(found, path, local, folder)
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
    """The plain values of an artifact that `Step.json` left."""
    return json.loads(artifact(found, path, folder).read_text(encoding="utf-8"))


def table(found: Run, path: str, folder: Path) -> dict[str, list[Any]]:
    """The columns of a table that `Step.table` left, None where a value is missing."""
    told = content(found, path, folder)
    return {name: [row[place] for row in told["data"]] for place, name in enumerate(told["columns"])}


def by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows of one kind as the columns of a table."""
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


# --- recorded and checked ---------------------------------------------------------------------------------------------


def record(step: Step) -> dict[str, str]:
    """Write the record among the artifacts that the step is about to hand in; gives the tag that seals it."""
    found: dict[str, Any] = {"run": dict(_recorded(step.artifacts))}
    model = step.client.get_run(step.run_id).data.tags.get(MODEL_URI)
    if model is not None:
        found["model"] = _recorded_model(step.client, model)
    step.json(found, RECORD)
    return {ARTIFACTS_DIGEST: digests.of_file(step.artifacts / RECORD)}


def damage(client: MlflowClient, run: Run, folder: Path) -> str | None:
    """What of a run's artifacts and logged model is gone or altered, in a few words; None where all is there.

    Every file by its size; on a local store by its digest as well. On a remote one the step that reads it checks that.
    """
    try:
        held = read(run, folder)["run"]
        listed = _listed(client.list_artifacts, run.info.run_id, held)
        return _differs(held, listed, run.info.artifact_uri) or model_damage(client, run, folder)
    except (UserError, MlflowException, OSError) as error:
        return first_line(error)


def model_damage(client: MlflowClient, run: Run, folder: Path) -> str | None:
    """As `damage`, of the run's logged model alone; None where it has logged none."""
    if MODEL_URI not in run.data.tags:
        return None
    try:
        held = read(run, folder)["model"]
        model_id = run.data.tags[MODEL_URI].removeprefix("models:/")
        listed = _listed(client.list_logged_model_artifacts, model_id, held)
        return _differs(held, listed, client.get_logged_model(model_id).artifact_location)
    except (UserError, MlflowException, OSError) as error:
        return first_line(error)


def names(run: Run, folder: Path) -> list[str]:
    """The artifacts that a run recorded."""
    return list(read(run, folder)["run"])


def model_bytes(run: Run, folder: Path) -> int:
    """How large a run's logged model is, all files together."""
    return sum(size for size, _ in read(run, folder).get("model", {}).values())


def verify(run: Run, name: str, path: Path, folder: Path) -> None:
    """Check an artifact that has been fetched against what its run recorded of it.

    Raises
    ------
    DamagedError
        Where it is another one; the run then is not used again in the place of work.
    """
    if name == RECORD or ARTIFACTS_DIGEST not in run.data.tags:
        return  # main's problem is read while main runs
    recorded = read(run, folder)["run"].get(name)
    if recorded is None or recorded[1] == digests.of_file(path):
        return
    disown(run)
    raise DamagedError(
        f"run {run.info.run_id}: its artifact {name!r} is not what it recorded: "
        "run the chain again, which makes it anew"
    )


def disown(run: Run) -> None:
    """Take a damaged run's key, so that the next chain does its work again."""
    client = MlflowClient()
    if KEY in client.get_run(run.info.run_id).data.tags:
        client.delete_tag(run.info.run_id, KEY)


def read(run: Run, folder: Path) -> dict[str, Any]:
    """The record of a run, as its tag seals it.

    Raises
    ------
    UserError
        Where it is gone; DamagedError where it is another one.
    """
    path = fetch(run, RECORD, folder)
    if digests.of_file(path) != run.data.tags.get(ARTIFACTS_DIGEST):
        raise DamagedError(f"{RECORD} is not what the run sealed")
    return json.loads(path.read_text(encoding="utf-8"))


def _recorded(folder: Path) -> Iterator[tuple[str, list]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), [path.stat().st_size, digests.of_file(path)]


def _recorded_model(client: MlflowClient, uri: str) -> dict[str, list]:
    """A logged model's files; without digests on a remote store, where those of its parts and code are tags."""
    model_id = uri.removeprefix("models:/")
    place = client.get_logged_model(model_id).artifact_location
    if is_local_uri(place):
        return dict(_recorded(Path(local_file_uri_to_path(place))))
    found = {}
    folders = [None]
    while folders:
        for entry in client.list_logged_model_artifacts(model_id, folders.pop()):
            if entry.is_dir:
                folders.append(entry.path)
            else:
                found[entry.path] = [entry.file_size, None]
    return found


def _listed(listing, owner: str, held: Mapping[str, list]):
    """Asks a remote store for the sizes of these files, one folder at a time."""

    def sizes() -> dict[str, int]:
        folders = {path.rpartition("/")[0] or None for path in held}
        return {entry.path: entry.file_size for folder in folders for entry in listing(owner, folder)}

    return sizes


def _differs(held: Mapping[str, list], sizes, root: str) -> str | None:
    """The first file that is not what was recorded."""
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
