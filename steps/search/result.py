"""What a search has found, logged: `best_params.json`, `cross_validation.json`, the trials as a table, and the note."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steps.model import fits, out_of_fold
from steps.run import artifacts, run_problem
from steps.run.step import Step, describe
from steps.run.tags import SEEDS, digest_tag
from steps.search.work import Work
from tabular import digests
from tabular.metrics.lookup import sign
from tabular.metrics.metric import rounded
from tabular.model.cross_validation import CrossValidation
from tabular.problem import Problem
from tabular.search.search import Trial, best
from tabular.sections.models import hyperparameters


@dataclass(frozen=True)
class Result:
    """What a search has found.

    Attributes
    ----------
    work
        The work that it was.
    trials
        All trials.
    ended
        When each trial ended, in seconds of the search.
    winner
        The trial that it ended with.
    seeds
        How many fits the model is the mean of.
    cross_validation
        The winner's cross-validation.
    baseline
        Metrics of what can be answered without any column, `cv_<metric>_mean` among them.
    seconds
        What the search took, {metric of the run: seconds}.

    """

    work: Work
    trials: Sequence[Trial]
    ended: Sequence[float]
    winner: Trial
    seeds: int
    cross_validation: CrossValidation
    baseline: Mapping[str, float]
    seconds: Mapping[str, float]

    @property
    def score(self) -> float:
        """The winner's cross-validated score, by the metric of the search."""
        return self.cross_validation.summary()[f"cv_{self.work.problem.search.metric}_mean"]


def log_result(step: Step, result: Result) -> None:
    """Log what a search has found as artifacts, parameters, metrics and digests, and finish the step."""
    work, problem, found = result.work, result.work.problem, result.winner.all_params
    metric = problem.search.metric
    told = {"params": found, SEEDS: result.seeds, "trial": result.winner.number, metric: result.score}
    step.json(told, artifacts.BEST_PARAMS)
    step.json(result.cross_validation.as_dict(), artifacts.CROSS_VALIDATION)
    columns = _table(result)
    step.table(columns, artifacts.TRIALS)
    kept = {name: values for name, values in columns.items() if not name.endswith("_seconds")}
    folds = {name: value for name, value in result.cross_validation.as_dict().items() if name != "seconds"}
    folds["out_of_fold"] = out_of_fold.write(step, result.cross_validation.out_of_fold)
    step.log(
        params={"model_type": work.model, "search_metric": metric, "folds": problem.search.folds, "seed": problem.seed,
                "search_trials": problem.search.trials, "search_timeout": problem.search.timeout,
                **{f"best_{name}": value for name, value in found.items()}},
        metrics={"trials_ended": len(result.trials),
                 "trials_complete": sum(trial.is_complete for trial in result.trials),
                 f"best_cv_{metric}": result.score, f"baseline_cv_{metric}": result.baseline[f"cv_{metric}_mean"],
                 **result.seconds},
        tags={
            **run_problem.model_tags(problem, work.model),
            digest_tag("params"): digests.of_values(found),
            digest_tag("trials"): digests.of_values(kept),
            digest_tag("cross_validation"): digests.of_values(folds),
        },
    )  # fmt: skip
    step.finish(f"hpo {work.model}", _summary(result), _note(result))


def _ended(result: Result) -> str:
    """How many trials there were, what ended them, and how many failed."""
    ended, problem = f"{len(result.trials)} trials", result.work.problem
    if len(result.trials) < problem.search.trials:
        ended += f" of {problem.search.trials} ({_what_ended(problem)})"
    failed = sum(trial.score is None for trial in result.trials)
    if failed:
        ended += f", {failed} failed"
    return ended if result.winner.is_complete else f"{ended}, none evaluated whole"


def _what_ended(problem: Problem) -> str:
    """What ended a search before its trials: its own seconds, or those of the chain."""
    own, whole = problem.search.timeout, problem.timeout
    if whole is None:
        return f"its {own or 0:g} s were over"
    return f"its part of the chain's {whole:g} s was over" if own is None else "its seconds were over"


def _lighter(result: Result) -> list[str]:
    """What the trials do less than a fit on all rows, of wide tables and of samples."""
    rows, problem = result.work.rows, result.work.problem
    return [told for told in (rows.told_of_wide(problem, result.work.model), rows.told_of_sample(problem)) if told]


def _summary(result: Result) -> str:
    """The line that main prints."""
    best_score = f"best cross-validated {result.work.problem.search.metric} {rounded(result.score)}"
    return "; ".join(filter(None, [f"{_ended(result)}, {best_score}", fits.mean_of(result.seeds), *_lighter(result)]))


def _note(result: Result) -> str:
    """What the search did and found, in Markdown."""
    work, problem, winner = result.work, result.work.problem, result.winner
    metric, took = problem.search.metric, f"{result.seconds['search_seconds']:.1f} s"
    did = f"{_ended(result)}; Hyperopt's TPE, {took}. Best: trial {winner.number}, `{describe(winner.all_params)}`."
    if not winner.is_complete:
        did += " It is the best of those that were pruned."
    if (ahead := best(result.trials)).number != winner.number:
        did += f" Trial {ahead.number} was better; to cross-validate it would have taken longer than there was time."
    if failed := next((trial for trial in result.trials if trial.score is None), None):
        did += f" Trial {failed.number} failed: {failed.reason}"
    prior = f"of {work.rows.task(problem).prior} alone: {rounded(result.baseline[f'cv_{metric}_mean'])}"
    said = [did, f"Cross-validated {metric}: {rounded(result.score)}; {prior}."]
    if mean := fits.mean_of(result.seeds):
        said.append(f"What was cross-validated at last is {mean}; trials are one fit each.")
    said += [f"The search: {lighter}." for lighter in _lighter(result)]
    if large := work.rows.told_of_large(problem, work.model):
        said.append(f"A {large}.")
    if work.rows.is_wide:
        said.append(f"A wide table: each trial is fitted and scored {len(work.course.parts)} times at most.")
    return "\n\n".join(said)


def _table(result: Result) -> dict[str, list[Any]]:
    """The trials as the columns of a table, {name: values}."""
    problem, trials = result.work.problem, result.trials
    metric, space = problem.search.metric, problem.models[result.work.model].space
    found = list(dict.fromkeys(name for trial in trials for name in trial.found))
    return {
        "trial": [trial.number for trial in trials],
        metric: [None if trial.score is None else sign(metric) * trial.score for trial in trials],
        "complete": [trial.is_complete for trial in trials],
        **{name: [trial.params.get(name) for trial in trials] for name in hyperparameters(space)},
        **{name: [trial.found.get(name) for trial in trials] for name in found},
        "trial_seconds": [trial.seconds for trial in trials],
        "ended_seconds": list(result.ended),
    }
