"""How models behave, whatever they are made of: what must not matter, what must, and how good they are at least."""

from pathlib import Path
from typing import Any

import made
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_iris

from tabular.data import folds, targets
from tabular.model import cross_validation, training

KINDS = list(made.ESTIMATORS)


@pytest.fixture(scope="module")
def fitted(data: dict) -> dict[str, training.Fitted]:
    """Each kind, fitted on the made table of two classes."""
    return {kind: made.fit(data[2], kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_rows_answer_does_not_depend_on_the_order_of_rows(kind: str, fitted: dict, data: dict) -> None:
    X = data[2].X
    order = np.random.default_rng(0).permutation(len(X))
    found = fitted[kind].outputs(X.iloc[order])
    assert found == pytest.approx(fitted[kind].outputs(X)[order], rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_says_nothing_hardly_moves_answers(kind: str, fitted: dict, data: dict) -> None:
    X = data[2].X
    shuffled = X.assign(visits=X["visits"].to_numpy()[np.random.default_rng(0).permutation(len(X))])
    moved = np.abs(fitted[kind].outputs(X) - fitted[kind].outputs(shuffled)).mean()
    important = X.assign(amount=X["amount"].to_numpy()[np.random.default_rng(0).permutation(len(X))])
    assert moved < 0.3 * np.abs(fitted[kind].outputs(X) - fitted[kind].outputs(important)).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_raising_the_informative_column_raises_the_probability(kind: str, fitted: dict, data: dict) -> None:
    X = data[2].X.dropna()
    low, high = (fitted[kind].outputs(X.assign(amount=amount))[:, 1] for amount in (15.0, 85.0))
    assert (high > low).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_town_that_favours_yes_raises_its_probability(kind: str, fitted: dict, data: dict) -> None:
    X = data[2].X.dropna()
    other, favoured = (fitted[kind].outputs(X.assign(town=town))[:, 1].mean() for town in ("Lisboa", "Porto"))
    assert favoured > other + 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_an_unseen_town_is_answered_between_the_extremes(kind: str, fitted: dict, data: dict) -> None:
    X = data[2].X.dropna()
    answers = {town: fitted[kind].outputs(X.assign(town=town))[:, 1].mean() for town in X["town"].unique()}
    unseen = fitted[kind].outputs(X.assign(town="Braga"))[:, 1].mean()
    assert min(answers.values()) - 0.1 <= unseen <= max(answers.values()) + 0.1


def cross_validated(kind: str, bunch: Any, folder: Path) -> dict[str, float]:
    """The mean metrics of a kind of model on one of scikit-learn's tables, through our own doors."""
    frame = bunch.frame.rename(columns={"target": "answer"})
    section = {"source": "table.csv", "target": "answer"}
    data = made.prepare(frame, folder, data=section)
    cuts = folds.cut(data.y, None, by="random", folds=3, seed=0)
    return cross_validation.cross_validate(made.candidate(data, kind), data.X, data.y, cuts, threads=1).summary()


@pytest.mark.parametrize(
    ("kind", "least"), [("logistic_regression", 0.98), ("random_forest", 0.97), ("lightgbm", 0.97)]
)
def test_breast_cancer_is_told_apart_as_it_should_be(kind: str, least: float, tmp_path: Path) -> None:
    assert cross_validated(kind, load_breast_cancer(as_frame=True), tmp_path)["cv_roc_auc_mean"] > least


@pytest.mark.parametrize("kind", KINDS)
def test_iris_is_told_apart_as_it_should_be(kind: str, tmp_path: Path) -> None:
    assert cross_validated(kind, load_iris(as_frame=True), tmp_path)["cv_accuracy_mean"] > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_of_chance_is_not_learnt(kind: str, data: dict) -> None:
    whole = data[2]
    y = np.random.default_rng(0).permutation(whole.y)
    cuts = folds.cut(y, None, by="random", folds=3, seed=0)
    result = cross_validation.cross_validate(made.candidate(whole, kind), whole.X, y, cuts, threads=1)
    assert 0.35 < result.summary()["cv_roc_auc_mean"] < 0.65


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [["amount", "visits"], ["town", "agent"], ["since"], ["member"]], ids=" ".join)
def test_tables_of_one_kind_of_column_are_learnt(kind: str, kept: list[str], tmp_path: Path) -> None:
    table = made.table()[[*kept, "answer"]]
    types = {"agent": "category"} if "agent" in kept else {}
    data = made.prepare(table, tmp_path, data={"source": "table.csv", "target": "answer", "types": types})
    assert isinstance(data.frame, pd.DataFrame)
    assert [column.name for column in data.schema.columns] == kept
    assert np.isfinite(made.fit(data, kind).outputs(data.X)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_classes_are_learnt(kind: str, tmp_path: Path) -> None:
    rows = 100 * 8
    table = pd.DataFrame({"x": np.arange(rows) % 100 + 0.25, "answer": [f"class {row % 100}" for row in range(rows)]})
    data = made.prepare(table, tmp_path, data={"source": "table.csv", "target": "answer"})
    assert len(data.schema.classes) == targets.MAX_CLASSES
    params = {"n_estimators": 3} if kind != "logistic_regression" else {"max_iter": 20}
    assert made.fit(data, kind, **params).outputs(data.X).shape == (len(data.y), 100)
