"""promote: an alias of a registered model moved to one of its versions, with the reason: also the way back.

For people who decide by hand what `register` decides by the gate. The version is tried first, as register does it.
"""

from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from steps.model import registry, smoke_test
from steps.process import lifecycle
from steps.run import artifacts
from steps.run.step import Step
from steps.run.terminal import say, table
from tabular.errors import UserError, listed, nearest
from tabular.problem import alias_name

PREVIOUS = "previous"
MOST_NAMES = 1000  # that are looked through for the one that may be meant


def promote(step: Step) -> None:
    """Try the version, move the alias, show the history."""
    name, alias = step.arguments["name"], step.arguments["alias"] or "champion"
    _check(step, name, alias)
    before = registry.aliased(step.client, name, alias)
    version = _version(step, name, alias)
    what = f"{name} version {version.version}"
    if registry.identity(before) == registry.identity(version):
        said = f"{what} is {alias} already"
    else:
        _try(step, version)
        with lifecycle.uninterrupted():
            about = {"why": step.arguments["reason"], "run_id": step.run_id, "stage": step.arguments["stage"]}
            if not registry.move_alias(step.client, version, alias, **about):
                raise UserError(f"alias: {alias} of {name} was moved by another just now: look, and try again")
        said = f"{what} is {alias} now" + (f" in the place of version {before.version}" if before is not None else "")
    events = registry.history(step.client, name)
    say(table([_shown(event) for event in events]))
    say(f"  {said}")
    step.table(artifacts.by_column(events), "history.json")
    # not by the names of the parameters, which `mlflow run` has logged as they were typed
    step.log(params={"promoted_version": version.version, "promoted_alias": alias})
    step.finish(f"promote {name}", said, f"{said}.\n\n{step.arguments['reason']}")


def _check(step: Step, name: str, alias: str) -> None:
    """UserError for what cannot be promoted, before anything is asked of the registry."""
    if not step.arguments["reason"].strip():
        raise UserError("reason: say in a few words why the alias is moved; the registry's history keeps it")
    stages = (registry.STAGING, registry.PRODUCTION)
    if step.arguments["stage"] not in ("", *stages):
        raise UserError(f"stage: {step.arguments['stage']!r} is neither {stages[0]} nor {stages[1]}")
    try:
        alias_name(alias)
    except ValueError as error:
        raise UserError(f"alias: {error}") from None
    try:
        step.client.get_registered_model(name)
    except MlflowException:
        known = [model.name for model in step.client.search_registered_models(max_results=MOST_NAMES)]
        has = f"it has {listed(known)}" if known else "it has none"
        raise UserError(f"name: the registry has no model {name!r}{nearest(name, known)}; {has}") from None


def _version(step: Step, name: str, alias: str) -> ModelVersion:
    """The version asked for: by its number, or the one that had the alias before."""
    asked = step.arguments["version"]
    if asked == PREVIOUS:
        found = registry.aliased(step.client, name, registry.previous(alias))
        if found is None:
            raise UserError(f"version: {name} has no {registry.previous(alias)!r}: {alias} has not been moved before")
        return found
    try:
        return step.client.get_model_version(name, asked)
    except MlflowException:
        quoted = name.replace("'", "''")
        numbers = sorted(int(one.version) for one in step.client.search_model_versions(f"name = '{quoted}'"))
        raise UserError(
            f"version: {name} has no version {asked!r}; it has {listed([str(number) for number in numbers])}; "
            f"{PREVIOUS!r} is the one that was {alias} before"
        ) from None


def _try(step: Step, version: ModelVersion) -> None:
    try:
        recorded = registry.recorded(version)
    except UserError as error:
        raise UserError(f"version: {error}: move its alias with MLflow's own client if you trust it") from None
    try:
        smoke_test.ask(step, f"models:/{version.name}/{version.version}", **recorded)
    except UserError as error:
        raise UserError(f"version: {version.name} version {version.version} cannot serve: {error}") from None


def _shown(event: dict[str, Any]) -> dict[str, Any]:
    """A line of the history, as a terminal shows it."""
    return {name: event[name] for name in ("at", "alias", "version", "before", "by", "why")}
