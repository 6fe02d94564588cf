"""Slices as evaluate leaves them: of whole groups, and of columns with more values than anybody reads."""

import json

import numpy as np
import pandas as pd
import pytest

from tabular.evaluation.slices import MOST_OF_A_COLUMN

pytestmark = pytest.mark.usefixtures("undrawn")

N = 1_500
YAML = """
name: sliced
data: {{source: {source}, target: y, drop: {{ticket: it is an id}}}}
split: {split}
models: {{logistic: {{estimator: sklearn.linear_model.LogisticRegression}}}}
search: {{metric: roc_auc, folds: 4}}
evaluation: {{slices: [{column}]}}
"""


def evaluated(store, folder, split, column):
    """An evaluation on 300 rows. Five customers have 300 rows each; the first ten tickets have many, all others one."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"x": generator.normal(size=N), "customer": [f"c{i % 5}" for i in range(N)]})
    frame["town"] = generator.choice(["Aix", "Cork"], N)
    frame["ticket"] = [f"t{i % 10 if i < 400 else i}" for i in range(N)]
    frame["y"] = (frame["x"] + generator.normal(size=N) > 0).astype(int)
    frame.to_csv(folder / "rows.csv", index=False)
    asked = folder / "sliced.yaml"
    asked.write_text(YAML.format(source=folder / "rows.csv", split=split, column=column))
    etl = store.step("etl", problem=str(asked))
    assert etl.status == 0, etl.stderr
    train = store.step("train", dataset=etl.id, model="logistic")
    assert train.status == 0, train.stderr
    ended = store.step("evaluate", dataset=etl.id, models=train.id)
    assert ended.status == 0, ended.stderr
    return ended


def slices_of(store, ended):
    """The table of slices, a row a dict."""
    found = json.loads(store.artifact(ended.run, "slices/logistic.json").read_text())
    return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]


def test_where_the_holdout_is_one_group_neither_it_nor_a_slice_has_an_interval(store, tmp_path):
    ended = evaluated(store, tmp_path, "{by: group, column: customer, holdout: 0.2}", "town")
    assert {(row["roc_auc_low"], row["roc_auc_high"]) for row in slices_of(store, ended)} == {(None, None)}
    (candidate,) = json.loads(store.artifact(ended.run, "evaluation.json").read_text())["candidates"]
    assert candidate["intervals"]["roc_auc"] == [None, None]
    assert "(no interval)" in ended.tags["mlflow.note.content"]


@pytest.fixture(scope="module")
def by_ticket(store, tmp_path_factory):
    """An evaluation whose slices are the values of a column that is like an id."""
    return evaluated(store, tmp_path_factory.mktemp("tickets"), "{by: random, holdout: 0.2}", "ticket")


def test_of_a_column_like_an_id_the_commonest_values_are_slices_and_the_others_one(store, by_ticket):
    rows = slices_of(store, by_ticket)
    assert len(rows) == MOST_OF_A_COLUMN
    assert sum(row["rows"] for row in rows) == 300
    (rest,) = [row for row in rows if row["value"].endswith(" rarer values")]
    assert rest["judged"]
    common = {f"t{i}" for i in range(10)}
    assert common <= {row["value"] for row in rows}


def test_what_was_taken_together_is_said_on_the_terminal_in_the_note_and_in_the_report(store, by_ticket):
    (rest,) = [row["value"] for row in slices_of(store, by_ticket) if row["value"].endswith(" rarer values")]
    said = (
        f"evaluation.slices: of 'ticket' the {MOST_OF_A_COLUMN - 1} commonest values are a slice each, the {rest} one"
    )
    assert said in by_ticket.tags["tabular.summary"]  # which main prints
    assert said in by_ticket.tags["mlflow.note.content"]
    registered = store.step("register", evaluation=by_ticket.id)
    assert registered.status == 0, registered.stderr
    page = store.artifact(registered.run, "report.html").read_text()
    assert said.replace("'", "&#39;") in page[: page.index("<h2>Data")]
