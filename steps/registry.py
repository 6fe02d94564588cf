"""The registry as it is today: read by register, and by main to see whether register has anything to do."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from steps import records, store
from steps.tracked import OUTCOME
from tabular.errors import UserError
from tabular.problem import Problem

NOBODY = "none"
# The end of what a replay says of its verdict.
DRY = ", decided once more: nothing is written to the registry"
# On a register's run: its winner could not be compared with the champion that day.
INCOMPARABLE = "tabular.incomparable"
REGISTERED, KEPT, REFUSED = "registered", "kept_champion", "refused"


def winner(evaluation: Run, trained: Sequence[Run], folder: Path) -> dict[str, Any]:
    """The best candidate of an evaluation, as one of the runs in hand holds it.

    An evaluation that was not run again names the runs that it judged then; main gives those whose models are the same,
    bit by bit, and known to be whole. Without any, the evaluation's own counts.

    Raises
    ------
    UserError
        Where the runs given are not of what was evaluated.
    """
    path = store.artifact(evaluation, store.EVALUATION, folder)
    best = json.loads(path.read_text(encoding="utf-8"))["candidates"][0]
    if not trained:
        return best
    for run in trained:
        tags = run.data.tags
        if tags["tabular.model"] == best["model"]:
            if (tags["tabular.digest.model"], tags["tabular.digest.code"]) != _digests(best):
                raise UserError(f"models: run {run.info.run_id} holds another {best['model']} than was evaluated")
            return {**best, "run_id": run.info.run_id, "model_uri": tags[records.MODEL_URI]}
    raise UserError(f"models: none of the runs given is of the winner, {best['model']!r}")


def verdict_tags(
    problem: Problem, outcome: str, reason: str, winner: str, version: ModelVersion | None
) -> dict[str, str]:
    """What became of a winner as tags of register's run; `version` is the champion that there is now."""
    tags = {OUTCOME: outcome, "tabular.verdict": reason, "tabular.winner": winner}
    if version is not None:
        tags |= {
            "tabular.champion": f"models:/{problem.registry.name}@{problem.registry.alias}",
            "tabular.champion.version": str(version.version),
        }
    return tags


def champion(client: MlflowClient, problem: Problem) -> ModelVersion | None:
    """The version that the registry's alias names today, or None."""
    try:
        return client.get_model_version_by_alias(problem.registry.name, problem.registry.alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None  # no such model, or no such alias
        raise


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


def is_winner(client: MlflowClient, version: ModelVersion, winner: Mapping[str, Any], folder: Path) -> bool:
    """Whether a version is what the winner of an evaluation is, bit by bit, and its files are all there."""
    same = (version.tags.get("tabular.digest.model"), version.tags.get("tabular.digest.code"))
    return same == _digests(winner) and not _is_damaged(client, version, folder)


def _digests(winner: Mapping[str, Any]) -> tuple[str, str]:
    return winner["model_digest"], winner["code_digest"]


def _is_damaged(client: MlflowClient, version: ModelVersion, folder: Path) -> bool:
    try:
        trained = client.get_run(version.tags["tabular.run"])
    except (KeyError, MlflowException):
        return False  # the run is gone, and with it what it recorded: the version may well be whole
    return records.model_damage(client, trained, folder) is not None
