"""A chain in the seconds that it is given: lighter models, models that are left out, and the same bits in a replay."""

import json
import time
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import yaml

from steps.run import thread_budget
from steps.run.thread_budget import Time
from tests.running import PROJECT, Store

N = 1_500
# Of a net that does not end; on so few rows it is not tried how long a fit takes.
ENDLESS = {"max_iter": 10**8, "n_iter_no_change": 10**8, "tol": 0.0}
PROBLEM = {
    "name": "timed",
    "data": {"source": "timed.csv", "target": "y"},
    "models": {
        "logistic": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "forest": {"estimator": "sklearn.ensemble.RandomForestClassifier", "params": {"n_estimators": 20}},
        "endless": {"estimator": "sklearn.neural_network.MLPClassifier", "params": ENDLESS},
        "lightgbm": {"estimator": "lightgbm.LGBMClassifier", "space": "default"},
    },
    "search": {"trials": 3, "folds": 3},
}


@pytest.fixture(scope="module")
def timed(tmp_path_factory, fork_server):
    """A store, with a table and its problem."""
    folder = tmp_path_factory.mktemp("timed")
    draw = np.random.default_rng(0)
    table = pd.DataFrame(draw.normal(size=(N, 6)), columns=list("abcdef"))
    table["y"] = (table["a"] + table["b"] ** 2 + draw.normal(size=N) > 1).astype(int)
    table.to_csv(folder / "timed.csv", index=False)
    (folder / "timed.yaml").write_text(yaml.safe_dump(PROBLEM, sort_keys=False))
    return Store(folder, fork_server=fork_server)


@pytest.fixture(scope="module")
def etl(timed):
    """The data set."""
    ended = timed.step("etl", problem="timed.yaml")
    assert ended.status == 0, ended.stderr
    return ended.id


@pytest.fixture(scope="module")
def share(timed):
    """A function that makes the file by which main gives a step its seconds."""

    def write(name, seconds):
        path, until = timed.folder / name, time.time() + seconds
        thread_budget.write(path, 1, Time(until, last=until))
        return str(path)

    return write


@pytest.fixture(scope="module")
def lighter(timed, etl, share):
    """A forest in so few seconds that a quarter of the rows is all that fits in."""
    with mock.patch("tabular.model.budget.share_that_fits", return_value=0.25):
        ended = timed.step("train", dataset=etl, model="forest", share=share("lighter", 100.0))
    assert ended.status == 0, ended.stderr
    return ended


def test_a_model_that_would_take_too_long_is_fitted_on_fewer_rows_which_is_said(lighter):
    assert lighter.run.data.params["share_of_rows"] == lighter.run.data.params["max_samples"] == "0.25"
    assert "on 25% of the rows, to fit into the chain's seconds" in lighter.tags["tabular.summary"]


def test_its_replay_is_the_same_without_a_clock(timed, etl, lighter):
    again = timed.step("train", dataset=etl, model="forest", replays=lighter.id)
    assert again.status == 0, again.stderr
    for name in ("model", "scores"):
        assert again.tags[f"tabular.digest.{name}"] == lighter.tags[f"tabular.digest.{name}"]
    assert again.run.data.params["share_of_rows"] == lighter.run.data.params["share_of_rows"]


def test_a_model_that_fits_is_the_same_with_a_clock_and_without(timed, etl, share):
    with_one, without = (
        timed.step("train", dataset=etl, model="logistic", share=share(f"seconds {seconds}", seconds))
        for seconds in (1_000.0, float("inf"))
    )
    assert "share_of_rows" not in with_one.run.data.params
    assert with_one.tags["tabular.digest.model"] == without.tags["tabular.digest.model"]


@pytest.fixture(scope="module")
def late(timed, etl, share):
    """A forest for which no share of the rows is small enough."""
    with mock.patch("tabular.model.budget.share_that_fits", return_value=0.0):
        return timed.step("train", dataset=etl, model="forest", share=share("late", 100.0))


def test_a_model_that_does_not_fit_in_fails_alone(late):
    assert late.status == 1
    assert late.tags["tabular.left_out"] == "forest"
    assert "models.forest: it did not fit into the seconds of the chain" in late.tags["tabular.reason"]


def test_its_replay_fails_too_whatever_its_clock_says(timed, etl, late):
    again = timed.step("train", dataset=etl, model="forest", replays=late.id)
    assert again.status == 1
    assert again.tags["tabular.reason"] == late.tags["tabular.reason"]
    assert again.tags["tabular.out_of_time"] == "true"


def test_a_model_that_main_waits_for_is_fitted_on_the_fewest_rows_that_are_of_use(timed, etl):
    path = timed.folder / "waits"
    thread_budget.write(path, 1, Time(time.time() + 100.0))
    with mock.patch("tabular.model.budget.share_that_fits", return_value=0.0):
        ended = timed.step("train", dataset=etl, model="logistic", share=str(path))
    assert ended.status == 0, ended.stderr
    assert "share_of_rows" not in ended.run.data.params  # all of so few rows


@pytest.fixture(scope="module")
def chain(timed):
    """A chain in seconds that are too few for one of its models."""
    ended = timed.project(problem="timed.yaml", timeout=60, reuse="false")
    assert ended.status == 0, ended.stdout + ended.stderr
    return ended


def test_a_model_that_takes_too_long_is_ended_and_left_out(timed, chain):
    assert "endless" in chain.tags["tabular.left_out"].split(", ")  # and others, on a machine that is very slow today
    run = timed.children(chain.id)["train endless"]
    assert run.info.status == "FAILED"
    assert run.data.tags["tabular.out_of_time"] == "true"
    assert "left out: endless (models.endless: it did not fit into the seconds of the chain" in chain.stdout


def test_the_chain_says_what_it_planned_and_what_became_of_it(timed, chain):
    assert "  60 s for the chain: " in chain.stdout
    told = json.loads(timed.artifact(chain.run, "budget.json").read_text())
    steps = [row[told["columns"].index("step")] for row in told["data"]]
    tasks = [
        "etl",
        "hpo lightgbm",
        *(f"train {model}" for model in PROBLEM["models"]),
        "blend",
        "evaluate",
        "refit",
        "register",
    ]
    assert steps == [*tasks, "chain"]


def test_a_chain_says_why_most_of_its_seconds_are_left_and_how_to_use_them(timed):
    few = {**PROBLEM, "models": {"lightgbm": PROBLEM["models"]["lightgbm"]}, "refit": False}
    (timed.folder / "few.yaml").write_text(yaml.safe_dump(few, sort_keys=False))
    ended = timed.project(problem="few.yaml", timeout=1_000)
    assert ended.status == 0, ended.stdout + ended.stderr
    said = " of 1000 s are left, since a search ends after 3 trials: -P trials=15 tries more"
    assert said in ended.stdout
    assert said in ended.tags["mlflow.note.content"]
    again = timed.project(problem="few.yaml", timeout=1_000)  # all of it is reused, which takes no seconds
    assert " s are left" not in again.stdout


@pytest.mark.long  # of single steps, the tests above show it
def test_the_replay_of_the_chain_has_the_same_bits(timed, chain):
    if not (PROJECT / ".git").exists():
        pytest.skip("the project is not a git clone")
    ended = timed.project("reproduce", run=chain.id)
    assert ended.status == 0, ended.stdout + ended.stderr
    assert ended.tags["tabular.outcome"] == "same"
