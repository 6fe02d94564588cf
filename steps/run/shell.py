"""The shell around every step: it reads the command line, starts and ends the run, and reports errors."""

import json
import math
import os
import re
import shutil
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn, Protocol
from urllib.parse import urlsplit

# MLflow's own messages on stdout and stderr would drown those of the steps; its warnings stay.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "1")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.environment_variables import MLFLOW_RUN_ID
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

from steps.process import lifecycle
from steps.run import (
    artifacts,
    cli,
    connection,
    disk,
    environment,
    kept,
    paths,
    retries,
    run_owner,
    termination,
    thread_budget,
    tracking,
    working_tree,
)
from steps.run.step import Step
from steps.run.tags import (
    ARGUMENTS,
    LEFT_OUT,
    LOCK,
    MODEL,
    NOTE,
    OUT_OF_MEMORY,
    OUT_OF_TIME,
    PARENT,
    REASON,
    STEP_SECONDS,
    SUMMARY,
    TREE,
    TREE_MISSING,
)
from steps.run.usage import Usage
from tabular import addresses
from tabular.errors import CandidateError, OutOfMemoryError, OutOfTimeError, UserError, first_line

STARTED = time.perf_counter()
POLL_SECONDS = 0.2


class Key(Protocol):
    """A step's key: the parts that decide the step's result, and the tags by which reuse finds its run."""

    @property
    def parts(self) -> Mapping[str, str]:
        """The parts of the key, by names that a person understands."""

    @property
    def tags(self) -> dict[str, str]:
        """The tags that the run gets."""


def run(name: str, body: Callable[[Step], None], key_of: Callable[[Step], Key | None]) -> NoReturn:
    """Run a step as a process of its own: adopt or start its run, do its work, end the run, exit with 0 or 1.

    A `UserError` gives one line on stderr, the same line as the run's reason, and the status FAILED. So does any other
    error. With TABULAR_DEBUG=1 the traceback is printed as well.

    Parameters
    ----------
    name
        Name of the entry point.
    body
        The work of the step.
    key_of
        Returns the key of the step once its work is done; None where the step has no key.
    """
    quiet()
    retries.install()
    run = _begin(name)
    try:
        _run_body(name, run, body, key_of)
        lifecycle.commit_exit()
    except Exception as error:
        lifecycle.commit_exit()
        reason = explain(error)
        if not getattr(error, "said", False):  # a failed step may have printed it already
            _say_failed(run.info.run_id, reason, error)
        with connection.hasty(error):
            _end_failed(MlflowClient(), run.info.run_id, reason, error)
        sys.exit(1)
    try:
        _end(MlflowClient(), run.info.run_id, "FINISHED")
    except Exception as error:
        _say_failed(run.info.run_id, explain(error), error)
        sys.exit(1)
    sys.exit(0)


def _begin(name: str) -> Run:
    """Adopt the run that `mlflow run` has made, or start one; where the store gives no run, print why and exit."""
    try:
        _check_store()
        if not kept.is_open():  # else main has asked
            connection.check()
        # `mlflow run` sets this tag itself; a step started as `python -m` is searched for by it as well
        tags = {MLFLOW_PROJECT_ENTRY_POINT: name, **run_owner.tags()}
        with lifecycle.uninterrupted():
            run_id = MLFLOW_RUN_ID.get()
            run = _adopted(MlflowClient(), run_id, tags) if run_id else mlflow.start_run(tags=tags)
            lifecycle.answer_for(run.info.run_id, _end_killed)
    except Exception as error:
        _say_failed(MLFLOW_RUN_ID.get() or "", _store_reason(error), error)
        sys.exit(1)
    return run


def _adopted(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> Run:
    """A run that was made for this process, with further tags; RUNNING, whatever it was before.

    Its tags lose the credentials that MLflow has written there: it notes the address of a git clone as typed.
    """
    run = kept.run(client, run_id)
    hidden = {name: addresses.without_credentials(value) for name, value in run.data.tags.items()}
    changed = {name: value for name, value in hidden.items() if value != run.data.tags[name]}
    new = {**changed, **{name: value for name, value in tags.items() if run.data.tags.get(name) != value}}
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in new.items()])
    run.data.tags.update(new)
    if run.info.status != termination.RUNNING:
        client.update_run(run_id, status=termination.RUNNING)
    return run


def _end(client: MlflowClient, run_id: str, status: str) -> None:
    """End the run; the user's own code may have made it MLflow's active run, which MLflow would end once more."""
    if mlflow.active_run() is not None:
        mlflow.end_run(status)
    else:
        client.set_terminated(run_id, status)


