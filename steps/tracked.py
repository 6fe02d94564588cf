"""The shell around every step: its command line, its run, its errors, its end."""

import getpass
import os
import socket
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

# What MLflow says of its own on stdout and stderr would drown what the steps say; its warnings stay.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "1")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from steps import commandline, place
from tabular.errors import UserError, first_line

REASON = "tabular.reason"
SUMMARY = "tabular.summary"
OUTCOME = "tabular.outcome"
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
STARTED = time.perf_counter()
MOST_A_BATCH = 100


@dataclass(frozen=True)
class Step:
    """A step under way: its arguments, its run, and a folder of its own that is gone when it ends."""

    name: str
    arguments: Mapping[str, str]
    run_id: str
    experiment_id: str
    folder: Path
    client: MlflowClient

    def log(
        self,
        *,
        params: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> None:
        """Log to the step's run in one batch."""
        log(self.client, self.run_id, params=params, metrics=metrics, tags=tags)

    def table(self, columns: Mapping[str, list], name: str) -> None:
        """Log a table, which MLflow's UI shows as one; `columns` are name: values."""
        mlflow.log_table(dict(columns), name)

    def finish(self, title: str, summary: str, note: str) -> None:
        """Give the run its name, the line that main prints of it, and the note that says what it did."""
        self.log(tags={"mlflow.runName": title[:250], SUMMARY: summary, NOTE: note})


def log(
    client: MlflowClient,
    run_id: str,
    *,
    params: Mapping[str, object] | None = None,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, object] | None = None,
) -> None:
    """Log parameters, metrics and tags to a run, in batches of as many as a tracking server takes of each."""
    now = mlflow.utils.time.get_current_time_millis()
    pending = [Param(name, str(value)) for name, value in (params or {}).items()]
    measured = [Metric(name, float(value), now, 0) for name, value in (metrics or {}).items()]
    tagged = [RunTag(name, str(value)) for name, value in (tags or {}).items()]
    for start in range(0, max(len(pending), len(measured), len(tagged)), MOST_A_BATCH):
        part = slice(start, start + MOST_A_BATCH)
        client.log_batch(run_id, metrics=measured[part], params=pending[part], tags=tagged[part])


def identity() -> dict[str, str]:
    """Whose run it is: the user, and the process that answers for it, so that a later one can tell if it is alive."""
    import psutil

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number and no name
        user = str(os.getuid())
    return {
        "mlflow.user": user,
        "tabular.owner.host": socket.gethostname(),
        "tabular.owner.pid": str(os.getpid()),
        "tabular.owner.started": f"{psutil.Process().create_time():.2f}",
    }


def run(name: str, body: Callable[[Step], None]) -> NoReturn:
    """Run a step as a process of its own: adopt or start its run, do its work, end it, exit with 0 or 1.

    A `UserError` is one line on stderr, the run's reason and its end as FAILED; so is anything else that goes wrong,
    with the traceback where TABULAR_DEBUG=1.
    """
    quiet()
    try:
        _check_store()
        # `mlflow run` says so itself; a step started as `python -m` is asked for by its entry point as well
        active = mlflow.start_run(tags={"mlflow.project.entryPoint": name, **identity()})
    except Exception as error:
        fail(_store_reason(error), error)
        sys.exit(1)
    client = MlflowClient()
    run_id = active.info.run_id
    try:
        with tempfile.TemporaryDirectory(prefix="tabular-") as folder:
            arguments = commandline.parse(name, sys.argv[1:])
            body(Step(name, arguments, run_id, active.info.experiment_id, Path(folder), client))
        _say_summary(name, client, run_id)
        client.log_metric(run_id, "step_seconds", time.perf_counter() - STARTED)
    except Exception as error:
        reason = explain(error)
        if not getattr(error, "said", False):  # a step of the chain may have said it on this terminal
            fail(reason, error)
        _end_failed(client, run_id, reason)
        sys.exit(1)
    mlflow.end_run()
    sys.exit(0)


def _say_summary(name: str, client: MlflowClient, run_id: str) -> None:
    """What a step started by hand did; in a chain, main says it."""
    tags = client.get_run(run_id).data.tags
    if PARENT not in tags and name != "main":
        print(f"tabular  {name} {run_id}: {tags[SUMMARY]}", flush=True)


def quiet() -> None:
    """Leave the terminal to what the steps say of their work."""
    import logging

    # the one handler of MLflow's loggers writes INFO for each run, environment and model
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # it warns for each model logged that uv's environments hold no pip to pin
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    if os.environ.get("TABULAR_DEBUG") != "1":
        warnings.simplefilter("ignore")


def explain(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, UserError):
        return " ".join(str(error).splitlines())  # a name in it may hold a line's end
    return f"unexpected {type(error).__name__}: {first_line(error)} (TABULAR_DEBUG=1 shows where)"


def fail(reason: str, error: BaseException) -> None:
    """Say on stderr why the step ends."""
    if os.environ.get("TABULAR_DEBUG") == "1":
        traceback.print_exception(error)
    sys.stdout.flush()
    print(f"tabular: {reason}", file=sys.stderr, flush=True)


def _end_failed(client: MlflowClient, run_id: str, reason: str) -> None:
    try:
        client.set_tag(run_id, REASON, reason[:5000])
        if not client.get_run(run_id).data.tags.get(NOTE):
            client.set_tag(run_id, NOTE, f"Failed: {reason}")
    finally:
        mlflow.end_run("FAILED")


def _check_store() -> None:
    """A relative sqlite path means another file in the folder of a git clone than in the caller's."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    parts = urlsplit(uri)
    if not (parts.scheme.startswith("sqlite") and parts.path.startswith("/") and not parts.path.startswith("//")):
        return
    path = Path(parts.path.removeprefix("/"))
    if not path.is_absolute() and path.parts and not path.exists():
        raise UserError(
            f"MLFLOW_TRACKING_URI={uri} is relative, and the project runs in another folder than you do: "
            f"write it as sqlite:///{place.caller_folder() / path}"
        )


def _store_reason(error: Exception) -> str:
    uri = mlflow.get_tracking_uri()
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MlflowException) and "out-of-date database schema" in str(error):
        return (
            f"the store {uri} was made by another version of MLflow than {mlflow.__version__}, which the steps run: "
            f"upgrade a copy of it with `mlflow db upgrade {uri}`, or use another store (MLFLOW_TRACKING_URI)"
        )
    return f"the tracking store {uri} gives no run to work in: {explain(error)}"
