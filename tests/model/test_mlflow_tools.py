"""MLflow's own tools on our models: evaluate, in the shape that it takes; LightGBM's flavor."""

import dataclasses
from pathlib import Path
from typing import Any

import made
import mlflow
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score, roc_auc_score

from tabular.model import training
from tabular.model.tasks import Regression
from tabular.sections.models import Model

pytestmark = pytest.mark.slow


def evaluated(uri: str, data: made.Data, target: Any, kind: str, **more: Any) -> dict[str, float]:
    """As a user evaluates a model on a frame."""
    frame, experiment = data.frame.assign(answer=target), mlflow.get_experiment_by_name(made.EXPERIMENT)
    with mlflow.start_run(experiment_id=experiment.experiment_id):  # whose artifacts are not in the working folder
        return mlflow.models.evaluate(uri, frame, targets="answer", model_type=kind, **more).metrics


@pytest.mark.parametrize("classes", [2, 3])
def test_mlflow_evaluates_a_classifier_by_its_labels_and_probabilities(
    classes: int, tracking: str, tmp_path: Path
) -> None:
    names = made.LABELS[classes]
    # in another order than MLflow's, which sorts them
    section = {"source": "table.csv", "target": "answer", "classes": {name: [name] for name in reversed(names)}}
    data = made.prepare(made.table(classes=classes), tmp_path, data=section)
    assert list(data.schema.classes) != names
    uri = made.log(made.fit(data, "lightgbm"), data, tmp_path / "parts").model_uri
    answer = mlflow.pyfunc.load_model(uri).predict(data.frame)
    truth = np.array(data.schema.classes)[data.y]
    found = evaluated(uri, data, truth, "classifier")
    probabilities = answer[[f"probability_{name}" for name in names]].to_numpy()
    if classes == 2:
        assert found["roc_auc"] == pytest.approx(roc_auc_score(truth == "yes", probabilities[:, 1]))
    assert found["accuracy_score"] == pytest.approx(accuracy_score(truth, answer["label"]))
    assert found["log_loss"] == pytest.approx(log_loss(truth, probabilities, labels=names))


@pytest.fixture(scope="module")
def numbers(tracking: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[made.Data, training.Fitted, str]:
    """A model of numbers: its rows, what was fitted, and where it was logged."""
    folder = tmp_path_factory.mktemp("numbers")
    data = made.prepare(made.table_of_numbers(), folder / "data", task="regression")
    model = Model(estimator="lightgbm.LGBMRegressor", params={"n_estimators": 10})
    fitted = training.fit(
        training.Candidate("it", model, {}, data.schema.columns, Regression("log"), 0), data.X, data.y, threads=1
    )
    ends = dataclasses.replace(made.intervals_of(fitted, data, 0.9), scale=None)
    return data, fitted, made.log(fitted, data, folder / "parts", intervals=ends, coverage=0.9).model_uri


def test_mlflow_evaluates_a_model_of_numbers_by_its_predictions(numbers: tuple) -> None:
    data, fitted, uri = numbers
    predicted = fitted.outputs(data.X)[:, 0]
    found = evaluated(uri, data, data.y, "regressor")
    assert found["mean_absolute_error"] == pytest.approx(mean_absolute_error(data.y, predicted))
    assert found["r2_score"] == pytest.approx(r2_score(data.y, predicted))
    told = evaluated(uri, data, data.y, "regressor", predictions="prediction")
    assert told == found


def test_mlflows_lightgbm_loads_a_model_of_numbers(numbers: tuple) -> None:
    data, fitted, uri = numbers
    booster = mlflow.lightgbm.load_model(uri)
    assert np.array_equal(np.exp(booster.predict(fitted.preprocessor.transform(data.X))), fitted.outputs(data.X)[:, 0])
