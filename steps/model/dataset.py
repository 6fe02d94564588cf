"""The rows of a data set that a run of etl left, as the steps that read it need them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from mlflow.entities import Run

from steps.model.served import as_features
from steps.run import artifacts, inputs, lookup, thread_budget
from steps.run.step import Step
from steps.run.tags import DATA_DIGEST, TRAINED_ON, digest_tag
from tabular.data.datasets import Schema
from tabular.data.folds import Fold, cut
from tabular.errors import UserError
from tabular.metrics.classification import DEFAULT_THRESHOLD, Predictions, as_predictions
from tabular.model.training import Candidate
from tabular.problem import Model, Problem

CONTEXT = {"train": "training", "holdout": "evaluation"}
# Below so many cells a fit takes less time than its threads take to meet; beside another busy process, far less.
CELLS_A_THREAD_IS_WORTH = 500_000


@dataclass(frozen=True)
class DataSet:
    """Rows in memory, all at once: estimators need them so."""

    source: Run
    schema: Schema
    frame: pd.DataFrame  # raw
    slice_only: pd.DataFrame  # raw, and seen by no model
    X: pd.DataFrame  # features
    y: np.ndarray
    key: np.ndarray | None
    share: str  # the file in which main says how many threads there are; "" where nobody does

    @property
    def threads(self) -> int:
        """How many threads a fit on these rows is given now: main may give more as other steps end."""
        return thread_budget.threads(self.share) if self.X.size > CELLS_A_THREAD_IS_WORTH else 1

    def candidate(self, problem: Problem, model: str, params: Mapping[str, Any]) -> Candidate:
        """A model of the problem with these hyperparameters over its own, to be fitted on such rows.

        Raises
        ------
        UserError
            Where the problem sets a threshold or weighs classes, and these are not the classes for it.
        """
        threshold = problem.search.threshold
        if threshold != DEFAULT_THRESHOLD and len(self.schema.classes) != 2:
            raise UserError(
                f"search.threshold: {self.schema.target!r} has {len(self.schema.classes)} classes, and a threshold is "
                "between two: leave it out"
            )
        return Candidate(
            name=model,
            model=weighted(model, problem.models[model], self.schema.classes),
            params=params,
            columns=self.schema.columns,
            classes=len(self.schema.classes),
            positive=self.schema.positive,
            seed=problem.seed,
            threshold=threshold,
        )

    def folds(self, problem: Problem) -> list[Fold]:
        """The folds that every model is judged on, cut as the holdout was."""
        return self._cut(problem, problem.seed)

    def folds_to_choose(self, problem: Problem) -> list[Fold]:
        """The folds that hyperparameters are chosen by, of another seed than those of `folds`.

        A model that was chosen for its score on folds promises too much on the same ones. By time there is one way to
        cut them.
        """
        return self._cut(problem, problem.seed + 1)

    def _cut(self, problem: Problem, seed: int) -> list[Fold]:
        return cut(self.y, self.key, by=self.schema.split_by, folds=problem.search.folds, seed=seed)

    def fingerprints(self, names: list[str]) -> np.ndarray:
        """A hash of each row's class and these columns, (n,) uint64: equal rows have equal ones in any data set."""
        labels = [str(self.schema.classes[code]) for code in self.y]
        return pd.util.hash_pandas_object(self.X[names].assign(**{"": labels}), index=False).to_numpy()

    def predictions(
        self, probabilities: np.ndarray, *, threshold: float = DEFAULT_THRESHOLD, rows: np.ndarray | None = None
    ) -> Predictions:
        """(n, classes) probabilities as answers to these rows, or to those at some positions."""
        y = self.y if rows is None else self.y[rows]
        about = {"classes": len(self.schema.classes), "positive": self.schema.positive, "threshold": threshold}
        return as_predictions(y, probabilities, **about)

    @property
    def groups(self) -> np.ndarray | None:
        """(n,) which rows are alike, where the split is by group: a bootstrap draws them together."""
        return self.key if self.schema.split_by == "group" else None


def weighted(name: str, model: Model, classes: Sequence[object]) -> Model:
    """A model whose weights of classes are by the classes' positions, as estimators see them.

    Raises
    ------
    UserError
        Where there is no such class.
    """
    weights = model.params.get("class_weight")
    if not isinstance(weights, Mapping):
        return model
    positions = {str(label): position for position, label in enumerate(classes)}
    for label in weights:
        if label not in positions:
            raise UserError(
                f"models.{name}.params.class_weight: {label!r} is no class of the target, which has "
                f"{', '.join(positions)}"
            )
    by_position = {positions[label]: weight for label, weight in weights.items()}
    return model.model_copy(update={"params": {**model.params, "class_weight": by_position}})


def source(step: Step, run_id: str) -> Run:
    """The run of etl that holds a data set."""
    return lookup.run(step.client, run_id, "dataset", "etl")


def load(step: Step, problem: Problem, source: Run, part: Literal["train", "holdout"], *, log: bool = True) -> DataSet:
    """Load one part of the data set of a run of etl; `log` makes it an input of the step's run."""
    schema = lookup.schema(source, step.folder)
    rows = lookup.rows(source, part, schema, step.folder)
    features = as_features(rows.frame, [vars(column) for column in schema.columns])
    found = DataSet(source, schema, rows.frame, rows.slice_only, features, rows.y, rows.key, step.arguments["share"])
    if log:
        _log(step, problem, found, part)
    return found


def _log(step: Step, problem: Problem, found: DataSet, part: str) -> None:
    tags = found.source.data.tags
    inputs.log(
        step,
        name=problem.name,
        digest=tags[digest_tag(part)],
        source=f"{found.source.info.artifact_uri}/{artifacts.DATASET}/{part}.parquet",
        context=CONTEXT[part],
        rows=len(found.y),
        schema=found.schema,
    )
    step.log(tags={name: tags[name] for name in (DATA_DIGEST, TRAINED_ON)})
