"""Data sets: train and holdout hold the table's rows, cut by the problem's rule; what cannot be cut is told."""

import datetime as dt
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabular.data import columns, datasets
from tabular.data.datasets import SPLIT_KEY, Prepared, Schema
from tabular.data.folds import cut
from tabular.data.tables import scan
from tabular.errors import UserError
from tabular.problem import build


def frame(rows: int = 120, seed: int = 0) -> pd.DataFrame:
    """Rows with a column of each type, a number in each row that tells it from all others, and two classes."""
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "row": np.arange(rows),
            "amount": generator.normal(0, 1, rows).round(3),
            "town": generator.choice(["Évora", "Lisboa", "Porto"], rows),
            "member": generator.random(rows) < 0.5,
            "when": pd.Timestamp("2020-01-01") + pd.to_timedelta(generator.integers(0, 40, rows), unit="D"),
            "y": generator.permutation(np.arange(rows) % 2),
        }
    )


class Made:
    """A table written as a file, and what `prepare` made of it."""

    def __init__(self, table: pd.DataFrame, folder: Path, parquet: bool = False, **sections: Any) -> None:
        self.folder = folder
        path = folder / ("table.parquet" if parquet else "table.csv")
        table.to_parquet(path, index=False) if parquet else table.to_csv(path, index=False)
        data = {"source": path.name, "target": "y", **sections.pop("data", {})}
        problem = build({"name": "made", "data": data, **sections}, "made")
        self.prepared: Prepared = datasets.prepare(scan(path), problem, folder)
        self.schema: Schema = self.prepared.schema

    def side(self, name: str) -> pd.DataFrame:
        return pq.read_table(self.folder / f"{name}.parquet").to_pandas()

    @property
    def both(self) -> pd.DataFrame:
        return pd.concat([self.side("train"), self.side("holdout")])


def refused(table: pd.DataFrame, folder: Path, **sections: Any) -> str:
    with pytest.raises(UserError) as caught:
        Made(table, folder, **sections)
    assert "\n" not in str(caught.value)
    return str(caught.value)


values = {
    "number": st.none() | st.floats(-1e9, 1e9, allow_nan=False),
    "whole": st.integers(-(2**40), 2**40),
    "text": st.none() | st.text("abc äß'\",;\n", min_size=1, max_size=5).map(str.strip).filter(bool),
    "flag": st.none() | st.booleans(),
    "moment": st.none() | st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)),
    "y": st.none() | st.sampled_from(["no", "yes"]),
}
TYPES = {
    "number": pa.float64(),
    "whole": pa.int64(),
    "text": pa.string(),
    "flag": pa.bool_(),
    "moment": pa.timestamp("us"),
    "y": pa.string(),
}


@st.composite
def drawn_tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(0, 30))
    columns = {name: draw(st.lists(one, min_size=rows, max_size=rows)) for name, one in values.items()}
    # enough rows of each class for a split, and a value in each column
    more = {"number": 1.5, "whole": 3, "text": "x", "flag": True, "moment": dt.datetime(2020, 1, 1)}
    for name, value in more.items():
        columns[name] += [value] * 20
    columns["y"] += ["no", "yes"] * 10
    return pa.table({name: pa.array(columns[name], TYPES[name]) for name in columns})


