"""train: cross-validate a model with its best hyperparameters, and fit it on all training rows.

Writes cross-validated and training metrics, the loss by iteration where the model has iterations, and the fitted model.
"""

import math
import time
from functools import partial
from typing import Any

import numpy as np
from mlflow.entities import Metric, Run

from steps.model import dataset, fits, flavor, memory_budget, out_of_fold
from steps.run import artifacts, environment, lookup, run_problem, terminal, thread_budget
from steps.run.step import Step, describe
from steps.run.tags import (
    CODE_DIGEST,
    MODEL,
    MODEL_DIGEST,
    MODEL_URI,
    PROBLEM,
    REASON,
    ROWS_LEARNT,
    SEARCH,
    SHARE_OF_ROWS,
    digest_tag,
)
from tabular import digests
from tabular.data.folds import Fold
from tabular.errors import CandidateError, OutOfTimeError, UserError
from tabular.metrics.classification import DEFAULT_THRESHOLD
from tabular.metrics.lookup import with_named
from tabular.metrics.metric import over_folds, rounded
from tabular.model import budget, cross_validation, loss_curves, training
from tabular.model.calibration import Calibration
from tabular.model.intervals import Intervals
from tabular.problem import Problem
from tabular.sections.models import WEIGHTS

# What train takes beside its fits (the training scores, the model logged), and what is left for them all the same.
FINISH_SECONDS, LEAST_SHARE = 2.5, 0.3


def train(step: Step) -> None:
    """Cross-validate, fit, log the model."""
    source = dataset.source(step, step.arguments["dataset"])
    problem = run_problem.problem_of(step, source)
    name = run_problem.model_of(step, problem)
    rows = dataset.load(step, problem, source, "train", model=name, ranks=fits.ranks_of(problem, name))
    large = rows.told_of_large(problem, name)
    if large:
        terminal.say(f"  train {name}: {large}")
    then = lookup.repeated(step, name) if step.arguments["replays"] else None
    search = _search(step, name)
    params, seeds = fits.found(step, problem, name, search)
    candidate = rows.candidate(problem, name, params, seeds)
    names = with_named(rows.schema.task, problem.search.metric)
    share, cuts = 1.0, [] if search else rows.folds(problem)
    if not search:
        share = _share(step, problem, candidate, rows, cuts, then)
        candidate = budget.on_share(candidate, share)
    every = budget.sample(candidate, share, rows.y, rows.learnt(problem))
    memory_budget.check_fit(candidate, rows, len(rows.y) if every is None else len(every))
    if search:  # hpo has cross-validated the best trial on the same folds
        result = _found_by(search, step)
    else:
        result = cross_validation.cross_validate(
            candidate,
            rows.X,
            rows.y,
            [Fold(budget.sample(candidate, share, rows.y, fold.fit), fold.score) for fold in cuts],
            threads=rows.threads,
            names=names,
            curves=True,
            weights=rows.weights,
        )
    _check_metric(problem.search.metric, candidate, rows, result)
    started = time.perf_counter()
    fitted = fits.fit(step, problem, candidate, rows, every)
    seconds = time.perf_counter() - started
    told = rows.sampled(problem.seed)
    about = {"threshold": result.threshold, "weights": told.weights}
    with training.limited(rows.threads):
        outputs = fitted.outputs(told.X)
    scores = cross_validation.score(candidate, told.y, result.calibrated(outputs), names, **about)
    found = result.out_of_fold
    encoded = partial(training.encoded_to_learn, candidate, fitted, rows.X, rows.y)
    ends = rows.intervals(problem, encoded, found)
    metrics = {
        **result.summary(),
        **result.of_calibration(),
        **{f"training_{metric}": value for metric, value in scores.items()},
        "cv_seconds": result.seconds,
        "fit_seconds": seconds,
        "threshold": result.threshold if candidate.task.has_threshold else math.nan,
    }
    _log_params(step, problem, rows, candidate)
    kept = {key: value for key, value in metrics.items() if not math.isnan(value)}
    scores = {key: value for key, value in kept.items() if not key.endswith("_seconds")}
    of_content = {
        digest_tag("scores"): digests.of_values(scores),
        digest_tag("curves"): digests.of_values(result.curves),
        digest_tag("out_of_fold"): out_of_fold.write(step, result.out_of_fold),
    }
    _log_curves(step, result.curves)
    step.json([column.name for column in rows.schema.features], "feature_names.json")
    step.json(environment.describe(), artifacts.ENVIRONMENT)
    model_id = _log_model(step, problem, name, rows, fitted, result, ends)
    step.log(metrics=kept, tags=of_content, model_id=model_id)
    notes = [f"A {large}."] if large else []
    if len(told.y) < len(rows.y):
        notes.append(f"Scores on rows that it learnt from are of {len(told.y):,} of them, drawn at random.")
    lighter = _lighter(problem, candidate, rows, share)
    _finish(step, problem, name, params, metrics, ends, result.calibration, lighter, notes)


