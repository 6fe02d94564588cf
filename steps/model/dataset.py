"""The data set of a run of etl, loaded as the later steps need it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from mlflow.entities import Run

from steps.model import own_features
from steps.model.stored_rows import StoredRows
from steps.run import artifacts, inputs, lookup, thread_budget
from steps.run.step import Step, describe
from steps.run.tags import DATA_DIGEST, TRAINED_ON, digest_tag
from tabular.data import datasets, samples, size
from tabular.data.datasets import Schema
from tabular.data.folds import Fold, cut, some
from tabular.errors import UserError
from tabular.metrics.classification import DEFAULT_THRESHOLD
from tabular.metrics.metric import Predictions
from tabular.model import binned, estimators, intervals, large_tables, model_checks, wide_tables
from tabular.model.binned import BinnedRows
from tabular.model.cross_validation import OutOfFold
from tabular.model.intervals import Intervals
from tabular.model.tasks import Classification, Regression, Task
from tabular.model.training import Candidate
from tabular.problem import Problem
from tabular.sections.models import Model

CONTEXT = {"train": "training", "holdout": "evaluation"}
# How many training rows are kept as they were, as an example for a model.
EXAMPLES = 3
# Below this many cells (rows times columns) a fit takes less time than the synchronisation of its threads does; beside
# another busy process, far less.
CELLS_A_THREAD_IS_WORTH = 500_000
# Of a large table as many rows tell how well a model does on those that it learnt from, and how far it is off.
ENOUGH_ROWS = 200_000


@dataclass(frozen=True)
class DataSet:
    """One part of a data set, as estimators need it: in memory, or of a large table in bins (`tabular.model.binned`).

    Attributes
    ----------
    source
        The run of etl.
    schema
        Of the data set.
    frame
        (n, columns) the raw values; of training rows the first alone, as an example for a model.
    slice_only
        (n, any) the raw values of columns that no model sees, by which the holdout is cut into slices.
    X
        (n, features) what estimators learn from: the columns of raw rows, and the user's own after them. A frame, or
        rows that are read in batches.
    y
        (n,) positions in the schema's classes, or the numbers to predict.
    key
        (n,) the time or the group of each row; None for a random split.
    share
        The file in which main writes the thread budget; "" where there is no such file.
    weights
        (n,) how much each row counts; None where all count alike. Training rows have weights above 0, holdout rows
        from 0 up.
    is_large
        Whether it is of a large table (`tabular.data.size`).
    most
        The most rows that a fit of the model learns from that these rows are for; None: all.

    """

    source: Run
    schema: Schema
    frame: pd.DataFrame
    slice_only: pd.DataFrame
    X: pd.DataFrame | BinnedRows
    y: np.ndarray
    key: np.ndarray | None
    share: str
    weights: np.ndarray | None = None
    is_large: bool = False
    most: int | None = None

    @property
    def threads(self) -> int:
        """The number of threads that a fit on these rows may use now: main may give more as other steps end."""
        return thread_budget.threads(self.share) if self.X.size > CELLS_A_THREAD_IS_WORTH else 1

    @property
    def is_wide(self) -> bool:
        """Whether these rows, those that models learn from, are a wide table."""
        return wide_tables.is_wide(*self.X.shape)

    def model(self, problem: Problem, model: str) -> Model:
        """A model of the problem as it is fitted and searched on these rows."""
        found = problem.models[model]
        return wide_tables.on_wide(found) if self.is_wide else found

    def example(self, problem: Problem) -> pd.DataFrame | None:
        """A few raw rows for a logged model; None where the problem wants none in it."""
        return self.frame if problem.tracking.input_example else None

    def told_of_wide(self, problem: Problem, model: str) -> str:
        """What is said of a model that does less on these rows since they are a wide table; empty where it does not."""
        wide = self.model(problem, model).wide if self.is_wide else {}
        if not wide:
            return ""
        rows, columns = self.X.shape
        return f"lighter on a wide table of {rows:,} rows and {columns:,} columns: {describe(wide)}"

    def told_of_large(self, problem: Problem, model: str) -> str:
        """What is said of how a model of LightGBM's learns from a large table; empty of other tables and models."""
        if not self.is_large:
            return ""
        in_batches = isinstance(self.X, BinnedRows)
        return large_tables.told(model, problem.models[model], *self.X.shape, in_batches=in_batches)

    @property
    def raw(self) -> pd.DataFrame:
        """(n, columns) what a logged model is asked with, of rows in memory: it makes the user's own columns itself."""
        X: Any = self.X
        return X if self.schema.own is None else X[[column.name for column in self.schema.columns]]

    def features_at(self, rows: np.ndarray) -> pd.DataFrame:
        """(m, features) those of the rows at some positions."""
        return self.X.at(rows) if isinstance(self.X, BinnedRows) else self.X.iloc[rows]

    def sampled(self, seed: int) -> "DataSet":
        """Rows in memory that tell how well a model does: all; of a large table `ENOUGH_ROWS`, drawn at random."""
        if not self.is_large:
            return self
        rows = some(np.arange(len(self.y)), ENOUGH_ROWS, seed)
        key, weights = (None if one is None else one[rows] for one in (self.key, self.weights))
        return replace(self, X=self.features_at(rows), y=self.y[rows], key=key, weights=weights)

    def candidate(self, problem: Problem, model: str, params: Mapping[str, Any], seeds: int = 1) -> Candidate:
        """A candidate of the problem for these rows, not yet fitted.

        Parameters
        ----------
        problem
            The problem.
        model
            Name of one of the problem's models.
        params
            Hyperparameters that replace the model's own.
        seeds
            With how many seeds it is fitted, where that makes other fits.

        Raises
        ------
        UserError
            Where the model is of the other task, where the problem sets a threshold and the data set has not two
            classes, where the model names a class or a column that the data set does not have, or where a number cannot
            be learnt on the problem's scale.
        """
        threshold, task = problem.search.threshold, self.task(problem)
        model_checks.check_task(problem.models[model], task.name, f"models.{model}")
        task.check_learnable(self.y, self.schema.target)
        if threshold != DEFAULT_THRESHOLD and not task.has_threshold:
            raise UserError(
                f"search.threshold: {self.schema.target!r} has {len(self.schema.classes)} classes, and a threshold is "
                "between two: leave it out"
            )
        return Candidate(
            name=model,
            model=estimators.in_terms_of_data(
                self.model(problem, model),
                f"models.{model}",
                self.schema.features,
                self.schema.classes,
                self.schema.positive,
            ),
            params=params,
            columns=self.schema.features,
            task=task,
            seed=problem.seed,
            threshold=threshold,
            calibrate=problem.search.calibrate,
            seeds=seeds,
        )

    def task(self, problem: Problem) -> Task:
        """What is predicted."""
        if self.schema.classes:
            return Classification(len(self.schema.classes), self.schema.positive)
        return Regression(problem.data.target_transform)

    def intervals(self, problem: Problem, encode: Callable[[np.ndarray], Any], found: OutOfFold) -> Intervals | None:
        """What makes the intervals of predicted numbers, learnt from how far those out of fold were off.

        Parameters
        ----------
        problem
            The problem.
        encode
            Gives (m, encoded columns) the rows at some positions, for what scales the intervals.
        found
            The predictions out of fold; of a large table `ENOUGH_ROWS` of them, drawn at random.

        Returns
        -------
        Intervals or None
            None of classes.
        """
        if self.schema.classes:
            return None
        if self.is_large:
            at = some(np.arange(len(found.rows)), ENOUGH_ROWS, problem.seed)
            found = OutOfFold(found.rows[at], found.fold[at], found.outputs[at])
        return intervals.learn(
            self.y[found.rows],
            found.outputs[:, 0],
            encode(found.rows),
            found.fold,
            weights=None if self.weights is None else self.weights[found.rows],
            level=problem.evaluation.coverage,
            seed=problem.seed,
            threads=self.threads,
        )

    def folds(self, problem: Problem, count: int | None = None) -> list[Fold]:
        """The folds for the cross-validation of every model, cut by the same rule as the holdout.

        As many as the problem says, or another number of them.
        """
        return self._cut(problem, problem.seed, count or problem.search.folds)

    def folds_to_choose(self, problem: Problem) -> list[Fold]:
        """The folds on which hyperparameters are chosen, cut with another seed than those of `folds`.

        A model that was chosen for its score on some folds has too good a score on these same folds. With a split by
        time there is only one way to cut folds, and both methods give the same.
        """
        return self._cut(problem, problem.seed + 1, problem.search.folds)

    def _cut(self, problem: Problem, seed: int, count: int) -> list[Fold]:
        found = cut(self.y, self.key, by=self.schema.split_by, folds=count, seed=seed)
        if self.most is None:
            return found
        return [Fold(self._sample(fold.fit, self.most, problem), fold.score) for fold in found]

    def learnt(self, problem: Problem) -> np.ndarray | None:
        """The positions of the rows that the final fit learns from; None where it learns from all."""
        n = len(self.y)
        return None if self.most is None or self.most >= n else self._sample(np.arange(n), self.most, problem)

    def _sample(self, among: np.ndarray, most: int, problem: Problem) -> np.ndarray:
        return samples.drawn(among, self.y, self.key, by=self.schema.split_by, most=most, seed=problem.seed)

    def told_of_sample(self, problem: Problem) -> str:
        """What is said of a model that learns from a sample of these rows; empty where it learns from all."""
        learnt = self.learnt(problem)
        return "" if learnt is None else f"learnt from {len(learnt):,} of {len(self.y):,} rows"

    def predictions(
        self, outputs: np.ndarray, *, threshold: float = DEFAULT_THRESHOLD, rows: np.ndarray | None = None
    ) -> Predictions:
        """Predictions for all rows or for those at some positions, beside the truth.

        Parameters
        ----------
        outputs
            (n, classes) the probability of each class; or (n, 1) numbers, or (n, 3) with the ends of their intervals.
        threshold
            Of two classes, the probability of the positive class from which on it is the label.
        rows
            (n,) positions of the rows that were predicted; all rows by default.

        """
        y = self.y if rows is None else self.y[rows]
        weights = self.weights if rows is None or self.weights is None else self.weights[rows]
        return predictions_of(self.schema, y, outputs, threshold=threshold, weights=weights)

    @property
    def counting(self) -> np.ndarray:
        """(n,) bool: the rows that count, those whose weight is not 0."""
        return np.ones(len(self.y), dtype=bool) if self.weights is None else self.weights > 0

    @property
    def groups(self) -> np.ndarray | None:
        """(n,) the group of each row, which a bootstrap draws as one; None where the split is not by group."""
        return self.key if self.schema.split_by == "group" else None


