"""The holdout of a large table: read a batch at a time, it is judged as at once, but for intervals of a sample."""

import contextlib
import json

import numpy as np
import pandas as pd
import pytest

from steps.run.tags import OF_A_STEP
from tabular.data import batches, size
from tabular.evaluation import bootstrap, slices

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

N, HELD, SAMPLED = 1_500, 300, 60
YAML = """
name: large
data: {{source: {source}, target: y, drop: {{sex: no model may see it}}}}
models:
  logistic: {{estimator: sklearn.linear_model.LogisticRegression}}
  lightgbm: {{estimator: lightgbm.LGBMClassifier, params: {{n_estimators: 20}}}}
search: {{metric: roc_auc, folds: 3}}
evaluation: {{slices: [town, sex, visits]}}
"""


def write(folder):
    """A table with all kinds of columns, and values that are missing; its problem's file."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"x": draw.normal(size=N), "visits": draw.integers(0, 50, N)})
    frame["town"], frame["sex"] = draw.choice(["Aix", "Cork", "Évora"], N), draw.choice(["f", "m"], N)
    frame["member"] = (draw.random(N) < 0.5).astype(object)
    frame["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(draw.integers(0, 700, N), "D")
    score = frame["x"] + frame["visits"] / 40 + (frame["town"] == "Cork") + draw.normal(size=N)
    for name in ("x", "town", "member", "day"):
        frame.loc[draw.random(N) < 0.05, name] = None
    frame["y"] = (score > 1).map({True: "yes", False: "no"})
    frame.to_csv(folder / "rows.csv", index=False)
    (folder / "large.yaml").write_text(YAML.format(source=folder / "rows.csv"))
    return folder / "large.yaml"


@contextlib.contextmanager
def large():
    """A table of 100 cells is large, and a batch of it has 64 rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(size, "LARGE_CELLS", 100)
        patch.setattr(batches, "BATCH_ROWS", 64)
        patch.setattr(bootstrap, "ROWS_OF_LARGE", SAMPLED)
        patch.setattr(slices, "ROWS_OF_LARGE", SAMPLED)
        yield


class Lab:
    """The same candidates evaluated at once, and as those of a large table."""

    def __init__(self, store, folder):
        self.store, self.table = store, folder / "rows.csv"
        self.etl = self.ran("etl", problem=str(write(folder)))
        self.trained = [self.ran("train", dataset=self.etl.id, model=name).id for name in ("logistic", "lightgbm")]
        about = {"dataset": self.etl.id, "models": ",".join(self.trained)}
        self.at_once = self.ran("evaluate", **about)
        with large():
            self.in_batches = self.ran("evaluate", **about)

    def ran(self, step, **parameters):
        ended = self.store.step(step, **parameters)
        assert ended.status == 0, ended.stderr
        return ended

    def both(self, name):
        """An artifact of both evaluations."""
        return [self.store.artifact(ended.run, name) for ended in (self.at_once, self.in_batches)]

    def tables(self, name):
        return [json.loads(path.read_text()) for path in self.both(name)]


@pytest.fixture(scope="module")
def lab(store, tmp_path_factory):
    return Lab(store, tmp_path_factory.mktemp("large"))


def test_predictions_in_batches_are_those_at_once(lab):
    of_trees = [pd.read_parquet(path) for path in lab.both("predictions/lightgbm.parquet")]
    of_sums = [pd.read_parquet(path) for path in lab.both("predictions/logistic.parquet")]
    assert len(of_trees[0]) == HELD
    pd.testing.assert_frame_equal(*of_trees, check_exact=True)
    pd.testing.assert_frame_equal(*of_sums, rtol=1e-12)  # BLAS may sum a batch of another size in another order


def test_metrics_are_of_all_rows(lab):
    ends = ("_low", "_high", "_seconds")
    at_once, in_batches = (
        {name: value for name, value in ended.run.data.metrics.items() if not name.endswith(ends)}
        for ended in (lab.at_once, lab.in_batches)
    )
    for name in OF_A_STEP:
        at_once.pop(name, None), in_batches.pop(name, None)
    assert in_batches == pytest.approx(at_once, rel=1e-9)


