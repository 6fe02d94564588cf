"""evaluate: score all candidates on the holdout, which no earlier step has read.

Writes predictions, metrics, slices and pictures of each candidate, the leaderboard, and `evaluation.json` for register.
It reads nothing of the registry.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from mlflow.entities import Metric, Run

from steps.evaluation import candidates, contributions, plots
from steps.evaluation.candidates import Judged
from steps.model import dataset, flavor, requirements
from steps.model import holdout as holdouts
from steps.model.holdout import Holdout
from steps.run import artifacts, lookup, run_problem
from steps.run.step import Step
from steps.run.tags import (
    CODE_DIGEST,
    DATASET,
    LEFT_OUT,
    MODEL,
    MODEL_DIGEST,
    MODEL_URI,
    REASON,
    ROWS_LEARNT,
    SEARCH,
    SHARE_OF_ROWS,
    WINNER,
    digest_tag,
    lasting,
)
from tabular import digests
from tabular.errors import UserError, listed
from tabular.evaluation import slices
from tabular.metrics import regression
from tabular.metrics.classification import CALIBRATION_ERROR, ClassPredictions, never_predicted
from tabular.metrics.lookup import scores
from tabular.metrics.metric import rounded
from tabular.metrics.regression import NumberPredictions
from tabular.problem import BLEND, Problem


def evaluate(step: Step) -> None:
    """Score every candidate on the holdout, rank them, draw them."""
    source = dataset.source(step, step.arguments["dataset"])
    problem = run_problem.problem_of(step, source)
    holdout = holdouts.load(step, problem, source)
    given = [lookup.tried(step.client, run_id, "models", "train") for run_id in step.arguments["models"].split(",")]
    given += lookup.given(step, BLEND, BLEND)
    failed = {run.data.tags[MODEL]: run.data.tags[REASON] for run in given if lookup.is_left_out(run)}
    # a blend without a model is one of its members
    trained = [run for run in given if not lookup.is_left_out(run) and MODEL_URI in run.data.tags]
    searches, missing = _searches(step, trained)
    ranked, refusing = candidates.judge(step, problem, holdout, trained)
    left_out = {**failed, **refusing}
    if not ranked:
        raise UserError("; ".join(["models: no candidate is left", *_in_words(left_out)]))
    required = [name for name in left_out if name in problem.models and problem.models[name].required]
    if required:
        raise UserError(f"models.{required[0]}: it is required, and fails: {left_out[required[0]]}")
    board = _with_samples([_row(one, problem.search.metric) for one in ranked], ranked)
    board += [_row_of_failed(run, left_out, board[0]) for run in given if run.data.tags[MODEL] in left_out]
    step.table(artifacts.by_column(board), artifacts.LEADERBOARD)
    explained, why_not = contributions.explain(ranked[0], holdout, problem.seed)
    _log(step, problem, holdout, ranked, left_out, missing, why_not)
    _log_looks(step, problem, holdout, ranked)
    if explained is not None:
        strengths = explained.strengths
        columns = {"column": list(strengths), f"mean |contribution| to {explained.scale}": list(strengths.values())}
        step.table(columns, f"{artifacts.CONTRIBUTIONS}/{ranked[0].name}.json")
    plots.draw(step, problem, holdout, ranked, searches, explained)


def _searches(step: Step, trained: list[Run]) -> tuple[dict[str, Run], list[str]]:
    """The runs of hpo, {model: run}: those given, else those that the models were trained with.

    Also returns a line for each run of the latter that no longer exists; this is no error, since the searches are only
    drawn.
    """
    given = lookup.given(step, "searches", "hpo")
    if given:
        return {run.data.tags[MODEL]: run for run in given if not lookup.is_left_out(run)}, []
    found, missing = {}, []
    for run in trained:
        name, run_id = run.data.tags[MODEL], run.data.tags.get(SEARCH, "")
        search = lookup.shown(step.client, run_id) if run_id else None
        if search is not None:
            found[name] = search
        elif run_id:
            missing.append(f"the search of {name}, run {run_id}, is no longer there: it is not drawn")
            print(f"  note: {missing[-1]}", flush=True)
    return found, missing


def _in_words(left_out: Mapping[str, str]) -> list[str]:
    return [f"{model} is left out: {reason}" for model, reason in left_out.items()]


def _log(
    step: Step,
    problem: Problem,
    holdout: Holdout,
    ranked: list[Judged],
    left_out: Mapping[str, str],
    missing: Sequence[str],
    why_not: str,
) -> None:
    best = ranked[0]
    step.measure(_metrics(problem.search.metric, ranked))
    entries = [_entry(candidate) for candidate in ranked]
    notes = slices.notes([one.slice for one in best.slices])
    unlabelled = _unlabelled(best, holdout)
    notes += [*_undefined(best), *unlabelled, *_lighter(ranked), *_unlocked(ranked)]
    notes += [f"{best.name}: what each column adds is not shown: {why_not}"] if why_not else []
    sampled = holdout.sampled(problem)
    told = {"candidates": entries, "left_out": left_out, "notes": notes, **({"sampled": sampled} if sampled else {})}
    step.json(told, artifacts.EVALUATION)
    content = [_content(holdout), *map(_lasting, entries), *([left_out] if left_out else [])]
    step.log(
        params={
            "candidates": ", ".join(candidate.name for candidate in ranked),
            "rows_holdout": len(holdout.y),
            **({} if holdout.schema.weight is None else {"weight": holdout.schema.weight[:6000]}),
        },
        tags={
            WINNER: best.name,
            DATASET: step.arguments["dataset"],
            digest_tag("evaluation"): digests.of_values(content),
            **({LEFT_OUT: ", ".join(left_out)} if left_out else {}),
        },
    )
    metric = problem.search.metric
    lines = [f"- {candidate.name}: {metric} {_with_interval(candidate, metric)}" for candidate in ranked]
    failing = [check.line() for check in best.checks if not check.passed]
    gate_line = "It passes the gate." if best.passes else f"No candidate passes the gate: {'; '.join(failing)}."
    # what has no value is no news beside the score
    said = [*_in_words(left_out), *unlabelled, *slices.notes([one.slice for one in best.slices])]
    notes = [*_in_words(left_out), *notes]
    weighted = holdout.schema.weighted
    promised = f", cross-validated {rounded(best.run.data.metrics[f'cv_{metric}_mean'])}"
    note = f"{len(holdout.y):,} rows{weighted} that nothing before had read.\n\n"
    note += f"Confidence intervals are {sampled}.\n\n" if sampled else ""
    note += "\n".join(lines + [f"- {n}" for n in [*_calibration_in_words(ranked), *notes]])
    step.finish(
        f"evaluate {problem.name}",
        "; ".join([f"best {best.name}{promised}, holdout {metric} {rounded(best.metrics[metric])}{weighted}", *said]),
        "\n\n".join([note, f"Best: {best.name}. {gate_line}", *(f"Look at this: {line}." for line in missing)]),
    )


def _lighter(ranked: Sequence[Judged]) -> list[str]:
    """A line for each candidate that was fitted on fewer rows: as the problem says, to fit into the chain's seconds."""
    lines = []
    for one in ranked:
        params = one.run.data.params
        learnt, share = params.get(ROWS_LEARNT), params.get(SHARE_OF_ROWS)
        if learnt is not None:
            lines.append(f"{one.name} learnt from {int(learnt):,} of {int(params['rows_train']):,} rows")
        if share is not None:
            rows = "the rows" if learnt is None else "these rows"
            lines.append(f"{one.name} was fitted on {float(share):.0%} of {rows}, to fit into the chain's seconds")
    return lines


