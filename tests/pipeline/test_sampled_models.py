"""A model that learns from a stated sample of the rows: in the search, in train and in refit; scored on all; and said.

A decision tree that is fitted keeps how many rows it has learnt from.
"""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from steps import main
from tabular.problem import parse

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

ROWS, SAMPLE = 1000, 200
PROBLEM = {
    "name": "sampled",
    "data": {"source": "table.csv", "target": "y"},
    "models": {
        "tree": {
            "estimator": "sklearn.tree.DecisionTreeClassifier",
            "params": {"max_depth": 3},
            "space": {"min_samples_leaf": {"type": "int", "low": 5, "high": 20}},
            "rows": SAMPLE,
        },
        "whole": {"estimator": "sklearn.tree.DecisionTreeClassifier", "params": {"max_depth": 1}},
        "enough": {"estimator": "sklearn.tree.DecisionTreeClassifier", "params": {"max_depth": 1}, "rows": 800},
    },
    "search": {"folds": 3, "trials": 2},
    "blend": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampled")
    x, z = np.random.default_rng(5).normal(size=(2, ROWS)).round(4)
    y = np.where(np.abs(x) + np.abs(z) > 1.5, "yes", "no")
    pd.DataFrame({"x": x, "z": z, "y": y}).to_csv(folder / "table.csv", index=False)
    (folder / "sampled.yaml").write_text(yaml.safe_dump(PROBLEM))
    return folder


@pytest.fixture(scope="module")
def runs(store, folder):
    """The steps of a chain, by their names."""
    found = {}

    def step(name, entry_point, **parameters):
        ended = store.step(entry_point, problem=str(folder / "sampled.yaml"), **parameters)
        assert ended.status == 0, ended.stderr
        found[name] = ended

    step("etl", "etl")
    dataset = found["etl"].id
    step("hpo", "hpo", dataset=dataset, model="tree")
    step("tree", "train", dataset=dataset, model="tree", params=found["hpo"].id)
    for name in ("whole", "enough"):
        step(name, "train", dataset=dataset, model=name)
    models = ",".join(found[name].id for name in ("tree", "whole", "enough"))
    step("evaluate", "evaluate", dataset=dataset, models=models, searches=found["hpo"].id)
    assert found["evaluate"].tags["tabular.winner"] == "tree"
    about = {"evaluation": found["evaluate"].id, "dataset": dataset, "models": models}
    step("refit", "refit", **about, searches=found["hpo"].id)
    step("register", "register", **about, refit=found["refit"].id)
    return found


def fitted_on(store, ended):
    """How many rows the tree of a run has learnt from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        model = mlflow.pyfunc.load_model(ended.tags["tabular.model_uri"]).unwrap_python_model()
    return int(model.estimator.tree_.n_node_samples[0])


def test_the_final_fit_and_that_of_all_rows_learn_from_as_many_rows_as_the_problem_says(store, runs):
    assert [fitted_on(store, runs[name]) for name in ("tree", "whole", "refit")] == [SAMPLE, 800, SAMPLE]


def test_all_rows_are_scored(store, runs):
    assert len(pd.read_parquet(store.artifact(runs["tree"].run, "out_of_fold.parquet"))) == 800
    assert runs["evaluate"].run.data.params["rows_holdout"] == "200"


def test_a_sample_of_all_rows_changes_nothing(runs):
    for name in ("model", "scores", "out_of_fold"):
        assert runs["enough"].tags[f"tabular.digest.{name}"] == runs["whole"].tags[f"tabular.digest.{name}"]
    assert "rows_learnt" not in runs["enough"].run.data.params


def test_it_is_said_where_people_look(store, runs, tmp_path):
    for name in ("hpo", "tree"):
        assert "learnt from 200 of 800 rows" in runs[name].tags["tabular.summary"]
        assert "learnt from 200 of 800 rows" in runs[name].tags["mlflow.note.content"]
    assert "tree learnt from 200 of 1,000 rows" in runs["refit"].tags["tabular.summary"]
    assert "tree learnt from 200 of 800 rows" in runs["evaluate"].tags["mlflow.note.content"]
    board = json.loads(store.artifact(runs["evaluate"].run, "leaderboard.json").read_text())
    learnt = {row[board["columns"].index("model")]: row[board["columns"].index("rows_learnt")] for row in board["data"]}
    assert learnt == {"tree": 200, "whole": 800, "enough": 800}
    rows = main.leaderboard(runs["evaluate"].run, tmp_path)
    shown = main._shown(rows[0], parse(yaml.safe_dump(PROBLEM), "sampled.yaml"))
    assert (shown["model"], shown["rows_learnt"]) == ("tree", SAMPLE)
    page = store.artifact(runs["register"].run, "report.html").read_text()
    card = store.versions("sampled_classifier")[0].description
    assert "learnt from: 200 of 800 rows" in card
    assert "Of these, tree learnt from 200 of 1,000 rows." in card
    assert "tree learnt from 200 of 800 rows" in page
