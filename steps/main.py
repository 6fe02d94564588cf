"""main: the chain, from a table to a registered champion.

Freezes the problem, runs each task of `steps.pipeline` as a child run in its own process and environment, and reports
the result.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Experiment, Run
from mlflow.environment_variables import MLFLOW_REGISTRY_URI, MLFLOW_TRACKING_URI
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path, path_to_local_sqlite_uri
from mlflow.utils.uri import is_local_uri

from steps.chain import budget, cleanup, launch, store_check
from steps.chain.orchestrator import Chain, Orders
from steps.model import provenance, registry
from steps.pipeline import ENGINE
from steps.replay import options
from steps.run import artifacts, engine, fetching, inputs, kept, paths, run_problem, task, thread_budget, tracking
from steps.run.step import Step, describe
from steps.run.tags import (
    CHAMPION,
    CHAMPION_VERSION,
    FAILED_STEP,
    LEFT_OUT,
    MODEL_URI,
    NOTE,
    OF_A_STEP,
    OUTCOME,
    REPORTED,
    ROWS_LEARNT,
    VERDICT,
    WINNER,
)
from steps.run.terminal import markdown, say, table
from tabular.errors import UserError, first_line
from tabular.metrics.lookup import CLASSIFICATION, REGRESSION, task_of
from tabular.metrics.metric import rounded
from tabular.problem import BLEND, REFIT, Problem

# The tag for the kind of an experiment; MLflow's UI guesses the kind where the tag is missing.
EXPERIMENT_KIND = "mlflow.experimentKind"
# From this share of a chain's seconds on, it is said why they are left.
SPARE = 0.5
# The metrics of a candidate that the terminal shows beside the one that ranks.
BESIDE = {CLASSIFICATION: ("accuracy", "f1_score", "log_loss"), REGRESSION: ("mae", "r2", "interval_coverage")}


def main(step: Step) -> None:
    """Run the chain."""
    started = time.perf_counter()
    _check_require(step)
    replayed = options.of(step)
    orders = _orders(step, replayed)
    problem = _pinned(step, run_problem.asked(step))
    say(f"tabular  {problem.name}: predict {problem.data.target!r} of {fetching.source(problem.data)}")
    problem = task.settled(step, problem)
    step = registry.chosen(step, problem)
    step.name_run(_title(problem))
    if replayed is None:  # a replay leaves the registry alone
        store_check.registry(step, problem.registry.name)
        _check_keys()
    engine.probe(step.arguments, problem.ranks)
    kept.begin(step.folder)
    run_problem.freeze(step, problem)
    store_check.is_servers(step, artifacts.PROBLEM)
    kept.keep(step.client.get_run(step.run_id))
    _introduce(step, {} if replayed is not None else _of_experiment(problem))
    cleanup.sweep(step)
    try:
        chain = Chain(step.client, problem, launch.parent(step), orders)
        runs = chain.run()
    except launch.StepFailed as failed:
        step.log(tags={FAILED_STEP: failed.step})
        raise
    _conclude(step, problem, runs, chain.budget, time.perf_counter() - started)


def _check_require(step: Step) -> None:
    wanted = step.arguments["require"]
    if wanted not in ("", "registered"):
        raise UserError(f"require: {wanted!r} is not known; 'registered' makes a run without a new champion FAILED")


def _check_keys() -> None:
    """Read the keys of signatures now, since register, at the end of the chain, is too late to find one unfit."""
    told = provenance.check_keys()
    if told:
        say(f"  note: {told}")


def _orders(step: Step, replayed: Mapping[str, Mapping[str, str]] | None) -> Orders:
    """How the chain is to be run; a replay reuses nothing, and repeats what the clock decided then."""
    cores = thread_budget.cores()
    text = step.arguments["jobs"] or str(cores)
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"jobs: {text!r} is not a whole number above 0; it says how many steps work at the same time")
    wanted = step.arguments["reuse"].lower() or "true"
    if wanted not in ("true", "false"):
        raise UserError(f"reuse: {wanted!r} is neither 'true' nor 'false'; 'false' runs every step again")
    jobs = min(int(text), cores)  # each step needs a core of its own
    where = {name: step.arguments[name] for name in ENGINE}
    if replayed is not None:
        return Orders(jobs, cores, reuse=False, extra=replayed, engine=where)
    return Orders(jobs, cores, reuse=wanted == "true", begun=budget.begun(launch.parent(step)), engine=where)


def _pinned(step: Step, problem: Problem) -> Problem:
    """The problem with the digest of its data, so that the steps read the data as it was when the chain began."""
    data, where = problem.data, fetching.source(problem.data)
    if where.kind == "sklearn":
        return problem
    digest = fetching.pin(step, where, data.sha256)
    return problem.model_copy(update={"data": data.model_copy(update={"sha256": digest})})


def _title(problem: Problem) -> str:
    """What main's run is called, unless a person names it."""
    return problem.tracking.run_name or f"main {problem.name}"


