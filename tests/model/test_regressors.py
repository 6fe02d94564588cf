"""Models of numbers: written without pickle, and served bit by bit as they were fitted, with their intervals."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from servers import serving
from threadpoolctl import threadpool_limits

from steps.model import drift_reference, flavor, served
from tabular.metrics.regression import as_predictions
from tabular.model import training
from tabular.model.tasks import Regression, Transform
from tabular.sections.models import Model

pytestmark = pytest.mark.slow

COVERAGE = 0.9
NUMBERS = ["prediction", "prediction_low", "prediction_high"]
KINDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "ridge": ("sklearn.linear_model.Ridge", {}, served.REGRESSOR),
    "random forest": ("sklearn.ensemble.RandomForestRegressor", {"n_estimators": 10}, served.REGRESSOR),
    "extra trees": ("sklearn.ensemble.ExtraTreesRegressor", {"n_estimators": 5}, served.REGRESSOR),
    "lightgbm": ("lightgbm.LGBMRegressor", {"n_estimators": 20}, served.REGRESSOR_BOOSTER),
    "lightgbm of counts": ("lightgbm.LGBMRegressor", {"n_estimators": 20, "objective": "poisson"}, "regressor.txt"),
    "histograms": ("sklearn.ensemble.HistGradientBoostingRegressor", {"max_iter": 10}, served.REGRESSOR),
    "boosting": ("sklearn.ensemble.GradientBoostingRegressor", {"n_estimators": 10}, served.REGRESSOR),
    "net": ("sklearn.neural_network.MLPRegressor", {"hidden_layer_sizes": [8], "max_iter": 30}, served.REGRESSOR),
    "neighbours": ("sklearn.neighbors.KNeighborsRegressor", {}, served.REGRESSOR),
    "support vectors": ("sklearn.svm.SVR", {}, served.REGRESSOR),
    "stack": (
        "sklearn.ensemble.StackingRegressor",
        {
            "estimators": {
                "a": {"estimator": "sklearn.linear_model.Ridge"},
                "b": {"estimator": "lightgbm.LGBMRegressor"},
            },
            "cv": 2,
        },
        served.REGRESSOR,
    ),
    "ridge by target": ("sklearn.linear_model.Ridge", {}, served.REGRESSOR),
    "lightgbm by target": ("lightgbm.LGBMRegressor", {"n_estimators": 20}, served.REGRESSOR_BOOSTER),
    "lightgbm of categories": ("lightgbm.LGBMRegressor", {"n_estimators": 20}, served.REGRESSOR_BOOSTER),
    "xgboost of categories": ("xgboost.XGBRegressor", {"n_estimators": 5}, "regressor.ubj"),
    "catboost of categories": ("catboost.CatBoostRegressor", {"iterations": 5}, "regressor.cbm"),
    "plane of several": ("sklearn.cross_decomposition.PLSRegression", {}, served.REGRESSOR),
    "xgboost": ("xgboost.XGBRegressor", {"n_estimators": 5, "subsample": 0.7}, "regressor.ubj"),
    "catboost": ("catboost.CatBoostRegressor", {"iterations": 5}, "regressor.cbm"),
}
TREATMENTS = {
    "ridge by target": "target",
    "lightgbm by target": "target",
    "lightgbm of categories": "native",
    "xgboost of categories": "native",
    "catboost of categories": "native",
}
TRANSFORMS: tuple[Transform, ...] = ("none", "log1p", "log")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other in a loop take seconds where other tests hold the cores."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> made.Data:
    return made.prepare(made.table_of_numbers(), tmp_path_factory.mktemp("numbers"), task="regression")


class Asked:
    """A fitted regressor with its intervals, and the model that serves it."""

    def __init__(self, kind: str, transform: Transform, is_scaled: bool, data: made.Data, folder: Path) -> None:
        estimator, params, self.file = KINDS[kind]
        pytest.importorskip(estimator.partition(".")[0], reason="requirements-boosting.txt is not installed here")
        how = {"categories": TREATMENTS.get(kind)}
        model = Model.model_validate({"estimator": estimator, "params": params, "preprocessing": how})
        task = Regression(transform)
        self.candidate = training.Candidate("it", model, {}, data.schema.columns, task, seed=0)
        self.data, self.fitted = data, training.fit(self.candidate, data.X, data.y, threads=1)
        learnt = made.intervals_of(self.fitted, data, COVERAGE)
        self.ends = learnt if is_scaled else dataclasses.replace(learnt, scale=None)
        self.folder = folder
        self.parts = flavor.write(self.fitted, data.schema, folder, intervals=self.ends, coverage=COVERAGE).parts
        self.model = loaded(self.parts)

    def expected(self, frame: pd.DataFrame, coverage: float = COVERAGE) -> np.ndarray:
        """(n, 3) what the fitted regressor predicts, and the ends of its intervals."""
        X = served.as_features(frame, [vars(column) for column in self.data.schema.columns])
        predicted = self.fitted.outputs(X)[:, 0]
        scales = self.ends.scales(self.fitted.preprocessor.transform(X), threads=1)
        return np.column_stack([predicted, *self.ends.ends(predicted, scales, coverage)])


def loaded(parts: Path) -> served.TabularModel:
    """A model by its own file of code."""
    model = served.TabularModel()
    model.load_context(SimpleNamespace(artifacts={"model": str(parts)}))
    return model


@pytest.fixture(scope="module")
def asked(data: made.Data, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """(kind, transform, whether widths are scaled): each fitted when it is first asked for."""

    class Shelf(dict):
        def __missing__(self, key: tuple[str, Transform, bool]) -> Asked:
            self[key] = Asked(*key, data, tmp_path_factory.mktemp("asked"))
            return self[key]

    return Shelf()


@pytest.fixture(scope="module")
def lightgbm(asked: dict) -> Asked:
    """One of them: on another scale, with intervals that are scaled."""
    return asked["lightgbm", "log1p", True]


@pytest.mark.parametrize("is_scaled", [True, False], ids=["scaled", "plain"])
@pytest.mark.parametrize("transform", TRANSFORMS[:2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_served_number_and_its_interval_are_those_of_the_fit_to_the_last_bit(
    kind: str, transform: Transform, is_scaled: bool, asked: dict, data: made.Data
) -> None:
    one = asked[kind, transform, is_scaled]
    for frame in (data.frame, data.frame.head(1), data.frame.iloc[::-1].head(250)):
        answer = one.model.predict(None, frame)
        assert list(answer) == NUMBERS
        assert answer.index.equals(frame.index)
        assert np.array_equal(answer, one.expected(frame))
        assert (answer["prediction_low"] <= answer["prediction"]).all()
        assert (answer["prediction"] <= answer["prediction_high"]).all()
        assert np.array_equal(
            one.model.outputs(served.as_features(frame, [vars(c) for c in data.schema.columns])), answer
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_files_without_pickle(kind: str, asked: dict) -> None:
    one = asked[kind, "none", True]
    names = {path.name for path in one.parts.iterdir()}
    assert names == {one.file, served.FEATURES, served.DESCRIPTION, served.SCALE}
    description = json.loads((one.parts / served.DESCRIPTION).read_text(encoding="utf-8"))
    assert (description["classes"], description["transform"], description["coverage"]) == ([], "none", COVERAGE)
    assert not {"threshold", "positive", "classes_seen"} & description.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_equal_fits_have_equal_digests_whatever_the_threads(kind: str, asked: dict, tmp_path: Path) -> None:
    one = asked[kind, "none", True]
    again = training.fit(one.candidate, one.data.X, one.data.y, threads=2)
    about = {"intervals": one.ends, "coverage": COVERAGE}
    parts = flavor.write(again, one.data.schema, tmp_path, **about).parts
    assert flavor.digest_of_parts(parts) == flavor.digest_of_parts(one.parts)


@pytest.mark.parametrize("change", ["transform", "coverage", "intervals", "scale"])
def test_another_scale_coverage_or_interval_is_another_digest(change: str, lightgbm: Asked, tmp_path: Path) -> None:
    fitted, about = lightgbm.fitted, {"intervals": lightgbm.ends, "coverage": COVERAGE}
    if change == "transform":
        fitted = dataclasses.replace(fitted, task=Regression("none"))
    elif change == "coverage":
        about["coverage"] = 0.8
    elif change == "scale":
        about["intervals"] = dataclasses.replace(lightgbm.ends, scale=None)
    else:
        high = tuple(end + 1 for end in lightgbm.ends.high)
        about["intervals"] = dataclasses.replace(lightgbm.ends, high=high)
    parts = flavor.write(fitted, lightgbm.data.schema, tmp_path, **about).parts  # type: ignore[arg-type]
    assert flavor.digest_of_parts(parts) != flavor.digest_of_parts(lightgbm.parts)


@pytest.mark.parametrize("is_scaled", [True, False], ids=["scaled", "plain"])
@pytest.mark.parametrize("coverage", [0.05, 0.5, 0.937, 0.99])
def test_a_request_says_how_often_its_intervals_hold_the_truth(
    coverage: float, is_scaled: bool, asked: dict, data: made.Data
) -> None:
    one = asked["lightgbm", "none", is_scaled]
    answer = one.model.predict(None, data.frame, {"coverage": coverage})
    assert np.array_equal(answer, one.expected(data.frame, coverage))


@pytest.mark.parametrize("coverage", [0.0, -1.0, 1.0, 2.0, 95.0, float("nan")])
def test_a_coverage_that_the_rows_cannot_tell_is_refused_by_its_name(coverage: float, lightgbm: Asked) -> None:
    with pytest.raises(MlflowException, match=r"^coverage: .* is not from 0\.01 to 0\.99") as caught:
        lightgbm.model.predict(None, lightgbm.data.frame.head(2), {"coverage": coverage})
    assert caught.value.get_http_status_code() == 400


def test_of_no_rows_the_answer_is_none(lightgbm: Asked, data: made.Data) -> None:
    answer = lightgbm.model.predict(None, data.frame.head(0))
    assert (list(answer), len(answer)) == (NUMBERS, 0)
    assert lightgbm.model.outputs(data.X.head(0)).shape == (0, 3)


@pytest.mark.parametrize("is_scaled", [True, False], ids=["scaled", "plain"])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
def test_ends_at_another_coverage_are_found_from_those_at_the_models_own(
    coverage: float, is_scaled: bool, asked: dict, data: made.Data
) -> None:
    one = asked["lightgbm", "none", is_scaled]
    found = one.expected(data.frame)
    predictions = as_predictions(data.y, found[:, 0], low=found[:, 1], high=found[:, 2])
    ends = np.column_stack(flavor.ends_at(one.model, predictions, coverage))
    assert ends == pytest.approx(one.expected(data.frame, coverage)[:, 1:], rel=1e-9)


def test_the_signature_names_the_number_its_ends_and_the_coverage(data: made.Data) -> None:
    found = flavor.signature(data.schema, coverage=COVERAGE)
    assert found.outputs.input_names() == NUMBERS
    assert [(param.name, param.default) for param in found.params.params] == [("coverage", COVERAGE), ("explain", 0)]
    assert "answer" not in found.inputs.input_names()


def test_a_model_needs_the_library_that_scales_its_intervals(asked: dict) -> None:
    for is_scaled in (True, False):
        needed = flavor.packages(asked["ridge", "none", is_scaled].fitted, is_scaled=is_scaled)
        assert ("lightgbm" in needed) == is_scaled


def test_of_a_models_answer_the_prediction_is_watched_for_drift(lightgbm: Asked) -> None:
    assert [column.name for column in drift_reference.scores(lightgbm.model)] == ["prediction"]


def test_a_model_of_numbers_without_intervals_is_a_mistake_of_the_caller(lightgbm: Asked, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs intervals"):
        flavor.write(lightgbm.fitted, lightgbm.data.schema, tmp_path)


@pytest.fixture(scope="module")
def logged(tracking: str, lightgbm: Asked, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a model in a store."""
    about: dict[str, Any] = {"intervals": lightgbm.ends, "coverage": COVERAGE}
    return str(made.log(lightgbm.fitted, lightgbm.data, tmp_path_factory.mktemp("logged") / "parts", **about).model_uri)


