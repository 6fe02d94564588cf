"""Columns of the user's own through the chain: found, learnt from, served without this repository, and replayed."""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest

from tests.model.servers import assert_served_as_scored
from tests.running import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

CODE = '''"""Ours."""
import numpy as np


def make(rows):
    """Only the product says what the class is."""
    return rows[[]].assign(product=np.sign(rows["x"] * rows["z"]) * 1.0)  # one comment
'''
PROBLEM = """
name: own_columns
data: {source: table.csv, target: y, features: "ours.py:make"}
models:
  logistic_regression: {estimator: sklearn.linear_model.LogisticRegression}
search: {folds: 2}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    generator = np.random.default_rng(3)
    x, z = generator.normal(size=(2, 160)).round(3)
    y = np.where(x * z + generator.normal(0, 0.05, 160) > 0, "yes", "no")
    pd.DataFrame({"x": x, "z": z, "y": y}).to_csv(folder / "table.csv", index=False)
    (folder / "ours.py").write_text(CODE)
    (folder / "own.yaml").write_text(PROBLEM)
    return folder


def test_a_chain_learns_from_them_and_what_it_registers_makes_them_itself(store, folder, tmp_path):
    problem = str(folder / "own.yaml")
    main = store.project(problem=problem, jobs=1)
    assert main.status == 0, main.stderr
    assert main.tags["tabular.outcome"] == "registered", main.stdout

    # the raw rows alone say nothing of the class to a linear model
    chain = json.loads(store.artifact(main.run, "chain.json").read_text())
    train = store.client.get_run(chain["train logistic_regression"])
    assert train.data.metrics["cv_roc_auc_mean"] > 0.95
    etl = store.client.get_run(chain["etl"])
    assert "made by `make`" in etl.data.tags["mlflow.note.content"]

    uri = train.data.tags["tabular.model_uri"]
    mlflow.set_tracking_uri(store.uri)
    local = mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path))
    mlflow.set_tracking_uri(None)
    model = mlflow.pyfunc.load_model(local)
    assert model.metadata.get_input_schema().input_names() == ["x", "z"]
    answer = model.predict(pd.DataFrame({"x": [1.0, 1.0, -2.0], "z": [1.0, -1.0, None]}))
    assert answer["label"].tolist()[:2] == ["yes", "no"]
    assert not list((tmp_path).rglob("*.pkl"))

    # a comment changes nothing, and neither does a format
    (folder / "ours.py").write_text(CODE.replace("# one comment", "# another").replace("* 1.0", "*1.0"))
    again = store.step("main", problem=problem, jobs=1)
    then = json.loads(store.artifact(again.run, "chain.json").read_text())
    assert {**then, "register": ""} == {**chain, "register": ""}, again.stdout

    scored = store.step("predict", model=uri, data=str(folder / "table.csv"), output=str(tmp_path / "scored.csv"))
    assert scored.status == 0, scored.stderr
    right = pd.read_csv(tmp_path / "scored.csv")["label"] == pd.read_csv(folder / "table.csv")["y"]
    assert right.mean() > 0.85

    # a constant does, and the champion is compared with columns of its own
    (folder / "ours.py").write_text(CODE.replace("* 1.0", "* 2.0"))
    other = store.step("main", problem=problem, jobs=1)
    assert "the code of data.features" in other.stdout
    then = json.loads(store.artifact(other.run, "chain.json").read_text())
    assert not set(then.values()) & set(chain.values())
    assert "is not better with 95% confidence" in other.tags["tabular.verdict"], other.stdout + other.stderr

    (folder / "ours.py").unlink()  # the run holds what it means
    if (PROJECT / ".git").exists():
        replayed = store.step("reproduce", run=train.info.run_id)
        assert replayed.status == 0, replayed.stdout + replayed.stderr
        assert replayed.tags["tabular.outcome"] == "same", replayed.stdout


@pytest.mark.long
def test_a_server_makes_the_columns_and_takes_the_steps_that_the_model_has_learnt(store, folder, tmp_path):
    (folder / "served.py").write_text(CODE)
    steps = "preprocessing: {steps: [{transformer: sklearn.preprocessing.SplineTransformer, params: {n_knots: 3}}]}"
    problem = PROBLEM.replace("ours.py", "served.py").replace("LogisticRegression}", f"LogisticRegression, {steps}}}")
    (folder / "served.yaml").write_text(problem)
    etl = store.step("etl", problem=str(folder / "served.yaml"))
    trained = store.step("train", dataset=etl.id, model="logistic_regression")
    assert trained.status == 0, trained.stderr
    assert_served_as_scored(store, trained.run, folder / "table.csv", tmp_path)


def test_a_function_that_looks_at_other_rows_is_refused_in_one_line(store, folder):
    (folder / "others.py").write_text("def make(rows):\n    return rows[[]].assign(far=rows['x'] - rows['x'].mean())\n")
    (folder / "others.yaml").write_text(PROBLEM.replace("ours.py", "others.py"))
    ended = store.step("etl", problem=str(folder / "others.yaml"))
    assert ended.status == 1
    (line,) = ended.lines
    assert "data.features: others.py:make: its column 'far' looks at other rows: of training row 0 it is" in line
