"""The model registry: the champion, its predecessors, and the moves of aliases and stages.

The steps register and promote use this module, and so does main, to see whether register has anything to do.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.environment_variables import MLFLOW_REGISTRY_URI
from mlflow.exceptions import MlflowException

from steps.run import artifacts, lookup, tracking
from steps.run.run_owner import tags as whose
from steps.run.step import Step
from steps.run.tags import (
    CHAMPION,
    CHAMPION_VERSION,
    CODE_DIGEST,
    HISTORY,
    JUDGED,
    JUDGED_DIGEST,
    MODEL,
    MODEL_DIGEST,
    MODEL_URI,
    OUTCOME,
    REFITTED_BY,
    REGISTER,
    TOO_LARGE,
    TRAIN,
    USER,
    VERDICT,
    WINNER,
)
from tabular.errors import UserError
from tabular.problem import Problem

NOBODY = "none"
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
# The end of a replay's verdict.
DRY = ", decided once more: nothing is written to the registry"
REGISTERED, KEPT, REFUSED = "registered", "kept_champion", "refused"
# The problem wants no models in MLflow, so that a winner which would be registered is not.
NOT_REGISTERED = "not_registered"
# MLflow's stages, for registries that still use them. A version that is replaced becomes Archived.
STAGING, PRODUCTION = "Staging", "Production"


def chosen(step: Step, problem: Problem) -> Step:
    """The step with a client of the registry that the problem names, which the steps that it starts ask too.

    The given step where the problem names none: then MLFLOW_REGISTRY_URI does, or it is the tracking store.
    """
    if problem.tracking.registry_uri is None:
        return step
    os.environ[MLFLOW_REGISTRY_URI.name] = problem.tracking.registry_uri
    return replace(step, client=MlflowClient())


def winner(evaluation: Run, trained: Sequence[Run], folder: Path, refitted: Run | None = None) -> dict[str, Any]:
    """The best candidate of an evaluation, with the run that holds its model today.

    A reused evaluation names the runs of train that it judged at that time. The given runs hold the same models, bit by
    bit, and are known to be undamaged.

    Parameters
    ----------
    evaluation
        The run of evaluate.
    trained
        Runs of train that main gives; where empty, the run that the evaluation names is kept.
    folder
        Where artifacts are downloaded to.
    refitted
        The run of refit of this evaluation, where there is one.

    Returns
    -------
    dict
        The entry of the best candidate in the evaluation, with its `run_id` and `model_uri`; and `served`, the same
        four facts (with `model_digest` and `code_digest`) of the model that is to be registered for it: the one that
        was fitted on all rows, where it was.

    Raises
    ------
    UserError
        Where none of the given runs holds the model that was evaluated.
    """
    best = _held_by(artifacts.content(evaluation, artifacts.EVALUATION, folder)["candidates"][0], trained)
    served = {name: best[name] for name in ("run_id", "model_uri", "model_digest", "code_digest")}
    if refitted is not None and MODEL_URI in refitted.data.tags:
        tags = refitted.data.tags
        served = {"run_id": refitted.info.run_id, "model_uri": tags[MODEL_URI]}
        served |= {"model_digest": tags[MODEL_DIGEST], "code_digest": tags[CODE_DIGEST]}
    return {**best, "served": served}


def _held_by(best: dict[str, Any], trained: Sequence[Run]) -> dict[str, Any]:
    """An entry of an evaluation, with the run that holds its model today."""
    if not trained:
        return best
    for run in trained:
        tags = run.data.tags
        if tags[MODEL] == best["model"]:
            if (tags[MODEL_DIGEST], tags[CODE_DIGEST]) != _digests(best):
                raise UserError(f"models: run {run.info.run_id} holds another {best['model']} than was evaluated")
            return {**best, "run_id": run.info.run_id, "model_uri": tags[MODEL_URI]}
    raise UserError(f"models: none of the runs given is of the winner, {best['model']!r}")


def too_large(client: MlflowClient, run_id: str) -> str:
    """Why the store has no files of the model of a run; empty where it has them, and where the run is gone."""
    made = lookup.shown(client, run_id)
    return "" if made is None else made.data.tags.get(TOO_LARGE, "")


def verdict_tags(
    problem: Problem, outcome: str, reason: str, winner: str, version: ModelVersion | None
) -> dict[str, str]:
    """The verdict on a winner as tags of register's run; `version` is the champion after the verdict."""
    tags = {OUTCOME: outcome, VERDICT: reason, WINNER: winner}
    if version is not None:
        tags |= {
            CHAMPION: f"models:/{problem.registry.name}@{problem.registry.alias}",
            CHAMPION_VERSION: str(version.version),
        }
    return tags


