"""hpo: search a model's hyperparameters by cross-validation on the training rows.

Leaves one nested run a trial, the trials as a table, and `best_params.json` for train.
"""

import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Metric, Param, RunTag

from steps import dataset, frozen, guard, records, store, terminal, tracked
from steps.dataset import DataSet
from steps.killed import REASON
from steps.terminal import describe
from tabular import estimators, training
from tabular.errors import UserError
from tabular.folds import Fold
from tabular.metrics import METRICS
from tabular.problem import Problem
from tabular.search import Evaluation, Trial, best, search


def hpo(step: tracked.Step) -> None:
    """Run the search and log what it found."""
    source = dataset.source(step, step.arguments["dataset"])
    problem = frozen.problem_of(step, source)
    name = frozen.model_of(step, problem)
    if not problem.models[name].space:
        raise UserError(f"model: {name!r} has no space to search in the problem {problem.name!r}")
    rows = dataset.load(step, problem, source, "train")
    metric = METRICS[problem.search.metric]
    most, seconds = _limits(step, problem, name)
    at_most = min(problem.search.lag, most, tracked.cores())
    work = _Work(rows, problem, name, rows.folds(problem), at_most)
    started = time.perf_counter()
    with terminal.progress(most, f"hpo {name}", metric.name) as bar, _workers(work) as executor:

        def tell(trial: Trial) -> None:
            _log_trial(step, problem, name, trial)
            bar.score(trial.score, greater_is_better=metric.greater_is_better)

        trials = search(
            _evaluate,
            problem.models[name].space,
            start=estimators.defaults(problem.models[name]),
            greater_is_better=metric.greater_is_better,
            trials=most,
            timeout=seconds,
            seed=problem.seed,
            executor=executor,
            lag=problem.search.lag,
            # main may give this step more threads as others end
            at_once=lambda: min(at_most, tracked.threads(step.arguments["share"])),
            tell=tell,
        )
    _log(step, problem, name, trials, time.perf_counter() - started)


@dataclass(frozen=True)
class _Work:
    """What a process needs to evaluate trials."""

    rows: DataSet
    problem: Problem
    model: str
    cuts: list[Fold]
    at_most: int  # trials at once


# In a process that evaluates trials, what it was forked with.
_HELD: list[_Work] = []


@contextmanager
def _workers(work: _Work) -> Iterator[Executor]:
    """Where trials are evaluated: in processes that share the rows, since estimators hold Python's lock.

    They are forked; where that is not safe, trials take turns in threads.
    """
    if sys.platform == "linux":
        context = multiprocessing.get_context("fork")
        executor: Executor = ProcessPoolExecutor(work.at_most, context, initializer=_hold_apart, initargs=(work,))
    else:
        executor = ThreadPoolExecutor(work.at_most, initializer=_hold, initargs=(work,))
    try:
        yield executor
    finally:
        for worker in multiprocessing.active_children():  # what the search's seconds have ended is of no use
            worker.terminate()
        executor.shutdown(wait=True, cancel_futures=True)


def _hold_apart(work: _Work) -> None:
    guard.leave()
    _hold(work)


def _hold(work: _Work) -> None:
    _HELD[:] = [work]


def _evaluate(params: dict[str, Any]) -> Evaluation:
    """A trial: cross-validate the model with these hyperparameters."""
    (work,) = _HELD
    metric = work.problem.search.metric
    candidate = work.rows.candidate(work.problem, work.model, params)
    threads = max(1, work.rows.threads // work.at_most)
    names = list(dict.fromkeys([metric, "accuracy"]))
    result = training.cross_validate(candidate, work.rows.X, work.rows.y, work.cuts, threads=threads, names=names)
    summary = result.summary()
    return Evaluation(summary[f"cv_{metric}_mean"], {**summary, "cv_seconds": result.seconds})


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


def _log_trial(step: tracked.Step, problem: Problem, model: str, trial: Trial) -> None:
    """A trial as a nested run: one create, one batch, one end."""
    tags = {
        **tracked.identity(),
        **problem.tags,
        **frozen.model_tags(problem, model),
        "tabular.problem": problem.name,
        "tabular.trial": str(trial.number),
        tracked.PARENT: step.run_id,
    }
    title = f"trial {trial.number} {describe(trial.params)}"
    now = int(time.time() * 1000)
    begun = now - int(1000 * trial.metrics.get("cv_seconds", 0))
    note = f"Trial {trial.number} of the search for {model}."
    said = [RunTag(tracked.NOTE, f"{note} It failed: {trial.reason}"), RunTag(REASON, trial.reason[:5000])]
    with guard.undisturbed():
        run = step.client.create_run(step.experiment_id, start_time=begun, tags=tags, run_name=title[:250])
        step.client.log_batch(
            run.info.run_id,
            metrics=[Metric(name, value, now, 0) for name, value in trial.metrics.items()],
            params=[Param(name, str(value)) for name, value in {**trial.params, "model_type": model}.items()],
            tags=said if trial.reason else [RunTag(tracked.NOTE, note)],
        )
        step.client.set_terminated(run.info.run_id, "FAILED" if trial.reason else "FINISHED")


def _log(step: tracked.Step, problem: Problem, model: str, trials: list[Trial], seconds: float) -> None:
    metric = METRICS[problem.search.metric]
    winner = best(trials, greater_is_better=metric.greater_is_better)
    found = {"params": dict(winner.params), "trial": winner.number, metric.name: winner.score}
    step.json(found, store.BEST_PARAMS)
    columns: dict[str, list[Any]] = {"trial": [trial.number for trial in trials]}
    columns[metric.name] = [trial.score for trial in trials]
    for name in problem.models[model].space:
        columns[name] = [trial.params.get(name) for trial in trials]
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
