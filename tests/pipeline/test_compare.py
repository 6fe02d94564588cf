"""`compare`: the best runs of an experiment side by side, and what is said where there is nothing to lay there."""

import json
from dataclasses import dataclass

import pytest
from mlflow.entities import Metric, Param

from tests import servers
from tests.running import EXPERIMENT, Ended, Store

pytestmark = pytest.mark.slow

# Runs that are not ours; of these the first ones did the same work, more than fit on a page of MLflow's.
OTHERS, SAME = 20, 9


@dataclass
class Lab:
    """A store with three chains: one, the same once more, and one of another seed; and an experiment of other runs."""

    store: Store
    first: Ended
    again: Ended
    other: Ended

    def compare(self, **parameters) -> Ended:
        ended = self.store.step("compare", **parameters)
        assert ended.status == 0, ended.stderr
        assert ended.run.info.status == "FINISHED"
        return ended

    def columns(self, ended: Ended) -> dict[str, list]:
        """The table that a comparison left: name of a column: its values."""
        found = json.loads(self.store.artifact(ended.run, "comparison.json").read_text())
        return dict(zip(found["columns"], map(list, zip(*found["data"], strict=True)), strict=True))


def log_others(store):
    """Runs of somebody else's: the best score over and over, then a worse one each."""
    experiment = store.client.create_experiment("others", artifact_location=str(store.folder / "others"))
    for number in range(OTHERS):
        work = max(0, number - SAME + 1)
        run = store.client.create_run(experiment, run_name=f"other {work}")
        metrics = [Metric("score", 0.9 - work / 100, 0, 0), *([Metric("depth", 2.0, 0, 0)] if work == 5 else [])]
        params = [Param("rate", str(work / 10)), Param("kind", "a|b" * 20)]
        store.client.log_batch(run.info.run_id, metrics=metrics, params=params)
        store.client.set_terminated(run.info.run_id, "FAILED" if work == 7 else "FINISHED")


@pytest.fixture(scope="module")
def lab(chains, fork_server):
    store, ended = chains.store("compare", after="other", fork_server=fork_server)
    store.environment["COLUMNS"] = "200"  # a process beside pytest's own has its width
    log_others(store)
    return Lab(store, **ended)


@pytest.fixture(scope="module")
def mains(lab):
    """What is compared where nothing is asked for."""
    return lab.compare()


@pytest.fixture(scope="module")
def trains(lab):
    return lab.compare(of="train")


@pytest.fixture(scope="module")
def trials(lab):
    return lab.compare(of="trials", top=5)


def test_by_default_the_chains_of_the_experiment_are_compared_by_the_metric_of_their_search(lab, mains):
    found = lab.columns(mains)
    assert set(found["run"]) == {lab.first.id, lab.other.id}
    assert set(found["what"]) == {"main"}
    assert found["roc_auc"] == sorted(found["roc_auc"], reverse=True)
    assert f"compare runs of main by roc_auc (more is better) in the experiment '{EXPERIMENT}'" in mains.stdout


def test_a_chain_that_took_all_of_its_work_from_an_earlier_one_is_listed_with_it(lab, mains):
    assert lab.again.run.data.metrics["roc_auc"] == lab.first.run.data.metrics["roc_auc"]
    assert lab.again.id not in lab.columns(mains)["run"]


def test_a_chain_names_its_winner_and_all_of_its_metrics(lab, mains):
    found = lab.columns(mains)
    for place, run_id in enumerate(found["run"]):
        run = lab.store.client.get_run(run_id)
        assert found["model"][place] == run.data.tags["tabular.winner"]
        assert {name: found[name][place] for name in run.data.metrics} == run.data.metrics


def test_chains_differ_in_what_they_were_asked_and_in_nothing_else(lab, mains):
    found = lab.columns(mains)
    metrics = list(lab.first.run.data.metrics)
    about = ["run", "what", "model", "started", "problem", "outcome", "search", "data", "commit"]
    assert set(found) - {*about, *metrics} == {"seed"}
    assert dict(zip(found["run"], found["seed"], strict=True)) == {lab.first.id: 0, lab.other.id: 8}


def test_scores_on_other_rows_are_said_to_be(mains):
    assert "They differ in seed: not all may be scored on the same rows." in mains.stdout
    assert "They differ in seed" in mains.tags["mlflow.note.content"]


def test_models_are_compared_across_chains_by_their_cross_validation(lab, trains):
    found = lab.columns(trains)
    assert sorted(found["model"]) == ["lightgbm", "lightgbm", "logistic_regression", "logistic_regression"]
    assert found["cv_roc_auc_mean"] == sorted(found["cv_roc_auc_mean"], reverse=True)
    children = [run for chain in (lab.first, lab.other) for run in lab.store.children(chain.id).values()]
    trained = {run.info.run_id for run in children if run.data.tags.get("mlflow.project.entryPoint") == "train"}
    assert set(found["run"]) == trained


