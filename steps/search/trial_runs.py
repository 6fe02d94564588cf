"""The trials of a search as nested runs of MLflow, each logged with three requests: create, batch and end.

Each run holds all that Hyperopt must know of its trial, so that a search that was killed can continue on any machine.
Where the problem asks for the best trials alone, or for none, they are logged when the search has ended, or never: one
that was killed has none, and begins anew.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.entities import Metric, Param, Run

from steps.process import lifecycle
from steps.run import lookup, run_owner, run_problem
from steps.run.step import Step, describe
from steps.run.tags import BASELINE, NOTE, PARENT, PROBLEM, PRUNED, REASON, SEARCH_KEY, TRIAL, TRIAL_SAVED
from tabular.metrics.lookup import sign
from tabular.problem import Problem

if TYPE_CHECKING:  # the module imports Hyperopt, which the comparison of runs does not need
    from tabular.search.search import Trial

# The most characters that MLflow holds in a tag.
LONGEST = 5000


def log_best(
    step: Step, problem: Problem, model: str, trials: Sequence["Trial"], winner: "Trial", ended: Sequence[float]
) -> float:
    """Log as many trials of a search that has ended as the problem asks for; return the seconds that this took.

    Parameters
    ----------
    step, problem, model
        As of `log`.
    trials
        All trials.
    winner
        The trial that the search has ended with, which is the first of those that are logged.
    ended
        When each trial ended, a value of `time.time`.
    """
    most = problem.tracking.most_trials
    if most is None:  # each one was logged when it ended
        return 0.0
    when = dict(zip((trial.number for trial in trials), ended, strict=True))
    shown = sorted(trials, key=lambda trial: (trial.number == winner.number, trial.place), reverse=True)[:most]
    return sum(log(step, problem, model, trial, when[trial.number]) for trial in shown)


def log(step: Step, problem: Problem, model: str, trial: "Trial", ended: float | None = None) -> float:
    """Log a trial as a nested run; return the seconds that the logging took.

    `ended` is when the trial ended, a value of `time.time`; None: now.
    """
    started = time.perf_counter()
    metric = problem.search.metric
    note, tags = f"Trial {trial.number} of the search for {model}.", {}
    metrics = {}
    if trial.score is None:
        note += f" It failed: {trial.reason}"
        tags[REASON] = trial.reason
    else:
        metrics = {f"search_{metric}": sign(metric) * trial.score, "trial_seconds": trial.seconds}
        if len(trial.saved) <= LONGEST:
            tags[TRIAL_SAVED] = trial.saved
    if trial.score is not None and not trial.is_complete:
        parts = f"{len(trial.parts)} {'part' if len(trial.parts) == 1 else 'parts'}"
        note += f" Pruned after {parts}, when it could not win any more; its score is an estimate."
        tags[PRUNED] = f"after {parts}"
    title = f"trial {trial.number} {describe(trial.params)}"
    status = "FAILED" if trial.reason else "FINISHED"
    own = {TRIAL: str(trial.number), **tags}
    when = time.time() if ended is None else ended
    _log(step, problem, model, title, note, trial.all_params, metrics, own, (when - trial.seconds, when), status)
    return time.perf_counter() - started


def log_baseline(step: Step, problem: Problem, model: str, metrics: Mapping[str, float], prior: str) -> None:
    """Log the baseline of a search as a nested run: what can be answered without any column.

    Where no trial is a run, neither is the baseline: its score is a metric of the search.

    Parameters
    ----------
    step
        The step that searches.
    problem
        The problem.
    model
        Name of the model that is searched for.
    metrics
        Metrics of the baseline, `cv_<metric>_mean` among them.
    prior
        What it answers, in words.

    """
    if problem.tracking.most_trials == 0:
        return
    known = {name: value for name, value in metrics.items() if not math.isnan(value)}
    shown = {**known, f"search_{problem.search.metric}": metrics[f"cv_{problem.search.metric}_mean"]}
    note = f"For every row the same answer, {prior} of the fitted rows: what any model has to be better than."
    _log(step, problem, model, "baseline", note, {}, shown, {BASELINE: "prior"}, (time.time(),) * 2, "FINISHED")


def _log(
    step: Step,
    problem: Problem,
    model: str,
    title: str,
    note: str,
    params: Mapping[str, object],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    when: tuple[float, float],
    status: str,
) -> None:
    about = {
        **problem.tags,
        **run_problem.model_tags(problem, model),
        PROBLEM: problem.name,
        PARENT: step.run_id,
    }
    own = {NOTE: note, **tags}
    began, ended = (int(1000 * seconds) for seconds in when)
    with lifecycle.uninterrupted():
        run = step.client.create_run(
            step.experiment_id,
            start_time=began,
            # with the creation: in the batch MLflow would look up each tag first
            tags={name: value[:LONGEST] for name, value in {**run_owner.tags(), **about, **own}.items()},
            run_name=title[:250],
        )
        step.client.log_batch(
            run.info.run_id,
            metrics=[Metric(name, value, ended, 0) for name, value in metrics.items()],
            params=[Param(name, str(value)) for name, value in {**params, "model_type": model}.items()],
        )
        step.client.set_terminated(run.info.run_id, status, end_time=ended)


def earlier(step: Step, key: str) -> Path | None:
    """The finished trials of an earlier search that was killed, as a file for `tabular.search.search`.

    Parameters
    ----------
    step
        The step that searches.
    key
        The key of the search; only trials of a search with the same key are taken.

    Returns
    -------
    Path or None
        The file with one trial a line, of the search with the most trials; None where there is no trial.

    """
    ended = step.client.search_runs(
        [step.experiment_id], f"tags.`{SEARCH_KEY}` = '{key}' and attributes.status != 'FINISHED'", max_results=10
    )
    found = [_saved(step, run) for run in ended if run.info.run_id != step.run_id]
    most = max(found, key=len, default=[])
    if not most:
        return None
    path = step.folder / "saved"
    path.write_text("".join(f"{line}\n" for line in most), encoding="utf-8")
    return path


def _saved(step: Step, run: Run) -> list[str]:
    asked = f"tags.`{PARENT}` = '{run.info.run_id}' and tags.`{TRIAL_SAVED}` != ''"
    children = lookup.every(lambda page: step.client.search_runs([step.experiment_id], asked, page_token=page))
    lines = [child.data.tags[TRIAL_SAVED] for child in children]
    return sorted(lines, key=lambda line: json.loads(line)["tid"])
