"""LightGBM on a large table: searched, trained and fitted again on bins, to the same kind of model as in memory.

Here a table of hundreds of rows counts as large, by a lower threshold.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabular.data import size
from tabular.search.racing import TrialRunner

pytestmark = pytest.mark.usefixtures("undrawn")

ROWS = 900
PROBLEM = """
name: large
data: {source: table.csv, target: y, weight: weight, types: {code: category}}
models:
  found:
    estimator: lightgbm.LGBMRegressor
    space:
      num_leaves: {type: int, low: 4, high: 8}
      preprocessing.categories: {type: choice, options: [ordinal, native]}
  given:
    estimator: lightgbm.LGBMRegressor
    params: {n_estimators: 12, num_leaves: 5, subsample: 0.8, subsample_freq: 1}
    preprocessing: {missing: impute, dates: [days, month]}
  scaled: {estimator: lightgbm.LGBMRegressor, params: {n_estimators: 9}, preprocessing: {numbers: standardize}}
  refused:
    estimator: lightgbm.LGBMRegressor
    params: {objective: gamma}
    space: {num_leaves: {type: int, low: 4, high: 8}}
search: {trials: 3, folds: 3, metric: rmse}
gate: {require: {rmse: {max: 1000}}}
"""


def table() -> pd.DataFrame:
    """Numbers, words with blanks around them, codes, truths and dates, with gaps in each; and weights, some of 0."""
    draw = np.random.default_rng(5)
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(draw.integers(0, 300, ROWS), "D")
    made = pd.DataFrame(
        {
            "amount": draw.normal(size=ROWS).round(2),
            "word": draw.choice(["red", " red", "green", "blue", "n/a"], ROWS),
            "code": draw.choice([3, 7, 20], ROWS),
            "is_new": draw.choice(["true", "false"], ROWS),
            "day": day.strftime("%Y-%m-%d"),
        }
    ).astype(object)
    signal = made["amount"].astype(float) + (made["word"].str.strip() == "red") + draw.normal(size=ROWS)
    for name in made:
        made.loc[draw.random(ROWS) < 0.05, name] = None
    return made.assign(y=signal.round(3), weight=draw.choice([0, 1, 2.5], ROWS, p=[0.1, 0.6, 0.3]))


def done(store, step, **parameters):
    ended = store.step(step, **parameters)
    assert ended.status == 0, ended.stderr
    return ended


def learnt(store, ended):
    """The files of a logged model that are learnt from all of its rows, and not from the folds: name: bytes."""
    logged = store.client.get_logged_model(ended.tags["tabular.model_uri"].removeprefix("models:/"))
    folder = Path(logged.artifact_location.removeprefix("file://")) / "artifacts" / "model"
    return {name: (folder / name).read_bytes() for name in ("regressor.txt", "features.skops")}


@pytest.fixture(scope="module")
def etl(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    table().to_csv(folder / "table.csv", index=False)
    (folder / "large.yaml").write_text(PROBLEM)
    return done(store, "etl", problem=str(folder / "large.yaml"))


@pytest.fixture(scope="module")
def in_memory(store, etl):
    """A model of the table as long as it is small, what is measured of it, and its fit on all rows."""
    train = done(store, "train", dataset=etl.id, model="given")
    evaluation = done(store, "evaluate", dataset=etl.id, models=train.id)
    return train, evaluation, done(store, "refit", dataset=etl.id, evaluation=evaluation.id, models=train.id)


@pytest.fixture(scope="module")
def large(in_memory):
    """From here on the table is large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(size, "LARGE_CELLS", 1000)
        yield


@pytest.fixture(scope="module")
def search(store, etl, large):
    return done(store, "hpo", dataset=etl.id, model="found")


@pytest.fixture(scope="module")
def train(store, etl, large):
    return done(store, "train", dataset=etl.id, model="given")


def test_a_search_says_how_it_reads_the_rows_and_how_long_it_will_take(search):
    plan, forecast, *_ = search.stdout.splitlines()
    assert "large table: 6" in plan
    assert "read in batches, LightGBM's bins built once" in plan
    assert "hpo found: about " in forecast


def test_a_search_finds_the_iterations_and_the_preprocessing(store, search):
    assert int(search.run.data.params["best_n_estimators"]) > 0
    assert search.run.data.params["best_preprocessing.categories"] in {"ordinal", "native"}


def test_what_it_found_is_trained_blended_and_fitted_on_all_rows(store, etl, search, train):
    found = done(store, "train", dataset=etl.id, model="found", params=search.id)
    assert "training_rmse" in found.run.data.metrics
    models = f"{found.id},{train.id}"
    done(store, "blend", dataset=etl.id, models=models)
    evaluation = done(store, "evaluate", dataset=etl.id, models=found.id)
    again = done(store, "refit", dataset=etl.id, evaluation=evaluation.id, models=found.id, searches=search.id)
    assert "found on all 7" in again.tags["tabular.summary"]


def test_the_model_is_the_one_that_is_fitted_in_memory(store, in_memory, train):
    assert "large table" in train.stdout
    assert learnt(store, train) == learnt(store, in_memory[0])


def test_the_model_of_all_rows_is_the_one_that_is_fitted_in_memory(store, etl, large, in_memory):
    judged, evaluation, refitted = in_memory
    bins = done(store, "refit", dataset=etl.id, evaluation=evaluation.id, models=judged.id)
    assert learnt(store, bins) == learnt(store, refitted)


def test_a_model_that_needs_all_rows_at_once_says_which_key_asks_for_it(store, etl, large):
    ended = done(store, "train", dataset=etl.id, model="scaled")
    assert "all rows in memory at once, which models.scaled.preprocessing.numbers asks for" in ended.stdout


def test_a_search_whose_trials_are_all_refused_leaves_the_model_out_and_says_why(store, etl, large):
    ended = store.step("hpo", dataset=etl.id, model="refused")
    assert ended.lines == ["tabular: search: all 3 trials failed: [gamma]: at least one target label is negative"]
    assert ended.tags["tabular.left_out"] == "refused"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a step has no processes of its own")
def test_a_process_that_is_killed_before_the_first_trial_leaves_the_model_out(store, etl, large, monkeypatch):
    monkeypatch.setattr(TrialRunner, "seconds_an_iteration", lambda self, threads: os.kill(os.getpid(), signal.SIGKILL))
    ended = store.step("hpo", dataset=etl.id, model="found", resume="false")
    (line,) = ended.lines
    assert line.startswith("tabular: search: a process that measured an iteration was killed; if memory ran out, give")
    assert ended.tags["tabular.left_out"] == "found"


def test_a_search_at_a_cluster_whose_workers_build_the_bins_finds_the_same(store, etl, search):
    pytest.importorskip("distributed", reason="requirements-dask.txt is not installed here")
    there = done(store, "hpo", dataset=etl.id, model="found", engine="dask", resume="false")
    for what in ("trials", "params", "cross_validation"):
        name = f"tabular.digest.{what}"
        assert there.tags[name] == search.tags[name]
