"""The shell around every step: its command line, its run, its errors, its end."""

import getpass
import json
import os
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

# What MLflow says of its own on stdout and stderr would drown what the steps say; its warnings stay.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "1")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS, MLFLOW_PROJECT_ENTRY_POINT

from steps import closure, commandline, disk, guard, place
from steps.killed import REASON
from tabular.errors import UserError, first_line

SUMMARY = "tabular.summary"
OUTCOME = "tabular.outcome"
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
# The parameters that a step was given, as JSON: MLflow logs them as the shell quotes them, or not at all.
ARGUMENTS = "tabular.arguments"
# On what `reproduce` starts: the run that it repeats.
REPLAY_OF = "tabular.replay_of"
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
    tables: list[str] = field(default_factory=list)  # the artifacts that MLflow's UI is to show as tables
    # import path: `closure.of_estimator`, taken before it was loaded
    estimators: dict[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def artifacts(self) -> Path:
        """Where the step puts what its run is to hold; it is logged when the step has done its work."""
        place = self.folder / "artifacts"
        place.mkdir(exist_ok=True)
        return place

    def log(
        self,
        *,
        params: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> None:
        """Log to the step's run in one batch."""
        log(self.client, self.run_id, params=params, metrics=metrics, tags=tags)

    def text(self, content: str, name: str) -> None:
        """Leave a text as an artifact."""
        path = self.artifacts / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")

    def json(self, content: Any, name: str) -> None:
        """Leave plain values as an artifact."""
        self.text(json.dumps(content, indent=1, ensure_ascii=False, default=_plain), name)

    def table(self, columns: Mapping[str, list], name: str) -> None:
        """Leave a table, which MLflow's UI shows as one; `columns` are name: values.

        As `mlflow.log_table` writes it, which imports pandas and asks the store what is there already.
        """
        rows = [[_finite(value) for value in row] for row in zip(*columns.values(), strict=True)]
        self.json({"columns": list(columns), "data": rows}, name)
        self.tables.append(name)

    def finish(self, title: str, summary: str, note: str) -> None:
        """Give the run its name, the line that main prints of it, and the note that says what it did."""
        self.log(tags={"mlflow.runName": title[:250], SUMMARY: summary, NOTE: note})

    def hand_in(self) -> None:
        """Log all that the step has left in `artifacts`."""
        mlflow.log_artifacts(str(self.artifacts))
        tables = [{"path": name, "type": "table"} for name in self.tables]
        self.log(tags={MLFLOW_LOGGED_ARTIFACTS: json.dumps(tables)} if tables else {})


def _plain(value: Any) -> Any:
    """A scalar of numpy as JSON can hold it."""
    return _finite(value.item())


def _finite(value: Any) -> Any:
    """A number as JSON can hold it: what is none is null."""
    return None if isinstance(value, float) and not -float("inf") < value < float("inf") else value


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
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number and no name
        user = str(os.getuid())
    me = guard.me()
    return {
        "mlflow.user": user,
        "tabular.owner.host": guard.host(),
        "tabular.owner.pid": str(me.pid),
        "tabular.owner.started": f"{me.started:.2f}",
    }


def run(name: str, body: Callable[[Step], None], source: Mapping[str, str] | None = None) -> NoReturn:
    """Run a step as a process of its own: adopt or start its run, do its work, end it, exit with 0 or 1.

    A `UserError` is one line on stderr, the run's reason and its end as FAILED; so is anything else that goes wrong,
    with the traceback where TABULAR_DEBUG=1.

    Parameters
    ----------
    name
        The entry point.
    body
        Its work.
    source
        The digests of the modules that it can load, taken before they were loaded.
    """
    quiet()
    source = source if source is not None else closure.digests(name)
    try:
        _check_store()
        # `mlflow run` says so itself; a step started as `python -m` is asked for by its entry point as well
        with guard.undisturbed():
            active = mlflow.start_run(tags={MLFLOW_PROJECT_ENTRY_POINT: name, **identity()})
            guard.answer_for(active.info.run_id)
    except Exception as error:
        fail(_store_reason(error), error)
        sys.exit(1)
    client = MlflowClient()
    run_id = active.info.run_id
    try:
        with guard.folder() as folder:
            arguments = commandline.parse(name, sys.argv[1:])
            step = Step(name, arguments, run_id, active.info.experiment_id, folder, client)
            _wait_for_share(arguments)
            work(step, body, source)
        _say_summary(name, client, run_id)
        client.log_metric(run_id, "step_seconds", time.perf_counter() - STARTED)
        guard.settle()
    except Exception as error:
        guard.settle()
        reason = explain(error)
        if not getattr(error, "said", False):  # a step of the chain may have said it on this terminal
            fail(reason, error)
        _end_failed(client, run_id, reason)
        sys.exit(1)
    try:
        mlflow.end_run()
    except Exception as error:
        fail(explain(error), error)
        sys.exit(1)
    sys.exit(0)


def work(step: Step, body: Callable[[Step], None], source: Mapping[str, str]) -> None:
    """The step's own work, and what its run then says of it: tree, artifacts, key."""
    from steps import keys, records

    _log_tree(step)
    body(step)
    key = keys.of_step(step, source)
    if key is not None:
        step.json(key.parts, keys.PARTS)
    tags = records.record(step)
    step.hand_in()
    given = {name: value for name, value in step.arguments.items() if value}
    # a repetition ended where the earlier run did, whatever its problem says: it stands for no work but that one's
    found_by = key.tags if key is not None and not step.arguments.get("replays") else {}
    step.log(tags={**tags, ARGUMENTS: json.dumps(given), **found_by})


def _log_tree(step: Step) -> None:
    """Which tree ran: its commit's, or the changes over it as a patch; and in what, on which machine.

    Main says it for the steps that it starts.
    """
    from steps import environment, store

    if step.name != "main" and PARENT in step.client.get_run(step.run_id).data.tags:
        return
    step.json(environment.describe(), store.ENVIRONMENT)
    patch = place.changes(step.folder)
    if patch is not None:
        shutil.copy(patch, step.artifacts)
        mlflow.log_artifact(str(patch))  # at once: the run may not live to hand it in
    tree = {"tabular.tree": "clean" if patch is None else "changed"}
    step.log(tags={**tree, "tabular.lock": environment.lock_digest()})


def cores() -> int:
    """How many cores this process may use: a container's limit and the process's own affinity count."""
    import joblib

    return joblib.cpu_count()


def threads(share: str) -> int:
    """How many threads a step may use at this moment: what main's file says, else as many as there are cores."""
    return int(Path(share).read_text()) if share else cores()


def _wait_for_share(arguments: Mapping[str, str]) -> None:
    """Main starts steps before their time, so that they import while they wait for what they work on."""
    share = arguments.get("share")
    while share and not Path(share).exists():
        time.sleep(0.02)


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
        # it logs a traceback of each error of the database, and then raises it; `explain` has a line for that
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        warnings.simplefilter("ignore")


def explain(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, UserError):
        return " ".join(str(error).splitlines())  # a name in it may hold a line's end
    trouble = disk.trouble(error)
    if trouble is not None:
        return trouble
    return f"unexpected {type(error).__name__}: {first_line(error)} (TABULAR_DEBUG=1 shows where)"


def fail(reason: str, error: BaseException) -> None:
    """Say on stderr why the step ends."""
    if os.environ.get("TABULAR_DEBUG") == "1":
        traceback.print_exception(error)
    sys.stdout.flush()
    print(f"tabular: {reason}", file=sys.stderr, flush=True)


def _end_failed(client: MlflowClient, run_id: str, reason: str) -> None:
    """Leave the reason in the run, and end it; where the store takes neither, that is no second error to report."""
    with suppress(Exception):
        client.set_tag(run_id, REASON, reason[:5000])
        if not client.get_run(run_id).data.tags.get(NOTE):
            client.set_tag(run_id, NOTE, f"Failed: {reason}")
    with suppress(Exception):
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
    return disk.trouble(error) or f"the tracking store {uri} gives no run to work in: {explain(error)}"
