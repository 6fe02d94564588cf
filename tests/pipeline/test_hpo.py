"""The search as a step: its trials as runs, in processes, the same ones on any machine."""

import json
from pathlib import Path

import pandas as pd
import psutil
import pytest

N = 120
PROBLEM = """
name: searched
data: {{source: {source}, target: y}}
models:
  tree:
    estimator: sklearn.tree.DecisionTreeClassifier
    params: {{max_depth: 3}}
    space:
      max_depth: {{type: int, low: 1, high: 8}}
      min_samples_leaf: {{type: int, low: -6, high: 9}}
search: {{metric: roc_auc, trials: 14, folds: 3, lag: 4}}
"""


@pytest.fixture(scope="module")
def etl(store, tmp_path_factory):
    """A data set; `min_samples_leaf` below 1, which is in the space of its model, is refused by the estimator."""
    folder = tmp_path_factory.mktemp("searched")
    table = pd.DataFrame({"x": range(N), "z": [i * 7 % 13 for i in range(N)]})
    table["y"] = [(i // 7 + i // 11) % 2 for i in range(N)]
    table.to_csv(folder / "table.csv", index=False)
    (folder / "searched.yaml").write_text(PROBLEM.format(source=folder / "table.csv"))
    ended = store.step("etl", problem=str(folder / "searched.yaml"))
    assert ended.status == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def searches(store, etl, tmp_path_factory):
    """The same search with one thread and with two."""
    made = {}
    for threads in (1, 2):
        share = tmp_path_factory.mktemp("share") / "share"
        share.write_text(str(threads))
        made[threads] = store.step("hpo", dataset=etl.id, model="tree", share=str(share))
        assert made[threads].status == 0, made[threads].stderr
    return made


@pytest.fixture(scope="module")
def trials(store, searches):
    """The nested runs of one of them that are trials, in order."""
    found = [run for run in store.children(searches[2].id).values() if "tabular.trial" in run.data.tags]
    return sorted(found, key=lambda run: int(run.data.tags["tabular.trial"]))


def test_each_trial_is_a_run(trials):
    assert [run.data.tags["tabular.trial"] for run in trials] == [str(number) for number in range(14)]


def test_the_first_trial_is_the_model_as_the_problem_has_it(trials):
    assert trials[0].data.params["max_depth"] == "3"
    assert trials[0].data.params["min_samples_leaf"] == "1"  # the estimator's own default


def test_a_trial_that_fails_is_a_failed_run_with_its_reason(trials):
    failed = [run for run in trials if run.info.status == "FAILED"]
    assert failed
    assert all(int(run.data.params["min_samples_leaf"]) < 1 for run in failed)
    assert all("min_samples_leaf" in run.data.tags["tabular.reason"] for run in failed)


def test_the_search_goes_on_after_a_trial_that_fails(trials):
    statuses = [run.info.status for run in trials]
    assert "FINISHED" in statuses[statuses.index("FAILED") :]
    assert all(run.data.metrics for run in trials if run.info.status == "FINISHED")


def table(store, ended):
    """The trials as their table has them: name of a column: its values."""
    found = json.loads(Path(store.artifact(ended.run, "trials.json")).read_text())
    return dict(zip(found["columns"], map(list, zip(*found["data"], strict=True)), strict=True))


def lasting(columns):
    """All but the columns of time."""
    return {name: values for name, values in columns.items() if not name.endswith("_seconds")}


def test_more_threads_make_the_same_trials(store, searches):
    one, two = (table(store, ended) for ended in searches.values())
    assert lasting(one) == lasting(two)
    digests = {ended.tags["tabular.digest.trials"] for ended in searches.values()}
    assert len(digests) == 1


def test_the_best_trial_is_what_train_is_given(store, searches, trials):
    best = json.loads(store.artifact(searches[2].run, "best_params.json").read_text())
    complete = [run for run in trials if run.info.status == "FINISHED" and "tabular.given_up" not in run.data.tags]
    winner = max(complete, key=lambda run: run.data.metrics["search_roc_auc"])
    assert best["trial"] == int(winner.data.tags["tabular.trial"])
    assert best["params"] == {name: int(winner.data.params[name]) for name in ("max_depth", "min_samples_leaf")}
    assert best["roc_auc"] == searches[2].run.data.metrics["best_cv_roc_auc"]


def test_the_folds_that_judge_are_not_those_that_chose(searches, trials):
    scores = {run.data.metrics.get("search_roc_auc") for run in trials}
    assert searches[2].run.data.metrics["best_cv_roc_auc"] not in scores


def test_no_process_is_left(searches):
    assert [child for child in psutil.Process().children() if child.status() != "zombie" and _is_a_fork(child)] == []


def _is_a_fork(process):
    return process.cmdline() == psutil.Process().cmdline()


def test_a_search_of_which_every_trial_fails_says_why(store, etl, tmp_path):
    text = PROBLEM.replace("low: -6, high: 9", "low: -9, high: -1").replace("max_depth: 3", "min_samples_leaf: -1")
    source = json.loads(etl.tags["tabular.arguments"])["problem"]
    path = tmp_path / "fails.yaml"
    path.write_text(text.format(source=Path(source).with_name("table.csv")))
    ended = store.step("hpo", problem=str(path), dataset=etl.id, model="tree")
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert "all 14 trials failed: models.tree" in ended.lines[0]


def test_what_any_model_has_to_be_above_is_logged_beside_the_trials(store, searches):
    (baseline,) = [run for run in store.children(searches[2].id).values() if "tabular.baseline" in run.data.tags]
    assert baseline.data.metrics["search_roc_auc"] == 0.5
    assert searches[2].run.data.metrics["baseline_cv_roc_auc"] == 0.5


def searched(store, etl, tmp_path, trials: str):
    """A search whose problem says which trials are runs; its children by their trials' numbers, None: no trial."""
    source = Path(json.loads(etl.tags["tabular.arguments"])["problem"]).with_name("table.csv")
    path = tmp_path / "tracked.yaml"
    path.write_text(f"{PROBLEM.format(source=source)}tracking: {{trials: {trials}}}\n")
    ended = store.step("hpo", problem=str(path), dataset=etl.id, model="tree")
    assert ended.status == 0, ended.stderr
    return ended, {run.data.tags.get("tabular.trial"): run for run in store.children(ended.id).values()}


def test_the_best_trials_alone_are_runs_where_that_is_asked_for(store, etl, searches, trials, tmp_path):
    ended, found = searched(store, etl, tmp_path, "best 3")
    complete = [run for run in trials if run.data.metrics and "tabular.given_up" not in run.data.tags]
    best = sorted(complete, key=lambda run: -run.data.metrics["search_roc_auc"])[:3]
    assert set(found) == {None, *(run.data.tags["tabular.trial"] for run in best)}
    assert all(run.data.params == found[run.data.tags["tabular.trial"]].data.params for run in best)
    assert all(run.info.end_time <= ended.run.info.end_time for run in found.values())
    assert ended.tags["tabular.key"] == searches[2].tags["tabular.key"]


def test_no_trial_is_a_run_where_that_is_asked_for_and_the_table_has_them_all(store, etl, searches, tmp_path):
    ended, found = searched(store, etl, tmp_path, "none")
    assert found == {}
    assert lasting(table(store, ended)) == lasting(table(store, searches[2]))
    assert ended.run.data.metrics["baseline_cv_roc_auc"] == 0.5


def test_train_takes_over_the_cross_validation_of_the_best(store, searches, etl):
    trained = store.step("train", dataset=etl.id, model="tree", params=searches[2].id)
    assert trained.status == 0, trained.stderr
    found = json.loads(store.artifact(searches[2].run, "cross_validation.json").read_text())
    assert trained.run.data.metrics["cv_seconds"] == found["seconds"]
    scores = [fold["roc_auc"] for fold in found["scores"]]
    assert trained.run.data.metrics["cv_roc_auc_mean"] == pytest.approx(sum(scores) / 3)


@pytest.fixture(scope="module")
def killed(store, etl, searches):
    """A search that was killed when six of its trials had ended, and one like it that came after."""
    earlier = store.step("hpo", dataset=etl.id, model="tree", resume="false")
    for run in store.children(earlier.id).values():
        if int(run.data.tags.get("tabular.trial", 99)) > 5:
            store.client.delete_run(run.info.run_id)
    store.client.set_terminated(earlier.id, "KILLED")
    later = store.step("hpo", dataset=etl.id, model="tree")
    assert later.status == 0, later.stderr
    return earlier, later


def test_a_search_goes_on_where_one_like_it_was_killed(store, killed, searches):
    earlier, later = (table(store, ended) for ended in killed)
    again = [a == b > 0 for a, b in zip(earlier["trial_seconds"], later["trial_seconds"], strict=True)]
    failed = [score is None for score in later["roc_auc"]]
    # to the last digit of its seconds: it was not evaluated once more; one that failed says little, and is
    assert again == [number < 6 and not failed[number] for number in range(14)]
    assert lasting(later) == lasting(table(store, searches[1]))


def test_a_search_does_not_go_on_where_nothing_is_to_be_used_again(store, killed, etl):
    anew = store.step("hpo", dataset=etl.id, model="tree", resume="false")
    assert anew.status == 0, anew.stderr
    seconds = table(store, killed[0])["trial_seconds"]
    assert not set(seconds) & set(table(store, anew)["trial_seconds"]) - {0.0}


FOREST = """
name: rf
data: {{source: {source}, target: y}}
models:
  forest:
    estimator: lightgbm.LGBMClassifier
    params: {{boosting_type: rf, n_estimators: 3, subsample_freq: 1}}
    space: {{subsample: {{type: float, low: 0.4, high: 0.9}}}}
search: {{metric: roc_auc, trials: 4, folds: 3, max_pending: 2}}
"""


@pytest.fixture(scope="module")
def refusing(store, tmp_path_factory):
    """A data set of so many rows that trials are raced, and a model that is refused as the problem has it."""
    folder = tmp_path_factory.mktemp("refusing")
    table = pd.DataFrame({"x": range(9_000), "z": [i * 7 % 13 for i in range(9_000)]})
    table["y"] = [(i // 700 + i % 13 // 7) % 2 for i in range(9_000)]
    table.to_csv(folder / "table.csv", index=False)
    asked = folder / "rf.yaml"
    asked.write_text(FOREST.format(source=folder / "table.csv"))
    return store.step("etl", problem=str(asked))


@pytest.mark.parametrize(
    ("trials", "said"),
    [(4, "4 trials, 1 failed, best cross-validated"), (2, "2 trials, 1 failed, none evaluated whole, best")],
)
def test_a_search_that_begins_with_what_is_refused_says_so_and_finds_another(store, refusing, trials, said):
    ended = store.step("hpo", dataset=refusing.id, model="forest", trials=trials)
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.summary"].startswith(said)
    assert "Trial 0 failed: models.forest:" in ended.tags["mlflow.note.content"]
    best = json.loads(store.artifact(ended.run, "best_params.json").read_text())
    assert 0.4 <= best["params"]["subsample"] <= 0.9
    trained = store.step("train", dataset=refusing.id, model="forest", params=ended.id)
    assert trained.status == 0, trained.stderr


TREATED = """
name: treated
data: {{source: {source}, target: y}}
models:
  stumps:
    estimator: lightgbm.LGBMClassifier
    params: {{num_leaves: 2, n_estimators: 1, min_data_per_group: 1, cat_smooth: 0}}
    space: {{preprocessing.categories: {{type: choice, options: [ordinal, native]}}}}
search: {{metric: roc_auc, trials: 5, folds: 3, max_pending: 2}}
"""


def test_a_treatment_of_categories_that_a_search_finds_is_the_models_own(store, tmp_path):
    rows = pd.DataFrame({"town": [f"town {i % 20:02}" for i in range(600)], "x": range(600)})
    rows.assign(y=[i % 2 for i in range(600)]).to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "treated.yaml").write_text(TREATED.format(source=tmp_path / "table.csv"))
    etl = store.step("etl", problem=str(tmp_path / "treated.yaml"))
    searched = store.step("hpo", dataset=etl.id, model="stumps")
    assert searched.status == 0, searched.stderr
    best = json.loads(store.artifact(searched.run, "best_params.json").read_text())
    assert best["params"] == {"preprocessing.categories": "native"}
    assert table(store, searched)["preprocessing.categories"][0] == "ordinal"
    trained = store.step("train", dataset=etl.id, model="stumps", params=searched.id)
    assert trained.status == 0, trained.stderr
    assert trained.run.data.params["preprocessing_categories"] == "native"
    assert trained.run.data.metrics["training_roc_auc"] == 1
    again = store.step("hpo", dataset=etl.id, model="stumps", replays=searched.id)
    assert again.tags["tabular.digest.trials"] == searched.tags["tabular.digest.trials"]


COLUMNS_OF_ALL_KINDS = """
name: kinds
data: {{source: {source}, target: y}}
models:
  all:
    estimator: sklearn.linear_model.LogisticRegression
    preprocessing: {{categories: target, dates: [weekday, differences], texts: {{note: 2}}}}
search: {{metric: roc_auc, folds: 3}}
"""


def test_what_a_model_makes_of_dates_and_texts_it_makes_of_the_holdout_too(store, undrawn, tmp_path):
    days = pd.Series(pd.to_datetime("2024-01-01") + pd.to_timedelta([i * 5 % 97 for i in range(300)], unit="D"))
    words = ["late again today", "all is well", "nothing to say"]
    rows = pd.DataFrame({"on": days, "until": days + pd.to_timedelta(range(300), unit="h")})
    rows["town"], rows["note"] = [f"town {i % 9}" for i in range(300)], [words[i % 3] for i in range(300)]
    rows.assign(y=(days.dt.day_of_week > 3).astype(int)).to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "kinds.yaml").write_text(COLUMNS_OF_ALL_KINDS.format(source=tmp_path / "table.csv"))
    etl = store.step("etl", problem=str(tmp_path / "kinds.yaml"))
    trained = store.step("train", dataset=etl.id, model="all")
    assert trained.status == 0, trained.stderr
    assert trained.run.data.params["preprocessing_texts"] == "{'note': 2}"
    evaluated = store.step("evaluate", dataset=etl.id, models=trained.id)
    assert evaluated.status == 0, evaluated.stderr
    assert evaluated.run.data.metrics["roc_auc"] > 0.99  # the day of the week alone tells the class