def champion(client: MlflowClient, problem: Problem) -> ModelVersion | None:
    """The champion of a problem today, or None."""
    return aliased(client, problem.registry.name, problem.registry.alias)


def aliased(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """The version that an alias names today, or None.

    Raises
    ------
    UserError
        Where this account may not see the model.
    """
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in NOT_THERE:
            return None  # no such model, or no such alias
        if error.error_code == tracking.FORBIDDEN and held(client, name) is None:
            return None  # a server with accounts forbids to ask for an alias of a model that is not there yet
        raise


def held(client: MlflowClient, name: str) -> RegisteredModel | None:
    """The registered model of this name, or None.

    Raises
    ------
    UserError
        Where this account may not see the model.
    """
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code in NOT_THERE:
            return None
        if error.error_code == tracking.FORBIDDEN:
            raise UserError(
                f"registry.name: there is a registered model {name!r} that {tracking.account() or 'this account'} may "
                "not see: name another one, or ask its owner for the right to read it"
            ) from None
        raise


def previous(alias: str) -> str:
    """The alias that marks the version which had this alias before."""
    return f"previous_{alias}"


def move_alias(client: MlflowClient, version: ModelVersion, alias: str, *, why: str, run_id: str) -> bool:
    """Move an alias to a version, mark the version that had it before, and record who did it, when and why.

    Nothing is done where the version has the alias already.

    Parameters
    ----------
    client
        Client of the registry.
    version
        The version that gets the alias.
    alias
        The alias.
    why
        The reason, for the history.
    run_id
        The run that moves the alias, for the history.

    Returns
    -------
    bool
        Whether the version has the alias now. Where two processes give an alias for the first time at the same moment,
        the store refuses one of them.
    """
    before = aliased(client, version.name, alias)
    if identity(before) == identity(version):
        return True
    if not _give(client, version, alias, instead_of=before):
        return False
    if before is not None:
        held = aliased(client, version.name, previous(alias))
        while not _give(client, before, previous(alias), instead_of=held):
            held = aliased(client, version.name, previous(alias))
    event = {"alias": alias, "before": None if before is None else str(before.version)}
    _remember(client, version, event, why=why, run_id=run_id)
    return True


def move_stage(client: MlflowClient, version: ModelVersion, stage: str, *, why: str, run_id: str) -> None:
    """Move a version to a stage, archive the versions that were in it, and record the move in the history.

    Nothing is done where the version is in that stage already. Parameters are as for `move_alias`.
    """
    left = stage_of(client, version)
    if left == stage:
        return
    before = in_stage(client, version.name, stage)
    client.transition_model_version_stage(version.name, version.version, stage, archive_existing_versions=True)
    event = {"stage": stage, "before": ", ".join(before) or None, "left": left}
    _remember(client, version, event, why=why, run_id=run_id)


def stage_of(client: MlflowClient, version: ModelVersion) -> str | None:
    """The stage that a version is in today, or None."""
    found = client.get_model_version(version.name, version.version).current_stage
    return None if found == "None" else found


def in_stage(client: MlflowClient, name: str, stage: str) -> list[str]:
    """The numbers of the versions that are in a stage today."""
    return [str(one.version) for one in versions(client, name) if one.current_stage == stage]


def versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """All versions of a registered model, the first one first; none where there is no such model."""
    quoted = name.replace("'", "''")
    return sorted(client.search_model_versions(f"name = '{quoted}'"), key=lambda one: int(one.version))


def _remember(
    client: MlflowClient, version: ModelVersion, event: Mapping[str, str | None], *, why: str, run_id: str
) -> None:
    now = time.time_ns() // 1000  # microseconds, since an alias and a stage may be moved within one millisecond
    whole = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now // 1_000_000)),
        **event,
        "version": str(version.version),
        "by": tracking.account() or whose()[USER],
        "run": run_id,
        "why": why[:4000],
    }
    client.set_registered_model_tag(version.name, f"{HISTORY}{now}", json.dumps(whole))


