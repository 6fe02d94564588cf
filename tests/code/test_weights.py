"""Weights of rows: a row of weight 2 is two rows in every figure, and weights of 1 change no bit."""

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular.data.datasets import Column
from tabular.data.folds import cut
from tabular.defaults import MODELS, PRESETS, SPACES
from tabular.errors import UserError
from tabular.evaluation import slices
from tabular.evaluation.bootstrap import draws, resampled
from tabular.metrics.classification import (
    METRICS,
    ClassPredictions,
    as_predictions,
    classification_metrics,
    confusion,
    metric,
)
from tabular.model import boosting, training
from tabular.model.cross_validation import cross_validate, prior
from tabular.model.estimators import build, is_regressor
from tabular.model.model_checks import check
from tabular.model.row_weights import weight_argument
from tabular.model.tasks import Classification, Regression
from tabular.model.thresholds import effect, tune
from tabular.model.training import Candidate, fit
from tabular.search.racing import TrialRunner, parts
from tabular.search.search import Point
from tabular.sections.models import Model
from tests.code.test_training import BOOSTING, FOREST, KINDS, LIGHTGBM, LOGISTIC, candidate, rows

Array = np.ndarray
few = settings(max_examples=25, deadline=None)
# Metrics of scikit-learn's, each of another family.
SCORERS = ("f1_macro", "matthews_corrcoef", "roc_auc_ovr_weighted", "jaccard_macro")


@st.composite
def weighted(draw: st.DrawFn, classes: int | None = None) -> ClassPredictions:
    """Answers with ties, to rows of whole-number weights, of which two rows of each class count at the least."""
    k = classes or draw(st.integers(2, 4))
    generator = np.random.default_rng(draw(st.integers(0, 2**31 - 1)))
    y = np.r_[np.arange(k), np.arange(k), generator.integers(0, k, draw(st.integers(0, 40)))]
    found = generator.integers(0, 4, (len(y), k)) + 1e-3
    weights = np.r_[np.ones(2 * k), generator.integers(0, 4, len(y) - 2 * k)]
    about: dict[str, Any] = {"classes": k, "positive": draw(st.sampled_from([0, 1])) if k == 2 else None}
    return as_predictions(y, found / found.sum(axis=1, keepdims=True), weights=weights, **about)


def repeated(answers: ClassPredictions) -> ClassPredictions:
    """The same rows without weights, each as often as its weight says."""
    return replace(answers.taken(np.repeat(np.arange(len(answers.y)), answers.counts.astype(int))), weights=None)


@pytest.mark.parametrize("name", [*METRICS, *SCORERS])
@given(answers=weighted())
@few
def test_a_metric_of_weighted_rows_is_that_of_the_rows_repeated(name: str, answers: ClassPredictions) -> None:
    assert metric(name).score(answers) == pytest.approx(metric(name).score(repeated(answers)), abs=1e-12)


@given(weighted())
@few
def test_weights_of_1_change_no_bit_of_a_metric(answers: ClassPredictions) -> None:
    ones, none = (replace(answers, weights=weights) for weights in (np.ones(len(answers.y)), None))
    for name in METRICS:
        assert metric(name).score(ones) == metric(name).score(none)
        both = [resampled({"": one}, [name], seed=1, resamples=20)[""][name] for one in (ones, none)]
        assert np.array_equal(*both, equal_nan=True)


@given(weighted(), st.sampled_from([0.001, 1000.0]))
@few
def test_the_scale_of_weights_changes_no_metric(answers: ClassPredictions, scale: float) -> None:
    for name in METRICS:
        scaled = replace(answers, weights=answers.counts * scale)
        assert metric(name).score(scaled) == pytest.approx(metric(name).score(answers), abs=1e-9)


@given(weighted())
@few
def test_a_confusion_matrix_holds_sums_of_weights(answers: ClassPredictions) -> None:
    k, same = answers.probabilities.shape[1], repeated(answers)
    found = confusion(answers.y, answers.predicted, k, answers.weights)
    assert np.array_equal(found, confusion(same.y, same.predicted, k))


