"""What a trial does: parts from the cheapest to the whole, and an end where it cannot win."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_info, threadpool_limits

from tabular.data.datasets import Column
from tabular.data.folds import Fold, cut
from tabular.errors import CandidateError, UserError
from tabular.model.cross_validation import cross_validate
from tabular.model.tasks import Classification
from tabular.model.training import Candidate
from tabular.search import racing
from tabular.search.racing import Part, TrialRunner, goes_on, parts
from tabular.search.search import Point, Trial, best, search
from tabular.sections.models import Model

LIGHTGBM = {"estimator": "lightgbm.LGBMClassifier", "space": {"num_leaves": {"type": "int", "low": 2, "high": 32}}}
LOGISTIC = {"estimator": "sklearn.linear_model.LogisticRegression", "space": "default"}
FOREST = {"estimator": "sklearn.ensemble.RandomForestClassifier", "space": "default", "params": {"n_estimators": 9}}


def rows(n: int = 600, classes: int = 2) -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    X = pd.DataFrame(
        {"a": generator.normal(size=n), "b": generator.normal(size=n), "c": generator.choice(["u", "v"], n)}
    )
    signal = X["a"] + X["b"] ** 2 / 2 + (X["c"] == "u") + generator.normal(size=n)
    return X, np.digitize(signal, [0.8, 2.0][: classes - 1])


def candidate(model: dict[str, Any], classes: int = 2, **params: Any) -> Candidate:
    kinds = {"a": ("double", "number"), "b": ("double", "number"), "c": ("string", "category")}
    columns = tuple(Column(name, *kind) for name, kind in kinds.items())
    return Candidate("m", Model.model_validate(model), params, columns, Classification(classes, 1), seed=3)


def course(
    model: dict[str, Any], metric: str = "roc_auc", n: int = 600, classes: int = 2
) -> tuple[TrialRunner, Any, Any, Any]:
    X, y = rows(n, classes)
    folds = cut(y, None, by="random", folds=3, seed=0)
    made = TrialRunner(candidate(model, classes), X, y, parts(folds, latest_first=False, seed=0), metric)
    made.prepare()
    return made, X, y, folds


def fold(fit: int, score: int) -> Fold:
    return Fold(np.arange(fit), np.arange(fit, fit + score))


def test_hyperparameters_by_which_no_bins_can_be_cut_are_the_fault_of_the_candidate() -> None:
    with pytest.raises(CandidateError, match=r"models\.m: lightgbm\.LGBMClassifier refuses to fit: .*max_bin"):
        course({**LIGHTGBM, "params": {"max_bin": 1}})


def test_a_small_table_is_raced_on_all_folds() -> None:
    folds = [fold(400, 100)] * 5
    assert [part.rows for part in parts(folds, latest_first=False, seed=0)] == folds


def test_a_large_table_is_raced_on_a_sample_and_then_on_folds_until_enough_rows_are_scored() -> None:
    folds = [fold(80_000 + i, 10_000) for i in range(5)]
    sample, *whole = parts(folds, latest_first=False, seed=0)
    assert sample.is_sample
    assert (len(sample.rows.fit), len(sample.rows.score)) == (20_000, 10_000)
    assert set(sample.rows.fit) <= set(folds[0].fit)
    assert [part.rows for part in whole] == folds[:2]


def test_a_wide_table_is_raced_on_fewer_folds() -> None:
    folds = [fold(12_800 + i, 3_200) for i in range(5)]
    found = parts(folds, latest_first=False, seed=0, enough=racing.ENOUGH_ROWS_OF_WIDE)
    assert [part.rows for part in found] == folds[:2]


def test_of_a_large_table_a_part_of_a_folds_rows_is_scored() -> None:
    folds = [fold(80_000, 30_000)]
    _, whole = parts(folds, latest_first=False, seed=0, most=25_000)
    assert whole.rows.fit is folds[0].fit
    assert len(set(whole.rows.score)) == 25_000
    assert set(whole.rows.score) <= set(folds[0].score)


@pytest.mark.parametrize("params", [{}, {"n_estimators": 7}, {"num_leaves": 5}])
def test_a_trial_scores_the_same_where_only_bins_are_kept(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, *_ = course(LIGHTGBM)
    monkeypatch.setattr(racing.wide_tables, "is_wide", lambda rows, columns: True)
    freed, *_ = course(LIGHTGBM)
    assert freed._encoded.rows(0, {}).bins.X_encoded is None
    one, other = (runner.run(Point(params, is_given=True)) for runner in (kept, freed))
    assert (one.parts, one.found) == (other.parts, other.found)


def test_the_rows_are_kept_where_a_trial_may_want_other_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(racing.wide_tables, "is_wide", lambda rows, columns: True)
    space = {"max_bin": {"type": "int", "low": 8, "high": 32}}
    made, *_ = course({"estimator": "lightgbm.LGBMClassifier", "space": space})
    assert made._encoded.rows(0, {}).bins.X_encoded is not None
    made.run(Point({"max_bin": 9}, is_given=True))


def test_by_time_the_latest_fold_is_the_first() -> None:
    folds = [fold(400, 100), fold(500, 100)]
    assert [part.rows for part in parts(folds, latest_first=True, seed=0)] == folds[::-1]


def test_another_seed_draws_another_sample() -> None:
    one, two = (parts([fold(80_000, 20_000)], latest_first=False, seed=seed)[0].rows.fit for seed in (0, 1))
    assert set(one) != set(two)


@pytest.mark.parametrize("model", [LIGHTGBM, LOGISTIC, FOREST])
@pytest.mark.parametrize(("metric", "sign"), [("roc_auc", 1), ("log_loss", -1), ("accuracy", 1)])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_trials_score_is_what_its_cross_validation_gives(
    model: dict[str, Any], metric: str, sign: int, classes: int
) -> None:
    made, X, y, folds = course(model, metric, classes=classes)
    found = made.run(Point({}))
    whole = cross_validate(candidate(model, classes, **found.found), X, y, folds, threads=1, names=[metric])
    assert found.is_complete
    assert found.score == pytest.approx(sign * whole.summary()[f"cv_{metric}_mean"], abs=1e-9)
    assert found.parts == pytest.approx([sign * scores[metric] for scores in whole.scores], abs=1e-9)


def test_iterations_are_found_only_where_nothing_names_them() -> None:
    made = course(LIGHTGBM)[0]
    assert made.run(Point({})).found["n_estimators"] % 10 == 0
    assert made.run(Point({"n_estimators": 7})).found == {}
    assert course(LOGISTIC)[0].run(Point({})).found == {}


@pytest.mark.slow
@pytest.mark.parametrize("model", [LIGHTGBM, FOREST])
def test_more_threads_change_no_bit_of_a_trial(model: dict[str, Any]) -> None:
    made = course(model, n=5_000)[0]
    one, two = (made.run(Point({}), threads=threads) for threads in (1, 2))
    assert (one.score, one.parts, one.found) == (two.score, two.parts, two.found)


def test_what_would_predict_with_all_cores_has_as_many_threads_as_its_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    predicts = HistGradientBoostingClassifier.predict_proba

    def looks(self: Any, X: Any) -> Any:
        asked.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "openmp")
        return predicts(self, X)

    monkeypatch.setattr(HistGradientBoostingClassifier, "predict_proba", looks)
    booster = {"estimator": "sklearn.ensemble.HistGradientBoostingClassifier", "params": {"max_iter": 2}}
    with threadpool_limits(3):
        made, X, y, folds = course(booster)
        made.run(Point({}), threads=2)
        trial = {*asked}
        asked.clear()
        cross_validate(candidate(booster), X, y, folds, threads=1)
    assert (trial, {*asked}) == ({2}, {1})


def test_a_trial_does_not_depend_on_those_before_it_in_its_process() -> None:
    alone, after = course(LIGHTGBM)[0], course(LIGHTGBM)[0]
    for leaves in (3, 30):
        after.run(Point({"num_leaves": leaves}))
    assert alone.run(Point({"num_leaves": 9})).parts == after.run(Point({"num_leaves": 9})).parts


def test_a_trial_that_is_not_of_the_best_third_is_pruned_after_a_fold() -> None:
    seen = tuple(Trial(number, {}, 0.99, parts=(0.99, 0.99, 0.99)) for number in range(5))
    pruned = course(LIGHTGBM)[0].run(Point({}, seen))
    assert (pruned.is_complete, len(pruned.parts)) == (False, 1)


def test_a_given_point_is_evaluated_whole_whatever_was_before_it() -> None:
    seen = tuple(Trial(number, {}, 0.99, parts=(0.99, 0.99, 0.99)) for number in range(5))
    assert course(LIGHTGBM)[0].run(Point({}, seen, is_given=True)).is_complete


def test_a_fold_without_a_second_class_is_told() -> None:
    X, y = rows()
    alone = Fold(np.arange(300), 300 + np.flatnonzero(y[300:] == 0))
    made = TrialRunner(candidate(LOGISTIC), X, y, [Part(alone)], "roc_auc")
    with pytest.raises(UserError, match="roc_auc has no value"):
        made.run(Point({}))


SMALL = [Part(fold(400, 100))] * 4
LARGE = [Part(fold(20_000, 20_000), is_sample=True), Part(fold(60_000, 5_000)), Part(fold(60_000, 5_000))]


def trials(*found: tuple[float, ...], whole: int) -> tuple[Trial, ...]:
    return tuple(
        Trial(number, {}, float(np.mean(scores)), is_complete=len(scores) == whole, parts=scores)
        for number, scores in enumerate(found)
    )


@given(st.lists(st.floats(0, 1), min_size=0, max_size=30), st.floats(0, 1))
def test_of_a_sample_the_best_third_goes_on(others: list[float], score: float) -> None:
    seen = trials(*[(other,) for other in others], whole=3)
    better = sum(other >= score for other in others)
    goes = goes_on([score], LARGE, Point({}, seen))
    assert goes == (bool(others) and better < max(1, (len(others) + 1) // 3))


def test_a_trial_with_nothing_to_be_compared_with_stops_at_the_sample() -> None:
    assert not goes_on([0.9], LARGE, Point({}))
    assert goes_on([0.9], LARGE, Point({}, is_given=True))


def test_on_folds_it_must_be_ahead_of_the_best_on_the_same_folds() -> None:
    # the second has the best score, on its own folds
    seen = trials((0.5, 0.7, 0.8), (0.5, 0.8, 0.9), (0.99, 0.95), whole=3)
    assert goes_on([0.1, 0.81], LARGE, Point({}, seen))
    assert not goes_on([0.9, 0.8], LARGE, Point({}, seen))


def test_on_few_rows_it_must_be_of_the_best_third() -> None:
    seen = trials((0.5,) * 4, (0.5,) * 4, (0.6,) * 4, (0.6,) * 4, (0.8, 0.9), (0.8,) * 4, (0.9,) * 4, whole=4)
    assert goes_on([0.8], SMALL, Point({}, seen))
    assert not goes_on([0.79], SMALL, Point({}, seen))
    assert goes_on([0.79, 0.9], SMALL, Point({}, seen))
    assert goes_on([0.1], SMALL, Point({}, seen[:4]))


def test_on_few_rows_equals_go_on() -> None:
    assert goes_on([1.0], SMALL, Point({}, trials(*[(1.0,) * 4] * 9, whole=4)))


def test_failed_trials_are_nothing_to_be_compared_with() -> None:
    failed = tuple(Trial(number, {}, None, is_complete=False, reason="no") for number in range(9))
    assert goes_on([0.1], SMALL, Point({}, failed))
    assert not goes_on([0.1], LARGE, Point({}, failed))


def test_columns_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = course(LIGHTGBM)[0]
    monkeypatch.setattr(racing.training, "encode", None)
    assert made.run(Point({"num_leaves": 5})).is_complete


# What its model begins with is refused: a forest of LightGBM's needs a subsample below 1.
LIGHTGBM_FOREST = {
    "estimator": "lightgbm.LGBMClassifier",
    "params": {"boosting_type": "rf", "n_estimators": 3, "subsample_freq": 1},
    "space": {"subsample": {"type": "float", "low": 0.4, "high": 0.9}},
}


def searched(start: list[dict[str, Any]], trials: int, max_pending: int) -> list[Trial]:
    """A search over 12,000 rows, of which each fold scores 4,000."""
    made = course(LIGHTGBM_FOREST, n=12_000)[0]
    space = Model.model_validate(LIGHTGBM_FOREST).space
    with ThreadPoolExecutor(1) as executor:
        return search(made.run, space, start=start, trials=trials, seed=0, executor=executor, max_pending=max_pending)


@pytest.mark.parametrize("has_sample", [False, True])
def test_where_all_given_points_fail_the_search_finds_others(has_sample: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if has_sample:
        monkeypatch.setattr(racing, "SAMPLE_ROWS", 1_000)
    found = searched([{}, {"subsample": 1.0}], trials=9, max_pending=2)
    assert [trial.reason != "" for trial in found] == [True, True, *[False] * 7]
    # those that were suggested before the last given one had ended are not whole
    assert [trial.is_complete for trial in found[:4]] == [False, False, False, True]
    assert best(found).is_complete


def test_where_one_of_the_given_points_fails_the_others_are_raced_against_as_ever() -> None:
    found = searched([{}, {"subsample": 0.9}], trials=9, max_pending=2)
    assert [trial.is_complete for trial in found[:3]] == [False, True, False]
    ahead = found[1]
    assert all(trial.parts[0] > ahead.parts[0] for trial in found[3:] if trial.is_complete)


def test_where_no_trial_is_whole_the_best_of_those_that_got_furthest_is_the_best() -> None:
    found = searched([{}], trials=3, max_pending=4)
    assert [trial.is_complete for trial in found] == [False, False, False]
    assert best(found) == max(found[1:], key=lambda trial: trial.parts[0])
    further = Trial(3, {}, 0.1, is_complete=False, parts=(0.1, 0.1))
    assert best([*found, further]) == further