def _give(client: MlflowClient, version: ModelVersion, alias: str, *, instead_of: ModelVersion | None) -> bool:
    """Give a version an alias; False where the store refuses because another process has moved the alias meanwhile."""
    try:
        client.set_registered_model_alias(version.name, alias, version.version)
    except MlflowException:
        if identity(aliased(client, version.name, alias)) == identity(instead_of):
            raise
        return False
    return True


def history(client: MlflowClient, name: str) -> list[dict[str, Any]]:
    """The history of a registered model: each move of an alias or a stage, the oldest first.

    In a move between stages, `left` is the stage that the version was in before.
    """
    tags = client.get_registered_model(name).tags
    events = [json.loads(tags[key]) for key in sorted(tags) if key.startswith(HISTORY)]
    columns = ("at", "alias", "stage", "version", "before", "left", "by", "run", "why")
    return [{column: event.get(column) for column in columns} for event in events]


def identity(version: ModelVersion | None) -> str:
    """A text that identifies a version. Its number does not: the number of a deleted version may be used again."""
    return NOBODY if version is None else f"{version.name}/{version.version} {version.creation_timestamp}"


def named(client: MlflowClient, identified: str) -> ModelVersion | None:
    """The version that an `identity` stands for; None for the identity of no version.

    Raises
    ------
    UserError
        Where the version is no longer in the registry.
    """
    if identified == NOBODY:
        return None
    name, _, number = identified.rpartition(" ")[0].rpartition("/")  # a name may hold blanks
    try:
        found = client.get_model_version(name, number)
    except MlflowException:
        found = None
    if found is None or identity(found) != identified:
        raise UserError(f"{name} version {number} is gone from the registry, and was the champion then")
    return found


def recorded(version: ModelVersion) -> dict[str, str]:
    """The digests of a version, by the names of the parameters of `flavor.load`.

    Raises
    ------
    UserError
        Where the version has no digests, so that its files cannot be checked.
    """
    code, learnt = version.tags.get(CODE_DIGEST), version.tags.get(MODEL_DIGEST)
    if code is None or learnt is None:
        name = f"{version.name} version {version.version}"
        raise UserError(f"{name} was not registered by Tabular: it has no tag {CODE_DIGEST}")
    return {"code": code, "learnt": learnt}


def judged(version: ModelVersion) -> tuple[str, dict[str, str]]:
    """The URI and the digests of the model that was judged for a version: its own, unless that saw the holdout.

    Raises
    ------
    UserError
        As `recorded`.
    """
    tags = version.tags
    if JUDGED not in tags:
        return f"models:/{version.name}/{version.version}", recorded(version)
    return tags[JUDGED], {**recorded(version), "learnt": tags[JUDGED_DIGEST]}


def is_winner(client: MlflowClient, version: ModelVersion, winner: Mapping[str, Any], folder: Path) -> bool:
    """Whether a version equals what is to be registered for a winner, bit by bit, and its files are undamaged."""
    same = (version.tags.get(MODEL_DIGEST), version.tags.get(CODE_DIGEST))
    return same == _digests(winner["served"]) and not _is_damaged(client, version, folder)


def is_refit_of(client: MlflowClient, version: ModelVersion, winner: Mapping[str, Any], folder: Path) -> bool:
    """Whether a version is the winner, fitted on all rows, where the winner itself was not; and is undamaged."""
    is_itself = winner["served"]["run_id"] == winner["run_id"]
    same = (version.tags.get(JUDGED_DIGEST), version.tags.get(CODE_DIGEST))
    return is_itself and same == _digests(winner) and not _is_damaged(client, version, folder)


def _digests(winner: Mapping[str, Any]) -> tuple[str, str]:
    return winner["model_digest"], winner["code_digest"]


def _is_damaged(client: MlflowClient, version: ModelVersion, folder: Path) -> bool:
    """Whether one of the models that a version is made of is not what its run recorded."""
    return any(artifacts.model_damage(client, run, folder) is not None for run in _holders(client, version))


def _holders(client: MlflowClient, version: ModelVersion) -> Iterator[Run]:
    """The runs that recorded the files of a version; one that is gone is passed over: they count as undamaged."""
    made, register = [], version.tags.get(REGISTER)
    for run_id in filter(None, [version.tags.get(TRAIN), version.tags.get(REFITTED_BY)]):
        with suppress(MlflowException):
            made.append(client.get_run(run_id))
    yield from made
    if register and any(not artifacts.model_id(run.data.tags.get(MODEL_URI, "")) for run in made):
        with suppress(MlflowException):  # it has logged what the others have as an artifact
            yield client.get_run(register)
