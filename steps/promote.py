"""promote: move an alias or a stage of a registered model to one of its versions, or back.

For people who decide by hand what `register` decides by the gate. The version gets the smoke test first, as in
register, and a signature where it has none and there is a key for it.
"""

from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from steps.model import flavor, provenance, registry, smoke_test
from steps.process import lifecycle
from steps.run import artifacts, lookup
from steps.run.step import Step
from steps.run.tags import DATASET, REGISTER
from steps.run.terminal import say, table
from tabular.errors import UserError, listed, nearest
from tabular.sections.rules import alias_name

CHAMPION, PREVIOUS = "champion", "previous"
MOST_NAMES = 1000  # the most names that are searched for the nearest one


def promote(step: Step) -> None:
    """Run the smoke test of the version, move the alias or the stage or both, show the history."""
    name, stage = step.arguments["name"], step.arguments["stage"]
    alias = step.arguments["alias"] or ("" if stage else CHAMPION)
    _check(step, name, alias, stage)
    provenance.check_keys()
    version = _version(step, name, alias)
    said = f"{name} version {version.version} is {_move(step, version, alias, stage)}"
    events = registry.history(step.client, name)
    if events:
        say(table([_shown(event) for event in events]))
    say(f"  {said}")
    step.table(artifacts.by_column(events), "history.json")
    # not under the parameters' own names, which `mlflow run` has logged as they were typed
    given = {"promoted_alias": alias, "promoted_stage": stage}
    step.log(params={"promoted_version": version.version, **{key: value for key, value in given.items() if value}})
    step.finish(f"promote {name}", said, f"{said}.\n\n{step.arguments['reason']}")


def _move(step: Step, version: ModelVersion, alias: str, stage: str) -> str:
    """Move the alias and the stage, where the version does not have them yet; return what it is then, in words."""
    client, name = step.client, version.name
    had = registry.aliased(client, name, alias) if alias else None
    moves_alias = bool(alias) and registry.identity(had) != registry.identity(version)
    left, held = registry.stage_of(client, version), registry.in_stage(client, name, stage) if stage else []
    moves_stage = bool(stage) and left != stage
    signs = provenance.signs(version)
    if moves_alias or moves_stage or signs:
        _try(step, version)
    if signs:
        _sign(step, version)
    about = {"why": step.arguments["reason"], "run_id": step.run_id}
    with lifecycle.uninterrupted():
        if moves_alias and not registry.move_alias(client, version, alias, **about):
            raise UserError(f"alias: {alias} of {name} was moved by another just now: look, and try again")
        if moves_stage:
            registry.move_stage(client, version, stage, **about)
    parts = []
    if alias:
        instead = f" in the place of version {had.version}" if had is not None else ""
        parts.append(f"{alias} now{instead}" if moves_alias else f"{alias} already")
    if stage:
        instead = f" in the place of version {', '.join(held)}, which is Archived" if held else ""
        gone = f", no longer in {left}" if left is not None else ""
        parts.append(f"in {stage} now{instead}{gone}" if moves_stage else f"in {stage} already")
    if signs:
        parts.append("signed now")
    return " and ".join(parts)


def _check(step: Step, name: str, alias: str, stage: str) -> None:
    """Check the parameters before the version is looked up.

    Raises
    ------
    UserError
        For a request that cannot be met.
    """
    if not step.arguments["reason"].strip():
        raise UserError(
            "reason: say in a few words why the alias is moved, or the stage; the registry's history keeps it"
        )
    stages = (registry.STAGING, registry.PRODUCTION)
    if stage not in ("", *stages):
        raise UserError(f"stage: {stage!r} is neither {stages[0]} nor {stages[1]}")
    if step.arguments["version"] == PREVIOUS and not alias:
        raise UserError(
            f"version: {PREVIOUS!r} is the one that had an alias before, and a stage alone is moved: give the "
            f"version's number, or alias={CHAMPION} as well"
        )
    try:
        if alias:
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
    """The version asked for: by its number, or the version that had the alias before."""
    asked = step.arguments["version"]
    if asked == PREVIOUS:
        found = registry.aliased(step.client, name, registry.previous(alias))
        if found is None:
            raise UserError(f"version: {name} has no {registry.previous(alias)!r}: {alias} has not been moved before")
        return found
    try:
        return step.client.get_model_version(name, asked)
    except MlflowException:
        numbers = [str(one.version) for one in registry.versions(step.client, name)]
        way_back = f"; {PREVIOUS!r} is the one that was {alias} before" if alias else ""
        raise UserError(f"version: {name} has no version {asked!r}; it has {listed(numbers)}{way_back}") from None


def _try(step: Step, version: ModelVersion) -> None:
    try:
        recorded = registry.recorded(version)
    except UserError as error:
        raise UserError(f"version: {error}: move its alias or stage with MLflow's own client if you trust it") from None
    uri = f"models:/{version.name}/{version.version}"
    try:
        # what is signed afterwards has no signature yet to be verified
        fetched = flavor.copied(uri, step.folder, **recorded) if provenance.signs(version) else None
        model = fetched or provenance.fetch(step, uri, **recorded)
    except UserError as error:
        raise UserError(f"version: {error}") from None
    try:
        smoke_test.compare(step, model, uri, version.tags.get(DATASET, ""))
    except UserError as error:
        raise UserError(f"version: {version.name} version {version.version} cannot serve: {error}") from None


def _sign(step: Step, version: ModelVersion) -> None:
    try:
        registered = lookup.run(step.client, version.tags.get(REGISTER, ""), "run of register")
        provenance.attach(step, version, artifacts.artifact(registered, artifacts.PROBLEM, step.folder))
    except UserError as error:
        raise UserError(
            f"version: {version.name} version {version.version} cannot be signed: {error}: unset "
            f"{provenance.SIGNING_KEY} to promote it unsigned"
        ) from None


def _shown(event: dict[str, Any]) -> dict[str, Any]:
    """The fields of an event of the history that a terminal shows."""
    return {name: event[name] for name in ("at", "alias", "stage", "version", "before", "by", "why")}