def test_slices_have_the_same_rows_and_metrics(lab):
    at_once, in_batches = (
        pd.DataFrame(found["data"], columns=found["columns"]).set_index(["column", "value"]).sort_index()
        for found in lab.tables("slices/logistic.json")
    )
    assert {"town", "sex", "visits"} == {*at_once.index.get_level_values(0)}
    kept = ["rows", "roc_auc", "accuracy", "judged"]
    pd.testing.assert_frame_equal(in_batches[kept], at_once[kept])


@pytest.mark.parametrize("what", ["permutation_importance/logistic.json", "contributions/logistic.json"])
def test_what_columns_are_worth_is_found_on_the_same_rows(lab, what):
    at_once, in_batches = (dict(found["data"]) for found in lab.tables(what))
    assert in_batches == pytest.approx(at_once, rel=1e-9, abs=1e-12)
    assert set(at_once) == {"x", "visits", "town", "member", "day"}


@pytest.mark.parametrize("figure", ["roc_auc", "calibration_error", "log_loss"])
def test_intervals_of_a_sample_hold_the_figure_and_are_wider(lab, figure):
    candidates = [found["candidates"][0] for found in lab.tables("evaluation.json")]
    (low, high), (of_sample_low, of_sample_high) = (one["intervals"][figure] for one in candidates)
    assert of_sample_low < candidates[0]["metrics"][figure] < of_sample_high
    assert of_sample_high - of_sample_low > 1.4 * (high - low)  # the root of 300 / 60 is 2.2


@pytest.fixture(scope="module")
def registered(lab):
    with large():
        return lab.ran("register", evaluation=lab.in_batches.id)


def test_the_sample_is_said_in_the_note_the_report_and_the_card(lab, registered):
    said = "of 60 of the 300 holdout rows, drawn at random, those of a slice of at most 60 of its rows"
    assert f"Confidence intervals are {said}" in lab.in_batches.tags["mlflow.note.content"]
    assert said in lab.store.artifact(registered.run, "report.html").read_text()
    (version,) = lab.store.versions("large_classifier")
    assert said in version.description
    assert "drawn at random" not in lab.at_once.tags["mlflow.note.content"]


def test_a_champion_is_met_in_batches_as_at_once(lab, registered):
    evaluation = lab.ran("evaluate", dataset=lab.etl.id, models=lab.trained[1])
    at_once = lab.ran("register", evaluation=evaluation.id)
    with large():
        in_batches = lab.ran("register", evaluation=evaluation.id)
    found = [json.loads(lab.store.artifact(ended.run, "verdict.json").read_text()) for ended in (at_once, in_batches)]
    assert [one["outcome"] for one in found] == ["kept_champion"] * 2
    scores = [[one["comparison"][who] for who in ("challenger", "champion")] for one in found]
    assert scores[1] == pytest.approx(scores[0], rel=1e-9)
    assert found[1]["comparison"]["lower"] != found[0]["comparison"]["lower"]  # which is of a sample


def test_a_large_table_is_monitored_by_a_sample_which_is_said(lab, registered):
    asked = {"model": "models:/large_classifier@champion", "data": lab.table}
    at_once = lab.ran("monitor", **asked)
    with large():
        in_batches = lab.ran("monitor", **asked)
    said = f"confidence intervals are of 60 of the {N:,} rows with a truth, drawn at random"
    assert said in in_batches.tags["mlflow.note.content"]
    assert said not in at_once.tags["mlflow.note.content"]
    metrics = [ended.run.data.metrics for ended in (at_once, in_batches)]
    kept = ["roc_auc", "log_loss", "drop_roc_auc", "holdout_roc_auc", "psi_input_worst", "psi_score_worst"]
    assert [metrics[1][name] for name in kept] == pytest.approx([metrics[0][name] for name in kept], rel=1e-9)
    assert metrics[1]["drop_roc_auc_at_least"] < metrics[0]["drop_roc_auc_at_least"]
