"""Calibration through the chain: found on the folds, carried by the model, told before and after on the holdout."""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest

from tabular.metrics.classification import classification_metrics, metric

pytestmark = pytest.mark.usefixtures("undrawn")

N = 900
# naive Bayes is far too sure where columns say the same thing
PROBLEM = """
name: sure
data: {{source: {source}, target: y, positive: "yes"}}
models:
  bayes: {{estimator: sklearn.naive_bayes.GaussianNB}}
  weighing: {{estimator: sklearn.linear_model.LogisticRegression, params: {{class_weight: balanced}}}}
  searched:
    estimator: sklearn.naive_bayes.GaussianNB
    space: {{var_smoothing: {{type: float, low: 1.0e-9, high: 1.0e-3, log: true}}}}
search: {{metric: log_loss, trials: 2, folds: 3, threshold: f1_score, calibrate: {calibrate}}}
gate: {{require: {{calibration_error: {{max: 0.15}}}}}}
"""


def etl(store, folder, calibrate):
    generator = np.random.default_rng(0)
    signal = generator.normal(size=N)
    table = pd.DataFrame({f"x{copy}": signal + generator.normal(0, 0.2, N) for copy in range(6)})
    table["y"] = np.where(generator.random(N) < 1 / (1 + np.exp(1 - signal)), "yes", "no")
    table.to_csv(folder / "table.csv", index=False)
    (folder / "sure.yaml").write_text(PROBLEM.format(source=folder / "table.csv", calibrate=calibrate))
    ended = store.step("etl", problem=str(folder / "sure.yaml"))
    assert ended.status == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def auto(store, tmp_path_factory):
    """The runs of train, one of them after a search, and an evaluation."""
    data = etl(store, tmp_path_factory.mktemp("sure"), "auto")
    search = store.step("hpo", dataset=data.id, model="searched")
    trains = {
        "bayes": store.step("train", dataset=data.id, model="bayes"),
        "searched": store.step("train", dataset=data.id, model="searched", params=search.id),
    }
    assert {run.status for run in trains.values()} == {0}, [run.stderr for run in trains.values()]
    evaluation = store.step("evaluate", dataset=data.id, models=",".join(run.id for run in trains.values()))
    assert evaluation.status == 0, evaluation.stderr
    return data, trains, evaluation


@pytest.mark.parametrize("model", ["bayes", "searched"])
def test_the_folds_tell_how_and_the_metrics_are_of_it(auto, model):
    run = auto[1][model].run
    metrics = run.data.metrics
    assert metrics["cv_calibration_error"] < 0.08 < metrics["cv_calibration_error_uncalibrated"]
    assert metrics["cv_log_loss_calibrated"] < metrics["cv_log_loss_uncalibrated"] - 0.1
    assert metrics["cv_log_loss_mean"] == pytest.approx(metrics["cv_log_loss_calibrated"], abs=1e-9)
    assert metrics["training_log_loss"] < metrics["cv_log_loss_uncalibrated"] - 0.1
    note = run.data.tags["mlflow.note.content"]
    assert "Probabilities are calibrated: sigmoid, chosen by the log loss. Calibration error 0." in note


@pytest.mark.parametrize("model", ["bayes", "searched"])
def test_the_served_model_has_it_and_the_holdout_tells_before_and_after(store, auto, model):
    data, trains, evaluation = auto
    mlflow.set_tracking_uri(store.uri)
    served = mlflow.pyfunc.load_model(trains[model].run.data.tags["tabular.model_uri"])
    found = served.unwrap_python_model().description
    assert found["calibration"]["method"] == "sigmoid"
    assert found["calibration"]["slope"] < 0.6
    rows = pd.read_parquet(store.artifact(data.run, "dataset/holdout.parquet"))
    answer = served.predict(rows)[["probability_no", "probability_yes"]].to_numpy()
    kept = pd.read_parquet(store.artifact(evaluation.run, f"predictions/{model}.parquet"))
    assert np.array_equal(answer, kept[["probability_no", "probability_yes"]].to_numpy())
    metrics, y = evaluation.run.data.metrics, (kept["truth"] == "yes").astype(int).to_numpy()
    about = {"classes": ["no", "yes"], "names": ["log_loss", "calibration_error"]}
    for name, value in classification_metrics(y, answer, **about).items():
        assert metrics[f"{model}/{name}"] == pytest.approx(value)
        assert value < metrics[f"{model}/{name}_uncalibrated"]
    assert metrics[f"{model}/calibration_error_low"] <= metrics[f"{model}/calibration_error"]
    assert metrics[f"{model}/calibration_error"] <= metrics[f"{model}/calibration_error_high"]
    assert f"{model}: calibration error 0." in evaluation.run.data.tags["mlflow.note.content"]
    entries = json.loads(store.artifact(evaluation.run, "evaluation.json").read_text())["candidates"]
    assert {check["passed"] for entry in entries for check in entry["checks"]} == {True}
    assert metric("calibration_error").greater_is_better is False


def test_that_it_takes_back_what_weights_of_classes_do_is_said(store, auto):
    data, trains, _ = auto
    note = store.step("train", dataset=data.id, model="weighing").run.data.tags["mlflow.note.content"]
    assert "It takes back what class_weight does to probabilities, and so to labels at a fixed threshold" in note
    assert "takes back" not in trains["bayes"].run.data.tags["mlflow.note.content"]


def test_the_report_says_the_error_before_and_after(store, auto):
    evaluation = auto[2]
    register = store.step("register", evaluation=evaluation.id)
    assert register.status == 0, register.stderr
    metrics = evaluation.run.data.metrics
    after, before = metrics["calibration_error"], metrics["calibration_error_uncalibrated"]
    said = f"{after:.4f}, and {before:.4f} before calibration"
    assert said in store.artifact(register.run, "report.html").read_text()
    (version,) = store.versions("sure_classifier")
    assert f"- calibration error: {said}" in version.description


def test_the_same_key_has_the_same_bits(store, auto):
    data, trains, _ = auto
    again = store.step("train", dataset=data.id, model="bayes")
    for tag in ("tabular.key", "tabular.digest.model", "tabular.digest.scores"):
        assert again.tags[tag] == trains["bayes"].tags[tag]


def test_none_leaves_probabilities_as_they_are_and_moves_the_threshold(store, auto, tmp_path):
    ended = store.step("train", dataset=etl(store, tmp_path, "none").id, model="bayes")
    metrics, of_auto = ended.run.data.metrics, auto[1]["bayes"].run.data.metrics
    assert metrics["cv_log_loss_mean"] == pytest.approx(of_auto["cv_log_loss_uncalibrated"])
    assert metrics["cv_calibration_error"] == metrics["cv_calibration_error_uncalibrated"]
    assert metrics["threshold"] != of_auto["threshold"]
    assert metrics["cv_roc_auc_mean"] == pytest.approx(of_auto["cv_roc_auc_mean"])
    assert "as the estimator gives them (the problem says so)" in ended.run.data.tags["mlflow.note.content"]
