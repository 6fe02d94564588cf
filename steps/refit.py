"""refit: fit the winner of an evaluation once more, on all rows, for the model that is registered.

It learns from the holdout too, with the hyperparameters, the threshold and the calibration of the model that was
judged. What evaluate has measured is of the judged model, which stays: later challengers meet it on rows that it has
not seen. With the seconds that a chain with a limit has left, the new one is cross-validated on all rows.
"""

import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Run

from steps.model import all_rows, blends, dataset, fits, flavor, memory_budget, out_of_fold, registry
from steps.model.all_rows import Durations, Fit
from steps.model.blends import Member
from steps.model.dataset import DataSet
from steps.model.flavor import Written
from steps.run import artifacts, lookup, run_problem, thread_budget
from steps.run.step import Step
from steps.run.tags import (
    CODE_DIGEST,
    FOLDS,
    MODEL,
    MODEL_DIGEST,
    MODEL_URI,
    PROBLEM,
    SAMPLES,
    SEARCH,
    SHARE_OF_ROWS,
    TRAIN,
    TRANSIENT,
    digest_tag,
)
from tabular import digests
from tabular.errors import CandidateError, first_line
from tabular.metrics.metric import over_folds
from tabular.model import budget, cross_validation, training
from tabular.model.binned import BinnedRows
from tabular.problem import BLEND, REFIT, Problem

# The parameter of a run that has fitted nothing: why.
WHY_NOT = "why_not"
# What its digest is of where seconds were too few: how few they were is no result.
LATE = "too few seconds"


def refit(step: Step) -> None:
    """Fit the winner on all rows, and log it; where that cannot be, say why."""
    source = dataset.source(step, step.arguments["dataset"])
    problem = run_problem.problem_of(step, source)
    evaluation = lookup.run(step.client, step.arguments["evaluation"], "evaluation", "evaluate")
    trained, blend = blends.candidates(step), lookup.given(step, BLEND, BLEND)
    winner = registry.winner(evaluation, [*trained.values(), *blend], step.folder)
    name = winner["model"]
    weights = artifacts.content(blend[0], artifacts.WEIGHTS, step.folder) if name == BLEND else {name: 1.0}
    members = {member: trained[member] for member in weights}
    blends.check(members, source)
    step.log(tags={TRAIN: winner["run_id"], **run_problem.model_tags(problem, name)})
    why_not, is_late = _why_not(step, winner, members, source)
    if not why_not:
        try:
            _fit(step, problem, source, trained, weights)
        except CandidateError as error:
            why_not = f"it cannot learn from all rows: {error}"
    if why_not:
        passing = {TRANSIENT: "true"} if is_late else {}
        digest = digests.of_values(LATE if is_late else why_not)
        step.log(params={WHY_NOT: why_not}, tags={**passing, digest_tag(REFIT): digest})
        step.finish(f"refit {name}", f"{name} stays as it was judged: {why_not}", f"{name}: {why_not}.")


def _why_not(step: Step, winner: Mapping[str, Any], members: Mapping[str, Run], source: Run) -> tuple[str, bool]:
    """Why the winner is not fitted again, empty where it is; and whether that is for want of seconds.

    A replay does as the run that it repeats.
    """
    if step.arguments["replays"]:
        then = lookup.run(step.client, step.arguments["replays"], "replays", REFIT)
        return then.data.params.get(WHY_NOT, ""), TRANSIENT in then.data.tags
    if winner["unmet"]:
        return "it does not pass the gate", False
    if too_large := registry.too_large(step.client, winner["run_id"]):
        return too_large, False
    more = 1 + int(source.data.params["rows_holdout"]) / int(source.data.params["rows_train"])
    seconds = more * sum(run.data.metrics["fit_seconds"] for run in members.values())
    left = thread_budget.seconds_left(step.arguments["share"])
    if seconds > budget.CAUTION * left:
        return f"a fit on all rows takes about {seconds:.0f} s, and {max(left, 0):.0f} s of the chain's are left", True
    return "", False


def _fit(step: Step, problem: Problem, source: Run, trained: Mapping[str, Run], weights: Mapping[str, float]) -> None:
    """Fit one of the candidates, or all members of their blend, and log what they make."""
    started = time.perf_counter()
    rows, every = _rows(step, problem, source)
    fitted: dict[str, _Fitted] = {}
    for name in weights:
        if rows.is_large:
            of_model = _rows(step, problem, source, name)
        else:
            of_model = tuple(dataset.for_model(one, problem, name) for one in (rows, every))
        fitted[name] = _fitted(step, problem, *of_model, name, trained[name])
    of_fits = time.perf_counter() - started
    ((name, first), *others) = fitted.items()
    whole, threshold = first.written, first.threshold
    if others:
        members = {name: Member(weights[name], trained[name], one.written) for name, one in fitted.items()}
        found = blends.learn(problem, rows, blends.predicted(step, trained.values()))
        name, threshold = BLEND, found.result.threshold
        whole, _ = blends.write(problem, rows, members, found, step.folder)
    seconds = time.perf_counter() - started
    told = [(one, replace(every, most=problem.models[one].rows).told_of_sample(problem)) for one in weights]
    lighter = "; ".join(f"{one} {said}" for one, said in told if said)
    about = {"model_type": name, "rows": len(every.y), "seed": problem.seed}
    step.log(params={**about, **({SAMPLES: lighter} if lighter else {})})
    learnt, model_id = _log_model(step, problem, rows, name, whole, threshold)
    step.log(metrics={"fit_seconds": seconds}, model_id=model_id)
    how = {one: of.fit for one, of in fitted.items()}
    scores, scored, noted = _scores(step, problem, every, how, Durations(of_fits, seconds - of_fits))
    digest = digests.of_values([*learnt, *([scores] if scores else [])])
    step.log(metrics=scores, model_id=model_id, tags={digest_tag(REFIT): digest})
    note = (
        f"Fitted on {len(every.y):,} rows, {len(rows.y):,} of which the judged model has learnt from, with its "
        "hyperparameters, threshold and calibration.\n\nThe scores of evaluate are of the judged model, which has not "
        f"seen the holdout.{noted}"
    )
    said = f"{name} on all {len(every.y):,} rows, for the registry"
    step.finish(f"refit {name}", "; ".join(filter(None, [said, scored, lighter, flavor.note(step.tags)])), note)


