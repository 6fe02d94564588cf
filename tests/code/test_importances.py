"""Importances: an estimator's own, and what shuffling a column costs."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabular.data.datasets import Column
from tabular.model import importances
from tabular.model.cross_validation import score
from tabular.model.training import Fitted, fit
from tests.code.test_training import BOOSTING, FOREST, LIGHTGBM, LOGISTIC, candidate, rows


@pytest.mark.parametrize("estimator", [FOREST, LIGHTGBM, BOOSTING])
def test_the_informative_column_is_the_most_important(estimator: str) -> None:
    X, y = rows()
    fitted = fit(candidate(estimator), X, y, threads=1)
    found = importances.importances(fitted.preprocessor, fitted.estimator)
    assert found is not None
    assert max(found[1], key=found[1].__getitem__) == "signal"


def test_a_model_that_tells_no_importance_is_asked_by_permutation() -> None:
    X, y = rows()
    fitted = fit(candidate(LOGISTIC), X, y, threads=1)
    assert importances.importances(fitted.preprocessor, fitted.estimator) is None


def permuted(
    fitted: Fitted, X: pd.DataFrame, measure: Callable[[np.ndarray], float], *, seed: int = 0
) -> dict[str, float]:
    """The importances of the columns of a logistic regression, by its encoded rows."""
    encoded = fitted.preprocessor.transform(X)
    numbers = [name for name in X if name != "town"]
    places = {name: slice(place, place + 1) for place, name in enumerate(numbers)}
    places["town"] = slice(len(numbers), encoded.shape[1])
    return importances.permutation_importances(fitted.estimator.predict_proba, encoded, places, measure, seed=seed)


def measured(y: np.ndarray, metric: str = "roc_auc") -> Callable[[np.ndarray], float]:
    return lambda probabilities: score(candidate(LOGISTIC), y, probabilities, [metric])[metric]


def test_permuting_the_informative_column_costs_the_most() -> None:
    X, y = rows()
    drops = permuted(fit(candidate(LOGISTIC), X, y, threads=1), X, measured(y))
    assert set(drops) == set(X.columns)
    assert drops["signal"] > 0.3 > abs(drops["noise"])


def test_permutations_of_the_same_seed_are_the_same() -> None:
    X, y = rows()
    fitted = fit(candidate(LOGISTIC), X, y, threads=1)
    assert permuted(fitted, X, measured(y), seed=1) == permuted(fitted, X, measured(y), seed=1)


def test_to_shuffle_what_a_column_has_become_is_to_shuffle_the_column() -> None:
    X, y = rows()
    fitted = fit(candidate(LOGISTIC), X, y, threads=1)
    places = {name: slice(place, place + 1) for place, name in enumerate(X)}

    def ask(values: np.ndarray) -> np.ndarray:
        return fitted.outputs(pd.DataFrame(values, columns=X.columns).astype(X.dtypes))

    of_columns = importances.permutation_importances(
        ask, X.to_numpy(dtype=object), places, measured(y, "log_loss"), seed=1
    )
    assert permuted(fitted, X, measured(y, "log_loss"), seed=1) == pytest.approx(of_columns)


def test_permuting_leaves_the_rows_as_they_were() -> None:
    X = np.random.default_rng(0).normal(size=(50, 2))
    before = X.copy()
    places = {"a": slice(0, 1), "b": slice(1, 2)}
    importances.permutation_importances(lambda rows: rows, X, places, lambda found: float(found[0, 0]), seed=0)
    assert np.array_equal(X, before)


def test_columns_shuffled_together_are_worth_what_they_are_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = rows()
    fitted = fit(candidate(LOGISTIC), X, y, threads=1)
    together = permuted(fitted, X, measured(y, "log_loss"), seed=1)
    monkeypatch.setattr(importances, "SHUFFLED_ROWS", 1)
    assert permuted(fitted, X, measured(y, "log_loss"), seed=1) == pytest.approx(together)


def test_of_many_columns_those_that_matter_are_found_and_the_others_are_shuffled_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importances, "MOST_SHUFFLED", 8)
    generator = np.random.default_rng(0)
    X = pd.DataFrame(generator.normal(size=(400, 300)), columns=[f"x{place}" for place in range(300)])
    X["town"] = generator.choice(np.array(["a", "b"], dtype=object), 400)
    y = (X["x3"] + X["x70"] + X["x299"] + 2.0 * (X["town"] == "a") > 1).to_numpy().astype(int)
    columns = tuple(Column(name, "double", "number") for name in X.columns[:-1])
    made = replace(candidate(LOGISTIC), columns=(*columns, Column("town", "string", "category")))
    drops = permuted(fit(made, X, y, threads=1), X, measured(y))
    assert len(drops) == 9
    assert {"x3", "x70", "x299", "town"} < set(drops)
    assert "the other 293 columns together" in drops


def cells_predicted(columns: int) -> list[int]:
    """The cells of each prediction for the importances of a model that knows nothing."""
    seen: list[int] = []

    def ask(values: np.ndarray) -> np.ndarray:
        seen.append(values.size)
        return np.full((len(values), 2), 0.5)

    places = {f"x{place}": slice(place, place + 1) for place in range(columns)}
    importances.permutation_importances(ask, np.zeros((50, columns)), places, lambda found: float(found.mean()), seed=0)
    return seen


def test_the_work_for_importances_grows_with_the_columns_and_not_with_their_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importances, "MOST_SHUFFLED", 5)
    assert sum(cells_predicted(400)) < 6 * sum(cells_predicted(100))


def test_the_memory_for_importances_grows_with_the_columns_and_not_with_their_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importances, "SHUFFLED_CELLS", 1)
    tracemalloc.start()
    try:
        cells_predicted(4_000)  # 1.6 MB of rows; a number for each pair of columns would be 128 MB
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()


def test_no_more_cells_than_stated_are_predicted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importances, "SHUFFLED_CELLS", 3 * 50 * 120)
    assert max(cells_predicted(120)) == 3 * 50 * 120
