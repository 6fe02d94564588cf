"""Numbers to predict: learnt on a scale, fitted, cross-validated and searched, and what no column tells."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyRegressor

from steps.model import served
from tabular.data.datasets import Column
from tabular.data.folds import Fold, cut
from tabular.errors import CandidateError, UserError
from tabular.metrics.regression import METRICS, as_predictions, metric
from tabular.model.cross_validation import cross_validate, prior, score
from tabular.model.estimators import defaults, in_terms_of_data, is_regressor
from tabular.model.formats import booster_text
from tabular.model.importances import importances
from tabular.model.model_checks import check
from tabular.model.tasks import SCALES, Regression, Transform
from tabular.model.training import Candidate, fit, hyperparameters, on_fold
from tabular.problem import build
from tabular.search.racing import TrialRunner, parts
from tabular.search.search import Point, best, search
from tabular.sections.models import Model

Array = np.ndarray
RIDGE = "sklearn.linear_model.Ridge"
FOREST = "sklearn.ensemble.RandomForestRegressor"
HISTOGRAMS = "sklearn.ensemble.HistGradientBoostingRegressor"
BOOSTING = "sklearn.ensemble.GradientBoostingRegressor"
LIGHTGBM = "lightgbm.LGBMRegressor"
KINDS = [RIDGE, FOREST, HISTOGRAMS, BOOSTING, LIGHTGBM]
FEW: dict[str, dict[str, Any]] = {
    FOREST: {"n_estimators": 10},
    HISTOGRAMS: {"max_iter": 12},
    BOOSTING: {"n_estimators": 6},
    LIGHTGBM: {"n_estimators": 12},
}
ITERATIONS = {BOOSTING: 6, LIGHTGBM: 12}
COLUMNS = (
    Column("noise", "double", "number"),
    Column("signal", "double", "number"),
    Column("town", "string", "category"),
)
BOUNDS: dict[Transform, float] = {"none": -1e6, "log": 1e-6, "log1p": -1 + 1e-6}


def rows(n: int = 300, seed: int = 0) -> tuple[pd.DataFrame, Array]:
    """Rows whose number, above 0, follows `signal` and `town`; `noise` is missing now and then."""
    generator = np.random.default_rng(seed)
    X = pd.DataFrame({"noise": generator.normal(0, 1, n), "signal": generator.normal(0, 1, n)})
    X["town"] = generator.choice(np.array(["a", "b", "c"], dtype=object), n)
    X.loc[::17, "noise"] = np.nan
    return X, np.exp(X["signal"] + (X["town"] == "a") + generator.normal(0, 0.2, n)).to_numpy()


def candidate(
    estimator: str, transform: Transform = "none", found: Mapping[str, Any] | None = None, **model: Any
) -> Candidate:
    named = Model.model_validate({"estimator": estimator, "params": FEW.get(estimator, {}), **model})
    return Candidate("mine", named, found or {}, COLUMNS, Regression(transform), seed=3)


def folds_of(y: Array, folds: int = 3) -> list[Fold]:
    return cut(y, None, by="random", folds=folds, seed=0)


@pytest.mark.parametrize("transform", SCALES)
@given(data=st.data())
def test_what_is_learnt_of_a_number_is_said_as_the_number(transform: Transform, data: st.DataObject) -> None:
    drawn = st.lists(st.floats(BOUNDS[transform], 1e9), min_size=1, max_size=20)
    task, y = Regression(transform), np.array(data.draw(drawn))
    found = task.whole(task.learnt(y), task.seen(y))
    assert found.shape == (len(y), 1)
    assert found[:, 0] == pytest.approx(y, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("transform", SCALES)
@given(st.lists(st.floats(-700, 700), min_size=1, max_size=20))
def test_a_served_model_says_the_same_number(transform: Transform, learnt: list[float]) -> None:
    found = np.array(learnt)
    ours = Regression(transform).whole(found, np.empty(0))[:, 0]
    assert np.array_equal(ours, served.SCALES[transform](found))


@pytest.mark.parametrize(("transform", "least"), [("log", 0.0), ("log", -0.5), ("log1p", -1.0), ("log1p", -7.0)])
def test_a_number_without_a_logarithm_is_refused_with_a_way_out_that_works(transform: Transform, least: float) -> None:
    y = np.array([3.0, least, 5.0])
    with pytest.raises(
        UserError, match=rf"^data\.target_transform: {transform} needs numbers above .* of 'price' is "
    ) as caught:
        Regression(transform).check_learnable(y, "price")
    line = str(caught.value)
    assert "\n" not in line
    Regression("none").check_learnable(y, "price")  # leave it out
    assert ("log1p" in line.partition("leave it out")[2]) == (transform == "log" and least > -1)
    if "or log1p" in line:
        Regression("log1p").check_learnable(y, "price")


@given(st.sampled_from(["none", "log", "log1p"]), st.floats(-2, 2))
def test_what_a_scale_takes_can_be_learnt_on_it(transform: Transform, least: float) -> None:
    y = np.array([3.0, least])
    try:
        Regression(transform).check_learnable(y, "price")
    except UserError:
        with np.errstate(invalid="ignore", divide="ignore"):
            assert not np.isfinite(Regression(transform).learnt(y)).all()
    else:
        assert np.isfinite(Regression(transform).learnt(y)).all()


@pytest.mark.parametrize("estimator", KINDS)
def test_a_fit_does_not_depend_on_threads(estimator: str) -> None:
    X, y = rows()
    one, two = (fit(candidate(estimator), X, y, threads=threads) for threads in (1, 2))
    assert np.array_equal(one.outputs(X), two.outputs(X))
    if estimator == LIGHTGBM:
        assert booster_text(one.estimator) == booster_text(two.estimator)


@pytest.mark.parametrize("estimator", KINDS)
def test_a_cross_validation_does_not_depend_on_threads(estimator: str) -> None:
    X, y = rows()
    one, two = (
        cross_validate(candidate(estimator), X, y, folds_of(y), threads=threads, curves=True) for threads in (1, 2)
    )
    assert repr((one.scores, one.curves)) == repr((two.scores, two.curves))  # NaN is not equal to itself


@pytest.mark.parametrize("estimator", KINDS)
def test_every_kind_learns_and_is_scored_out_of_fold(estimator: str) -> None:
    X, y = rows()
    found = cross_validate(candidate(estimator), X, y, folds_of(y), threads=1)
    assert set(found.scores[0]) == {*METRICS}
    assert found.out_of_fold is not None
    assert sorted(found.out_of_fold.rows) == list(range(len(y)))
    predicted = found.out_of_fold.outputs[:, 0]
    for number, scores in enumerate(found.scores):
        own = found.out_of_fold.fold == number
        alone = as_predictions(y[found.out_of_fold.rows[own]], predicted[own])
        assert scores["rmse"] == metric("rmse").score(alone)
    baseline = prior(candidate(estimator), y, folds_of(y)).summary()
    assert found.summary()["cv_rmse_mean"] < 0.98 * baseline["cv_rmse_mean"]


@pytest.mark.parametrize("estimator", KINDS)
@pytest.mark.parametrize("transform", ["log", "log1p"])
def test_a_fit_on_a_scale_is_one_of_the_transformed_numbers(estimator: str, transform: Transform) -> None:
    X, y = rows()
    there, back = SCALES[transform]
    found = fit(candidate(estimator, transform), X, y, threads=1).outputs(X)
    plain = fit(candidate(estimator), X, there(y), threads=1).outputs(X)
    assert np.array_equal(found, back(plain))


def test_of_skewed_numbers_a_model_of_their_logarithms_is_better() -> None:
    X, y = rows(900)
    plain, logs = (
        cross_validate(candidate(RIDGE, transform), X, y, folds_of(y), threads=1, names=["rmsle"]).summary()
        for transform in ("none", "log")
    )
    assert logs["cv_rmsle_mean"] < 0.7 * plain["cv_rmsle_mean"] or np.isnan(plain["cv_rmsle_mean"])


@pytest.mark.parametrize("transform", ["none", "log1p"])
@pytest.mark.parametrize("estimator", ITERATIONS)
def test_a_curve_is_the_rmse_after_each_iteration(estimator: str, transform: Transform) -> None:
    X, y = rows()
    held = X[:100], y[:100], None
    fitted = fit(candidate(estimator, transform), X[100:], y[100:], threads=1, validation=held)
    assert fitted.curves["iteration"] == list(range(1, ITERATIONS[estimator] + 1))
    for last in (1, 4, ITERATIONS[estimator]):
        alone = fit(candidate(estimator, transform, {"n_estimators": last}), X[100:], y[100:], threads=1)
        for name, (A, b) in {"training": (X[100:], y[100:]), "validation": held[:2]}.items():
            found = np.sqrt(np.mean((alone.outputs(A)[:, 0] - b) ** 2))
            assert fitted.curves[name][last - 1] == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("estimator", [*ITERATIONS, HISTOGRAMS])
def test_a_curve_minds_the_weights_of_rows(estimator: str) -> None:
    X, y = rows()
    weights = np.random.default_rng(1).integers(1, 5, len(y)).astype(float)
    held = X[:100], y[:100], weights[:100]
    fitted = fit(candidate(estimator), X[100:], y[100:], threads=1, validation=held, weights=weights[100:])
    for name, (A, b, w) in {"training": (X[100:], y[100:], weights[100:]), "validation": held}.items():
        found = np.sqrt(np.average((fitted.outputs(A)[:, 0] - b) ** 2, weights=w))
        assert fitted.curves[name][-1] == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("estimator", [RIDGE, FOREST])
def test_a_model_without_iterations_leaves_no_curve(estimator: str) -> None:
    X, y = rows()
    assert fit(candidate(estimator), X, y, threads=1, validation=(X, y, None)).curves == {}


@pytest.mark.parametrize("estimator", KINDS)
def test_a_fit_with_weights_believes_the_heavy_rows(estimator: str) -> None:
    X, y = rows()
    source = np.arange(len(y)) % 2  # the numbers of one source are by 5 larger than those of the other
    heavy = np.where(source == 1, 50.0, 1.0)
    y = y + 5.0 * source
    found, plain = (fit(candidate(estimator), X, y, threads=1, weights=weights) for weights in (heavy, None))
    assert found.outputs(X).mean() > plain.outputs(X).mean() + 0.5


@pytest.mark.parametrize("estimator", KINDS)
def test_hyperparameters_hold_defaults_and_no_threads(estimator: str) -> None:
    found = hyperparameters(candidate(estimator))
    assert {"random_state", "preprocessing_categories"} <= set(found)
    assert not {"n_jobs", "verbose"} & set(found)


@pytest.mark.parametrize("estimator", [FOREST, BOOSTING, LIGHTGBM])
def test_the_informative_column_is_the_most_important(estimator: str) -> None:
    X, y = rows()
    fitted = fit(candidate(estimator), X, y, threads=1)
    found = importances(fitted.preprocessor, fitted.estimator)
    assert found is not None
    assert max(found[1], key=found[1].__getitem__) == "signal"


@pytest.mark.parametrize("estimator", KINDS)
def test_what_an_estimator_refuses_is_one_line_with_the_models_name(estimator: str) -> None:
    X, y = rows()
    wrong = {RIDGE: {"alpha": -3}, LIGHTGBM: {"num_leaves": 1}, HISTOGRAMS: {"max_iter": -3}}
    with pytest.raises(CandidateError, match=r"^models\.mine: .* refuses to fit: ") as caught:
        fit(candidate(estimator, found=wrong.get(estimator, {"n_estimators": -3})), X, y, threads=1)
    assert "\n" not in str(caught.value)


@given(st.integers(5, 60), st.booleans(), st.integers(0, 99))
def test_baselines_are_scikit_learns_dummies(n: int, is_weighted: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 9, n).astype(float) if seed % 2 else generator.exponential(size=n)
    weights = generator.integers(1, 5, n).astype(float) if is_weighted else None
    mean, median = Regression().baselines(y, weights, rows=3)
    for found, strategy in ((mean, "mean"), (median, "median")):
        dummy = DummyRegressor(strategy=strategy).fit(np.zeros((n, 1)), y, sample_weight=weights)
        assert found.shape == (3, 1)
        assert found[:, 0] == pytest.approx(dummy.predict(np.zeros((3, 1))))


def test_the_prior_is_the_better_baseline_by_each_metric() -> None:
    _, y = rows()
    found = prior(candidate(RIDGE), y, folds_of(y))
    for scores, fold in zip(found.scores, folds_of(y), strict=True):
        each = [
            score(candidate(RIDGE), y[fold.score], np.full((len(fold.score), 1), constant))
            for constant in (y[fold.fit].mean(), np.median(y[fold.fit]))
        ]
        for name in ("rmse", "mae", "median_absolute_error", "rmsle", "mape"):
            assert scores[name] == pytest.approx(min(one[name] for one in each))
        assert scores["r2"] == pytest.approx(max(one["r2"] for one in each))
    assert np.isnan(found.scores[0]["interval_coverage"])
    assert found.summary()["cv_mae_mean"] < score(candidate(RIDGE), y, np.full((len(y), 1), y.mean()))["mae"]


def runner(model: Mapping[str, Any], name: str = "rmse", transform: Transform = "none") -> tuple[TrialRunner, Any]:
    X, y = rows(600)
    folds = folds_of(y)
    made = TrialRunner(candidate(transform=transform, **model), X, y, parts(folds, latest_first=False, seed=0), name)
    made.prepare()
    return made, (X, y, folds)


SEARCHED: dict[str, Any] = {
    "estimator": LIGHTGBM,
    "params": {},
    "space": {"num_leaves": {"type": "int", "low": 2, "high": 32}},
}


@pytest.mark.parametrize("model", [SEARCHED, {"estimator": RIDGE, "space": "default"}, {"estimator": FOREST}], ids=str)
@pytest.mark.parametrize(("name", "sign"), [("rmse", -1), ("r2", 1), ("pinball_loss_0.9", -1)])
@pytest.mark.parametrize("transform", ["none", "log"])
def test_a_trials_score_is_what_its_cross_validation_gives(
    model: dict[str, Any], name: str, sign: int, transform: Transform
) -> None:
    made, (X, y, folds) = runner(model, name, transform)
    found = made.run(Point({}))
    one = candidate(transform=transform, **model)
    whole = cross_validate(replace(one, params=found.found), X, y, folds, threads=1, names=[name])
    assert found.is_complete
    assert found.score == pytest.approx(sign * whole.summary()[f"cv_{name}_mean"], rel=1e-9)


def test_a_search_finds_the_iterations_of_a_booster_and_a_better_trial_than_its_first() -> None:
    made, _ = runner(SEARCHED)
    model = Model.model_validate(SEARCHED)
    about: dict[str, Any] = {"start": [defaults(model)], "trials": 6, "seed": 0, "max_pending": 1}
    with ThreadPoolExecutor(1) as executor:
        trials = search(made.run, model.space, executor=executor, **about)
    won = best(trials)
    assert trials[0].found == {}  # the model's own number of iterations is tried first
    assert {trial.found["n_estimators"] % 10 for trial in trials[1:]} == {0}
    assert won.score is not None and trials[0].score is not None
    assert won.score >= trials[0].score


def test_more_threads_change_no_bit_of_a_trial() -> None:
    made, _ = runner(SEARCHED)
    one, two = (made.run(Point({}), threads=threads) for threads in (1, 2))
    assert (one.score, one.parts, one.found) == (two.score, two.parts, two.found)


def test_a_search_by_a_metric_that_has_no_value_says_why() -> None:
    X, y = rows()
    y = y - y.mean()
    y[np.arange(0, 300, 10)] = 0.0
    made = TrialRunner(candidate(RIDGE), X, y, parts(folds_of(y), latest_first=False, seed=0), "mape")
    with pytest.raises(
        UserError, match=r"mape has no value: the true number is 0 in .* take another metric, such as rmse"
    ):
        made.run(Point({}))


@pytest.mark.parametrize("is_truth", [True, False])
def test_a_metric_without_a_value_ends_the_search_only_where_no_prediction_has_one(is_truth: bool) -> None:
    X, y = rows()
    signal = X["signal"].to_numpy()
    y = np.where(signal > 0, 50 * signal, -1.5 if is_truth else -0.5)  # a line falls far below -1
    made = TrialRunner(candidate(RIDGE), X, y, parts(folds_of(y), latest_first=False, seed=0), "rmsle")
    with pytest.raises(UserError, match=r"^rmsle has no value: .* -1 or less in .* such as rmse$") as caught:
        made.run(Point({}))
    assert isinstance(caught.value, CandidateError) != is_truth


def test_a_constraint_by_column_holds_for_the_number() -> None:
    X, y = rows()
    for direction in (1, -1):
        model = Model(estimator=HISTOGRAMS, params={"max_iter": 20, "monotonic_cst": {"signal": direction}})
        told = in_terms_of_data(model, where="models.mine", columns=COLUMNS, classes=(), positive=0)
        fitted = fit(replace(candidate(HISTOGRAMS), model=told), X, y, threads=1)
        low, high = (fitted.outputs(X.assign(signal=signal))[:, 0] for signal in (-1.0, 1.0))
        assert ((high - low) * direction >= 0).all()


def test_a_weight_of_classes_is_refused_in_one_line() -> None:
    model = Model(estimator=LIGHTGBM, params={"class_weight": {"a": 2.0}})
    with pytest.raises(UserError, match=r"^models\.mine\.params\.class_weight: the target is a number") as caught:
        in_terms_of_data(model, where="models.mine", columns=COLUMNS, classes=(), positive=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("estimator", KINDS)
def test_a_regressor_is_known_by_its_class(estimator: str) -> None:
    check({"mine": Model(estimator=estimator, params=FEW.get(estimator, {}))}, "regression")
    with pytest.raises(
        UserError, match=r"^models\.mine\.estimator: .* predicts a number, and the task is class"
    ) as caught:
        check({"mine": Model(estimator=estimator)}, "classification")
    assert "or say task: regression" in str(caught.value)


class Shares(BaseEstimator):  # type: ignore[misc]
    """A classifier of one's own, with the least that is asked for: it has no `predict`."""

    def fit(self, X: Array, y: Array) -> "Shares":
        self.shares_ = np.bincount(y) / len(y)
        return self

    def predict_proba(self, X: Array) -> Array:
        return np.tile(self.shares_, (len(X), 1))


