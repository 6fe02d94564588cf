"""register: the gate, and the registry behind it. The only step that changes the world.

The winner of an evaluation becomes the champion if it meets what the gate requires and beats today's champion on the
same holdout. Otherwise nothing is written but the verdict, in this step's own run.
"""

import json
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from steps import dataset, frozen, guard, models, records, registry, reporting, store, tracked, tried
from steps.dataset import DataSet
from steps.registry import KEPT, REFUSED, REGISTERED
from steps.served import TabularModel
from steps.tracked import OUTCOME
from tabular import gate, report
from tabular.errors import UserError, listed
from tabular.problem import Problem

# Below so many rows a comparison says nothing.
FEWEST_ROWS = 30
# To see which model is faster each is asked about so many rows, so often.
ROWS_TO_TIME, TIMES = 5000, 5


@dataclass(frozen=True)
class Verdict:
    """What became of the winner, and why."""

    outcome: str
    reason: str
    winner: dict[str, Any]
    champion: str | None = None  # the version that it met
    comparison: dict[str, Any] | None = None
    is_lasting: bool = True  # False may be otherwise tomorrow, when a store or a package index is back


def register(step: tracked.Step) -> None:
    """Judge the winner, and register it where the gate lets it."""
    evaluation = store.run(step.client, step.arguments["evaluation"], "evaluation", "evaluate")
    problem = frozen.problem_of(step, _data_set(step) or evaluation)
    given = filter(None, step.arguments["models"].split(","))
    trained = [store.run(step.client, run_id, "models", "train") for run_id in given]
    winner = registry.winner(evaluation, trained, step.folder)
    replayed = step.arguments["replays"]
    if replayed:
        champion = registry.named(step.client, step.client.get_run(replayed).data.tags[store.MET])
        verdict, version = judge(step, problem, evaluation, winner, champion), None
        verdict = _tried(step, verdict) if verdict.outcome == REGISTERED else verdict
    else:
        champion, verdict, version = _decide(step, problem, evaluation, winner)
    step.log(tags={store.MET: registry.identity(champion)})
    _log(step, problem, verdict, version)
    number = None if version is None else str(version.version)
    found = reporting.gather(step, problem, evaluation, _data(step, evaluation), verdict, number)
    step.text(report.page(found), store.REPORT)


def _data_set(step: tracked.Step) -> Run | None:
    """The data set of this chain, where it is given: an evaluation that was not run again may name an earlier one."""
    given = step.arguments["dataset"]
    return dataset.source(step, given) if given else None


def _data(step: tracked.Step, evaluation: Run) -> Run:
    """The run of the data set of this chain, else of that which the candidates were judged on."""
    return _data_set(step) or dataset.source(step, evaluation.data.tags["tabular.dataset"])


def _decide(
    step: tracked.Step, problem: Problem, evaluation: Run, winner: dict[str, Any]
) -> tuple[ModelVersion | None, Verdict, ModelVersion | None]:
    """The champion that the winner met, the verdict, and the champion that there is now."""
    made: ModelVersion | None = None
    while True:
        met = registry.champion(step.client, problem)
        verdict = judge(step, problem, evaluation, winner, met)
        if verdict.outcome == REGISTERED and made is None:
            verdict = _tried(step, verdict)
        if verdict.outcome != REGISTERED:
            if made is not None:
                step.client.delete_model_version(made.name, made.version)
            return met, verdict, met
        with guard.undisturbed():
            made = made or _add_version(step, problem, evaluation, verdict)
            # a chain beside this one may have crowned its own meanwhile: that one has to be beaten then
            if registry.identity(registry.champion(step.client, problem)) == registry.identity(met):
                place = problem.registry
                about = {"why": verdict.reason, "run_id": step.run_id, "stages": place.stages}
                registry.crown(step.client, made, place.alias, **about)
                return met, verdict, made


def _tried(step: tracked.Step, verdict: Verdict) -> Verdict:
    """The verdict, once the winner has answered in an environment of its own."""
    winner = verdict.winner
    recorded = {"code": winner["code_digest"], "learnt": winner["model_digest"]}
    try:
        tried.ask(step, winner["model_uri"], **recorded)
    except UserError as error:
        return replace(verdict, outcome=REFUSED, reason=f"{winner['model']} cannot serve: {error}", is_lasting=False)
    return verdict


