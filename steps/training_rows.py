"""The rows that hpo and train learn from, as both need them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import pandas as pd
from mlflow.entities import Run

from steps import inputs, store, tracked
from steps.served import as_features
from tabular.datasets import Schema
from tabular.problem import Problem
from tabular.training import Candidate

# Below so many cells a fit takes less time than its threads take to meet; beside another busy process, far less.
CELLS_A_THREAD_IS_WORTH = 500_000


@dataclass(frozen=True)
class TrainingRows:
    """Training rows in memory (all at once: estimators need them so), and the candidate that they are for."""

    source: Run
    schema: Schema
    frame: pd.DataFrame  # raw
    X: pd.DataFrame  # features
    y: np.ndarray
    key: np.ndarray | None
    threads: int
    problem: Problem
    model: str

    def candidate(self, params: Mapping[str, Any]) -> Candidate:
        """The model in hand with these hyperparameters over its own."""
        return Candidate(
            name=self.model,
            model=self.problem.models[self.model],
            params=params,
            columns=self.schema.columns,
            classes=len(self.schema.classes),
            positive=self.schema.positive,
            seed=self.problem.seed,
        )


def load(step: tracked.Step, problem: Problem, model: str) -> TrainingRows:
    """Load the training rows that the parameter `dataset` names, and log them as the run's input."""
    source = store.run(step.client, step.arguments["dataset"], "dataset", "etl")
    schema = store.schema(source, step.folder)
    rows = store.rows(source, "train", schema, step.folder)
    features = as_features(rows.frame, [vars(column) for column in schema.columns])
    inputs.log(
        step,
        name=problem.name,
        digest=source.data.tags["tabular.digest.train"],
        source=f"{source.info.artifact_uri}/{store.DATASET}/train.parquet",
        context="training",
        rows=len(rows.y),
        schema=schema,
    )
    step.log(tags={"tabular.data_digest": source.data.tags["tabular.data_digest"]})
    threads = joblib.cpu_count() if features.size > CELLS_A_THREAD_IS_WORTH else 1
    return TrainingRows(source, schema, rows.frame, features, rows.y, rows.key, threads, problem, model)