def _unlocked(ranked: Sequence[Judged]) -> list[str]:
    """A line for each candidate whose model is not installed by hashes."""
    return [f"{one.name}: {said}" for one in ranked if (said := requirements.note(one.run.data.tags))]


def _undefined(candidate: Judged) -> list[str]:
    """A line for each metric of numbers that has no value for these rows."""
    if not isinstance(candidate.predictions, NumberPredictions):
        return []
    return [f"{name} has no value: {why}" for name, why in regression.undefined(candidate.predictions).items()]


def _unlabelled(candidate: Judged, holdout: Holdout) -> list[str]:
    """A line where some class is never the label, so that its recall is 0; of two classes, with a way out."""
    predictions = candidate.predictions
    if not isinstance(predictions, ClassPredictions):
        return []
    never = [holdout.schema.classes[code] for code in never_predicted(predictions)]
    if not never:
        return []
    line = f"{candidate.name} gives no row of the holdout the label {listed(never)}"
    if predictions.positive is None:
        return [line]
    at = f"at its threshold of {flavor.threshold(candidate.model):g}"
    return [f"{line}, {at}: if labels are used, say search.threshold: f1_score, which finds a better one"]


def _calibration_in_words(ranked: Sequence[Judged]) -> list[str]:
    """The calibration error of each candidate, and what it would be without the calibration."""
    lines = []
    for one in ranked:
        if CALIBRATION_ERROR in one.metrics:
            before = _uncalibrated(one)[f"{CALIBRATION_ERROR}_uncalibrated"]
            changed = f"; uncalibrated {rounded(before)}" if one.model.description.get("calibration") else ""
            lines.append(f"{one.name}: calibration error {_with_interval(one, CALIBRATION_ERROR)}{changed}")
    return lines