def test_a_classifier_needs_no_more_than_probabilities() -> None:
    check({"mine": Model(estimator=f"{__name__}.Shares")}, "classification")
    with pytest.raises(UserError, match="predicts classes, and the task is regression"):
        check({"mine": Model(estimator=f"{__name__}.Shares")}, "regression")


@pytest.mark.parametrize("estimator", ["sklearn.ensemble.RandomForestClassifier", "lightgbm.LGBMClassifier"])
def test_a_classifier_does_not_predict_a_number(estimator: str) -> None:
    with pytest.raises(UserError, match=r"^models\.mine\.estimator: .* predicts classes, and the task is regression"):
        check({"mine": Model(estimator=estimator)}, "regression")


def test_a_pipeline_predicts_what_its_last_step_does() -> None:
    steps = {"scale": {"estimator": "sklearn.preprocessing.StandardScaler"}, "last": {"estimator": RIDGE}}
    model = Model.model_validate({"estimator": "sklearn.pipeline.Pipeline", "params": {"steps": steps}})
    check({"mine": model}, "regression")
    X, y = rows()
    pipeline = fit(replace(candidate(RIDGE), model=model), X, y, threads=1)
    assert is_regressor(pipeline.estimator)
    assert np.isfinite(pipeline.outputs(X)).all()


