"""A blend through the chain: one more candidate, which is kept, served, asked and reused like the others."""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

pytestmark = pytest.mark.usefixtures("undrawn")

ROWS = 2400
PROBLEM = """
name: mixed
data: {{source: {source}, target: y, positive: "yes"}}
models:
  linear: {{estimator: sklearn.linear_model.LogisticRegression}}
  forest:
    estimator: sklearn.ensemble.RandomForestClassifier
    params: {{n_estimators: 40, min_samples_leaf: 5, max_features: null}}
  {third}
search: {{folds: 3, calibrate: none}}
gate: {{require: {{roc_auc: {{min: 0.5}}}}}}
"""


def problem(folder, third="bayes: {estimator: sklearn.naive_bayes.GaussianNB}", seed=1):
    """A table of which a linear model knows a half, and a forest another half; and its problem."""
    draw = np.random.default_rng(seed)
    table = pd.DataFrame({f"x{column}": draw.normal(size=ROWS) for column in range(12)})
    logit = 0.9 * table.iloc[:, :6].sum(axis=1) + 2.25 * np.sign(table["x10"] * table["x11"])
    table["y"] = np.where(draw.random(ROWS) < 1 / (1 + np.exp(-logit)), "yes", "no")
    folder.mkdir(exist_ok=True)
    table.to_csv(folder / "table.csv", index=False)
    path = folder / "mixed.yaml"
    path.write_text(PROBLEM.format(source=folder / "table.csv", third=third))
    return path


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    return problem(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module")
def chain(store, asked):
    ended = store.project("main", problem=str(asked))
    assert ended.status == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def children(store, chain):
    return store.children(chain.id)


def test_a_blend_of_what_each_knows_wins_and_is_registered(chain, children):
    board = {name: run.data.metrics["cv_roc_auc_mean"] for name, run in children.items() if name.startswith("train")}
    assert children["blend"].data.metrics["cv_roc_auc_mean"] > max(board.values()) + 0.003
    assert (chain.tags["tabular.winner"], chain.tags["tabular.outcome"]) == ("blend", "registered")
    assert "linear" in children["blend"].data.tags["tabular.summary"]


def test_a_blend_leaves_its_weights(store, children):
    weights = json.loads(store.artifact(children["blend"], "weights.json").read_text())
    assert sum(weights.values()) == pytest.approx(1)
    assert {"linear", "forest"} <= set(weights)
    logged = {name: float(children["blend"].data.params[f"weight_{name}"]) for name in weights}
    assert logged == pytest.approx(weights)


def test_a_blend_answers_the_mean_of_its_members_as_it_was_judged(store, children):
    mlflow.set_tracking_uri(store.uri)
    weights = json.loads(store.artifact(children["blend"], "weights.json").read_text())
    models = {name: children[f"train {name}"].data.tags["tabular.model_uri"] for name in weights}
    rows = pd.read_parquet(store.artifact(children["etl"], "dataset/holdout.parquet"))
    each = {name: mlflow.pyfunc.load_model(uri).predict(rows)["probability_yes"] for name, uri in models.items()}
    mean = sum(weights[name] * answer for name, answer in each.items())
    champion = mlflow.pyfunc.load_model(children["blend"].data.tags["tabular.model_uri"])
    judged = pd.read_parquet(store.artifact(children["evaluate"], "predictions/blend.parquet"))
    assert np.allclose(champion.predict(rows)["probability_yes"], mean, rtol=1e-12)
    assert np.array_equal(champion.predict(rows)["probability_yes"], judged["probability_yes"])


def test_the_same_command_runs_nothing_again(store, asked, chain):
    again = store.step("main", problem=str(asked))
    assert again.status == 0, again.stderr
    steps = ("etl", "train linear", "train forest", "train bayes", "blend", "evaluate", "refit")
    assert all(f"  {step:<12}  reused" in again.stdout for step in steps), again.stdout
    assert "blend is the champion (version 1) already" in again.stdout


def test_a_blend_is_the_same_when_it_is_replayed(store, children):
    replayed = store.step("reproduce", run=children["blend"].info.run_id)
    assert replayed.status == 0, replayed.stderr
    assert "the same: run" in replayed.stdout


def test_predict_takes_the_run_of_a_blend(store, asked, children):
    output = asked.parent / "scored.csv"
    about = {"model": children["blend"].info.run_id, "data": str(asked.parent / "table.csv"), "output": str(output)}
    ended = store.step("predict", **about)
    assert ended.status == 0, ended.stderr
    assert len(pd.read_csv(output)) == ROWS


def test_a_candidate_that_failed_is_not_in_the_blend(store, tmp_path, chain):
    failing = "third: {estimator: sklearn.naive_bayes.MultinomialNB}"  # which refuses numbers below 0
    asked = problem(tmp_path, failing)
    asked.write_text(f"{asked.read_text()}registry: {{name: failing}}\nrefit: false\n")
    ended = store.step("main", problem=str(asked))
    assert ended.status == 0, ended.stderr
    weights = json.loads(store.artifact(store.children(ended.id)["blend"], "weights.json").read_text())
    assert set(weights) == {"linear", "forest"}


def test_a_blend_that_would_be_one_of_its_members_is_no_candidate(store, tmp_path, chain):
    asked = problem(tmp_path)
    written = yaml.safe_load(asked.read_text())
    same = {"estimator": "sklearn.linear_model.LogisticRegression"}
    written["models"] = dict.fromkeys(("linear", "second", "third"), same)
    written |= {"registry": {"name": "alone"}, "refit": False}
    asked.write_text(yaml.safe_dump(written))
    ended = store.project("main", problem=str(asked))
    assert ended.status == 0, ended.stderr
    children = store.children(ended.id)
    assert "no blend of the 3 candidates is better than linear alone" in children["blend"].data.tags["tabular.summary"]
    assert "tabular.model_uri" not in children["blend"].data.tags
    board = json.loads(store.artifact(ended.run, "leaderboard.json").read_text())
    candidates = [row[0] for row in board["data"]]
    assert candidates[0] == "linear"
    assert "blend" not in candidates
    about = {
        "model": children["blend"].info.run_id,
        "data": str(tmp_path / "table.csv"),
        "output": str(tmp_path / "scored.csv"),
    }
    refused = store.step("predict", **about)
    assert "holds no model: no blend of the 3 candidates is better than linear alone" in refused.stderr
    replayed = store.step("reproduce", run=children["blend"].info.run_id)
    assert "the same: run" in replayed.stdout, replayed.stdout


def test_models_of_another_data_set_are_not_blended(store, asked, children, tmp_path):
    other = store.step("etl", problem=str(problem(tmp_path, seed=2)))
    trained = ",".join(children[f"train {name}"].info.run_id for name in ("linear", "forest"))
    ended = store.step("blend", dataset=other.id, models=trained)
    assert ended.status != 0
    assert "was trained on another data set" in ended.stderr
