"""XGBoost and CatBoost by their import paths: a chain, its models served and asked in a batch, and its replay."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.chains import clone_of_working_files
from tests.model.servers import assert_served_as_scored
from tests.running import Store

pytestmark = pytest.mark.slow

for package in ("xgboost", "catboost"):
    pytest.importorskip(package, reason="requirements-boosting.txt is not installed here")

PROBLEM = """
name: boosters
data: {source: table.csv, target: y}
models:
  xgboost:
    estimator: xgboost.XGBClassifier
    params: {n_estimators: 8, monotone_constraints: {x: 1}}
    space: {max_depth: {type: int, low: 2, high: 4}}
  catboost:
    estimator: catboost.CatBoostClassifier
    params: {iterations: 8}
    space: {depth: {type: int, low: 2, high: 4}}
search: {trials: 2, folds: 2}
"""
FILES = {"xgboost": "booster.ubj", "catboost": "booster.cbm"}
MODELS = [*FILES]


@pytest.fixture(scope="module")
def place(tmp_path_factory, fork_server):
    """A folder with a clone and a table, a store, and a chain of both kinds of boosters."""
    folder = tmp_path_factory.mktemp("boosters")
    clone_of_working_files(folder / "project")
    x, z = np.random.default_rng(5).normal(size=(2, 400))
    pd.DataFrame({"x": x, "z": z, "y": np.where(x + z / 4 > 0, "yes", "no")}).to_csv(folder / "table.csv", index=False)
    (folder / "boosters.yaml").write_text(PROBLEM)
    store = Store(folder, fork_server=fork_server)
    ended = store.project(uri=str(folder / "project"), problem="boosters.yaml", jobs=1)
    assert ended.status == 0, ended.stdout + ended.stderr
    return folder, store, ended


def test_the_chain_ends_with_a_registered_booster_and_no_candidate_is_left_out(place):
    _, _, ended = place
    assert ended.tags["tabular.outcome"] == "registered"
    assert ended.tags["tabular.winner"] in MODELS
    assert "tabular.left_out" not in ended.tags


@pytest.mark.parametrize("model", MODELS)
def test_what_is_served_and_what_is_scored_in_a_batch_are_equal(place, model, tmp_path):
    folder, store, ended = place
    run = store.children(ended.id)[f"train {model}"]
    assert_served_as_scored(store, run, folder / "table.csv", tmp_path)


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_its_librarys_own_file_and_requires_that_library_alone(place, model):
    _, store, ended = place
    run = store.children(ended.id)[f"train {model}"]
    other = MODELS[1 - MODELS.index(model)]
    model_id = run.data.tags["tabular.model_uri"].removeprefix("models:/")
    local = Path(store.client.get_logged_model(model_id).artifact_location.removeprefix("file://"))
    assert sorted(path.name for path in (local / "artifacts" / "model").iterdir()) == [
        FILES[model],
        "features.skops",
        "model.json",
    ]
    required = (local / "requirements.txt").read_text()
    assert f"{model}==" in required
    assert f"{other}==" not in required


def test_the_chain_once_more_is_the_same(place):
    folder, store, ended = place
    again = store.project("reproduce", uri=str(folder / "project"), run=ended.id, jobs=1)
    assert again.status == 0, again.stdout + again.stderr
    assert again.tags["tabular.outcome"] == "same"
    rows = json.loads(store.artifact(again.run, "replay.json").read_text())["data"]
    assert {row[2] for row in rows} == {"same"}
    assert {"train xgboost", "train catboost"} <= {row[0] for row in rows}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("believed", [0, 1])
def test_a_booster_learns_from_the_rows_that_weigh_most(place, tmp_path, model, believed):
    _, store, _ = place
    x = np.random.default_rng(7).normal(size=400)
    source = np.arange(400) % 2  # the rows of one source say the opposite of the other's
    y = np.where((x > 0) == (source == 0), "yes", "no")
    pd.DataFrame({"x": x, "w": np.where(source == believed, 30.0, 1.0), "y": y}).to_csv(tmp_path / "t.csv", index=False)
    free = PROBLEM.replace(", monotone_constraints: {x: 1}", "")
    (tmp_path / "p.yaml").write_text(free.replace("table.csv, target: y", "t.csv, target: y, weight: w"))
    etl = store.step("etl", problem=str(tmp_path / "p.yaml"))
    trained = store.step("train", dataset=etl.id, model=model)
    assert trained.status == 0, trained.stderr
    pd.DataFrame({"x": [-1.5, 1.5]}).to_csv(tmp_path / "ask.csv", index=False)
    scored = store.step("predict", model=trained.id, data=tmp_path / "ask.csv", output=tmp_path / "answer.csv")
    assert scored.status == 0, scored.stderr
    assert pd.read_csv(tmp_path / "answer.csv")["label"].tolist() == [["no", "yes"], ["yes", "no"]][believed]
