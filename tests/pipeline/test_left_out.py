"""A candidate whose estimator refuses the rows is left out, which is said; the chain ends with the others."""

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.running import Store

# The latest row, which is held out, has a number that no float32 holds: a forest cannot predict it.
PROBLEM = """
name: odd
data: {source: table.csv, target: y}
split: {by: time, column: day}
models:
  logistic: {estimator: sklearn.linear_model.LogisticRegression}
  forest: {estimator: sklearn.ensemble.ExtraTreesClassifier, params: {n_estimators: 5}}
  neighbours: {estimator: sklearn.neighbors.KNeighborsClassifier, params: {n_neighbors: 1000}}
  searched:
    estimator: sklearn.tree.DecisionTreeClassifier
    space: {max_features: {type: float, low: 2.1, high: 2.9}}
    start: [{max_features: 2.5}]
    params: {max_depth: -1}
search: {trials: 2, folds: 2}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, fork_server):
    """A store, and a chain of which one candidate of four is left."""
    folder = tmp_path_factory.mktemp("odd")
    x, z = np.random.default_rng(0).normal(size=(2, 160))
    x[-1] = 3e39
    frame = pd.DataFrame({"x": x, "z": z, "day": np.arange(160), "y": np.where(z > 0, "yes", "no")})
    frame.to_csv(folder / "table.csv", index=False)
    (folder / "odd.yaml").write_text(PROBLEM)
    store = Store(folder, fork_server=fork_server)
    return store, store.project(problem="odd.yaml")


def test_the_chain_ends_with_the_candidate_that_is_left(place):
    _, ended = place
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.outcome"] == "registered"
    assert ended.tags["tabular.winner"] == "logistic"
    assert set(ended.tags["tabular.left_out"].split(", ")) == {"forest", "neighbours", "searched"}


def test_each_that_is_left_out_is_told_where_people_look(place):
    store, ended = place
    said = [line for line in ended.stdout.splitlines() if line.startswith("  left out: ")]
    children = store.children(ended.id)
    page = store.artifact(children["register"], "report.html").read_text()
    card = store.versions("odd_classifier")[0].description
    for model, why in {"forest": "float32", "neighbours": "n_neighbors", "searched": "all 2 trials failed"}.items():
        assert any(line.startswith(f"  left out: {model} (") and why in line for line in said), said
        assert f"{model} was left out: " in page
        assert f"**Left out**: {model} (" in card
        assert model in children["evaluate"].data.tags["mlflow.note.content"]


def test_the_run_that_failed_says_why_in_one_line(place):
    store, ended = place
    children = store.children(ended.id)
    for task in ("train neighbours", "hpo searched", "train searched"):
        run = children[task]
        assert run.info.status == "FAILED"
        assert run.data.tags["tabular.left_out"] == task.split()[1]
        assert "\n" not in run.data.tags["tabular.reason"]


def test_what_failed_is_tried_again_and_what_came_of_the_others_is_reused(place):
    store, _ = place
    again = store.project(problem="odd.yaml")
    assert again.status == 0, again.stderr
    assert again.stdout.count("reused ") == 4  # etl, both trains that ended well, evaluate
    assert {"train neighbours", "hpo searched", "train searched"} <= set(store.children(again.id))
    assert again.tags["tabular.left_out"] == store.client.get_run(place[1].id).data.tags["tabular.left_out"]


def test_a_replay_fails_in_the_same_places_and_is_the_same(place):
    store, ended = place
    replay = store.project("reproduce", run=ended.id)
    assert replay.status == 0, replay.stdout + replay.stderr
    assert replay.tags["tabular.outcome"] == "same"


def test_a_chain_of_which_no_candidate_is_left_fails(place):
    store, _ = place
    models = yaml.safe_load(PROBLEM)["models"]
    told = yaml.safe_load(PROBLEM) | {"models": {"neighbours": models["neighbours"]}}
    (store.folder / "none.yaml").write_text(yaml.safe_dump(told))
    ended = store.project(problem="none.yaml")
    assert ended.status == 1
    assert ended.tags["step.failed"] == "train neighbours"
    assert "n_neighbors" in ended.tags["tabular.reason"]
