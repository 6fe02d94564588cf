"""What is said of a tracking server that cannot be worked with, and how soon: of each kind a real one, on loopback."""

import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from steps.run import connection
from tabular.errors import UserError
from tests import relay
from tests.servers import answering, free_port

# By when each answer has to be there, with a wide margin for what else this machine does.
MOST_SECONDS = 15
EXPERIMENTS = "/api/2.0/mlflow/experiments/search"
WELL = {"/version": (200, "3.17.2"), EXPERIMENTS: (200, "{}")}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], str]:
    """What is said of the server at an address; no line says more than one, and none comes late."""
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # no file of credentials

    def tell(uri: str) -> str:
        monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)
        begun = time.monotonic()
        try:
            said = connection.check()
        except UserError as error:
            said = str(error)
        assert time.monotonic() - begun < MOST_SECONDS
        assert "\n" not in said
        return said

    return tell


def test_a_server_that_is_well_gives_its_version(told):
    with answering({"/version": (200, "3.17.2"), EXPERIMENTS: (200, "{}")}) as uri:
        assert told(uri) == "3.17.2"


def test_a_database_is_no_server(told, tmp_path):
    assert told(f"sqlite:///{tmp_path / 'mlflow.db'}") == ""


def test_a_server_that_takes_long_for_accounts_is_said_with_the_setting(monkeypatch):
    def fails(kind: str, path: str) -> None:
        time.sleep(0.5 if path.startswith(EXPERIMENTS) else 0)

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a-password")
    with answering({"/version": (200, "3.17.2"), EXPERIMENTS: (200, "{}")}) as uri, relay.before(uri) as between:
        between.fails = fails
        monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: between.address)
        said = connection.account()
    assert said.startswith("ann is let in; the server takes ")
    assert "ask its administrator for auth_cache_ttl_seconds" in said


def test_a_port_that_nobody_listens_on(told):
    uri = f"http://127.0.0.1:{free_port()}"
    assert told(uri).startswith(f"{uri}: nobody answers: is the server running, and is {uri.rpartition(':')[2]} its")


@pytest.mark.parametrize("kind", ["nobody", "a page"])
def test_a_proxy_in_between_is_named_with_the_way_around_it(told, monkeypatch, kind):
    with answering({"/": (200, "a page of the proxy")}) as page, answering(WELL) as uri:
        proxy = page if kind == "a page" else f"http://127.0.0.1:{free_port()}"
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy.replace("//", "//ann:hush-hush@"))
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        said = told(uri)
        assert proxy in said and "hush" not in said
        assert said.endswith("add localhost to NO_PROXY and no_proxy")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "localhost")
        assert told(uri) == "3.17.2"


def test_a_host_that_there_is_not(told):
    assert "there is no host 'no-such-host.invalid'" in told("http://no-such-host.invalid:5000")


def test_a_host_that_takes_the_connection_and_says_nothing(told, monkeypatch):
    monkeypatch.setattr(connection, "SECONDS", (1, 1))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert "does not answer within 1 to 1 s" in told(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_another_web_server(told):
    with answering({"/": (200, "hello")}) as uri:
        assert told(uri).startswith(f"{uri} answers, but not as an MLflow server does (404 Not Found: 'Not here')")


def test_a_page_to_log_in_on_is_no_mlflow(told):
    with answering({"/version": (200, "<html><title>Log in</title></html>")}) as uri:
        assert "not as an MLflow server does (200 OK: 'Log in')" in told(uri)


def test_a_server_of_before_logged_models(told):
    with answering({"/version": (200, "2.22.1")}) as uri:
        assert "runs MLflow 2.22.1, which does not know of logged models" in told(uri)


def test_a_server_that_asks_for_an_account(told):
    with answering({"/version": (401, "You are not authenticated.")}) as uri:
        assert "asks for an account: give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in told(uri)


def test_a_password_that_is_not_the_accounts_is_said_without_it(told, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hush-hush")
    with answering({"/version": (401, "You are not authenticated.")}) as uri:
        said = told(uri)
    assert "does not know the account 'ann' with this password" in said
    assert "hush" not in said


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_whose_mlflow_is_away(told, status):
    with answering({"/version": (status, "<h1>Bad</h1>")}) as uri:
        assert f"{uri}: a proxy answers ({status}" in told(uri)


def test_a_server_whose_database_is_away(told):
    with answering({"/version": (200, "3.17.2"), EXPERIMENTS: (500, '{"message": "connection refused"}')}) as uri:
        assert "answers, but its database does not (500" in told(uri)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for localhost that no authority knows, and what serves with it."""
    folder = tmp_path_factory.mktemp("tls")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


def test_a_certificate_that_nobody_knows(told, certificate):
    with answering(WELL, certificate[1]) as uri:
        said = told(uri)
    assert "certificate refused (self-signed certificate)" in said
    assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in said


def test_the_way_out_of_an_unknown_certificate_works(told, certificate, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate[0]))
    with answering(WELL, certificate[1]) as uri:
        assert told(uri) == "3.17.2"


def test_a_certificate_for_another_name(told, certificate, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate[0]))
    with answering(WELL, certificate[1]) as uri:
        said = told(uri.replace("localhost", "127.0.0.1"))
    assert (
        "certificate refused (IP address mismatch, certificate is not valid for '127.0.0.1'): write there the name"
        in said
    )


def test_a_file_of_authorities_that_there_is_not(told, certificate, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "nowhere.pem"))
    with answering(WELL, certificate[1]) as uri:
        assert "MLFLOW_TRACKING_SERVER_CERT_PATH names no file" in told(uri)


def test_https_asked_of_a_server_of_http(told):
    with answering(WELL) as uri:
        assert "does it speak http:// and not https://?" in told(uri.replace("http://", "https://"))
