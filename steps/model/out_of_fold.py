"""What the models of the folds predicted for rows that they had not learnt from, as an artifact of hpo or train."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.entities import Run

from steps.run import artifacts
from steps.run.step import Step
from tabular.model.training import OutOfFold


def write(step: Step, found: OutOfFold) -> str:
    """Write the predictions of numbers into the step's artifacts; return their sha256."""
    columns = {"row": found.rows, "fold": found.fold, "prediction": found.outputs[:, 0]}
    pq.write_table(pa.table(columns), step.artifacts / artifacts.OUT_OF_FOLD)
    return hashlib.sha256(b"".join(np.ascontiguousarray(one).tobytes() for one in columns.values())).hexdigest()


def read(run: Run, folder: Path) -> OutOfFold:
    """The predictions that a run of hpo has left."""
    table = pq.read_table(artifacts.artifact(run, artifacts.OUT_OF_FOLD, folder))
    rows, fold, predictions = (table[name].to_numpy() for name in ("row", "fold", "prediction"))
    return OutOfFold(rows, fold, np.reshape(predictions, (-1, 1)))
