"""A champion that an earlier tree of this project registered: used by the tree at hand as its own are.

The store is one that the tree of a commit left (tests/fixtures/make_champion.py). Where modules, the names of files and
the keys of steps have changed since, people's registries have not.
"""

import json
import re
import tarfile
from hashlib import sha256

import pandas as pd
import pytest
import yaml

from tests.earlier import FIXTURES, PROBLEM, ROWS, TABLE, customers, is_in_this_clone, unpack
from tests.model.servers import serving
from tests.running import PROJECT

FIXTURE = FIXTURES / "champion-1968c11.tar.xz"
NAME = "small_classifier"
CHAMPION = f"models:/{NAME}@champion"
# More customers, and trees of more leaves: what the champion has to be compared with.
CHALLENGE = """
name: small
data: {source: more.csv, target: left, positive: "yes"}
models:
  lightgbm:
    estimator: lightgbm.LGBMClassifier
    params: {n_estimators: 100, num_leaves: 15, min_child_samples: 5}
    preprocessing: {dates: [days]}
search: {metric: roc_auc, folds: 2}
gate: {require: {roc_auc: {min: 0.5}}}
registry: {name: small_classifier}
seed: 1
"""
# What is told the same or different on any machine; of the rest the last bits may be the processor's.
OF_ANY_PROCESSOR = {"data", "problem", "parameters", "source", "lock", "artifacts"}


@pytest.fixture(scope="module")
def made(tmp_path_factory, fork_server):
    """The store, for tests that leave its registry as it is."""
    return unpack(FIXTURE, tmp_path_factory.mktemp("earlier"), fork_server)


@pytest.fixture(scope="module")
def challenged(undrawn, tmp_path_factory, fork_server):
    """The store, and the run of register for a challenger that has learnt from other data."""
    earlier = unpack(FIXTURE, tmp_path_factory.mktemp("challenged"), fork_server)
    store = earlier.store
    more = pd.concat([pd.read_csv(earlier.folder / TABLE), customers(600, seed=3)])
    more.to_csv(earlier.folder / "more.csv", index=False)
    (earlier.folder / "challenge.yaml").write_text(CHALLENGE)
    dataset = store.step("etl", problem="challenge.yaml").id
    trained = store.step("train", dataset=dataset, model="lightgbm").id
    evaluation = store.step("evaluate", dataset=dataset, models=trained).id
    return earlier, store.step("register", evaluation=evaluation)


def champion(earlier, alias="champion"):
    """The version that an alias names."""
    return earlier.store.client.get_model_version_by_alias(NAME, alias)


def assert_answers(earlier, found, model):
    """That a model's answers are those of then, bit by bit where the processor is of the same kind."""
    then = read(earlier.answers / f"{model}.csv")
    exactly = earlier.is_of_this_processor
    pd.testing.assert_frame_equal(found[list(then)], then, check_exact=exactly, **({} if exactly else {"rtol": 1e-9}))


def read(path):
    """Answers with every bit of their numbers."""
    return pd.read_csv(path, converters={"probability_no": float, "probability_yes": float})


@pytest.mark.slow
@pytest.mark.long
def test_a_chain_of_the_same_problem_knows_it(tmp_path, fork_server):
    earlier = unpack(FIXTURE, tmp_path, fork_server)
    learnt = champion(earlier).tags["tabular.digest.model"]
    problem = yaml.safe_load((earlier.folder / PROBLEM).read_text(encoding="utf-8"))
    for model in problem["models"].values():  # what models learnt of dates then, where a problem did not say
        model["preprocessing"] = {"dates": ["days"]}
    (earlier.folder / PROBLEM).write_text(yaml.safe_dump(problem), encoding="utf-8")
    ended = earlier.store.project(problem=PROBLEM, jobs=2)
    assert ended.status == 0, ended.stderr
    verdict = ended.tags["tabular.verdict"]
    assert "the champion (version 1)" in verdict
    assert "cannot be compared" not in verdict
    if earlier.is_of_this_processor:
        assert verdict.startswith("lightgbm is the champion (version 1)")
        assert champion(earlier).tags["tabular.digest.model"] == learnt


