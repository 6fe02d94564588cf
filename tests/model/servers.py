"""Asking a scoring server, wherever it runs."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


class Server:
    """A scoring server under way."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/ping", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def ask(self, body: dict[str, Any] | str) -> tuple[int, Any]:
        """Ask with a body of JSON, or with a text of CSV."""
        headers = {"Content-Type": "text/csv" if isinstance(body, str) else "application/json"}
        data = body if isinstance(body, str) else json.dumps(body)
        request = urllib.request.Request(f"{self.address}/invocations", data.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)["predictions"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["message"]

    def records(self, *rows: dict[str, Any], **more: Any) -> tuple[int, Any]:
        return self.ask({"dataframe_records": list(rows), **more})

    def frame(self, frame: pd.DataFrame) -> tuple[int, Any]:
        return self.ask(split(frame))


def split(frame: pd.DataFrame) -> dict[str, Any]:
    """The body of a request for the rows of a frame."""
    rows = frame.to_json(orient="split", date_format="iso", index=False, double_precision=15)
    return {"dataframe_split": json.loads(rows)}


@contextlib.contextmanager
def serving(model: str, tracking: str, folder: Path) -> Iterator[Server]:
    """A model as `mlflow models serve` serves it, in this environment; all its processes are gone afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model]
    words += ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["MLFLOW_TRACKING_URI"] = tracking
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            words, env=environment, cwd=folder, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        made = Server(port)
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