@given(drawn_tables(), st.sampled_from(["random", "group"]))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_train_and_holdout_together_are_the_rows_that_have_a_target(table: pa.Table, by: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = table.append_column("g", pa.array([f"g{row % 7}" for row in range(len(table))]))
        pq.write_table(table, folder / "t.parquet")
        split = {"by": by, **({"column": "g"} if by == "group" else {})}
        data = {"source": "t.parquet", "target": "y"}
        problem = build({"name": "made", "data": data, "split": split}, "made")
        prepared = datasets.prepare(scan(folder / "t.parquet"), problem, folder)
        parts = [pq.read_table(folder / f"{side}.parquet") for side in ("train", "holdout")]
    if by == "group":
        table = table.rename_columns({"g": SPLIT_KEY})
    found = pa.concat_tables(parts).select(table.column_names).to_pylist()
    expected = [row for row in table.to_pylist() if row["y"] is not None]
    assert sorted(map(repr, found)) == sorted(repr({**row, "whole": float(row["whole"])}) for row in expected)
    assert prepared.without_target == len(table) - len(expected)


@given(st.integers(60, 150), st.floats(0.1, 0.5), st.integers(0, 5))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_holdout_by_time_is_later_than_all_training_rows(tmp_path: Path, rows: int, share: float, seed: int) -> None:
    made = Made(frame(rows, seed), tmp_path, split={"by": "time", "column": "when", "holdout": share})
    assert made.side("train")["when"].max() < made.side("holdout")["when"].min()


def test_a_holdout_by_time_is_about_the_share_asked_for(tmp_path: Path) -> None:
    made = Made(frame(1000), tmp_path, split={"by": "time", "column": "when", "holdout": 0.3})
    assert len(made.side("holdout")) / 1000 == pytest.approx(0.3, abs=0.03)


def test_a_date_of_three_columns_cuts_as_the_date_itself(tmp_path: Path) -> None:
    table = frame()
    table["year"], table["day"] = table["when"].dt.year, table["when"].dt.day
    table["month"] = table["when"].dt.month_name()
    parts = {"year": "year", "month": "month", "day": "day"}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = Made(table, tmp_path / "a", split={"by": "time", "column": "when"})
    made = Made(table, tmp_path / "b", split={"by": "time", "column": parts})
    assert list(made.side("holdout")["row"]) == list(whole.side("holdout")["row"])


def test_a_holdout_by_group_shares_no_group_with_training_rows(tmp_path: Path) -> None:
    table = frame()
    table["guest"] = np.arange(len(table)) // 4
    made = Made(table, tmp_path, split={"by": "group", "column": "guest"})
    assert set(made.both[SPLIT_KEY]) == set(table["guest"])
    assert not set(made.side("train")[SPLIT_KEY]) & set(made.side("holdout")[SPLIT_KEY])


def test_the_column_of_the_group_is_no_feature(tmp_path: Path) -> None:
    table = frame().assign(guest=np.arange(120) // 4)
    made = Made(table, tmp_path, split={"by": "group", "column": "guest"})
    assert [column.name for column in made.schema.columns] == ["row", "amount", "town", "member", "when"]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.4, 0.5, 0.75])
def test_a_holdout_by_group_is_about_the_share_of_the_rows_however_large_the_groups(
    tmp_path: Path, share: float
) -> None:
    guests = np.repeat(np.arange(100), [37] * 20 + [1] * 80)
    table = frame(len(guests)).assign(guest=guests)
    made = Made(table, tmp_path, split={"by": "group", "column": "guest", "holdout": share})
    assert sum(made.prepared.holdout.values()) / len(table) == pytest.approx(share, abs=0.05)


def test_a_holdout_by_group_has_the_classes_in_proportion_as_far_as_groups_allow(tmp_path: Path) -> None:
    guests = np.arange(600) // 4
    table = frame(600).assign(guest=guests, y=np.where(guests % 10 == 0, "rare", "usual"))
    made = Made(table, tmp_path, split={"by": "group", "column": "guest"})
    assert made.prepared.holdout == {"rare": 12, "usual": 108}


def test_too_few_groups_for_the_holdout_are_told(tmp_path: Path) -> None:
    message = refused(frame(), tmp_path, split={"by": "group", "column": "town"})
    assert message.startswith("split.holdout: 0.2 of 120 rows cannot be held out by a group split: there are 3 groups")


def test_a_column_that_splits_may_be_hidden_from_models(tmp_path: Path) -> None:
    split = {"by": "time", "column": "when"}
    made = Made(frame(), tmp_path, data={"drop": {"when": "the days to come are later"}}, split=split)
    assert "when" not in [column.name for column in made.schema.columns]
    assert made.side("train")[SPLIT_KEY].max() < made.side("holdout")[SPLIT_KEY].min()


def test_a_random_holdout_has_each_class_in_proportion(tmp_path: Path) -> None:
    table = frame(200).assign(y=["a"] * 150 + ["b"] * 50)
    made = Made(table, tmp_path, split={"holdout": 0.2})
    assert made.prepared.holdout == {"a": 30, "b": 10}
    assert made.prepared.train == {"a": 120, "b": 40}


