"""Models that are watched: later rows with their truth, what is said of them, and what is refused."""

import json
from dataclasses import dataclass

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from tabular.plots import style
from tests.running import PIXEL, Ended, Store

pytestmark = pytest.mark.usefixtures("undrawn")

PROBLEM = """
name: watched
data:
  source: {source}
  target: left
  positive: "yes"
  drop: {{id: a name}}
models:
  logistic: {{estimator: sklearn.linear_model.LogisticRegression}}
  tree: {{estimator: sklearn.tree.DecisionTreeClassifier, params: {{max_depth: 3}}}}
search: {{folds: 2}}
evaluation: {{slices: [town]}}
"""


def made(rows, seed=0, first=0):
    """Rows with an id, numbers, a category, and a target that follows them."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "id": [f"{number:06}" for number in range(first, first + rows)],
            "amount": generator.normal(50, 20, rows),
            "visits": generator.integers(0, 9, rows),
            "town": generator.choice(["Évora", "Lisboa", "Porto"], rows),
        }
    )
    score = frame["amount"] / 20 + (frame["town"] == "Porto") - 2.8 + generator.normal(0, 0.7, rows)
    return frame.assign(left=np.where(score > 0, "yes", "no"))


@dataclass
class Shop:
    """A store with a champion."""

    store: Store
    register: Ended
    model: str = "models:/watched_classifier@champion"

    def ended(self, data, **more):
        return self.store.step("monitor", **{"model": self.model, "data": data, **more})

    def monitor(self, data, **more):
        """A run of monitor that ends well."""
        ended = self.ended(data, **more)
        assert ended.status == 0, ended.stderr
        return ended

    def refused(self, data, **more):
        """What a run of monitor says that is refused."""
        ended = self.ended(data, **more)
        assert (ended.status, len(ended.stderr.splitlines())) == (1, 1), ended.stderr
        assert ended.run.info.status == "FAILED"
        return ended.stderr.removeprefix("tabular: ").rstrip("\n")

    def json(self, ended, name):
        return json.loads(self.store.artifact(ended.run, name).read_text())

    def table(self, ended, name):
        found = self.json(ended, name)
        return pd.DataFrame(found["data"], columns=found["columns"])


@pytest.fixture(scope="module", autouse=True)
def histories_undrawn():
    """A pixel in the place of each picture: tests/code/test_health.py looks at what is drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "save", lambda figure, path: path.write_bytes(PIXEL))
        yield


def registered(store, folder, frame, problem):
    """The run of register of a problem's logistic regression."""
    frame.to_csv(folder / "table.csv", index=False)
    (folder / "problem.yaml").write_text(problem.format(source=folder / "table.csv"))

    def step(name, **parameters):
        ended = store.step(name, **parameters)
        assert ended.status == 0, ended.stderr
        return ended

    etl = step("etl", problem=str(folder / "problem.yaml"))
    trained = step("train", dataset=etl.id, model="logistic")
    evaluation = step("evaluate", dataset=etl.id, models=trained.id)
    return step("register", evaluation=evaluation.id, dataset=etl.id)


@pytest.fixture(scope="module")
def shop(store, tmp_path_factory):
    return Shop(store, registered(store, tmp_path_factory.mktemp("watched"), made(1500), PROBLEM))


def write(frame, path):
    """A table as its suffix says."""
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def other_model(shop):
    """The id of a run of train whose model is another one."""
    version = shop.store.client.get_model_version_by_alias("watched_classifier", "champion")
    ended = shop.store.step("train", dataset=version.tags["tabular.dataset"], model="tree")
    assert ended.status == 0, ended.stderr
    return ended.id


@pytest.fixture(scope="module")
def honest(shop, tmp_path_factory):
    """A month like the rows of training, and the run of monitor on it: the first one of the model."""
    month = made(400, seed=1)
    return month, shop.monitor(write(month, tmp_path_factory.mktemp("honest") / "month.csv"))


# --- the verdict ------------------------------------------------------------------------------------------------------