NESTED: dict[str, dict[str, Any]] = {
    "sklearn.ensemble.StackingRegressor": {
        "estimators": {"a": {"estimator": RIDGE}, "b": {"estimator": LIGHTGBM}},
        "cv": 2,
    },
    "sklearn.ensemble.VotingRegressor": {"estimators": {"a": {"estimator": RIDGE}, "b": {"estimator": FOREST}}},
    "sklearn.ensemble.BaggingRegressor": {"estimator": {"estimator": RIDGE}, "n_estimators": 3},
    "sklearn.svm.SVR": {},
    "sklearn.neighbors.KNeighborsRegressor": {},
    "sklearn.linear_model.HuberRegressor": {},
    "sklearn.linear_model.PoissonRegressor": {},
    "sklearn.ensemble.ExtraTreesRegressor": {"n_estimators": 3},
    "sklearn.gaussian_process.GaussianProcessRegressor": {},
    "sklearn.cross_decomposition.PLSRegression": {},
}


@pytest.mark.parametrize("path", NESTED)
def test_any_regressor_of_scikit_learn_is_fitted(path: str) -> None:
    X, y = rows(120)
    model = Model.model_validate({"estimator": path, "params": NESTED[path]})
    check({"mine": model}, "regression")
    found = fit(replace(candidate(RIDGE), model=model), X, y, threads=1).outputs(X)
    assert found.shape == (120, 1)
    assert np.isfinite(found).all()


