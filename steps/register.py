"""register: the gate, and the registry behind it. The only step of the chain with a side effect.

The winner of an evaluation becomes the champion if it meets what the gate requires and beats today's champion on the
same holdout. Otherwise nothing is written but the verdict, in this step's own run.
"""

from dataclasses import asdict, replace
from typing import Any

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from steps.evaluation import report_data
from steps.evaluation.champion_test import Verdict, data_id, data_set, judge
from steps.model import flavor, provenance, registry, semantic_version, smoke_test
from steps.model.registry import KEPT, NOT_REGISTERED, REFUSED, REGISTERED
from steps.process import lifecycle
from steps.run import artifact_store, artifacts, lookup, run_problem, tracking
from steps.run.step import Step
from steps.run.tags import (
    CODE_DIGEST,
    COMMIT,
    DATA_DIGEST,
    DATASET,
    EVALUATION,
    JUDGED,
    JUDGED_DIGEST,
    MET,
    MODEL_DIGEST,
    MODEL_URI,
    OUTCOME,
    PROBLEM,
    REFITTED_BY,
    REGISTER,
    REGISTRY,
    TRAIN,
    TRAINED_ON,
    TRANSIENT,
    VERDICT,
    VERSION_COMMIT,
    metric_tag,
)
from tabular.errors import UserError
from tabular.problem import BLEND, REFIT, Problem
from tabular.report import report


def register(step: Step) -> None:
    """Judge the winner, and register it where it passes the gate."""
    evaluation = lookup.run(step.client, step.arguments["evaluation"], "evaluation", "evaluate")
    problem = run_problem.problem_of(step, data_set(step) or evaluation)
    step = registry.chosen(step, problem)
    trained = [*lookup.given(step, "models", "train"), *lookup.given(step, BLEND, BLEND)]
    winner = registry.winner(evaluation, trained, step.folder, *lookup.given(step, REFIT, REFIT))
    replayed = step.arguments["replays"]
    if replayed:
        champion = registry.named(step.client, lookup.run(step.client, replayed, "replays").data.tags[MET])
        verdict = _judged(step, problem, evaluation, winner, champion)
        verdict = _tried(step, evaluation, verdict) if verdict.outcome == REGISTERED else verdict
        _tell(step, problem, evaluation, verdict, champion, None)
    else:
        provenance.check_keys()
        _decide(step, problem, evaluation, winner)


def _decide(step: Step, problem: Problem, evaluation: Run, winner: dict[str, Any]) -> None:
    """Decide whether the winner becomes the champion, tell why, and register it if so."""
    made: ModelVersion | None = None
    while True:
        met = registry.champion(step.client, problem)
        verdict = _judged(step, problem, evaluation, winner, met)
        if verdict.outcome == REGISTERED and made is None:
            verdict = _tried(step, evaluation, verdict)
        if verdict.outcome != REGISTERED:
            if made is not None:
                _undo(step, made)
            _tell(step, problem, evaluation, verdict, met, met)
            return
        card = report.card(_report(step, problem, evaluation, verdict))
        with lifecycle.uninterrupted():
            if made is None:
                made = _add_version(step, problem, evaluation, verdict, card)
                provenance.attach(step, made, step.artifacts / artifacts.PROBLEM)
            _tell(step, problem, evaluation, verdict, met, made)
            step.upload(artifacts.REPORT)  # before the alias: who meets a new champion finds why it is one
            # a concurrent chain may have made its winner the champion meanwhile: then that one has to be beaten
            if registry.identity(registry.champion(step.client, problem)) == registry.identity(met):
                place = problem.registry
                about = {"why": verdict.reason, "run_id": step.run_id}
                if registry.move_alias(step.client, made, place.alias, **about):
                    if place.stages:
                        registry.move_stage(step.client, made, registry.PRODUCTION, **about)
                    return


def _judged(
    step: Step, problem: Problem, evaluation: Run, winner: dict[str, Any], champion: ModelVersion | None
) -> Verdict:
    """The verdict, as `judge` has it; where MLflow is to have no model, or none that large, nothing is registered."""
    verdict = judge(step, problem, evaluation, winner, champion)
    if verdict.outcome != REGISTERED:
        return verdict
    if problem.tracking.models == "none":
        why = "tracking.models is none: nothing is registered"
    elif too_large := registry.too_large(step.client, winner["served"]["run_id"]):
        why = f"Nothing is registered, since {too_large}. Raise that key to register it"
    else:
        return verdict
    return replace(verdict, outcome=NOT_REGISTERED, reason=f"{verdict.reason}. {why}")


def _undo(step: Step, made: ModelVersion) -> None:
    """Take back a version that has no alias yet, and the logged model that was made for it alone."""
    step.client.delete_model_version(made.name, made.version)
    logged = artifacts.model_id(step.tags.get(MODEL_URI, ""))
    if logged:
        step.client.delete_logged_model(logged)
        step.log(tags={MODEL_URI: ""})


def _tell(
    step: Step,
    problem: Problem,
    evaluation: Run,
    verdict: Verdict,
    met: ModelVersion | None,
    version: ModelVersion | None,
) -> None:
    """Log a verdict and write the report: `met` was the champion, and `version` is the champion afterwards."""
    step.log(tags={MET: registry.identity(met)})
    _log(step, problem, verdict, version)
    step.flush()  # the report shows this run as well
    told = _report(step, problem, evaluation, verdict, None if version is None else str(version.version))
    for line in told.missing:
        print(f"  note: {line}", flush=True)
    step.text(report.page(told), artifacts.REPORT)


