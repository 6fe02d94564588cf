"""Whether a chain can do its work in this store with this account, asked before any work is done."""

import uuid
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.utils.uri import is_local_uri

from steps.model import registry as registries
from steps.run import artifact_store, connection, tracking
from steps.run.step import Step
from tabular.errors import UserError

CHECKED = "check.txt"
# How addresses of artifacts begin that a tracking server hands on.
HANDED_ON = ("mlflow-artifacts", "http", "https")


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
        Where the registry does not answer or cannot take models of this store, the model is hidden from this account,
        or may not be changed.
    """
    if tracking.registry_is_elsewhere():
        _check_elsewhere(step)
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


def _check_elsewhere(step: Step) -> None:
    """Refuse a registry that is not the tracking store's where nobody answers, or that cannot take models from here."""
    parts, shown = urlsplit(mlflow.get_registry_uri()), tracking.registry()
    named = "in tracking.registry_uri, or MLFLOW_REGISTRY_URI"
    if parts.scheme.startswith("sqlite"):
        folder = Path(parts.path.removeprefix("/")).parent
        if not folder.is_absolute() or not folder.is_dir():
            raise UserError(f"the registry {shown}: there is no folder {folder}: give the whole path of one {named}")
    if parts.scheme not in ("http", "https"):
        return
    if is_local_uri(step.artifact_uri) or urlsplit(step.artifact_uri).scheme in HANDED_ON:
        raise UserError(
            f"the registry {shown} is a server, and takes of another store only models in an object store that is "
            f"asked directly, such as s3://, and here they lie in {artifact_store.shown(step.artifact_uri)}: take an "
            "experiment whose artifacts lie there, or a database as the registry, or name no other registry"
        )
    answer = connection.ask("/version", uri=mlflow.get_registry_uri())
    if answer.status_code != 200:
        raise UserError(f"the registry {shown} answers, but not as an MLflow server does: look at its address {named}")
