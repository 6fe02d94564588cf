"""Answers of a server that break off: what is the same twice is asked again, and what makes something new is not."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from steps.run import retries
from tests import relay, servers


@pytest.mark.parametrize(
    "endpoint",
    ["runs/log-batch", "runs/update", "runs/set-tag", "runs/search", "runs/log-inputs", "registered-models/alias"],
)
def test_what_is_the_same_twice(endpoint):
    assert retries.is_same_twice(f"/api/2.0/mlflow/{endpoint}", "POST")


@pytest.mark.parametrize(
    "endpoint",
    ["runs/create", "experiments/create", "registered-models/create", "model-versions/create", "logged-models"],
)
def test_what_makes_something_new(endpoint):
    assert not retries.is_same_twice(f"/api/2.0/mlflow/{endpoint}", "POST")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_the_same_twice(method):
    assert retries.is_same_twice("/api/2.0/mlflow/runs/get", method)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with (
        servers.tracking(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts") as address,
        relay.before(address) as between,
    ):
        yield between


@pytest.fixture
def client(server, monkeypatch):
    server.fails = lambda kind, number: None
    monkeypatch.setattr(retries, "FIRST_SECONDS", 0.01)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    retries.install()
    return MlflowClient(server.address, server.address)


def cut(server, asked, times):
    """The next answers to a request break off, so many of them; counts how often it was asked."""
    seen = []

    def fails(kind, number):
        if kind == asked:
            seen.append(number)
            return "cut" if len(seen) <= times else None
        return None

    server.fails = fails
    return seen


@pytest.mark.slow
def test_a_batch_whose_answer_breaks_off_is_logged_once(client, server):
    run = client.create_run("0")
    seen = cut(server, "POST runs/log-batch", 2)
    client.log_batch(run.info.run_id, metrics=[Metric("a", 1.5, 1, 0)], params=[Param("b", "c")])
    assert len(seen) == 3
    found = client.get_run(run.info.run_id).data
    assert (found.metrics, found.params) == ({"a": 1.5}, {"b": "c"})
    assert len(client.get_metric_history(run.info.run_id, "a")) == 1


@pytest.mark.slow
def test_an_upload_whose_answer_breaks_off_is_whole(client, server, tmp_path):
    run = client.create_run("0")
    (tmp_path / "a.txt").write_text("content" * 1000)
    seen = cut(server, "PUT mlflow-artifacts/artifacts", 1)
    client.log_artifact(run.info.run_id, str(tmp_path / "a.txt"))
    assert seen
    server.fails = lambda kind, number: None
    assert Path(client.download_artifacts(run.info.run_id, "a.txt", str(tmp_path))).read_text() == "content" * 1000


@pytest.mark.slow
def test_a_run_whose_creation_breaks_off_is_not_made_twice(client, server):
    seen = cut(server, "POST runs/create", 1)
    with pytest.raises(MlflowException, match="IncompleteRead"):
        client.create_run("0")
    assert len(seen) == 1


@pytest.mark.slow
def test_what_always_breaks_off_is_given_up(client, server):
    seen = cut(server, "GET runs/get", 100)
    with pytest.raises(MlflowException, match="IncompleteRead"):
        client.get_run("0" * 32)
    assert len(seen) == retries.TIMES
