"""A registry at another address than the tracking store's: whether a chain can use it, asked before any work."""

from types import SimpleNamespace
from typing import Any

import mlflow
import pytest

from steps.chain import store_check
from steps.run.step import Step
from tabular.errors import UserError
from tests import servers

STORED = "s3://bucket/1/run/artifacts"


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Why a registry at an address is refused to a run whose artifacts lie at another."""

    def ask(registry: str, artifacts: str = STORED) -> str:
        monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: f"sqlite:///{tmp_path}/mlflow.db")
        monkeypatch.setattr(mlflow, "get_registry_uri", lambda: registry)
        client: Any = SimpleNamespace()
        with pytest.raises(UserError) as caught:
            store_check.registry(Step("main", {}, "0" * 32, "1", tmp_path, client, artifacts), "churn_classifier")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return ask


@pytest.mark.parametrize("place", ["/data/artifacts", "file:///data/artifacts", "mlflow-artifacts:/1/run/artifacts"])
def test_a_server_takes_only_models_in_an_object_store(refused, place):
    said = refused("http://registry.example", place)
    assert "http://registry.example is a server, and takes of another store only models in an object store" in said
    assert place.removesuffix("/run/artifacts") in said


def test_a_server_that_does_not_answer_is_named(refused):
    uri = f"http://127.0.0.1:{servers.free_port()}"
    assert refused(uri).startswith(f"{uri}: nobody answers")


def test_a_server_that_is_no_registry_is_named(refused):
    with servers.answering({"/version": (404, "not found")}) as uri:
        assert f"the registry {uri} answers, but not as an MLflow server does" in refused(uri)


def test_a_database_in_a_folder_that_is_not_there_is_named(refused, tmp_path):
    assert f"there is no folder {tmp_path}/away" in refused(f"sqlite:///{tmp_path}/away/registry.db")


def test_a_database_of_a_relative_path_is_refused_since_steps_run_in_another_folder(refused):
    assert "give the whole path" in refused("sqlite:///registry.db")
