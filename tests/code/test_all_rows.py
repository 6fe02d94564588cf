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
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from steps import refit
from steps.model import all_rows
from steps.model.all_rows import Durations, Fit
from steps.model.dataset import DataSet
from steps.run import thread_budget
from steps.run.thread_budget import Time
from tabular.data.datasets import Column, Schema
from tabular.data.targets import strata
from tabular.errors import CandidateError
from tabular.model import blending, training
from tabular.model.cross_validation import CrossValidation
from tabular.model.thresholds import tune
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


def rows(X: pd.DataFrame, y: np.ndarray, by: Any = "random", classes: Any = (), **more: Any) -> DataSet:
    nothing: Any = None
    schema = Schema(COLUMNS, "y", classes, max(0, len(classes) - 1), by)
    return DataSet(nothing, schema, X.head(3), nothing, X, y, more.pop("key", None), "", **more)


@pytest.fixture
def step(tmp_path: Path) -> Callable[..., Any]:
    """A function that gives a step so many seconds of a chain."""

    def made(seconds: float = 1000.0, replays: str = "") -> Any:
        thread_budget.write(tmp_path / "share", 1, Time(time.time() + seconds))
        return SimpleNamespace(arguments={"share": str(tmp_path / "share"), "replays": replays}, client=None)

    return made


def scored(
    step: Any, of: Problem, data: DataSet, *names: str, took: float = 0.1, blend: float = 0.0, share: float = 1.0
) -> CrossValidation:
    """The cross-validation of some models on all rows, whose fits have taken so many seconds."""
    members = {name: Fit(data.candidate(of, name, {}), share) for name in names}
    found = all_rows.cross_validate(step, of, data, members, Durations(took, blend))
    assert found is not None
    return found


def cuts(X: pd.DataFrame, y: np.ndarray) -> list[Any]:
    """The ten folds of rows that are split at random."""
    return list(StratifiedKFold(10, shuffle=True, random_state=0).split(X, strata(y, 10)[0]))


def test_it_scores_models_of_nine_tenths_of_all_rows(step: Any) -> None:
    X, y = table()
    found = scored(step(), problem(), rows(X, y), "ridge")
    own = make_pipeline(StandardScaler(), Ridge())
    expected = -cross_val_score(own, X, y, cv=cuts(X, y), scoring="neg_root_mean_squared_error")
    assert [one["rmse"] for one in found.scores] == pytest.approx(expected.tolist())


def test_weights_of_rows_count_in_fits_and_scores(step: Any) -> None:
    X, y = table()
    weights = np.random.default_rng(1).uniform(0.1, 9.0, N)
    found = scored(step(), problem(), rows(X, y, weights=weights), "ridge")
    for (fit, score), one in zip(cuts(X, y), found.scores, strict=True):
        scaler = StandardScaler().fit(X.iloc[fit])
        model = Ridge().fit(scaler.transform(X.iloc[fit]), y[fit], weights[fit])
        errors = (y[score] - model.predict(scaler.transform(X.iloc[score]))) ** 2
        assert one["rmse"] == pytest.approx(np.sqrt(np.average(errors, weights=weights[score])))


