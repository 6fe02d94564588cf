"""However a valid table or problem is changed at random, a chain ends with a verdict or with one line: no traceback.

A run of the tests changes each a few times. `TABULAR_MUTATIONS=500 pytest tests/pipeline/test_mutations.py` does it as
often as a number says, half of them tables; half of each are of classes, and half of a number to predict.
"""

import copy
import os
import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.chains import write_table
from tests.running import Ended, Store

pytestmark = pytest.mark.slow

MUTATIONS = int(os.environ.get("TABULAR_MUTATIONS", "8"))
# no example is made smaller: each is a chain
many = settings(
    max_examples=max(1, MUTATIONS // 4),
    phases=[Phase.generate],
    suppress_health_check=[*HealthCheck],
    derandomize=MUTATIONS <= 8,
    database=None,
)
OUTCOMES = "registered|kept_champion|refused"
PROBLEM: dict[str, Any] = {
    "name": "mutated",
    "seed": 3,
    "data": {"source": "table.csv", "target": "y", "drop": {"z": "not known in time"}, "types": {"kind": "category"}},
    "split": {"by": "random", "holdout": 0.25},
    "models": {
        "logistic": {"estimator": "sklearn.linear_model.LogisticRegression", "params": {"C": 0.5}},
        "tree": {
            "estimator": "sklearn.tree.DecisionTreeClassifier",
            "space": {"max_depth": {"type": "int", "low": 1, "high": 4}},
        },
    },
    "search": {"metric": "log_loss", "trials": 2, "folds": 2},
    "gate": {"require": {"accuracy": {"min": 0.4}}, "beat_prior": False},
    "evaluation": {"slices": ["kind"]},
    "registry": {"name": "mutated", "alias": "champion"},
}
OF_NUMBERS: dict[str, Any] = {
    **PROBLEM,
    "task": "regression",
    "data": {**PROBLEM["data"], "target_transform": "none"},
    "models": {
        "linear": {"estimator": "sklearn.linear_model.Ridge", "params": {"alpha": 0.5}},
        "tree": {
            "estimator": "sklearn.tree.DecisionTreeRegressor",
            "space": {"max_depth": {"type": "int", "low": 1, "high": 4}},
        },
    },
    "search": {"metric": "mae", "trials": 2, "folds": 2},
    "gate": {"require": {"interval_coverage": {"min": 0.4}}, "beat_prior": False},
    "evaluation": {"slices": ["kind"], "coverage": 0.8},
}
PROBLEMS = {"classes": PROBLEM, "numbers": OF_NUMBERS}
ODD_CELLS = st.sampled_from(
    [
        "",
        " ",
        "NA",
        "none",
        "inf",
        "-inf",
        "1e999",
        "1,5",
        "1.5.2",
        '"',
        "'",
        '"a,b"',
        "\x00",
        "é",
        "🦜",
        "x" * 5000,
        "007",
        "2024-02-30",
        "24:61",
        "TRUE",
        "yes",
        "=1+1",
        "\t",
        "{}",
        "9" * 40,
        "\\N",
        "a\nb",
        '"a\nb"',
        "NaN",
        "-0",
    ]
)
# No number is large: a search of a billion trials is what was asked for, and no fault.
ODD_VALUES = st.sampled_from(
    [
        None,
        "",
        " ",
        "x",
        "y",
        "kind",
        0,
        -1,
        1,
        2.5,
        0.0,
        True,
        False,
        [],
        {},
        ["y"],
        {"a": 1},
        "é",
        "a/b",
        "../x",
        "table.csv",
        "1",
        float("nan"),
        float("inf"),
        [None],
        {"min": "x"},
        "sklearn.svm.SVC",
        "sklearn.svm.SVR",
        "os.system",
        "log_loss",
        "rmse",
        "log",
        "regression",
    ]
)
Rows = list[list[str]]


def _each(rows: Rows, change: Callable[[int, list[str]], list[str]]) -> Rows:
    return [change(number, list(row)) for number, row in enumerate(rows)]


@st.composite
def tables(draw: st.DrawFn, valid: bytes) -> bytes:
    """A valid CSV after one to three changes of its cells, rows, columns, and of its bytes."""
    rows = [line.split(",") for line in valid.decode().splitlines()]
    for _ in range(draw(st.integers(0, 2))):
        rows = draw(st.sampled_from(CHANGES))(draw, rows)
    text = draw(st.sampled_from(["\n", "\r\n", "\n\n", "\r"])).join(
        draw(st.sampled_from([",", ",", ",", ";", "\t"])).join(row) for row in rows
    )
    data = text.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"])), "replace")
    return draw(st.sampled_from(BYTES))(draw, data)


def _cells(draw: st.DrawFn, rows: Rows) -> Rows:
    for _ in range(draw(st.integers(1, 12))):
        row = draw(st.sampled_from(rows))
        if row:
            row[draw(st.integers(0, len(row) - 1))] = draw(ODD_CELLS)
    return rows


def _column(draw: st.DrawFn, rows: Rows) -> Rows:
    at, cell = draw(st.integers(0, 3)), draw(ODD_CELLS)
    return _each(rows, lambda number, row: row if number == 0 or at >= len(row) else [*row[:at], cell, *row[at + 1 :]])


def _names(draw: st.DrawFn, rows: Rows) -> Rows:
    names = draw(st.lists(st.one_of(ODD_CELLS, st.sampled_from(["y", "x", "Y"])), min_size=1, max_size=5))
    return [names, *rows[1:]]


def _without(draw: st.DrawFn, rows: Rows) -> Rows:
    at = draw(st.integers(0, 3))
    return _each(rows, lambda _, row: row[:at] + row[at + 1 :])


def _ragged(draw: st.DrawFn, rows: Rows) -> Rows:
    chosen, more = draw(st.integers(0, len(rows) - 1)), draw(st.booleans())
    return _each(rows, lambda number, row: row if number != chosen else [*row, "1"] if more else row[:-1])


def _fewer(draw: st.DrawFn, rows: Rows) -> Rows:
    return rows[: draw(st.integers(0, 40))]


def _repeated(draw: st.DrawFn, rows: Rows) -> Rows:
    return [*rows, *rows[: draw(st.integers(1, len(rows)))]] if rows else rows


CHANGES = (_cells, _cells, _column, _names, _without, _ragged, _fewer, _repeated)


def _cut(draw: st.DrawFn, data: bytes) -> bytes:
    return data[: draw(st.integers(0, len(data)))]


def _flipped(draw: st.DrawFn, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 5))):
        if changed:
            changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)