def test_the_same_seed_holds_out_the_same_rows(tmp_path: Path) -> None:
    held_out = [list(Made(frame(), tmp_path, seed=seed).side("holdout")["row"]) for seed in (3, 3, 4)]
    assert held_out[0] == held_out[1] != held_out[2]


def test_rows_keep_the_tables_order(tmp_path: Path) -> None:
    made = Made(frame(), tmp_path)
    assert made.side("train")["row"].is_monotonic_increasing
    assert made.side("holdout")["row"].is_monotonic_increasing


def test_of_duplicates_the_first_stays(tmp_path: Path) -> None:
    table = frame(60)
    made = Made(pd.concat([table, table.iloc[:10]]), tmp_path, data={"duplicates": "drop"})
    assert sorted(made.both["row"]) == list(range(60))
    assert made.prepared.duplicates == 10


@pytest.mark.parametrize(("kind", "value"), [("Int64", 2**53 + 1), ("boolean", True), ("Float64", 0.1)])
def test_a_duplicate_is_found_in_another_batch_where_values_are_missing(tmp_path: Path, kind: str, value: Any) -> None:
    table = pd.DataFrame({"row": np.arange(columns.BATCH_ROWS + 2)})
    table["x"] = pd.array([value] * len(table), dtype=kind)
    table.loc[len(table) - 1, "x"] = None  # in the second batch only
    table.loc[len(table) - 2, "row"] = 0
    made = Made(table.assign(y=table["row"] % 2), tmp_path, parquet=True, data={"duplicates": "drop"})
    assert made.prepared.duplicates == 1


def test_whole_numbers_that_differ_in_their_last_digit_are_no_duplicates(tmp_path: Path) -> None:
    ids = pd.array([2**53 + row for row in range(119)] + [None], dtype="Int64")
    table = pd.DataFrame({"id": ids, "y": "a"}).assign(y=["a"] * 60 + ["b"] * 60)
    assert Made(table, tmp_path, data={"duplicates": "drop"}).prepared.duplicates == 0


@pytest.mark.parametrize(
    ("column", "value"), [("amount", 0.0), ("member", False), ("town", "0"), ("when", "1970-01-01")]
)
def test_a_missing_value_is_no_duplicate_of_a_value(tmp_path: Path, column: str, value: Any) -> None:
    table = frame(60).astype({column: object})
    table = pd.concat([table, table.iloc[:1], table.iloc[:1]], ignore_index=True)
    table.loc[60:, "row"] = 60
    table.loc[60, column], table.loc[61, column] = value, None
    assert Made(table, tmp_path, data={"duplicates": "drop"}).prepared.duplicates == 0


def test_rows_that_differ_in_the_target_only_are_no_duplicates(tmp_path: Path) -> None:
    table = frame(60)
    made = Made(pd.concat([table, table.iloc[:10].assign(y=1 - table["y"])]), tmp_path, data={"duplicates": "drop"})
    assert len(made.both) == 70


def test_duplicates_stay_where_nobody_says_otherwise(tmp_path: Path) -> None:
    table = frame(60)
    assert len(Made(pd.concat([table, table.iloc[:10]]), tmp_path).both) == 70


def test_rows_without_a_target_are_left_out_and_counted(tmp_path: Path) -> None:
    table = frame().astype({"y": object})
    table.loc[:6, "y"] = None
    made = Made(table, tmp_path)
    assert made.prepared.without_target == 7
    assert sorted(made.both["row"]) == list(range(7, 120))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([0, 1], (0, 1)),
        ([2, 10], (2, 10)),
        (["b", "a"], ("a", "b")),
        (["ja", "nein"], ("ja", "nein")),
        ([True, False], (False, True)),
        ([0.5, 0.25], (0.25, 0.5)),
        ([1.0, 2.0], (1, 2)),
        (["10", "x"], ("10", "x")),
    ],
)
def test_classes_are_the_targets_values_in_order_and_keep_their_type(
    tmp_path: Path, labels: list[Any], classes: tuple[Any, ...]
) -> None:
    made = Made(frame().assign(y=labels * 60), tmp_path)
    assert made.schema.classes == classes
    assert [type(label) for label in made.schema.classes] == [type(label) for label in classes]
    assert set(made.both["y"]) == set(classes)


