"""Weights of rows through the chain: said where people look, needed by no server, met by champions, and replayed."""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest

from tabular.metrics.classification import classification_metrics
from tests.running import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

PROBLEM = """
name: weighted
data: {source: table.csv, target: y, weight: w}
models:
  logistic_regression: {estimator: sklearn.linear_model.LogisticRegression}
search: {folds: 2}
evaluation: {slices: [kind]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weighted")
    generator = np.random.default_rng(3)
    x, z = generator.normal(size=(2, 240)).round(3)
    y = np.where(x + generator.normal(0, 0.7, 240) > 0, "yes", "no")
    table = pd.DataFrame({"x": x, "z": z, "kind": generator.choice(["a", "b"], 240), "y": y})
    table.assign(w=generator.integers(0, 4, 240) / 2).to_csv(folder / "table.csv", index=False)
    (folder / "weighted.yaml").write_text(PROBLEM)
    return folder


@pytest.fixture(scope="module")
def main(store, folder):
    """A chain of the table, whose winner is registered."""
    ended = store.project(problem=str(folder / "weighted.yaml"), jobs=1)
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.outcome"] == "registered", ended.stdout
    return ended


@pytest.fixture(scope="module")
def runs(store, main):
    """The runs of its tasks by their names."""
    chain = json.loads(store.artifact(main.run, "chain.json").read_text())
    return {task: store.client.get_run(run_id) for task, run_id in chain.items()}


def test_the_range_and_the_sum_of_the_weights_are_said(store, folder, main, runs):
    weights, params = pd.read_csv(folder / "table.csv")["w"], runs["etl"].data.params
    assert (params["weight"], float(params["weight_low"]), float(params["weight_high"])) == ("w", 0, 1.5)
    assert float(params["weight_train"]) + float(params["weight_holdout"]) == weights.sum()
    assert int(params["rows_of_weight_0"]) == (weights == 0).sum()
    assert "rows are weighted by 'w', from 0 to 1.5" in main.stdout
    page = store.artifact(main.run, "report.html").read_text()
    (version,) = store.versions("weighted_classifier")
    assert "<th>on the holdout, weighted by w</th>" in page
    assert "on the holdout, weighted by w" in version.description


def test_metrics_are_those_of_the_predictions_that_are_kept_by_the_weights_beside_them(store, runs):
    evaluate = runs["evaluate"]
    kept = pd.read_parquet(store.artifact(evaluate, "predictions/logistic_regression.parquet"))
    y, p = (kept["truth"] == "yes").astype(int).to_numpy(), kept[["probability_no", "probability_yes"]].to_numpy()
    found = classification_metrics(y, p, classes=["no", "yes"], weights=kept["weight"].to_numpy())
    assert {name: evaluate.data.metrics[name] for name in found} == pytest.approx(found, abs=1e-9)
    plain = classification_metrics(y, p, classes=["no", "yes"])
    assert found["log_loss"] != pytest.approx(plain["log_loss"], abs=1e-6)


def test_a_model_is_asked_without_weights(store, folder, runs, tmp_path):
    uri = runs["train logistic_regression"].data.tags["tabular.model_uri"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        local = mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path), tracking_uri=store.uri)
    model = mlflow.pyfunc.load_model(local)
    assert model.metadata.get_input_schema().input_names() == ["x", "z", "kind"]
    answer = model.predict(pd.DataFrame({"x": [2.0, -2.0], "z": [0.0, 0.0], "kind": ["a", "b"]}))
    assert answer["label"].tolist() == ["yes", "no"]
    table = pd.read_csv(folder / "table.csv").drop(columns=["w", "y"])
    table.to_csv(tmp_path / "new.csv", index=False)
    scored = store.step("predict", model=uri, data=str(tmp_path / "new.csv"), output=str(tmp_path / "scored.csv"))
    assert scored.status == 0, scored.stderr


@pytest.mark.skipif(not (PROJECT / ".git").exists(), reason="a replay is of a commit")
def test_a_replay_finds_the_same(store, runs):
    replayed = store.step("reproduce", run=runs["evaluate"].info.run_id)
    assert replayed.status == 0, replayed.stdout + replayed.stderr
    assert replayed.tags["tabular.outcome"] == "same", replayed.stdout


def test_another_winner_meets_the_champion_by_the_weighted_metric(store, folder, runs):
    (folder / "other.yaml").write_text(
        PROBLEM.replace("LogisticRegression}", "LogisticRegression, params: {C: 0.001}}")
    )
    given = {"dataset": runs["etl"].info.run_id, "problem": str(folder / "other.yaml")}
    challenger = store.step("train", model="logistic_regression", **given)
    again = store.step("evaluate", models=challenger.id, **given)
    register = store.step("register", evaluation=again.id, problem=given["problem"])
    assert register.status == 0, register.stderr
    assert "holdout rows, weighted by 'w'" in register.tags["tabular.verdict"]
    metrics = register.run.data.metrics
    assert metrics["champion_roc_auc"] == pytest.approx(runs["evaluate"].data.metrics["roc_auc"], abs=1e-9)
    assert metrics["challenger_roc_auc"] == again.run.data.metrics["roc_auc"]


def test_other_weights_are_another_data_set_of_the_same_schema(store, folder, runs, tmp_path):
    table = pd.read_csv(folder / "table.csv")
    table.assign(w=table["w"] + 1).to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "weighted.yaml").write_text(PROBLEM)
    other, before = store.step("etl", problem=str(tmp_path / "weighted.yaml")).tags, runs["etl"].data.tags
    assert other["tabular.digest.train"] != before["tabular.digest.train"]
    assert other["tabular.digest.schema"] == before["tabular.digest.schema"]


def test_an_estimator_that_takes_none_ends_the_chain_in_one_line(store, folder):
    neighbours = "\n  near: {estimator: sklearn.neighbors.KNeighborsClassifier}\nsearch:"
    (folder / "near.yaml").write_text(PROBLEM.replace("\nsearch:", neighbours))
    # a main that fails ends all that its process has started, so that it needs one of its own
    ended = store.process("main", problem=str(folder / "near.yaml"), jobs=1)
    assert ended.status == 1
    (line,) = ended.lines
    assert "models.near: KNeighborsClassifier takes no weights of rows, which data.weight asks for" in line