def judge(
    step: tracked.Step, problem: Problem, evaluation: Run, winner: dict[str, Any], champion: ModelVersion | None
) -> Verdict:
    """What the gate says of the winner; reads the registry and changes nothing."""
    if winner["unmet"]:
        return Verdict(REFUSED, f"{winner['model']} does not pass the gate: {'; '.join(winner['unmet'])}", winner)
    if champion is None:
        return Verdict(REGISTERED, f"{winner['model']} passes the gate, and there is no champion yet", winner)
    name = f"the champion (version {champion.version})"
    if registry.is_winner(step.client, champion, winner, step.folder):
        return Verdict(KEPT, f"{winner['model']} is {name} already", winner, champion.version)
    if champion.tags.get("tabular.digest.model") == winner["model_digest"]:
        changed = champion.tags.get("tabular.digest.code") != winner["code_digest"]
        how = "with other code around it" if changed else "whose files are damaged"
        return Verdict(REGISTERED, f"{winner['model']} is {name} {how}", winner, champion.version)
    try:
        comparison, rows = _meet(step, problem, evaluation, winner, champion)
    except UserError as error:
        reason = (
            f"{winner['model']} cannot be compared with {name}: {error}. What cannot be compared replaces nothing; to "
            f"start anew, delete the alias {problem.registry.alias!r} of {problem.registry.name}"
        )
        return Verdict(KEPT, reason, winner, champion.version, is_lasting=False)
    figures = (
        f"{comparison.metric} {comparison.challenger:.4f} against {comparison.champion:.4f} of {name}, "
        f"{comparison.challenger - comparison.champion:+.4f}, on {rows}"
    )
    outcome = REGISTERED if comparison.wins else KEPT
    reason = f"{winner['model']} {_said(comparison, name)}: {figures}"
    return Verdict(outcome, reason, winner, champion.version, comparison.as_dict())


def _said(comparison: gate.Comparison, name: str) -> str:
    """What came of a comparison, in words."""
    cost = comparison.tie_break
    if comparison.better:
        return f"beats {name}"
    if cost is None:
        return f"is not better with {comparison.confidence:.0%} confidence"
    unit = "bytes" if cost.what == "smaller" else "s"
    costs = f"{cost.challenger:.4g} {unit} against {cost.champion:.4g}"
    return f"is as good as {name} and {cost.what if cost.won else f'not notably {cost.what}'} ({costs})"


def _meet(
    step: tracked.Step, problem: Problem, evaluation: Run, winner: dict[str, Any], champion: ModelVersion
) -> tuple[gate.Comparison, str]:
    """Winner and champion on the holdout rows that favour neither, and which rows these were.

    Raises
    ------
    UserError
        Where the champion cannot be asked about these rows, or there are too few of them.
    """
    source = _data(step, evaluation)
    holdout = dataset.load(step, problem, source, "holdout")
    asked = _load_champion(step, champion, holdout)
    new = _new_to(step, problem, champion, asked, holdout)
    rows = f"{len(holdout.y):,} holdout rows"
    if not new.all():
        rows = f"the {new.sum():,} of {rows} that the champion has not learnt from before"
    if new.sum() < FEWEST_ROWS or len(np.unique(holdout.y[new])) < 2:
        raise UserError(f"{rows} are too few to compare on")
    recorded = {"code": winner["code_digest"], "learnt": winner["model_digest"]}
    challenger = models.load(winner["model_uri"], step.folder, **recorded)
    X, places = holdout.X[new], np.flatnonzero(new)
    answers = [
        holdout.answers(model.probabilities(X), threshold=models.threshold(model), rows=places)
        for model in (challenger, asked)
    ]
    rule = problem.gate.beat_champion
    comparison = gate.compare(
        *answers,
        rule.metric,
        confidence=rule.confidence,
        seed=problem.seed,
        groups=None if holdout.groups is None else holdout.groups[new],
    )
    if not comparison.better and rule.or_equal is not None and comparison.is_equal(rule.or_equal.within):
        is_of_size = rule.or_equal.tie_break == "smaller"
        cost = _smaller(step, winner, champion) if is_of_size else _faster(step, challenger, asked, holdout)
        comparison = replace(comparison, tie_break=cost)
    return comparison, rows


def _smaller(step: tracked.Step, winner: dict[str, Any], champion: ModelVersion) -> gate.TieBreak:
    runs = [step.client.get_run(run_id) for run_id in (winner["run_id"], champion.tags["tabular.run"])]
    return gate.TieBreak("smaller", *(records.model_bytes(run, step.folder) for run in runs))


def _faster(step: tracked.Step, challenger: TabularModel, champion: TabularModel, holdout: DataSet) -> gate.TieBreak:
    """The seconds for the same rows, in turn; a replay takes those that were measured then."""
    then = step.arguments["replays"]
    if then:
        told = store.artifact(step.client.get_run(then), store.VERDICT, step.folder).read_text(encoding="utf-8")
        return gate.TieBreak(**json.loads(told)["comparison"]["tie_break"])
    X = holdout.X.iloc[:ROWS_TO_TIME]
    seconds = [[_seconds(model, X) for model in (challenger, champion)] for _ in range(TIMES)]
    return gate.TieBreak("faster", *np.median(seconds, axis=0).tolist())


def _seconds(model: TabularModel, X: pd.DataFrame) -> float:
    started = time.perf_counter()
    model.probabilities(X)
    return time.perf_counter() - started


