"""Runs that are only told of: shown through a child that reused them, and no reason to fail once they are deleted."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from steps import reproduce
from steps.chain import launch
from steps.comparison import comparison_table
from steps.replay.equality import NOT_COMPARED
from steps.run.tags import TRIAL
from tests.running import Ended

YAML = """
name: {name}
data: {{source: {source}, target: y}}
models:
  boosted:
    estimator: lightgbm.LGBMClassifier
    params: {{n_estimators: 5}}
    space: {{num_leaves: {{type: int, low: 4, high: 8}}}}
  other: {{estimator: lightgbm.LGBMClassifier, params: {{n_estimators: 50}}}}
search: {{metric: roc_auc, folds: 2, trials: 1}}
"""


class Lab:
    """A data set of few rows, and the steps after it."""

    def __init__(self, store, folder):
        self.store, self.folder = store, folder
        x = np.random.default_rng(0).normal(size=300)
        pd.DataFrame({"x": x, "y": np.where(x > 0, "yes", "no")}).to_csv(folder / "rows.csv", index=False)
        self.etl = self.run("etl", problem=self.problem("gone"))

    def problem(self, name, more=""):
        path = self.folder / f"{name}.yaml"
        path.write_text(YAML.format(name=name, source=self.folder / "rows.csv") + more)
        return str(path)

    def run(self, step, **parameters):
        ended = self.store.step(step, **parameters)
        assert ended.status == 0, ended.stderr
        return ended

    def search(self):
        return self.run("hpo", dataset=self.etl.id, model="boosted")

    def train(self, search_id, etl=None, model="boosted"):
        return self.run("train", dataset=(etl or self.etl).id, model=model, params=search_id)

    def evaluate(self, trained, etl=None):
        return self.run("evaluate", dataset=(etl or self.etl).id, models=trained.id)

    def child_for(self, run_id):
        """A child as main makes one for a step that it does not run again."""
        tags = {"tabular.reused_from": run_id, "mlflow.parentRunId": "0" * 32}
        child = self.store.client.create_run(self.store.experiment, tags=tags).info.run_id
        self.store.client.set_terminated(child)
        return child

    def delete(self, run_id):
        """As the UI deletes a run: marked, and out of every list."""
        self.store.client.delete_run(run_id)

    def purge(self, run_id):
        """Delete a run for good, with its artifacts."""
        self.delete(run_id)
        words = ["--backend-store-uri", self.store.uri, "--tracking-uri", self.store.uri, "--run-ids", run_id]
        from mlflow.cli import gc  # seconds that nobody who collects the tests has to wait

        done = CliRunner().invoke(gc, words)
        mlflow.set_tracking_uri(None)
        assert done.exit_code == 0, done.output

    def report(self, ended):
        return self.store.artifact(ended.run, "report.html").read_text()


@pytest.fixture(scope="module")
def lab(store, undrawn, tmp_path_factory):
    return Lab(store, tmp_path_factory.mktemp("gone"))


@pytest.fixture
def named(lab, request):
    """A problem of the lab's with a name of its own in the registry."""
    return lab.problem(f"gone_{abs(hash(request.node.name)) % 10**8}")


@pytest.fixture(scope="module")
def reused(lab):
    """A search, and the evaluation of what a chain that reused it has trained; nothing of it is gone."""
    search = lab.search()
    return search, lab.evaluate(lab.train(lab.child_for(search.id)))


@dataclass(frozen=True)
class Gone:
    """A run that is gone, and what was made of it before."""

    run: Ended
    trained: Ended
    evaluation: Ended


@pytest.fixture(scope="module")
def purged(lab):
    """A search that was purged after its candidate was evaluated."""
    search = lab.search()
    trained = lab.train(search.id)
    gone = Gone(search, trained, lab.evaluate(trained))
    lab.purge(search.id)
    return gone


@pytest.fixture(scope="module")
def deleted(lab):
    """A search that was deleted after its candidate was evaluated; gives one of its trials too."""
    search = lab.search()
    trial = next(run for run in lab.store.children(search.id).values() if TRIAL in run.data.tags)
    trained = lab.train(search.id)
    gone = Gone(search, trained, lab.evaluate(trained))
    lab.delete(search.id)
    return gone, trial


# Of two that are as good the smaller one.
SMALLER = "gate: {beat_champion: {or_equal: {within: 0.5, tie_break: smaller}}}\n"


@pytest.fixture(scope="module")
def orphaned(lab):
    """A run of train that was purged after its model became the champion of the problem `gone_smaller`."""
    trained = lab.train("")
    gone = Gone(trained, trained, lab.evaluate(trained))
    lab.run("register", evaluation=gone.evaluation.id, problem=lab.problem("gone_smaller", SMALLER))
    lab.purge(trained.id)
    return gone