def test_an_honest_month_is_healthy(shop, honest):
    _, ended = honest
    assert ended.tags["tabular.health"] == "healthy"
    assert ended.tags["tabular.monitored"] == "watched_classifier"
    assert ended.tags["tabular.summary"].startswith("healthy: watched_classifier version 1 on 400 rows, roc_auc 0.8")
    assert "which may be chance" in ended.stdout or "better by" in ended.stdout
    assert "in so many rows a model that is worse by" in ended.stdout


def test_the_metrics_and_slices_are_those_of_the_models_answers(shop, honest):
    month, ended = honest
    mlflow.set_tracking_uri(shop.store.uri)
    answer = mlflow.pyfunc.load_model(shop.model).predict(
        month.astype({"visits": "float64"}).drop(columns=["id", "left"])
    )
    p, y = answer["probability_yes"].to_numpy(), (month["left"] == "yes").to_numpy()
    metrics = ended.run.data.metrics
    assert metrics["roc_auc"] == pytest.approx(roc_auc_score(y, p))
    assert metrics["accuracy"] == pytest.approx((answer["label"] == month["left"]).mean())
    assert metrics["roc_auc_low"] < metrics["roc_auc"] < metrics["roc_auc_high"]
    cut = shop.table(ended, "slices.json").set_index("value")
    assert cut["rows"].to_dict() == month["town"].value_counts().to_dict()
    porto = (month["town"] == "Porto").to_numpy()
    assert cut.loc["Porto", "accuracy"] == pytest.approx((answer["label"] == month["left"])[porto].mean())


def test_the_promise_is_the_holdout_of_the_evaluation(shop, honest):
    version = shop.store.client.get_model_version_by_alias("watched_classifier", "champion")
    evaluated = shop.store.client.get_run(version.tags["tabular.evaluation"]).data.metrics
    watched = honest[1].run.data.metrics
    for name in ("roc_auc", "accuracy", "log_loss", "calibration_error"):
        assert watched[f"holdout_{name}"] == pytest.approx(evaluated[name])
    assert watched["drop_roc_auc"] == pytest.approx(evaluated["roc_auc"] - watched["roc_auc"])


def test_labels_that_were_swapped_are_degraded_and_end_failed_where_health_is_required(shop, honest, tmp_path):
    month = made(300, seed=2)
    month["left"] = np.where(np.arange(300) % 3 == 0, np.where(month["left"] == "yes", "no", "yes"), month["left"])
    ended = shop.ended(write(month, tmp_path / "month.parquet"), require="healthy")
    assert (ended.status, ended.run.info.status) == (1, "FAILED")
    assert ended.lines[0].startswith("tabular: require: watched_classifier version 1 is degraded: roc_auc")
    assert ended.tags["tabular.health"] == "degraded"
    history = shop.table(ended, "history.json")
    assert history["verdict"].tolist()[-1] == "degraded"
    assert honest[1].id in history["run"].tolist()
    assert history["roc_auc"].iloc[-1] == ended.run.data.metrics["roc_auc"]
    assert {"pictures/history.png", "pictures/shift.png", "shift.json"} <= shop.store.artifacts(ended.run)
    assert shop.json(ended, "verdict.json")["drop"]["lower"] > 0


def test_a_column_in_another_unit_is_degraded_and_the_column_is_named(shop, tmp_path):
    month = made(300, seed=3).assign(amount=lambda frame: frame["amount"] / 100)
    ended = shop.monitor(write(month, tmp_path / "month.csv"))
    assert ended.tags["tabular.health"] == "degraded"
    assert "column 'amount' has moved" in ended.tags["tabular.verdict"]


def test_months_that_drift_are_watched_before_the_model_falls(shop, tmp_path):
    """Each month holds more rows of a kind that training had few of; what they lead to is as it was."""
    found = []
    for share in (0.0, 0.9):
        month = made(300, seed=4)
        month.loc[np.arange(300) < share * 300, "visits"] = 12
        found.append(shop.monitor(write(month, tmp_path / "month.csv")).tags)
    assert [one["tabular.health"] for one in found] == ["healthy", "watch"]
    assert found[1]["tabular.verdict"].startswith("column 'visits' has moved")


