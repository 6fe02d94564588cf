"""The engine's parameters, what a worker is held against, and the parts of ranks."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest

from steps.chain import launch
from steps.chain.orchestrator import Chain, Orders
from steps.model import fits
from steps.pipeline import plan
from steps.run import cluster, engine, worker
from tabular.data.datasets import Column
from tabular.errors import UserError
from tabular.model import ranks
from tabular.model.tasks import Regression
from tabular.model.training import Candidate
from tabular.problem import build
from tabular.sections.models import Model

STEPS_WITH_ENGINES = ["etl", "hpo", "train", "refit"]


@pytest.mark.parametrize(
    ("name", "address", "said"),
    [
        ("spark", "", "engine: 'spark' is not known: local, which is the default, or dask"),
        ("", "tcp://a:1", "engine_address: it is where a Dask scheduler listens: give engine=dask as well"),
        ("dask", "a:8786", "engine_address: 'a:8786' is no address such as tls://"),
        ("dask", "tls://ann@a:8786", "is no address such as tls://"),
    ],
)
def test_an_engine_that_cannot_be_meant_is_told(name: str, address: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        engine.check({"engine": name, "engine_address": address})


@pytest.mark.parametrize("address", ["", "tcp://10.0.0.1:8786", "tls://scheduler.example:8786"])
def test_an_engine_that_can_be_meant_passes(address: str) -> None:
    engine.check({"engine": "dask", "engine_address": address})


def test_main_hands_its_engine_to_the_steps_that_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"name": "p", "data": {"source": "a.csv", "target": "y"}}
    problem, given = build(values, "made"), {}

    def create(client: Any, name: str, step: str, main: Any, parameters: Any, tags: Any) -> str:
        given[step] = {key: value for key, value in parameters.items() if key.startswith("engine")}
        return "0" * 32

    monkeypatch.setattr(launch, "create", create)
    main: Any = SimpleNamespace(run_id="1" * 32, folder=Path())
    asked = {"engine": "dask", "engine_address": "tcp://a:1"}
    chain = Chain(None, problem, main, Orders(1, 1, reuse=True, engine=asked))  # type: ignore[arg-type]
    for task in plan(problem):
        chain._ended = {name: SimpleNamespace(info=SimpleNamespace(run_id=name)) for name in task.inputs()}  # type: ignore[misc]
        chain._create(task)
    assert [step for step, engine_ in given.items() if engine_ == asked] == STEPS_WITH_ENGINES
    assert all(given[step] == {} for step in given if step not in STEPS_WITH_ENGINES)


def test_without_dask_the_error_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"dask is not installed here: pip install -r requirements-dask.txt"):
        cluster.connected("tcp://127.0.0.1:1", "etl", []).__enter__()


def test_an_address_that_nobody_answers_at_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="requirements-dask.txt is not installed here")
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with pytest.raises(UserError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1: "):
        cluster.connected("tcp://127.0.0.1:1", "etl", []).__enter__()


def test_a_worker_is_told_by_the_package_or_file_in_which_it_differs() -> None:
    ours = worker.about("etl", [])
    theirs = {**ours, "lightgbm": "4.6.0", "steps/etl.py": "other", "tabular/new.py": "more"}
    said = [f"lightgbm 4.6.0 (here {ours['lightgbm']})", "steps/etl.py", "tabular/new.py"]
    assert sorted(worker.differences(theirs, ours)) == said
    assert worker.differences(ours, ours) == []


def test_a_worker_whose_modules_have_changed_since_it_began_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = worker.about("etl", [])
    monkeypatch.setitem(worker._FIRST, "steps/etl.py", "as it was")
    assert worker.differences(worker.about("etl", []), ours) == ["steps/etl.py"]


def test_a_model_with_linear_leaves_is_learnt_by_one_process_whatever_the_ranks() -> None:
    path = "lightgbm.LGBMRegressor"
    models = {"plain": {"estimator": path}, "linear": {"estimator": path, "params": {"linear_tree": True}}}
    data = {"source": "a.csv", "target": "y"}
    made = build({"name": "p", "task": "regression", "data": data, "models": models, "ranks": 2}, "here")
    assert [fits.ranks_of(made, name) for name in models] == [2, 1]


@pytest.mark.parametrize(("rows", "count"), [(7, 2), (9, 3), (4, 4)])
def test_each_row_is_of_one_rank_and_ranks_have_rows_from_all_of_the_table(rows: int, count: int) -> None:
    parts = [ranks.positions(rows, number, count) for number in range(count)]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(rows))
    assert {int(part[0]) for part in parts} == set(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_models_text_says_nothing_of_where_its_ranks_ran() -> None:
    text = "[machines: 10.0.0.1:4000,10.0.0.2:4001]\n[local_listen_port: 4000]\n[num_machines: 2]\n[num_threads: 8]\n"
    known = "[machines: ]\n[local_listen_port: 12400]\n[num_machines: 2]\n[num_threads: 0]\n"
    assert ranks.placeless(text) == known


def test_ranks_learn_counts_of_which_the_first_are_0() -> None:
    draw = np.random.default_rng(0)
    X, y = pd.DataFrame({"x": draw.normal(size=60)}), np.append([0.0, 0.0], draw.poisson(3, 58))
    given = {"estimator": "lightgbm.LGBMRegressor", "params": {"objective": "poisson", "n_estimators": 3}}
    column = Column("x", "double", "number")
    one = Candidate("m", Model.model_validate(given), {}, (column,), Regression(), seed=1)

    def together(parts: Sequence[ranks.Part]) -> str:
        (first, *_) = parts
        rows = lightgbm.Dataset(first.X_encoded, first.y)
        return str(lightgbm.train(dict(first.parameters), rows, first.iterations).model_to_string())

    assert (ranks.fit(one, X, y, ranks=2, together=together).outputs(X) > 0).all()


@pytest.mark.parametrize("count", [0, 2])
def test_ranks_that_nothing_can_be_learnt_by_are_refused_with_the_problem(count: int) -> None:
    forest = {"estimator": "sklearn.ensemble.RandomForestClassifier"}
    values = {"name": "p", "data": {"source": "a.csv", "target": "y"}, "models": {"forest": forest}, "ranks": count}
    with pytest.raises(UserError, match="ranks: "):
        build(values, "made")
    build(
        {**values, "models": {"forest": forest, "trees": {"estimator": "lightgbm.LGBMClassifier"}}, "ranks": 2}, "made"
    )
