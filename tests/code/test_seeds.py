"""The mean of LightGBM fits with different seeds: one booster, and the same as the mean of what they answer."""

from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tabular.model import seeds
from tabular.model.cross_validation import score
from tabular.model.formats import booster_text
from tabular.model.tasks import Classification, Regression
from tabular.model.training import Candidate, fit, hyperparameters
from tabular.sections.models import Model
from tests.code.test_training import COLUMNS, rows

DRAWN: dict[str, Any] = {"subsample": 0.7, "subsample_freq": 1, "colsample_bytree": 0.7}
FEW: dict[str, Any] = {"n_estimators": 8, "num_leaves": 7, "verbose": -1, "n_jobs": 1}
# How a booster may answer: an objective, a kind of trees, another kind of boosting.
KINDS: dict[str, dict[str, Any]] = {
    "numbers": {},
    "two classes": {"objective": "binary"},
    "three classes": {"objective": "multiclass"},
    "counts": {"objective": "poisson"},
    "a quantile": {"objective": "quantile", "alpha": 0.9},
    "linear leaves": {"linear_tree": True},
    "categories": {"categorical_feature": [3]},
    "a constant": {"min_child_samples": 10_000},
    "trees that are dropped": {"boosting_type": "dart"},
    "a forest": {"boosting_type": "rf"},
}


def table(seed: int, rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    X = np.column_stack([draw.normal(size=(rows, 3)), draw.integers(0, 6, rows)])
    X[::11, 0] = np.nan
    return X, np.nan_to_num(X[:, 0]) + np.sin(3 * X[:, 1]) + X[:, 3] % 2 + draw.normal(0, 0.3, rows)


def made(kind: str, X: np.ndarray, y: np.ndarray, seed: int, **params: Any) -> Any:
    about = {**FEW, **DRAWN, **KINDS[kind], **params, "random_state": seed}
    objective = about.get("objective", "")
    if objective in ("binary", "multiclass"):
        return lightgbm.LGBMClassifier(**about).fit(X, np.digitize(y, [0.5] if objective == "binary" else [0, 1]))
    return lightgbm.LGBMRegressor(**about).fit(X, np.abs(y).round() if objective == "poisson" else y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5)
@given(seed=some.integers(0, 1000), count=some.integers(2, 5))
def test_what_the_mean_answers_is_the_mean_of_what_they_answer(kind: str, seed: int, count: int) -> None:
    X, y = table(seed)
    boosters = [made(kind, X, y, seed + more).booster_ for more in range(count)]
    raw = kind != "a forest"  # of which LightGBM gives the sum where it is asked for raw answers
    np.testing.assert_allclose(
        seeds.mean(boosters).predict(X, raw_score=raw),
        np.mean([one.predict(X, raw_score=raw) for one in boosters], axis=0),
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("linear leaves", "a forest")])
def test_what_columns_add_to_it_is_the_mean_of_what_they_add(kind: str) -> None:
    X, y = table(1)
    boosters = [made(kind, X, y, seed).booster_ for seed in range(3)]
    added = np.mean([one.predict(X, pred_contrib=True) for one in boosters], axis=0)
    np.testing.assert_allclose(seeds.mean(boosters).predict(X, pred_contrib=True), added, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["numbers", "three classes"])
def test_its_text_is_one_that_lightgbm_reads_and_writes_again_without_a_change(kind: str) -> None:
    X, y = table(2)
    found = seeds.mean([made(kind, X, y, seed).booster_ for seed in range(3)])
    text = found.model_to_string()
    assert lightgbm.Booster(model_str=text).model_to_string() == text


