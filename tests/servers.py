"""Servers of this machine: MLflow's, and those that tables are read from, PostgreSQL and a store that speaks S3."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests import typed
from tests.running import MOST_SECONDS, PROJECT

# Not in requirements-dev.txt: what it requires and what the lock holds exclude each other.
MOTO = "moto[s3,server]==5.2.5"
PLACES = ("/usr/lib/postgresql", "/usr/local/pgsql", "/opt/homebrew/opt/postgresql")

AnyServer = TypeVar("AnyServer", bound=ThreadingHTTPServer)
PASSWORD = "a-long-password"  # of all accounts


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _binaries() -> Path:
    """The folder of PostgreSQL's server; the test is skipped where there is none."""
    found = [path for place in PLACES for path in sorted(Path(place).glob("**/initdb"))]
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("PostgreSQL's server is not installed here (Debian: apt-get install postgresql)")
    return (found[-1] if found else Path(str(on_path))).parent


@contextlib.contextmanager
def postgresql(folder: Path, port: int | None = None) -> Iterator[str]:
    """A cluster of its own in a folder; gives the URL of its database, whose user needs the password `hush-hush`.

    A cluster that was in the folder is started again.
    """
    binaries, port = _binaries(), port or free_port()
    ordinary: list[str] = []
    if os.geteuid() == 0:  # which PostgreSQL refuses
        if shutil.which("setpriv") is None:
            pytest.skip("the tests run as root, and setpriv, with which PostgreSQL would not, is not installed here")
        ordinary = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        os.chown(folder, 65534, 65534)
        for above in [folder, *folder.parents][:-1]:
            if not above.stat().st_mode & 0o001:
                above.chmod(above.stat().st_mode | 0o011)
    if not (folder / "data").exists():
        (folder / "password").write_text("hush-hush")
        (folder / "password").chmod(0o644)
        words = [binaries / "initdb", "-D", folder / "data", "-U", "ann", "-A", "md5", "--pwfile", folder / "password"]
        subprocess.run([*ordinary, *words, "--no-sync", "-E", "UTF8"], check=True, capture_output=True, cwd=folder)
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
    told = " ".join(f"-c {name}={value}" for name, value in settings.items())
    steer = [*ordinary, binaries / "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-t", str(MOST_SECONDS)]
    # It waits until the server lets somebody in; a port that is open is too early.
    subprocess.run([*steer, "-w", "-o", told, "start"], check=True, stdout=subprocess.DEVNULL, cwd=folder)
    try:
        yield f"postgresql://ann:${{TABULAR_TEST_PASSWORD}}@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*steer, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, cwd=folder)


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[str]:
    """An empty object store; gives its endpoint."""
    tool = ["uv", "tool", "run", "--from", MOTO]
    words = [*tool, "moto_server"]
    nothing = [*tool, "python", "-c", ""]  # in the environment of the store, whose own start takes a second
    if shutil.which("uv") is None or subprocess.run(nothing, check=False, capture_output=True).returncode:
        pytest.skip(f"`{' '.join(words)}`, an object store for tests, does not start here")
    port = free_port()
    words += ["-H", "127.0.0.1", "-p", str(port)]
    apart = {"start_new_session": True}  # uv's child is to end with it
    with (folder / "log").open("w") as log, subprocess.Popen(words, stdout=log, stderr=log, **apart) as server:
        try:
            _wait(port, server)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGTERM)


@contextlib.contextmanager
def serving(server: AnyServer) -> Iterator[AnyServer]:
    """A server of this process, at work in a thread until the end of the block."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def answering(answers: dict[str, tuple[int, str]], tls: ssl.SSLContext | None = None, put: int = 404) -> Iterator[str]:
    """A web server with an answer (status, text) for each path, and 404 for others; gives its address.

    `put` is the status for whatever is uploaded.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = answers.get(self.path.partition("?")[0], (404, "<h1>Not here</h1>"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def do_PUT(self) -> None:
            self.send_response(put)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield f"http{'s' if tls else ''}://localhost:{server.server_port}"


@contextlib.contextmanager
def tracking(uri: str, artifacts: Path | str, port: int | None = None, **variables: str) -> Iterator[str]:
    """A tracking server over a store, which holds the artifacts of new experiments at a place; gives its address."""
    port = port or free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port)]
    command += ["--backend-store-uri", uri, "--artifacts-destination", str(artifacts)]
    with in_background(command, port, **variables) as address:
        yield address


class Mortal:
    """A server that can be killed, and comes back at the same address.

    Parameters
    ----------
    begin
        Gives the block in which the server is up.
    """

    def __init__(self, begin: Callable[[], contextlib.AbstractContextManager[str]]) -> None:
        self._begin, self._up, self._later = begin, contextlib.ExitStack(), threading.Thread()
        self.address = self.begin()

    def begin(self) -> str:
        """Start it."""
        return self._up.enter_context(self._begin())

    def kill(self) -> None:
        """End it at once."""
        self._up.close()

    def go_away(self, seconds: float) -> None:
        """Kill it, and start it again after a while, unless it is away already."""
        if not self._later.is_alive():
            self.kill()
            self._later = threading.Thread(target=lambda: time.sleep(seconds) or self.begin())
            self._later.start()

    def close(self) -> None:
        """End it for good."""
        if self._later.ident is not None:
            self._later.join()
        self.kill()


@contextlib.contextmanager
def team(folder: Path) -> Iterator[str]:
    """A team's server as deploy/serve.py starts it, over PostgreSQL and an object store; gives its address.

    Its administrator is `admin` with PASSWORD. Whatever is new may be read by every account and changed by its owner.
    """
    for package in ("boto3", "flask_wtf", "psycopg"):
        pytest.importorskip(package, reason="requirements-dev.txt is not installed here")
    from tests import relay  # which needs this module

    for name in ("postgresql", "s3", "accounts"):
        (folder / name).mkdir()
    port = free_port()
    with (
        postgresql(folder / "postgresql") as database,
        s3(folder / "s3") as endpoint,
        relay.before(endpoint) as objects,
    ):
        # as in deploy/compose.yaml, where nobody but the server reaches the store
        objects.fails = lambda kind, path: 403 if "X-Amz-Signature" in path else None
        variables = {
            "DATABASE_URI": database.replace("${TABULAR_TEST_PASSWORD}", "hush-hush"),
            "ADMIN_PASSWORD": PASSWORD,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "hush-hush",
            "MLFLOW_S3_ENDPOINT_URL": objects.address,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "of the tests",
            "ACCOUNTS": str(folder / "accounts"),
            "HOST": "127.0.0.1",
            "PORT": str(port),
        }
        with in_background([sys.executable, str(PROJECT / "deploy" / "serve.py")], port, **variables) as address:
            yield address


@contextlib.contextmanager
def in_background(words: list[str], port: int, folder: Path | None = None, **variables: str) -> Iterator[str]:
    """An MLflow server that a command starts in a folder; gives its address once it answers."""
    address = f"http://127.0.0.1:{port}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # each worker takes long to start; nothing here asks the executor of jobs
    few = {"MLFLOW_WORKERS": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**os.environ, "PATH": path, **few, **variables}
    with Path(os.devnull).open("w") as null:
        server = typed.begin(words, cwd=folder, env=environment, stdout=null, stderr=null)
        try:
            until = time.monotonic() + MOST_SECONDS
            while not _is_up(address):
                assert time.monotonic() < until and server.poll() is None, "no tracking server"
                time.sleep(0.2)
            yield address
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)  # which a server has to bear
            server.wait()


def _is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + MOST_SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{server.args} does not answer")