def test_of_models_the_hyperparameters_are_shown_that_two_of_a_kind_differ_in(lab, trains):
    found = lab.columns(trains)
    runs = {run_id: lab.store.client.get_run(run_id).data.params for run_id in found["run"]}
    assert set(found["seed"]) == {0, 8}
    assert "estimator" not in found
    assert not {"dataset", "params", "params.problem", "params.model"} & set(found)  # the runs that it was given
    for name in ("num_leaves", "learning_rate"):
        boosted = {params[name] for params in runs.values() if name in params}
        assert (name in found) == (len(boosted) > 1)


def test_the_best_trials_of_all_searches_are_compared(lab, trials):
    found = lab.columns(trials)
    everything = lab.store.client.search_runs([lab.store.experiment], "tags.`tabular.trial` != ''")
    whole = [run for run in everything if "tabular.given_up" not in run.data.tags]
    scores = sorted({run.data.metrics["search_roc_auc"] for run in whole}, reverse=True)
    assert len(found["run"]) == 5
    assert found["search_roc_auc"][0] == scores[0]
    assert set(found["search_roc_auc"]) <= set(scores)
    assert {"num_leaves", "learning_rate"} & set(found)
    assert all(what.startswith("trial ") for what in found["what"])


def test_the_estimate_of_a_trial_that_was_pruned_is_not_compared(lab, trials):
    best, second = lab.columns(trials)["run"][:2]
    lab.store.client.set_tag(best, "tabular.given_up", "after 1 part")
    try:
        found = lab.columns(lab.compare(of="trials"))["run"]
    finally:
        lab.store.client.delete_tag(best, "tabular.given_up")
    assert found[0] == second
    assert best not in found


def test_a_filter_is_in_mlflows_search_language(lab):
    asked = {"of": "train", "filter": "tags.tabular.model = 'lightgbm' and metrics.cv_roc_auc_mean > 0.1"}
    found = lab.columns(lab.compare(**asked))
    assert found["model"] == ["lightgbm", "lightgbm"]


def test_a_metric_is_named_as_in_a_problem_or_as_it_is_logged(lab):
    by = {name: lab.columns(lab.compare(of="train", metric=name)) for name in ("log_loss", "cv_log_loss_mean")}
    assert by["log_loss"]["run"] == by["cv_log_loss_mean"]["run"]
    losses = by["log_loss"]["cv_log_loss_mean"]
    assert losses == sorted(losses)


def test_of_times_less_is_better(lab):
    found = lab.columns(lab.compare(of="train", metric="fit_seconds"))
    assert found["fit_seconds"] == sorted(found["fit_seconds"])


def test_the_other_direction_shows_the_worst(lab, trains):
    worst = lab.columns(lab.compare(of="train", direction="minimize"))["run"]
    assert worst == lab.columns(trains)["run"][::-1]


def test_runs_of_others_are_compared_by_any_metric_whose_direction_is_given(lab):
    found = lab.columns(lab.compare(experiment="others", of="all", metric="score", direction="maximize", top=3))
    assert found["what"] == ["other 0", "other 1", "other 2"]
    assert found["rate"] == [0.0, 0.1, 0.2]
    assert "kind" not in found
    assert "depth" not in found


def test_a_run_that_lacks_the_metric_or_has_failed_is_not_listed(lab):
    found = lab.columns(lab.compare(experiment="others", of="all", metric="score", direction="minimize", top=200))
    assert found["what"] == [f"other {work}" for work in range(OTHERS - SAME, -1, -1) if work != 7]
    found = lab.columns(lab.compare(experiment="others", of="all", metric="depth", direction="minimize"))
    assert found["what"] == ["other 5"]


@pytest.mark.parametrize("name", ["mains", "trains", "trials"])
@pytest.mark.parametrize("picture", ["ranking", "parallel_coordinates"])
def test_a_comparison_has_its_pictures(lab, request, name, picture):
    ended = request.getfixturevalue(name)
    assert lab.store.artifact(ended.run, f"pictures/{picture}.png").read_bytes().startswith(b"\x89PNG")


def test_the_terminal_shows_the_table_with_the_best_first(lab, trains):
    lines = trains.stdout.splitlines()
    header = next(place for place, line in enumerate(lines) if line.startswith("run "))
    names = lines[header].split()
    assert names[:2] == ["run", "model"]
    metrics = names.index("cv_roc_auc_mean")
    assert names[metrics : metrics + 3] == ["cv_roc_auc_mean", "cv_roc_auc_std", "training_roc_auc"]
    assert "seed" in names[metrics:]
    shown = [line.split()[0] for line in lines[header + 2 : header + 6]]
    assert shown == [run_id[:8] for run_id in lab.columns(trains)["run"]]


def test_the_table_is_one_in_mlflows_page_of_the_run(trains):
    assert json.loads(trains.tags["mlflow.loggedArtifacts"]) == [{"path": "comparison.json", "type": "table"}]


def test_the_run_says_what_was_compared_and_links_to_each(lab, trains):
    params = trains.run.data.params
    assert params["compared_experiment"] == EXPERIMENT
    assert (params["compared_metric"], params["compared_direction"]) == ("cv_roc_auc_mean", "maximize")
    assert "'train'" in params["compared_runs"]
    note = trains.tags["mlflow.note.content"]
    assert all(f"/runs/{run_id})" in note for run_id in lab.columns(trains)["run"])
    assert lab.columns(trains)["run"][0] in trains.tags["tabular.summary"]


