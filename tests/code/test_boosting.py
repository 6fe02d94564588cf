"""LightGBM in a search: the same trees as its classifier makes, bins once, an end where nothing is gained."""

from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular.model.boosting import (
    FEWEST_ITERATIONS,
    MOST_ITERATIONS,
    PATIENCE,
    Bins,
    affordable_iterations,
    final_score,
    finds_iterations,
    followed_fit,
    iterations_a_stage,
    iterations_of_large,
    staged_scores,
)
from tabular.model.tasks import Classification, Regression


def rows(n: int, classes: int, seed: int = 0) -> tuple[Any, Any]:
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, 5))
    X[generator.random(X.shape) < 0.05] = np.nan
    noise = generator.normal(size=n)
    return X, np.digitize(np.nan_to_num(X[:, 0]) + 0.5 * np.nan_to_num(X[:, 1]) ** 2 + noise, [0.2, 1.2][: classes - 1])


def classifier(**params: Any) -> lightgbm.LGBMClassifier:
    own = {"random_state": 3, "verbose": -1, "deterministic": True, "force_col_wise": True, "n_jobs": 1}
    return lightgbm.LGBMClassifier(**{**own, **params})


CLASSES = Classification(2, 1)


def log_loss(y: Any) -> Any:
    return lambda found: (-CLASSES.mean_loss(y, CLASSES.whole(found, np.arange(2)), None), 0.0)


@given(
    st.sampled_from([2, 3]),
    st.fixed_dictionaries(
        {
            "num_leaves": st.integers(2, 31),
            "learning_rate": st.floats(0.05, 0.5),
            "min_child_samples": st.integers(1, 40),
            "colsample_bytree": st.floats(0.5, 1.0),
            "subsample": st.floats(0.5, 1.0),
            "subsample_freq": st.integers(0, 2),
            "reg_lambda": st.floats(0.0, 10.0),
            "class_weight": st.sampled_from([None, "balanced"]),
        }
    ),
)
@settings(max_examples=12)
def test_up_to_each_look_the_trees_are_those_of_the_classifier(classes: int, params: dict[str, Any]) -> None:
    (X, y), task = rows(400, classes), Classification(classes, 1)
    seen = []
    staged_scores(
        classifier(**params),
        Bins(X[:300], y[:300], X[300:], task),
        lambda found: (seen.append(task.whole(found.copy(), np.arange(classes))), (0.0, 0.0))[1],
    )
    assert len(seen) == PATIENCE + 1  # nothing is gained after the first stage
    for number, probabilities in list(enumerate(seen, start=1))[::2]:
        fitted = classifier(n_estimators=number * iterations_a_stage(params["learning_rate"]), **params).fit(
            X[:300], y[:300]
        )
        assert probabilities == pytest.approx(fitted.predict_proba(X[300:]), abs=1e-12)


def test_an_iteration_that_draws_rows_of_which_no_leaf_can_be_split_does_not_end_a_fit() -> None:
    (X, y), seen = rows(200, 2), []
    one = classifier(n_estimators=30, subsample=0.5, subsample_freq=1, min_child_samples=48)
    bins = Bins(X, y, X, CLASSES)

    def keep(raw: Any) -> tuple[float, float]:
        seen.append(raw.copy())
        return 0.0, 0.0

    final_score(one, bins, keep, iterations=30)
    staged_scores(one, bins, keep, most=30)
    outputs = [seen[0], seen[-1], followed_fit(one, bins, {}, (), lambda iteration, given: None)]
    fitted = one.fit(X, y)
    assert 1 < fitted.booster_.num_trees() < 30
    for found in outputs:
        assert found == pytest.approx(fitted.predict_proba(X)[:, 1], abs=1e-12)


def test_a_fit_ends_where_nothing_is_gained_for_a_while() -> None:
    X, y = rows(600, 2)
    found = staged_scores(classifier(learning_rate=0.3), Bins(X[:400], y[:400], X[400:], CLASSES), log_loss(y[400:]))
    followed = [score for score, _ in found]
    assert len(followed) - 1 - int(np.argmax(followed)) == PATIENCE


@pytest.mark.parametrize(("most", "taken"), [(100, 10), (109, 10), (3, 1)])
def test_a_fit_that_always_gains_ends_all_the_same(most: int, taken: int) -> None:
    X, y = rows(300, 2)
    told = iter(range(10_000))
    assert (
        len(staged_scores(classifier(), Bins(X, y, X, CLASSES), lambda p: (float(next(told)), 0.0), most=most)) == taken
    )


