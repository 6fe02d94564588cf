"""Models that earlier commits logged, made here by their trees: read, served, compared.

A champion of classes, of an earlier commit yet, is that of test_earlier_champion.py.
"""

import json
import subprocess
from types import SimpleNamespace

import pandas as pd
import pytest

from tests.earlier import PROBLEM, ROWS, TABLE, customers, is_in_this_clone
from tests.model.servers import serving
from tests.running import PROJECT, Store

pytestmark = pytest.mark.slow

# The first with numbers to predict and their intervals, and one that calibrates probabilities and takes dates apart.
NUMBERS, CLASSES = "d9bfcef", "0d3780e"
COMMON = """
name: small
search: {metric: %s, folds: 3}
gate: {require: {%s}}
registry: {name: small_model}
seed: 1
"""
PROBLEMS = {
    NUMBERS: COMMON % ("rmse", "rmse: {max: 1000}")
    + "data: {source: table.csv, target: price}\ntask: regression\n"
    + "models: {ridge: {estimator: sklearn.linear_model.Ridge}}\n",
    CLASSES: COMMON % ("roc_auc", "roc_auc: {min: 0.5}")
    + 'data: {source: table.csv, target: left, positive: "yes"}\n'
    + "models: {forest: {estimator: sklearn.ensemble.RandomForestClassifier, params: {n_estimators: 10}}}\n",
}
MODELS = {NUMBERS: "ridge", CLASSES: "forest"}


@pytest.fixture(scope="module", params=[NUMBERS, CLASSES])
def earlier(request, tmp_path_factory, fork_server):
    """A store in which the tree of a commit has trained a model and asked it; numbers have a champion too."""
    commit = request.param
    if not is_in_this_clone(commit):
        pytest.skip(f"this clone does not have the commit {commit}, whose tree is to make the model")
    tree, folder = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("store")
    subprocess.run(["git", "clone", "-q", "--shared", "--no-checkout", PROJECT, tree], check=True)
    subprocess.run(["git", "checkout", "-q", "--detach", commit], cwd=tree, check=True)
    store = Store(folder, fork_server=fork_server)
    _tables(folder, "price" if commit == NUMBERS else "left")
    (folder / PROBLEM).write_text(PROBLEMS[commit])
    steps = [
        ("etl", {"problem": str(folder / PROBLEM)}),
        ("train", {"dataset": "@etl", "model": MODELS[commit]}),
        ("predict", {"model": "@train", "data": str(folder / ROWS), "output": str(folder / "then.parquet")}),
    ]
    if commit == NUMBERS:
        steps += [("evaluate", {"dataset": "@etl", "models": "@train"}), ("register", {"evaluation": "@evaluate"})]
    runs = {}
    for name, given in steps:
        ended = store.process(name, project=tree, **{key: runs.get(value, value) for key, value in given.items()})
        assert ended.status == 0, ended.stderr
        runs[f"@{name}"] = ended.id
    return SimpleNamespace(store=store, folder=folder, runs=runs, commit=commit)


def _tables(folder, target):
    """What is learnt from, more of it from a slightly other world, and rows that nothing has learnt from."""
    for name, rows, seed, pull in ((TABLE, 300, 1, 0.05), ("more.csv", 900, 3, 0.1), (ROWS, 40, 2, 0)):
        frame = customers(rows, seed)
        price = 10 + 3 * frame["visits"] + 20 * frame["member"] + pull * frame["amount"].fillna(50)
        answers = {"left": frame.pop("left"), "price": price}
        (frame if name == ROWS else frame.assign(**{target: answers[target]})).to_csv(folder / name, index=False)


def test_a_model_of_an_earlier_commit_scores_rows_as_it_did(earlier):
    output = earlier.folder / "now.parquet"
    ended = earlier.store.step("predict", model=earlier.runs["@train"], data=earlier.folder / ROWS, output=output)
    assert ended.status == 0, ended.stderr
    then = pd.read_parquet(earlier.folder / "then.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(output)[list(then)], then, check_exact=True)


def test_a_model_of_an_earlier_commit_is_compared_with_one_of_today(earlier, undrawn):
    """Numbers: today's challenger meets the champion of then on rows; classes: the two runs of train are listed."""
    store, folder = earlier.store, earlier.folder
    (folder / "today.yaml").write_text(PROBLEMS[earlier.commit].replace(TABLE, "more.csv"))
    dataset = store.step("etl", problem="today.yaml").id
    trained = store.step("train", dataset=dataset, model=MODELS[earlier.commit])
    assert trained.status == 0, trained.stderr
    if earlier.commit == NUMBERS:
        evaluation = store.step("evaluate", dataset=dataset, models=trained.id).id
        ended = store.step("register", evaluation=evaluation)
        assert ended.status == 0, ended.stderr
        assert ended.tags["tabular.verdict"].startswith("ridge beats the champion (version 1): rmse ")
    else:
        ended = store.step("compare", of="train", metric="roc_auc")
        assert ended.status == 0, ended.stderr
        table = json.loads(store.artifact(ended.run, "comparison.json").read_text())
        listed = {row[table["columns"].index("run")] for row in table["data"]}
        assert listed == {earlier.runs["@train"], trained.id}


@pytest.mark.long
@pytest.mark.parametrize("earlier", [NUMBERS], indirect=True)  # test_earlier_champion.py serves one of classes
def test_a_model_of_an_earlier_commit_is_served_and_answers_as_it_did(earlier, tmp_path):
    uri = earlier.store.client.get_run(earlier.runs["@train"]).data.tags["tabular.model_uri"]
    with serving(uri, earlier.store.uri, tmp_path) as server:
        status, answers = server.frame(pd.read_csv(earlier.folder / ROWS))
    assert status == 200, answers
    then = pd.read_parquet(earlier.folder / "then.parquet")
    found = pd.DataFrame(answers)
    pd.testing.assert_frame_equal(found, then[list(found)], check_exact=True)
