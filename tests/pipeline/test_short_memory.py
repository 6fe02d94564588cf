"""A candidate for which memory is too short is left out before its fits begin; the others go on; no key knows of it."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from steps.run import memory_room
from tabular.data import size

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

FOREST = "sklearn.ensemble.RandomForestClassifier"
PROBLEM = {
    "name": "short_memory",
    "data": {"source": "table.csv", "target": "y"},
    "models": {
        "logistic": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "forest": {"estimator": FOREST, "params": {"n_estimators": 200, "min_samples_leaf": 5}},
        "searched": {
            "estimator": FOREST,
            "params": {"n_estimators": 200},
            "space": {"min_samples_leaf": {"type": "int", "low": 2, "high": 9}},
        },
    },
    "search": {"folds": 2, "trials": 2},
}


@pytest.fixture(scope="module")
def short(store, tmp_path_factory):
    """The runs of steps on a table that is large there, where memory is short for forests; by their names."""
    folder = tmp_path_factory.mktemp("short_memory")
    x, z = np.random.default_rng(4).normal(size=(2, 1000)).round(4)
    pd.DataFrame({"x": x, "z": z, "y": np.where(x + z > 0.3, "yes", "no")}).to_csv(folder / "table.csv", index=False)
    (folder / "problem.yaml").write_text(yaml.safe_dump(PROBLEM))
    runs = {"etl": store.step("etl", problem=str(folder / "problem.yaml"))}
    about = {"problem": str(folder / "problem.yaml"), "dataset": runs["etl"].id}

    def step(name, bytes_, entry_point="train", **parameters):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(size, "LARGE_CELLS", 100)
            patch.setattr(memory_room, "room", lambda share: bytes_)
            runs[name] = store.step(entry_point, **about, **parameters)

    step("logistic", 1e6, model="logistic")
    step("forest", 1e6, model="forest")
    step("forest again", 2e6, model="forest")
    step("forest with enough", 1e9, model="forest")
    step("searched", 1e6, "hpo", model="searched")
    for name in ("forest", "forest again"):
        models = ",".join([runs["logistic"].id, runs[name].id])
        step(f"evaluate without {name}", 1e9, "evaluate", models=models)
    step("replay", 1e9, model="forest", replays=runs["forest"].id)
    runs["not large"] = store.step("train", **about, model="forest")
    return runs


@pytest.mark.parametrize(("name", "model"), [("forest", "forest"), ("searched", "searched")])
def test_what_would_not_fit_fails_before_it_begins_in_one_line(short, name, model):
    ended = short[name]
    assert ended.status == 1
    reason = ended.tags["tabular.reason"]
    assert reason.startswith(f"models.{model}: a ")
    assert "and this step has 1 MB: " in reason
    assert reason.endswith("or leave the model out")
    assert ended.tags["tabular.left_out"] == model
    assert ended.stderr.strip() == f"tabular: {reason}"


def test_the_evaluation_goes_on_without_it_and_says_why(store, short):
    ended = short["evaluate without forest"]
    assert ended.status == 0, ended.stderr
    assert "forest is left out: models.forest: a fit on 800 rows" in ended.tags["mlflow.note.content"]
    board = json.loads(store.artifact(ended.run, "leaderboard.json").read_text())
    failed = dict(zip(board["columns"], board["data"][-1], strict=True))
    assert (failed["model"], failed["gate"]) == ("forest", "failed")
    assert failed["reason"].startswith("models.forest: a fit on 800 rows")


def test_how_much_memory_there_was_is_in_no_key(short):
    one, other = (short[f"evaluate without {name}"] for name in ("forest", "forest again"))
    assert short["forest"].tags["tabular.reason"] != short["forest again"].tags["tabular.reason"]
    assert one.tags["tabular.key"] == other.tags["tabular.key"]


def test_its_replay_fails_too_where_there_is_memory_enough(short):
    assert short["replay"].status == 1
    for name in ("tabular.reason", "tabular.left_out", "tabular.out_of_memory"):
        assert short["replay"].tags[name] == short["forest"].tags[name]


def test_a_forest_of_float32_rows_has_the_scores_of_one_of_doubles(short):
    enough, doubles = short["forest with enough"], short["not large"]
    assert enough.status == 0, enough.stderr
    for name in ("scores", "out_of_fold"):
        assert enough.tags[f"tabular.digest.{name}"] == doubles.tags[f"tabular.digest.{name}"]