@pytest.mark.parametrize(
    ("model", "share", "learnt"), [({}, 0.1, 27), ({"rows": 100}, 1.0, 100)], ids=["share", "most"]
)
def test_what_learns_from_a_part_of_the_rows_does_so_in_each_fold(
    step: Any, monkeypatch: pytest.MonkeyPatch, model: dict[str, Any], share: float, learnt: int
) -> None:
    sizes, fit = [], training.on_fold

    def noted(candidate: Any, X: Any, y: Any, fold: Any, **more: Any) -> Any:
        sizes.append((len(fold.fit), len(fold.score)))
        return fit(candidate, X, y, fold, **more)

    monkeypatch.setattr(training, "on_fold", noted)
    scored(step(), problem(models={"ridge": {**MODELS["ridge"], **model}}), rows(*table()), "ridge", share=share)
    assert sizes == [(learnt, N // 10)] * 10


@pytest.mark.parametrize(("left", "folds"), [(1000.0, 10), (20.0, 10), (8.0, 5)])
def test_there_are_twice_the_folds_where_there_are_seconds_for_them(step: Any, left: float, folds: int) -> None:
    assert len(scored(step(left), problem(), rows(*table()), "ridge", took=1.0).scores) == folds


def test_too_few_seconds_are_told_with_those_it_would_take(step: Any) -> None:
    with pytest.raises(CandidateError, match=r"^5 folds take about 500 s, and 100 s are left$"):
        scored(step(100.4), problem(), rows(*table()), "ridge", took=100.0)


def test_to_weigh_a_blend_takes_seconds_too(step: Any) -> None:
    with pytest.raises(CandidateError, match=r"^5 folds take about 121 s, and 100 s are left$"):
        scored(step(100.4), problem(), rows(*table()), "ridge", "nearest", took=0.2, blend=60.0)


@pytest.mark.parametrize(("blend", "last"), [(0.0, 0.0), (5.0, 10.0)])
def test_a_fold_that_would_end_late_is_not_begun(
    step: Any, monkeypatch: pytest.MonkeyPatch, blend: float, last: float
) -> None:
    data, folds = rows(*table()), []
    left, fit = iter([1000.0, 900.0, 800.0, last]), all_rows._on_fold
    monkeypatch.setattr(all_rows.thread_budget, "seconds_left", lambda share: next(left))

    def noted(*given: Any) -> Any:
        folds.append(given)
        return fit(*given)

    monkeypatch.setattr(all_rows, "_on_fold", noted)
    with pytest.raises(CandidateError, match=r"^a fold takes about \d+\.\d s, and 0 s are left$"):
        scored(step(), problem(), data, "ridge", blend=blend)
    assert len(folds) == 2


def test_without_limit_no_seconds_are_spent_on_it(step: Any) -> None:
    data = rows(*table())
    for limited in (step(float("inf")), SimpleNamespace(arguments={"share": "", "replays": ""})):
        fits = {"ridge": Fit(data.candidate(problem(), "ridge", {}), 1.0)}
        assert all_rows.cross_validate(limited, problem(), data, fits, Durations(0.1, 0.0)) is None


@pytest.mark.parametrize(("then", "folds"), [({"folds": "5"}, 5), ({"folds": "10"}, 10), ({}, None)])
def test_a_replay_does_as_the_run_that_it_repeats(
    step: Any, monkeypatch: pytest.MonkeyPatch, then: dict[str, str], folds: int | None
) -> None:
    monkeypatch.setattr(all_rows.lookup, "run", lambda *given: SimpleNamespace(data=SimpleNamespace(params=then)))
    data = rows(*table())
    fits = {"ridge": Fit(data.candidate(problem(), "ridge", {}), 1.0)}
    found = all_rows.cross_validate(step(float("inf"), "then"), problem(), data, fits, Durations(0.1, 0.0))
    assert (None if found is None else len(found.scores)) == folds


def test_no_large_table_is_read_again_for_it(step: Any) -> None:
    with pytest.raises(CandidateError, match=r"^the table is a large one$"):
        scored(step(), problem(), rows(*table(), is_large=True), "ridge")


def test_what_several_ranks_learn_is_not_learnt_by_one(step: Any) -> None:
    of = problem(ranks=2, models={"tree": {"estimator": "lightgbm.LGBMRegressor"}})
    with pytest.raises(CandidateError, match=r"^several ranks learn it$"):
        scored(step(), of, rows(*table()), "tree")


def test_a_rare_class_is_in_each_fold(step: Any) -> None:
    X, y = table()
    codes = np.where(y > np.sort(y)[-8], 2, np.arange(N) % 2)  # seven rows
    assert len(scored(step(), problem("classification"), rows(X, codes, classes=("a", "b", "c")), "linear").scores) == 5


def test_folds_by_group_share_no_group(step: Any) -> None:
    X, y = table()
    key = np.arange(N) // 10
    found = scored(step(), problem(), rows(X, y, by="group", key=key), "ridge").out_of_fold
    for fold in range(10):
        assert not set(key[found.rows[found.fold == fold]]) & set(key[found.rows[found.fold != fold]])
    assert len(found.rows) == N


def test_folds_by_time_learn_from_what_came_before(step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = table()
    times, seen, fit = np.random.default_rng(2).permutation(N), [], all_rows._on_fold

    def noted(one: Fit, data: DataSet, fold: Any) -> Any:
        seen.append(times[fold.fit].max() < times[fold.score].min())
        return fit(one, data, fold)

    monkeypatch.setattr(all_rows, "_on_fold", noted)
    scored(step(), problem(), rows(X, y, by="time", key=times), "ridge")
    assert seen == [True] * 10


@pytest.mark.parametrize(
    "key", [np.arange(N) % 7, np.arange(N) // 10], ids=["seven groups", "six groups of the rarer class"]
)
def test_few_groups_have_fewer_folds(step: Any, key: np.ndarray) -> None:
    codes = np.repeat([0, 1], [240, 60])
    data = rows(table()[0], codes, by="group", key=key, classes=("n", "y"))
    assert len(scored(step(), problem("classification"), data, "linear").scores) == 5


def test_rows_that_cannot_be_cut_are_told(step: Any) -> None:
    X, y = table()
    times = np.minimum(np.arange(N), N // 2 - 1)  # the later half is of one point in time
    with pytest.raises(CandidateError, match=r"^all rows cannot be cut into 5 folds$"):
        scored(step(), problem(), rows(X, y, by="time", key=times), "ridge")


def test_each_fold_of_a_blend_is_blended_by_weights_that_were_chosen_on_the_others(step: Any) -> None:
    X, y = table()
    of, data = problem(), rows(X, y)
    found = scored(step(), of, data, "ridge", "nearest").out_of_fold
    alone = np.stack([scored(step(), of, data, name).out_of_fold.outputs[:, 0] for name in MODELS])
    truth, chosen = y[found.rows], set()
    for number in range(10):
        at, others = found.fold == number, found.fold != number
        weights = blending.select(alone[:, others], lambda mean, on=truth[others]: -np.sqrt(np.mean((mean - on) ** 2)))
        assert found.outputs[at, 0] == pytest.approx(weights @ alone[:, at])
        chosen.add(tuple(weights))
    assert len(chosen) > 1, "weights that are the same without each fold tell nothing"


def test_labels_are_scored_at_thresholds_of_the_other_folds(step: Any) -> None:
    X, y = table()
    codes = (y > 0.8).astype(int)
    of = problem("classification", search={"folds": 5, "threshold": "f1_score", "calibrate": "none"})
    found = scored(step(), of, rows(X, codes, classes=("n", "y")), "linear")
    predicted = found.out_of_fold
    answers = [(codes[predicted.rows[at]], predicted.outputs[at]) for at in (predicted.fold == n for n in range(10))]
    tuned = tune(answers, "f1_score", positive=1)
    own = [f1_score(truth, outputs[:, 1] >= at) for (truth, outputs), at in zip(answers, tuned.without, strict=True)]
    assert [one["f1_score"] for one in found.scores] == pytest.approx(own)
    assert own != pytest.approx([f1_score(truth, outputs[:, 1] >= tuned.whole) for truth, outputs in answers])


def test_a_metric_that_has_no_value_on_a_fold_is_told(step: Any) -> None:
    X, y = table()
    of = problem(search={"folds": 5, "metric": "rmsle"})
    with pytest.raises(CandidateError, match=r"^rmsle has no value on one of 10 folds$"):
        scored(step(), of, rows(X, np.maximum(y, 0.0)), "ridge")  # a linear model predicts numbers below 0


def test_whatever_stops_it_costs_no_model_but_in_a_replay(step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*given: Any) -> None:
        raise MemoryError("no room for a fold")

    monkeypatch.setattr(all_rows, "cross_validate", stopped)
    about: Any = (problem(), rows(*table()), {}, Durations(0.1, 0.0))
    noted = "\n\nIt is not cross-validated on all rows: no room for a fold."
    assert refit._scores(step(), *about) == ({}, "", noted)
    with pytest.raises(MemoryError):
        refit._scores(step(replays="then"), *about)
