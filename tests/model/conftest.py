"""A real store for the tests of models: sqlite and a folder, made for each module."""

import os
from collections.abc import Iterator
from pathlib import Path

import made
import mlflow
import pytest

from steps.model import flavor
from tests.running import Store


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[int, made.Data]:
    """Number of classes: a made table's training rows."""
    return {n: made.prepare(made.table(classes=n), tmp_path_factory.mktemp(f"data{n}")) for n in (2, 3)}


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a store that is MLflow's for a module's tests, and nobody's after them."""
    folder = tmp_path_factory.mktemp("store")
    uri = Store(folder).uri
    before, named = mlflow.get_tracking_uri(), "MLFLOW_TRACKING_URI" in os.environ
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment(made.EXPERIMENT, artifact_location=(folder / "artifacts").as_uri())
    yield uri
    mlflow.set_tracking_uri(before)
    if not named:
        os.environ.pop("MLFLOW_TRACKING_URI", None)


class Logged:
    """A fitted model, the rows that it was fitted on, and where it was logged."""

    def __init__(self, kind: str, data: made.Data, folder: Path) -> None:
        self.kind, self.data = kind, data
        self.fitted = made.fit(data, kind)
        self.info = made.log(self.fitted, data, folder)
        self.uri = self.info.model_uri
        self.loaded = mlflow.pyfunc.load_model(self.uri)
        downloaded = folder.parent / "downloaded"
        downloaded.mkdir()
        self.folder = Path(mlflow.artifacts.download_artifacts(self.uri, dst_path=str(downloaded)))

    @property
    def recorded(self) -> dict[str, str]:
        """The digests that a run of train would record of it."""
        return {"code": flavor.digest_of_code(), "learnt": flavor.digest_of_parts(self.folder / flavor.PARTS)}

    @property
    def probabilities(self) -> list[str]:
        """The names of the answer's columns of probabilities."""
        return [f"probability_{label}" for label in self.data.schema.classes]


@pytest.fixture(scope="module")
def shelf(tracking: str, data: dict[int, made.Data], tmp_path_factory: pytest.TempPathFactory) -> dict:
    """(kind, classes): each kind of model, fitted and logged when it is first asked for."""

    class Shelf(dict):
        def __missing__(self, key: tuple[str, int]) -> Logged:
            kind, classes = key
            self[key] = Logged(kind, data[classes], tmp_path_factory.mktemp("logged") / "parts")
            return self[key]

    return Shelf()


@pytest.fixture(params=[(kind, n) for kind in made.ESTIMATORS for n in (2, 3)], ids=lambda both: f"{both[0]}-{both[1]}")
def logged(request: pytest.FixtureRequest, shelf: dict) -> Logged:
    """Each model of the shelf."""
    return shelf[request.param]


@pytest.fixture
def binary(shelf: dict) -> Logged:
    """One model of two classes: random forest, which knows missing values of its own."""
    return shelf["random_forest", 2]