def test_of_few_rows_no_more_is_said_than_that_they_are_few(shop, tmp_path):
    month = made(60, seed=5)
    month["left"] = np.where(month["left"] == "yes", "no", "yes")
    ended = shop.monitor(write(month, tmp_path / "month.csv"), require="watch")
    assert ended.tags["tabular.health"] == "watch"
    assert ended.tags["tabular.verdict"].startswith("too few rows to say more: 60, and 100 are needed")


def test_rows_without_a_truth_and_rows_of_another_class_are_left_out_and_told(shop, tmp_path):
    month = made(400, seed=6)
    month.loc[:19, "left"] = None
    month.loc[20:29, "left"] = "maybe"
    ended = shop.monitor(write(month, tmp_path / "month.csv"))
    assert ended.run.data.metrics["rows"] == 370
    assert "20 of 400 rows have no 'left' yet: they are left out" in ended.stdout
    assert ended.tags["tabular.health"] == "watch"
    assert "10 rows are of no class that it tells apart: 'maybe'" in ended.tags["tabular.verdict"]


def test_bounds_of_another_problem_file_take_the_place_of_the_models_own(shop, tmp_path):
    own = {**yaml.safe_load(PROBLEM.format(source="table.csv")), "monitor": {"require": {"roc_auc": {"min": 0.99}}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(own))
    (tmp_path / "table.csv").write_text("")
    ended = shop.monitor(write(made(300, seed=7), tmp_path / "month.csv"), problem=str(tmp_path / "mine.yaml"))
    assert ended.tags["tabular.health"] == "degraded"
    assert "roc_auc at least 0.99" in ended.tags["tabular.verdict"]


def test_a_model_without_an_evaluation_is_watched_since_nothing_was_promised(shop, honest, tmp_path):
    version = shop.store.client.get_model_version_by_alias("watched_classifier", "champion")
    ended = shop.monitor(write(honest[0], tmp_path / "month.csv"), model=version.tags["tabular.run"])
    assert ended.tags["tabular.health"] == "watch"
    assert "name it by its registered version" in ended.tags["tabular.verdict"]
    assert len(shop.table(ended, "history.json")) == 1  # the registered model's history is another one


# --- predictions of before --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scored(shop, tmp_path_factory):
    """A month, what predict wrote for it before its truth was known, and the truth, of more rows in another order."""
    folder = tmp_path_factory.mktemp("scored")
    month = made(300, seed=8, first=100)
    data = write(month.drop(columns="left"), folder / "month.csv")
    ended = shop.store.step("predict", model=shop.model, data=data, output=folder / "scored.csv")
    assert ended.status == 0, ended.stderr
    truth = pd.concat([month, made(50, seed=9, first=900)])[["id", "left"]].sample(frac=1, random_state=0)
    return month, folder / "scored.csv", write(truth, folder / "truth.parquet")


def test_predictions_of_before_are_as_the_rows_scored_today(shop, scored, tmp_path):
    month, predictions, truth = scored
    ended = shop.monitor(predictions, truth=truth, keys="id")
    month.to_csv(tmp_path / "month.csv", index=False, sep=";")
    on_rows = shop.monitor(tmp_path / "month.csv")
    today, then = on_rows.run.data.metrics, ended.run.data.metrics
    assert "  data: read with ';' between the columns\n" in on_rows.stdout
    assert "between the columns" not in ended.stdout
    assert then["rows"] == 300
    assert {name: then[name] for name in ("roc_auc", "log_loss", "accuracy", "psi_score_worst")} == pytest.approx(
        {name: today[name] for name in ("roc_auc", "log_loss", "accuracy", "psi_score_worst")}
    )
    assert ended.tags["tabular.shift.input"].startswith("not compared: the run of predict has")
    assert "no slices by 'town'" in ended.stdout


def test_predictions_whose_truth_is_not_there_yet_are_left_out(shop, scored, tmp_path):
    _, predictions, truth = scored
    some = pd.read_parquet(truth)
    some[some["id"] < "000250"].to_csv(tmp_path / "truth.csv", index=False, sep="|")
    ended = shop.monitor(predictions, truth=tmp_path / "truth.csv", keys="id")
    assert "  truth: read with '|' between the columns\n" in ended.stdout
    assert ended.run.data.metrics["rows"] == 150
    assert "150 of 300 rows have no 'left' yet: they are left out" in ended.stdout


def test_predictions_that_no_run_wrote_as_they_are_are_told(shop, scored, tmp_path):
    _, predictions, truth = scored
    write(pd.read_csv(predictions, dtype=str).head(200), tmp_path / "some.csv")
    ended = shop.monitor(tmp_path / "some.csv", truth=truth, keys="id")
    assert "no run of predict is there that wrote these predictions as they are" in ended.stdout


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_table_without_the_truth_is_told_with_the_way_to_name_another(shop, honest, tmp_path):
    said = shop.refused(write(honest[0].drop(columns="left"), tmp_path / "month.csv"))
    assert said.startswith("data: month.csv has no column 'left', the truth: add it; or give the output of an earlier")


def test_a_truth_that_is_missing_in_all_rows_is_told(shop, scored, tmp_path):
    _, predictions, truth = scored
    none = pd.read_parquet(truth).assign(left="maybe")
    write(none, tmp_path / "truth.csv")
    said = shop.refused(predictions, truth=tmp_path / "truth.csv", keys="id")
    assert said == "data: 'left' of truth.csv holds 'maybe', and the model tells apart 'no', 'yes': mend the column"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"require": "good"}, "require: 'good' is not known; 'healthy' makes any other verdict FAILED, 'watch' only"),
        ({"keys": "id"}, "keys: they find the truth of rows in another table"),
        ({"truth": "{truth}"}, "keys: name the columns by which a row of data is found in truth"),
        ({"truth": "{truth}", "keys": "idd"}, "keys: scored.csv has no column 'idd', did you mean 'id'?"),
        ({"truth": "{twice}", "keys": "id"}, "keys: twice.csv has two rows of id '000100': name columns"),
        ({"truth": "{others}", "keys": "id"}, "keys: no row of scored.csv has the keys of a row of others.csv"),
        ({"truth": "{truth}", "keys": "id", "model": "{run}"}, "did not write these predictions, models:/watched"),
        ({"problem": "breast_cancer"}, "problem: it predicts 'target', and the model 'left' (classification)"),
    ],
)
def test_what_cannot_be_is_told(shop, scored, other_model, tmp_path, more, says):
    _, predictions, truth = scored
    known = pd.read_parquet(truth)
    twice = write(pd.concat([known, known[known["id"] == "000100"]]), tmp_path / "twice.csv")
    others = write(known.assign(id=known["id"] + "x"), tmp_path / "others.csv")
    places = {"truth": truth, "twice": twice, "others": others, "run": other_model}
    said = shop.refused(predictions, **{name: text.format(**places) for name, text in more.items()})
    assert says in said