def _log_model(
    step: Step, problem: Problem, rows: DataSet, name: str, whole: Written, threshold: float
) -> tuple[list[str], str | None]:
    """Log the model; return the digests of what it has learnt and of its code, and its id."""
    learnt, code = flavor.digest_of_parts(whole.parts), flavor.digest_of_code()
    step.log(tags={MODEL_DIGEST: learnt, CODE_DIGEST: code})
    signed = flavor.signature(rows.schema, threshold, problem.evaluation.coverage)
    about = {"name": name, "tags": {PROBLEM: problem.name}, "tracking": problem.tracking}
    made = flavor.log_parts(step, *whole, signed, rows.example(problem), **about)
    step.log(tags={MODEL_URI: made.model_uri})
    return [learnt, code], made.model_id


def _scores(
    step: Step, problem: Problem, rows: DataSet, members: Mapping[str, Fit], took: Durations
) -> tuple[dict[str, float], str, str]:
    """What a cross-validation on all rows says of the fitted model; the same in a line, and in the run's note.

    Nothing in a chain without limit; where it cannot be, the note says why.
    """
    try:
        found = all_rows.cross_validate(step, problem, rows, members, took)
    except Exception as error:  # whatever it is: a score that decides nothing must not cost the model
        if step.arguments["replays"]:
            raise
        return {}, "", f"\n\nIt is not cross-validated on all rows: {first_line(error)}."
    if found is None:
        return {}, "", ""
    step.log(params={FOLDS: len(found.scores)})
    scores = {name: value for name, value in found.summary().items() if not math.isnan(value)}
    said, folds = over_folds(scores, problem.search.metric), f"{len(found.scores)} folds"
    noted = f"\n\nCross-validated on all rows, in {folds}: {said} (deviation of the folds)."
    return scores, f"cross-validated {said}", noted


def _rows(step: Step, problem: Problem, source: Run, model: str = "") -> tuple[DataSet, DataSet]:
    """The training rows, and all rows; with a model, those of a large table as it learns from them."""
    ranks = fits.ranks_of(problem, model) if model else 1
    about: dict[str, Any] = {"model": model, "in_memory": False, "ranks": ranks, "log": not model}
    rows, holdout = (dataset.load(step, problem, source, part, **about) for part in ("train", "holdout"))
    return rows, joined(rows, holdout)


def joined(rows: DataSet, holdout: DataSet) -> DataSet:
    """Training and holdout rows together, to fit on; without the holdout rows of weight 0."""
    counting = holdout.counting
    weights = None
    if rows.weights is not None and holdout.weights is not None:
        weights = np.concatenate([rows.weights, holdout.weights[counting]])
    if isinstance(rows.X, BinnedRows):
        X = rows.X.and_then(holdout.X)
    else:
        X = pd.concat([rows.X, holdout.X[counting]], ignore_index=True)
    keys = [one for one in (rows.key, None if holdout.key is None else holdout.key[counting]) if one is not None]
    key = np.concatenate(keys) if len(keys) == 2 else None
    return replace(rows, X=X, y=np.concatenate([rows.y, holdout.y[counting]]), key=key, weights=weights)


@dataclass(frozen=True)
class _Fitted:
    """A model that was fitted on all rows: how, its files, and its threshold."""

    fit: Fit
    written: Written
    threshold: float


def _fitted(step: Step, problem: Problem, rows: DataSet, every: DataSet, name: str, run: Run) -> _Fitted:
    """Fit a model on all rows as the run of train fitted it on the training rows."""
    # as it is treated on the training rows, which may be too few for a wide table
    candidate = rows.candidate(problem, name, *fits.found(step, problem, name, _search(step, name, run)))
    share = float(run.data.params.get(SHARE_OF_ROWS, 1.0))
    candidate = budget.on_share(candidate, share)
    chosen = budget.sample(candidate, share, every.y, every.learnt(problem))
    memory_budget.check_fit(candidate, every, len(every.y) if chosen is None else len(chosen))
    fitted = fits.fit(step, problem, candidate, every, chosen)
    found = out_of_fold.read(run, step.folder)
    result = cross_validation.of_predictions(candidate, found, rows.y, [problem.search.metric], rows.weights)
    encoded = partial(training.encoded_to_learn, candidate, fitted, rows.X, rows.y)
    written = flavor.write(
        fitted,
        rows.schema,
        Path(tempfile.mkdtemp(dir=step.folder)),
        threshold=result.threshold,
        intervals=rows.intervals(problem, encoded, found),
        coverage=problem.evaluation.coverage,
        calibration=result.calibration,
    )
    return _Fitted(Fit(candidate, share), written, result.threshold)


def _search(step: Step, name: str, run: Run) -> Run | None:
    """The run of hpo whose result a run of train has fitted; None where there was no search."""
    search_id = run.data.tags.get(SEARCH, "")
    if not search_id:
        return None
    given = [one for one in lookup.given(step, "searches", "hpo") if one.data.tags.get(MODEL) == name]
    return given[0] if given else lookup.run(step.client, search_id, "searches", "hpo")
