"""The features of a large data set where it lies as Parquet, read in batches: never as objects of all rows."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from steps.model import own_features, served
from tabular.data import batches
from tabular.data.columns import WEIGHT
from tabular.data.datasets import ARROW, Schema
from tabular.model import dates
from tabular.model.binned import BATCH_ROWS, Batch, Coded


@dataclass(frozen=True)
class StoredRows:
    """Rows of a data set's files, one file after the other; those of weight 0 are left out.

    They are sent to another process with the files, which it keeps as long as the rows.

    Attributes
    ----------
    files
        The Parquet files.
    schema
        Of the data set.
    dates
        What a model learns of dates, as `preprocessing.dates` says it; empty where the rows are for no model.
    """

    files: tuple[Path, ...]
    schema: Schema
    dates: Sequence[str] | None = ()

    def __getstate__(self) -> dict[str, Any]:
        content = tuple(path.read_bytes() for path in self.files)
        return {**{field.name: getattr(self, field.name) for field in fields(self)}, "files": content}

    def __setstate__(self, state: dict[str, Any]) -> None:
        room = TemporaryDirectory(prefix="tabular-")
        files = tuple(Path(room.name) / f"{number}.parquet" for number in range(len(state["files"])))
        for path, content in zip(files, state["files"], strict=True):
            path.write_bytes(content)
        self.__dict__.update({**state, "files": files, "_room": room})  # frozen

    def and_then(self, other: "StoredRows") -> "StoredRows":
        """These rows and then others of the same data set."""
        return replace(self, files=(*self.files, *other.files))

    @property
    def columns(self) -> int:
        """The number of columns of features."""
        return len(self.schema.features) + len(self._made)

    def batches(self, names: Collection[str] | None = None) -> Iterator[Batch]:
        """The features in batches; of some columns alone where they are named."""
        raw = [column.name for column in self.schema.columns]
        # what is made of others is made of all
        is_plain = names is not None and self.schema.own is None and set(raw).issuperset(names)
        read = [name for name in raw if not is_plain or name in (names or ())]
        for rows in self._read(read, coded=self.schema.own is None):
            yield self._features(rows)

    def at(self, rows: np.ndarray) -> pd.DataFrame:
        """(m, columns) the features of the rows at these positions."""
        return self._with_dates(own_features.as_features(self.raw_at(rows), self.schema))

    def raw_at(self, rows: np.ndarray) -> pd.DataFrame:
        """(m, raw columns) the raw rows at these positions."""
        types = pa.schema([(column.name, ARROW[column.dtype]) for column in self.schema.columns])
        return batches.at(self._read(types.names, coded=True), rows).cast(types).to_pandas()

    @property
    def _made(self) -> list[dict[str, Any]]:
        return dates.made(self.schema.features, self.dates) if self.dates != () else []

    def _with_dates(self, features: pd.DataFrame) -> pd.DataFrame:
        return own_features.with_dates(features, self.schema, self.dates) if self.dates != () else features

    def _read(self, names: Sequence[str], *, coded: bool = False) -> Iterator[pa.RecordBatch]:
        """Raw rows of these columns; where they are `coded`, texts are codes and their categories."""
        import pyarrow.parquet as pq

        texts = [column.name for column in self.schema.columns if column.dtype == "string"] if coded else None
        weight = [] if self.schema.weight is None else [WEIGHT]
        for path in self.files:
            with pq.ParquetFile(path, read_dictionary=texts) as file:
                for rows in file.iter_batches(BATCH_ROWS, columns=[*names, *weight]):
                    counting = rows.filter(pc.greater(rows[WEIGHT], 0)) if weight else rows
                    if len(counting):  # in a stretch of rows of weight 0 there is nothing to encode
                        yield counting.select(list(names))

    def _features(self, rows: pa.RecordBatch) -> Mapping[str, np.ndarray | Coded]:
        if self.schema.own is not None:
            features = self._with_dates(own_features.as_features(rows.to_pandas(), self.schema))
            kinds = {column.name: column.kind for column in self.schema.features}
            return {
                name: _coded(values.to_numpy()) if kinds.get(name) == "category" else values.to_numpy()
                for name, values in features.items()
            }
        here = [column for column in self.schema.columns if column.name in rows.schema.names]
        numbers = [column for column in here if column.kind != "category"]
        frame = served.as_features(rows.select([one.name for one in numbers]).to_pandas(), list(map(vars, numbers)))
        if len(here) == len(self.schema.columns):
            frame = self._with_dates(frame)
        categories = {
            column.name: self._category(rows[column.name], vars(column)) for column in here if column not in numbers
        }
        return {**{name: values.to_numpy() for name, values in frame.items()}, **categories}

    def _category(self, given: pa.Array, column: dict[str, Any]) -> Coded:
        """A column of categories as a model reads it, of which each category is read once."""
        held = given if isinstance(given, pa.DictionaryArray) else given.dictionary_encode()
        values = held.dictionary.to_pandas().rename(column["name"]).to_frame()
        read = _coded(served.as_features(values, [column])[column["name"]].to_numpy())
        codes = held.indices.fill_null(len(read.codes)).to_numpy()
        return Coded(np.append(read.codes, -1)[codes], read.values)


def _coded(values: np.ndarray) -> Coded:
    codes, known = pd.factorize(values)
    return Coded(codes, known)
