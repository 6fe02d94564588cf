"""A relay in front of a tracking server: it counts what it is asked."""

import contextlib
import http.client
import re
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

# What concerns one connection of the two.
HOP = {"connection", "keep-alive", "transfer-encoding", "date", "server"}


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
    """

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.counts: Counter[str] = Counter()

    @property
    def address(self) -> str:
        """The address that it listens on."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Relay

    def _pass_on(self) -> None:
        self.server.counts[f"{self.command} {kind(self.path)}"] += 1
        size = int(self.headers.get("Content-Length") or 0)
        sent = self._chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self.rfile.read(size)
        connection = http.client.HTTPConnection(self.server.target)
        kept = {name: value for name, value in self.headers.items() if name.lower() not in HOP | {"content-length"}}
        connection.request(self.command, self.path, sent, kept)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP | {"content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
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
    with Relay(target) as relay:
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        try:
            yield relay
        finally:
            relay.shutdown()
