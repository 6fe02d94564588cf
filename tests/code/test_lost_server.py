"""Which errors tell of a tracking server that does not answer any more, and in which words: of MLflow's own kinds."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from steps.run import artifact_store, connection, kept, shell
from tabular.errors import UserError
from tests import relay
from tests.servers import answering, free_port

AGAIN = "wait until it does, then type the same command again: it goes on where it stopped"
RUN = "0" * 32


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("HOME", str(tmp_path))  # no file of credentials


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], MlflowClient]:
    """Has all take an address for that of the tracking store; gives its client."""

    def take(uri: str) -> MlflowClient:
        monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)
        # an earlier test may have set another one, which stores of artifacts ask for
        monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", uri)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        return MlflowClient(uri, uri)

    return take


def told(client: MlflowClient) -> str:
    """The line of the error with which the store refuses a run."""
    with pytest.raises(MlflowException) as caught:
        client.get_run(RUN)
    return shell.explain(caught.value)


# --- real errors, on loopback -----------------------------------------------------------------------------------------


def test_a_server_whose_port_is_closed(store):
    uri = f"http://127.0.0.1:{free_port()}"
    assert told(store(uri)) == f"{uri} does not answer any more (connection refused): {AGAIN}"


def test_a_server_that_has_lost_its_name(store):
    uri = "http://no-such-host.invalid:5000"
    assert told(store(uri)) == f"{uri} does not answer any more (its name is not found): {AGAIN}"


def test_a_server_that_takes_the_connection_and_says_nothing(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert told(store(uri)) == f"{uri} does not answer any more (no answer in time): {AGAIN}"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_or_proxy_that_answers_with_errors_alone(store, status):
    with answering({"/api/2.0/mlflow/runs/get": (status, "<h1>Bad</h1>")}) as uri:
        assert told(store(uri)) == f"{uri} does not answer any more (each answer is an error {status}): {AGAIN}"


def test_a_connection_that_is_closed_at_once(store):
    with answering({}) as uri, relay.before(uri) as between:
        between.fails = lambda kind, path: "away"
        said = told(store(between.address))
    assert said == f"{between.address} does not answer any more (connection broken off): {AGAIN}"


def test_the_line_is_without_the_credentials_of_the_address(store):
    said = told(store(f"http://ann:hush-hush@127.0.0.1:{free_port()}"))
    assert said.startswith("http://127.0.0.1:")
    assert "connection refused" in said
    assert "hush" not in said


def test_uploads_and_fetches_say_the_same(store, tmp_path):
    uri = f"http://127.0.0.1:{free_port()}"
    store(uri)
    place = f"mlflow-artifacts:/7/{RUN}/artifacts"
    (tmp_path / "held.txt").write_text("x")
    for ask in (
        lambda: artifact_store.put(place, tmp_path / "held.txt"),
        lambda: artifact_store.put(place, tmp_path),
        lambda: artifact_store.read(place, "held.txt", tmp_path),
        lambda: artifact_store.fetch(f"{place}/held.txt", tmp_path),
        lambda: artifact_store.fetch("models:/m-" + "1" * 32, tmp_path),
    ):
        with pytest.raises(connection.Lost) as caught:
            ask()
        assert shell.explain(caught.value) == f"{uri} does not answer any more (connection refused): {AGAIN}"


def test_a_run_of_a_lost_server_is_not_taken_for_a_missing_one(store):
    with pytest.raises(connection.Lost):
        kept.run(store(f"http://127.0.0.1:{free_port()}"), RUN)


# --- other errors -----------------------------------------------------------------------------------------------------

URI = "http://tracking.example:5000"
POOL = "HTTPConnectionPool(host='{}', port={}): Max retries exceeded with url: /a (Caused by NewConnectionError('...'))"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MlflowException(f"API request to {URI}/api failed with exception {POOL.format('x', 1)}"), "no connection"),
        (requests.ConnectionError(POOL.format("tracking.example", 5000)), "no connection"),
        (requests.HTTPError(f"502 Server Error: Bad Gateway for url: {URI}/api"), "each answer is an error 502"),
        (RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "x"}), "each answer is that it cannot"),
        (
            MlflowException("API request to endpoint /api failed with error code 503 != 200."),
            "each answer is an error 503",
        ),
        (
            MlflowException(
                "The following failures occurred while downloading one or more artifacts from a:\n##### File b #####\n"
                f"API request to {URI}/api failed with exception ('Connection broken: IncompleteRead(1 bytes read)')"
            ),
            "connection broken off",
        ),
        (MlflowException(f"API request to {URI}/api failed with exception SSLError('EOF')"), "no secure connection"),
    ],
)
def test_what_is_of_a_lost_server(store, error, reason):
    store(URI)
    assert connection.lost(error) == f"{URI} does not answer any more ({reason}): {AGAIN}"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Connection refused"),
        UserError(f"{URI} does not answer within 4 to 8 s"),
        MlflowException("API request to endpoint /api failed with error code 403 != 200.", PERMISSION_DENIED),
        RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Run with id=503 not found"}),
        RestException({"error_code": "INTERNAL_ERROR", "message": "Connection refused by the database"}),
        requests.ConnectionError(POOL.format("objects.example", 9000)),
        requests.ConnectionError(POOL.format("tracking.example", 50001)),
        MlflowException(f"API request to {URI}1/api failed with exception {POOL.format('x', 1)}"),
        requests.HTTPError(f"404 Client Error: Not Found for url: {URI}/api"),
    ],
)
def test_what_is_of_anything_else(store, error):
    store(URI)
    assert connection.lost(error) is None


def test_a_database_is_no_server_that_is_lost(store):
    store("sqlite:///mlflow.db")
    assert connection.lost(MlflowException("API request to endpoint /api failed with error code 503")) is None


def test_an_error_that_was_raised_for_a_lost_server_is_of_it_and_a_refusal_is_not(store):
    store(URI)
    lost = connection.Lost("gone")
    wrapped, refused = RuntimeError("x"), UserError("the table is not there")
    wrapped.__cause__ = lost
    refused.__context__ = requests.ConnectionError(POOL.format("tracking.example", 5000))
    assert connection.lost(wrapped) == "gone"
    assert connection.lost(refused) is None


# --- who says it ------------------------------------------------------------------------------------------------------


def test_a_task_leaves_it_to_main_and_who_has_no_main_says_it(store, tmp_path, monkeypatch, capsys):
    store(URI)
    error = connection.Lost("gone")
    shell._say_failed(RUN, "gone", error)
    assert capsys.readouterr().err == "tabular: gone\n"
    monkeypatch.setenv(kept.VARIABLE, "")
    kept.begin(tmp_path)
    shell._say_failed(RUN, "gone", error)
    assert capsys.readouterr().err == ""
    assert kept.reason(RUN) == "gone"
    shell._say_failed(RUN, "another", UserError("another"))
    assert capsys.readouterr().err == "tabular: another\n"


def test_a_lost_server_is_asked_once_for_each_thing(monkeypatch):
    with connection.hasty(connection.Lost("gone")):
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    with connection.hasty(ValueError("another")):
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