def predictions_of(
    schema: Schema, y: np.ndarray, outputs: np.ndarray, *, threshold: float, weights: np.ndarray | None
) -> Predictions:
    """Predictions for rows of a data set's kind beside their truth; parameters are those of `DataSet.predictions`."""
    # the scale on which a number was learnt has no meaning here
    task = Classification(len(schema.classes), schema.positive) if schema.classes else Regression()
    return task.predictions(y, outputs, threshold=threshold, weights=weights)


def source(step: Step, run_id: str) -> Run:
    """The run of etl that holds a data set."""
    return lookup.run(step.client, run_id, "dataset", "etl")


def load(
    step: Step,
    problem: Problem,
    source: Run,
    part: Literal["train", "holdout"],
    *,
    model: str = "",
    in_memory: bool = True,
    ranks: int = 1,
    log: bool = True,
) -> DataSet:
    """Load one part of the data set of a run of etl.

    Training rows of weight 0 are left out: nothing learns from them.

    Parameters
    ----------
    step
        The running step.
    problem, source
        The problem, and the run of etl.
    part
        Which part.
    model
        The name of the model that is to learn from the rows, which may ask for columns that are made of dates; a logged
        model makes them itself. Of a large table a model that can learns from bins.
    in_memory
        Whether all features are needed in memory, where no model is named that says it.
    ranks
        How many processes learn from the rows together: several are each given their part of the features.
    log
        Whether the part is logged as an input of the step's run.
    """
    schema = lookup.schema(source, step.folder)
    large = is_large(source, schema)
    if large and ranks == 1 and not (binned.in_the_way(problem.models[model]) if model else in_memory):
        found = _in_batches(step, problem, source, part, schema, model)
    else:
        found = replace(_in_memory(step, source, part, schema), is_large=large)
        found = for_model(found, problem, model) if model else found
    if log:
        log_input(step, problem, found, part)
    return found


