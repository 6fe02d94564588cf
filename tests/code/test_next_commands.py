"""What main prints for whoever types the next commands: which store these have to be told of."""

import subprocess
from pathlib import Path

import mlflow
import psutil
import pytest
from mlflow.utils.file_utils import path_to_local_sqlite_uri

from steps.main import _to_export
from steps.process import lifecycle
from steps.run import paths

SERVER, OTHER = "http://127.0.0.1:5000", "sqlite:////srv/registry.db"


@pytest.fixture
def to_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a chain on a store, with a registry, asks whoever typed it in `tmp_path` with these variables to export."""

    def asked(store: str, registry: str = "", **typed: str) -> dict[str, str]:
        # stands for the `mlflow run` that was typed
        with subprocess.Popen(["/bin/sleep", "300"], cwd=tmp_path, env=typed) as outer:
            monkeypatch.setattr(paths, "UNDER_MLFLOW", True)
            monkeypatch.setattr(lifecycle, "calling", lambda: psutil.Process(outer.pid))
            monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: store)
            monkeypatch.setattr(mlflow, "get_registry_uri", lambda: registry or store)
            try:
                return _to_export()
            finally:
                outer.kill()

    return asked


def test_nothing_is_to_be_exported_where_mlflow_takes_the_store_by_itself(to_export, tmp_path: Path) -> None:
    assert to_export(path_to_local_sqlite_uri(str(tmp_path / "mlflow.db"))) == {}


def test_nothing_is_to_be_exported_where_the_variables_say_so_already(to_export) -> None:
    assert to_export(SERVER, OTHER, MLFLOW_TRACKING_URI=SERVER, MLFLOW_REGISTRY_URI=OTHER) == {}


@pytest.mark.parametrize("typed", [{}, {"MLFLOW_TRACKING_URI": "sqlite:///elsewhere.db"}])
def test_a_store_that_mlflow_would_not_take_there_is_to_be_exported(to_export, typed: dict[str, str]) -> None:
    assert to_export("http://ann:secret@127.0.0.1:5000", **typed) == {"MLFLOW_TRACKING_URI": SERVER}


def test_a_registry_that_the_problem_names_is_to_be_exported_and_its_store_is_not(to_export) -> None:
    assert to_export(SERVER, OTHER, MLFLOW_TRACKING_URI=SERVER) == {"MLFLOW_REGISTRY_URI": OTHER}


def test_a_store_is_to_be_exported_where_the_system_does_not_tell_what_was_typed(
    to_export, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: psutil.Process) -> dict[str, str]:
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "environ", refuse)
    assert to_export(SERVER, MLFLOW_TRACKING_URI=SERVER) == {"MLFLOW_TRACKING_URI": SERVER}