def test_the_report_tells_what_a_reused_search_found(lab, named, reused):
    search, evaluation = reused
    ended = lab.run("register", evaluation=evaluation.id, problem=named)
    assert "found by the search" in lab.report(ended)
    assert f"num_leaves {search.run.data.params['best_num_leaves']}" in lab.report(ended).replace("=", " ")
    assert search.id in lab.report(ended)


def test_a_search_that_was_purged_is_no_longer_there_in_the_report(lab, named, purged):
    ended = lab.store.step("register", evaluation=purged.evaluation.id, problem=named)
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.outcome"] == "registered"
    gone = f"hpo, run {purged.run.id}, is no longer there"
    assert gone in lab.report(ended)
    assert gone in ended.stdout


def test_a_search_that_was_deleted_is_no_longer_there_and_still_tells_what_it_found(lab, named, deleted):
    gone, _ = deleted
    ended = lab.run("register", evaluation=gone.evaluation.id, problem=named)
    assert f"hpo, run {gone.run.id}, is no longer there" in lab.report(ended)
    assert "found by the search" in lab.report(ended)


def test_a_winner_whose_run_of_train_was_purged_is_registered(lab, named, orphaned):
    ended = lab.store.step("register", evaluation=orphaned.evaluation.id, problem=named)
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.outcome"] == "registered"
    assert f"train, run {orphaned.run.id}, is no longer there" in lab.report(ended)
    told = json.loads(lab.store.artifact(ended.run, "provenance.json").read_text())
    assert told["predicate"]["buildDefinition"]["resolvedDependencies"][0]["uri"] == "unknown"


def test_a_data_set_whose_run_was_purged_leaves_the_report_without_its_profile(lab, named):
    etl = lab.run("etl", problem=lab.problem("gone"))
    evaluation = lab.evaluate(lab.train("", etl), etl)
    lab.purge(etl.id)
    ended = lab.store.step("register", evaluation=evaluation.id, problem=named)
    assert ended.status == 0, ended.stderr
    assert f"etl, run {etl.id}, is no longer there" in lab.report(ended)
    version = lab.store.client.get_model_version(ended.tags["tabular.champion"].split("/")[1].split("@")[0], "1")
    assert version.tags["tabular.dataset"] == etl.id


def test_a_main_that_was_purged_is_no_longer_there_in_the_report_of_its_register(lab, named, reused):
    main = "f" * 32
    run = lab.store.client.create_run(lab.store.experiment, tags={"mlflow.parentRunId": main})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(lab.store.environment, "MLFLOW_RUN_ID", run.info.run_id)
        ended = lab.store.step("register", evaluation=reused[1].id, problem=named)
    assert ended.status == 0, ended.stderr
    page = lab.store.artifact(run, "report.html").read_text()
    assert f"main, run {main}, is no longer there" in page


def test_evaluate_draws_no_search_that_is_no_longer_there_and_says_so(lab, purged):
    ended = lab.store.step("evaluate", dataset=lab.etl.id, models=purged.trained.id)
    assert ended.status == 0, ended.stderr
    gone = f"the search of boosted, run {purged.run.id}, is no longer there"
    assert gone in ended.stdout
    assert gone in ended.tags["mlflow.note.content"]


def test_a_champion_whose_run_was_purged_is_kept_where_its_size_would_have_decided(lab, orphaned):
    other = lab.evaluate(lab.train("", model="other"))
    ended = lab.store.step("register", evaluation=other.id, problem=lab.problem("gone_smaller", SMALLER))
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.outcome"] == "kept_champion"
    assert f"there is no run '{orphaned.run.id}'" in ended.tags["tabular.verdict"]


def test_a_step_of_then_that_was_deleted_is_told_as_not_compared(lab, tmp_path):
    client, experiment = lab.store.client, lab.store.experiment
    then = client.create_run(experiment)
    now = client.create_run(experiment)
    about = {"mlflow.parentRunId": now.info.run_id, "mlflow.project.entryPoint": "etl"}
    client.set_terminated(client.create_run(experiment, tags=about).info.run_id)
    (tmp_path / "chain.json").write_text(json.dumps({"etl": "e" * 32}))
    client.log_artifact(then.info.run_id, str(tmp_path / "chain.json"))
    step = SimpleNamespace(client=client, folder=tmp_path)
    asked = reproduce.Replay(then, "main", "main", then, None, {})
    mlflow.set_tracking_uri(lab.store.uri)
    try:
        failed = launch.StepFailed("train", "why not", said=True)
        found = list(reproduce._compared(step, asked, client.get_run(now.info.run_id), failed))
    finally:
        mlflow.set_tracking_uri(None)
    assert (found[0].task, found[0].result) == ("etl", NOT_COMPARED)
    assert found[0].said == (f"run {'e' * 32} is no longer there",)


def test_trials_of_a_deleted_search_are_compared_with_its_folds_and_seed(lab, deleted):
    gone, trial = deleted
    found = comparison_table.of_entries(lab.store.client, [comparison_table.entry(trial, lab.folder)], [])
    assert found.about["search"] == [gone.run.id[:8]]
