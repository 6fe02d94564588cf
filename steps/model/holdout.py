"""The holdout of a data set, which a fitted model is asked about: of a large table a batch of its rows at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.entities import Run

from steps.model import dataset, served
from steps.model.dataset import DataSet
from steps.run import lookup
from steps.run.step import Step
from tabular.data import batches, parquet
from tabular.data.columns import WEIGHT
from tabular.data.datasets import SPLIT_KEY, Schema
from tabular.evaluation import slices
from tabular.problem import Problem

Ask = Callable[[pd.DataFrame], np.ndarray]


@dataclass(frozen=True)
class Holdout(DataSet):
    """The holdout rows. Of a large table `X`, `frame` and `slice_only` have no columns: these stay in their file.

    Attributes
    ----------
    file
        The file of a large table's holdout; None where all is in memory.
    """

    file: Path | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether the rows are read a batch at a time, and intervals are of some of them."""
        return self.file is not None

    def sampled(self, problem: Problem) -> str:
        """Of which rows confidence intervals are, in words; empty where they are of all."""
        if not self.is_streamed:
            return ""
        about = {"sliced": bool(problem.evaluation.slices), "grouped": self.groups is not None}
        return slices.sampled(len(self.y), "holdout rows", **about)

    def asked(self, ask: Ask, rows: np.ndarray | None = None) -> np.ndarray:
        """What a function of raw rows gives for all rows, or for those of an (n,) mask; it is asked for each batch."""
        found = [ask(X) for X in self._batches(rows) if len(X)]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _batches(self, rows: np.ndarray | None) -> Iterator[pd.DataFrame]:
        """Raw rows as a logged model is asked with them; of a table that is not large all at once."""
        if self.file is None:
            yield self.raw if rows is None else self.raw[rows]
            return
        start = 0
        for batch in _blocks(self.file, _names(self.schema)):
            chosen = batch if rows is None else batch.filter(pa.array(rows[start : start + len(batch)]))
            start += len(batch)
            yield _raw(chosen, self.schema)

    def taken(self, rows: np.ndarray) -> pd.DataFrame:
        """The raw rows at some positions, in their order; a position may occur several times."""
        if self.file is None:
            return self.raw.iloc[rows]
        return _raw(batches.at(_blocks(self.file, _names(self.schema)), rows), self.schema)

    def columns(self, names: Sequence[str]) -> pd.DataFrame:
        """(n, any) columns of the raw rows, those among them by which rows are cut into slices; texts as categories."""
        if self.file is None:
            return pd.concat([self.frame, self.slice_only], axis=1)
        held, _ = parquet.described(self.file)
        others = (self.schema.target, SPLIT_KEY, WEIGHT)
        slices.check_columns(names, [name for name in held.names if name not in others])
        texts = [name for name in names if pa.types.is_string(held.field(name).type)]
        return pq.read_table(self.file, columns=list(names)).to_pandas(categories=texts)


def load(step: Step, problem: Problem, source: Run) -> Holdout:
    """The holdout of the data set of a run of etl. It is one of a large table if its training rows are of one."""
    schema = lookup.schema(source, step.folder)
    if not dataset.is_large(source, schema):
        return Holdout(**vars(dataset.load(step, problem, source, "holdout")))
    rows = lookup.rows(source, "holdout", schema, step.folder, features=False)
    found = Holdout(
        source=source,
        schema=schema,
        frame=rows.frame,
        slice_only=rows.slice_only,
        X=rows.frame,
        y=rows.y,
        key=rows.key,
        share=step.arguments["share"],
        weights=rows.weights,
        file=lookup.rows_file(source, "holdout", step.folder),
    )
    dataset.log_input(step, problem, found, "holdout")
    return found


def fingerprints(step: Step, source: Run, part: str, names: Sequence[str]) -> np.ndarray:
    """(n,) uint64 a hash of each row's target and named columns; equal rows have equal hashes in every data set.

    Training rows of weight 0 have none: nothing learns from them.
    """
    schema, file = lookup.schema(source, step.folder), lookup.rows_file(source, part, step.folder)
    weight = [WEIGHT] if part == "train" and schema.weight is not None else []
    columns = [vars(column) for column in schema.columns if column.name in names]
    found = []
    for batch in _blocks(file, [*(one["name"] for one in columns), schema.target, *weight]):
        rows = batch.filter(pa.array(batch[WEIGHT].to_numpy() > 0)) if weight else batch
        told = rows[schema.target].to_pylist()
        labels = [str(label) for label in told] if schema.classes else np.array(told, dtype=np.float64)
        features = served.as_features(rows.to_pandas(), columns)[list(names)]
        found.append(pd.util.hash_pandas_object(features.assign(**{"": labels}), index=False).to_numpy())
    return np.concatenate(found)


def _blocks(file: Path, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Columns of a file in batches that depend on the number of its rows alone, and not on how it was written."""
    return batches.regrouped(parquet.blocks(file, names), len(names))


def _names(schema: Schema) -> list[str]:
    return [column.name for column in schema.columns]


def _raw(rows: pa.RecordBatch | pa.Table, schema: Schema) -> pd.DataFrame:
    return served.as_features(rows.to_pandas(), [vars(column) for column in schema.columns])