def _of_experiment(problem: Problem) -> dict[str, str]:
    """The tags that the problem wants the experiment to have; its description is one of MLflow's own."""
    asked = problem.tracking
    return {**asked.tags, **({NOTE: asked.description} if asked.description else {})}


def _introduce(step: Step, told: Mapping[str, str]) -> None:
    """Print in which experiment and store the chain is about to run, and give the experiment these tags."""
    experiment = step.client.get_experiment(step.experiment_id)
    say(f"  run {step.run_id} in the experiment {experiment.name!r} of {tracking.address()}")
    kind = {} if EXPERIMENT_KIND in experiment.tags else {EXPERIMENT_KIND: "custom_model_development"}
    _tag(step, experiment, {**kind, **told})
    if experiment.name == "Default":
        say("  hint: --experiment-name NAME keeps these runs together")


def _tag(step: Step, experiment: Experiment, told: Mapping[str, str]) -> None:
    """Set tags of the experiment; of several chains that begin in a new one at once, one succeeds."""
    for name, value in told.items():
        if experiment.tags.get(name) == value:
            continue
        try:
            step.client.set_experiment_tag(step.experiment_id, name, value)
        except MlflowException:  # the database refuses a second row for the tag
            if step.client.get_experiment(step.experiment_id).tags.get(name) != value:
                raise


def _conclude(step: Step, problem: Problem, runs: dict[str, Run], whole: budget.Budget, seconds: float) -> None:
    """Print and log the table of candidates and the verdict, and print what to type next."""
    evaluation = runs["evaluate"]
    tags = runs["register"].data.tags
    step.json({name: run.info.run_id for name, run in runs.items()}, artifacts.CHAIN)
    rows = _in_hand(leaderboard(evaluation, step.folder), runs)
    step.table(artifacts.by_column(rows), artifacts.LEADERBOARD)
    outcome = tags[OUTCOME]
    kept = (VERDICT, CHAMPION, CHAMPION_VERSION, WINNER)
    step.log(
        metrics={**_plain(evaluation), "chain_seconds": seconds},
        tags={
            OUTCOME: outcome,
            **{name: tags[name] for name in kept if name in tags},
            **{name: value for name, value in evaluation.data.tags.items() if name == LEFT_OUT},
        },
    )
    say()
    say(table([_shown(row, problem) for row in rows]))
    say()
    left_out = artifacts.content(evaluation, artifacts.EVALUATION, step.folder).get("left_out", {})
    for model, reason in left_out.items():
        say(f"  left out: {model} ({reason})")
    say(f"  {tags[VERDICT]}")
    refitted = [run for name, run in runs.items() if name == REFIT and MODEL_URI in run.data.tags]
    _log_ends(step, runs["etl"], *refitted or [_holding(rows[0]["model"], runs)])
    _say_next(step, problem, tags, _keep_report(step, runs["register"]), seconds)
    took = _tell_budget(step, problem, runs, whole)
    step.finish(_title(problem), outcome, _note(rows, problem, tags, left_out, seconds) + took)
    if step.arguments["require"] == "registered" and outcome != "registered":
        step.upload_artifacts()  # the chain has done its work, and its run should show it
        raise UserError(f"require: nothing was registered ({outcome}): {tags[VERDICT]}")


def _tell_budget(step: Step, problem: Problem, runs: Mapping[str, Run], whole: budget.Budget) -> str:
    """Print and log what became of the chain's seconds, where they were limited; return it for the note."""
    rows = whole.told()
    if not rows:
        return ""
    say()
    say(table(rows))
    step.table(artifacts.by_column(rows), artifacts.BUDGET)
    ran = {row["step"] for row in rows}
    searches = [run for name, run in runs.items() if name in ran and name.startswith("hpo ")]
    spare = _spare(problem, searches, whole.left())
    if spare:
        say(f"  {spare}")
    return "\n\n".join(["", *filter(None, [markdown(rows), spare])])


def _spare(problem: Problem, searches: Sequence[Run], left: float) -> str:
    """Why most of the chain's seconds are left after these searches, with the way to use them; else empty."""
    trials, whole = problem.search.trials, problem.timeout or 0.0
    if left < SPARE * whole or all(run.data.metrics.get("trials_ended", 0) < trials for run in searches):
        return ""
    why = f"since a search ends after {trials} trials: -P trials={5 * trials} tries more"
    return f"{left:.0f} of {whole:g} s are left, {why}"


def leaderboard(evaluation: Run, folder: Path) -> list[dict[str, Any]]:
    """The rows of the leaderboard that evaluate left, the best candidate first."""
    found = artifacts.table(evaluation, artifacts.LEADERBOARD, folder)
    return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]


def _in_hand(rows: list[dict[str, Any]], runs: Mapping[str, Run]) -> list[dict[str, Any]]:
    """The rows with the runs of this chain: a reused evaluation names the runs that it judged at that time."""
    return [{**row, "run": _holding(row["model"], runs).info.run_id} for row in rows]


