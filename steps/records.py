"""What a finished run left, file by file: recorded when it ends, and checked before its work is used again."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from steps import tracked
from tabular import digests
from tabular.errors import UserError, first_line

# Of all of a run's artifacts but itself: {"run": {path: [bytes, sha256]}, "model": {path: [bytes, sha256 or null]}}.
RECORD = "artifacts.json"
# sha256 of the record: what makes it more than another file beside the others.
TAG = "tabular.artifacts"
MODEL_URI = "tabular.model_uri"
KEY = "tabular.key"


class DamagedError(UserError):
    """An artifact that is gone, or not what its run recorded."""


def record(step: tracked.Step) -> dict[str, str]:
    """Write the record among the artifacts that the step is about to hand in; gives the tag that seals it."""
    found: dict[str, Any] = {"run": dict(_recorded(step.artifacts))}
    model = step.client.get_run(step.run_id).data.tags.get(MODEL_URI)
    if model is not None:
        found["model"] = _recorded_model(step.client, model)
    step.json(found, RECORD)
    return {TAG: digests.of_file(step.artifacts / RECORD)}


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
    if name == RECORD or TAG not in run.data.tags:
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
    from steps import store

    path = store.fetch(run, RECORD, folder)
    if digests.of_file(path) != run.data.tags.get(TAG):
        raise DamagedError(f"{RECORD} is not what the run sealed")
    return json.loads(path.read_text(encoding="utf-8"))


def digest(values: Any) -> str:
    """The digest of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


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
