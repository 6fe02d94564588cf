"""Asking a scoring server, wherever it runs."""

import contextlib
import http.client
import json
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests import typed


class Server:
    """A scoring server under way."""

    def __init__(self, port: int, group: int = 0) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.group = group  # of its processes

    def up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/ping", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def ask(self, body: dict[str, Any] | str) -> tuple[int, Any]:
        """Ask with a body of JSON, or with a text of CSV."""
        data = body if isinstance(body, str) else json.dumps(body)
        return self.post(data.encode(), {"Content-Type": "text/csv" if isinstance(body, str) else "application/json"})

    def post(self, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        """Ask with a body as it is; the answer's predictions, or the message of a refusal."""
        port = int(self.address.rpartition(":")[2])
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("POST", "/invocations", body, headers)
            answer = connection.getresponse()
            found = json.load(answer)
        return answer.status, found["predictions" if answer.status == 200 else "message"]

    def resident(self) -> int:
        """The bytes of memory that its processes hold."""
        found = 0
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                if os.getpgid(int(process.name)) == self.group:
                    found += int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return found

    def records(self, *rows: dict[str, Any], **more: Any) -> tuple[int, Any]:
        return self.ask({"dataframe_records": list(rows), **more})

    def frame(self, frame: pd.DataFrame) -> tuple[int, Any]:
        return self.ask(split(frame))


def split(frame: pd.DataFrame) -> dict[str, Any]:
    """The body of a request for the rows of a frame."""
    rows = frame.to_json(orient="split", date_format="iso", index=False, double_precision=15)
    return {"dataframe_split": json.loads(rows)}


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def serving(model: str, tracking: str, folder: Path) -> Iterator[Server]:
    """A model as `mlflow models serve` serves it, in this environment; all its processes are gone afterwards."""
    port = free_port()
    words = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model]
    words += ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    with started(words, port, folder, MLFLOW_TRACKING_URI=tracking) as made:
        yield made


@contextlib.contextmanager
def started(words: list[str], port: int, folder: Path, **variables: str) -> Iterator[Server]:
    """A scoring server that these words start on a port; all its processes are gone afterwards."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    log = folder / "log"
    with log.open("wb") as out:
        process = typed.begin(words, cwd=folder, env=environment, stdout=out, stderr=out)
    try:
        made = Server(port, process.pid)
        end = time.monotonic() + 300
        while not made.up():
            assert process.poll() is None and time.monotonic() < end, log.read_text(encoding="utf-8")
            time.sleep(0.2)
        yield made
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def assert_served_as_scored(store: Any, run: Any, table: Path, folder: Path) -> None:
    """The model of a run of train answers a table of the target `y`, no or yes, over HTTP as `predict` scores it."""
    scored = folder / "scored.parquet"
    done = store.step("predict", model=run.info.run_id, data=table, output=scored)
    assert done.status == 0, done.stderr
    batch = pd.read_parquet(scored)
    with serving(run.data.tags["tabular.model_uri"], store.uri, folder) as server:
        status, answers = server.frame(pd.read_csv(table).drop(columns="y"))
    assert status == 200, answers
    served = pd.DataFrame(answers)
    probabilities = ["probability_no", "probability_yes"]
    assert served["label"].tolist() == batch["label"].tolist()
    assert np.array_equal(served[probabilities], batch[probabilities])
    assert served["probability_yes"].nunique() > 5