def is_large(source: Run, schema: Schema) -> bool:
    """Whether the data set of a run of etl is one of a large table: its training rows decide."""
    return size.is_large(int(source.data.params["rows_train"]), len(schema.columns))


def examples(step: Step, source: Run) -> pd.DataFrame:
    """The first raw training rows, with which a model is tried that holds no input example."""
    schema = lookup.schema(source, step.folder)
    rows = StoredRows((lookup.rows_file(source, "train", step.folder),), schema)
    return rows.raw_at(np.arange(EXAMPLES))


def _in_batches(step: Step, problem: Problem, source: Run, part: str, schema: Schema, model: str) -> DataSet:
    """Rows of a large table that count; the features stay where they are until bins are built of them."""
    beside = lookup.rows(source, part, schema, step.folder, features=False)
    counts = slice(None) if beside.weights is None else beside.weights > 0
    dates = problem.models[model].preprocessing.dates if model else ()
    stored = StoredRows((lookup.rows_file(source, part, step.folder),), schema, dates)
    y, key, weights = (None if one is None else one[counts] for one in (beside.y, beside.key, beside.weights))
    return DataSet(
        source=source,
        schema=schema,
        frame=stored.raw_at(np.arange(EXAMPLES)),
        slice_only=beside.slice_only.head(0),
        X=BinnedRows(stored, (len(y), stored.columns)),
        y=y,
        key=key,
        share=step.arguments["share"],
        weights=weights,
        is_large=True,
    )


def _in_memory(step: Step, source: Run, part: str, schema: Schema) -> DataSet:
    rows = lookup.rows(source, part, schema, step.folder)
    rows = datasets.counting(rows) if part == "train" else rows
    features = own_features.as_features(rows.frame, schema)
    if part == "train":  # the other raw rows would take as much memory as the features, and nothing asks for them
        rows = replace(rows, frame=rows.frame.head(EXAMPLES).copy())
        datasets.give_back()
    return DataSet(
        source=source,
        schema=schema,
        frame=rows.frame,
        slice_only=rows.slice_only,
        X=features,
        y=rows.y,
        key=rows.key,
        share=step.arguments["share"],
        weights=rows.weights,
    )


def for_model(found: DataSet, problem: Problem, model: str) -> DataSet:
    """The rows as a model of the problem learns from them: how many at most, and what columns are made of dates.

    A logged model makes these columns itself.
    """
    asked, X = problem.models[model], cast(pd.DataFrame, found.X)
    return replace(found, X=own_features.with_dates(X, found.schema, asked.preprocessing.dates), most=asked.rows)


def log_input(step: Step, problem: Problem, found: DataSet, part: str) -> None:
    """Log a part of a data set as an input of the step's run."""
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