def implied(text: str) -> str | None:
    """The task of a problem with these sections."""
    values = {"name": "made", "data": {"source": "t.csv", "target": "y"}, **yaml.safe_load(text)}
    return build(values, "made").task


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("{}", None),
        ("{search: {folds: 2}}", None),
        ("{search: {metric: mae}}", "regression"),
        ("{search: {metric: roc_auc}}", "classification"),
        ("{search: {metric: pinball_loss_0.5}}", "regression"),
        ("{models: {a: {estimator: sklearn.linear_model.Ridge}}}", "regression"),
        ("{models: {a: {estimator: lightgbm.LGBMClassifier}}}", "classification"),
        ("{gate: {require: {r2: {min: 0.5}}}}", "regression"),
        ("{gate: {require: {interval_coverage: {min: 0.8}}}}", "regression"),
        ("{data: {source: t.csv, target: y, target_transform: log}}", "regression"),
        ("{data: {source: t.csv, target: y, positive: 1}}", "classification"),
        ("{task: regression}", "regression"),
    ],
)
def test_the_rest_of_a_problem_implies_its_task(text: str, task: str | None) -> None:
    assert implied(text) == task


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{task: regression, search: {metric: roc_auc}}", ("search.metric", "roc_auc", "rmse")),
        ("{task: classification, search: {metric: rmse}}", ("search.metric", "rmse", "roc_auc")),
        ("{task: regression, gate: {require: {accuracy: {min: 0.5}}}}", ("gate.require", "accuracy")),
        ("{task: regression, data: {source: t, target: y, positive: 1}}", ("data.positive", "leave it out")),
        ("{task: regression, data: {source: t, target: y, classes: {a: [1], b: [2]}}}", ("data.classes",)),
        ("{task: regression, search: {threshold: 0.3}}", ("search.threshold", "leave it out")),
        ("{task: classification, data: {source: t, target: y, target_transform: log}}", ("target_transform",)),
        ("{search: {metric: interval_width}, task: regression}", ("search.metric", "another one")),
        ("{task: ranking}", ("task", "regression")),
        ("{task: regression, evaluation: {coverage: 1.0}}", ("evaluation.coverage",)),
        ("{task: classification, evaluation: {coverage: 0.8}}", ("evaluation.coverage", "leave it out")),
        ("{task: regression, evaluation: {coverage: 0}}", ("evaluation.coverage",)),
    ],
)
def test_what_is_of_the_other_task_is_one_line(text: str, says: Sequence[str]) -> None:
    with pytest.raises(UserError) as caught:
        implied(text)
    line = str(caught.value)
    assert "\n" not in line
    for word in says:
        assert word in line