def test_whole_numbers_stay_so_where_a_target_is_missing(tmp_path: Path) -> None:
    table = frame().astype({"y": float})
    table.loc[0, "y"] = np.nan
    assert repr(Made(table, tmp_path).schema.classes) == "(0, 1)"


def test_labels_are_read_alike_in_every_batch(tmp_path: Path) -> None:
    rows = columns.BATCH_ROWS + 100
    table = pd.DataFrame({"x": 0.5, "y": [1.0, 2.0] * (rows // 2)})
    table.loc[rows - 50 :, "y"] = 2.5
    assert Made(table, tmp_path).schema.classes == (1.0, 2.0, 2.5)


def test_the_last_class_is_positive_where_nobody_says_otherwise(tmp_path: Path) -> None:
    assert Made(frame(), tmp_path).schema.positive == 1


def test_the_positive_class_is_the_one_that_was_named(tmp_path: Path) -> None:
    assert Made(frame(), tmp_path, data={"positive": 0}).schema.positive == 0


def test_values_are_grouped_into_classes_by_name(tmp_path: Path) -> None:
    table = frame().assign(y=np.arange(120) % 5)
    groups = {"present": [1, 2, 3, 4], "absent": [0]}
    made = Made(table, tmp_path, data={"classes": groups, "positive": "present"})
    assert made.schema.classes == ("present", "absent")
    assert made.schema.positive == 0
    assert made.both["y"].value_counts().to_dict() == {"present": 96, "absent": 24}


@given(st.lists(st.text("ab\u00e4 .'\"", min_size=1, max_size=4).map(str.strip).filter(bool), min_size=1, unique=True))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_columns_of_any_name_come_through(tmp_path: Path, names: list[str]) -> None:
    table = pd.DataFrame({name: np.arange(40.0) for name in names} | {"y": [0, 1] * 20})
    made = Made(table, tmp_path)
    assert [column.name for column in made.schema.columns] == names


def test_every_number_is_a_double(tmp_path: Path) -> None:
    made = Made(frame(), tmp_path)
    dtypes = {column.name: column.dtype for column in made.schema.columns}
    assert dtypes == {
        "row": "double",
        "amount": "double",
        "town": "string",
        "member": "boolean",
        "when": "datetime",
    }


def test_numbers_may_be_read_as_categories(tmp_path: Path) -> None:
    made = Made(frame(), tmp_path, data={"types": {"amount": "category"}})
    kinds = {column.name: (column.dtype, column.kind) for column in made.schema.columns}
    assert kinds["amount"] == ("double", "category")


def test_a_schema_is_what_its_own_json_describes(tmp_path: Path) -> None:
    made = Made(frame(), tmp_path, data={"types": {"amount": "category"}})
    assert Schema.from_json((made.folder / "schema.json").read_text(encoding="utf-8")) == made.schema


def test_rows_are_loaded_with_their_classes_as_positions(tmp_path: Path) -> None:
    made = Made(frame().assign(y=["b", "a"] * 60), tmp_path)
    rows = datasets.load(tmp_path / "train.parquet", made.schema)
    assert [made.schema.classes[code] for code in rows.y] == list(made.side("train")["y"])
    assert list(rows.frame.columns) == [column.name for column in made.schema.columns]
    assert rows.key is None


def test_a_column_that_no_model_sees_is_kept_for_slices_in_the_holdout_alone(tmp_path: Path) -> None:
    sections: dict[str, Any] = {"data": {"drop": {"town": "nobody is judged by it"}}}
    made = Made(frame(), tmp_path, **sections, evaluation={"slices": ["town", "amount"]})
    assert "town" not in made.side("train")
    assert "town" not in [column.name for column in made.schema.columns]
    held_out = datasets.load(tmp_path / "holdout.parquet", made.schema)
    expected = frame().set_index("row").loc[held_out.frame["row"], "town"]
    assert list(held_out.slice_only) == ["town"]
    assert list(held_out.slice_only["town"]) == list(expected)
    assert list(datasets.load(tmp_path / "train.parquet", made.schema).slice_only) == []


def test_what_slices_are_of_has_no_part_in_what_is_learnt_from(tmp_path: Path) -> None:
    plain, sliced = tmp_path / "plain", tmp_path / "sliced"
    for folder, sections in ((plain, {}), (sliced, {"evaluation": {"slices": ["town"]}})):
        folder.mkdir()
        Made(frame(), folder, data={"drop": {"town": "nobody is judged by it"}}, **sections)
    for name in ("train.parquet", "schema.json"):
        assert (plain / name).read_bytes() == (sliced / name).read_bytes()


def test_the_profile_counts_what_is_missing(tmp_path: Path) -> None:
    table = frame()
    table.loc[:29, "amount"] = np.nan
    profile = Made(table, tmp_path).prepared.profile.table()
    place = profile["column"].index("amount")
    assert (profile["missing"][place], profile["missing_share"][place]) == (30, 0.25)


def test_a_target_that_is_not_there_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    message = refused(frame().rename(columns={"y": "churned"}), tmp_path, data={"target": "churn"})
    assert message.startswith("target: table.csv has no column 'churn', did you mean 'churned'?")


@pytest.mark.parametrize("key", ["drop", "types"])
def test_a_named_column_that_is_not_there_is_told_with_its_key(tmp_path: Path, key: str) -> None:
    value = {"amonut": "number"}
    assert f"data.{key}: table.csv has no column 'amonut'" in refused(frame(), tmp_path, data={key: value})


@pytest.mark.parametrize(
    ("changes", "sections", "says"),
    [
        ({"y": 1}, {}, "only the class 1"),
        ({"y": np.arange(120)}, {}, "120 different values"),
        ({"y": [0] * 118 + [1, 1]}, {}, "class 1 of 'y' has 2 training rows for 5 folds, and 5 are needed"),
        ({"y": [0] * 119 + [1]}, {}, "class 1 of 'y' has 1 row, and 2 are needed"),
        ({"y": [0] * 117 + [1] * 3}, {"search": {"folds": 2}, "split": {"holdout": 0.1}}, "has 0 rows in the holdout"),
        ({"y": ["yes", "no"] * 60}, {"data": {"positive": True}}, "is no class of 'y'; its classes: 'no', 'yes'; YAML"),
        ({"y": ["yes", "no"] * 60}, {"data": {"classes": {"a": [True], "b": [False]}}}, "to no class; YAML reads yes"),
        ({}, {"data": {"positive": 2}}, "data.positive: 2 is no class of 'y'; its classes: 0, 1"),
        ({}, {"data": {"classes": {"a": [0], "b": [2]}}}, "data.classes: the value 1 of 'y' belongs to no class"),
        ({}, {"data": {"target": "when"}}, "holds dates"),
        ({}, {"data": {"types": {"town": "number"}}}, "'town' is not a number throughout"),
        ({}, {"data": {"types": {"when": "category"}}}, "dates, which cannot be categories"),
        ({}, {"split": {"by": "time", "column": "whn"}}, "split.column: table.csv has no column 'whn'"),
        ({}, {"split": {"by": "time", "column": "town"}}, "neither a date nor a number, but text"),
        ({"town": "x"}, {"split": {"by": "group", "column": "town"}}, "split.holdout: 0.2 of 120 rows cannot be"),
        ({"y": [0] * 60 + [1] * 60}, {"split": {"by": "time", "column": "row"}}, "hold 1 of the 2 classes"),
        ({}, {"evaluation": {"slices": ["twon"]}}, "evaluation.slices: table.csv has no column 'twon', did you mean"),
        ({}, {"evaluation": {"slices": ["y"]}}, "evaluation.slices: 'y' is the target"),
        ({"when": [None] + ["2020-01-01"] * 119}, {"split": {"by": "time", "column": "when"}}, "1 rows"),
    ],
)
def test_what_is_no_target_or_no_split_is_told(
    tmp_path: Path, changes: dict[str, Any], sections: dict[str, Any], says: str
) -> None:
    assert says in refused(frame().assign(**changes), tmp_path, **sections)


def labels(**rows: int) -> list[str]:
    return [label for label, number in rows.items() for _ in range(number)]


def advised(message: str) -> list[dict[str, Any]]:
    """The values of data.rare that an error says, to be pasted."""
    return [yaml.safe_load(found) for found in re.findall(r"data\.rare: (\{.*?\})", message)]


MANY = [f"c{place}" for place in range(150) for _ in range(1 + place // 4)]


@pytest.mark.parametrize(
    ("y", "ways"),
    [
        (labels(a=60, b=59, c=1), 1),
        (labels(a=60, b=48, c=9, d=3), 2),
        (labels(a=100, b=9, c=9), 1),
        ([*range(0, 3)] * 40 + [3] * 4 + [4] * 6, 2),
        (MANY, 2),
    ],
)
@pytest.mark.parametrize(("holdout", "folds"), [(0.2, 5), (0.5, 3), (0.1, 2)])
def test_each_advice_for_classes_of_too_few_rows_leads_to_a_data_set(
    tmp_path: Path, y: list[Any], ways: int, holdout: float, folds: int
) -> None:
    table = frame(len(y)).assign(y=y)
    sections = {"split": {"holdout": holdout}, "search": {"folds": folds}}
    try:
        Made(table, tmp_path, **sections)
    except UserError as error:
        found = advised(str(error))
    else:
        return  # the classes are enough for this split
    assert 1 <= len(found) <= 2
    assert len(found) == ways or (holdout, folds) != (0.2, 5)
    for rare in found:
        made = Made(table, tmp_path, data={"rare": rare}, **sections)
        assert ("other" in made.schema.classes) == ("into" in rare)
        assert len(made.both) == len(y) or "into" not in rare


@pytest.mark.parametrize(
    ("rows", "holdout", "folds", "says"),
    [
        ((60, 5), 0.5, 5, "search.folds: 2 and split.holdout: 0.4"),
        ((60, 6), 0.4, 5, "search.folds: 2"),
        ((60, 9), 0.1, 10, "search.folds: 5 and split.holdout: 0.25"),
        ((60, 4), 0.2, 5, ""),
        ((60, 1), 0.2, 5, ""),
    ],
)
def test_another_split_that_is_advised_leads_to_a_data_set(
    tmp_path: Path, rows: tuple[int, int], holdout: float, folds: int, says: str
) -> None:
    table = frame(sum(rows)).assign(y=labels(a=rows[0], b=rows[1]))
    message = refused(table, tmp_path, split={"holdout": holdout}, search={"folds": folds})
    assert message.endswith(f"say {says}" if says else "choose another target, or add rows of this class")
    if says:
        found = {key: float(value) for key, value in re.findall(r"(search\.folds|split\.holdout): ([\d.]+)", message)}
        split, fewer = {"holdout": found.get("split.holdout", holdout)}, {"folds": int(found["search.folds"])}
        assert sum(Made(table, tmp_path, split=split, search=fewer).prepared.holdout.values()) > 0


def test_rare_classes_become_one_or_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    table = frame().assign(y=labels(a=60, b=50, c=7, d=3))
    into = Made(table, tmp_path, data={"rare": {"fewer_than": 10, "into": "other"}}).prepared
    assert into.schema.classes == ("a", "b", "other")
    assert into.train["other"] + into.holdout["other"] == 10
    assert into.rare == "10 rows of 2 classes with fewer than 10 rows are the class 'other': 7 'c', 3 'd'"
    out = Made(table, tmp_path, data={"rare": {"fewer_than": 10}}).prepared
    assert out.schema.classes == ("a", "b")
    assert (sum(out.train.values()) + sum(out.holdout.values()), out.without_target) == (110, 0)
    assert out.rare == "10 rows of 2 classes with fewer than 10 rows were left out: 7 'c', 3 'd'"


def test_rows_of_rare_classes_keep_their_features_and_rows_without_a_target_stay_apart(tmp_path: Path) -> None:
    table = frame().assign(y=[1] * 60 + [0] * 50 + [7] * 5 + [8] * 3 + [None] * 2)
    made = Made(table, tmp_path, data={"rare": {"fewer_than": 6, "into": "others"}, "positive": 1})
    assert made.schema.classes == ("0", "1", "others")
    assert made.schema.classes[made.schema.positive] == "1"
    assert made.prepared.without_target == 2
    assert "the names of all classes are texts" in made.prepared.rare
    labels = made.both.set_index("row")["y"]
    assert set(labels[labels == "others"].index) == set(range(110, 118))
    assert set(labels[labels == "1"].index) == set(range(60))


def test_too_few_classes_left_beside_the_rare_ones_are_told(tmp_path: Path) -> None:
    message = refused(frame(), tmp_path, data={"rare": {"fewer_than": 100}})
    assert message == "data.rare: no class of 'y' is left; a classifier needs two: lower fewer_than (100)"


@pytest.mark.parametrize("y", [np.arange(120) / 7, np.arange(120), np.arange(120) % 40 / 7])
def test_a_target_that_looks_like_a_number_is_told_with_a_way_that_leads_to_a_data_set(tmp_path: Path, y: Any) -> None:
    message = refused(frame().assign(y=y), tmp_path)
    assert "looks like a number to predict: say task: regression" in message
    assert Made(frame().assign(y=y), tmp_path, task="regression").schema.task == "regression"
    assert "write a column of its classes, such as low, middle and high" in message
    classes = pd.cut(y, 3, labels=["low", "middle", "high"])
    assert set(Made(frame().assign(y=classes), tmp_path).schema.classes) == {"low", "middle", "high"}


def test_counts_of_which_one_is_rare_are_told_as_classes_and_as_a_number(tmp_path: Path) -> None:
    counts = frame().assign(y=[0] * 60 + [1] * 40 + [2] * 19 + [9])
    message = refused(counts, tmp_path)
    assert message.startswith("target: class 9 of 'y' has 1 row, and 2 are needed: say data.rare: {fewer_than: 10}")
    assert message.endswith("if it is a number to predict, such as a count, say task: regression (-P task=regression)")
    assert Made(counts, tmp_path, task="regression").schema.task == "regression"
    assert "a number to predict" not in refused(frame().assign(y=[0] * 119 + [1]), tmp_path)


def test_rows_that_suffice_before_the_holdout_is_cut_and_not_after_are_told(tmp_path: Path) -> None:
    message = refused(frame(12), tmp_path, split={"holdout": 0.5})
    assert message.startswith("target: class 0 of 'y' has 3 training rows for 5 folds, and 5 are needed")


@given(st.integers(4, 40), st.floats(0.05, 0.9), st.integers(2, 6), st.floats(0.1, 0.9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_that_are_not_refused_can_be_cut_into_folds(
    tmp_path: Path, rows: int, holdout: float, folds: int, share: float
) -> None:
    table = frame(rows).assign(y=np.where(np.arange(rows) < share * rows, "a", "b"))
    try:
        made = Made(table, tmp_path, split={"holdout": holdout}, search={"folds": folds})
    except UserError:
        return
    y = datasets.load(tmp_path / "train.parquet", made.schema).y
    assert len(cut(y, None, by="random", folds=folds, seed=0)) == folds


def test_dropping_all_columns_is_told(tmp_path: Path) -> None:
    message = refused(frame()[["amount", "y"]], tmp_path, data={"drop": {"amount": "why not"}})
    assert "no column is left beside the target 'y'" in message


def test_a_column_with_the_name_of_our_own_is_told(tmp_path: Path) -> None:
    assert "is taken by Tabular" in refused(frame().rename(columns={"row": SPLIT_KEY}), tmp_path)


def test_dates_of_impossible_parts_are_told_with_the_row(tmp_path: Path) -> None:
    table = frame().assign(year=2020, month="Febuary", day=31)
    parts = {"year": "year", "month": "month", "day": "day"}
    assert "have no date" in refused(table, tmp_path, split={"by": "time", "column": parts})


def test_counts_are_json(tmp_path: Path) -> None:
    prepared = Made(frame(), tmp_path).prepared
    assert json.loads(json.dumps([prepared.train, prepared.holdout]))[0] == prepared.train
