"""Fits on large tables: rows are float32 where an estimator makes that of them anyway, and are predicted in batches."""

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabular.data import size
from tabular.data.datasets import Column
from tabular.model import training
from tabular.model.tasks import Classification
from tabular.model.training import Candidate, Fitted, encode, fit
from tabular.sections.models import Model, Preprocessing

COLUMNS = (*(Column(f"x{place}", "double", "number") for place in range(6)), Column("town", "string", "category"))
TREES = {
    "sklearn.ensemble.RandomForestClassifier": {"n_estimators": 5},
    "sklearn.ensemble.ExtraTreesClassifier": {"n_estimators": 5},
    "sklearn.tree.DecisionTreeClassifier": {},
}
OTHERS = (
    "sklearn.linear_model.LogisticRegression",
    "sklearn.ensemble.HistGradientBoostingClassifier",
    "sklearn.neighbors.KNeighborsClassifier",
)


def rows(n: int = 900) -> tuple[pd.DataFrame, np.ndarray]:
    """Numbers that no float32 holds exactly, some of them missing, and categories."""
    generator = np.random.default_rng(2)
    X = pd.DataFrame(generator.normal(size=(n, 6)), columns=[f"x{place}" for place in range(6)])
    X.loc[::13, "x1"] = np.nan
    X["town"] = generator.choice(np.array(["a", "b", "c", np.nan], dtype=object), n)
    return X, (X["x0"] + generator.normal(size=n) > 0).astype(int).to_numpy()


def candidate(estimator: str, how: Preprocessing | None = None) -> Candidate:
    model = Model(estimator=estimator, params=TREES.get(estimator, {}), preprocessing=how or Preprocessing())
    return Candidate("mine", model, {}, COLUMNS, Classification(2, 1), seed=3)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "LARGE_CELLS", 1000)
    monkeypatch.setattr(training, "ROWS_AT_ONCE", 250)


def trees(fitted: Fitted) -> list[Any]:
    return [one.tree_.__getstate__() for one in getattr(fitted.estimator, "estimators_", [fitted.estimator])]


@pytest.mark.parametrize("estimator", TREES)
def test_trees_are_the_same_of_float32_rows(estimator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = rows()
    as_doubles = fit(candidate(estimator), X, y, threads=1)
    monkeypatch.setattr(size, "LARGE_CELLS", 1000)
    assert encode(candidate(estimator), X, y, sparse=False)[1].dtype == np.float32
    found = fit(candidate(estimator), X, y, threads=1)
    for one, other in zip(trees(found), trees(as_doubles), strict=True):
        assert all(one["nodes"][name].tobytes() == other["nodes"][name].tobytes() for name in one["nodes"].dtype.names)
        assert one["values"].tobytes() == other["values"].tobytes()
    np.testing.assert_array_equal(found.outputs(X), as_doubles.outputs(X))


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("estimator", OTHERS)
def test_what_learns_from_doubles_gets_doubles(estimator: str) -> None:
    assert encode(candidate(estimator), *rows(), sparse=False)[1].dtype == np.float64


@pytest.mark.usefixtures("large")
def test_numbers_that_are_scaled_stay_doubles() -> None:
    forest = candidate("sklearn.ensemble.RandomForestClassifier", Preprocessing(numbers="standardize"))
    assert encode(forest, *rows(), sparse=False)[1].dtype == np.float64


def test_a_forest_of_a_table_that_is_not_large_gets_doubles() -> None:
    forest = candidate("sklearn.ensemble.RandomForestClassifier")
    assert encode(forest, *rows(), sparse=False)[1].dtype == np.float64


def test_a_fit_of_a_part_of_the_rows_needs_less_memory_with_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = rows(40_000)
    forest, peaks = candidate("sklearn.ensemble.ExtraTreesClassifier"), []
    shallow = replace(forest, params={"n_estimators": 1, "max_depth": 1})
    for cells in (10**9, 1000):
        monkeypatch.setattr(size, "LARGE_CELLS", cells)
        tracemalloc.start()
        fit(shallow, X, y, threads=1, rows=np.arange(30_000))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 0.85 * peaks[0]


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("estimator", [*TREES, *OTHERS])
def test_rows_are_predicted_in_batches_as_at_once(estimator: str) -> None:
    X, y = rows()
    fitted = fit(candidate(estimator), X, y, threads=1)
    at_once = training._outputs(fitted, fitted.preprocessor.transform(X))
    np.testing.assert_allclose(fitted.outputs(X), at_once, rtol=0, atol=1e-15)