# --- rows of groups, and rows that repeat others ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def grouped(store, tmp_path_factory):
    """A champion of a problem that is split by group and leaves out rows that repeat others."""
    problem = PROBLEM.replace("watched", "grouped").replace("  drop:", "  duplicates: drop\n  drop:")
    rows = made(600).assign(customer=lambda frame: frame.index % 60)
    problem += "split: {{by: group, column: customer}}\n"
    ended = registered(store, tmp_path_factory.mktemp("grouped"), pd.concat([rows, rows.head(50)]), problem)
    return Shop(store, ended, model="models:/grouped_classifier@champion")


def test_whole_groups_are_resampled_and_rows_that_repeat_others_left_out(grouped, tmp_path):
    month = made(300, seed=10).assign(customer=np.arange(300) % 20)
    ended = grouped.monitor(write(pd.concat([month, month.head(30)]), tmp_path / "month.csv"))
    assert ended.run.data.metrics["rows"] == 300
    assert "30 of 330 rows repeat another row: they are left out" in ended.stdout
    alone = grouped.monitor(write(month.assign(customer=np.arange(300)), tmp_path / "month.csv")).run.data.metrics
    assert alone["roc_auc"] == ended.run.data.metrics["roc_auc"]
    assert alone["roc_auc_low"] != ended.run.data.metrics["roc_auc_low"]
    said = grouped.refused(write(month.drop(columns="customer"), tmp_path / "month.csv"))
    assert said.startswith("data: month.csv has no column 'customer', the group of a row: rows of one group tell less")