BYTES = (lambda draw, data: data, lambda draw, data: data, _cut, _flipped)


@st.composite
def problems(draw: st.DrawFn, valid: dict[str, Any]) -> str:
    """A valid problem after one to three changes: a key that is gone, is new or misspelt, or has an odd value."""
    found = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        places = [*_places(found)]
        if places:
            held, key = draw(st.sampled_from(places))
            way = draw(st.sampled_from(["value", "value", "value", "gone", "new", "misspelt"]))
            if way == "value":
                held[key] = draw(ODD_VALUES)
            elif way == "new":
                held[draw(st.sampled_from(["x", "", "é", "name", "seed", "weight"]))] = draw(ODD_VALUES)
            elif way == "misspelt":
                held[f"{key}s"] = held.pop(key)
            else:
                del held[key]
    text = yaml.safe_dump(found, allow_unicode=True)
    return text if draw(st.integers(0, 9)) else text[: draw(st.integers(0, len(text)))]


def _places(value: Any) -> Any:
    if isinstance(value, dict):
        for key in value:
            yield value, key
            yield from _places(value[key])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, fork_server: str) -> Store:
    store = Store(tmp_path_factory.mktemp("mutations"), fork_server=fork_server)
    write_table(store.folder / "classes.csv")
    table = pd.read_csv(store.folder / "classes.csv")
    table["y"] = (3 * table["x"] + (table["kind"] == "a") + table["z"] ** 2).round(3)
    table.to_csv(store.folder / "numbers.csv", index=False)
    return store


def check(store: Store, ended: Ended, given: object) -> None:
    """A verdict, or one line; and no run or version that is half there."""
    said = f"{given!r:.3000}\n{ended.stdout}\n{ended.stderr}"
    assert "Traceback" not in ended.stderr and "unexpected" not in ended.stderr, said
    if ended.status == 0:
        assert re.search(rf"^  ({OUTCOMES}) after ", ended.stdout, re.MULTILINE), said
    else:
        assert ended.lines, said
    running = store.client.search_runs([store.experiment], "attributes.status = 'RUNNING'")
    assert running == [], said
    for version in store.versions("mutated"):
        assert store.client.get_logged_model(version.source.removeprefix("models:/")).status == "READY", said


@pytest.mark.parametrize("kind", PROBLEMS)
@many
@given(data=st.data())
def test_a_changed_table_ends_with_a_verdict_or_with_one_line(lab: Store, kind: str, data: st.DataObject) -> None:
    table = data.draw(tables((lab.folder / f"{kind}.csv").read_bytes()))
    (lab.folder / "table.csv").write_bytes(table)
    (lab.folder / "problem.yaml").write_text(yaml.safe_dump(PROBLEMS[kind]), encoding="utf-8")
    check(lab, lab.project(problem=str(lab.folder / "problem.yaml")), table)


@pytest.mark.parametrize("kind", PROBLEMS)
@many
@given(data=st.data())
def test_a_changed_problem_ends_with_a_verdict_or_with_one_line(lab: Store, kind: str, data: st.DataObject) -> None:
    text = data.draw(problems(PROBLEMS[kind]))
    (lab.folder / "table.csv").write_bytes((lab.folder / f"{kind}.csv").read_bytes())
    (lab.folder / "problem.yaml").write_text(text, encoding="utf-8")
    check(lab, lab.project(problem=str(lab.folder / "problem.yaml")), text)
