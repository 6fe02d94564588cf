"""Find a model by any of its names, and what is recorded about where the model comes from."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from steps.model import registry
from steps.run import artifacts, lookup, tracking
from steps.run.tags import (
    ARGUMENTS,
    CODE_DIGEST,
    DATASET,
    EVALUATION,
    MODEL,
    MODEL_DIGEST,
    MODEL_URI,
    PROBLEM,
    SCORED_BY,
    TRAIN,
)
from tabular.errors import UserError, first_line
from tabular.sections.rules import Registry

FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION, models:/m-…, runs:/… or the id of a run of train"
USUAL_ALIAS = Registry.model_fields["alias"].default


@dataclass(frozen=True)
class Origin:
    """A model's URI, the digests that its files must have, and the runs it comes from; "" where not recorded."""

    name: str  # for people, such as `churn_classifier version 3`
    uri: str  # names a version, never an alias, which may move meanwhile
    model_id: str
    code: str  # digest of the code that it carries
    learnt: str  # digest of the learnt parts
    candidate: str  # its name in the problem
    problem: str
    train: str
    dataset: str
    evaluation: str

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags by which a run that uses the model records the model."""
        return {
            SCORED_BY: self.uri,
            MODEL_DIGEST: self.learnt,
            CODE_DIGEST: self.code,
            MODEL: self.candidate,
            PROBLEM: self.problem,
            TRAIN: self.train,
            DATASET: self.dataset,
            EVALUATION: self.evaluation,
        }


def find(client: MlflowClient, given: str) -> Origin:
    """Find the model that a parameter names.

    Parameters
    ----------
    client
        Client of the tracking server and of the registry.
    given
        The name, in one of `FORMS`.

    Raises
    ------
    UserError
        Where no model has that name, or no digests are recorded for the model.
    """
    if given.startswith("models:/"):
        rest = given.removeprefix("models:/").strip("/")
        for mark in ("@", "/"):
            if mark in rest:
                return _of_version(_version(client, given, *rest.rsplit(mark, 1), is_alias=mark == "@"))
        return _of_logged(client, given, rest)
    run_id, _, name = given.removeprefix("runs:/").partition("/")
    if not lookup.is_run_id(run_id):
        raise UserError(f"model: {given!r} names none{_registered(client, given)}: give {FORMS}")
    found = _of_run(lookup.fitted(client, run_id, "model"))
    if name not in ("", found.candidate):
        raise UserError(f"model: run {run_id} has logged {found.candidate!r} and no {name!r}")
    return found


def _registered(client: MlflowClient, given: str) -> str:
    """The end of an error about a name that is no model's: what to write, where a registered model is called so."""
    name = re.split("[@/]", given.removeprefix("models:/").strip("/"))[0]
    try:
        found = registry.held(client, name) if name else None
    except (MlflowException, UserError):  # the error is about the form, whatever the registry says
        return ""
    if found is None:
        return ""
    aliases = sorted(found.aliases, key=lambda alias: alias != USUAL_ALIAS)
    ways = [f"@{alias}" for alias in aliases] + [f"/{one.version}" for one in found.latest_versions]
    return f", did you mean models:/{found.name}{ways[0]}?" if ways else ""


def _version(client: MlflowClient, given: str, name: str, which: str, *, is_alias: bool) -> ModelVersion:
    if not is_alias and not which.isdecimal():
        raise UserError(f"model: {given}: {which!r} is no number of a version; give {FORMS}")
    try:
        if is_alias:
            return client.get_model_version_by_alias(name, which)
        return client.get_model_version(name, which)
    except MlflowException as error:
        if error.error_code == tracking.FORBIDDEN and registry.held(client, name) is not None:
            raise
        raise UserError(f"model: {given} is not in the registry ({first_line(error)})") from None


def _of_version(version: ModelVersion) -> Origin:
    tags = version.tags
    return Origin(
        name=f"{version.name} version {version.version}",
        uri=f"models:/{version.name}/{version.version}",
        model_id=artifacts.model_id(version.source),
        **registry.recorded(version),
        candidate=tags.get(MODEL, ""),
        problem=tags.get(PROBLEM, ""),
        train=tags.get(TRAIN, ""),
        dataset=tags.get(DATASET, ""),
        evaluation=tags.get(EVALUATION, ""),
    )


def _of_logged(client: MlflowClient, given: str, model_id: str) -> Origin:
    try:
        logged = client.get_logged_model(model_id)
    except MlflowException as error:
        meant = _registered(client, given)
        raise UserError(f"model: {given} is not there ({first_line(error)}){meant or ';'} give {FORMS}") from None
    run_id = logged.source_run_id or ""
    # a version knows more of it than its run does; and where the problem wants no other logged model, register has
    # logged the model of that run again, which the run does not know; of several the one that was registered first,
    # since anybody who may write can register it again by another name
    versions = client.search_model_versions(f"run_id = '{run_id}'")
    for version in sorted(versions, key=lambda one: one.creation_timestamp):
        if version.source in (logged.model_uri, logged.artifact_location) and MODEL_DIGEST in version.tags:
            return _of_version(version)
    found = _of_run(lookup.fitted(client, run_id, "model"))
    if found.model_id != model_id:
        raise UserError(
            f"model: {given} is neither a registered version nor the model that run {run_id} says it has logged: not "
            "loaded"
        )
    return found


def _of_run(run: Run) -> Origin:
    tags = run.data.tags
    return Origin(
        name=f"{tags[MODEL]} of run {run.info.run_id}",
        uri=tags[MODEL_URI],
        model_id=artifacts.model_id(tags[MODEL_URI]),
        code=tags[CODE_DIGEST],
        learnt=tags[MODEL_DIGEST],
        candidate=tags[MODEL],
        problem=tags[PROBLEM],
        train=run.info.run_id,
        dataset=json.loads(tags.get(ARGUMENTS, "{}")).get("dataset", ""),
        evaluation="",
    )