def _check_parameters(run: Run) -> None:
    """Refuse a parameter with a credential: MLflow has written it to the run, where no one can take it out."""
    for name, value in run.data.params.items():
        if addresses.written_secret(value.strip("'")):  # MLflow logs it as the shell was given it
            run_id = run.info.run_id
            raise UserError(
                f"{name}: holds a password or token, which MLflow has logged as this run's parameter: name a variable "
                "in its place, as in https://${USER}:${PASSWORD}@host/…?token=${TOKEN}, and delete the run for good: "
                f"mlflow runs delete --run-id {run_id}, then where the store is mlflow gc --run-ids {run_id}"
            )


def _run_body(name: str, run: Run, body: Callable[[Step], None], key_of: Callable[[Step], Key | None]) -> None:
    """Do the step's work in a folder of its own, print what the step did, log what it took."""
    with lifecycle.folder() as folder:
        _check_parameters(run)
        arguments, info = cli.parse(name, sys.argv[1:]), run.info
        about = {"artifact_uri": info.artifact_uri, "tags": dict(run.data.tags)}
        step = Step(name, arguments, info.run_id, info.experiment_id, folder, MlflowClient(), **about)
        has_waited = thread_budget.wait(arguments.get("share", ""))
        begun = time.perf_counter() if has_waited else STARTED
        _watch_clock(step)
        used = Usage()
        try:
            work(step, body, key_of)
        except Exception as error:
            step.log(metrics=used.end())
            with connection.hasty(error):
                _save(step)
            raise
        step.log(metrics={STEP_SECONDS: time.perf_counter() - begun, **used.end()})
        step.flush()
    _say_summary(step)


def _watch_clock(step: Step) -> None:
    """End this step, as a candidate that is left out, where it takes longer than the chain can wait."""
    share = step.arguments.get("share", "")
    if not math.isfinite(thread_budget.seconds_to_end(share)):
        return

    def watch() -> None:
        with suppress(OSError):  # main has gone, and its folder with it
            while thread_budget.seconds_to_end(share) > 0:
                time.sleep(POLL_SECONDS)
        lifecycle.end(partial(_end_late, step.run_id, OutOfTimeError(step.arguments["model"])))

    threading.Thread(target=watch, daemon=True, name="clock").start()


def _end_late(run_id: str, error: OutOfTimeError) -> None:
    _say_failed(run_id, str(error), error)
    _end_failed(MlflowClient(), run_id, str(error), error)


def _save(step: Step) -> None:
    """Send what a failed step has logged, and the problem that it worked on."""
    with suppress(Exception):
        step.flush()
        if step.is_task and (step.artifacts / artifacts.PROBLEM).exists():  # else it is there already
            step.upload(artifacts.PROBLEM)


def work(step: Step, body: Callable[[Step], None], key_of: Callable[[Step], Key | None]) -> None:
    """Do the step's work; log the source tree before it, and the artifacts and the key after it."""
    _log_tree(step)
    body(step)
    key = key_of(step)
    if key is not None:
        step.json(key.parts, artifacts.KEY_PARTS)
    tags = artifacts.record(step)
    step.upload_artifacts()
    given = {name: value for name, value in step.arguments.items() if value}
    # a replay ends where the earlier run ended, whatever its problem says: it gets no key, so that it is not reused
    found_by = key.tags if key is not None and not step.arguments.get("replays") else {}
    step.log(tags={**tags, ARGUMENTS: json.dumps(given), **found_by})


def _log_tree(step: Step) -> None:
    """Log which source tree ran, as a commit or a patch over it, in which environment and on which machine.

    Main logs this for the steps that it starts.
    """
    if step.is_task:
        return
    step.json(environment.describe(), artifacts.ENVIRONMENT)
    tree = working_tree.changes(step.folder)
    if tree.patch is not None:
        shutil.copy(tree.patch, step.artifacts)
        step.upload(working_tree.PATCH)
    tags = {TREE: tree.state, LOCK: environment.lock_digest()}
    if tree.missing:
        missing = "; ".join(tree.missing)
        about = "which changes the tree has is unknown" if tree.patch is None else f"not in {working_tree.PATCH}"
        print(f"  note: {about}: {missing}", flush=True)
        tags[TREE_MISSING] = missing[:5000]
    step.log(tags=tags)


def _say_summary(step: Step) -> None:
    """Print what a step started by hand did; in a chain, main prints it."""
    if PARENT not in step.tags and step.name != "main":
        print(f"tabular  {step.name} {step.run_id}: {step.tags[SUMMARY]}", flush=True)


def quiet() -> None:
    """Silence the logs and warnings of libraries, so that the terminal shows what the steps print."""
    import logging

    # the one handler of MLflow's loggers writes INFO for each run, environment and model
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # this logger warns for each logged model that uv's environments hold no pip to pin
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    if os.environ.get("TABULAR_DEBUG") != "1":
        # this logger writes the traceback of each database error, which is then raised; `explain` has a line for it
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        warnings.simplefilter("ignore")


