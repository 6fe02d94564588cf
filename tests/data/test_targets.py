"""Targets: what they look like, and data sets of numbers to predict: their rows, their sides and what is refused."""

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
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular.data import datasets, splits, targets
from tabular.data.datasets import Schema
from tabular.data.folds import cut
from tabular.errors import UserError
from tabular.metrics.lookup import CLASSIFICATION, REGRESSION
from tabular.problem import build
from tests.prepared import Made, advice, refused

NUMBERS: dict[str, Any] = {"task": "regression"}


def written(values: Any, folder: Path, name: str = "table.csv", **columns: Any) -> Path:
    """A table with these values of the target, these columns, and in each row a number that no other row has."""
    folder.mkdir(exist_ok=True)
    frame = pd.DataFrame({"row": np.arange(len(values)) + 0.5, **columns, "y": pd.Series(list(values))})
    path = folder / name
    frame.to_parquet(path, index=False) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


def looks(path: Path, **data: Any) -> targets.Looks:
    """What the target of a table looks like."""
    found = build({"name": "made", "data": {"source": str(path), "target": "y", **data}}, "made")
    return datasets.looks_like(path, found)


LOOKS: dict[str, tuple[list[Any], str, str]] = {
    "fractions": ([1.0, 2.5, 3.0] * 9, REGRESSION, "'y' holds fractions such as 2.5"),
    "21 whole numbers": ([*range(21)] * 2, REGRESSION, "more than 20 different numbers"),
    "20 whole numbers": ([*range(20)] * 2, CLASSIFICATION, "20 different whole numbers"),
    "two whole numbers": ([0, 1] * 9, CLASSIFICATION, "2 different whole numbers"),
    "whole floats with missing ones": ([1.0, 2.0, None] * 9, CLASSIFICATION, "2 different whole numbers"),
    "many whole floats with missing ones": ([*map(float, range(40)), None], REGRESSION, "more than 20"),
    "a fraction after missing ones": ([None] * 9 + [1.0, 0.25], REGRESSION, "such as 0.25"),
    "texts": (["a", "b"] * 9, CLASSIFICATION, "'y' holds texts such as 'a'"),
    "truths": ([True, False] * 9, CLASSIFICATION, "no numbers"),
    "dates": (["2024-01-02", "2024-02-03"] * 20, CLASSIFICATION, "no numbers"),
    "numbers and a word": (["1.5", "2.5", "many"] * 9, CLASSIFICATION, "'y' holds texts such as 'many'"),
    "missing texts, then others": ([None] * 9 + ["red", "blue"], CLASSIFICATION, "'y' holds texts such as 'red'"),
    "numbers with a decimal comma": (["83,3", "7"] * 9, CLASSIFICATION, "'y' holds texts such as '83,3'"),
}


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
@pytest.mark.parametrize(("values", "task", "why"), LOOKS.values(), ids=LOOKS)
def test_a_target_looks_like_what_it_holds(tmp_path: Path, values: list[Any], task: str, why: str, name: str) -> None:
    found = looks(written(values, tmp_path, name))
    assert found.task == task
    assert why in found.why


def test_the_types_of_the_problem_say_what_a_target_holds(tmp_path: Path) -> None:
    path = written(["1.5", "2.5", "many"] * 9, tmp_path)
    assert looks(path, types={"y": {"type": "number", "errors": "missing"}}).task == REGRESSION


def test_only_the_target_is_looked_at(tmp_path: Path) -> None:
    path = written([1.5, 2.5] * 9, tmp_path, bad=["1", "x"] * 9)
    assert looks(path, types={"bad": "number"}).task == REGRESSION


def test_a_target_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    path = written([1.5, 2.5] * 9, tmp_path)
    with pytest.raises(UserError, match=r"target: table\.csv has no column 'roww', did you mean 'row'"):
        datasets.looks_like(path, build({"name": "made", "data": {"source": str(path), "target": "roww"}}, "made"))


@given(st.lists(st.none() | st.integers(-50, 50), min_size=1), st.integers(1, 4), st.booleans())
def test_whole_numbers_are_counted_over_all_batches(values: list[int | None], batches: int, are_floats: bool) -> None:
    kind = pa.float64() if are_floats else pa.int64()
    arrays = [pa.array(part.tolist(), kind) for part in np.array_split(np.array(values, dtype=object), batches)]
    found = targets.looks_like(iter(arrays), "y")
    assert found.task == (REGRESSION if len({*values} - {None}) > targets.MOST_VALUES_OF_CLASSES else CLASSIFICATION)