# Hyperparameters, and whether fits with them differ by their seed.
DIFFER: dict[str, tuple[dict[str, Any], bool]] = {
    "its own": ({}, False),
    "all columns and rows": ({"colsample_bytree": 1.0, "subsample": 1.0, "subsample_freq": 1}, False),
    "rows that are never drawn": ({"subsample": 0.5}, False),
    "rows": ({"subsample": 0.5, "subsample_freq": 1}, True),
    "rows, by another name": ({"bagging_fraction": 0.5, "bagging_freq": 2}, True),
    "columns": ({"colsample_bytree": 0.5}, True),
    "columns, by another name": ({"feature_fraction": 0.5}, True),
    "columns of each node": ({"feature_fraction_bynode": 0.5}, True),
    "thresholds": ({"extra_trees": True}, True),
    "no thresholds": ({"extra_trees": False}, False),
    "rows with small gradients": ({"data_sample_strategy": "goss", "n_estimators": 40}, True),
    "trees that are dropped": ({"boosting_type": "dart", "drop_rate": 0.5}, True),
    "rows of one class": ({"neg_bagging_fraction": 0.3, "bagging_freq": 1}, True),
    "leaves": ({"num_leaves": 4, "min_child_samples": 5}, False),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", DIFFER)
def test_fits_differ_by_their_seed_where_something_is_drawn(what: str) -> None:
    params, differ = DIFFER[what]
    X, y = table(3)
    fitted = [
        lightgbm.LGBMClassifier(**{**FEW, **params, "random_state": seed}).fit(X, y > 1).booster_ for seed in (0, 1, 2)
    ]
    assert seeds.draws(params) == differ
    assert (len({one.predict(X, raw_score=True).tobytes() for one in fitted}) > 1) == differ


def candidate(many: int, classes: int = 2, **params: Any) -> Candidate:
    kind = "LGBMClassifier" if classes else "LGBMRegressor"
    model = Model(estimator=f"lightgbm.{kind}", params={"n_estimators": 12, **params})
    task: Any = Classification(classes, classes - 1) if classes else Regression()
    return Candidate("mine", model, {}, COLUMNS, task, seed=3, seeds=many)


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_a_candidate_with_several_seeds_is_the_mean_of_fits_with_each(classes: int) -> None:
    X, y = rows(classes=max(classes, 2))
    y = y if classes else X["signal"].to_numpy()
    one = candidate(1, classes, **DRAWN)
    found = fit(replace(one, seeds=4), X, y, threads=1)
    alone = [fit(replace(one, seed=3 + more), X, y, threads=1) for more in range(4)]
    encoded = found.preprocessor.transform(X)
    raw = [fitted.estimator.booster_.predict(encoded, raw_score=True) for fitted in alone]
    given_raw = found.estimator.booster_.predict(encoded, raw_score=True)
    np.testing.assert_allclose(given_raw, np.mean(raw, axis=0), rtol=1e-9, atol=1e-12)
    assert found.outputs(X).shape == alone[0].outputs(X).shape


def test_its_bits_do_not_depend_on_threads_and_weights_count_in_each_fit() -> None:
    X, y = rows()
    weights = np.where(y == 1, 3.0, 1.0)
    one, two = (fit(candidate(3, **DRAWN), X, y, threads=threads, weights=weights) for threads in (1, 2))
    assert booster_text(one.estimator) == booster_text(two.estimator)
    without = fit(candidate(3, **DRAWN), X, y, threads=1)
    assert one.outputs(X)[:, 1].mean() > without.outputs(X)[:, 1].mean()


def test_where_nothing_is_drawn_it_is_the_one_fit() -> None:
    X, y = rows()
    one, several = (fit(candidate(many), X, y, threads=1) for many in (1, 4))
    assert booster_text(one.estimator) == booster_text(several.estimator)


def test_its_curve_of_losses_is_recorded_and_its_hyperparameters_tell_the_seeds() -> None:
    X, y = rows()
    found = fit(candidate(2, **DRAWN), X, y, threads=1, validation=(X, y, None))
    assert found.curves["iteration"][-1] == 12
    assert hyperparameters(candidate(2, **DRAWN))["seeds"] == 2
    assert "seeds" not in hyperparameters(candidate(1, **DRAWN))


def test_the_mean_errs_less_than_its_fits_do() -> None:
    X, y = rows(3000)
    unseen, truth = rows(3000, seed=1)
    one = candidate(1, n_estimators=40, num_leaves=63, **DRAWN)

    def loss(many: int, seed: int) -> float:
        with_seed = replace(one, seeds=many, seed=seed)
        return score(with_seed, truth, fit(with_seed, X, y, threads=1).outputs(unseen), ["log_loss"])["log_loss"]

    assert loss(4, 0) < np.mean([loss(1, seed) for seed in range(4)])
