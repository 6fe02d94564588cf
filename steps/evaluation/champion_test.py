"""The verdict on the winner of an evaluation: what the gate says, and how it does against today's champion.

Reads the registry and changes nothing.
"""

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from steps.model import dataset, flavor, registry
from steps.model.dataset import DataSet
from steps.model.registry import KEPT, REFUSED, REGISTERED
from steps.model.served import TabularModel
from steps.run import artifacts, lookup
from steps.run.step import Step
from steps.run.tags import CODE_DIGEST, DATASET, MODEL_DIGEST, TRAIN, TRAINED_ON
from tabular.errors import UserError, listed
from tabular.evaluation import gate
from tabular.problem import Problem

# Below so many rows a comparison says nothing.
FEWEST_ROWS = 30
# To see which model is faster each is asked about so many rows, so often; of few rows, about these again and again.
ROWS_TO_TIME, TIMES = 5000, 7


@dataclass(frozen=True)
class Verdict:
    """What became of the winner, and why."""

    outcome: str
    reason: str
    winner: dict[str, Any]
    champion: str | None = None  # the version that it met
    comparison: dict[str, Any] | None = None
    is_lasting: bool = True  # False may be otherwise tomorrow, when a store or a package index is back


def data_set(step: Step) -> Run | None:
    """The data set of this chain, where it is given: an evaluation that was not run again may name an earlier one."""
    given = step.arguments["dataset"]
    return dataset.source(step, given) if given else None


def data(step: Step, evaluation: Run) -> Run:
    """The run of the data set of this chain, else of that which the candidates were judged on."""
    return dataset.source(step, data_id(step, evaluation))


def data_id(step: Step, evaluation: Run) -> str:
    """As `data`, but its id, for those who do without the run where it is no longer there."""
    return step.arguments["dataset"] or evaluation.data.tags[DATASET]


def judge(
    step: Step, problem: Problem, evaluation: Run, winner: dict[str, Any], champion: ModelVersion | None
) -> Verdict:
    """What the gate says of the winner; reads the registry and changes nothing."""
    if winner["unmet"]:
        return Verdict(REFUSED, f"{winner['model']} does not pass the gate: {'; '.join(winner['unmet'])}", winner)
    if champion is None:
        return Verdict(REGISTERED, f"{winner['model']} passes the gate, and there is no champion yet", winner)
    name = f"the champion (version {champion.version})"
    if registry.is_winner(step.client, champion, winner, step.folder):
        return Verdict(KEPT, f"{winner['model']} is {name} already", winner, champion.version)
    if champion.tags.get(MODEL_DIGEST) == winner["model_digest"]:
        changed = champion.tags.get(CODE_DIGEST) != winner["code_digest"]
        how = "with other code around it" if changed else "whose files are damaged"
        return Verdict(REGISTERED, f"{winner['model']} is {name} {how}", winner, champion.version)
    try:
        comparison, rows = _meet(step, problem, evaluation, winner, champion)
    except UserError as error:
        reason = (
            f"{winner['model']} cannot be compared with {name}: {error}. What cannot be compared replaces nothing; to "
            f"start anew, delete the alias {problem.registry.alias!r} of {problem.registry.name}"
        )
        return Verdict(KEPT, reason, winner, champion.version, is_lasting=False)
    figures = (
        f"{comparison.metric} {comparison.challenger:.4f} against {comparison.champion:.4f} of {name}, "
        f"{comparison.challenger - comparison.champion:+.4f}, on {rows}"
    )
    outcome = REGISTERED if comparison.wins else KEPT
    reason = f"{winner['model']} {_said(comparison, name)}: {figures}"
    return Verdict(outcome, reason, winner, champion.version, comparison.as_dict())


