"""main: the chain, from a table to a registered champion.

Freezes the problem, runs each task of `steps.pipeline` as a child run in its own process and environment, and says what
came of it.
"""

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import LoggedModelOutput, Run

from steps import environment, frozen, launch, place, store, tracked
from steps.pipeline import plan
from steps.terminal import cell, describe, say, table
from steps.tracked import OUTCOME
from tabular import estimators
from tabular.errors import UserError
from tabular.problem import Problem

# MLflow's UI guesses what kind of experiment it is where nobody says so.
EXPERIMENT_KIND = "mlflow.experimentKind"


def main(step: tracked.Step) -> None:
    """Run the chain."""
    started = time.perf_counter()
    _check_require(step)
    problem = frozen.problem_of(step)
    _introduce(step, problem)
    with ThreadPoolExecutor(max_workers=1) as beside:
        # while etl runs, main would only wait: what the estimators need to be imported is found missing at no cost
        checked = beside.submit(estimators.check, problem.models)
        runs = _run_tasks(step, problem, checked)
    _conclude(step, problem, runs, time.perf_counter() - started)


def _run_tasks(step: tracked.Step, problem: Problem, checked: Future[None]) -> dict[str, str]:
    """Run the tasks in the order of the plan; the ids of their runs by the tasks' names."""
    parent = launch.parent(step.client, step.run_id, step.folder)
    tasks = plan(problem)
    width = max(len(task.name) for task in tasks)
    runs: dict[str, str] = {}
    for task in tasks:
        parameters = task.parameters(step.run_id, runs)
        runs[task.name] = launch.create(step.client, task, parent, parameters)
        say(f"  {task.name} …")
        try:
            ended = launch.start(step.client, task, runs[task.name], parent, parameters)
        except launch.StepFailed as failed:
            step.log(tags={"step.failed": failed.step})
            say(f"  {task.name:<{width}}  FAILED  run {runs[task.name]}")
            raise
        say(f"  {task.name:<{width}}  {ended.seconds:6.1f} s  {ended.summary}")
        checked.result()
    return runs


def _check_require(step: tracked.Step) -> None:
    wanted = step.arguments["require"]
    if wanted not in ("", "registered"):
        raise UserError(f"require: {wanted!r} is not known; 'registered' makes a run without a new champion FAILED")


def _introduce(step: tracked.Step, problem: Problem) -> None:
    """Say what is about to happen, and log what it happens in."""
    say(f"tabular  {problem.name}: predict {problem.data.target!r} of {problem.data.source}")
    experiment = step.client.get_experiment(step.experiment_id)
    say(f"  run {step.run_id} in the experiment {experiment.name!r} of {mlflow.get_tracking_uri()}")
    if EXPERIMENT_KIND not in experiment.tags:
        step.client.set_experiment_tag(step.experiment_id, EXPERIMENT_KIND, "custom_model_development")
    if experiment.name == "Default":
        say("  hint: --experiment-name NAME keeps these runs together")
    patch = place.changes(step.folder)
    tags = {"tabular.lock": environment.lock_digest(), "tabular.tree": "changed" if patch else "clean"}
    if patch:
        mlflow.log_artifact(str(patch))
    mlflow.log_dict(environment.describe(), "environment.json")
    step.log(tags={**tags, "mlflow.runName": f"main {problem.name}"})


def _conclude(step: tracked.Step, problem: Problem, runs: dict[str, str], seconds: float) -> None:
    """The table of candidates, the verdict, and what to type next."""
    evaluation = step.client.get_run(runs["evaluate"])
    verdict = step.client.get_run(runs["register"])
    tags = verdict.data.tags
    rows = leaderboard(evaluation, step.folder)
    step.table({name: [row[name] for row in rows] for name in rows[0]}, store.LEADERBOARD)
    outcome = tags[OUTCOME]
    kept = ("tabular.verdict", "tabular.champion", "tabular.champion.version", "tabular.winner")
    step.log(
        metrics={**_plain(evaluation), "chain_seconds": seconds},
        tags={OUTCOME: outcome, **{name: tags[name] for name in kept if name in tags}},
    )
    say()
    say(table([_shown(row, problem) for row in rows]))
    say()
    say(f"  {tags['tabular.verdict']}")
    _log_ends(step, step.client.get_run(runs["etl"]), rows[0])
    _say_next(step, tags, seconds)
    step.finish(f"main {problem.name}", outcome, _note(rows, problem, tags, seconds))
    if step.arguments["require"] == "registered" and outcome != "registered":
        raise UserError(f"require: nothing was registered ({outcome}): {tags['tabular.verdict']}")


def leaderboard(evaluation: Run, folder: Path) -> list[dict[str, Any]]:
    """The rows of the leaderboard that evaluate left, the best candidate first."""
    found = json.loads(store.artifact(evaluation, store.LEADERBOARD, folder).read_text(encoding="utf-8"))
    return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]


def _plain(evaluation: Run) -> dict[str, float]:
    """The winner's metrics, those without a model's name before them."""
    return {name: value for name, value in evaluation.data.metrics.items() if "/" not in name}


def _shown(row: dict[str, Any], problem: Problem) -> dict[str, Any]:
    """What of a leaderboard's row fits a terminal."""
    metric = problem.search.metric
    names = ["model", metric, f"cv_{metric}_mean", "accuracy", "f1_score", "log_loss", "fit_seconds", "gate"]
    return {name: row[name] for name in dict.fromkeys(names)}


def _log_ends(step: tracked.Step, etl: Run, winner: dict[str, Any]) -> None:
    """What the chain began with and what came of it, on main's own page: the data set and the winner's model."""
    step.client.log_inputs(step.run_id, datasets=etl.inputs.dataset_inputs)
    model = step.client.get_run(winner["run"]).data.tags["tabular.model_uri"].removeprefix("models:/")
    step.client.log_outputs(step.run_id, models=[LoggedModelOutput(model, step=0)])


def _say_next(step: tracked.Step, tags: dict[str, str], seconds: float) -> None:
    uri = tags.get("tabular.champion")
    say(f"  {tags[OUTCOME]} after {seconds:.1f} s")
    if uri is None:
        return
    say()
    say(f"  champion  {uri} (version {tags['tabular.champion.version']})")
    tracking = mlflow.get_tracking_uri()
    page = f"{tracking}/#/experiments/{step.experiment_id}/runs/{step.run_id}"
    look = page if tracking.startswith("http") else f"mlflow ui --backend-store-uri {tracking}"
    example = "serving_input_example.json"
    say()
    say(f"  first     export MLFLOW_TRACKING_URI={tracking}")
    say(f"  look      {look}")
    say(f"  serve     mlflow models serve -m {uri} --env-manager uv -p 5001")
    say(f"  a row     mlflow artifacts download -u {uri}/{example} -d .")
    say(f"  score     curl http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' -d @{example}")


def _note(rows: list[dict[str, Any]], problem: Problem, tags: dict[str, str], seconds: float) -> str:
    shown = [_shown(row, problem) for row in rows]
    header = list(shown[0])
    lines = [f"**{tags[OUTCOME]}**: {tags['tabular.verdict']}.", "", "| " + " | ".join(header) + " |"]
    lines.append("|" + "---|" * len(header))
    lines += ["| " + " | ".join(cell(value) for value in row.values()) + " |" for row in shown]
    lines += ["", f"{describe({'seed': problem.seed})}, {seconds:.0f} s."]
    return "\n".join(lines)


if __name__ == "__main__":
    tracked.run("main", main)