@pytest.mark.parametrize("name", [*METRICS, "f1_macro"])
@given(answers=weighted(), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_a_weighted_row_counts_in_a_resample_as_often_as_it_was_drawn(
    name: str, answers: ClassPredictions, seed: int
) -> None:
    (times,) = draws(len(answers.y), seed=seed, resamples=5)
    drawn = [answers.taken(np.repeat(np.arange(len(answers.y)), one.astype(int))) for one in times]
    values = resampled({"": answers}, [name], seed=seed, resamples=5)[""][name]
    alone = [metric(name).score(repeated(one)) if one.counts.any() else np.nan for one in drawn]
    np.testing.assert_allclose(values, alone, atol=1e-12)


@pytest.mark.parametrize("name", [*METRICS, "f1_macro"])
def test_a_resample_of_nothing_that_counts_has_no_value(name: str) -> None:
    y = np.array([0, 1, 0, 1])
    answers = as_predictions(y, np.column_stack([1 - y * 0.8, y * 0.8]), classes=2, weights=np.array([0, 0, 0, 1.0]))
    values = resampled({"": answers}, [name], seed=0, resamples=50)[""][name]
    (times,) = draws(4, seed=0, resamples=50)
    assert np.isnan(values[times[:, 3] == 0]).all()
    assert len(values) == 50


def test_rows_that_all_have_the_weight_0_are_told() -> None:
    with pytest.raises(UserError, match="all have the weight 0"):
        as_predictions(np.array([0, 1]), np.eye(2), classes=2, weights=np.zeros(2))


def test_a_metric_that_takes_no_weights_says_so() -> None:
    answers = as_predictions(np.arange(6) % 3, np.full((6, 3), 1 / 3), classes=3, weights=np.arange(1.0, 7))
    with pytest.raises(
        UserError, match=r"^roc_auc_ovo takes no weights of rows.*take another metric, such as roc_auc$"
    ):
        metric("roc_auc_ovo").score(answers)
    assert metric("roc_auc").score(answers) == 0.5


@given(weighted(classes=2))
@few
def test_the_effect_of_thresholds_is_that_of_the_rows_repeated(answers: ClassPredictions) -> None:
    same, positive = repeated(answers), answers.positive or 0
    found = effect(answers.y, answers.probabilities, positive=positive, weights=answers.weights)
    expected = effect(same.y, same.probabilities, positive=positive)
    assert found["threshold"] == expected["threshold"]
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, abs=1e-12)


@given(st.lists(weighted(classes=2), min_size=2, max_size=3), st.sampled_from(["f1_score", "accuracy", "f1_macro"]))
@settings(max_examples=12, deadline=None)
def test_a_tuned_threshold_is_that_of_the_rows_repeated(folds: list[ClassPredictions], name: str) -> None:
    found = tune([(one.y, one.probabilities) for one in folds], name, positive=1, weights=[one.counts for one in folds])
    same = [repeated(one) for one in folds]
    assert found == tune([(one.y, one.probabilities) for one in same], name, positive=1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300))
def test_without_weights_the_thresholds_tried_are_numpys_lower_quantiles(scores: list[float]) -> None:
    p = np.array(scores)
    tried = effect(np.ones(len(p), dtype=int), np.column_stack([1 - p, p]), positive=1)["threshold"]
    lower = np.quantile(p, np.linspace(0, 1, 100), method="lower")
    assert tried == np.unique(np.r_[lower, 0.5]).tolist()


def test_thresholds_are_tried_all_over_the_scores_where_weights_sum_to_1() -> None:
    p = np.linspace(0, 1, 1001)
    about: dict[str, Any] = {"positive": 1, "weights": np.full(1001, 1 / 1001)}
    tried = effect((p > 0.5).astype(int), np.column_stack([1 - p, p]), **about)["threshold"]
    assert (tried[0], tried[-1]) == (0, 1)
    assert np.diff(tried).max() < 0.02


