"""Weights of rows in data sets: kept beside the rows, seen by no model, and refused where they cannot be weights."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from tabular.data import datasets
from tabular.data.columns import WEIGHT
from tabular.data.datasets import Schema
from tabular.data.tables import scan
from tabular.errors import UserError
from tabular.problem import build
from tests.data.test_datasets import frame


def weighed(rows: int = 120, **columns: Any) -> pd.DataFrame:
    """The rows of `frame` with weights of a half, 1, 2 and so on up to 5."""
    return frame(rows).assign(w=np.r_[0.5, np.arange(1, rows) % 5 + 1], **columns)


def prepared(table: pd.DataFrame, folder: Path, name: str = "table.csv", **sections: Any) -> datasets.Prepared:
    """What `prepare` makes of a table in a file whose rows are weighted by `w`, read as etl reads it."""
    path = folder / name
    table.to_parquet(path, index=False) if path.suffix == ".parquet" else table.to_csv(path, index=False)
    data = {"source": name, "target": "y", "weight": "w", **sections.pop("data", {})}
    data = {key: value for key, value in data.items() if value is not None}
    problem = build({"name": "made", "data": data, **sections}, "made")
    return datasets.prepare(scan(path, datasets.reading(problem)), problem, folder)


def refused(table: pd.DataFrame, folder: Path, name: str = "table.csv", **sections: Any) -> str:
    """The line of an error, after the data set was made by the drop that it advises."""
    with pytest.raises(UserError) as caught:
        prepared(table, folder, name, **sections)
    line = str(caught.value)
    assert "\n" not in line
    drop = re.search(r"say data\.drop: (\{.*?\}) in the place of data\.weight", line)
    if drop:
        data = {**sections.get("data", {}), "weight": None, "drop": yaml.safe_load(drop[1])}
        prepared(table, folder, name, **{**sections, "data": data})
    return line


@pytest.mark.parametrize("split", [{}, {"by": "time", "column": "when"}, {"by": "group", "column": "town"}])
@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_weights_are_kept_beside_the_rows_of_both_sides(tmp_path: Path, split: dict[str, str], name: str) -> None:
    table = weighed(town=[f"t{row % 9}" for row in range(120)])
    made = prepared(table, tmp_path, name, split=split)
    for side in ("train", "holdout"):
        rows = datasets.load(tmp_path / f"{side}.parquet", made.schema)
        assert rows.weights is not None
        assert rows.weights.tolist() == table.set_index("row")["w"].loc[rows.frame["row"]].tolist()
        assert (rows.key is None) == (split == {})
        assert list(rows.slice_only) == []


def test_no_model_sees_the_weights(tmp_path: Path) -> None:
    made = prepared(weighed(), tmp_path)
    assert made.schema.weight == "w"
    assert [column.name for column in made.schema.columns] == [name for name in frame() if name != "y"]
    assert Schema.from_json((tmp_path / "schema.json").read_text(encoding="utf-8")) == made.schema


def test_without_weights_nothing_is_said_of_them(tmp_path: Path) -> None:
    made = prepared(frame(), tmp_path, data={"weight": None})
    assert "weight" not in json.loads((tmp_path / "schema.json").read_text(encoding="utf-8"))
    assert WEIGHT not in pq.read_schema(tmp_path / "train.parquet").names
    assert (made.weighted, datasets.load(tmp_path / "train.parquet", made.schema).weights) == (None, None)
    assert "weight" not in made.profile.table()["type"]


def test_the_split_is_that_of_the_same_rows_without_weights(tmp_path: Path) -> None:
    sides = []
    for name, table in {"with": weighed(), "without": frame()}.items():
        (tmp_path / name).mkdir()
        prepared(table, tmp_path / name, data={} if name == "with" else {"weight": None})
        sides.append(pq.read_table(tmp_path / name / "holdout.parquet")["row"].to_pylist())
    assert sides[0] == sides[1]


def test_what_is_said_of_weights_is_their_range_and_their_sum_by_class(tmp_path: Path) -> None:
    table = weighed()
    table.loc[5:7, "w"] = 0
    made = prepared(table, tmp_path)
    found = made.weighted
    assert found is not None
    assert (found.column, found.low, found.high, found.zeros) == ("w", 0, 5, 3)
    for code in (0, 1):
        assert found.train[str(code)] + found.holdout[str(code)] == table.loc[table["y"] == code, "w"].sum()
    profile = {name: values[-1] for name, values in made.profile.table().items()}
    assert (profile["column"], profile["type"], profile["min"], profile["max"]) == ("w", "weight", "0.0", "5.0")
    assert profile["mean"] == pytest.approx(table["w"].mean())


def test_rows_of_weight_0_stay_in_the_files_and_do_not_count(tmp_path: Path) -> None:
    table = weighed()
    table.loc[table.index[::4], "w"] = 0
    made = prepared(table, tmp_path)
    rows = datasets.load(tmp_path / "train.parquet", made.schema)
    kept = datasets.counting(rows)
    assert (len(rows.y), len(kept.y)) == (96, int((rows.weights > 0).sum()))  # type: ignore[operator]
    assert kept.frame["row"].tolist() == [row for row in rows.frame["row"] if row % 4]
    assert len(kept.frame) == len(kept.y) == len(kept.weights)  # type: ignore[arg-type]
    assert (kept.weights > 0).all()  # type: ignore[operator]


def test_a_column_of_weights_may_cut_slices_too_and_need_not_be_dropped(tmp_path: Path) -> None:
    made = prepared(weighed(), tmp_path, data={"drop": {"w": "twice said"}}, evaluation={"slices": ["w"]})
    assert list(datasets.load(tmp_path / "holdout.parquet", made.schema).slice_only) == ["w"]


@pytest.mark.parametrize(
    ("weight", "says"),
    [
        (None, "'w' of table.csv is missing in 2 of 120 rows, first in row 4:"),
        (-1.5, "'w' of table.csv is negative in 2 of 120 rows, first in row 4:"),
        (np.inf, "column 'w' holds an infinite number (inf), and the problem needs it"),
        ("much", "column 'w' of table.csv is not a number throughout: it was read as string:"),
    ],
)
def test_what_is_no_weight_is_refused_with_its_row_and_a_way_out(tmp_path: Path, weight: Any, says: str) -> None:
    table = weighed().astype({"w": object})
    table.loc[[3, 17], "w"] = weight
    assert says in refused(table, tmp_path)


def test_truths_are_no_weights(tmp_path: Path) -> None:
    assert "it was read as bool" in refused(frame().assign(w=frame()["member"]), tmp_path, "table.parquet")


def test_a_row_that_is_left_out_needs_no_weight(tmp_path: Path) -> None:
    table = weighed().astype({"y": object})
    table.loc[[3, 17], ["w", "y"]] = None
    assert prepared(table, tmp_path).without_target == 2


def test_a_column_that_is_not_there_is_told_with_the_one_that_may_be_meant(tmp_path: Path) -> None:
    line = refused(weighed(), tmp_path, data={"weight": "amunt"})
    assert line.startswith("data.weight: table.csv has no column 'amunt', did you mean 'amount'?")


def test_the_target_is_no_weight(tmp_path: Path) -> None:
    assert "data.weight: 'y' is the target" in refused(weighed(), tmp_path, data={"weight": "y"})


def test_a_class_needs_rows_that_count_for_each_fold_and_in_the_holdout(tmp_path: Path) -> None:
    table = weighed()
    ones = table.index[table["y"] == 1]
    table.loc[ones[4:], "w"] = 0
    says = r"of the (training|holdout) rows whose 'w' is above 0, class 1 of 'y' has \d, and [15] are needed"
    assert re.search(says, refused(table, tmp_path))


def test_where_all_weights_of_a_side_are_0_the_side_is_told(tmp_path: Path) -> None:
    table = weighed().assign(w=0)
    split = {"by": "time", "column": "when"}
    line = refused(table, tmp_path, split=split)
    assert "of the training rows whose 'w' is above 0, they are 0 and hold 0 of the 2 classes" in line


def test_a_column_may_have_the_name_that_weights_have_in_the_files_where_there_are_none(tmp_path: Path) -> None:
    table = weighed().assign(**{WEIGHT: np.arange(120.0)})
    assert f"the column name '{WEIGHT}' is taken by Tabular: rename it" in refused(table, tmp_path)
    made = prepared(table, tmp_path, data={"weight": None})
    assert WEIGHT in datasets.load(tmp_path / "train.parquet", made.schema).frame
