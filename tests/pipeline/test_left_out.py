"""A candidate whose estimator refuses the rows is left out, which is said; the chain ends with the others.

The rows are the answer of a database to a query, and so these chains show too what becomes of that answer.
"""

import json
import sqlite3
from contextlib import closing

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.running import PROJECT, Store

# The latest row, which is held out, has a number that no float32 holds: a forest cannot predict it.
PROBLEM = """
name: odd
data:
  source: sqlite:///odd.db
  query: select x, z, day, y from measured order by day
  target: y
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
    with closing(sqlite3.connect(folder / "odd.db")) as database:
        frame.to_sql("measured", database, index=False)
    (folder / "odd.yaml").write_text(PROBLEM)
    store = Store(folder, fork_server=fork_server)
    return store, store.project(problem="odd.yaml")


@pytest.fixture(scope="module")
def again(place):
    """The same chain once more."""
    return place[0].project(problem="odd.yaml")


@pytest.fixture(scope="module")
def replay(place, again):
    """A replay of that, while the database gives another answer; and a run of etl on the answer of then."""
    if not (PROJECT / ".git").exists():
        pytest.skip("the project is not a git clone")
    store, _ = place
    path = store.folder / "odd.db"
    before = path.read_bytes()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("delete from measured where day < 80")
    other = store.step("etl", problem="odd.yaml")
    with pytest.MonkeyPatch.context() as patch:
        # another machine, which has kept no answer
        patch.setitem(store.environment, "XDG_CACHE_HOME", str(store.folder / "cache"))
        ended = store.project("reproduce", run=again.id)
    path.write_bytes(before)
    return ended, other


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


@pytest.mark.parametrize("step", ["main", "evaluate"])
def test_each_that_failed_is_a_row_of_the_leaderboard_with_its_reason_and_its_run(place, step):
    store, ended = place
    children = store.children(ended.id)
    run = ended.run if step == "main" else children[step]
    board = json.loads(store.artifact(run, "leaderboard.json").read_text())
    rows = {row["model"]: row for row in (dict(zip(board["columns"], row, strict=True)) for row in board["data"])}
    assert list(rows) == ["logistic", "forest", "neighbours", "searched"]
    assert (rows["logistic"]["gate"], rows["logistic"]["reason"]) == ("passed", None)
    for model, why in {"forest": "float32", "neighbours": "n_neighbors", "searched": "all 2 trials failed"}.items():
        assert (rows[model]["gate"], rows[model]["roc_auc"]) == ("failed", None)
        assert why in rows[model]["reason"]
        assert "\n" not in rows[model]["reason"]
        assert rows[model]["run"] == children[f"train {model}"].info.run_id


def test_the_table_at_the_end_shows_which_failed(place):
    store, ended = place
    lines = ended.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("  failed")] == ["forest", "neighbours", "searched"]
    page = store.artifact(store.children(ended.id)["register"], "report.html").read_text()
    assert page.count("<td>failed</td>") == 3


def test_a_number_too_large_for_a_forest_is_said_before_it_fails(place):
    _, ended = place
    assert "'x' holds 3e+39, too large for forests" in ended.stdout


def test_the_run_that_failed_says_why_in_one_line(place):
    store, ended = place
    children = store.children(ended.id)
    for task in ("train neighbours", "hpo searched", "train searched"):
        run = children[task]
        assert run.info.status == "FAILED"
        assert run.data.tags["tabular.left_out"] == task.split()[1]
        assert "\n" not in run.data.tags["tabular.reason"]


def test_what_failed_is_tried_again_and_what_came_of_the_others_is_reused(place, again):
    store, ended = place
    assert again.status == 0, again.stderr
    assert again.stdout.count("reused ") == 6  # etl, both trains that ended well, blend, evaluate, refit
    assert {"train neighbours", "hpo searched", "train searched"} <= set(store.children(again.id))
    assert again.tags["tabular.left_out"] == ended.tags["tabular.left_out"]


def test_an_answer_of_a_database_that_is_the_same_is_not_worked_on_again(again):
    assert "reused" in next(line for line in again.stdout.splitlines() if line.strip().startswith("etl"))


def test_a_replay_fails_in_the_same_places_and_is_the_same(replay):
    ended, _ = replay
    assert ended.status == 0, ended.stdout + ended.stderr
    assert ended.tags["tabular.outcome"] == "same"


def test_a_chain_of_a_query_is_replayed_from_the_answer_of_then_when_the_database_gives_another(place, replay):
    store, first = place
    ended, other = replay
    then = store.children(first.id)["etl"].data.tags["tabular.data_digest"]
    assert other.tags["tabular.data_digest"] != then
    assert ended.tags["tabular.outcome"] == "same"


def test_a_chain_fails_with_a_candidate_that_it_requires(place):
    store, _ = place
    required = yaml.safe_load(PROBLEM)
    required["models"]["neighbours"]["required"] = True
    del required["models"]["searched"]
    (store.folder / "required.yaml").write_text(yaml.safe_dump(required))
    ended = store.project(problem="required.yaml")
    assert ended.status == 1
    assert ended.tags["step.failed"] == "train neighbours"
    assert "n_neighbors" in ended.tags["tabular.reason"]


def test_an_evaluation_fails_where_a_required_candidate_refuses_the_holdout(place):
    store, ended = place
    required = yaml.safe_load(PROBLEM)
    required["models"]["forest"]["required"] = True
    (store.folder / "forest.yaml").write_text(yaml.safe_dump(required))
    runs = {name: run.info.run_id for name, run in store.children(ended.id).items()}
    models = f"{runs['train logistic']},{runs['train forest']}"
    again = store.step("evaluate", problem="forest.yaml", dataset=runs["etl"], models=models)
    assert again.status == 1
    assert again.tags["tabular.reason"].startswith("models.forest: it is required, and fails: ")


def test_a_chain_of_which_no_candidate_is_left_fails(place):
    store, _ = place
    models = yaml.safe_load(PROBLEM)["models"]
    told = yaml.safe_load(PROBLEM) | {"models": {"neighbours": models["neighbours"]}}
    (store.folder / "none.yaml").write_text(yaml.safe_dump(told))
    ended = store.project(problem="none.yaml")
    assert ended.status == 1
    assert ended.tags["step.failed"] == "train neighbours"
    assert "n_neighbors" in ended.tags["tabular.reason"]