def _holding(model: str, runs: Mapping[str, Run]) -> Run:
    """The run that holds a candidate's model: of train, or of blend."""
    return runs[model if model == BLEND else f"train {model}"]


def _plain(evaluation: Run) -> dict[str, float]:
    """The winner's metrics: those whose names have no model's name as a prefix, and that are not of the step itself."""
    return {name: value for name, value in evaluation.data.metrics.items() if "/" not in name and name not in OF_A_STEP}


def _shown(row: dict[str, Any], problem: Problem) -> dict[str, Any]:
    """The columns of a leaderboard's row that fit a terminal."""
    metric = problem.search.metric
    low, high = row[f"{metric}_low"], row[f"{metric}_high"]
    sure = {"95 %": "" if low is None else f"{rounded(low)} to {rounded(high)}"}
    promised = {f"cv_{metric}": row[f"cv_{metric}_mean"]}
    names = [*BESIDE[task_of(metric)], *({ROWS_LEARNT} & row.keys()), "fit_seconds", "gate"]
    others = {name: row[name] for name in names if name != metric}
    return {"model": row["model"], **promised, metric: row[metric], **sure, **others}


def _log_ends(step: Step, etl: Run, winner: Run) -> None:
    """Log the data set and the winner's model to main's own run, as its input and output."""
    inputs.log_again(step, etl.inputs.dataset_inputs)
    inputs.log_output(step.client, step.run_id, artifacts.model_id(winner.data.tags[MODEL_URI]))


def _keep_report(step: Step, register: Run) -> str | None:
    """Copy the report into main's own run, since a chain is run for the report; return where it will be found.

    None where there is no report.
    """
    holder = register.data.tags.get(REPORTED)
    if holder == "":
        return None  # the champion is older than reports
    try:
        run = register if holder is None else step.client.get_run(holder)
        page = artifacts.artifact(run, artifacts.REPORT, step.folder)
    except (UserError, MlflowException) as error:  # a missing report is no reason for this run to fail
        say(f"  note: the report that tells why the champion is what it is cannot be had: {first_line(error)}")
        return None
    shutil.copy(page, step.artifacts)
    if is_local_uri(step.artifact_uri):
        return f"{local_file_uri_to_path(step.artifact_uri)}/{artifacts.REPORT}"
    return f"{_page(step)}/artifacts"


def _page(step: Step) -> str:
    """The address of main's run on a tracking server."""
    return f"{tracking.address()}/#/experiments/{step.experiment_id}/runs/{step.run_id}"


def _to_export() -> dict[str, str]:
    """The variables without which what is typed next, where the chain was typed, would ask another store than its own.

    None where MLflow takes this store there by itself, or was told of it by these variables.
    """
    theirs = paths.caller_environment()
    usual = path_to_local_sqlite_uri(str(paths.caller_folder() / "mlflow.db"))
    found = {}
    if (theirs.get(MLFLOW_TRACKING_URI.name) or usual) != mlflow.get_tracking_uri():
        found[MLFLOW_TRACKING_URI.name] = tracking.address()
    if tracking.registry_is_elsewhere() and theirs.get(MLFLOW_REGISTRY_URI.name) != mlflow.get_registry_uri():
        found[MLFLOW_REGISTRY_URI.name] = tracking.registry()
    return found


def _say_next(step: Step, problem: Problem, tags: dict[str, str], report: str | None, seconds: float) -> None:
    uri = tags.get(CHAMPION)
    replayed = registry.DRY if step.arguments["replays"] else ""
    say(f"  {tags[OUTCOME]} after {seconds:.1f} s{replayed}")
    say()
    if report is not None:
        say(f"  report    {report}")
    if uri is None:
        return
    say(f"  champion  {uri} (version {tags[CHAMPION_VERSION]})")
    store = tracking.address()
    look = _page(step) if tracking.is_server() else f"mlflow ui --backend-store-uri {store}"
    example = "serving_input_example.json"
    say()
    for number, (name, value) in enumerate(_to_export().items()):
        say(f"  {'' if number else 'first':10}export {name}={value}")
    say(f"  look      {look}")
    say(f"  serve     mlflow models serve -m {uri} --env-manager uv -p 5001")
    if not problem.tracking.input_example:
        return  # no row comes with the model
    say(f"  a row     mlflow artifacts download -u {uri}/{example} -d .")
    say(f"  score     curl http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' -d @{example}")


def _note(
    rows: list[dict[str, Any]], problem: Problem, tags: dict[str, str], left_out: Mapping[str, str], seconds: float
) -> str:
    parts = [f"**{tags[OUTCOME]}**: {tags[VERDICT]}.", markdown([_shown(row, problem) for row in rows])]
    parts += [f"**Left out**: {model} ({reason})." for model, reason in left_out.items()]
    return "\n\n".join([*parts, f"{describe({'seed': problem.seed})}, {seconds:.0f} s."])
