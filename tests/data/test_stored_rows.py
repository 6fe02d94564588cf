"""Features that are read in batches where they lie: those of the rows in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from steps.model import own_features, stored_rows
from steps.model.stored_rows import StoredRows
from tabular.data import datasets
from tabular.data.datasets import Column, Own, Schema
from tabular.model import training
from tabular.model.binned import BinnedRows, Coded
from tabular.model.tasks import Regression
from tabular.model.training import Candidate
from tabular.sections.models import Model
from tests.prepared import Made

ROWS = 500
CODE = "def make(rows):\n    return rows[[]].assign(twice=rows['amount'] * 2, first=rows['word'].str[:1])\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    draw = np.random.default_rng(5)
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(draw.integers(0, 300, ROWS), "D")
    table = pd.DataFrame(
        {
            "amount": draw.normal(size=ROWS).round(2),
            "word": draw.choice(["red", " red", "green", "n/a"], ROWS),
            "rare": ["x"] + [None] * (ROWS - 1),
            "code": draw.choice([3, 7, 20], ROWS),
            "is_new": draw.choice(["true", "false"], ROWS),
            "day": day.strftime("%Y-%m-%d"),
            "since": (day - pd.Timedelta("9D")).strftime("%Y-%m-%d"),
        }
    ).astype(object)
    for name in table.columns.drop("rare"):
        table.loc[draw.random(ROWS) < 0.05, name] = None
    table["y"], table["w"] = draw.choice(["yes", "no"], ROWS), draw.choice([0, 1, 2.5], ROWS)
    path = tmp_path_factory.mktemp("stored") / "table.csv"
    table.to_csv(path, index=False)
    types = {"code": "category", "rare": "category"}
    return Made(path, data={"weight": "w", "types": types})


def schemas(made: Made) -> dict[str, Schema]:
    own = Own("make", CODE, (Column("twice", "double", "number"), Column("first", "string", "category")))
    plain = made.schema
    return {"plain": plain, "own": Schema(**{**vars(plain), "own": own})}


def read(made: Made, schema: Schema, parts: list[str] | None = None) -> tuple[StoredRows, pd.DataFrame]:
    """Rows of both files where they lie, and their features made in memory."""
    files = tuple(made.folder / f"{side}.parquet" for side in ("train", "holdout"))
    frames = [datasets.counting(datasets.load(path, schema)).frame for path in files]
    features = own_features.as_features(pd.concat(frames, ignore_index=True), schema)
    return StoredRows(files, schema, parts), own_features.with_dates(features, schema, parts)


def values(column: Any) -> Any:
    """A column of a batch as features have it."""
    if not isinstance(column, Coded):
        return column
    return np.array([np.nan if code < 0 else column.values[code] for code in column.codes], dtype=object)


@pytest.mark.parametrize("kind", ["plain", "own"])
def test_batches_hold_the_features_of_all_rows_that_count(
    made: Made, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_rows, "BATCH_ROWS", 64)
    rows, features = read(made, schemas(made)[kind], ["days", "month", "differences"])
    batches = list(rows.batches())
    assert len(batches) > 5
    assert rows.columns == len(features.columns)
    for name, wanted in features.items():
        found = np.concatenate([values(batch[str(name)]) for batch in batches])
        assert pd.Series(found, dtype=object).equals(wanted.astype(object).reset_index(drop=True)), name


@pytest.mark.parametrize("kind", ["plain", "own"])
@pytest.mark.parametrize("name", ["amount", "word", "day: month"])
def test_a_column_can_be_read_alone(made: Made, kind: str, name: str) -> None:
    rows, features = read(made, schemas(made)[kind], ["days", "month"])
    found = np.concatenate([values(batch[name]) for batch in rows.batches([name])])
    assert pd.Series(found, dtype=object).equals(features[name].astype(object))


def test_rows_at_positions_come_in_the_order_that_was_asked_for(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_rows, "BATCH_ROWS", 64)
    rows, features = read(made, schemas(made)["own"], ["month"])
    wanted = np.random.default_rng(1).permutation(len(features))[:100]
    pd.testing.assert_frame_equal(rows.at(wanted), features.iloc[wanted].reset_index(drop=True))


def test_what_lies_beside_the_features_is_read_without_them(made: Made) -> None:
    path: Path = made.folder / "train.parquet"
    whole, beside = (datasets.load(path, made.schema, features=features) for features in (True, False))
    assert np.array_equal(beside.y, whole.y)
    assert np.array_equal(beside.weights, whole.weights)  # type: ignore[arg-type]
    assert beside.frame.shape == (len(whole.y), 0)


def test_a_stretch_of_rows_of_weight_0_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_rows, "BATCH_ROWS", 64)
    draw = np.random.default_rng(5)
    table = pd.DataFrame({"amount": draw.normal(size=ROWS), "word": draw.choice(["red", "green"], ROWS)})
    table.loc[::7, "amount"] = np.nan
    table["y"], table["w"] = table["amount"].fillna(0) + draw.normal(size=ROWS), np.arange(ROWS) // 200
    table.to_csv(tmp_path / "table.csv", index=False)
    made = Made(tmp_path / "table.csv", data={"weight": "w"}, task="regression")
    path = made.folder / "train.parquet"
    given = datasets.counting(datasets.load(path, made.schema))
    features = own_features.as_features(given.frame, made.schema)
    how = {"estimator": "lightgbm.LGBMRegressor", "params": {"n_estimators": 5}, "preprocessing": {"missing": "impute"}}
    one = Candidate("m", Model.model_validate(how), {}, made.schema.features, Regression(), seed=1)
    stored = BinnedRows(StoredRows((path,), made.schema), features.shape)
    memory, bins = (training.fit(one, X, given.y, threads=1) for X in (features, stored))
    assert np.array_equal(bins.outputs(features), memory.outputs(features))
