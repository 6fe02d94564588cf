"""Columns of the user's own: what their file may hold, and that each row's depend on that row alone."""

from dataclasses import replace

import pandas as pd
import pytest

from steps.model import served
from steps.model.dataset import DataSet
from steps.run import paths
from tabular.data import carried_code, own_code, own_features
from tabular.data.datasets import Column, Own
from tabular.errors import UserError
from tabular.problem import build, parse
from tabular.sections.table import OwnFeatures
from tests.prepared import Made

ROWS = pd.DataFrame(
    {
        "x": [float(i % 7) for i in range(60)],
        "kind": [("a", "b", None)[i % 3] for i in range(60)],
        "on": pd.Timestamp("2024-01-01") + pd.to_timedelta(range(60), unit="D"),
    }
)


def found(function, rows=ROWS):
    columns = own_features.found(function, [rows], "data.features: f.py:make", {"y"})
    return {column.name: (column.dtype, column.kind) for column in columns}


def refused(function, rows=ROWS):
    with pytest.raises(UserError) as error:
        found(function, rows)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_numbers_truths_and_dates_are_numbers_and_texts_are_categories():
    def make(rows):
        return pd.DataFrame(
            {
                "half": rows["x"] / 2,
                "is_a": rows["kind"] == "a",
                "monday": rows["on"].dt.to_period("W").dt.start_time,
                "since": rows["on"] - pd.Timestamp("2020-01-01"),
                "both": rows["kind"].fillna("?") + rows["x"].astype(str),
            },
            index=rows.index,
        )

    number = ("double", "number")
    assert found(make) == {
        "half": number,
        "is_a": number,
        "monday": number,
        "since": number,
        "both": ("string", "category"),
    }


def test_a_function_may_add_to_the_frame_that_it_was_given():
    def make(rows):
        rows["twice"] = rows["x"] * 2
        return rows

    assert list(found(make)) == ["twice"]


@pytest.mark.parametrize(
    "make",
    [
        lambda rows: pd.DataFrame({"new": rows["x"] - rows["x"].mean()}),
        lambda rows: pd.DataFrame({"new": rows["x"].shift()}),
        lambda rows: pd.DataFrame({"new": rows["x"].rank()}),
        lambda rows: pd.DataFrame({"new": rows.index}),
        lambda rows: pd.DataFrame({"new": rows.groupby("kind")["x"].transform("sum")}),
        lambda rows: pd.DataFrame({"new": rows["kind"].map(rows["kind"].value_counts()).astype(str)}),
    ],
)
def test_a_function_that_looks_at_other_rows_is_refused_with_its_column_and_a_row(make):
    said = refused(make)
    assert "its column 'new' looks at other rows: of training row " in said


def test_a_column_of_a_name_that_is_taken_or_changed_is_refused():
    assert "makes a column 'y', which the table has" in refused(lambda rows: pd.DataFrame({"y": rows["x"]}))
    assert "changes the column 'x'" in refused(lambda rows: rows.assign(x=rows["x"] + 1, new=0.0))
    assert "makes no new column" in refused(lambda rows: rows)


def test_a_column_of_numbers_and_texts_is_refused():
    assert "holds numbers and texts" in refused(
        lambda rows: pd.DataFrame({"new": [x if x else "none" for x in rows["x"]]}, index=rows.index)
    )


CODE = '''"""Ours."""
import numpy as np

def make(rows):
    """What we know."""
    return rows[[]].assign(new=np.log1p(rows["x"]) * 2)  # twice
'''


def test_comments_docstrings_and_format_mean_nothing_and_constants_do():
    plain = own_code.meaning(CODE, "f.py", "make")
    other = CODE.replace("# twice", "# 2 times").replace("What we know", "All").replace(" * 2", "*2")
    assert own_code.meaning(other, "f.py", "make") == plain
    assert own_code.meaning(CODE.replace("* 2", "* 3"), "f.py", "make") != plain
    assert own_code.meaning(plain, "f.py", "make") == plain
    assert carried_code.packages(plain, "f.py:make") == ["numpy"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def make(rows:\n", "it is not Python"),
        ("def makes(rows): pass\n", "it has no function 'make', did you mean 'makes'?"),
    ],
)
def test_a_file_without_the_function_is_refused(code, said):
    with pytest.raises(UserError, match=r"^f\.py: ") as error:
        own_code.meaning(code, "f.py", "make")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import my_other_file\ndef make(rows): return rows\n", "my_other_file"),
        ("from . import other\ndef make(rows): return rows\n", "."),
        ("def make(rows):\n    from my.other import file\n", "my"),
    ],
)
def test_code_that_imports_what_a_model_cannot_take_along_is_refused(code, name):
    with pytest.raises(UserError, match=r"^f\.py:make: ") as error:
        carried_code.packages(code, "f.py:make")
    assert f"it imports {name!r}, which is no installed package" in str(error.value)


