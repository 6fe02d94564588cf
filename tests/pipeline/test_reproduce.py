"""`reproduce`: a run once more from its tree, problem and data, told the same where it is and different where not."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run, RunData, RunTag

from steps.replay import equality
from steps.replay.equality import Pair
from tests.chains import PROBLEM, git
from tests.running import PROJECT, Ended, Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (PROJECT / ".git").exists(), reason="the project is not a git clone"),
]

TASKS = ["etl", "hpo lightgbm", "train logistic_regression", "train lightgbm", "blend", "evaluate", "refit", "register"]
# test_weighted.py replays an evaluation alone, too
SINGLE = ["train lightgbm", pytest.param("evaluate", marks=pytest.mark.long)]


@dataclass
class Lab:
    """A clone of this project with the working files committed, a store, and a chain that was run in them, twice."""

    folder: Path
    store: Store
    main: Ended
    reused: Ended

    @property
    def clone(self) -> Path:
        return self.folder / "project"

    @property
    def table(self) -> Path:
        return self.folder / "table.csv"

    def task(self, name: str) -> Run:
        chain = json.loads(self.store.artifact(self.main.run, "chain.json").read_text())
        return self.store.client.get_run(chain[name])

    def reproduce(self, run: str, **parameters) -> Ended:
        return self.store.step("reproduce", run=run, **parameters)

    def by_hand(self, step: str, **parameters) -> Ended:
        ended = self.store.project(step, uri=str(self.clone), **parameters)
        assert ended.status == 0, ended.stderr
        return ended

    def again(self, ended: Ended) -> Run:
        """The run that a reproduce started."""
        (found,) = self.store.client.search_runs(
            [self.store.experiment], f"tags.`mlflow.parentRunId` = '{ended.id}' and tags.`tabular.replay_of` != ''"
        )
        return found

    def findings(self, ended: Ended) -> dict[tuple[str, str], tuple[str, str]]:
        """Task and subject: the result and what was said, of the table that a reproduce left."""
        rows = json.loads(self.store.artifact(ended.run, "replay.json").read_text())["data"]
        return {(row[0], row[1]): (row[2], row[4]) for row in rows}


@pytest.fixture(scope="module")
def lab(chains, fork_server):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TABULAR_CALLER", "")  # what a step in this process tells its children is gone afterwards
        patch.delenv("TABULAR_CALLER")
        store, ended = chains.store("reproduce", after="again", fork_server=fork_server)
        yield Lab(chains.folder, store, ended["first"], ended["again"])


@pytest.fixture(scope="module")
def replayed(lab):
    """The chain once more."""
    return lab.reproduce(lab.main.id, jobs=1)


def test_a_chain_is_told_the_same(lab, replayed):
    assert replayed.status == 0, replayed.stdout + replayed.stderr
    assert replayed.run.info.status == "FINISHED"
    assert replayed.tags["tabular.outcome"] == "same"
    found = lab.findings(replayed)
    assert {task for task, _ in found} == {*TASKS, "main"}
    assert {result for result, _ in found.values()} == {"same"}


def test_what_matters_is_among_what_is_compared(lab, replayed):
    subjects = {task.split()[0]: set() for task in [*TASKS, "main"]}
    for task, subject in lab.findings(replayed):
        subjects[task.split()[0]].add(subject)
    everywhere = {"data", "problem", "parameters", "source", "lock", "metrics", "digests", "artifacts"}
    assert all(everywhere <= subjects[task] for task in subjects if task != "main")
    assert "trials" in subjects["hpo"]
    assert "model" in subjects["train"]
    assert "predictions" in subjects["evaluate"]
    assert "verdict" in subjects["register"]
    assert {"problem", "lock", "metrics", "verdict", "artifacts"} <= subjects["main"]


def test_it_reads_as_a_line_a_task(replayed):
    lines = [line for line in replayed.stdout.splitlines() if " same " in line]
    assert [line.split("  same")[0].strip() for line in lines] == [*TASKS, "main"]


def test_the_repetition_is_a_child_that_names_what_it_repeats(lab, replayed):
    again = lab.again(replayed)
    assert again.data.tags["tabular.replay_of"] == lab.main.id
    for name in ("mlflow.source.git.commit", "mlflow.source.name"):
        assert again.data.tags[name] == lab.main.tags[name]
    assert not [run for run in lab.store.children(again.info.run_id).values() if "tabular.reused_from" in run.data.tags]


def test_a_repetition_leaves_the_registry_alone(lab, replayed):
    assert lab.task("register").data.tags["tabular.outcome"] == "registered"
    assert len(lab.store.versions("small_classifier")) == 1
    again = lab.store.children(lab.again(replayed).info.run_id)["register"]
    assert again.data.tags["tabular.outcome"] == "registered"
    assert "tabular.champion" not in again.data.tags


@pytest.mark.parametrize("task", SINGLE)
def test_a_single_step_of_a_chain_is_told_the_same(lab, task):
    ended = lab.reproduce(lab.task(task).info.run_id)
    assert ended.status == 0, ended.stdout + ended.stderr
    found = lab.findings(ended)
    assert {name for name, _ in found} == {task}
    assert {result for result, _ in found.values()} == {"same"}
    assert len(lab.store.versions("small_classifier")) == 1


@pytest.fixture
def pair(lab, replayed, tmp_path):
    """The run of a task, as the store holds it or altered, beside its repetition."""
    again = lab.again(replayed)
    runs = {**lab.store.children(again.info.run_id), "main": again}

    def of(task, tags=(), metrics=(), params=()):
        then = lab.main.run if task == "main" else lab.task(task)
        data = RunData(
            list(then.data._metric_objs), [], [RunTag(n, v) for n, v in {**then.data.tags, **dict(tags)}.items()]
        )
        data._metrics = {**then.data.metrics, **dict(metrics)}
        data._params = {**then.data.params, **dict(params)}
        altered = Run(then.info, data, then.inputs, then.outputs)
        return Pair(lab.store.client, task, altered, runs[task], tmp_path)

    return of


def told(pair):
    """The subjects of a pair that are not the same, and the words for them."""
    return {one.subject: " ".join(one.said) for one in equality.findings(pair) if one.result != equality.SAME}


@pytest.fixture(autouse=True)
def _tracking(request):
    """What reads an artifact asks MLflow's own setting for the store."""
    if "tmp_path" in request.fixturenames:
        import mlflow

        mlflow.set_tracking_uri(request.getfixturevalue("lab").store.uri)
        yield
        mlflow.set_tracking_uri(None)
    else:
        yield