def test_rows_of_weight_0_are_in_no_slice() -> None:
    import pandas as pd

    frame = pd.DataFrame({"town": ["a", "b", "a", "c"]})
    found = slices.cut(frame, ["town"], np.array([1.0, 0.0, 0.0, 2.0]))
    assert {one.value: one.rows.tolist() for one in found} == {"a": [0], "c": [3]}


@pytest.mark.parametrize("estimator", KINDS)
def test_weights_of_1_change_no_bit_of_a_fit(estimator: str) -> None:
    X, y = rows(200)
    ones, none = (fit(candidate(estimator), X, y, threads=1, weights=weights) for weights in (np.ones(len(y)), None))
    assert np.array_equal(ones.outputs(X), none.outputs(X))


def test_a_fit_with_a_row_of_weight_2_is_one_with_the_row_twice() -> None:
    X, y = rows(200)
    X = X.fillna(0.0)
    params = {"tol": 1e-10, "max_iter": 5000}
    model = Model.model_validate({"estimator": LOGISTIC, "params": params, "preprocessing": {"numbers": "as_is"}})
    one = replace(candidate(LOGISTIC), model=model)
    weights = np.random.default_rng(1).integers(1, 4, len(y))
    places = np.repeat(np.arange(len(y)), weights)
    found = fit(one, X, y, threads=1, weights=weights.astype(float)).outputs(X)
    expected = fit(one, X.iloc[places], y[places], threads=1).outputs(X)
    assert found == pytest.approx(expected, abs=1e-5)
    assert np.abs(found - fit(one, X, y, threads=1).outputs(X)).max() > 1e-3


@pytest.mark.parametrize("estimator", KINDS)
def test_every_kind_of_estimator_learns_from_weights(estimator: str) -> None:
    X, y = rows(300)
    heavy = np.where(y == 1, 50.0, 1.0)
    found, plain = (fit(candidate(estimator), X, y, threads=1, weights=weights) for weights in (heavy, None))
    assert found.outputs(X)[:, 1].mean() > plain.outputs(X)[:, 1].mean() + 0.02


def test_a_forest_draws_as_many_rows_whatever_weights_sum_to_and_keeps_none_of_them() -> None:
    X, y = rows(200)
    weights = np.random.default_rng(0).integers(1, 5, len(y)).astype(float)
    forest = candidate(FOREST, params={"max_samples": 0.5})
    one, other = (fit(forest, X, y, threads=1, weights=weights * scale) for scale in (1.0, 2.0**40))
    assert np.array_equal(one.outputs(X), other.outputs(X))
    assert one.estimator._sample_weight is None


@pytest.mark.parametrize("estimator", [LIGHTGBM, BOOSTING])
def test_the_end_of_a_curve_is_the_weighted_log_loss(estimator: str) -> None:
    X, y = rows()
    weights = np.random.default_rng(0).integers(1, 9, len(y)).astype(float)
    held = X[:100], y[:100], weights[:100]
    fitted = fit(candidate(estimator), X[100:], y[100:], threads=1, validation=held, weights=weights[100:])
    about: dict[str, Any] = {"classes": range(2), "names": ["log_loss"]}
    for name, (A, b, w) in {"validation": held, "training": (X[100:], y[100:], weights[100:])}.items():
        found = classification_metrics(b, fitted.outputs(A), weights=w, **about)["log_loss"]
        assert fitted.curves[name][-1] == pytest.approx(found, rel=1e-6)


def test_folds_are_fitted_and_scored_with_the_weights_of_their_rows() -> None:
    X, y = rows()
    weights = np.random.default_rng(0).integers(1, 9, len(y)).astype(float)
    folds = cut(y, None, by="random", folds=2, seed=0)
    result = cross_validate(candidate(LOGISTIC), X, y, folds, threads=1, weights=weights)
    for scores, fold in zip(result.scores, folds, strict=True):
        fitted = fit(candidate(LOGISTIC), X.iloc[fold.fit], y[fold.fit], threads=1, weights=weights[fold.fit])
        asked = y[fold.score], fitted.outputs(X.iloc[fold.score])
        assert scores == classification_metrics(*asked, classes=range(2), weights=weights[fold.score])