drawn = st.one_of(
    st.lists(st.floats(-1e6, 1e6), min_size=14, max_size=80),
    st.lists(st.integers(0, 4).map(float), min_size=14, max_size=80),  # many equal ones
    st.lists(st.sampled_from([0.0] * 9 + [1.5, 7.0, 1e9]), min_size=40, max_size=120),  # mostly 0
    st.lists(st.floats(1e9, 1e9 + 1), min_size=14, max_size=60),  # that six digits do not tell apart
).filter(lambda values: len({*values}) > 1)


@given(drawn, st.integers(1, 12))
def test_parts_hold_all_rows_and_equal_numbers_together(values: list[float], least: int) -> None:
    parts, edges = targets.strata(np.array(values), least)
    rows = np.bincount(parts)
    assert len(rows) == len(edges) - 1 <= targets.PARTS
    assert rows.min() >= min(least, len(values))
    assert (np.diff(edges[:-1]) > 0).all()
    assert (edges[0], edges[-1]) == (min(values), max(values))
    for part, value in zip(parts, values, strict=True):
        assert edges[part] <= value <= edges[part + 1]
        assert value < edges[part + 1] or part == len(rows) - 1


@given(st.integers(200, 2000), st.integers(0, 9))
def test_parts_of_different_numbers_are_tenths(n: int, seed: int) -> None:
    rows = np.bincount(targets.strata(np.random.default_rng(seed).normal(size=n), 5)[0])
    assert len(rows) == targets.PARTS
    assert np.ptp(rows) <= 2


@given(drawn, st.floats(0.1, 0.6), st.integers(2, 5), st.integers(0, 5))
@settings(max_examples=40)
def test_any_numbers_are_held_out_at_random_or_one_line_says_why_not(
    values: list[float], share: float, folds: int, seed: int
) -> None:
    sections = {"split": {"holdout": share}, "search": {"folds": folds}, "seed": seed, **NUMBERS}
    with tempfile.TemporaryDirectory() as name:
        path = written(values, Path(name))
        try:
            made = Made(path, **sections)
        except UserError as error:
            ways = r"change split\.holdout|nothing to predict|lower search|say at most"
            assert re.match(rf"(split|target|evaluation\.coverage): .*({ways})", str(error))
            return
        rows = made.rows
    assert sorted(rows["y"]) == sorted(values)
    assert sum(made.prepared.train.values()) + sum(made.prepared.holdout.values()) == len(values)
    assert sum(made.prepared.holdout.values()) == pytest.approx(share * len(values), abs=1)


@pytest.mark.parametrize("values", [np.random.default_rng(0).normal(size=30), [0.0, 1.0] * 30, [1.0] * 40 + [2.0] * 8])
def test_a_small_table_is_cut_into_a_holdout_and_folds(tmp_path: Path, values: Any) -> None:
    made = Made(written(values, tmp_path), **NUMBERS)
    rows = datasets.load(made.folder / "train.parquet", made.schema)
    assert len(cut(rows.y, None, by="random", folds=5, seed=0)) == 5


