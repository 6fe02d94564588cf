"""What a chain has had from its store, kept in main's folder: none of its steps asks the store for it again.

Each request to a tracking server with accounts costs tenths of a second. Main keeps the runs of its tasks as they
ended, each step keeps the artifacts and the model that it has logged or fetched. Who reads an artifact or a model
checks it against the digests in its run, wherever it lies.

A step that is started by hand keeps nothing, and asks the store.
"""

import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.service_pb2 import Run as Message

from steps.run import connection

# The environment variable with the folder, for the steps that main starts.
VARIABLE = "TABULAR_KEPT"


def begin(folder: Path) -> None:
    """Keep from now on, in a folder of this process, for it and the processes that it starts."""
    place = folder / "kept"
    for part in ("runs", "artifacts", "models", "reasons"):
        (place / part).mkdir(parents=True)
    os.environ[VARIABLE] = str(place)


def is_open() -> bool:
    """Whether this process keeps: whether it is main or a task of main's."""
    return _place() is not None


def keep(run: Run) -> None:
    """Keep a run as it is now."""
    place = _place("runs", run.info.run_id)
    if place is not None:
        with tempfile.NamedTemporaryFile(dir=place.parent.parent, delete=False) as file:
            file.write(run.to_proto().SerializeToString())
        Path(file.name).replace(place)


def run(client: MlflowClient, run_id: str, *, ended: bool = False) -> Run:
    """A run as it was kept, else as the store has it; with `ended`, a kept one that was under way then is not enough.

    Raises
    ------
    MlflowException
        Where the store has no such run.
    connection.Lost
        Where the tracking server does not answer any more, which says nothing of the run.
    """
    place = _place("runs", run_id) if re.fullmatch("[0-9a-f]{32}", run_id) else None
    with suppress(OSError):
        if place is not None:
            found = Run.from_proto(Message.FromString(place.read_bytes()))
            if not ended or found.info.status != "RUNNING":
                return found
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        connection.refuse_lost(error)
        raise


def leave_reason(run_id: str, reason: str) -> bool:
    """Leave to main why a task has failed that cannot write it to its run; whether there is a main to say it."""
    place = _place("reasons", run_id)
    if place is not None:
        place.write_text(reason, encoding="utf-8")
    return place is not None


def reason(run_id: str) -> str | None:
    """The reason that a task has left to main; None where it has left none."""
    place = _place("reasons", run_id)
    return place.read_text(encoding="utf-8") if place is not None and place.is_file() else None


def keep_artifact(run_id: str, path: str, held: Path) -> None:
    """Keep a file as an artifact of a run."""
    place = _place("artifacts", run_id, *path.split("/"))
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        _put(held, place)


def artifact(run_id: str, path: str) -> Path | None:
    """An artifact of a run that was kept; None where it was not."""
    place = _place("artifacts", run_id, *path.split("/"))
    return place if place is not None and place.is_file() else None


def keep_model(model_id: str, held: Path) -> None:
    """Keep a copy of a logged model's folder."""
    place = _place("models", model_id)
    if place is not None:
        shutil.copytree(held, place)


def model(model_id: str) -> Path | None:
    """The folder of a logged model that was kept; None where it was not."""
    place = _place("models", model_id)
    return place if place is not None and place.is_dir() else None


def _put(held: Path, place: Path) -> None:
    """Copy a file to a place, at which other processes see all of it or nothing."""
    partial = Path(tempfile.mkdtemp(dir=place.parent)) / "partial"
    shutil.copyfile(held, partial)
    partial.replace(place)
    partial.parent.rmdir()


def _place(*parts: str) -> Path | None:
    """A place in the folder; None in a process that keeps nothing, or whose main has ended."""
    place = os.environ.get(VARIABLE)
    return Path(place, *parts) if place and Path(place).is_dir() else None
