"""A number to predict through the chain: one chain, what it leaves, and what is done with its champion."""

import json
import re

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from tabular.metrics import classification, regression
from tests.running import DRAWS, PIXEL, PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

PROBLEM = """
name: rents
data: {source: table.csv, target: rent, weight: w}
models:
  ridge: {estimator: sklearn.linear_model.Ridge}
  lightgbm:
    estimator: lightgbm.LGBMRegressor
    params: {n_estimators: 10, min_child_samples: 5}
    space: {num_leaves: {type: int, low: 2, high: 8}, learning_rate: {type: float, low: 0.05, high: 0.3}}
search: {trials: 2, folds: 2}
evaluation: {slices: [kind]}
gate: {require: {interval_coverage: {min: 0.5}, rmse: {max: 5}}, beat_prior: true}
"""
CANDIDATES = ["ridge", "lightgbm"]
STEPS = ["etl", "hpo lightgbm", "train ridge", "train lightgbm", "blend", "evaluate", "refit", "register"]
PICTURES = ["predicted_against_actual", "residuals_against_predicted", "error_distribution", "interval_coverage"]
PICTURES += ["permutation_importance", "feature_importance", "slices"]
OF_CLASSES = ["accuracy", "roc_auc", "log_loss", "f1", "classes", "confusion", "probability", "threshold", "class_"]
NUMBERS = ["prediction", "prediction_low", "prediction_high"]