def test_a_comparison_is_typed_as_people_do(lab, tmp_path):
    words = {"experiment": EXPERIMENT, "of": "train", "metric": "roc_auc", "top": "1"}
    asked = "params.seed = '8' and tags.`tabular.problem` = \"small\""
    ended = lab.store.project("compare", cwd=tmp_path, **words, filter=asked)
    assert ended.status == 0, ended.stderr
    assert lab.columns(ended)["run"][0] in {run.info.run_id for run in lab.store.children(lab.other.id).values()}
    assert f"tabular  compare {ended.id}: the best of 1 runs of train by cv_roc_auc_mean" in ended.stdout


WRONG = {
    "an experiment that is not there": ({"experiment": "test"}, "experiment:", "'test'", "did you mean 'tests'"),
    "an unknown kind of runs": ({"of": "trial"}, "of: 'trial' is not known, did you mean 'trials' or 'train'", "all"),
    "no number": ({"top": "ten"}, "top: 'ten' is not a whole number from 1 to 200"),
    "no run at all": ({"top": "0"}, "top: '0'"),
    "a misspelt metric": ({"metric": "roc_acu"}, "metric: 'roc_acu' is none of ours, did you mean 'roc_auc'"),
    "a metric whose direction nobody knows": (
        {"experiment": "others", "of": "all", "metric": "score"},
        "metric: 'score' is none of ours",
        "-P direction=maximize or minimize",
    ),
    "a direction that is none": ({"direction": "up"}, "direction: 'up' is neither 'maximize' nor 'minimize'"),
    "a metric that these runs lack": (
        {"of": "trials", "metric": "accuracy"},
        "metric: the experiment 'tests' has no FINISHED trials with 'search_accuracy'",
        "search_roc_auc",
    ),
    "a metric that MLflow cannot log": (
        {"metric": "a`b", "direction": "maximize"},
        "has no FINISHED runs of main with 'a`b'",
    ),
    "an experiment without chains": ({"experiment": "others"}, "metric:", "no FINISHED run of main", "experiment=NAME"),
    "no such runs": (
        {"experiment": "others", "metric": "roc_auc"},
        "of: the experiment 'others' has no FINISHED runs of main",
        "-P of=",
    ),
    "a filter that nothing passes": (
        {"filter": "metrics.roc_auc > 2"},
        "no FINISHED runs of main that the filter lets pass",
    ),
    "a metric without its word": (
        {"filter": "roc_auc > 0.9"},
        "filter: MLflow does not understand 'roc_auc > 0.9': Invalid attribute key 'roc_auc'",
        "for instance -P filter='metrics.roc_auc > 0.9",
    ),
    "a filter with or": ({"filter": "metrics.a > 1 or metrics.b > 1"}, "filter:", "'or'", "for instance"),
    "a filter without quotes": ({"filter": "params.seed = 8"}, "filter:", "quoted string value", "for instance"),
    "two filters": ({"filter": "metrics.a > 1; metrics.b > 1"}, "filter:", "multiple expression", "for instance"),
    "blanks": ({"filter": "  "}, "filter:", "for instance"),
    "a misspelt parameter": ({"metrics": "roc_auc"}, "compare has no parameter 'metrics', did you mean 'metric'"),
}


@pytest.mark.parametrize(("given", "says"), [(given, says) for given, *says in WRONG.values()], ids=WRONG)
def test_what_cannot_be_compared_is_one_line_that_says_why(lab, given, says):
    ended = lab.store.step("compare", **given)
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert all(words in ended.lines[0] for words in says), ended.lines[0]
    assert ended.run.info.status == "FAILED"
    assert ended.tags["tabular.reason"] == ended.lines[0].removeprefix("tabular: ")


@pytest.fixture
def server(lab):
    """The address of a tracking server over the same store, which holds artifacts too."""
    with servers.tracking(lab.store.uri, lab.store.folder / "remote") as address:
        yield address


@pytest.mark.long
def test_a_tracking_server_gives_the_same_table_and_keeps_what_came_of_it(lab, server, mains):
    env = {"MLFLOW_TRACKING_URI": server, "MLFLOW_EXPERIMENT_NAME": "comparisons"}
    ended = lab.store.process("compare", env=env, experiment=EXPERIMENT)
    assert ended.status == 0, ended.stderr
    assert ended.stdout.split("\n\n")[1] == mains.stdout.split("\n\n")[1]
    assert (next((lab.store.folder / "remote").rglob("comparison.json"))).is_file()
    wrong = lab.store.process("compare", env=env, experiment=EXPERIMENT, filter="roc_auc > 0.9")
    assert wrong.status == 1
    assert "filter: MLflow does not understand 'roc_auc > 0.9': Invalid attribute key 'roc_auc'" in wrong.lines[0]
    assert "Traceback" not in wrong.stderr
