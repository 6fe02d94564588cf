"""A gate that requires nothing has a floor: who knows no more than the classes' shares is no champion."""

import json
import re

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.usefixtures("undrawn")

YAML = """
name: {name}
data: {{source: {source}, target: y}}
models:
  logistic: {{estimator: sklearn.linear_model.LogisticRegression}}
  bayes: {{estimator: sklearn.naive_bayes.GaussianNB}}
search: {{folds: 2}}
"""


@pytest.fixture(scope="module")
def noise(store, tmp_path_factory):
    """Two candidates that have learnt from noise: the problem, the run of etl and the runs of train."""
    folder = tmp_path_factory.mktemp("floor")
    generator = np.random.default_rng(1)
    table = pd.DataFrame({"x": generator.normal(size=300), "y": generator.choice(["a", "b", "c"], 300)})
    table.to_csv(folder / "noise.csv", index=False)
    asked = folder / "floor.yaml"
    asked.write_text(YAML.format(name="floor", source=folder / "noise.csv"))
    etl = store.step("etl", problem=str(asked))
    trained = [store.step("train", dataset=etl.id, model=model).id for model in ("logistic", "bayes")]
    return asked, etl, ",".join(trained)


@pytest.fixture(scope="module")
def refused(store, noise):
    """The evaluation of these, and its register."""
    _, etl, trained = noise
    evaluation = store.step("evaluate", dataset=etl.id, models=trained)
    return evaluation, store.step("register", evaluation=evaluation.id)


def test_a_winner_that_knows_nothing_is_refused(store, refused):
    evaluation, register = refused
    assert (register.status, register.tags["tabular.outcome"]) == (0, "refused")
    assert "over the classes' shares" in register.tags["tabular.verdict"]
    assert store.versions("floor_classifier") == []
    for candidate in json.loads(store.artifact(evaluation.run, "evaluation.json").read_text())["candidates"]:
        assert len(candidate["unmet"]) == 1


def test_the_refusal_is_on_the_report_with_its_figure(store, refused):
    page = store.artifact(refused[1].run, "report.html").read_text()
    assert re.search(
        r"gain in roc_auc over the classes.{1,10} shares, at least, with 95% confidence, above 0: -\d", page
    )


def test_with_the_line_that_the_refusal_advises_the_winner_is_registered(store, noise, refused, tmp_path):
    asked, etl, trained = noise
    advice = re.search(r"gate: \{.*?\}", refused[1].tags["tabular.verdict"])[0]
    more = tmp_path / "more.yaml"
    more.write_text(asked.read_text().replace("name: floor", "name: no_floor") + advice)
    evaluation = store.step("evaluate", dataset=etl.id, models=trained, problem=str(more))
    register = store.step("register", evaluation=evaluation.id, problem=str(more))
    assert register.tags["tabular.outcome"] == "registered", register.stderr
