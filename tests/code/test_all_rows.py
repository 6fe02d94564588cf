"""The cross-validation of the winner on all rows: in how many folds, of what, and why not."""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from steps.model import all_rows
from steps.model.all_rows import OnAllRows
from steps.model.dataset import DataSet
from steps.run import thread_budget
from steps.run.thread_budget import Time
from tabular.data.datasets import Column, Schema
from tabular.data.targets import strata
from tabular.errors import CandidateError
from tabular.problem import Problem, build

N = 300
COLUMNS = tuple(Column(name, "double", "number") for name in "ab")
RIDGE, NEAREST = "sklearn.linear_model.Ridge", "sklearn.neighbors.KNeighborsRegressor"
MODELS = {"ridge": {"estimator": RIDGE}, "nearest": {"estimator": NEAREST}}
LOGISTIC = {"linear": {"estimator": "sklearn.linear_model.LogisticRegression"}}


def problem(task: str = "regression", **more: Any) -> Problem:
    given = {"name": "p", "task": task, "data": {"source": "a.csv", "target": "y"}, "timeout": 100}
    return build({**given, "models": MODELS if task == "regression" else LOGISTIC, "search": {"folds": 5}, **more}, "p")


def table(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    draw = np.random.default_rng(seed)
    X = pd.DataFrame(draw.normal(size=(N, 2)), columns=list("ab"))
    return X, (X["a"] + np.sin(3 * X["b"]) + draw.normal(scale=0.3, size=N)).to_numpy()


def rows(X: pd.DataFrame, y: np.ndarray, by: Any = "random", key: Any = None, classes: Any = ()) -> DataSet:
    nothing: Any = None
    schema = Schema(COLUMNS, "y", classes, max(0, len(classes) - 1), by)
    return DataSet(nothing, schema, X.head(3), nothing, X, y, key, "")


def members(of: Problem, data: DataSet, *names: str) -> dict[str, OnAllRows]:
    return {name: OnAllRows(data.candidate(of, name, {}), data, 1.0) for name in names}


@pytest.fixture
def step(tmp_path: Path) -> Callable[[float], Any]:
    """A function that gives a step so many seconds of a chain."""

    def made(seconds: float) -> Any:
        thread_budget.write(tmp_path / "share", 1, Time(time.time() + seconds))
        return SimpleNamespace(arguments={"share": str(tmp_path / "share"), "replays": ""})

    return made


def test_it_scores_models_of_nine_tenths_of_all_rows(step: Any) -> None:
    X, y = table()
    found = all_rows.cross_validate(step(1000), problem(), members(problem(), rows(X, y), "ridge"), 1.0)
    assert found is not None
    cuts = StratifiedKFold(10, shuffle=True, random_state=0).split(X, strata(y, 10)[0])
    own = make_pipeline(StandardScaler(), Ridge())
    expected = -cross_val_score(own, X, y, cv=list(cuts), scoring="neg_root_mean_squared_error")
    assert [one["rmse"] for one in found.scores] == pytest.approx(expected.tolist())


@pytest.mark.parametrize(("left", "folds"), [(1000.0, 10), (20.0, 10), (8.0, 5)])
def test_there_are_twice_the_folds_where_there_are_seconds_for_them(step: Any, left: float, folds: int) -> None:
    data = rows(*table())
    found = all_rows.cross_validate(step(left), problem(), members(problem(), data, "ridge"), 1.0)
    assert found is not None
    assert len(found.scores) == folds


def test_too_few_seconds_are_told_with_those_it_would_take(step: Any) -> None:
    given = members(problem(), rows(*table()), "ridge")
    with pytest.raises(CandidateError, match=r"^5 folds take about 500 s, and 100 are left$"):
        all_rows.cross_validate(step(100.4), problem(), given, 100.0)


def test_a_fold_that_would_end_late_is_not_begun(step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given, folds = members(problem(), rows(*table()), "ridge"), []
    left, fit = iter([1000.0, 900.0, 800.0, 0.0]), all_rows._on_fold
    monkeypatch.setattr(all_rows.thread_budget, "seconds_left", lambda share: next(left))
    monkeypatch.setattr(all_rows, "_on_fold", lambda one, fold: folds.append(fold) or fit(one, fold))
    with pytest.raises(CandidateError, match=r"^a fold takes about \d+\.\d s, and 0 are left$"):
        all_rows.cross_validate(step(1000), problem(), given, 1.0)
    assert len(folds) == 2


def test_a_chain_without_limit_spends_no_seconds_on_it(step: Any) -> None:
    endless = problem(timeout=None)
    assert all_rows.cross_validate(step(1000), endless, members(endless, rows(*table()), "ridge"), 1.0) is None


def test_a_rare_class_is_in_each_fold(step: Any) -> None:
    X, y = table()
    codes = np.where(y > np.sort(y)[-8], 1, 0)  # seven rows
    of = problem("classification")
    found = all_rows.cross_validate(step(1000), of, members(of, rows(X, codes, classes=("n", "y")), "linear"), 0.1)
    assert found is not None
    assert len(found.scores) == 5


@pytest.mark.parametrize("by", ["group", "time"])
def test_folds_are_cut_as_the_holdout_was(step: Any, by: str) -> None:
    X, y = table()
    key = np.repeat(np.arange(N // 10), 10)
    found = all_rows.cross_validate(step(1000), problem(), members(problem(), rows(X, y, by=by, key=key), "ridge"), 0.1)
    assert found is not None
    predicted = found.out_of_fold
    for fold in range(len(found.scores)):
        inside = set(key[predicted.rows[predicted.fold == fold]])
        outside = set(key[predicted.rows[predicted.fold != fold]])
        assert not inside & outside
    assert len(predicted.rows) == (N if by == "group" else N // 2)


def test_few_groups_have_fewer_folds(step: Any) -> None:
    X, y = table()
    data = rows(X, y, by="group", key=np.arange(N) % 7)
    found = all_rows.cross_validate(step(1000), problem(), members(problem(), data, "ridge"), 0.1)
    assert found is not None
    assert len(found.scores) == 5


def test_few_groups_of_a_class_have_fewer_folds(step: Any) -> None:
    codes, key = np.repeat([0, 1], [240, 60]), np.arange(N) // 10  # six groups of the rarer class
    of = problem("classification")
    data = rows(table()[0], codes, by="group", key=key, classes=("n", "y"))
    found = all_rows.cross_validate(step(1000), of, members(of, data, "linear"), 0.1)
    assert found is not None
    assert len(found.scores) == 5


def test_each_fold_of_a_blend_is_blended_by_weights_that_were_chosen_on_the_others(step: Any) -> None:
    X, y = table()
    of = problem()
    found = all_rows.cross_validate(step(1000), of, members(of, rows(X, y), "ridge", "nearest"), 0.1)
    alone = {name: all_rows.cross_validate(step(1000), of, members(of, rows(X, y), name), 0.1) for name in MODELS}
    assert found is not None
    outputs = np.hstack([one.out_of_fold.outputs for one in alone.values() if one is not None])
    mixed, fold, truth = found.out_of_fold.outputs[:, 0], found.out_of_fold.fold, y[found.out_of_fold.rows]
    for number in range(10):
        at, others = fold == number, fold != number
        weight = np.linspace(0, 1, 26)
        losses = [np.mean((truth[others] - outputs[others] @ [one, 1 - one]) ** 2) for one in weight]
        best = weight[int(np.argmin(losses))]
        of_fold = np.linalg.lstsq((outputs[at, :1] - outputs[at, 1:]), mixed[at] - outputs[at, 1], rcond=None)[0][0]
        assert of_fold == pytest.approx(best, abs=0.05)


def test_labels_are_scored_at_thresholds_of_the_other_folds(step: Any) -> None:
    X, y = table()
    codes = (y > 0.8).astype(int)
    of = problem("classification", search={"folds": 5, "threshold": "f1_score", "metric": "f1_score"})
    found = all_rows.cross_validate(step(1000), of, members(of, rows(X, codes, classes=("n", "y")), "linear"), 0.1)
    assert found is not None
    assert found.threshold != 0.5
    assert np.mean([one["f1_score"] for one in found.scores]) > 0.6


def test_a_metric_that_has_no_value_on_a_fold_is_told(step: Any) -> None:
    X, y = table()
    of = problem(search={"folds": 5, "metric": "rmsle"})
    given = members(of, rows(X, np.maximum(y, 0.0)), "ridge")  # a linear model predicts numbers below 0
    with pytest.raises(CandidateError, match=r"^rmsle has no value on one of 10 folds$"):
        all_rows.cross_validate(step(1000), of, given, 0.1)