def _share(
    step: Step,
    problem: Problem,
    candidate: training.Candidate,
    rows: dataset.DataSet,
    cuts: list[Fold],
    then: Run | None,
) -> float:
    """The share of the rows that the model is fitted on: all, or as many as fit into the seconds that main gives.

    A replay takes the share of the run that it repeats.

    Raises
    ------
    OutOfTimeError
        Where not even the smallest share fits.
    """
    if then is not None:
        share = float(then.data.params.get(SHARE_OF_ROWS, 1.0))
    else:
        learnt, folds = rows.learnt(problem), len(cuts)
        learnt = np.arange(len(rows.y)) if learnt is None else learnt
        n = len(learnt)

        def measure(most: int) -> float:
            started = time.perf_counter()
            part = np.random.default_rng(candidate.seed).permutation(learnt)
            fold = Fold(np.sort(part[:most]), np.sort(part[-max(1, most // folds) :]))
            training.on_fold(candidate, rows.X, rows.y, fold, threads=rows.threads, curves=True, weights=rows.weights)
            return time.perf_counter() - started

        # the final fit, and its predictions of the rows that it was fitted on
        fits = sum(len(fold.fit) for fold in cuts) / n + 1.5
        seconds = thread_budget.seconds_left(rows.share)
        left = max(seconds - FINISH_SECONDS * thread_budget.slowness(rows.share), LEAST_SHARE * seconds)
        # of rows that lie in bins, the final fit cuts all of them anew
        in_bins = isinstance(rows.X, training.RowsApart)
        share = budget.share_that_fits(measure, n, fits, left, prepared_again=in_bins)
        if share == 0.0 and math.isinf(thread_budget.seconds_to_end(rows.share)):
            share = budget.least_share(n)  # main waits for this one, since there is no other model yet
    if share == 0.0:
        raise OutOfTimeError(candidate.name)
    if share < 1.0:
        step.log(params={SHARE_OF_ROWS: share})
    return share


def _lighter(problem: Problem, candidate: training.Candidate, rows: dataset.DataSet, share: float) -> str:
    """What is said of a fit that is not the usual one: on a wide table, of a sample, in its seconds, one of several."""
    sample = rows.told_of_sample(problem)
    which = "these" if sample else "the"
    of_seconds = f"on {share:.0%} of {which} rows, to fit into the chain's seconds" if share < 1.0 else ""
    wide = rows.told_of_wide(problem, candidate.name)
    return "; ".join(filter(None, [wide, sample, of_seconds, fits.told(problem, candidate)]))


def _check_metric(
    metric: str, candidate: training.Candidate, rows: dataset.DataSet, result: cross_validation.CrossValidation
) -> None:
    """Check that the metric by which candidates are ranked has a value on each fold."""
    found = result.out_of_fold
    if math.isnan(result.summary()[f"cv_{metric}_mean"]):
        raise candidate.task.no_value(metric, rows.y[found.rows], found.outputs)


def _found_by(search: Run, step: Step) -> cross_validation.CrossValidation:
    """The cross-validation of the best trial of a search."""
    found = artifacts.content(search, artifacts.CROSS_VALIDATION, step.folder)
    return cross_validation.CrossValidation.from_dict(found, out_of_fold.read(search, step.folder))


def _search(step: Step, name: str) -> Run | None:
    """The run of hpo that the parameter `params` names; None where it is empty."""
    given = step.arguments["params"]
    if not given:
        return None
    found = lookup.tried(step.client, given, "params", "hpo")
    searched = found.data.tags.get(MODEL)
    if searched != name:
        raise UserError(f"params: run {given} searched for {searched!r}, and the model is {name!r}")
    if lookup.is_left_out(found):
        raise CandidateError(f"models.{name}: there is nothing to train, its search failed: {found.data.tags[REASON]}")
    return found


def _log_params(step: Step, problem: Problem, rows: dataset.DataSet, candidate: training.Candidate) -> None:
    of_data = {name: rows.source.data.params[name] for name in ("rows_train", "rows_holdout", "columns")}
    if (learnt := rows.learnt(problem)) is not None:
        of_data[ROWS_LEARNT] = len(learnt)
    if rows.schema.classes:
        of_data["classes"] = rows.source.data.params["classes"]
    else:
        of_data |= {"target_transform": problem.data.target_transform, "coverage": problem.evaluation.coverage}
    step.log(
        params={
            # first, since some estimators have a hyperparameter `estimator` of their own
            **training.hyperparameters(candidate),
            "model_type": candidate.name,
            "estimator": candidate.model.estimator,
            **of_data,
            "seed": problem.seed,
            "folds": problem.search.folds,
            "split_by": rows.schema.split_by,
        },
        tags=run_problem.model_tags(problem, candidate.name),
    )


def _log_curves(step: Step, curves: loss_curves.Curves) -> None:
    """Log the mean loss of the folds by iteration, as metrics with steps."""
    if not curves:
        return
    now = int(time.time() * 1000)
    points = [
        Metric(f"{name}_loss_by_iteration", loss, now, iteration)
        for name in curves.keys() - {"iteration"}
        for iteration, loss in zip(curves["iteration"], curves[name], strict=True)
    ]
    step.measure(points)
    step.json(curves, artifacts.CURVES)


def _log_model(
    step: Step,
    problem: Problem,
    name: str,
    rows: dataset.DataSet,
    fitted: training.Fitted,
    result: cross_validation.CrossValidation,
    ends: Intervals | None,
) -> str | None:
    """Log the fitted model; return its id, None where it is an artifact alone."""
    about = {"name": name, "threshold": result.threshold, "tags": {PROBLEM: problem.name}}
    about |= {"tracking": problem.tracking, "calibration": result.calibration}
    about |= {"intervals": ends, "coverage": problem.evaluation.coverage}
    made = flavor.log(step, fitted, rows.schema, rows.example(problem), **about)
    step.log(
        tags={
            MODEL_URI: made.model_uri,
            MODEL_DIGEST: flavor.digest_of_parts(step.folder / "model"),
            CODE_DIGEST: flavor.digest_of_code(),
            SEARCH: step.arguments["params"],
        }
    )
    return made.model_id


def _finish(
    step: Step,
    problem: Problem,
    name: str,
    params: dict[str, Any],
    metrics: dict[str, float],
    ends: Intervals | None,
    calibration: Calibration | None,
    wide: str,
    notes: list[str],
) -> None:
    metric = problem.search.metric
    scored = over_folds(metrics, metric)
    beside = "accuracy" if ends is None else "mae"
    summary = f"cross-validated {scored}"
    found = "with the hyperparameters of the search" if params else "with the problem's own hyperparameters"
    note = (
        f"Fitted {name} {found} on all training rows in {metrics['fit_seconds']:.1f} s.\n\n"
        f"Over {problem.search.folds} folds: {scored} (deviation of the folds), "
        f"{beside} {rounded(metrics[f'cv_{beside}_mean'])}. On the rows that it learnt from: {metric} "
        f"{rounded(metrics[f'training_{metric}'])}."
    )
    if ends is not None:
        width = ends.widths[ends.form]
        note += (
            f"\n\nIntervals of {problem.evaluation.coverage:.0%}: {ends.form}, {width:.6g} wide on average, "
            "learnt from how far the folds' predictions were off."
        )
    if calibration is not None:
        note += f"\n\n{_calibration_in_words(problem, calibration)}"
        weighing = [one for one in WEIGHTS if {**problem.models[name].params, **params}.get(one) is not None]
        if weighing and calibration.method != "none":
            note += (
                f" It takes back what {weighing[0]} does to probabilities, and so to labels at a fixed threshold: "
                "tune search.threshold, or say `search.calibrate: none`."
            )
    if problem.search.threshold != DEFAULT_THRESHOLD:
        tuned = f", the best for {problem.search.threshold}" if isinstance(problem.search.threshold, str) else ""
        note += f"\n\nThe positive class is the label from a probability of {metrics['threshold']:.4f} up{tuned}."
    if wide:
        summary += f"; {wide}"
        note += f"\n\nThe fit: {wide}."
    if said := flavor.note(step.tags):
        summary += f"; {said}"
        note += f"\n\nOf the model, {said}: {flavor.PAGES} say what follows."
    note = "\n\n".join([note, *notes])
    step.finish(f"train {name} {describe(params or problem.models[name].params)}".strip(), summary, note)


def _calibration_in_words(problem: Problem, found: Calibration) -> str:
    """Which calibration was chosen, and what it does to all rows out of fold."""
    before, after = rounded(found.errors["before"]), rounded(found.errors["after"])
    losses = ", ".join(f"{method} {rounded(loss)}" for method, loss in found.losses.items())
    of = f"Log loss of the rows out of fold: {losses}."
    if found.method == "none":
        why = "nothing lowers the log loss by more than chance" if len(found.losses) > 1 else "the problem says so"
        return f"Probabilities are as the estimator gives them ({why}); calibration error {before}. {of}"
    chosen = "as the problem says" if problem.search.calibrate == found.method else "chosen by the log loss"
    errors = f"Calibration error {before} before, {after} after."
    return f"Probabilities are calibrated: {found.method}, {chosen}. {errors} {of}"