def test_the_prior_is_the_share_of_the_weights() -> None:
    y = np.array([0, 0, 1, 1] * 10)
    weights = np.where(y == 1, 3.0, 1.0)
    folds = cut(y, None, by="random", folds=2, seed=0)
    found = prior(candidate(LOGISTIC), y, folds, ["log_loss"], weights).scores[0]["log_loss"]
    assert found == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))


@pytest.mark.parametrize("estimator", [LIGHTGBM, LOGISTIC])
@pytest.mark.parametrize("metric_name", ["roc_auc", "accuracy"])
def test_a_trials_score_is_what_the_weighted_cross_validation_gives(estimator: str, metric_name: str) -> None:
    X, y = rows(400)
    weights = np.random.default_rng(0).integers(1, 9, len(y)).astype(float)
    space = {"num_leaves" if estimator == LIGHTGBM else "C": {"type": "int", "low": 2, "high": 32}}
    one = replace(candidate(estimator), model=Model.model_validate({"estimator": estimator, "space": space}))
    folds = cut(y, None, by="random", folds=3, seed=0)
    made = TrialRunner(one, X, y, parts(folds, latest_first=False, seed=0), metric_name, weights=weights)
    found = made.run(Point({}))
    best = replace(one, params=found.found)
    whole = cross_validate(best, X, y, folds, threads=1, names=[metric_name], weights=weights)
    assert found.parts == pytest.approx([scores[metric_name] for scores in whole.scores], abs=1e-9)
    plain = cross_validate(best, X, y, folds, threads=1, names=[metric_name])
    assert found.parts != pytest.approx([scores[metric_name] for scores in plain.scores], abs=1e-9)


def test_lightgbms_bins_keep_no_weights_of_the_trial_before() -> None:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(300, 3))
    y = (X[:, 0] + generator.normal(size=300) > 1).astype(int)

    def scored(bins: boosting.Bins, class_weight: str | None) -> list[tuple[float, float]]:
        model = Model(estimator=LIGHTGBM, params={"class_weight": class_weight})
        estimator = build(model, {}, where="models.a", seed=0, threads=1)
        return boosting.staged_scores(estimator, bins, lambda p: (float(p.mean()), 0.0), most=20)

    shared = boosting.Bins(X, y, X, Classification(2, 1))
    before = scored(shared, "balanced")
    assert scored(shared, None) == scored(boosting.Bins(X, y, X, Classification(2, 1)), None) != before


NEIGHBOURS = {"estimator": "sklearn.neighbors.KNeighborsClassifier"}
BAYES = {"estimator": "sklearn.naive_bayes.GaussianNB"}
REDUCED = {
    "estimator": "sklearn.pipeline.Pipeline",
    "params": {"steps": {"fewer": {"estimator": "sklearn.decomposition.PCA"}, "last": {"estimator": LOGISTIC}}},
}


def holding(kind: str, *others: dict[str, Any]) -> dict[str, Any]:
    """A vote or a stack of logistic regression and others."""
    of = {"one": {"estimator": LOGISTIC}, **{f"n{place}": other for place, other in enumerate(others)}}
    params = {"estimators": of, **({"voting": "soft"} if kind == "VotingClassifier" else {})}
    return {"estimator": f"sklearn.ensemble.{kind}", "params": params}


def made(model: dict[str, Any]) -> Any:
    return build(Model.model_validate(model), {}, where="models.a", seed=0, threads=1)