def test_a_challenger_is_compared_with_it_on_rows(challenged):
    _, registered = challenged
    assert registered.status == 0, registered.stderr
    verdict = registered.tags["tabular.verdict"]
    assert "holdout rows that the champion has not learnt from before" in verdict
    assert verdict.startswith("lightgbm beats the champion (version 1): roc_auc 0.")


def test_it_is_promoted_again_after_a_challenger_and_back(challenged):
    earlier, _ = challenged
    for version in ("1", "2"):
        ended = earlier.store.step("promote", name=NAME, version="previous", reason="as people say")
        assert ended.status == 0, ended.stderr
        assert champion(earlier).version == int(version)


@pytest.mark.parametrize("model", ["champion", "random_forest"])
def test_it_scores_rows_as_it_did(made, tmp_path, model):
    asked = CHAMPION if model == "champion" else made.runs[f"train {model}"]
    output = tmp_path / "scored.csv"
    ended = made.store.step("predict", model=asked, data=made.folder / ROWS, output=output)
    assert ended.status == 0, ended.stderr
    assert_answers(made, read(output), model)


def test_it_has_no_reasons_and_says_so(made, tmp_path):
    ended = made.store.step("predict", model=CHAMPION, data=made.folder / ROWS, output=tmp_path / "a.csv", explain=3)
    assert ended.status == 1
    assert "explain: the model was logged before there were reasons: train it again" in ended.stderr


@pytest.mark.slow
def test_it_is_served_and_answers_as_it_did(made, tmp_path):
    with serving(CHAMPION, made.store.uri, tmp_path) as server:
        status, answers = server.frame(pd.read_csv(made.folder / ROWS))
    assert status == 200, answers
    assert_answers(made, pd.DataFrame(answers), "champion")


@pytest.mark.parametrize(("of", "tasks"), [("main", ["main"]), ("train", ["train lightgbm", "train random_forest"])])
def test_its_runs_are_compared(made, of, tasks):
    ended = made.store.step("compare", of=of)
    assert ended.status == 0, ended.stderr
    table = json.loads(made.store.artifact(ended.run, "comparison.json").read_text())
    listed = [row[table["columns"].index("run")] for row in table["data"]]
    assert listed == [made.runs[task] for task in tasks]


@pytest.mark.slow
@pytest.mark.long
def test_its_chain_is_reproduced(made, monkeypatch):
    monkeypatch.setenv("TABULAR_CALLER", "")  # what a step in this process tells its children is gone afterwards
    monkeypatch.delenv("TABULAR_CALLER")
    if not is_in_this_clone(made.commit):
        pytest.skip(f"this clone does not have the commit {made.commit[:7]}, whose tree is to run again")
    if made.store.client.get_run(made.runs["main"]).data.tags["tabular.lock"] != lock():
        pytest.skip("the lock has changed since: reproduce would make the environment of then, which takes minutes")
    ended = made.store.step("reproduce", run=made.runs["main"], data=made.folder / TABLE)
    found = json.loads(made.store.artifact(ended.run, "replay.json").read_text())["data"]
    assert {task for task, *_ in found} == set(made.runs)
    compared = [row for row in found if made.is_of_this_processor or row[1] in OF_ANY_PROCESSOR]
    assert [row for row in compared if row[2] != "same"] == []
    if made.is_of_this_processor:
        assert (ended.status, ended.tags["tabular.outcome"]) == (0, "same"), ended.stderr


def test_the_store_says_nothing_of_who_made_it_and_where(made):
    machine = re.compile(rb"/(home|Users|root|work|opt|mnt|var|srv)/\w|(?<!/somebody)/tmp/(?!somebody/)|\w+@\w+\.\w")
    with tarfile.open(FIXTURE) as archive:
        files = {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}
    texts = {name: content for name, content in files.items() if not name.endswith((".png", ".skops", ".parquet"))}
    found = {name: machine.search(content) for name, content in texts.items()}
    assert {name: match[0] for name, match in found.items() if match} == {}
    runs = [made.store.client.get_run(run_id) for run_id in made.runs.values()]
    assert {run.data.tags["tabular.owner.host"] for run in runs} == {"computer"}
    assert {run.data.tags["mlflow.user"] for run in runs} == {"somebody"}


def lock():
    """sha256 of today's."""
    return sha256((PROJECT / "requirements.txt").read_bytes()).hexdigest()
