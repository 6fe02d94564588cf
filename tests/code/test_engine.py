"""The engine's parameters, what a worker is held against, and the parts of ranks."""

import sys

import pytest

from steps.run import cluster, engine, worker
from tabular.errors import UserError


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
