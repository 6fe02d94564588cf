"""hpo: search a model's hyperparameters by cross-validation on the training rows.

Leaves one nested run a trial, the trials as a table, and `best_params.json` for train.
"""

import time
from typing import Any

from mlflow.entities import Metric, Param, RunTag

from steps import dataset, frozen, guard, records, store, terminal, tracked
from steps.terminal import describe
from tabular import training
from tabular.errors import UserError
from tabular.metrics import METRICS
from tabular.problem import Problem
from tabular.search import Trial, best, search


def hpo(step: tracked.Step) -> None:
    """Run the search and log what it found."""
    source = dataset.source(step, step.arguments["dataset"])
    problem = frozen.problem_of(step, source)
    name = frozen.model_of(step, problem)
    if not problem.models[name].space:
        raise UserError(f"model: {name!r} has no space to search in the problem {problem.name!r}")
    rows = dataset.load(step, problem, source, "train")
    cuts = rows.folds(problem)
    metric = METRICS[problem.search.metric]
    names = list(dict.fromkeys([metric.name, "accuracy"]))
    most, seconds = _limits(step, problem, name)
    started = time.perf_counter()

    with terminal.progress(most, f"hpo {name}", metric.name) as bar:

        def objective(number: int, params: dict[str, Any]) -> float:
            begun = time.time()
            candidate = rows.candidate(problem, name, params)
            result = training.cross_validate(candidate, rows.X, rows.y, cuts, threads=rows.threads, names=names)
            summary = result.summary()
            _log_trial(step, problem, name, number, params, {**summary, "cv_seconds": result.seconds}, begun)
            score = summary[f"cv_{metric.name}_mean"]
            bar.score(score, greater_is_better=metric.greater_is_better)
            return score

        trials = search(
            objective,
            problem.models[name].space,
            greater_is_better=metric.greater_is_better,
            trials=most,
            timeout=seconds,
            seed=problem.seed,
        )
    _log(step, problem, name, trials, time.perf_counter() - started)


def _limits(step: tracked.Step, problem: Problem, model: str) -> tuple[int, float | None]:
    """After how many trials and seconds the search ends.

    One that repeats another ends after as many trials as that one had, however fast this machine is today.

    Raises
    ------
    UserError
        Where that one was another search.
    """
    replayed = step.arguments["replays"]
    if not replayed:
        return problem.search.trials, problem.search.timeout
    run = store.run(step.client, replayed, "replays", "hpo")
    then = store.problem(run, step.folder)
    if (then.search, then.models.get(model)) != (problem.search, problem.models[model]):
        raise UserError(f"replays: run {replayed} was another search than this one: give one of the same problem")
    return int(run.data.metrics["trials_ended"]), None


def _log_trial(
    step: tracked.Step,
    problem: Problem,
    model: str,
    number: int,
    params: dict[str, Any],
    metrics: dict[str, float],
    begun: float,
) -> None:
    """A trial as a nested run: one create, one batch, one end."""
    tags = {
        **tracked.identity(),
        **problem.tags,
        **frozen.model_tags(problem, model),
        "tabular.problem": problem.name,
        "tabular.trial": str(number),
        tracked.PARENT: step.run_id,
    }
    title = f"trial {number} {describe(params)}"
    now = int(time.time() * 1000)
    with guard.undisturbed():
        run = step.client.create_run(step.experiment_id, start_time=int(begun * 1000), tags=tags, run_name=title[:250])
        step.client.log_batch(
            run.info.run_id,
            metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
            params=[Param(name, str(value)) for name, value in {**params, "model_type": model}.items()],
            tags=[RunTag(tracked.NOTE, f"Trial {number} of the search for {model}.")],
        )
        step.client.set_terminated(run.info.run_id)


def _log(step: tracked.Step, problem: Problem, model: str, trials: list[Trial], seconds: float) -> None:
    metric = METRICS[problem.search.metric]
    winner = best(trials, greater_is_better=metric.greater_is_better)
    found = {"params": dict(winner.params), "trial": winner.number, metric.name: winner.score}
    step.json(found, store.BEST_PARAMS)
    columns: dict[str, list[Any]] = {"trial": [trial.number for trial in trials]}
    columns[metric.name] = [trial.score for trial in trials]
    for name in problem.models[model].space:
        columns[name] = [trial.params[name] for trial in trials]
    step.table(columns, store.TRIALS)
    step.log(
        params={"model_type": model, "search_metric": metric.name, "folds": problem.search.folds, "seed": problem.seed,
                "search_trials": problem.search.trials, "search_timeout": problem.search.timeout,
                **{f"best_{name}": value for name, value in winner.params.items()}},
        metrics={"trials_ended": len(trials), f"best_cv_{metric.name}": winner.score, "search_seconds": seconds},
        tags={
            **frozen.model_tags(problem, model),
            "tabular.digest.params": records.digest(found["params"]),
            "tabular.digest.trials": records.digest(columns),
        },
    )  # fmt: skip
    ended = f"{len(trials)} trials"
    if len(trials) < problem.search.trials:
        ended += f" of {problem.search.trials} (its {problem.search.timeout:g} s were over)"
    summary = f"{ended}, best cross-validated {metric.name} {winner.score:.4f}"
    note = f"{ended} of Hyperopt's TPE in {seconds:.1f} s. Best: trial {winner.number}, `{describe(winner.params)}`."
    step.finish(f"hpo {model}", summary, f"{note}\n\nCross-validated {metric.name}: {winner.score:.4f}.")
