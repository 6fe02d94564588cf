"""Whether a chain can do its work in this store with this account, asked before any work is done."""

import uuid

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.utils.uri import is_local_uri

from steps.model import registry as registries
from steps.run import artifact_store, connection, tracking
from steps.run.step import Step
from tabular.errors import UserError

CHECKED = "check.txt"


def artifacts(step: Step) -> str:
    """Write a file to the step's run and read it again; return where it lies, in words.

    Raises
    ------
    UserError
        Where the artifact store cannot be written from here, or is another folder than the server's.
    """
    text = uuid.uuid4().hex
    step.text(text, CHECKED)
    step.upload(CHECKED)
    shown = artifact_store.shown(step.artifact_uri)
    if artifact_store.read(step.artifact_uri, CHECKED, step.folder) != text:
        raise UserError(f"what is written to {shown} is not what is read there: ask who keeps the store")
    is_servers(step, CHECKED)
    return f"{shown} was written and read"


def is_servers(step: Step, name: str) -> None:
    """Refuse a folder for artifacts that the server does not share: what was uploaded as `name` has to be there too."""
    if not (tracking.is_server() and is_local_uri(step.artifact_uri)):
        return
    answer = connection.ask("/api/2.0/mlflow/artifacts/list", params={"run_id": step.run_id})
    if answer.status_code != 200 or name not in {one["path"] for one in answer.json().get("files", [])}:
        raise UserError(
            f"the experiment keeps its artifacts in {artifact_store.shown(step.artifact_uri)}, a folder of the "
            f"server's machine that this machine does not share: {artifact_store.ELSEWHERE}"
        )


def registry(step: Step, name: str) -> str:
    """Whether this account may register a model of this name, in words.

    Raises
    ------
    UserError
        Where the registry is not of the tracking server, the model is hidden from this account, or may not be changed.
    """
    tracked, registered = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    if tracked.rstrip("/") != registered.rstrip("/"):
        raise UserError(
            "MLFLOW_REGISTRY_URI names another store than MLFLOW_TRACKING_URI, and a registry takes only models that "
            "were logged to its own store: leave MLFLOW_REGISTRY_URI out"
        )
    found = registries.held(step.client, name)
    if found is None:
        return f"there is no registered model {name!r} yet: the first champion makes it"
    whose = tracking.account()
    if whose:
        try:
            step.client.update_registered_model(name, found.description or "")  # as it was: to ask for the right alone
        except MlflowException as error:
            if error.error_code != tracking.FORBIDDEN:
                raise
            raise UserError(
                f"registry.name: {whose} may see the registered model {name!r} and not change it: ask its owner for "
                "the right to edit it, or name another one"
            ) from None
    return f"the registered model {name!r} is there, and may be changed"