ALTERED = {
    "metric": ("train lightgbm", "metrics", {"cv_roc_auc_mean": 0.5}, "metrics", "cv_roc_auc_mean: 0.5 then"),
    "metric of main": ("main", "metrics", {"roc_auc": 0.5}, "metrics", "roc_auc: 0.5 then"),
    "parameter": ("train lightgbm", "params", {"num_leaves": "77"}, "parameters", "num_leaves: 77 then"),
    "lock of main": ("main", "tags", {"tabular.lock": "0" * 64}, "lock", "tabular.lock: 000"),
    "data": ("etl", "tags", {"tabular.data_digest": "0" * 64}, "data", "tabular.data_digest: 000"),
    "digest": ("evaluate", "tags", {"tabular.digest.evaluation": "0"}, "digests", "tabular.digest.evaluation: 0 then"),
    "model": ("train lightgbm", "tags", {"tabular.digest.model": "0" * 64}, "model", "000000000000 recorded"),
    "code": ("train lightgbm", "tags", {"tabular.digest.code": "0" * 64}, "model", "000000000000 recorded"),
    "verdict": ("register", "tags", {"tabular.outcome": "refused"}, "verdict", "tabular.outcome: refused then"),
    "record": ("etl", "tags", {"tabular.artifacts": "0" * 64}, "artifacts", "not what the run sealed"),
}  # fmt: skip


@pytest.mark.parametrize("name", ALTERED)
def test_what_was_altered_in_the_store_is_told_with_both_values(pair, name):
    task, what, change, subject, words = ALTERED[name]
    found = told(pair(task, **{what: change}))
    assert list(found) == [subject]
    assert words in found[subject]


@pytest.mark.parametrize("task", [*TASKS, "main"])
def test_a_pair_that_nobody_altered_is_the_same(pair, task):
    assert told(pair(task)) == {}


def test_one_altered_bit_of_a_prediction_is_told_and_where(lab, pair):
    path = lab.store.artifact(lab.task("evaluate"), "predictions/lightgbm.parquet")
    before = path.read_bytes()
    frame = pd.read_parquet(path)
    frame.loc[7, "probability_yes"] = np.nextafter(frame.loc[7, "probability_yes"], 1)
    frame.to_parquet(path)
    try:
        found = told(pair("evaluate"))
    finally:
        path.write_bytes(before)
    assert set(found) == {"predictions", "artifacts"}
    assert "lightgbm probability_yes: 1 of 24 rows, first row 7" in found["predictions"]
    assert "predictions/lightgbm.parquet has been altered" in found["artifacts"]


def test_an_altered_lock_in_a_steps_key_is_told(lab, pair):
    path = lab.store.artifact(lab.task("train lightgbm"), "key.json")
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), "lock": "0" * 64, "module tabular/model/training.py": "1"}))
    try:
        found = told(pair("train lightgbm"))
    finally:
        path.write_text(before)
    assert set(found) == {"lock", "source", "artifacts"}
    assert "tabular/model/training.py" in found["source"]


