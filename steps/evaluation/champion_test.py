"""The champion test: the verdict on the winner of an evaluation, by the gate and against today's champion.

This module reads the registry and changes nothing.
"""

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from steps.model import dataset, drift_reference, flavor, provenance, registry
from steps.model import holdout as holdouts
from steps.model.holdout import Holdout
from steps.model.registry import KEPT, REFUSED, REGISTERED
from steps.model.served import TabularModel
from steps.run import artifacts, lookup
from steps.run.step import Step
from steps.run.tags import CODE_DIGEST, DATASET, JUDGED_DIGEST, MODEL_DIGEST, TRAIN, TRAINED_ON
from tabular.errors import UserError, listed
from tabular.evaluation import bootstrap, gate
from tabular.metrics.metric import rounded
from tabular.problem import Problem

# The fewest rows on which a comparison says anything.
FEWEST_ROWS = 30
# To see which model is faster, each predicts this many rows this many times. A smaller holdout is repeated to fill
# them.
ROWS_TO_TIME, TIMES = 5000, 7


@dataclass(frozen=True)
class Verdict:
    """The verdict on a winner: the outcome, such as `registered` or `refused`, and its reason."""

    outcome: str
    reason: str
    winner: dict[str, Any]
    champion: str | None = None  # the version of the champion at that time
    comparison: dict[str, Any] | None = None
    is_lasting: bool = True  # False where the next try may end otherwise, as when a store or a package index was down


def data_set(step: Step) -> Run | None:
    """The run of etl of this chain, or None where none is given. A reused evaluation may name an earlier run of etl."""
    given = step.arguments["dataset"]
    return dataset.source(step, given) if given else None


def data(step: Step, evaluation: Run) -> Run:
    """The run of etl of this chain where given, else the one that the evaluation used."""
    return dataset.source(step, data_id(step, evaluation))


def data_id(step: Step, evaluation: Run) -> str:
    """The id of the run of `data`, which is known even where that run was deleted."""
    return step.arguments["dataset"] or evaluation.data.tags[DATASET]


def judge(
    step: Step, problem: Problem, evaluation: Run, winner: dict[str, Any], champion: ModelVersion | None
) -> Verdict:
    """The verdict on the winner of an evaluation; reads the registry and changes nothing.

    Parameters
    ----------
    step
        The step that decides.
    problem
        The problem, with its gate.
    evaluation
        The run of evaluate.
    winner
        The entry of the best candidate, as `registry.winner` gives it.
    champion
        Today's champion; None where there is none.

    """
    if winner["unmet"]:
        return Verdict(REFUSED, f"{winner['model']} does not pass the gate: {'; '.join(winner['unmet'])}", winner)
    if champion is None:
        return Verdict(REGISTERED, f"{winner['model']} passes the gate, and there is no champion yet", winner)
    name = f"the champion (version {champion.version})"
    if registry.is_winner(step.client, champion, winner, step.folder) or (
        problem.refit and registry.is_refit_of(step.client, champion, winner, step.folder)
    ):
        return Verdict(KEPT, f"{winner['model']} is {name} already", winner, champion.version)
    if champion.tags.get(JUDGED_DIGEST, champion.tags.get(MODEL_DIGEST)) == winner["model_digest"]:
        return Verdict(
            REGISTERED, f"{winner['model']} is {name} {_changed(champion, winner)}", winner, champion.version
        )
    try:
        comparison, rows = _meet(step, problem, evaluation, winner, champion)
    except UserError as error:
        reason = (
            f"{winner['model']} cannot be compared with {name}: {error}. What cannot be compared replaces nothing; to "
            f"start anew, delete the alias {problem.registry.alias!r} of {problem.registry.name}"
        )
        return Verdict(KEPT, reason, winner, champion.version, is_lasting=False)
    figures = (
        f"{comparison.metric} {rounded(comparison.challenger)} against {rounded(comparison.champion)} of {name}, "
        f"{rounded(comparison.challenger - comparison.champion, '+')}, on {rows}"
    )
    outcome = REGISTERED if comparison.wins else KEPT
    reason = f"{winner['model']} {_said(comparison, name)}: {figures}"
    return Verdict(outcome, reason, winner, champion.version, comparison.as_dict())


def _changed(champion: ModelVersion, winner: dict[str, Any]) -> str:
    """In what a winner differs from a champion that has learnt the same of the training rows, in words."""
    if champion.tags.get(CODE_DIGEST) != winner["code_digest"]:
        return "with other code around it"
    if champion.tags.get(MODEL_DIGEST) == winner["served"]["model_digest"]:
        return "whose files are damaged"
    refitted = winner["served"]["model_digest"] != winner["model_digest"]
    return "fitted on all rows now" if refitted else "fitted on the training rows alone now"


def _said(comparison: gate.Comparison, name: str) -> str:
    """The result of a comparison, in words."""
    cost = comparison.tie_break
    if comparison.better:
        return f"beats {name}"
    if cost is None:
        return f"is not better with {comparison.confidence:.0%} confidence"
    unit = "bytes" if cost.what == "smaller" else "s"
    costs = f"{cost.challenger:.4g} {unit} against {cost.champion:.4g}"
    return f"is as good as {name} and {cost.what if cost.won else f'not notably {cost.what}'} ({costs})"


