"""Answers of a server that break off: what is the same twice is asked again, what makes something new after a look."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Metric, Param
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
    server.fails = relay.well
    monkeypatch.setattr(retries, "FIRST_SECONDS", 0.01)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    retries.install()
    return MlflowClient(server.address, server.address)


def fail(server, asked, times, fault="cut"):
    """The next answers to a request fail, so many of them; counts how often it was asked."""
    seen = []

    def fails(kind, path):
        if kind == asked:
            seen.append(path)
            return fault if len(seen) <= times else None
        return None

    server.fails = fails
    return seen


@pytest.mark.slow
def test_a_batch_whose_answer_breaks_off_is_logged_once(client, server):
    run = client.create_run("0")
    seen = fail(server, "POST runs/log-batch", 2)
    client.log_batch(run.info.run_id, metrics=[Metric("a", 1.5, 1, 0)], params=[Param("b", "c")])
    assert len(seen) == 3
    found = client.get_run(run.info.run_id).data
    assert (found.metrics, found.params) == ({"a": 1.5}, {"b": "c"})
    assert len(client.get_metric_history(run.info.run_id, "a")) == 1


@pytest.mark.slow
def test_an_upload_whose_answer_breaks_off_is_whole(client, server, tmp_path):
    run = client.create_run("0")
    (tmp_path / "a.txt").write_text("content" * 1000)
    seen = fail(server, "PUT mlflow-artifacts/artifacts", 1)
    client.log_artifact(run.info.run_id, str(tmp_path / "a.txt"))
    assert seen
    server.fails = relay.well
    assert Path(client.download_artifacts(run.info.run_id, "a.txt", str(tmp_path))).read_text() == "content" * 1000


def make_run(client, place):
    client.create_run("0", tags={"of": str(place)}, run_name="a run")
    return len(client.search_runs(["0"], f"tags.`of` = '{place}'"))


def make_logged_model(client, place):
    run = client.create_run("0")
    client.create_logged_model("0", "a_model", run.info.run_id)
    return len(client.search_logged_models(["0"], f"source_run_id = '{run.info.run_id}'"))


def make_output(client, place):
    run = client.create_run("0").info.run_id
    model = client.create_logged_model("0", "a_model", run).model_id
    client.log_outputs(run, [LoggedModelOutput(model, step=0)])
    return len(client.get_run(run).outputs.model_outputs)


def make_registered_model(client, place):
    client.create_registered_model(place.name)
    return len(client.search_registered_models(f"name = '{place.name}'"))


def make_version(client, place):
    run = client.create_run("0")
    client.create_registered_model(f"v{place.name}")
    client.create_model_version(f"v{place.name}", f"{run.info.artifact_uri}/model", run.info.run_id, tags={"a": "b"})
    return len(client.search_model_versions(f"name = 'v{place.name}'"))


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["cut", "lost", "away", 503, 500])
@pytest.mark.parametrize("make", [make_run, make_logged_model, make_output, make_registered_model, make_version])
def test_what_is_made_is_made_once_however_often_its_answer_is_lost(client, server, tmp_path, make, fault):
    asked = {
        make_run: "POST runs/create",
        make_logged_model: "POST logged-models",
        make_output: "POST runs/outputs",
        make_registered_model: "POST registered-models/create",
        make_version: "POST model-versions/create",
    }[make]
    times = 3 if isinstance(fault, int) or fault == "away" else 1
    seen = fail(server, asked, times, fault)
    assert make(client, tmp_path) == 1
    assert len(seen) == (times + 1 if times > 1 else 1)


@pytest.mark.slow
def test_what_is_not_made_after_many_tries_is_given_up(client, server):
    seen = fail(server, "POST runs/create", 100, "away")
    with pytest.raises(MlflowException, match="runs/create failed"):
        client.create_run("0")
    assert len(seen) == 4


@pytest.mark.slow
def test_what_always_breaks_off_is_given_up(client, server):
    seen = fail(server, "GET runs/get", 100)
    with pytest.raises(MlflowException, match="IncompleteRead"):
        client.get_run("0" * 32)
    assert len(seen) == retries.TIMES
