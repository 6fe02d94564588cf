"""The truth of later rows: classes as they were learnt, however they are written, and rows found by their keys."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabular.data import truths
from tabular.data.targets import known_codes
from tabular.errors import UserError
from tabular.problem import Problem, build


def problem(**data: Any) -> Problem:
    return build({"name": "p", "data": {"source": "a", "target": "y", **data}}, "made")


def write(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


def objects(*values: Any) -> np.ndarray[Any, Any]:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


CASES: dict[str, tuple[tuple[Any, ...], tuple[Any, ...], dict[str, Any], list[int]]] = {
    "as they are": (("b", "a", None), ("a", "b"), {}, [1, 0, -1]),
    "of no class": (("c", "a"), ("a", "b"), {}, [-2, 0]),
    "floats since some are missing": ((1.0, None, 0.0), (0, 1), {}, [1, -1, 0]),
    "numbers of a column of texts": ((1, 2), ("1", "2", "x"), {}, [0, 1]),
    "texts of a column of numbers": (("1", "x"), (1, 2), {}, [0, -2]),
    "fractions": ((0.0, 1.5), (0.0, 1.5), {}, [0, 1]),
    "truths": ((True, False), (False, True), {}, [1, 0]),
    "grouped": ((0, 2, 3), ("stays", "leaves"), {"classes": {"stays": [0], "leaves": [1, 2]}}, [0, 1, -2]),
    "rare into one": (("a", "z"), ("a", "b", "other"), {"rare": {"fewer_than": 5, "into": "other"}}, [0, 2]),
    "rare left out": (("a", "z"), ("a", "b"), {"rare": {"fewer_than": 5}}, [0, -1]),
}


@pytest.mark.parametrize(("labels", "classes", "data", "codes"), CASES.values(), ids=CASES)
def test_classes_of_later_rows_are_those_that_were_learnt(
    labels: tuple[Any, ...], classes: tuple[Any, ...], data: dict[str, Any], codes: list[int]
) -> None:
    assert known_codes(objects(*labels), classes, problem(**data).data).tolist() == codes


def test_a_table_of_one_class_alone_has_it(tmp_path: Path) -> None:
    table = truths.scan(write(pd.DataFrame({"y": [1, 1]}), tmp_path / "t.csv"), problem(), ["y"])
    codes, strange = truths.targets_of(table, problem(), (0, 1))
    assert (codes.tolist(), strange) == ([1, 1], [])


def test_numbers_are_read_as_numbers(tmp_path: Path) -> None:
    table = truths.scan(write(pd.DataFrame({"y": [1, None, 2.5]}), tmp_path / "t.csv"), problem(), ["y"])
    found, _ = truths.targets_of(table, problem().model_copy(update={"task": "regression"}), ())
    np.testing.assert_array_equal(found, [1, np.nan, 2.5])


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize(
    ("values", "said", "mended"),
    [
        (
            ["1", "2.5", "many"],
            "was read as string, such as 'many', and the model predicts numbers: write numbers; leave a cell empty "
            "where the truth is not known",
            ["1", "2.5", None],
        ),
        (["1,5", "3", "2,5"], "such as '1,5', and the model predicts numbers: write them with a decimal point", None),
        (["2024-01-02"] * 3, "holds dates, which are no numbers: mend the column", None),
    ],
)
def test_a_truth_that_is_no_number_is_told_with_what_can_be_done_once_a_model_is_there(
    tmp_path: Path, name: str, values: list[str], said: str, mended: list[str | None] | None
) -> None:
    asked = problem(types={"y": "number"}).model_copy(update={"task": "regression"})
    path = write(pd.DataFrame({"y": values}), tmp_path / name)
    with pytest.raises(UserError) as error:
        truths.targets_of(truths.scan(path, asked, ["y"]), asked, ())
    assert str(error.value).startswith(f"data: 'y' of {name}, the truth, ")
    assert said in str(error.value)
    assert "task:" not in str(error.value)
    if mended is not None:
        write(pd.DataFrame({"y": pd.array(mended).astype("float")}), path)
        found, _ = truths.targets_of(truths.scan(path, asked, ["y"]), asked, ())
        np.testing.assert_array_equal(found, [1, 2.5, np.nan])


def test_a_truth_without_any_value_is_told_with_a_way_that_is_there_once_a_model_is(tmp_path: Path) -> None:
    path = write(pd.DataFrame({"y": [None, None], "k": [1, 2]}), tmp_path / "t.csv")
    with pytest.raises(UserError, match=r"'y' has no values, and the problem needs it: mend the file$"):
        truths.scan(path, problem(), ["y"])


@pytest.mark.parametrize("name", ["held.csv", "held.parquet"])
@pytest.mark.parametrize(
    ("asked", "held"),
    [
        (["007", "b", "x"], ["b", "c", "007"]),
        ([7, 8, 9], [8, 5, 7]),
        ([7.0, 8.0, 9.0], [8.0, np.nan, 7.0]),
        (
            pd.to_datetime(["2026-01-07", "2026-01-08", "2026-01-09"]),
            pd.to_datetime(["2026-01-08", "2025-01-01", "2026-01-07"]),
        ),
    ],
    ids=["texts", "numbers", "floats", "days"],
)
def test_rows_are_found_by_their_keys_however_they_are_written(
    asked: Any, held: Any, name: str, tmp_path: Path
) -> None:
    here = truths.scan(write(pd.DataFrame({"id": asked, "a": 1.5}), tmp_path / "asked.csv"), problem(), [])
    there = truths.scan(write(pd.DataFrame({"id": held, "y": [0, 1, 0]}), tmp_path / name), problem(), ["y"])
    assert truths.matched(here, there, ["id"]).tolist() == [2, 0, -1]


def test_rows_are_found_by_several_keys_and_never_by_a_missing_one(tmp_path: Path) -> None:
    asked = pd.DataFrame({"who": ["a", "a", None], "day": [1, 2, 3]})
    held = pd.DataFrame({"who": ["a", None, "a"], "day": [2, 3, 3], "y": [0, 1, 1]})
    here, there = (
        truths.scan(write(frame, tmp_path / f"{place}.csv"), problem(), []) for place, frame in enumerate((asked, held))
    )
    assert truths.matched(here, there, ["who", "day"]).tolist() == [-1, 0, -1]


def test_keys_of_two_rows_are_refused(tmp_path: Path) -> None:
    held = truths.scan(write(pd.DataFrame({"id": [1, 1], "y": [0, 1]}), tmp_path / "held.csv"), problem(), ["y"])
    with pytest.raises(UserError, match=r"keys: held\.csv has two rows of id '1': name columns that tell all its rows"):
        truths.matched(held, held, ["id"])


def test_a_column_that_is_not_there_is_told_with_the_one_that_may_be_meant(tmp_path: Path) -> None:
    table = truths.scan(write(pd.DataFrame({"left": [0, 1]}), tmp_path / "t.csv"), problem(), ["left"])
    with pytest.raises(UserError, match=r"truth: t\.csv has no column 'lefd', did you mean 'left'"):
        truths.check_columns(table, ["lefd"], "truth")


def test_a_table_of_a_problem_without_a_header_is_read_by_its_own(tmp_path: Path) -> None:
    headless = problem(columns=["a", "y"])
    table = truths.scan(write(pd.DataFrame({"y": [0, 1], "b": [1, 2]}), tmp_path / "t.csv"), headless, ["y"])
    assert truths.frame(table, ["y"])["y"].tolist() == [0, 1]