def table(rows=360, seed=11):
    """Rents that follow `x` and `kind`; of kind b they are told the worst."""
    generator = np.random.default_rng(seed)
    x, z = generator.normal(size=(2, rows)).round(3)
    kind = generator.choice(["a", "b", "c"], rows)
    noise = generator.normal(0, 1, rows) * (1 + (kind == "b"))
    frame = pd.DataFrame({"x": x, "z": z, "kind": kind, "w": generator.integers(0, 4, rows) / 2})
    return frame.assign(rent=(10 + 3 * x + 2 * (kind == "a") + noise).round(3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    table().to_csv(folder / "table.csv", index=False)
    (folder / "rents.yaml").write_text(PROBLEM)
    return folder


@pytest.fixture(scope="module")
def main(store, folder):
    """A chain of the table, whose winner is registered."""
    store.environment[DRAWS] = "1"
    ended = store.project(problem=str(folder / "rents.yaml"), jobs=1)
    del store.environment[DRAWS]
    assert ended.status == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def runs(store, main):
    """The runs of its tasks by their names."""
    return store.children(main.id)


@pytest.fixture(scope="module")
def champion(store, main):
    """The registered version."""
    return store.client.get_model_version_by_alias("rents_regressor", "champion")


def test_a_regressor_is_registered_with_its_metrics(main, champion):
    assert main.tags["tabular.outcome"] == "registered"
    assert str(champion.version) == main.tags["tabular.champion.version"]
    assert float(champion.tags["tabular.rmse"]) == pytest.approx(main.run.data.metrics["rmse"], rel=1e-4)


def test_the_chain_has_all_its_steps(runs):
    assert sorted(runs) == sorted(STEPS)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_the_holdout_metrics_are_those_of_the_predictions_that_are_kept(store, runs):
    evaluate = runs["evaluate"]
    for name in CANDIDATES:
        kept = pd.read_parquet(store.artifact(evaluate, f"predictions/{name}.parquet"))
        assert list(kept) == ["truth", "weight", *NUMBERS]
        found = regression.as_predictions(
            *(kept[column].to_numpy() for column in ("truth", "prediction")),
            low=kept["prediction_low"].to_numpy(),
            high=kept["prediction_high"].to_numpy(),
            weights=kept["weight"].to_numpy(),
        )
        for metric in regression.METRICS:
            expected = regression.metric(metric).score(found)
            assert evaluate.data.metrics[f"{name}/{metric}"] == pytest.approx(expected, abs=1e-9)


def test_the_metric_that_ranks_has_an_interval(runs):
    metrics = runs["evaluate"].data.metrics
    assert metrics["rmse_low"] < metrics["rmse"] < metrics["rmse_high"]


def test_the_leaderboard_has_the_least_error_first(store, main):
    board = json.loads(store.artifact(main.run, "leaderboard.json").read_text())
    assert board["columns"][:4] == ["model", "rmse", "rmse_low", "rmse_high"]
    assert [row[1] for row in board["data"]] == sorted(row[1] for row in board["data"])
    assert {row[0] for row in board["data"]} == {*CANDIDATES}


@pytest.mark.parametrize("candidate", CANDIDATES)
@pytest.mark.parametrize("picture", PICTURES)
def test_each_candidate_has_its_pictures(store, runs, candidate, picture):
    path = store.artifact(runs["evaluate"], f"pictures/{candidate}/{picture}.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.read_bytes() != PIXEL


@pytest.mark.parametrize(
    "name", ["metrics_of_candidates", "target_distribution", "lightgbm/loss_by_iteration", "lightgbm/search_history"]
)
def test_the_candidates_the_target_and_the_search_are_drawn(store, runs, name):
    assert store.artifact(runs["evaluate"], f"pictures/{name}.png").read_bytes() != PIXEL


def test_nothing_of_classes_is_logged(store, main, runs):
    for run in (main.run, *runs.values(), *store.children(runs["hpo lightgbm"].info.run_id).values()):
        logged = [*run.data.metrics, *store.artifacts(run)]
        logged += [name for name in run.data.params if name not in ("task", "warm_start")]
        found = [name for name in logged for word in OF_CLASSES if word in name and name != "class_weight"]
        assert found == [], run.info.run_name


def test_the_search_and_the_training_log_the_metrics_of_numbers(runs):
    for name in CANDIDATES:
        metrics = runs[f"train {name}"].data.metrics
        assert {"cv_rmse_mean", "cv_rmse_std", "training_rmse", "cv_mae_mean", "cv_r2_mean"} <= set(metrics)
        assert not {"cv_interval_coverage_mean", "training_interval_width", "threshold"} & set(metrics)
    search = runs["hpo lightgbm"].data.metrics
    assert search["baseline_cv_rmse"] > search["best_cv_rmse"] > 0


def test_the_loss_of_the_booster_is_its_rmse_by_iteration(store, runs):
    run = runs["train lightgbm"]
    history = store.client.get_metric_history(run.info.run_id, "validation_loss_by_iteration")
    assert [point.step for point in history] == list(range(1, 11))
    assert history[-1].value == pytest.approx(run.data.metrics["cv_rmse_mean"], rel=1e-6)


def test_etl_leaves_the_spread_of_the_target_and_says_its_range(store, runs):
    spread = json.loads(store.artifact(runs["etl"], "target.json").read_text())
    assert spread["columns"] == ["from", "to", "train", "holdout"]
    assert sum(row[2] + row[3] for row in spread["data"]) == 360
    rent = table()["rent"]
    assert f"a number from {rent.min():.6g} to {rent.max():.6g}" in runs["etl"].data.tags["tabular.summary"]


def test_each_slice_has_its_error_and_how_often_its_intervals_hold(store, runs):
    slices = json.loads(store.artifact(runs["evaluate"], "slices/ridge.json").read_text())
    rows = [dict(zip(slices["columns"], row, strict=True)) for row in slices["data"]]
    assert {row["value"] for row in rows} == {"a", "b", "c"}
    assert rows[0]["value"] == "b"  # the worst is the first
    assert {"rmse", "mae", "interval_coverage", "interval_width", "rmse_low"} <= set(rows[0])


def test_the_coverage_of_the_intervals_is_a_table_of_each_candidate(store, runs):
    for name in CANDIDATES:
        found = json.loads(store.artifact(runs["evaluate"], f"coverage/{name}.json").read_text())
        columns = dict(zip(found["columns"], zip(*found["data"], strict=True), strict=True))
        assert list(columns["held"]) == sorted(columns["held"])
        assert list(columns["width"]) == sorted(columns["width"])
        at_90 = columns["coverage"].index(0.9)
        assert columns["held"][at_90] == pytest.approx(runs["evaluate"].data.metrics[f"{name}/interval_coverage"])


@pytest.mark.parametrize("where", ["report", "card", "terminal"])
def test_what_people_read_is_of_numbers(store, main, champion, where):
    page = store.artifact(main.run, "report.html").read_text()
    text = {
        "report": re.sub(r"<[^>]+>", " ", re.sub(r"<style.*?</style>|src=\"data:[^\"]*\"", "", page, flags=re.DOTALL)),
        "card": champion.description,
        "terminal": main.stdout,
    }[where]
    assert "rmse" in text
    words = [*classification.METRICS, "class", "classes", "probability", "probabilities", "threshold", "confusion"]
    assert [word for word in words if re.search(rf"\b{word}\b", text)] == []


def test_the_gate_says_what_it_required_and_the_floor_what_it_is_over(store, main, runs):
    entry = json.loads(store.artifact(runs["evaluate"], "evaluation.json").read_text())["candidates"][0]
    said = [check["what"] for check in entry["checks"]]
    assert "interval_coverage at least 0.5" in said
    assert any(line.startswith("gain in rmse over the mean and the median") for line in said)
    assert entry["unmet"] == []


def test_a_model_answers_raw_rows_with_numbers_and_their_intervals(store, runs, tmp_path):
    uri = runs["train lightgbm"].data.tags["tabular.model_uri"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        local = mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path), tracking_uri=store.uri)
    model = mlflow.pyfunc.load_model(local)
    assert model.metadata.get_input_schema().input_names() == ["x", "z", "kind"]
    answer = model.predict(pd.DataFrame({"x": [2.0, -2.0], "z": [0.0, None], "kind": ["a", "new"]}))
    assert list(answer) == NUMBERS
    assert answer["prediction"][0] > answer["prediction"][1] + 3
    assert not list(tmp_path.rglob("*.pkl"))


def test_a_table_is_scored_with_intervals_and_its_drift_is_told(store, main, tmp_path):
    new = table(200, seed=12).assign(x=lambda rows: rows["x"] + 3).drop(columns=["rent", "w"])
    new.to_csv(tmp_path / "new.csv", index=False)
    given = {"model": "models:/rents_regressor@champion", "data": str(tmp_path / "new.csv")}
    scored = store.step("predict", output=str(tmp_path / "scored.csv"), **given)
    assert scored.status == 0, scored.stderr
    answer = pd.read_csv(tmp_path / "scored.csv")
    assert list(answer) == NUMBERS
    assert (answer["prediction_low"] < answer["prediction"]).all()
    assert re.search(r"\bx\b", scored.stdout) and "prediction" in scored.stdout
    assert scored.run.data.metrics["psi_input_worst"] > 1
    assert scored.run.data.metrics["psi_score_worst"] > 1


def test_later_rows_are_held_against_the_holdout_by_their_weights_and_with_their_intervals(store, main, tmp_path):
    months = {"honest": table(300, seed=13), "worse": table(300, seed=13).assign(rent=lambda rows: rows["rent"] * 1.5)}
    told = {}
    for name, month in months.items():
        month.to_csv(tmp_path / f"{name}.csv", index=False)
        given = {"model": "models:/rents_regressor@champion", "data": str(tmp_path / f"{name}.csv")}
        told[name] = store.step("monitor", **given)
        assert told[name].status == 0, told[name].stderr
    assert [ended.tags["tabular.health"] for ended in told.values()] == ["healthy", "degraded"], told["honest"].stdout
    found = told["honest"].run.data.metrics
    assert found["holdout_rmse"] == pytest.approx(main.run.data.metrics["rmse"])
    assert found["interval_coverage"] == pytest.approx(found["holdout_interval_coverage"], abs=0.1)
    months["honest"].drop(columns="w").to_csv(tmp_path / "unweighted.csv", index=False)
    refused = store.step("monitor", **{**given, "data": str(tmp_path / "unweighted.csv")})
    assert "data: unweighted.csv has no column 'w', by which the holdout is weighted: add it" in refused.stderr


def test_the_same_chain_again_runs_nothing_but_register(store, folder, main):
    again = store.step("main", problem=str(folder / "rents.yaml"), jobs=1)
    assert again.status == 0, again.stderr
    ran = [line.split("  ")[1] for line in again.stdout.splitlines() if "(ran: " in line]
    assert ran == [], again.stdout
    assert again.tags["tabular.outcome"] == "kept_champion"
    assert "is the champion (version 1) already" in again.stdout


@pytest.mark.skipif(not (PROJECT / ".git").exists(), reason="a replay is of a commit")
def test_a_replay_of_the_chain_is_equal_bit_by_bit(store, main):
    replayed = store.step("reproduce", run=main.id, jobs=1)
    assert replayed.status == 0, replayed.stdout + replayed.stderr
    assert replayed.tags["tabular.outcome"] == "same", replayed.stdout
    rows = json.loads(store.artifact(replayed.run, "replay.json").read_text())["data"]
    assert {row[0] for row in rows} == {"main", *STEPS}
    assert {row[2] for row in rows} == {"same"}


def test_runs_are_compared_by_the_least_error(store, runs):
    compared = store.step("compare", of="train", metric="rmse", filter="tags.`tabular.problem` = 'rents'")
    assert compared.status == 0, compared.stderr
    found = json.loads(store.artifact(compared.run, "comparison.json").read_text())
    columns = dict(zip(found["columns"], zip(*found["data"], strict=True), strict=True))
    scores = columns["cv_rmse_mean"]
    assert list(scores) == sorted(scores)
    assert "cv_mae_mean" in columns or "cv_r2_mean" in columns


def by_hand(store, problem, model="ridge", **data):
    """A chain of one model by its steps: the run of etl, of train, of evaluate and of register."""
    etl = store.step("etl", problem=str(problem), **data)
    assert etl.status == 0, etl.stderr
    trained = store.step("train", dataset=etl.id, model=model)
    assert trained.status == 0, trained.stderr
    evaluation = store.step("evaluate", dataset=etl.id, models=trained.id)
    assert evaluation.status == 0, evaluation.stderr
    return etl, trained, evaluation, store.step("register", evaluation=evaluation.id)


def written(folder, frame, name="rents", **sections):
    """A problem of ridge on a table in a folder."""
    frame.to_csv(folder / "table.csv", index=False)
    models = {"ridge": {"estimator": "sklearn.linear_model.Ridge"}}
    data = {"source": "table.csv", "target": "rent", **sections.pop("data", {})}
    values = {"name": name, "data": data, "models": models, "search": {"folds": 2}, **sections}
    (folder / "problem.yaml").write_text(yaml.safe_dump(values))
    return folder / "problem.yaml"


def challenged(store, folder, name, slope):
    """A champion, and the register of a challenger that has learnt from other rents, by this slope of `x` apart."""
    first = by_hand(store, written(folder, table().drop(columns="w"), name))[-1]
    assert first.tags["tabular.outcome"] == "registered", first.stdout
    other = table(420, seed=5).drop(columns="w")
    other["rent"] = other["rent"] - slope * other["x"]
    second = by_hand(store, written(folder, other, name))[-1]
    assert second.status == 0, second.stderr
    assert re.search(r"rmse [\d.]+ against [\d.]+ of ", second.tags["tabular.verdict"])
    return second


@pytest.fixture(scope="module")
def better(store, tmp_path_factory):
    """The register of a challenger on rents that follow another rule than the champion's."""
    return challenged(store, tmp_path_factory.mktemp("better"), "better", slope=4.0)


def test_a_challenger_on_changed_data_with_less_error_replaces_the_champion(store, better):
    assert better.tags["tabular.outcome"] == "registered", better.tags["tabular.verdict"]
    metrics = better.run.data.metrics
    assert metrics["challenger_rmse"] < metrics["champion_rmse"]
    assert store.client.get_model_version_by_alias("better_regressor", "champion").version in (2, "2")


def test_an_equal_challenger_on_changed_data_leaves_the_champion(store, tmp_path):
    register = challenged(store, tmp_path, "equal", slope=0.0)
    assert register.tags["tabular.outcome"] == "kept_champion", register.tags["tabular.verdict"]
    assert len(store.versions("equal_regressor")) == 1


def test_an_earlier_version_is_promoted_with_a_reason(store, better):
    back = store.step("promote", name="better_regressor", version="1", reason="complaints since Monday")
    assert back.status == 0, back.stderr
    assert store.client.get_model_version_by_alias("better_regressor", "champion").version in (1, "1")


def of_classes(folder, name):
    """A problem of classes, whose registered model has this name."""
    frame = table(200).drop(columns="w")
    frame["rent"] = np.where(frame["rent"] > 10, "high", "low")
    problem = written(folder, frame, name, registry={"name": name})
    problem.write_text(problem.read_text().replace("Ridge", "LogisticRegression"))
    return problem


def assert_kept(register, says, name):
    """The champion stays, and the verdict is one line that says why and how to start anew."""
    assert register.status == 0, register.stderr
    assert register.tags["tabular.outcome"] == "kept_champion"
    verdict = register.tags["tabular.verdict"]
    assert says in verdict and "\n" not in verdict
    assert f"delete the alias 'champion' of {name}" in verdict


def test_a_classifier_does_not_replace_a_champion_of_numbers(store, main, tmp_path):
    register = by_hand(store, of_classes(tmp_path, "rents_regressor"))[-1]
    assert_kept(register, "rents_regressor version 1 predicts a number", "rents_regressor")


def test_a_regressor_does_not_replace_a_champion_of_classes(store, tmp_path):
    first = by_hand(store, of_classes(tmp_path, "both"))[-1]
    assert first.tags["tabular.outcome"] == "registered", first.stdout
    register = by_hand(store, written(tmp_path, table(200).drop(columns="w"), "both", registry={"name": "both"}))[-1]
    assert_kept(register, "both version 1 tells classes apart, and predicts no number", "both")


def test_a_target_of_noise_does_not_pass_the_floor(store, tmp_path):
    frame = table(300).drop(columns="w")
    frame["rent"] = np.random.default_rng(1).exponential(size=300)
    register = by_hand(store, written(tmp_path, frame, "noise"))[-1]
    assert (register.status, register.tags["tabular.outcome"]) == (0, "refused"), register.tags["tabular.verdict"]
    assert "gain in rmse over the mean and the median" in register.tags["tabular.verdict"]
    assert "the middle of all numbers" in register.tags["tabular.verdict"]
    assert store.versions("noise_regressor") == []


def test_intervals_that_hold_too_little_do_not_pass_what_is_required(store, tmp_path):
    gate = {"require": {"interval_coverage": {"min": 0.995}}}
    frame = table(300).drop(columns="w")
    about = {"evaluation": {"coverage": 0.3}, "gate": gate}
    register = by_hand(store, written(tmp_path, frame, "narrow", **about))[-1]
    assert register.tags["tabular.outcome"] == "refused"
    assert "interval_coverage at least 0.995" in register.tags["tabular.verdict"]


def test_what_a_target_looks_like_is_said_in_one_line_with_the_other_way(store, tmp_path):
    table(120).drop(columns="w").to_csv(tmp_path / "t.csv", index=False)
    given = {"data": str(tmp_path / "t.csv"), "target": "rent"}
    ended = store.step("etl", **given)
    assert ended.status == 0, ended.stderr
    lines = [line for line in ended.stdout.splitlines() if "task:" in line]
    assert len(lines) == 1
    assert re.fullmatch(
        r"  task: 'rent' holds fractions such as \S+: a number is predicted \(regression\); "
        r"else say -P task=classification",
        lines[0],
    )
    frozen = yaml.safe_load(store.artifact(ended.run, "problem.yaml").read_text())
    assert (frozen["task"], frozen["search"]["metric"]) == ("regression", "rmse")
    assert frozen["registry"]["name"].endswith("_regressor")
    assert {one["estimator"] for one in frozen["models"].values()} >= {"sklearn.linear_model.Ridge"}


@pytest.mark.parametrize(("task", "registered"), [("classification", "_classifier"), ("regression", "_regressor")])
def test_the_command_line_decides_what_is_predicted(store, tmp_path, task, registered):
    frame = table(120).drop(columns="w")
    frame["rent"] = np.digitize(frame["rent"], [9, 12])  # few whole numbers
    frame.to_csv(tmp_path / "t.csv", index=False)
    given = {"data": str(tmp_path / "t.csv"), "target": "rent", "task": task}
    ended = store.step("etl", **given)
    assert ended.status == 0, ended.stderr
    assert "task:" not in ended.stdout
    frozen = yaml.safe_load(store.artifact(ended.run, "problem.yaml").read_text())
    assert frozen["task"] == task
    assert frozen["registry"]["name"].endswith(registered)


def test_a_task_that_is_none_is_one_line(store, tmp_path):
    table(60).to_csv(tmp_path / "t.csv", index=False)
    ended = store.step("etl", data=str(tmp_path / "t.csv"), target="rent", task="regresion")
    assert (ended.status, len(ended.lines)) == (1, 1)
    assert "task" in ended.lines[0] and "'regression'" in ended.lines[0]


@pytest.mark.parametrize("zero", ["to learn from", "held out"])
def test_a_metric_that_has_no_value_is_one_line_and_ranks_nothing(store, tmp_path, zero):
    frame = table(120).drop(columns="w").assign(day=range(120))
    frame.loc[100 if zero == "held out" else 70, "rent"] = 0.0
    about = {"split": {"by": "time", "column": "day"}, "search": {"folds": 2, "metric": "mape"}}
    etl = store.step("etl", problem=str(written(tmp_path, frame, "shares", **about)))
    ended = store.step("train", dataset=etl.id, model="ridge")
    if zero == "held out":
        assert ended.status == 0, ended.stderr
        ended = store.step("evaluate", dataset=etl.id, models=ended.id)
    assert (ended.status, len(ended.lines)) == (1, 1)
    assert "mape has no value: the true number is 0 in 1 rows" in ended.lines[0]
    assert ended.lines[0].endswith("take another metric, such as rmse")


def test_a_number_without_a_logarithm_ends_train_in_one_line_whose_way_out_works(store, tmp_path):
    frame = table(120).drop(columns="w")
    frame["rent"] = (frame["rent"] - frame["rent"].min()).round(2)  # one is 0
    etl = store.step("etl", problem=str(written(tmp_path, frame, "logs", data={"target_transform": "log"})))
    ended = store.step("train", dataset=etl.id, model="ridge")
    assert (ended.status, len(ended.lines)) == (1, 1)
    assert "data.target_transform: log needs numbers above 0, and the least of 'rent' is 0" in ended.lines[0]
    other = written(tmp_path, frame, "logs", data={"target_transform": "log1p"})
    again = store.step("train", dataset=etl.id, model="ridge", problem=str(other))  # of the same data set
    assert again.status == 0, again.stderr
    assert again.run.data.params["target_transform"] == "log1p"