def _said(comparison: gate.Comparison, name: str) -> str:
    """What came of a comparison, in words."""
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
    """Winner and champion on the holdout rows that favour neither, and which rows these were.

    Raises
    ------
    UserError
        Where the champion cannot be asked about these rows, or there are too few of them.
    """
    source = data(step, evaluation)
    holdout = dataset.load(step, problem, source, "holdout")
    asked = _load_champion(step, champion, holdout)
    new = _new_to(step, problem, champion, asked, holdout)
    rows = f"{len(holdout.y):,} holdout rows"
    if not new.all():
        rows = f"the {new.sum():,} of {rows} that the champion has not learnt from before"
    if new.sum() < FEWEST_ROWS or len(np.unique(holdout.y[new])) < 2:
        raise UserError(f"{rows} are too few to compare on")
    groups = None if holdout.groups is None else holdout.groups[new]
    if groups is not None and len(np.unique(groups)) == 1:
        raise UserError(
            f"{rows} are of one group, which does not tell how another would do: set a larger split.holdout"
        )
    recorded = {"code": winner["code_digest"], "learnt": winner["model_digest"]}
    challenger = flavor.load(winner["model_uri"], step.folder, **recorded)
    X, places = holdout.X[new], np.flatnonzero(new)
    predictions = [
        holdout.predictions(model.probabilities(X), threshold=flavor.threshold(model), rows=places)
        for model in (challenger, asked)
    ]
    rule = problem.gate.beat_champion
    comparison = gate.compare(
        *predictions,
        rule.metric,
        confidence=rule.confidence,
        seed=problem.seed,
        groups=groups,
    )
    if not comparison.better and rule.or_equal is not None and comparison.is_equal(rule.or_equal.within):
        is_of_size = rule.or_equal.tie_break == "smaller"
        cost = _smaller(step, winner, champion) if is_of_size else _faster(step, challenger, asked, holdout)
        comparison = replace(comparison, tie_break=cost)
    return comparison, rows


def _smaller(step: Step, winner: dict[str, Any], champion: ModelVersion) -> gate.TieBreak:
    ids = (winner["run_id"], champion.tags.get(TRAIN, ""))
    runs = [lookup.run(step.client, run_id, TRAIN, "train") for run_id in ids]
    return gate.TieBreak("smaller", *(artifacts.model_bytes(run, step.folder) for run in runs))


def _faster(step: Step, challenger: TabularModel, champion: TabularModel, holdout: DataSet) -> gate.TieBreak:
    """The least seconds for the same rows, in turn: other work only adds to them. A replay takes those of then."""
    then = step.arguments["replays"]
    if then:
        told = artifacts.content(lookup.run(step.client, then, "replays"), artifacts.VERDICT, step.folder)
        return gate.TieBreak(**told["comparison"]["tie_break"])
    X = holdout.X.iloc[np.resize(np.arange(len(holdout.y)), ROWS_TO_TIME)]
    seconds = [[_seconds(model, X) for model in (challenger, champion)] for _ in range(TIMES)]
    return gate.TieBreak("faster", *np.min(seconds, axis=0).tolist())


def _seconds(model: TabularModel, X: pd.DataFrame) -> float:
    started = time.perf_counter()
    model.probabilities(X)
    return time.perf_counter() - started


def _load_champion(step: Step, champion: ModelVersion, holdout: DataSet) -> TabularModel:
    """Today's champion, if it can be asked about today's rows: the same classes, and no column that they lack."""
    name = f"{champion.name} version {champion.version}"
    recorded = registry.recorded(champion)
    model = flavor.load(f"models:/{champion.name}/{champion.version}", step.folder, **recorded)
    if model.description["classes"] != list(holdout.schema.classes):
        raise UserError(f"{name} tells other classes apart: {model.description['classes']}")
    today = [asdict(column) for column in holdout.schema.columns]
    lacking = [column["name"] for column in model.description["columns"] if column not in today]
    if lacking:
        raise UserError(f"{name} reads columns that today's data set lacks or has as another type: {listed(lacking)}")
    return model


def _new_to(step: Step, problem: Problem, champion: ModelVersion, asked: TabularModel, holdout: DataSet) -> np.ndarray:
    """Which holdout rows do not favour the champion, (n,) bool: all, where it was trained on this data set.

    With another seed, or a table that has grown, most of today's holdout may have been among its training rows. A row
    whose like is in the winner's training rows too favours neither: tables of few categories repeat their rows.
    """
    if champion.tags.get(TRAINED_ON) == holdout.source.data.tags[TRAINED_ON]:
        return np.ones(len(holdout.y), dtype=bool)
    learnt_from = dataset.source(step, champion.tags.get(DATASET, ""))
    before = dataset.load(step, problem, learnt_from, "train", log=False)
    names = [column["name"] for column in asked.description["columns"]]
    today = dataset.load(step, problem, holdout.source, "train", log=False)
    rows = holdout.fingerprints(names)
    return ~np.isin(rows, before.fingerprints(names)) | np.isin(rows, today.fingerprints(names))
