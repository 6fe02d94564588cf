"""Data sets of tables that are files, as a problem makes them, for tests."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from tabular import digests
from tabular.data import datasets
from tabular.data.datasets import Prepared, Schema
from tabular.data.tables import scan
from tabular.errors import UserError
from tabular.problem import build


class Made:
    """A table as a file, and the data set that a problem makes of it."""

    def __init__(self, path: Path, target: str = "y", **sections: Any) -> None:
        data = {"source": str(path), "target": target, **sections.pop("data", {})}
        problem = build({"name": "made", "data": data, **sections}, "made")
        self.folder = path.parent / f"of {path.name}"
        self.folder.mkdir(exist_ok=True)
        self.table = scan(path, datasets.reading(problem))
        self.prepared: Prepared = datasets.prepare(self.table, problem, self.folder)
        self.schema: Schema = self.prepared.schema
        self.digests = [digests.of_file(self.folder / f"{side}.parquet") for side in ("train", "holdout")]

    @property
    def rows(self) -> pd.DataFrame:
        return pd.concat([pq.read_table(self.folder / f"{side}.parquet").to_pandas() for side in ("train", "holdout")])

    @property
    def dtypes(self) -> dict[str, str]:
        return {column.name: column.dtype for column in self.schema.columns}

    @property
    def hints(self) -> str:
        return "\n".join(hint.text for hint in self.prepared.profile.hints())


def refused(path: Path, **sections: Any) -> str:
    with pytest.raises(UserError) as caught:
        Made(path, **sections)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def advice(text: str, key: str) -> Any:
    """What a hint or an error says to write into the problem under a key of `data`."""
    found = re.search(rf"data\.{key}: (\{{.*?\}}+|\[.*?\]|'.*?'|\w+)(?=$|[\s,;)])", text, re.MULTILINE)
    assert found, text
    return yaml.safe_load(found[1])