def _load_champion(step: tracked.Step, champion: ModelVersion, holdout: DataSet) -> TabularModel:
    """Today's champion, if it can be asked about today's rows: the same classes, and no column that they lack."""
    name = f"{champion.name} version {champion.version}"
    recorded = registry.recorded(champion)
    model = models.load(f"models:/{champion.name}/{champion.version}", step.folder, **recorded)
    if model.description["classes"] != list(holdout.schema.classes):
        raise UserError(f"{name} tells other classes apart: {model.description['classes']}")
    today = [asdict(column) for column in holdout.schema.columns]
    lacking = [column["name"] for column in model.description["columns"] if column not in today]
    if lacking:
        raise UserError(f"{name} reads columns that today's data set lacks or has as another type: {listed(lacking)}")
    return model


def _new_to(
    step: tracked.Step, problem: Problem, champion: ModelVersion, asked: TabularModel, holdout: DataSet
) -> np.ndarray:
    """Which holdout rows do not favour the champion, (n,) bool: all, where it was trained on this data set.

    With another seed, or a table that has grown, most of today's holdout may have been among its training rows. A row
    whose like is in the winner's training rows too favours neither: tables of few categories repeat their rows.
    """
    if champion.tags.get(dataset.TRAINED_ON) == holdout.source.data.tags[dataset.TRAINED_ON]:
        return np.ones(len(holdout.y), dtype=bool)
    learnt_from = dataset.source(step, champion.tags.get("tabular.dataset", ""))
    before = dataset.load(step, problem, learnt_from, "train", log=False)
    names = [column["name"] for column in asked.description["columns"]]
    today = dataset.load(step, problem, holdout.source, "train", log=False)
    rows = holdout.fingerprints(names)
    return ~np.isin(rows, before.fingerprints(names)) | np.isin(rows, today.fingerprints(names))


def _add_version(step: tracked.Step, problem: Problem, evaluation: Run, verdict: Verdict) -> ModelVersion:
    """A version with its description and tags, and without the alias: half a registration is never served."""
    place, winner = problem.registry, verdict.winner
    try:
        step.client.create_registered_model(place.name, description=problem.description or None)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    own = step.client.get_run(step.run_id)
    metrics = {f"tabular.{name}": f"{value:.6f}" for name, value in winner["metrics"].items() if value is not None}
    tags = {
        **problem.tags,
        "tabular.problem": problem.name,
        **frozen.model_tags(problem, winner["model"]),
        "tabular.digest.model": winner["model_digest"],
        "tabular.digest.code": winner["code_digest"],
        "tabular.run": winner["run_id"],
        "tabular.register": step.run_id,
        "tabular.commit": own.data.tags.get("mlflow.source.git.commit", ""),
        "tabular.evaluation": evaluation.info.run_id,
        "tabular.dataset": _data(step, evaluation).info.run_id,
        "tabular.data_digest": evaluation.data.tags["tabular.data_digest"],
        dataset.TRAINED_ON: evaluation.data.tags[dataset.TRAINED_ON],
        OUTCOME: verdict.outcome,
        "tabular.verdict": verdict.reason,
        **metrics,
    }
    return _left_without_alias(step, place.name, verdict) or step.client.create_model_version(
        name=place.name,
        source=winner["model_uri"],
        run_id=winner["run_id"],
        tags={name: value[:5000] for name, value in tags.items()},
        description=report.card(reporting.gather(step, problem, evaluation, _data(step, evaluation), verdict, None)),
        model_id=winner["model_uri"].removeprefix("models:/"),
    )


def _left_without_alias(step: tracked.Step, name: str, verdict: Verdict) -> ModelVersion | None:
    """The version that an earlier register made of this very model, and did not live to give the alias."""
    winner = verdict.winner
    # not by its name, in which a quote would end the filter
    versions = step.client.search_model_versions(f"run_id = '{winner['run_id']}'")
    after = int(verdict.champion or 0)
    whole = (version for version in versions if version.name == name and int(version.version) > after)
    return next((v for v in whole if registry.is_winner(step.client, v, winner, step.folder)), None)


def _log(step: tracked.Step, problem: Problem, verdict: Verdict, version: ModelVersion | None) -> None:
    step.json(asdict(verdict), store.VERDICT)
    tags = registry.verdict_tags(problem, verdict.outcome, verdict.reason, verdict.winner["model"], version)
    comparison = verdict.comparison or {}
    metrics = {f"{who}_{comparison['metric']}": comparison[who] for who in ("challenger", "champion") if comparison}
    if not verdict.is_lasting:
        tags[registry.PASSING] = "true"
    step.log(tags=tags, metrics=metrics)
    done = {REGISTERED: "registered", KEPT: "champion kept", REFUSED: "refused"}[verdict.outcome]
    if verdict.outcome == REGISTERED and version is not None:
        done += f" {problem.registry.name} version {version.version}"
    if step.arguments["replays"]:
        done += registry.DRY
    step.finish(f"register {problem.name}", done, f"{done}.\n\n{verdict.reason}.")