def test_rows_are_given_as_numbers_texts_and_dates_and_own_columns_come_after_them():
    raw = [
        {"name": "x", "dtype": "double"},
        {"name": "kind", "dtype": "string"},
        {"name": "on", "dtype": "datetime"},
    ]
    seen = []

    def make(rows):
        seen.append(rows)
        return pd.DataFrame({"day": rows["on"].dt.day_of_week, "whose": rows["kind"] + "!"})

    columns = [{"name": "day", "dtype": "double"}, {"name": "whose", "dtype": "string"}]
    features = served.as_features(ROWS.set_axis(range(5, 65)), raw, served.Own(make, columns, raw))
    assert list(features) == ["x", "kind", "on", "day", "whose"]
    assert features["day"].tolist() == ROWS["on"].dt.day_of_week.tolist()
    assert features["whose"].head(3).fillna("").tolist() == ["a!", "b!", ""]
    assert seen[0]["on"].tolist() == ROWS["on"].tolist()
    assert seen[0].index.tolist() == list(range(60))
    assert served.as_features(ROWS.head(0), raw, served.Own(make, columns, raw)).shape == (0, 5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda rows: rows["nothing"], "it fails on these rows (KeyError"),
        (lambda rows: rows["x"], "it gives Series"),
        (lambda rows: pd.DataFrame({"day": rows["x"] / 0.0}), "its column 'day' holds infinity"),
        (lambda rows: pd.DataFrame({"other": rows["x"]}), "its answer lacks the column 'day'"),
        (lambda rows: pd.DataFrame({"day": ["a"] * len(rows)}), "its column 'day' holds 'a', which is not a number"),
    ],
)
def test_what_a_function_may_not_answer_is_said_with_the_column(make, said):
    raw = [{"name": "x", "dtype": "double"}]
    with pytest.raises(served.MlflowException) as error:
        served.as_features(ROWS[["x"]], raw, served.Own(make, [{"name": "day", "dtype": "double"}], raw))
    assert said in error.value.message


def test_the_file_lies_beside_the_problem_which_then_holds_what_it_means(tmp_path):
    path = tmp_path / "flowers.yaml"
    path.write_text("name: flowers\ndata: {source: 'sklearn:iris', target: target, features: 'f.py:make'}\n")
    with pytest.raises(
        UserError, match=r"^data\.features: f\.py: there is no such file, neither beside the problem nor"
    ):
        paths.effective_problem({"problem": str(path)})
    (tmp_path / "f.py").write_text(CODE)
    found = paths.effective_problem({"problem": str(path)})
    assert found.data.features == OwnFeatures(file="f.py", function="make", code=own_code.meaning(CODE, "f.py", "make"))
    settled = found.model_copy(update={"task": "classification"})
    assert parse(settled.to_yaml(), "frozen") == settled


@pytest.mark.parametrize("given", ["features.py", "make", "features:make", "features.py:a.b"])
def test_what_names_no_function_in_a_file_is_refused(given):
    with pytest.raises(
        UserError, match=r"^p: data\.features: .*names no function in a file, such as features\.py:make"
    ):
        build({"name": "p", "data": {"source": "a.csv", "target": "y", "features": given}}, "p")


def test_a_direction_is_of_the_column_that_it_names_beside_columns_of_ones_own(tmp_path):
    table = ROWS.assign(y=[i % 2 for i in range(60)])
    table.to_csv(tmp_path / "table.csv", index=False)
    schema = Made(tmp_path / "table.csv").schema
    own = Own("make", "", (Column("half", "double", "number"),))
    X = ROWS.assign(half=ROWS["x"] / 2)
    made = {"frame": ROWS, "slice_only": ROWS[[]], "X": X, "y": table["y"].to_numpy(), "key": None, "share": ""}
    rows = DataSet(source=None, schema=replace(schema, own=own), **made)
    params, how = {"monotone_constraints": {"half": -1, "x": 1}}, {"dates": ["days"]}
    model = {"estimator": "lightgbm.LGBMClassifier", "params": params, "preprocessing": how}
    problem = build({"name": "a", "data": {"source": "a.csv", "target": "y"}, "models": {"m": model}}, "a.yaml")
    # x, on and half are numbers, and come before kind
    assert rows.candidate(problem, "m", {}).model.params["monotone_constraints"] == [1, 0, -1, 0]