@given(st.floats(0.1, 10_000), st.integers(1, 10**10))
def test_more_seconds_or_fewer_cells_afford_no_fewer_iterations(seconds: float, cells: int) -> None:
    afforded = affordable_iterations(seconds, cells)
    assert FEWEST_ITERATIONS <= afforded <= MOST_ITERATIONS == affordable_iterations(None, cells)
    assert affordable_iterations(2 * seconds, cells) >= afforded >= affordable_iterations(seconds, 2 * cells)


@given(st.integers(1, 10**9), st.integers(1, 499))
def test_a_fit_of_a_large_table_has_the_iterations_of_two_minutes_and_300_at_least(rows: int, columns: int) -> None:
    most = iterations_of_large(rows, columns)
    assert 300 <= most <= MOST_ITERATIONS
    assert iterations_of_large(2 * rows, columns) <= most
    if 300 < most < MOST_ITERATIONS:
        assert most * rows * (columns + 8) == pytest.approx(120 * 1e8, rel=0.01)


def test_bins_are_built_once_for_all_that_cuts_them_alike() -> None:
    X, y = rows(300, 2)
    bins = Bins(X, y, X, CLASSES)
    for leaves in (4, 8, 16):
        staged_scores(classifier(num_leaves=leaves, min_child_samples=leaves), bins, lambda p: (0.0, 0.0))
    assert len(bins._made) == 1
    staged_scores(classifier(max_bin=15), bins, lambda p: (0.0, 0.0))
    assert len(bins._made) == 2


def test_other_bins_give_what_the_classifier_gives_with_them() -> None:
    X, y = rows(300, 2)
    bins, seen = Bins(X, y, X, CLASSES), []
    staged_scores(classifier(), bins, lambda p: (0.0, 0.0))
    staged_scores(classifier(max_bin=7), bins, lambda p: (seen.append(p.copy()), (0.0, 0.0))[1])
    fitted = classifier(max_bin=7, n_estimators=10).fit(X, y)
    assert seen[0] == pytest.approx(fitted.predict_proba(X)[:, 1], abs=1e-12)


def test_more_threads_change_no_bit() -> None:
    X, y = rows(4_000, 2)
    one, two = (
        # beside another busy process two threads wait for each other most of the time: a few iterations are enough
        staged_scores(classifier(n_jobs=n, learning_rate=0.3), Bins(X, y, X[:999], CLASSES), log_loss(y[:999]), most=30)
        for n in (1, 2)
    )
    assert one == two


@pytest.mark.parametrize(
    ("named", "finds"),
    [
        ([], True),
        (["num_leaves"], True),
        (["n_estimators"], False),
        (["num_boost_round"], False),
        (["num_trees"], False),
        (["boosting_type"], False),
        (["boosting"], False),
    ],
)
def test_iterations_are_found_where_nothing_names_them(named: list[str], finds: bool) -> None:
    assert finds_iterations("lightgbm.LGBMClassifier", dict.fromkeys(named)) == finds
    assert not finds_iterations("sklearn.ensemble.RandomForestClassifier", dict.fromkeys(named))


def regressor(**params: Any) -> lightgbm.LGBMRegressor:
    own = {"random_state": 3, "verbose": -1, "deterministic": True, "force_col_wise": True, "n_jobs": 1}
    return lightgbm.LGBMRegressor(**{**own, **params})


@pytest.mark.parametrize("objective", ["regression", "regression_l1", "huber", "quantile", "poisson", "tweedie"])
def test_up_to_each_look_the_numbers_are_those_of_the_regressor(objective: str) -> None:
    (X, _), task, seen = rows(400, 2), Regression(), []
    y = np.abs(np.nan_to_num(X[:, 0])) * 100 + np.arange(400) % 7
    staged_scores(
        regressor(objective=objective, learning_rate=0.3),
        Bins(X[:300], y[:300], X[300:], task),
        lambda found: (seen.append(task.whole(found.copy(), np.empty(0))), (0.0, 0.0))[1],
    )
    fitted = regressor(objective=objective, learning_rate=0.3, n_estimators=2 * iterations_a_stage(0.3))
    assert seen[1][:, 0] == pytest.approx(fitted.fit(X[:300], y[:300]).predict(X[300:]), rel=1e-9)