def _meet(
    step: Step, problem: Problem, evaluation: Run, winner: dict[str, Any], champion: ModelVersion
) -> tuple[gate.Comparison, str]:
    """Compare the winner with the champion on the holdout rows that favour neither; also returns these rows in words.

    Raises
    ------
    UserError
        Where the champion cannot predict these rows, or there are too few of them.
    """
    source = data(step, evaluation)
    holdout = holdouts.load(step, problem, source)
    asked = _load_champion(step, champion, holdout)
    new = _new_to(step, champion, asked, holdout)
    rows = f"{len(holdout.y):,} holdout rows"
    if not new.all():
        rows = f"the {new.sum():,} of {rows} that the champion has not learnt from before"
    rows += holdout.schema.weighted
    telling = new & holdout.counting
    if telling.sum() < FEWEST_ROWS or len(np.unique(holdout.y[telling])) < 2:
        raise UserError(f"{rows} are too few to compare on")
    groups = None if holdout.groups is None else holdout.groups[new]
    if groups is not None and len(np.unique(groups)) == 1:
        raise UserError(
            f"{rows} are of one group, which does not tell how another would do: set a larger split.holdout"
        )
    recorded = {"code": winner["code_digest"], "learnt": winner["model_digest"]}
    challenger = flavor.load(winner["model_uri"], step.folder, **recorded)
    places = np.flatnonzero(new)
    predictions = [
        holdout.predictions(
            holdout.asked(partial(flavor.ask, model), new), threshold=flavor.threshold(model), rows=places
        )
        for model in (challenger, asked)
    ]
    rule = problem.gate.beat_champion
    comparison = gate.compare(
        *predictions,
        rule.metric,
        confidence=rule.confidence,
        seed=problem.seed,
        groups=groups,
        most_rows=bootstrap.ROWS_OF_LARGE if holdout.is_streamed else None,
    )
    if not comparison.better and rule.or_equal is not None and comparison.is_equal(rule.or_equal.within):
        is_of_size = rule.or_equal.tie_break == "smaller"
        cost = _smaller(step, winner, champion) if is_of_size else _faster(step, challenger, asked, holdout)
        comparison = replace(comparison, tie_break=cost)
    return comparison, rows


def _smaller(step: Step, winner: dict[str, Any], champion: ModelVersion) -> gate.TieBreak:
    ids = (winner["run_id"], champion.tags.get(TRAIN, ""))
    runs = [lookup.fitted(step.client, run_id, TRAIN) for run_id in ids]
    return gate.TieBreak("smaller", *(artifacts.model_bytes(run, step.folder) for run in runs))


def _faster(step: Step, challenger: TabularModel, champion: TabularModel, holdout: Holdout) -> gate.TieBreak:
    """The shortest time that each model takes for the same rows, in seconds; a replay takes the recorded times.

    The models take turns. The shortest time counts, since other work on the machine can only make a time longer.
    """
    then = step.arguments["replays"]
    if then:
        told = artifacts.content(lookup.run(step.client, then, "replays"), artifacts.VERDICT, step.folder)
        return gate.TieBreak(**told["comparison"]["tie_break"])
    X = holdout.taken(np.resize(np.arange(len(holdout.y)), ROWS_TO_TIME))
    seconds = [[_seconds(model, X) for model in (challenger, champion)] for _ in range(TIMES)]
    return gate.TieBreak("faster", *np.min(seconds, axis=0).tolist())


def _seconds(model: TabularModel, X: pd.DataFrame) -> float:
    started = time.perf_counter()
    flavor.ask(model, X)
    return time.perf_counter() - started


def _load_champion(step: Step, champion: ModelVersion, holdout: Holdout) -> TabularModel:
    """Load today's champion, if it can predict today's rows: it has their classes, and they have all its columns."""
    name = f"{champion.name} version {champion.version}"
    model = provenance.load_judged(step, champion)
    told, today_told = model.description["classes"], list(holdout.schema.classes)
    if told != today_told:
        if told and today_told:
            raise UserError(f"{name} tells other classes apart: {told}")
        raise UserError(f"{name} {'tells classes apart, and predicts no number' if told else 'predicts a number'}")
    today = {(column.name, column.dtype, column.kind) for column in holdout.schema.columns}
    read = drift_reference.columns(model)
    lacking = [column.name for column in read if (column.name, column.dtype, column.kind) not in today]
    if lacking:
        raise UserError(f"{name} reads columns that today's data set lacks or has as another type: {listed(lacking)}")
    return model


def _new_to(step: Step, champion: ModelVersion, asked: TabularModel, holdout: Holdout) -> np.ndarray:
    """(n,) bool: the holdout rows that do not favour the champion; all rows, where it was trained on this data set.

    With another seed, or with a table that has grown, most of today's holdout rows may have been among the champion's
    training rows. A row with an equal row in the training rows of both models favours neither: tables of few categories
    repeat their rows.
    """
    if champion.tags.get(TRAINED_ON) == holdout.source.data.tags[TRAINED_ON]:
        return np.ones(len(holdout.y), dtype=bool)
    learnt_from = dataset.source(step, champion.tags.get(DATASET, ""))
    names = [column["name"] for column in asked.description["columns"]]
    rows, today, before = (
        holdouts.fingerprints(step, source, part, names)
        for source, part in ((holdout.source, "holdout"), (holdout.source, "train"), (learnt_from, "train"))
    )
    return ~np.isin(rows, before) | np.isin(rows, today)
