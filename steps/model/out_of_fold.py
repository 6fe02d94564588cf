"""What the models of the folds predicted for rows that they had not learnt from, as an artifact of hpo and train."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.entities import Run

from steps.run import artifacts
from steps.run.step import Step
from tabular.model.cross_validation import OutOfFold


def write(step: Step, found: OutOfFold) -> str:
    """Write predictions into the step's artifacts; return their sha256."""
    outputs = {f"output_{number}": column for number, column in enumerate(found.outputs.T)}
    columns = {"row": found.rows, "fold": found.fold, **outputs}
    pq.write_table(pa.table(columns), step.artifacts / artifacts.OUT_OF_FOLD)
    return hashlib.sha256(b"".join(np.ascontiguousarray(one).tobytes() for one in columns.values())).hexdigest()


def read(run: Run, folder: Path) -> OutOfFold:
    """The predictions that a run has left."""
    table = pq.read_table(artifacts.artifact(run, artifacts.OUT_OF_FOLD, folder))
    row, fold, *outputs = (column.to_numpy() for column in table.columns)
    return OutOfFold(row, fold, np.column_stack(outputs))
