"""Training: fits that do not depend on threads, cross-validation and curves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from threadpoolctl import threadpool_info, threadpool_limits

from tabular.data.datasets import Column
from tabular.data.folds import Fold, cut
from tabular.errors import CandidateError, UserError
from tabular.metrics.classification import METRICS, classification_metrics
from tabular.model.cross_validation import cross_validate
from tabular.model.formats import booster_text
from tabular.model.tasks import Classification
from tabular.model.training import Candidate, fit, hyperparameters
from tabular.sections.models import Model

LOGISTIC = "sklearn.linear_model.LogisticRegression"
FOREST = "sklearn.ensemble.RandomForestClassifier"
LIGHTGBM = "lightgbm.LGBMClassifier"
BOOSTING = "sklearn.ensemble.GradientBoostingClassifier"
KINDS = [LOGISTIC, FOREST, LIGHTGBM, BOOSTING]
COLUMNS = (
    Column("noise", "double", "number"),
    Column("signal", "double", "number"),
    Column("town", "string", "category"),
)
FEW: dict[str, dict[str, Any]] = {
    FOREST: {"n_estimators": 10},
    LIGHTGBM: {"n_estimators": 12},
    BOOSTING: {"n_estimators": 6},
}


def rows(n: int = 300, classes: int = 2, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    generator = np.random.default_rng(seed)
    signal = generator.normal(0, 1, n)
    X = pd.DataFrame({"noise": generator.normal(0, 1, n), "signal": signal})
    X["town"] = generator.choice(np.array(["a", "b", "c"], dtype=object), n)
    X.loc[::17, "noise"] = np.nan
    y = np.searchsorted(np.quantile(signal, np.arange(1, classes) / classes), signal + generator.normal(0, 0.3, n))
    return X, y


def candidate(estimator: str, classes: int = 2, params: Mapping[str, Any] | None = None) -> Candidate:
    model = Model(estimator=estimator, params=FEW.get(estimator, {}))
    return Candidate("mine", model, params or {}, COLUMNS, Classification(classes, classes - 1), seed=3)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("estimator", KINDS)
def test_a_fit_does_not_depend_on_threads(estimator: str, classes: int) -> None:
    X, y = rows(classes=classes)
    one, two = (fit(candidate(estimator, classes), X, y, threads=threads) for threads in (1, 2))
    assert np.array_equal(one.outputs(X), two.outputs(X))
    if estimator == LIGHTGBM:
        assert booster_text(one.estimator) == booster_text(two.estimator)


@pytest.mark.parametrize("name", ["linear_tree", "linear_trees"])
def test_a_fit_of_trees_with_linear_leaves_does_not_depend_on_threads(name: str) -> None:
    X, y = rows(5000)
    one, two = (fit(candidate(LIGHTGBM, params={name: True}), X, y, threads=threads) for threads in (1, 2))
    assert booster_text(one.estimator) == booster_text(two.estimator)
    assert "is_linear=1" in str(booster_text(one.estimator))


def test_a_fit_does_not_depend_on_the_threads_that_linear_algebra_may_use() -> None:
    generator = np.random.default_rng(0)
    X = pd.DataFrame(generator.normal(0, 1, (20000, 60)), columns=[f"c{place}" for place in range(60)])
    y = (X.sum(axis=1).to_numpy() + generator.normal(0, 3, len(X)) > 0).astype(int)
    columns = tuple(Column(name, "double", "number") for name in X)
    wide = Candidate("mine", Model(estimator=LOGISTIC), {"max_iter": 200}, columns, Classification(2, 1), seed=3)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(fit(wide, X, y, threads=1).estimator.coef_)
    assert np.array_equal(*found)


@pytest.mark.parametrize("estimator", KINDS)
def test_the_same_rows_in_the_same_order_give_the_same_fit(estimator: str) -> None:
    X, y = rows()
    first, again = (fit(candidate(estimator), X, y, threads=1).outputs(X) for _ in range(2))
    assert np.array_equal(first, again)


def test_the_text_of_a_booster_names_no_number_of_threads() -> None:
    X, y = rows()
    text = booster_text(fit(candidate(LIGHTGBM), X, y, threads=2).estimator)
    assert text is not None
    assert "[num_threads: 0]" in text


@pytest.mark.parametrize("estimator", KINDS)
def test_probabilities_of_a_row_sum_to_one(estimator: str) -> None:
    X, y = rows(classes=3)
    found = fit(candidate(estimator, 3), X, y, threads=1).outputs(X)
    assert found.shape == (len(X), 3)
    assert found.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("estimator", KINDS)
def test_a_class_that_the_rows_lack_has_probability_0(estimator: str) -> None:
    X, y = rows(classes=3)
    fitted = fit(candidate(estimator, 3), X[y != 1], y[y != 1], threads=1)
    found = fitted.outputs(X)
    assert np.all(found[:, 1] == 0)
    assert found.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("estimator", KINDS)
def test_a_fold_whose_fitted_rows_lack_a_class_is_scored(estimator: str) -> None:
    X, y = rows(classes=3)
    folds = [Fold(np.flatnonzero(y != 1), np.arange(100)), Fold(np.arange(100, 300), np.arange(100))]
    result = cross_validate(candidate(estimator, 3), X, y, folds, threads=1)
    assert np.isfinite(result.summary()["cv_log_loss_mean"])


@pytest.mark.parametrize("estimator", KINDS)
def test_a_fold_whose_scored_rows_lack_a_class_is_scored(estimator: str) -> None:
    X, y = rows(classes=3)
    folds = [Fold(np.arange(100, 300), np.flatnonzero((y != 1) & (np.arange(300) < 100)))]
    result = cross_validate(candidate(estimator, 3), X, y, folds, threads=1)
    assert np.isfinite(result.summary()["cv_accuracy_mean"])


def test_cross_validation_scores_rows_that_the_model_has_not_seen() -> None:
    X, y = rows()
    shuffled = np.random.default_rng(0).permutation(y)
    folds = cut(shuffled, None, by="random", folds=3, seed=0)
    result = cross_validate(candidate(FOREST), X, shuffled, folds, threads=1)
    assert result.summary()["cv_roc_auc_mean"] < 0.65


def test_the_summary_is_mean_and_deviation_of_the_folds() -> None:
    X, y = rows()
    result = cross_validate(candidate(LOGISTIC), X, y, cut(y, None, by="random", folds=4, seed=0), threads=1)
    values = [fold["roc_auc"] for fold in result.scores]
    assert len(values) == 4
    assert result.summary()["cv_roc_auc_mean"] == pytest.approx(np.mean(values))
    assert result.summary()["cv_roc_auc_std"] == pytest.approx(np.std(values))


def test_all_metrics_are_summed_up_by_default() -> None:
    X, y = rows()
    result = cross_validate(candidate(LOGISTIC), X, y, cut(y, None, by="random", folds=2, seed=0), threads=1)
    assert set(result.summary()) == {f"cv_{name}_{what}" for name in METRICS for what in ("mean", "std")}


def test_only_the_metrics_that_were_asked_for_are_computed() -> None:
    X, y = rows()
    folds = cut(y, None, by="random", folds=2, seed=0)
    result = cross_validate(candidate(LOGISTIC), X, y, folds, threads=1, names=["accuracy"])
    assert set(result.summary()) == {"cv_accuracy_mean", "cv_accuracy_std"}


@pytest.mark.parametrize("estimator", [LIGHTGBM, BOOSTING])
def test_a_model_with_iterations_leaves_a_curve_of_each_side(estimator: str) -> None:
    X, y = rows()
    folds = cut(y, None, by="random", folds=2, seed=0)
    result = cross_validate(candidate(estimator), X, y, folds, threads=1, curves=True)
    assert list(result.curves) == ["iteration", "training", "validation"]
    assert result.curves["iteration"] == list(range(1, FEW[estimator]["n_estimators"] + 1))
    assert {len(curve) for curve in result.curves.values()} == {FEW[estimator]["n_estimators"]}


@pytest.mark.parametrize("estimator", [LIGHTGBM, BOOSTING])
def test_of_many_iterations_some_are_followed_and_the_last(estimator: str) -> None:
    X, y = rows()
    params = {"n_estimators": 225, "max_depth": 2}
    curves = fit(candidate(estimator, params=params), X, y, threads=1, validation=(X, y, None)).curves
    assert curves["iteration"] == [*range(2, 225, 2), 225]


@pytest.mark.parametrize("estimator", [LIGHTGBM, BOOSTING])
def test_losses_are_followed_only_where_they_are_asked_for(estimator: str) -> None:
    X, y = rows()
    folds = cut(y, None, by="random", folds=2, seed=0)
    assert cross_validate(candidate(estimator), X, y, folds, threads=1).curves == {}


@pytest.mark.parametrize("estimator", [LIGHTGBM, BOOSTING])
def test_scores_are_the_same_whether_losses_are_followed_or_not(estimator: str) -> None:
    X, y = rows()
    folds = cut(y, None, by="random", folds=2, seed=0)
    with_, without = (cross_validate(candidate(estimator), X, y, folds, threads=1, curves=on) for on in (True, False))
    assert with_.scores == without.scores


def test_a_curve_is_of_the_loss_whatever_metric_lightgbm_is_given_first() -> None:
    X, y = rows()
    validation = X[:100], y[:100], None
    plain = fit(candidate(LIGHTGBM), X[100:], y[100:], threads=1, validation=validation)
    metrics = {"metric": "auc,binary_logloss"}
    both = fit(candidate(LIGHTGBM, params=metrics), X[100:], y[100:], threads=1, validation=validation)
    assert both.curves == plain.curves != {}


def test_a_lightgbm_that_is_told_another_metric_leaves_the_curves_of_the_log_loss_all_the_same() -> None:
    X, y = rows()
    about = {"threads": 1, "validation": (X[:100], y[:100], None)}
    auc = fit(candidate(LIGHTGBM, params={"metric": "auc"}), X[100:], y[100:], **about)  # type: ignore[arg-type]
    assert auc.curves == fit(candidate(LIGHTGBM), X[100:], y[100:], **about).curves  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [2, 3])
def test_more_threads_change_no_bit_of_a_curve(classes: int) -> None:
    X, y = rows(60_000, classes)
    one, two = (
        fit(candidate(LIGHTGBM, classes), X, y, threads=threads, validation=(X, y, None)).curves for threads in (1, 2)
    )
    assert one == two


@pytest.mark.parametrize("estimator", [LIGHTGBM, BOOSTING])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_end_of_a_curve_is_the_log_loss_of_the_fitted_model(estimator: str, classes: int) -> None:
    X, y = rows(classes=classes)
    held = X[:100], y[:100], None
    fitted = fit(candidate(estimator, classes), X[100:], y[100:], threads=1, validation=held)
    about = {"classes": range(classes), "names": ["log_loss"]}
    found = classification_metrics(held[1], fitted.outputs(held[0]), **about)["log_loss"]  # type: ignore[arg-type]
    assert fitted.curves["validation"][-1] == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("estimator", [LOGISTIC, FOREST])
def test_a_model_without_iterations_leaves_no_curve(estimator: str) -> None:
    X, y = rows()
    assert fit(candidate(estimator), X, y, threads=1, validation=(X, y, None)).curves == {}


def test_rows_that_are_followed_change_nothing() -> None:
    X, y = rows()
    alone = fit(candidate(LIGHTGBM), X[100:], y[100:], threads=1)
    followed = fit(candidate(LIGHTGBM), X[100:], y[100:], threads=1, validation=(X[:100], y[:100], None))
    assert booster_text(alone.estimator) == booster_text(followed.estimator)


@pytest.mark.parametrize(
    "estimator",
    [
        "sklearn.naive_bayes.GaussianNB",
        "sklearn.discriminant_analysis.LinearDiscriminantAnalysis",
        "sklearn.ensemble.HistGradientBoostingClassifier",
        "sklearn.neighbors.KNeighborsClassifier",
    ],
)
def test_any_scikit_learn_classifier_is_fitted_on_many_categories(estimator: str) -> None:
    X, y = rows()
    X["town"] = np.array([f"t{row % 60}" for row in range(len(X))], dtype=object)
    assert np.isfinite(fit(candidate(estimator), X, y, threads=1).outputs(X)).all()


def test_what_the_estimator_refuses_is_one_line_with_the_models_name() -> None:
    X, y = rows()
    with pytest.raises(UserError, match=r"^models\.mine: sklearn.* refuses to fit: ") as caught:
        fit(candidate(FOREST, params={"max_depth": -3}), X, y, threads=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ValueError("not these rows\nat all"), "refuses to fit: not these rows"),
        (MemoryError("Unable to allocate 9 TiB"), "refuses to fit: it needs more memory than there is (Unable to"),
        (ZeroDivisionError(), "refuses to fit: ZeroDivisionError"),
    ],
    ids=["refused", "memory", "a fault of its own"],
)
def test_any_error_out_of_a_fit_is_the_candidates(
    raised: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(RandomForestClassifier, "fit", fails)
    X, y = rows()
    with pytest.raises(CandidateError) as caught:
        fit(candidate(FOREST), X, y, threads=1)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_that_memory_does_not_hold_encoded_are_the_candidates_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr(ColumnTransformer, "fit_transform", fails)
    with pytest.raises(CandidateError, match=r"^models\.mine: to encode the rows it needs more memory .* `rows`"):
        fit(candidate(FOREST), *rows(), threads=1)


def test_any_error_out_of_a_prediction_is_the_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise MemoryError

    X, y = rows()
    fitted = fit(candidate(FOREST), X, y, threads=1)
    monkeypatch.setattr(RandomForestClassifier, "predict_proba", fails)
    with pytest.raises(CandidateError, match="refuses to predict: it needs more memory than there is"):
        fitted.outputs(X)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_the_candidates_fault(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = rows()
    fitted = fit(candidate(FOREST), X, y, threads=1)
    monkeypatch.setattr(RandomForestClassifier, "predict_proba", lambda _, A: np.full((len(A), 2), wrong))
    with pytest.raises(CandidateError, match="no finite numbers"):
        fitted.outputs(X)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_estimator_that_takes_all_threads_is_given_those_of_the_fit(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    fitted = RandomForestClassifier.fit

    def looks(self: Any, *given: Any, **named: Any) -> Any:
        seen.append({one["num_threads"] for one in threadpool_info() if one["user_api"] == "openmp"})
        return fitted(self, *given, **named)

    monkeypatch.setattr(RandomForestClassifier, "fit", looks)
    X, y = rows()
    with threadpool_limits(3):
        fit(candidate(FOREST), X, y, threads=threads)
    assert seen == [{threads}]


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_within_a_fit_is_not_the_candidates(
    raised: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(RandomForestClassifier, "fit", stopped)
    X, y = rows()
    with pytest.raises(raised):
        fit(candidate(FOREST), X, y, threads=1)


def test_what_lightgbm_refuses_is_one_line_too() -> None:
    X, y = rows()
    with pytest.raises(UserError, match=r"^models\.mine: lightgbm") as caught:
        fit(candidate(LIGHTGBM, params={"num_leaves": 1}), X, y, threads=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("estimator", KINDS)
def test_hyperparameters_hold_defaults_and_preprocessing_and_no_conduct(estimator: str) -> None:
    found = hyperparameters(candidate(estimator))
    assert {"random_state", "preprocessing_categories", "preprocessing_numbers"} <= set(found)
    assert not {"n_jobs", "verbose"} & set(found)


def test_found_hyperparameters_go_over_the_models_own() -> None:
    assert hyperparameters(candidate(LIGHTGBM, params={"num_leaves": 5}))["num_leaves"] == 5