def test_a_fold_of_one_number_is_scored_all_the_same() -> None:
    X, y = rows()
    y = np.r_[np.full(50, 2.0), y[50:]]
    found = on_fold(candidate(RIDGE), X, y, Fold(np.arange(50, 300), np.arange(50)), threads=1)
    scores = score(candidate(RIDGE), found.y, found.outputs)
    assert np.isfinite(scores["rmse"])
    assert np.isnan(scores["r2"])


@pytest.mark.parametrize("path", ["sklearn.feature_selection.SelectKBest", "sklearn.feature_selection.SelectFdr"])
def test_columns_ranked_by_classes_are_no_step_before_a_number(path: str) -> None:
    steps = {"estimator": "sklearn.linear_model.Ridge", "preprocessing": {"steps": [path]}}
    with pytest.raises(UserError, match=r"models\.m\.preprocessing\.steps\.0: Select\w+ ranks columns by classes"):
        check({"m": Model.model_validate(steps)}, "regression")
    advised = {
        "transformer": "sklearn.feature_selection.SelectFromModel",
        "params": {"estimator": {"estimator": "sklearn.linear_model.Ridge"}},
    }
    check({"m": Model.model_validate({**steps, "preprocessing": {"steps": [advised]}})}, "regression")
    classes = {"estimator": "sklearn.linear_model.LogisticRegression", "preprocessing": {"steps": [path]}}
    check({"m": Model.model_validate(classes)}, "classification")
