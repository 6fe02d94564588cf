"""A relay in front of a tracking server: it counts what it is asked, and can be made to fail."""

import contextlib
import http.client
import re
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests import servers

# What concerns one connection of the two.
HOP = {"connection", "keep-alive", "transfer-encoding", "date", "server"}


def well(kind: str, path: str) -> None:
    """Nothing goes wrong."""


class Relay(ThreadingHTTPServer):
    """A server that passes each request on to another one, and its answer back.

    Parameters
    ----------
    target
        The address of the server behind it.

    Attributes
    ----------
    counts
        How often each kind of request came, such as `POST runs/log-batch`.
    fails
        Of a kind of request and its path, what goes wrong: None, a status that is answered in the server's place, `cut`
        (its answer ends in the middle), `lost` (it has no answer, but is done) or `away` (the connection is closed at
        once).
    """

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.counts: Counter[str] = Counter()
        self.fails: Callable[[str, str], int | str | None] = well

    @property
    def address(self) -> str:
        """The address that it listens on."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Relay

    def _pass_on(self) -> None:
        told = f"{self.command} {kind(self.path)}"
        self.server.counts[told] += 1
        fault = self.server.fails(told, self.path)
        if fault == "away":
            self.close_connection = True
            return
        size = int(self.headers.get("Content-Length") or 0)
        sent = self._chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self.rfile.read(size)
        if isinstance(fault, int):
            self.send_error(fault)
            return
        kept = {name: value for name, value in self.headers.items() if name.lower() not in HOP | {"content-length"}}
        try:
            with contextlib.closing(http.client.HTTPConnection(self.server.target)) as connection:
                connection.request(self.command, self.path, sent, kept)
                answer = connection.getresponse()
                body = answer.read()
        except (OSError, http.client.HTTPException):  # nobody is behind it
            self.close_connection = True
            return
        if fault == "lost":
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP | {"content-length"}:
                self.send_header(name, value)
        size = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", size or str(len(body)))
        self.end_headers()
        if fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass_on

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: the terminal is the test's."""


def kind(path: str) -> str:
    """What a request is about: its path without MLflow's prefix, ids and names of files."""
    path = path.partition("?")[0]
    path = re.sub(r"^/(ajax-)?api/\d\.\d/(mlflow/)?", "", path)
    path = re.sub(r"^(mlflow-artifacts/(mpu/\w+|artifacts|presigned)).*", r"\1", path)
    return re.sub(r"\b(m-)?[0-9a-f]{32}\b", "ID", path)


@contextlib.contextmanager
def before(target: str) -> Iterator[Relay]:
    """A relay before a server, in threads of this process."""
    with servers.serving(Relay(target)) as relay:
        yield relay
