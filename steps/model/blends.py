"""Blends of logged models: weights that are learnt out of fold, and the files of one model that holds its members."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mlflow.entities import Run

from steps.model import fits, flavor, out_of_fold
from steps.model.dataset import DataSet
from steps.model.flavor import Written
from steps.run import lookup
from steps.run.step import Step
from steps.run.tags import CODE_DIGEST, MODEL, TRAINED_ON
from tabular.errors import UserError
from tabular.metrics.lookup import with_named
from tabular.model import blending, cross_validation
from tabular.model.blending import Blend, Blended
from tabular.model.cross_validation import OutOfFold
from tabular.model.intervals import Intervals
from tabular.problem import Problem


@dataclass(frozen=True)
class Member:
    """A member of a blend: its weight, the run of train that cross-validated it, and its files."""

    weight: float
    run: Run
    written: Written


def candidates(step: Step) -> dict[str, Run]:
    """The runs of train that the parameter `models` names, by their models, without those that were left out."""
    given = [lookup.tried(step.client, run_id, "models", "train") for run_id in step.arguments["models"].split(",")]
    return {run.data.tags[MODEL]: run for run in given if not lookup.is_left_out(run)}


def predicted(step: Step, runs: Iterable[Run]) -> list[OutOfFold]:
    """What the models of the folds of runs of train predicted."""
    return [out_of_fold.read(run, step.folder) for run in runs]


def check(runs: Mapping[str, Run], source: Run) -> None:
    """Check that models were trained on the data set of a run of etl, and logged by this version of the project.

    Raises
    ------
    UserError
        One was not.
    """
    for name, run in runs.items():
        if run.data.tags.get(TRAINED_ON) != source.data.tags[TRAINED_ON]:
            raise UserError(
                f"models: run {run.info.run_id} was trained on another data set than run {source.info.run_id} holds: "
                "give runs of one data set"
            )
        if run.data.tags[CODE_DIGEST] != flavor.digest_of_code():
            raise UserError(f"models: the model of {name} was logged by another version of this project: train it anew")


def learn(problem: Problem, rows: DataSet, predicted: Sequence[OutOfFold]) -> Blended:
    """Choose the weights of candidates by what their models of the folds predicted, and cross-validate the blend."""
    return blending.learn(
        _how(problem, rows),
        predicted,
        rows.y,
        problem.search.metric,
        names=with_named(rows.schema.task, problem.search.metric),
        seed=problem.seed,
        weights=rows.weights,
    )


def write(
    problem: Problem, rows: DataSet, members: Mapping[str, Member], found: Blended, folder: Path
) -> tuple[Written, Intervals | None]:
    """Write the blend's files below `folder`; also return the intervals of its predictions, None of classes."""
    preparing, predicted = _preparing(members), found.result.out_of_fold
    parts = members[preparing].written.parts
    ends = rows.intervals(problem, lambda at: _prepared(parts, rows, at), predicted)
    written = flavor.write_blend(
        {name: (one.weight, one.written) for name, one in members.items()},
        rows.schema,
        folder,
        threshold=found.result.threshold,
        intervals=ends,
        prepared_by=preparing,
        coverage=problem.evaluation.coverage,
        calibration=found.result.calibration,
    )
    return written, ends


def training_scores(problem: Problem, rows: DataSet, found: Blended, parts: Path) -> dict[str, float]:
    """The metrics of a blend on the rows that its members learnt from, or on a sample of a large table's."""
    rows = rows.sampled(problem.seed)
    outputs = flavor.ask(flavor.of_parts(parts), rows.raw)[:, : len(rows.schema.classes) or 1]
    names = with_named(rows.schema.task, problem.search.metric)
    about = {"threshold": found.result.threshold, "weights": rows.weights}
    scores = cross_validation.score(_how(problem, rows), rows.y, outputs, names, **about)
    return {f"training_{name}": value for name, value in scores.items()}


def in_words(members: Mapping[str, Member]) -> str:
    """The members with their weights, the heaviest first, and of how many fits each is the mean."""

    def said(name: str) -> str:
        one = members[name]
        mean = fits.mean_of(fits.of(one.run))
        return f"{one.weight:.0%} {name}{f' ({mean})' if mean else ''}"

    return ", ".join(said(name) for name in sorted(members, key=lambda name: -members[name].weight))


def _how(problem: Problem, rows: DataSet) -> Blend:
    return Blend(rows.task(problem), problem.search.threshold, problem.search.calibrate)


def _preparing(members: Mapping[str, Member]) -> str:
    """The member that prepares the rows for what scales the intervals: the heaviest that tells them no target.

    One that encodes categories by the target would tell training rows of their own, unless all do.
    """
    told = [n for n, one in members.items() if one.run.data.params.get("preprocessing_categories") == "target"]
    return max(members, key=lambda name: (name not in told, members[name].weight))


def _prepared(parts: Path, rows: DataSet, at: np.ndarray):
    """The rows at some positions as a member's estimator gets them, for what scales the intervals."""
    features = rows.features_at(at)
    return flavor.of_parts(parts).prepare({name: features[name].to_numpy() for name in features})