@given(st.sampled_from(["normal", "exponential", "poisson"]), st.integers(300, 900), st.integers(0, 9))
def test_the_holdout_and_each_fold_are_spread_as_all_rows_are(kind: str, n: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    draw = {
        "normal": generator.normal,
        "exponential": generator.exponential,
        "poisson": lambda size: generator.poisson(9, size),
    }
    y = draw[kind](size=n).astype(float)
    problem = build({"name": "made", "seed": seed, "data": {"source": "t.csv", "target": "y"}, **NUMBERS}, "made")
    found = targets.Found(problem)
    found.see(pa.array(y))
    parts = targets.of(found, problem).settled(np.ones(n, dtype=bool), problem).parts
    held = splits.holdout(parts, None, problem.split, seed)
    assert held.sum() == pytest.approx(n / 5, abs=1)
    sides = [held, *(np.isin(np.arange(n), fold.score) for fold in cut(y, None, by="random", folds=5, seed=seed))]
    for side in sides:
        for share in (0.1, 0.25, 0.5, 0.75, 0.9):
            # of any share of the rows, a side has as large a share, within one part and a row of each
            bound = np.quantile(y, share)
            assert abs((y[side] <= bound).mean() - (y <= bound).mean()) < 0.1 / 2 + targets.PARTS / side.sum()


@pytest.mark.parametrize("by", ["time", "group"])
def test_numbers_are_cut_by_time_and_by_group(tmp_path: Path, by: str) -> None:
    generator = np.random.default_rng(0)
    key = generator.integers(0, 40, 300)
    path = written(generator.normal(size=300) + key, tmp_path, key=key)
    made = Made(path, split={"by": by, "column": "key"}, **NUMBERS)
    train, holdout = (datasets.load(made.folder / f"{side}.parquet", made.schema) for side in ("train", "holdout"))
    assert train.key is not None and holdout.key is not None
    if by == "time":
        assert train.key.max() < holdout.key.min()
    else:
        assert not {*train.key} & {*holdout.key}
        assert abs(np.median(train.y) - np.median(holdout.y)) < 6
    assert len(holdout.y) == pytest.approx(60, abs=12)
    for fold in cut(train.y, train.key, by=by, folds=3, seed=0):  # type: ignore[arg-type]
        assert (train.key[fold.fit].max() < train.key[fold.score].min()) if by == "time" else True
        assert not {*train.key[fold.fit]} & {*train.key[fold.score]}


def test_few_rows_are_cut_by_group(tmp_path: Path) -> None:
    path = written(np.random.default_rng(0).normal(size=60), tmp_path, key=np.arange(60) // 4)
    made = Made(path, split={"by": "group", "column": "key", "holdout": 0.3}, search={"folds": 3}, **NUMBERS)
    assert sum(made.prepared.holdout.values()) >= 12


def test_rows_without_a_target_are_counted_and_left_out(tmp_path: Path) -> None:
    values = [*np.arange(60) / 7, None, None, None]
    made = Made(written(values, tmp_path), **NUMBERS)
    assert (made.prepared.without_target, len(made.rows)) == (3, 60)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_text_target_of_numbers_is_one_line_whose_advice_works(tmp_path: Path, name: str) -> None:
    path = written(["many", *[f"{row}.5" for row in range(60)], "none of them"], tmp_path, name)
    line = refused(path, **NUMBERS)
    assert line.startswith("target: 'y' was read as string, such as 'many', and task: regression predicts numbers")
    made = Made(path, data={"types": advice(line, "types")}, **NUMBERS)
    assert (made.prepared.without_target, len(made.rows)) == (2, 60)
    other = re.search(r"or (task: \w+)$", line)
    assert other and yaml.safe_load(other[1]) == {"task": "classification"}


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
@pytest.mark.parametrize("numbers", [60, 200])  # fewer than the most classes, and more
def test_texts_that_are_numbers_but_for_a_few_are_told_with_a_way_that_leads_to_a_data_set(
    tmp_path: Path, numbers: int, name: str
) -> None:
    path = written([*[f"{row}.5" for row in range(numbers)], *["unknown"] * 9, "?"], tmp_path, name)
    line = refused(path)
    assert f"10 of {numbers + 10} values of 'y', such as '?', are no numbers: if it is a number, say task: regr" in line
    assert "data.rare" not in line.partition("if its values are names")[0]
    made = Made(path, data={"types": advice(line, "types")}, **NUMBERS)
    assert (made.prepared.without_target, len(made.rows)) == (10, numbers)


def test_numbers_that_a_typed_file_holds_as_texts_are_told_with_a_way_that_leads_to_a_data_set(tmp_path: Path) -> None:
    path = written([f"{row}.5" for row in range(120)], tmp_path, "table.parquet")
    line = refused(path)
    assert "its values are numbers, written as texts: if it is a number, say task: regression and data.types:" in line
    made = Made(path, data={"types": advice(line, "types")}, **NUMBERS)
    assert (made.prepared.without_target, len(made.rows)) == (0, 120)


@pytest.mark.parametrize(
    ("values", "about"),
    [
        ([*[f"{row}.5" for row in range(78)], *[f"c{row}" for row in range(22)], "a", "a"], {}),  # 77 % are numbers
        ([*["1", "2", "3", "4"] * 30, "5", *["unknown"] * 30], {}),  # a rating
        ([*[f"{row}.5" for row in range(120)], "?"], {"data": {"rare": {"fewer_than": 1, "into": "other"}}}),
    ],
)
def test_texts_of_classes_are_not_told_to_be_read_as_numbers(
    tmp_path: Path, values: list[str], about: dict[str, Any]
) -> None:
    assert "task: regression" not in refused(written(values, tmp_path), **about)


@pytest.mark.parametrize("about", [{}, NUMBERS], ids=["task found out", "regression"])
@pytest.mark.parametrize("rows", [60, 200])
def test_a_target_with_a_decimal_comma_is_told_with_a_way_that_leads_to_a_data_set(
    tmp_path: Path, rows: int, about: dict[str, Any]
) -> None:
    path = tmp_path / "table.csv"
    frame = pd.DataFrame({"row": np.arange(rows) + 0.5, "y": np.arange(rows) / 8})
    frame.to_csv(path, index=False, sep=";", decimal=",")
    line = refused(path, **about)
    assert "such as '0,0'" in line or "such as '0,125'" in line
    assert "data.rare" not in line.partition("if its values are names")[0] and "data.types" not in line
    way = re.search(r"write them with a decimal point \(pandas: read_csv\(…, (.*?)\)\.to_csv\(…, (.*?)\)\)", line)
    assert way, line
    read, write = (eval(f"dict({options})") for options in way.groups())
    pd.read_csv(path, **read).to_csv(path, **write)
    assert looks(path).task == REGRESSION
    assert len(Made(path, **NUMBERS).rows) == rows


@pytest.mark.parametrize("form", ["${}", "{} kg", "{}%"])
def test_a_target_with_a_sign_or_a_unit_is_told_to_be_written_without_it(tmp_path: Path, form: str) -> None:
    line = refused(written([form.format(row / 8) for row in range(200)], tmp_path))
    assert f"values such as '{form.format('0.0')}' look like numbers: if it is a number to predict, write them" in line
    assert "without the" in line


@pytest.mark.parametrize("values", [["red", "blue"] * 30, [True, False] * 30])
def test_a_target_that_holds_no_number_is_not_told_to_be_read_as_one(tmp_path: Path, values: list[Any]) -> None:
    path = written(values, tmp_path)
    line = refused(path, **NUMBERS)
    assert line.endswith("predicts numbers: say task: classification")
    Made(path, task="classification")


def test_a_target_of_dates_is_told(tmp_path: Path) -> None:
    assert "'y' holds dates, which are no numbers" in refused(
        written(["2024-01-02", "2024-03-04"] * 30, tmp_path), **NUMBERS
    )


def test_a_constant_target_is_told(tmp_path: Path) -> None:
    line = refused(written([2.5] * 60, tmp_path), **NUMBERS)
    assert line == "target: all rows have the same 'y', 2.5: there is nothing to predict"


def test_too_few_rows_are_told_with_a_way_out_that_works(tmp_path: Path) -> None:
    path = written(np.arange(9) / 2, tmp_path)
    assert "9 rows have a 'y', and 12 are needed for 5 folds" in refused(path, **NUMBERS)
    Made(path, search={"folds": 2}, evaluation={"coverage": 0.8}, **NUMBERS)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_an_infinite_target_is_told(tmp_path: Path, name: str) -> None:
    line = refused(written([*np.arange(60) / 7, np.inf], tmp_path, name), **NUMBERS)
    assert "column 'y' holds an infinite number" in line


def test_one_number_on_a_side_is_told_with_the_split(tmp_path: Path) -> None:
    path = written([*np.arange(80) / 7, *[5.0] * 20], tmp_path)
    line = refused(path, split={"by": "time", "column": "row"}, **NUMBERS)
    assert line.startswith(
        "split: of the holdout of a split by time, all 20 have the same 'y': change split.holdout (0.2)"
    )
    Made(path, split={"by": "time", "column": "row", "holdout": 0.4}, **NUMBERS)


def test_parts_that_six_digits_do_not_tell_apart_have_names_of_their_own(tmp_path: Path) -> None:
    made = Made(written(1e9 + np.arange(100) / 8, tmp_path), **NUMBERS)
    assert len(made.prepared.train) == targets.PARTS
    assert sum(made.prepared.train.values()) == 80


def test_numbers_come_back_as_they_were_to_the_last_bit(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=80) * 1e-7
    for name in ("table.csv", "table.parquet"):
        made = Made(written(values, tmp_path, name), **NUMBERS)
        assert sorted(made.rows["y"]) == sorted(values)


def test_whole_numbers_are_numbers_where_the_problem_says_so(tmp_path: Path) -> None:
    made = Made(written([1, 2, 3] * 30, tmp_path), **NUMBERS)
    assert (made.schema.classes, made.schema.task) == ((), REGRESSION)
    rows = datasets.load(made.folder / "train.parquet", made.schema)
    assert rows.y.dtype == np.float64
    assert {*rows.y} == {1.0, 2.0, 3.0}


def test_duplicates_are_dropped(tmp_path: Path) -> None:
    values = [*np.arange(60) / 7] * 2
    path = written(values, tmp_path)
    frame = pd.read_csv(path).assign(row=[*range(60)] * 2)
    frame.to_csv(path, index=False)
    made = Made(path, data={"duplicates": "drop"}, **NUMBERS)
    assert (made.prepared.duplicates, len(made.rows)) == (60, 60)


def test_weights_are_summed_by_part_and_mind_the_mean_and_the_median(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    y, weights = generator.exponential(size=200), generator.integers(0, 4, 200)
    made = Made(written(y, tmp_path, w=weights), data={"weight": "w"}, **NUMBERS)
    assert "w" not in made.dtypes
    weighted, spread = made.prepared.weighted, made.prepared.summary
    assert weighted is not None and spread is not None
    assert sum(weighted.train.values()) + sum(weighted.holdout.values()) == weights.sum()
    assert weighted.train.keys() == made.prepared.train.keys()
    rows = datasets.load(made.folder / "train.parquet", made.schema)
    assert rows.weights is not None
    again = np.repeat(rows.y, rows.weights.astype(int))
    assert spread.mean == pytest.approx(again.mean())
    assert spread.median in (np.sort(again)[(len(again) - 1) // 2], np.median(again))


def test_too_few_rows_that_count_are_told(tmp_path: Path) -> None:
    path = written(np.arange(60) / 7, tmp_path, w=[1.0] + [0.0] * 59)
    assert "rows whose 'w' is above 0, there" in refused(path, data={"weight": "w"}, **NUMBERS)


@given(st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=60).filter(lambda values: len({*values}) > 5))
def test_the_spread_counts_each_row_once(values: list[float]) -> None:
    with tempfile.TemporaryDirectory() as name:
        spread = Made(written(values, Path(name)), search={"folds": 2}, **NUMBERS).prepared.summary
    assert spread is not None
    assert sum(spread.train) + sum(spread.holdout) == len(values)
    assert len(spread.edges) == len(spread.train) + 1 == len(spread.holdout) + 1
    assert (spread.edges[0], spread.edges[-1]) == pytest.approx((min(values), max(values)))


def test_a_schema_comes_back_from_json_and_says_the_task(tmp_path: Path) -> None:
    made = Made(written(np.arange(60) / 7, tmp_path), **NUMBERS)
    text = (made.folder / "schema.json").read_text(encoding="utf-8")
    assert Schema.from_json(text) == made.schema
    assert json.loads(text)["classes"] == []
    assert made.schema.task == REGRESSION


def test_a_schema_and_a_problem_of_before_are_of_classes(tmp_path: Path) -> None:
    made = Made(written(["no", "yes"] * 30, tmp_path))
    values = json.loads((made.folder / "schema.json").read_text(encoding="utf-8"))
    assert "task" not in values
    assert Schema.from_json(json.dumps(values)).task == CLASSIFICATION
    then = {"name": "made", "data": {"source": "t.csv", "target": "y"}, "search": {"metric": "f1_score"}}
    assert build(then, "made").task == CLASSIFICATION


def test_a_hint_of_a_column_that_tells_a_number_names_it(tmp_path: Path) -> None:
    y, noise = np.random.default_rng(0).normal(size=(2, 4000))
    made = Made(written(y, tmp_path, leak=y * 2 + 1, noise=noise), **NUMBERS)
    assert re.search(
        r"'leak' alone tells 'y' nearly without error \(R² of its values or of their tenths 1\.000", made.hints
    )
    assert "'noise'" not in made.hints


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_table_is_one_data_set_in_either_form(tmp_path: Path, name: str) -> None:
    values = [*np.arange(60) / 8, None]
    made = [Made(written(values, tmp_path / form, form), **NUMBERS) for form in ("table.csv", name)]
    assert made[0].digests == made[1].digests


def test_parquet_of_other_kinds_of_numbers_is_read_as_floats(tmp_path: Path) -> None:
    for place, kind in enumerate((pa.int8(), pa.uint32(), pa.float32(), pa.decimal128(21, 2))):
        path = tmp_path / f"t{place}.parquet"
        y = pa.array(np.arange(60) % 30).cast(kind)
        pq.write_table(pa.table({"row": pa.array(np.arange(60) + 0.5), "y": y}), path)
        made = Made(path, **NUMBERS)
        assert sorted(made.rows["y"]) == sorted(float(row % 30) for row in range(60))
        assert looks(path).task == REGRESSION


@pytest.mark.parametrize(("split", "most"), [({}, 0.987), ({"by": "time", "column": "row"}, 0.975)])
def test_a_coverage_that_the_rows_cannot_tell_is_refused_before_any_search_with_one_that_works(
    tmp_path: Path, split: dict[str, Any], most: float
) -> None:
    path = written(np.arange(100) / 7, tmp_path)
    line = refused(path, split=split, evaluation={"coverage": 0.99}, **NUMBERS)
    assert line.startswith("evaluation.coverage: 0.99 is too much for") and f"say at most {most:g}" in line
    Made(path, split=split, evaluation={"coverage": most}, **NUMBERS)
