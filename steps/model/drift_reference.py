"""The reference for drift: the rows and scores of a model at training, with which today's are compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.exceptions import MlflowException

from steps.model.origin import Origin
from steps.model.served import TabularModel
from steps.run import artifacts, lookup
from steps.run.step import Step
from steps.run.tags import DATASET, EVALUATION
from tabular.data import parquet
from tabular.data.datasets import Column, columns_of
from tabular.errors import UserError, first_line
from tabular.evaluation import drift

# Number of training rows that are scored where no evaluation recorded scores: enough for deciles.
MOST_SCORED = 20_000


@dataclass(frozen=True)
class Reference:
    """The reference rows, counted in bins.

    Attributes
    ----------
    of
        What the reference rows are, in words; where there is no reference, the reason.
    tally
        The counts; None where there is no reference.

    """

    of: str
    tally: drift.Tally | None = None

    def begin(self) -> drift.Tally:
        """An empty tally with the same bins, for other rows; without columns where there is no reference."""
        return drift.Tally(self.tally.bins if self.tally is not None else {})

    def compare(self, now: drift.Tally, columns: int) -> list[drift.Shift]:
        """The shift of each column since the reference, as `drift.shifts`; empty where there is no reference."""
        return drift.shifts(self.tally, now, columns) if self.tally is not None else []


def columns(model: TabularModel) -> list[Column]:
    """The columns that a model reads."""
    return list(columns_of(model.description))


def scores(model: TabularModel) -> list[Column]:
    """The probability columns of a model's answer; of two classes only the positive one's, which implies the other.

    Of a number the prediction.
    """
    if not model.description["classes"]:
        return [Column("prediction", "double", "number")]
    classes, positive = model.description["classes"], model.description["positive"]
    told = [classes[positive]] if len(classes) == 2 else classes
    return [Column(f"probability_{label}", "double", "number") for label in told]


def against(step: Step, origin: Origin, model: TabularModel) -> dict[str, Reference]:
    """The references for a model's inputs (`input`) and for its predictions (`score`)."""
    return {"input": of_inputs(step, origin, model), "score": of_scores(step, origin, model)}


def of_inputs(step: Step, origin: Origin, model: TabularModel) -> Reference:
    """The reference for inputs: the training rows that the model learnt from."""

    def read() -> Reference:
        path = _training_rows(step, origin)
        names = [column.name for column in columns(model)]
        found = drift.tally(lambda: parquet.blocks(path, names), columns(model), _rows(path))
        return Reference(f"the {_rows(path):,} training rows of run {origin.dataset}", found)

    return _or_why(read)


def of_scores(step: Step, origin: Origin, model: TabularModel) -> Reference:
    """The reference for scores: the model's scores on the holdout of its evaluation, else on training rows.

    The holdout comes first because the model has not seen its rows, just as it has not seen today's. On the rows that
    a model learnt from it is more certain than on others, and a comparison with them shows a shift where there is none.
    """
    if origin.evaluation:
        found = _or_why(lambda: _of_holdout(step, origin, model))
        if found.tally is not None:
            return found
    return _or_why(lambda: _of_training(step, origin, model))


def _of_holdout(step: Step, origin: Origin, model: TabularModel) -> Reference:
    run = lookup.run(step.client, origin.evaluation, EVALUATION, "evaluate")
    path = artifacts.artifact(run, f"{artifacts.PREDICTIONS}/{origin.candidate}.parquet", step.folder)
    asked = scores(model)
    found = drift.tally(lambda: parquet.blocks(path, [column.name for column in asked]), asked, _rows(path))
    return Reference(f"{_rows(path):,} holdout rows, as run {origin.evaluation} judged the model", found)


def _of_training(step: Step, origin: Origin, model: TabularModel) -> Reference:
    path = _training_rows(step, origin)
    rows, generator = _rows(path), np.random.default_rng(0)
    scored = []
    for batch in parquet.blocks(path, [column.name for column in columns(model)]):
        some = batch.filter(pa.array(generator.random(len(batch)) < MOST_SCORED / rows))
        scored.append(answered(model.predict(None, some.to_pandas()), scores(model)))
    number = sum(map(len, scored))
    found = drift.tally(lambda: scored, scores(model), number)
    return Reference(f"{number:,} training rows of run {origin.dataset}, which the model has learnt from", found)


def answered(answer, asked: Sequence[Column]) -> pa.RecordBatch:
    """The score columns of a model's answer (a pandas frame), as an Arrow batch."""
    return pa.record_batch({column.name: pa.array(answer[column.name].to_numpy()) for column in asked})


def _training_rows(step: Step, origin: Origin) -> Path:
    run = lookup.run(step.client, origin.dataset, DATASET, "etl")
    return artifacts.artifact(run, f"{artifacts.DATASET}/train.parquet", step.folder)


def _rows(path: Path) -> int:
    return pq.read_metadata(path).num_rows


def _or_why(read: Callable[[], Reference]) -> Reference:
    """The reference that `read` gives, or an empty one with the reason where the model's runs can no longer be read."""
    try:
        return read()
    except (UserError, MlflowException, pa.ArrowException, OSError, KeyError) as error:
        return Reference(f"not compared: {first_line(error)}")
