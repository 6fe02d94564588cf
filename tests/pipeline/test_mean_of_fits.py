"""LightGBM as the mean of several fits: in a search of a chain with a limit, where the problem says so, in a replay."""

import json
import time

import numpy as np
import pandas as pd
import pytest
import yaml

from steps.run import thread_budget
from steps.run.thread_budget import Time
from tests.running import Store

N = 600
TREE = {
    "estimator": "lightgbm.LGBMRegressor",
    "params": {"subsample": 0.7, "subsample_freq": 1, "colsample_bytree": 0.7},
    "space": {"num_leaves": {"type": "int", "low": 4, "high": 16}},
}
PROBLEM = {
    "name": "mean",
    "task": "regression",
    "data": {"source": "mean.csv", "target": "y"},
    "models": {
        "limited": TREE,
        "asked": {**TREE, "seeds": 3},
        "undrawn": {"estimator": TREE["estimator"], "space": TREE["space"], "seeds": 3},
        "plain": {"estimator": "lightgbm.LGBMRegressor", "params": {**TREE["params"], "n_estimators": 9}, "seeds": 2},
        "linear": {"estimator": "sklearn.linear_model.Ridge"},
    },
    "search": {"trials": 2, "folds": 3},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory, fork_server):
    """A store, with a table and its problem."""
    folder = tmp_path_factory.mktemp("mean")
    draw = np.random.default_rng(0)
    table = pd.DataFrame(draw.normal(size=(N, 4)), columns=list("abcd"))
    table["y"] = table["a"] + table["b"] ** 2 + draw.normal(size=N)
    table.to_csv(folder / "mean.csv", index=False)
    (folder / "mean.yaml").write_text(yaml.safe_dump(PROBLEM, sort_keys=False))
    return Store(folder, fork_server=fork_server)


@pytest.fixture(scope="module")
def step(store):
    """A function that runs a step on the data set, in so many seconds of a chain."""
    etl = store.step("etl", problem="mean.yaml")
    assert etl.status == 0, etl.stderr

    def run(name, model, seconds=None, **given):
        if seconds is not None:
            path = store.folder / f"{name} {model}"
            thread_budget.write(path, 1, Time(time.time() + seconds))
            given["share"] = str(path)
        ended = store.step(name, dataset=etl.id, model=model, **given)
        assert ended.status == 0, ended.stderr
        return ended

    run.dataset = etl.id
    return run


@pytest.fixture(scope="module")
def limited(store, step):
    """A search in seconds of a chain that are enough, and what it found, trained."""
    hpo = step("hpo", "limited", 1_000.0)
    return hpo, step("train", "limited", params=hpo.id)


def trees(store, ended):
    """The number of trees of the model that a run of train has logged."""
    model_id = ended.tags["tabular.model_uri"].rpartition("/")[2]
    (text,) = store.folder.glob(f"artifacts/**/{model_id}/**/regressor.txt")
    return text.read_text().count("\nTree=")


def found(store, hpo):
    """What a search has found."""
    return json.loads(store.artifact(hpo.run, "best_params.json").read_text())


def test_with_a_limit_for_the_chain_what_a_search_finds_is_the_mean_of_several_fits(store, limited):
    hpo, train = limited
    assert hpo.run.data.params["seeds"] == train.run.data.params["seeds"] == "4"
    for ended in limited:
        assert "the mean of 4 fits with different seeds" in ended.tags["tabular.summary"]
    assert trees(store, train) == 4 * found(store, hpo)["params"]["n_estimators"]


def test_its_replay_has_as_many_fits_and_the_same_bits_without_a_clock(step, limited):
    hpo, train = limited
    again = step("hpo", "limited", replays=hpo.id)
    assert again.run.data.params["seeds"] == "4"
    for name in ("params", "trials", "cross_validation"):
        assert again.tags[f"tabular.digest.{name}"] == hpo.tags[f"tabular.digest.{name}"]
    fitted = step("train", "limited", params=again.id)
    assert fitted.tags["tabular.digest.model"] == train.tags["tabular.digest.model"]


def test_without_a_limit_it_is_one_fit(store, step):
    hpo = step("hpo", "limited")
    assert "seeds" not in hpo.run.data.params
    assert found(store, hpo)["seeds"] == 1


def test_in_seconds_that_are_few_it_is_one_fit(step):
    assert "seeds" not in step("hpo", "limited", 0.01).run.data.params


def test_the_problem_can_say_how_many_fits(store, step):
    hpo = step("hpo", "asked")
    assert hpo.run.data.params["seeds"] == "3"
    train = step("train", "asked", params=hpo.id)
    assert trees(store, train) == 3 * found(store, hpo)["params"]["n_estimators"]
    assert trees(store, step("train", "plain")) == 2 * 9


def test_where_nothing_is_drawn_it_is_one_fit_and_nothing_says_otherwise(store, step):
    hpo = step("hpo", "undrawn")
    assert found(store, hpo)["seeds"] == 1
    for ended in (hpo, step("train", "undrawn", params=hpo.id), step("train", "undrawn")):
        assert "seeds" not in ended.run.data.params
        assert "the mean of" not in ended.tags["tabular.summary"]


def test_a_blend_says_of_how_many_fits_its_members_are_the_mean(store, step):
    plain, linear = (step("train", name) for name in ("plain", "linear"))
    blend = store.step("blend", dataset=step.dataset, models=f"{plain.id},{linear.id}")
    assert "% plain (the mean of 2 fits with different seeds)" in blend.tags["tabular.summary"], blend.stderr
    assert "% linear," in f"{blend.tags['tabular.summary']},"
    assert "plain (the mean of 2 fits with different seeds)" in blend.run.data.params["estimator"]


def test_each_of_the_fits_is_learnt_by_all_ranks(store, step):
    pytest.importorskip("distributed")
    one = step("train", "plain", engine_ranks=2)
    assert one.tags["tabular.summary"].endswith("the mean of 2 fits with different seeds, learnt by 2 ranks")
    assert trees(store, one) == 2 * 9


@pytest.mark.long  # test_dask.py shows it of one fit
def test_several_fits_of_all_ranks_have_the_same_bits_again(step):
    pytest.importorskip("distributed")
    one, again = (step("train", "plain", engine_ranks=2) for _ in range(2))
    assert one.tags["tabular.digest.model"] == again.tags["tabular.digest.model"]


@pytest.fixture(scope="module")
def chain(store):
    """A chain of the one model that the problem asks to be the mean of three fits."""
    problem = {**PROBLEM, "models": {"asked": PROBLEM["models"]["asked"]}}
    (store.folder / "one.yaml").write_text(yaml.safe_dump(problem, sort_keys=False))
    ended = store.step("main", problem="one.yaml")
    assert ended.status == 0, ended.stdout + ended.stderr
    return ended


def test_a_chain_cross_validates_evaluates_and_registers_the_mean(chain):
    assert chain.tags["tabular.outcome"] == "registered"
    assert "the mean of 3 fits with different seeds" in chain.stdout


def test_the_report_says_that_the_winner_is_the_mean_of_several_fits(store, chain):
    page = store.artifact(store.children(chain.id)["register"], "report.html").read_text()
    assert "<dt>fitted as</dt><dd>the mean of 3 fits with different seeds</dd>" in page