def _tried(step: Step, evaluation: Run, verdict: Verdict) -> Verdict:
    """The verdict after the smoke test of what is to be registered; a winner that fails the test is refused.

    Raises
    ------
    artifact_store.FetchError
        Where the winner cannot be fetched, which says nothing of the winner.
    """
    winner, served = verdict.winner, verdict.winner["served"]
    recorded = {"code": served["code_digest"], "learnt": served["model_digest"]}
    try:
        smoke_test.ask(step, served["model_uri"], data_id(step, evaluation), **recorded)
    except artifact_store.FetchError:
        raise
    except UserError as error:
        return replace(verdict, outcome=REFUSED, reason=f"{winner['model']} cannot serve: {error}", is_lasting=False)
    return verdict


def _report(
    step: Step, problem: Problem, evaluation: Run, verdict: Verdict, version: str | None = None
) -> report.Report:
    return report_data.gather(step, problem, evaluation, data_id(step, evaluation), verdict, version)


def _add_version(step: Step, problem: Problem, evaluation: Run, verdict: Verdict, card: str) -> ModelVersion:
    """Make a version with its description and tags, but without the alias: half a registration is never served."""
    place, winner, served = problem.registry, verdict.winner, verdict.winner["served"]
    try:
        step.client.create_registered_model(place.name, description=problem.description or None)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = lookup.shown(step.client, data_id(step, evaluation))
    metrics = {metric_tag(name): f"{value:.6f}" for name, value in winner["metrics"].items() if value is not None}
    tags = {
        **problem.tags,
        PROBLEM: problem.name,
        **run_problem.model_tags(problem, winner["model"]),
        MODEL_DIGEST: served["model_digest"],
        CODE_DIGEST: served["code_digest"],
        TRAIN: winner["run_id"],
        **_of_judged(winner, served),
        REGISTER: step.run_id,
        VERSION_COMMIT: step.tags.get(COMMIT, ""),
        EVALUATION: evaluation.info.run_id,
        DATASET: source.info.run_id if source is not None else data_id(step, evaluation),
        DATA_DIGEST: evaluation.data.tags[DATA_DIGEST],
        TRAINED_ON: evaluation.data.tags[TRAINED_ON],
        OUTCOME: verdict.outcome,
        VERDICT: verdict.reason,
        **metrics,
        **_semantic(step, problem, source, winner["run_id"]),
    }
    left = _left_without_alias(step, place.name, verdict)
    if left is not None:
        return left
    uri, model_id = _source(step, problem, served)
    return step.client.create_model_version(
        name=place.name,
        source=uri,
        run_id=served["run_id"],
        tags={name: value[:5000] for name, value in tags.items()},
        description=card,
        model_id=model_id,
    )


def _source(step: Step, problem: Problem, served: dict[str, Any]) -> tuple[str, str | None]:
    """The URI of a version's model, and its id; for a registry elsewhere, which knows no logged model, its address."""
    uri = served["model_uri"]
    if not artifacts.model_id(uri):  # of a problem that wants no other logged model than this one
        run = lookup.run(step.client, served["run_id"], "models")
        uri = flavor.log_again(step, run, {PROBLEM: problem.name}).model_uri
    model_id = artifacts.model_id(uri)
    if tracking.registry_is_elsewhere():
        return step.client.get_logged_model(model_id).artifact_location, None
    return uri, model_id


def _semantic(step: Step, problem: Problem, source: Run | None, judged_id: str) -> dict[str, str]:
    """The tags of the semantic version; none where a run that would tell it was purged."""
    judged = lookup.shown(step.client, judged_id)
    if source is None or judged is None:
        return {}
    return semantic_version.tags(step, problem, source, judged)


def _of_judged(winner: dict[str, Any], served: dict[str, Any]) -> dict[str, str]:
    """The tags of a version whose model was fitted on all rows: where the model is that was judged."""
    if served["run_id"] == winner["run_id"]:
        return {}
    return {REFITTED_BY: served["run_id"], JUDGED: winner["model_uri"], JUDGED_DIGEST: winner["model_digest"]}


def _left_without_alias(step: Step, name: str, verdict: Verdict) -> ModelVersion | None:
    """A version of this model from an earlier register that was killed before it could set the alias; else None."""
    winner = verdict.winner
    # not by the registered model's name: a quote in it would end the filter
    versions = step.client.search_model_versions(f"run_id = '{winner['served']['run_id']}'")
    after = int(verdict.champion or 0)
    whole = (version for version in versions if version.name == name and int(version.version) > after)
    return next((v for v in whole if registry.is_winner(step.client, v, winner, step.folder)), None)


def _log(step: Step, problem: Problem, verdict: Verdict, version: ModelVersion | None) -> None:
    step.json(asdict(verdict), artifacts.VERDICT)
    tags = registry.verdict_tags(problem, verdict.outcome, verdict.reason, verdict.winner["model"], version)
    comparison = verdict.comparison or {}
    metrics = {f"{who}_{comparison['metric']}": comparison[who] for who in ("challenger", "champion") if comparison}
    if verdict.outcome == REGISTERED and version is not None and tracking.registry_is_elsewhere():
        tags[REGISTRY] = tracking.registry()
    if not verdict.is_lasting:
        tags[TRANSIENT] = "true"
    step.log(tags=tags, metrics=metrics)
    done = {REGISTERED: "registered", KEPT: "champion kept", REFUSED: "refused", NOT_REGISTERED: "not registered"}[
        verdict.outcome
    ]
    if verdict.outcome == REGISTERED and version is not None:
        done += f" {problem.registry.name} version {version.version}"
    if step.arguments["replays"]:
        done += registry.DRY
    step.finish(f"register {problem.name}", done, f"{done}.\n\n{verdict.reason}.")
