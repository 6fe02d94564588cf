"""A threshold that is tuned on the folds: one for the metrics, the pictures, the gate and the served model."""

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.artifacts import download_artifacts
from sklearn.metrics import f1_score, recall_score

pytestmark = pytest.mark.usefixtures("undrawn")

N = 400
PROBLEM = """
name: rare
data: {{source: {source}, target: y, positive: "yes"}}
models:
  logistic: {{estimator: sklearn.linear_model.LogisticRegression}}
  searched:
    estimator: sklearn.linear_model.LogisticRegression
    space: {{C: {{type: float, low: 0.01, high: 10, log: true}}}}
search: {{metric: roc_auc, trials: 2, folds: 3, threshold: {threshold}}}
"""


def etl(store, folder, threshold, classes=("no", "yes")):
    generator = np.random.default_rng(0)
    y = np.arange(N) % 8 == 0
    table = pd.DataFrame({"x": generator.normal(y * 1.2, 1), "z": generator.normal(size=N)})
    table["y"] = np.where(y, classes[1], classes[0])
    if len(classes) == 3:
        table.loc[generator.random(N) < 0.3, "y"] = classes[2]
    table.to_csv(folder / "table.csv", index=False)
    (folder / "rare.yaml").write_text(PROBLEM.format(source=folder / "table.csv", threshold=threshold))
    ended = store.step("etl", problem=str(folder / "rare.yaml"))
    assert ended.status == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def tuned(store, tmp_path_factory):
    """A data set, the runs of train on it, one of them after a search, and an evaluation."""
    data = etl(store, tmp_path_factory.mktemp("rare"), "f1_score")
    search = store.step("hpo", dataset=data.id, model="searched")
    trains = {
        "logistic": store.step("train", dataset=data.id, model="logistic"),
        "searched": store.step("train", dataset=data.id, model="searched", params=search.id),
    }
    evaluation = store.step("evaluate", dataset=data.id, models=",".join(run.id for run in trains.values()))
    assert evaluation.status == 0, evaluation.stderr
    return trains, evaluation


@pytest.mark.parametrize("model", ["logistic", "searched"])
def test_the_served_model_answers_by_the_threshold_that_was_tuned(store, tuned, model):
    run = tuned[0][model].run
    threshold = run.data.metrics["threshold"]
    assert threshold < 0.45  # of a rare class
    mlflow.set_tracking_uri(store.uri)
    served = mlflow.pyfunc.load_model(run.data.tags["tabular.model_uri"])
    usual = {spec.name: spec.default for spec in served.metadata.signature.params}
    assert usual == {"threshold": threshold, "explain": 0}
    rows = pd.DataFrame({"x": np.linspace(-3, 4, 200), "z": 0.0})
    answer = served.predict(rows)
    assert list(answer["label"] == "yes") == list(answer["probability_yes"] >= threshold)
    assert 0 < np.sum(answer["label"] == "yes") < 200
    asked = served.predict(rows, params={"threshold": 0.9})
    assert list(asked["label"] == "yes") == list(answer["probability_yes"] >= 0.9)


@pytest.mark.parametrize("model", ["logistic", "searched"])
def test_the_metrics_on_the_holdout_are_of_the_labels_by_it(store, tuned, model, tmp_path):
    trains, evaluation = tuned
    uri = f"{evaluation.run.info.artifact_uri}/predictions/{model}.parquet"
    answers = pd.read_parquet(download_artifacts(uri, dst_path=str(tmp_path)))
    truth = answers["truth"] == "yes"
    labels = answers["probability_yes"] >= trains[model].run.data.metrics["threshold"]
    metrics = evaluation.run.data.metrics
    assert metrics[f"{model}/f1_score"] == pytest.approx(f1_score(truth, labels))
    assert metrics[f"{model}/recall"] == pytest.approx(recall_score(truth, labels))


def test_it_is_better_on_the_folds_than_one_half(store, tuned, tmp_path):
    halves = etl(store, tmp_path, 0.5)
    half = store.step("train", dataset=halves.id, model="logistic").run.data.metrics
    assert half["threshold"] == 0.5
    assert tuned[0]["logistic"].run.data.metrics["cv_f1_score_mean"] > half["cv_f1_score_mean"]


def test_a_number_is_the_threshold_itself_and_a_class_that_is_never_the_label_is_said(store, tmp_path):
    data = etl(store, tmp_path, 0.99)
    train = store.step("train", dataset=data.id, model="logistic")
    assert train.run.data.metrics["threshold"] == 0.99
    ended = store.step("evaluate", dataset=data.id, models=train.id)
    assert ended.run.data.metrics["recall"] == 0
    said = "logistic gives no row of the holdout the label 'yes', at its threshold of 0.99: if labels are used, say "
    assert f"{said}search.threshold: f1_score" in ended.tags["tabular.summary"]  # which main prints


def test_of_three_classes_it_is_refused_in_one_line(store, tmp_path):
    ended = store.step("train", dataset=etl(store, tmp_path, "f1_score", ("a", "yes", "c")).id, model="logistic")
    assert ended.status == 1
    assert (
        ended.stderr == "tabular: search.threshold: 'y' has 3 classes, and a threshold is between two: leave it out\n"
    )