def explain(error: BaseException) -> str:
    """What went wrong, in one line, without the credentials that an address in it may hold."""
    return addresses.without_credentials(_explained(error))


def _explained(error: BaseException) -> str:
    if isinstance(error, UserError):
        return " ".join(str(error).splitlines())  # a name in the message may hold a line break
    if isinstance(error, BrokenExecutor):
        return "a process of this step was killed; if memory ran out, -P jobs=1 gives each step all of it"
    if isinstance(error, MemoryError):
        return f"memory ran out ({first_line(error)}): -P jobs=1 gives each step all of it"
    trouble = disk.trouble(error) or connection.lost(error)
    if trouble is not None:
        return trouble
    if isinstance(error, MlflowException) and error.error_code == tracking.FORBIDDEN:
        found = re.search(r"endpoint (\S+)", str(error))
        return (
            f"{tracking.address()} does not give {tracking.account() or 'whoever has no account'} the right to "
            f"{found[1] if found else first_line(error)}: ask its administrator for it"
        )
    return f"unexpected {type(error).__name__}: {first_line(error)} (TABULAR_DEBUG=1 shows where)"


def _say_failed(run_id: str, reason: str, error: BaseException) -> None:
    """Print on stderr why the step ends; that the server is lost is left to main, which says it once for all steps."""
    if os.environ.get("TABULAR_DEBUG") == "1":
        traceback.print_exception(error)
    sys.stdout.flush()
    if connection.lost(error) is None or not kept.leave_reason(run_id, reason):
        print(f"tabular: {reason}", file=sys.stderr, flush=True)


def _end_killed(run_id: str, reason: str, *, is_step: bool) -> None:
    """End the run of this process, which is being killed; that its server is lost is main's to say, and no step's."""
    try:
        termination.end(run_id, reason, is_step=is_step)
    except Exception as error:
        lost = connection.lost(error)
        if lost is None:
            raise
        if not is_step:
            raise connection.Lost(lost) from None


def _end_failed(client: MlflowClient, run_id: str, reason: str, error: Exception) -> None:
    """Write the reason to the run and end the run as FAILED; a store that refuses is no second error to report.

    After a `CandidateError` the run says that its candidate alone is at fault, so that a chain goes on without it.
    """
    with suppress(Exception):
        tags = client.get_run(run_id).data.tags
        told = {REASON: reason[:5000]}
        if not tags.get(NOTE):
            told[NOTE] = f"Failed: {reason}"[:5000]
        if isinstance(error, CandidateError) and MODEL in tags:
            told[LEFT_OUT] = tags[MODEL]
        if isinstance(error, OutOfTimeError):
            told[OUT_OF_TIME] = "true"
        if isinstance(error, OutOfMemoryError):
            told[OUT_OF_MEMORY] = error.need
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in told.items()])
    with suppress(Exception):
        _end(client, run_id, "FAILED")


def _check_store() -> None:
    """Refuse a relative sqlite path: in the folder of a git clone it means another file than in the caller's folder."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    parts = urlsplit(uri)
    if not (parts.scheme.startswith("sqlite") and parts.path.startswith("/") and not parts.path.startswith("//")):
        return
    path = Path(parts.path.removeprefix("/"))
    if not path.is_absolute() and path.parts and not path.exists():
        raise UserError(
            f"MLFLOW_TRACKING_URI={uri} is relative, and the project runs in another folder than you do: "
            f"write it as sqlite:///{paths.caller_folder() / path}"
        )


def _store_reason(error: Exception) -> str:
    uri = tracking.address()
    if isinstance(error, UserError):
        return str(error)
    found = re.search(r"out-of-date database schema \(found version (\w+)", str(error))
    if found and isinstance(error, MlflowException):
        return _of_another_version(uri, found[1])
    told = disk.trouble(error) or connection.lost(error)
    return told or f"the tracking store {uri} gives no run to work in: {explain(error)}"


def _of_another_version(uri: str, revision: str) -> str:
    """What to do with a database whose schema is another one than this MLflow's; no MLflow takes a schema back."""
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    steps = f"MLflow {mlflow.__version__}, which the steps run"
    try:
        ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations")).get_revision(revision)
    except CommandError:  # it has never heard of it
        return (
            f"the store {uri} was made or upgraded by a newer version than {steps}, and cannot be taken back: let that "
            f"version serve it (`mlflow server --backend-store-uri {uri}`) and give the server's address as "
            f"MLFLOW_TRACKING_URI, or use another store and type `mlflow run` with {mlflow.__version__} too"
        )
    return (
        f"the store {uri} was made by an older version than {steps}: copy it, and then upgrade it with "
        f"`mlflow db upgrade {uri}` of {mlflow.__version__}, or use another store (MLFLOW_TRACKING_URI)"
    )