def _with_interval(candidate: Judged, metric: str) -> str:
    interval = candidate.intervals[metric]
    between = "no interval" if np.isnan(interval.low) else f"95 %: {rounded(interval.low)} to {rounded(interval.high)}"
    return f"{rounded(candidate.metrics[metric])} ({between})"


def _metrics(metric: str, ranked: list[Judged]) -> list[Metric]:
    """The winner's metrics by their plain names; each candidate's as `<model>/<metric>`, tied to its logged model."""
    now = int(time.time() * 1000)
    found = []
    for candidate in ranked:
        model_id = artifacts.model_id(candidate.run.data.tags[MODEL_URI]) or None
        shown = [metric, *({CALIBRATION_ERROR} & candidate.metrics.keys())]
        low, high = ({name: getattr(candidate.intervals[name], end) for name in shown} for end in ("low", "high"))
        ends = {f"{name}_low": low[name] for name in shown} | {f"{name}_high": high[name] for name in shown}
        values = {**candidate.metrics, **_uncalibrated(candidate), **ends, "predict_seconds": candidate.seconds}
        found += [
            Metric(f"{candidate.name}/{name}", value, now, 0, model_id=model_id)
            for name, value in values.items()
            if not np.isnan(value)
        ]
        if candidate is ranked[0]:
            trained = candidate.run.data.metrics
            values |= {name: value for name, value in trained.items() if name.startswith(("training_", "cv_"))}
            found += [Metric(name, value, now, 0) for name, value in values.items() if not np.isnan(value)]
    return found


def _uncalibrated(candidate: Judged) -> dict[str, float]:
    """The calibration error and the log loss that a candidate of classes would have without its calibration."""
    if candidate.uncalibrated is None:
        return {}
    found = scores(candidate.uncalibrated, [CALIBRATION_ERROR, "log_loss"])
    return {f"{name}_uncalibrated": value for name, value in found.items()}


