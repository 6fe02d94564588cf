"""The registry: who is the champion, who was, and how that changes.

Read by register and promote, and by main to see whether register has anything to do.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from steps.run import artifacts
from steps.run.run_owner import tags as whose
from steps.run.tags import (
    CHAMPION,
    CHAMPION_VERSION,
    CODE_DIGEST,
    HISTORY,
    MODEL,
    MODEL_DIGEST,
    MODEL_URI,
    OUTCOME,
    TRAIN,
    USER,
    VERDICT,
    WINNER,
)
from tabular.errors import UserError
from tabular.problem import Problem

NOBODY = "none"
# The end of what a replay says of its verdict.
DRY = ", decided once more: nothing is written to the registry"
REGISTERED, KEPT, REFUSED = "registered", "kept_champion", "refused"
# MLflow's stages that a version is moved to, for registries that still use them; whom it replaces is Archived.
STAGING, PRODUCTION = "Staging", "Production"


def winner(evaluation: Run, trained: Sequence[Run], folder: Path) -> dict[str, Any]:
    """The best candidate of an evaluation, as one of the runs in hand holds it.

    An evaluation that was not run again names the runs that it judged then; main gives those whose models are the same,
    bit by bit, and known to be whole. Without any, the evaluation's own counts.

    Raises
    ------
    UserError
        Where the runs given are not of what was evaluated.
    """
    best = artifacts.content(evaluation, artifacts.EVALUATION, folder)["candidates"][0]
    if not trained:
        return best
    for run in trained:
        tags = run.data.tags
        if tags[MODEL] == best["model"]:
            if (tags[MODEL_DIGEST], tags[CODE_DIGEST]) != _digests(best):
                raise UserError(f"models: run {run.info.run_id} holds another {best['model']} than was evaluated")
            return {**best, "run_id": run.info.run_id, "model_uri": tags[MODEL_URI]}
    raise UserError(f"models: none of the runs given is of the winner, {best['model']!r}")


def verdict_tags(
    problem: Problem, outcome: str, reason: str, winner: str, version: ModelVersion | None
) -> dict[str, str]:
    """What became of a winner as tags of register's run; `version` is the champion that there is now."""
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
    """The version that an alias names today, or None."""
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None  # no such model, or no such alias
        raise


def previous(alias: str) -> str:
    """The alias of the version that had this alias before."""
    return f"previous_{alias}"


def move_alias(client: MlflowClient, version: ModelVersion, alias: str, *, why: str, run_id: str) -> bool:
    """Move an alias to a version, keep the one that had it before, and remember who did it, when and why.

    Where the version has it already nothing is done.

    Returns
    -------
    bool
        Whether the version has the alias. Of two that give an alias for the first time at the same moment the store
        refuses one.
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
    """Move a version to a stage, archive those that were in it, and remember it as a move of an alias is.

    Where the version is in it already nothing is done.
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
    quoted = name.replace("'", "''")
    versions = client.search_model_versions(f"name = '{quoted}'")
    return [str(number) for number in sorted(int(one.version) for one in versions if one.current_stage == stage)]


def _remember(
    client: MlflowClient, version: ModelVersion, event: Mapping[str, str | None], *, why: str, run_id: str
) -> None:
    now = time.time_ns() // 1000  # a move of an alias and of a stage may be in one millisecond
    whole = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now // 1_000_000)),
        **event,
        "version": str(version.version),
        "by": whose()[USER],
        "run": run_id,
        "why": why[:4000],
    }
    client.set_registered_model_tag(version.name, f"{HISTORY}{now}", json.dumps(whole))


def _give(client: MlflowClient, version: ModelVersion, alias: str, *, instead_of: ModelVersion | None) -> bool:
    """Give a version an alias; False where the store refuses it, because somebody else has given it meanwhile."""
    try:
        client.set_registered_model_alias(version.name, alias, version.version)
    except MlflowException:
        if identity(aliased(client, version.name, alias)) == identity(instead_of):
            raise
        return False
    return True


def history(client: MlflowClient, name: str) -> list[dict[str, Any]]:
    """Each move of an alias or a stage of a registered model, the first first.

    Of one of a stage, `left` is the stage that the version was in.
    """
    tags = client.get_registered_model(name).tags
    events = [json.loads(tags[key]) for key in sorted(tags) if key.startswith(HISTORY)]
    columns = ("at", "alias", "stage", "version", "before", "left", "by", "run", "why")
    return [{column: event.get(column) for column in columns} for event in events]


def identity(version: ModelVersion | None) -> str:
    """A version and no other one: the number of one that was deleted may be given again."""
    return NOBODY if version is None else f"{version.name}/{version.version} {version.creation_timestamp}"


def named(client: MlflowClient, identified: str) -> ModelVersion | None:
    """The version of an `identity`.

    Raises
    ------
    UserError
        Where it is no longer there.
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
    """The digests that `models.load` asks for, of a version.

    Raises
    ------
    UserError
        Where it has none: nothing says what it must be.
    """
    code, learnt = version.tags.get(CODE_DIGEST), version.tags.get(MODEL_DIGEST)
    if code is None or learnt is None:
        name = f"{version.name} version {version.version}"
        raise UserError(f"{name} was not registered by Tabular: it has no tag {CODE_DIGEST}")
    return {"code": code, "learnt": learnt}


def is_winner(client: MlflowClient, version: ModelVersion, winner: Mapping[str, Any], folder: Path) -> bool:
    """Whether a version is what the winner of an evaluation is, bit by bit, and its files are all there."""
    same = (version.tags.get(MODEL_DIGEST), version.tags.get(CODE_DIGEST))
    return same == _digests(winner) and not _is_damaged(client, version, folder)


def _digests(winner: Mapping[str, Any]) -> tuple[str, str]:
    return winner["model_digest"], winner["code_digest"]


def _is_damaged(client: MlflowClient, version: ModelVersion, folder: Path) -> bool:
    try:
        trained = client.get_run(version.tags[TRAIN])
    except (KeyError, MlflowException):
        return False  # the run is gone, and with it what it recorded: the version may well be whole
    return artifacts.model_damage(client, trained, folder) is not None