TAKES = {
    **{
        # trees that are grown until they know each row by heart would not show what a weight does
        path: ({"estimator": path, "params": {"min_samples_leaf": 9} if "ExtraTrees" in path else {}}, "sample_weight")
        for path in [one["estimator"] for models in MODELS.values() for one in models.values()] + [*SPACES]
        if find_spec(path.partition(".")[0]) is not None and "neighbors" not in path
    },
    "a pipeline, by its last step": (REDUCED, "last__sample_weight"),
    "a vote": (holding("VotingClassifier", BAYES), "sample_weight"),
    "a stack": (holding("StackingClassifier", BAYES), "sample_weight"),
    "a net of a scaled number": (PRESETS["best"]["regression"]["net"], "sample_weight"),
    "a calibrated one": (
        {"estimator": "sklearn.calibration.CalibratedClassifierCV", "params": {"estimator": BAYES}},
        "sample_weight",
    ),
    "one that draws rows by their weights": (
        {"estimator": "sklearn.ensemble.BaggingClassifier", "params": {"estimator": NEIGHBOURS, "n_estimators": 2}},
        "sample_weight",
    ),
}
TAKES_NONE = {
    "neighbours": (NEIGHBOURS, "KNeighborsClassifier takes no weights"),
    "discriminants": (
        {"estimator": "sklearn.discriminant_analysis.LinearDiscriminantAnalysis"},
        "LinearDiscriminantAnalysis takes no weights",
    ),
    "a vote with neighbours": (holding("VotingClassifier", NEIGHBOURS), "KNeighborsClassifier takes no weights"),
    "a stack with a pipeline": (
        holding("StackingClassifier", REDUCED),
        "a Pipeline within StackingClassifier takes no weights",
    ),
    "calibrated neighbours": (
        {"estimator": "sklearn.calibration.CalibratedClassifierCV", "params": {"estimator": NEIGHBOURS}},
        "KNeighborsClassifier takes no weights",
    ),
    "one against the rest": (
        {"estimator": "sklearn.multiclass.OneVsRestClassifier", "params": {"estimator": BAYES}},
        "OneVsRestClassifier takes no weights",
    ),
}


@pytest.mark.parametrize(("model", "argument"), TAKES.values(), ids=TAKES)
def test_what_takes_weights_is_fitted_with_them(model: dict[str, Any], argument: str) -> None:
    assert weight_argument(made(model), "models.a") == argument
    X, y = rows(120)
    X = X[["signal"]].assign(other=X["signal"] ** 2)
    columns = tuple(Column(name, "double", "number") for name in X)
    task = Regression() if is_regressor(made(model)) else Classification(2, 1)
    one = Candidate("a", Model.model_validate(model), {}, columns, task, seed=0)
    y, heavy = y.astype(float if isinstance(task, Regression) else int), np.where(y == 1, 9.0, 1.0)
    found, plain = (fit(one, X, y, threads=1, weights=weights).outputs(X) for weights in (heavy, None))
    assert found[:, -1].mean() > plain[:, -1].mean()


@pytest.mark.parametrize(("model", "said"), TAKES_NONE.values(), ids=TAKES_NONE)
def test_what_takes_no_weights_is_refused_in_one_line_that_names_what_does(model: dict[str, Any], said: str) -> None:
    asked = {"a": Model.model_validate(model)}
    check(asked, "classification")
    with pytest.raises(UserError) as caught:
        check(asked, "classification", weighted=True)
    line = str(caught.value)
    assert line.startswith(f"models.a: {said}") and "\n" not in line
    advised = line.partition("such as ")[2].split(", ")
    check({f"m{place}": Model(estimator=path) for place, path in enumerate(advised)}, "classification", weighted=True)
    for path in advised:
        assert weight_argument(made({"estimator": path}), "models.a")
    with pytest.raises(UserError, match="takes no weights"):
        training.fit(
            Candidate("a", asked["a"], {}, (Column("x", "double", "number"),), Classification(2, 1), seed=0),
            rows(40)[0][["signal"]].rename(columns={"signal": "x"}),
            np.arange(40) % 2,
            threads=1,
            weights=np.ones(40),
        )