def test_an_altered_trial_is_told(lab, pair):
    trials = lab.store.children(lab.task("hpo lightgbm").info.run_id)
    trial = next(run for run in trials.values() if run.data.tags.get("tabular.trial") == "1")
    before = trial.data.metrics["search_roc_auc"]
    lab.store.client.log_metric(trial.info.run_id, "search_roc_auc", 0.25)
    found = told(pair("hpo lightgbm"))
    lab.store.client.log_metric(trial.info.run_id, "search_roc_auc", before)
    assert list(found) == ["trials"]
    assert "trial 1 search_roc_auc: 0.25 then" in found["trials"]


def test_what_a_run_does_not_hold_is_said_and_is_not_the_same(pair):
    altered = pair("train lightgbm")
    del altered.then.data.tags["tabular.digest.curves"]
    (one,) = [one for one in equality.findings(altered) if one.result != equality.SAME]
    assert (one.subject, one.result) == ("digests", equality.NOT_COMPARED)
    assert one.said == ("the run does not say its tabular.digest.curves",)


def test_a_difference_on_another_kind_of_processor_is_not_compared(pair, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    altered = pair("train lightgbm", metrics={"cv_roc_auc_mean": 0.5})
    (one,) = [one for one in equality.findings(altered) if one.result != equality.SAME]
    assert (one.subject, one.result) == ("metrics", equality.NOT_COMPARED)
    assert "this machine is riscv64" in one.said[0]


@pytest.fixture(scope="module")
def dirty(lab):
    """A run of etl by hand from a tree with an edited module and a new binary file; the tree was reset since."""
    edited = lab.clone / "steps" / "etl.py"
    read = 'from steps import PROJECT; step.log(metrics={"of_new": float(len((PROJECT / "new.bin").read_bytes()))})'
    text = edited.read_text()
    first = "    problem = task.settled(step, run_problem.asked(step))\n"
    body = text.replace(first, f"    {read}\n{first}")
    assert body != text
    edited.write_text(body)
    (lab.clone / "new.bin").write_bytes(bytes(range(256)) * 3)
    ended = lab.by_hand("etl", data="table.csv", target="y")
    git(lab.clone, "checkout", "-q", ".")
    git(lab.clone, "clean", "-fdq")
    return ended


@pytest.fixture(scope="module")
def elsewhere(lab, dirty):
    """Its repetitions after the table was moved: without a word, and with the place where it lies now."""
    moved = lab.folder / "elsewhere.csv"
    lab.table.rename(moved)
    try:
        return lab.reproduce(dirty.id), lab.reproduce(dirty.id, data="elsewhere.csv")
    finally:
        moved.rename(lab.table)


def test_a_run_from_a_tree_with_changes_is_the_same_after_the_tree_was_reset(lab, dirty, elsewhere):
    assert dirty.tags["tabular.tree"] == "changed"
    assert not (lab.clone / "new.bin").exists()
    assert elsewhere[1].tags["tabular.outcome"] == "same"
    assert lab.again(elsewhere[1]).data.metrics["of_new"] == 768


def test_data_that_has_moved_is_found_where_it_is_said_to_be(elsewhere):
    assert elsewhere[1].status == 0, elsewhere[1].stdout + elsewhere[1].stderr


def test_data_that_is_gone_is_one_line(elsewhere):
    missing = elsewhere[0]
    assert missing.status == 1
    assert len(missing.lines) == 1
    assert "table.csv" in missing.lines[0]
    assert "is not there; -P data=" in missing.lines[0]


def test_nothing_is_run_on_data_of_which_a_byte_was_altered(lab, dirty):
    before = lab.table.read_bytes()
    lab.table.write_bytes(before[:-3] + b"x" + before[-2:])
    try:
        ended = lab.reproduce(lab.main.id)
    finally:
        lab.table.write_bytes(before)
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert "is not what run" in ended.lines[0]
    assert ended.tags["tabular.outcome"] == "different"
    assert lab.findings(ended)["main", "data"][0] == "different"
    assert lab.store.children(ended.id) == {}


def test_a_run_whose_metric_was_altered_ends_failed_and_says_so(lab, dirty):
    lab.store.client.log_metric(dirty.id, "rows_train_yes", 1)
    ended = lab.reproduce(dirty.id)
    assert ended.status == 1
    assert ended.run.info.status == "FAILED"
    assert ended.tags["tabular.outcome"] == "different"
    assert ended.lines == [f"tabular: run {dirty.id} is not the same again: different: etl (metrics)"]
    assert "rows_train_yes: 1.0 then" in ended.stdout


def test_a_search_that_its_seconds_ended_is_the_same(lab):
    timed = lab.folder / "timed.yaml"
    timed.write_text(PROBLEM.replace("trials: 6,", "trials: 50, timeout: 0.001,"))
    dataset = lab.task("etl").info.run_id
    search = lab.by_hand("hpo", problem="timed.yaml", dataset=dataset, model="lightgbm")
    assert 1 <= search.run.data.metrics["trials_ended"] <= 4  # the lag: what had ended beside the first one counts
    ended = lab.reproduce(search.id)
    assert ended.status == 0, ended.stdout + ended.stderr
    assert "timeout" not in lab.again(ended).data.tags["tabular.arguments"]


@pytest.fixture(scope="module")
def reused(lab):
    """The children of a chain that found all of its work done."""
    return {run.info.run_name: run for run in lab.store.children(lab.reused.id).values()}


def test_a_child_that_was_not_run_again_stands_for_the_run_whose_work_it_shows(lab, reused):
    ended = lab.reproduce(reused["etl (reused)"].info.run_id)
    assert ended.status == 0, ended.stdout + ended.stderr
    assert lab.again(ended).data.tags["tabular.replay_of"] == reused["etl (reused)"].data.tags["tabular.reused_from"]


def test_a_register_that_had_nothing_to_do_decides_the_same(lab, reused):
    ended = lab.reproduce(reused["register (nothing to do)"].info.run_id)
    assert ended.status == 0, ended.stdout + ended.stderr
    found = lab.findings(ended)
    assert {name for name, _ in found} == {"register"}
    assert {result for result, _ in found.values()} == {"same"}
    assert "verdict" in {subject for _, subject in found}
    assert len(lab.store.versions("small_classifier")) == 1
    assert lab.again(ended).data.tags["tabular.outcome"] == "kept_champion"


def test_a_step_that_was_run_for_a_chain_of_another_problem_is_told_the_same(lab, replayed, tmp_path):
    changed = (lab.folder / "small.yaml").read_text().replace("trials: 6,", "trials: 7,") + "tags: {team: other}\n"
    (lab.folder / "changed.yaml").write_text(changed)
    now = lab.store.step("etl", problem="changed.yaml").run
    assert set(now.data.params.items()) != set(lab.task("etl").data.params.items())
    found = list(equality.findings(Pair(lab.store.client, "etl", lab.task("etl"), now, tmp_path)))
    assert {one.result for one in found} == {"same"}, found


def test_a_search_repeats_no_other_search(lab):
    dataset, search = lab.task("etl").info.run_id, lab.task("hpo lightgbm").info.run_id
    ended = lab.store.step("hpo", dataset=dataset, model="lightgbm", trials=5, replays=search)
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert f"replays: run {search} was another search" in ended.lines[0]


def test_a_run_that_is_not_there_is_one_line(lab):
    ended = lab.reproduce("0" * 32)
    assert ended.status == 1
    assert ended.lines == [f"tabular: run: there is no run {'0' * 32!r} in {lab.store.uri}"]


def test_a_trial_is_no_run_to_repeat(lab):
    trials = lab.store.children(lab.task("hpo lightgbm").info.run_id)
    ended = lab.reproduce(next(iter(trials.values())).info.run_id)
    assert ended.status == 1
    assert "a trial of a search, and one of main or of a step" in ended.lines[0]


def test_a_run_without_a_commit_is_one_line(lab):
    run_id = lab.task("train lightgbm").info.run_id
    commit = lab.main.tags["mlflow.source.git.commit"]
    lab.store.client.set_tag(lab.main.id, "mlflow.source.git.commit", "")
    try:
        ended = lab.reproduce(run_id)
    finally:
        lab.store.client.set_tag(lab.main.id, "mlflow.source.git.commit", commit)
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert f"{lab.main.id} names no commit" in ended.lines[0]


def test_a_commit_that_is_nowhere_is_one_line(lab):
    commit = lab.main.tags["mlflow.source.git.commit"]
    lab.store.client.set_tag(lab.main.id, "mlflow.source.git.commit", "1" * 40)
    try:
        ended = lab.reproduce(lab.main.id)
    finally:
        lab.store.client.set_tag(lab.main.id, "mlflow.source.git.commit", commit)
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert "its commit 111111111111 is not in this clone" in ended.lines[0]


def test_a_champion_that_is_gone_is_said(lab):
    """Last: it takes the registered version away."""
    settled = lab.store.client.search_runs([lab.store.experiment], "tags.`tabular.met` LIKE 'small_classifier%'")
    lab.store.client.delete_model_version("small_classifier", "1")
    ended = lab.reproduce(settled[-1].info.run_id)
    assert ended.status == 1
    assert ended.tags["tabular.outcome"] == "different"
    result, said = lab.findings(ended)["register", "run"]
    assert result == "not compared"
    assert "is gone from the registry" in said
