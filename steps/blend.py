"""blend: weigh the candidates' predictions, as one more candidate.

The weights are chosen on what the models of the folds predicted for rows that they had not learnt from. The blend is
logged as one model, which holds the models of its members.
"""

import math
import time
from collections.abc import Mapping

from mlflow.entities import Run

from steps.model import blends, dataset, flavor
from steps.model.blends import Member
from steps.model.dataset import DataSet
from steps.model.flavor import Written
from steps.run import artifacts, run_problem
from steps.run.step import Step
from steps.run.tags import (
    CODE_DIGEST,
    MODEL,
    MODEL_DIGEST,
    MODEL_FAMILY,
    MODEL_URI,
    PROBLEM,
    digest_tag,
)
from tabular import digests
from tabular.errors import UserError
from tabular.metrics.metric import over_folds
from tabular.model import blending
from tabular.model.blending import Blended
from tabular.model.intervals import Intervals
from tabular.problem import BLEND, Problem


def blend(step: Step) -> None:
    """Choose the weights, cross-validate the blend, and log it."""
    source = dataset.source(step, step.arguments["dataset"])
    problem = run_problem.problem_of(step, source)
    members = blends.candidates(step)
    if not members:
        raise UserError("models: no candidate is left to blend")
    blends.check(members, source)
    rows = dataset.load(step, problem, source, "train", in_memory=False)
    started = time.perf_counter()
    found = blends.learn(problem, rows, blends.predicted(step, members.values()))
    seconds = time.perf_counter() - started
    weights = {name: float(weight) for name, weight in zip(members, found.weights, strict=True) if weight}
    step.json(weights, artifacts.WEIGHTS)
    step.log(tags={MODEL: BLEND})
    if len(weights) == 1:
        step.log(tags={digest_tag(BLEND): digests.of_values(weights)})
        _finish_alone(step, next(iter(weights)), len(members))
        return
    of_blend = {name: Member(weights[name], members[name], _checked(step, members[name])) for name in weights}
    ends = _log(step, problem, rows, of_blend, found, seconds)
    _finish(step, problem, of_blend, found, ends)


def _checked(step: Step, run: Run) -> Written:
    """A member's files, checked."""
    tags = run.data.tags
    try:
        return flavor.of_logged(tags[MODEL_URI], step.folder, code=tags[CODE_DIGEST], learnt=tags[MODEL_DIGEST])
    except UserError:
        artifacts.disown(run)  # so that the next chain trains the model again
        raise


def _log(
    step: Step, problem: Problem, rows: DataSet, members: Mapping[str, Member], found: Blended, seconds: float
) -> Intervals | None:
    """Log the blend's model and metrics; return the intervals of its predictions, None of classes."""
    written, ends = blends.write(problem, rows, members, found, step.folder)
    metrics = {
        **found.result.summary(),
        **found.result.of_calibration(),
        **blends.training_scores(problem, rows, found, written.parts),
        "blend_seconds": seconds,
        "fit_seconds": sum(one.run.data.metrics["fit_seconds"] for one in members.values()),
        "threshold": found.result.threshold if rows.task(problem).has_threshold else math.nan,
    }
    kept = {name: value for name, value in metrics.items() if not math.isnan(value)}
    scores = {name: value for name, value in kept.items() if not name.endswith("_seconds")}
    learnt, code = flavor.digest_of_parts(written.parts), flavor.digest_of_code()
    step.log(
        params={
            "model_type": BLEND,
            "estimator": f"a blend: {blends.in_words(members)}",
            **{f"weight_{name}": one.weight for name, one in members.items()},
            "seed": problem.seed,
            "folds": problem.search.folds,
        },
        tags={
            MODEL_FAMILY: BLEND,
            MODEL_DIGEST: learnt,
            CODE_DIGEST: code,
            digest_tag(BLEND): digests.of_values([learnt, code, scores]),
        },
    )
    signed = flavor.signature(rows.schema, found.result.threshold, problem.evaluation.coverage)
    about = {"name": BLEND, "tags": {PROBLEM: problem.name}, "tracking": problem.tracking}
    made = flavor.log_parts(step, *written, signed, rows.example(problem), **about)
    step.log(metrics=kept, model_id=made.model_id, tags={MODEL_URI: made.model_uri})
    return ends


def _finish_alone(step: Step, name: str, candidates: int) -> None:
    """End without a model: the blend would be one of its members."""
    said = f"no blend of the {candidates} candidates is better than {name} alone"
    note = f"{said[0].upper()}{said[1:]}, by what the models of the folds predicted."
    if candidates == 1:
        said = note = f"nothing to blend: the others than {name} were left out"
    step.finish("blend", said, note)


def _finish(
    step: Step, problem: Problem, members: Mapping[str, Member], found: Blended, ends: Intervals | None
) -> None:
    metric = problem.search.metric
    parts, scored = blends.in_words(members), over_folds(found.result.summary(), metric)
    by = blending.measured_by(metric)
    note = (
        f"{parts}, chosen by the {by} of what the models of the folds predicted for rows that they had not learnt "
        f"from.\n\nOver {problem.search.folds} folds, each blended by weights that were chosen on the others: {scored} "
        "(deviation of the folds)."
    )
    if ends is not None:
        note += f"\n\nIntervals of {problem.evaluation.coverage:.0%}: {ends.form}."
    if said := flavor.note(step.tags):
        note += f"\n\nOf the model, {said}: {flavor.PAGES} say what follows."
    step.finish("blend", "; ".join(filter(None, [f"cross-validated {scored}", parts, said])), note)