def test_a_logged_model_answers_as_it_was_fitted(logged: str, lightgbm: Asked, data: made.Data) -> None:
    model = mlflow.pyfunc.load_model(logged)
    frame = pd.DataFrame(data.frame, copy=True)
    assert np.array_equal(model.predict(frame), lightgbm.expected(frame))
    assert np.array_equal(model.predict(frame, {"coverage": 0.5}), lightgbm.expected(frame, 0.5))
    assert len(model.predict(model.input_example)) == 3


def test_a_server_answers_numbers_and_names_what_it_refuses(
    logged: str, tracking: str, lightgbm: Asked, data: made.Data, tmp_path: Path
) -> None:
    frame = data.frame.dropna().head(5)
    body = json.loads(frame.to_json(orient="split", date_format="iso", index=False, double_precision=15))
    with serving(logged, tracking, tmp_path) as server:
        status, answers = server.frame(frame)
        assert (status, list(answers[0])) == (200, NUMBERS)
        assert np.array_equal(pd.DataFrame(answers), lightgbm.expected(frame))
        status, answers = server.ask({"dataframe_split": body, "params": {"coverage": 0.5}})
        assert status == 200
        assert np.array_equal(pd.DataFrame(answers), lightgbm.expected(frame, 0.5))
        status, message = server.ask({"dataframe_split": body, "params": {"coverage": 1.5}})
        assert status == 400
        assert "coverage: 1.5 is not from" in message
        assert server.ask({"dataframe_split": {**body, "data": []}}) == (200, [])
        status, message = server.records({**frame.iloc[0].to_dict(), "since": "2021-03-04", "amount": "many"})
        assert status == 400 and "amount" in message
