"""A large table scored by several processes: what is written is what one writes, and a few batches are under way."""

import os
import time
from concurrent.futures import Future

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from threadpoolctl import threadpool_info

from steps import predict
from steps.evaluation import scoring
from steps.run import thread_budget
from tabular.data import batches, size
from tabular.errors import UserError

pytestmark = pytest.mark.usefixtures("undrawn")

YAML = """
name: scored_large
data: {{source: {source}, target: y, drop: {{id: a name}}}}
models: {{logistic: {{estimator: sklearn.linear_model.LogisticRegression}}}}
search: {{metric: roc_auc, folds: 2}}
"""


def made(rows, seed):
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({"id": range(rows), "x": draw.normal(size=rows), "town": draw.choice(["Aix", "Cork"], rows)})
    return frame.assign(y=(frame["x"] + draw.normal(size=rows) > 0).astype(int))


@pytest.fixture(scope="module")
def model(store, tmp_path_factory):
    """The id of a run that holds a model."""
    folder = tmp_path_factory.mktemp("scored_large")
    made(200, 0).to_csv(folder / "rows.csv", index=False)
    (folder / "problem.yaml").write_text(YAML.format(source=folder / "rows.csv"))
    etl = store.step("etl", problem=str(folder / "problem.yaml"))
    trained = store.step("train", dataset=etl.id, model="logistic")
    assert trained.status == 0, etl.stderr + trained.stderr
    return trained.id


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table of 20 batches, which is a large one."""
    monkeypatch.setattr(size, "LARGE_CELLS", 100)
    monkeypatch.setattr(batches, "BATCH_ROWS", 50)
    made(1000, 1).to_parquet(tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


def scored(store, monkeypatch, model, table, cores):
    """What so many processes write, and how many processes answered."""
    seen, ask = table.with_name(f"seen_by_{cores}"), predict._asked

    def watched(*about):
        with seen.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if len(seen.read_text().splitlines()) == 1:
            time.sleep(0.3)  # the first batch is answered after many others
        return ask(*about)

    with monkeypatch.context() as patch:
        patch.setattr(thread_budget, "cores", lambda: cores)
        patch.setattr(predict, "_asked", watched)
        output = table.with_name(f"scored_by_{cores}.parquet")
        ended = store.step("predict", model=model, data=table, output=output)
    assert ended.status == 0, ended.stderr
    return output, {*seen.read_text().split()}


def test_several_processes_write_the_same_bytes_as_one(store, monkeypatch, model, table):
    by_one, alone = scored(store, monkeypatch, model, table, 1)
    by_three, several = scored(store, monkeypatch, model, table, 3)
    assert alone == {str(os.getpid())}
    assert 1 < len(several) <= 3 and not several & alone
    assert by_three.read_bytes() == by_one.read_bytes()
    assert pd.read_parquet(by_three)["id"].tolist() == list(range(1000))


def test_each_of_several_processes_has_one_thread(store, monkeypatch, model, table):
    seen, ask = table.with_name("threads"), predict._asked

    def watched(*about):
        with seen.open("a") as file:
            file.writelines(f"{one['num_threads']}\n" for one in threadpool_info())
        return ask(*about)

    monkeypatch.setattr(predict, "_asked", watched)
    monkeypatch.setattr(thread_budget, "cores", lambda: 2)
    assert store.step("predict", model=model, data=table, output=table.with_name("scored.csv")).status == 0
    assert {*seen.read_text().splitlines()} == {"1"}


def test_a_table_that_is_not_large_is_scored_by_the_steps_own_process(store, monkeypatch, model, table):
    monkeypatch.setattr(size, "LARGE_CELLS", 5_000)
    assert scored(store, monkeypatch, model, table, 3)[1] == {str(os.getpid())}


def test_what_is_wrong_in_a_process_is_the_one_line_that_is_said(store, monkeypatch, model, table):
    def refuse(*about):
        raise UserError("explain: there is nothing to tell")

    monkeypatch.setattr(predict, "_asked", refuse)
    monkeypatch.setattr(thread_budget, "cores", lambda: 2)
    ended = store.step("predict", model=model, data=table, output=table.with_name("scored.csv"))
    assert (ended.status, ended.stderr) == (1, "tabular: explain: there is nothing to tell\n")
    assert not table.with_name("scored.csv").exists()


def test_no_more_batches_are_under_way_than_are_asked_for():
    read, rows = [], pa.record_batch({"x": [1.0]})

    class AtOnce:
        def submit(self, function, *about):
            answer = Future()
            answer.set_result(len(read))
            return answer

    def reading():
        for number in range(10):
            read.append(number)
            yield rows

    found = scoring._in_order(reading(), ["x"], None, AtOnce(), ahead=3)
    assert [len(read) for _ in found][:8] == [4, 5, 6, 7, 8, 9, 10, 10]