def _row(candidate: Judged, metric: str) -> dict[str, Any]:
    """A candidate's row of the leaderboard; the metric that ranks is the first."""
    trained = candidate.run.data.metrics
    others = {name: value for name, value in candidate.metrics.items() if name != metric}
    return {
        "model": candidate.name,
        metric: candidate.metrics[metric],
        f"{metric}_low": candidate.intervals[metric].low,
        f"{metric}_high": candidate.intervals[metric].high,
        f"cv_{metric}_mean": trained.get(f"cv_{metric}_mean"),
        f"cv_{metric}_std": trained.get(f"cv_{metric}_std"),
        f"training_{metric}": trained.get(f"training_{metric}"),
        **others,
        **_uncalibrated(candidate),
        "fit_seconds": trained.get("fit_seconds"),
        "predict_seconds": candidate.seconds,
        "gate": "passed" if candidate.passes else "not met",
        "reason": None,
        "run": candidate.run.info.run_id,
    }


def _with_samples(board: list[dict[str, Any]], ranked: Sequence[Judged]) -> list[dict[str, Any]]:
    """The rows of the leaderboard with how many rows each learnt from, where one has learnt from a sample."""
    learnt = [one.run.data.params.get(ROWS_LEARNT, one.run.data.params.get("rows_train")) for one in ranked]
    if all(ROWS_LEARNT not in one.run.data.params for one in ranked):
        return board
    return [{**row, ROWS_LEARNT: rows and int(rows)} for row, rows in zip(board, learnt, strict=True)]


def _row_of_failed(run: Run, reasons: Mapping[str, str], like: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a candidate that failed, with the keys of another row: it has a reason, and no metrics."""
    name = run.data.tags[MODEL]
    known = {"model": name, "gate": "failed", "reason": reasons[name], "run": run.info.run_id}
    return {**dict.fromkeys(like), **known}


def _entry(candidate: Judged) -> dict[str, Any]:
    """The entry of a candidate in `evaluation.json`: what register needs to know."""
    tags = candidate.run.data.tags
    return {
        "model": candidate.name,
        "run_id": candidate.run.info.run_id,
        "model_uri": tags[MODEL_URI],
        "model_digest": tags[MODEL_DIGEST],
        "code_digest": tags[CODE_DIGEST],
        "metrics": {name: _known(value) for name, value in candidate.metrics.items()},
        "uncalibrated": _uncalibrated(candidate),
        "intervals": {
            name: [_known(interval.low), _known(interval.high)] for name, interval in candidate.intervals.items()
        },
        "behind": candidate.behind and [_known(candidate.behind.low), _known(candidate.behind.high)],
        "trained": dict(candidate.run.data.metrics),
        "unmet": [check.line() for check in candidate.checks if not check.passed],
        "checks": [{**asdict(check), "found": _known(check.found)} for check in candidate.checks],
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _content(holdout: Holdout) -> list[str]:
    """The digests of the data set on which register compares the winner with the champion."""
    return [holdout.source.data.tags[digest_tag(part)] for part in ("train", "holdout", "schema")]


def _lasting(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry without what depends on which runs hold the models and how long they took."""
    kept = {name: value for name, value in entry.items() if name not in ("run_id", "model_uri")}
    return {**kept, "trained": lasting(entry["trained"])}


def _log_looks(step: Step, problem: Problem, holdout: Holdout, ranked: list[Judged]) -> None:
    """Log tables about each candidate: predictions, slices, permutation importances, thresholds."""
    folder = step.artifacts / artifacts.PREDICTIONS
    folder.mkdir()
    for one in ranked:
        candidates.prediction_table(holdout, one).to_parquet(folder / f"{one.name}.parquet")
        if one.slices:
            step.table(slices.as_columns(one.slices, problem.search.metric), f"{artifacts.SLICES}/{one.name}.json")
        lost = {"column": list(one.importances), f"loss of {problem.search.metric}": list(one.importances.values())}
        step.table(lost, f"permutation_importance/{one.name}.json")
        if one.thresholds is not None:
            step.table(one.thresholds, f"{artifacts.THRESHOLDS}/{one.name}.json")
