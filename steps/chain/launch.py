"""A step of the chain as a child run: created, started, watched, and its end read.

MLflow's own way of nesting (`mlflow.run` in an active run) takes the parent from the calling thread and knows no run
name; here the child's run is made first, with all that it should say, and handed to `mlflow.run(run_id=…)`, which any
thread may then call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Param, Run, RunTag
from mlflow.exceptions import ExecutionException
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

from steps import PROJECT
from steps.process import lifecycle
from steps.run import run_owner, termination
from steps.run.tags import COMMIT, ENV_MANAGER, MODEL, PARENT, REASON, REPOSITORY, SOURCE
from tabular.errors import UserError, first_line


@dataclass(frozen=True)
class Parent:
    """The run of main that a child is made for, and how its steps are started."""

    run_id: str
    experiment_id: str
    tags: Mapping[str, str]
    env_manager: str
    folder: Path  # of main: MLflow puts the empty folder that it makes for each run there


def parent(client: MlflowClient, run_id: str, folder: Path) -> Parent:
    """What children need of main's run; `mlflow run` left the environment manager it was called with in a tag."""
    run = client.get_run(run_id)
    inherited = (SOURCE, COMMIT, REPOSITORY, ENV_MANAGER)
    tags = {name: run.data.tags[name] for name in inherited if name in run.data.tags}
    manager = run.data.tags.get(ENV_MANAGER, "local")
    return Parent(run_id, run.info.experiment_id, tags, manager, folder)


def create(
    client: MlflowClient,
    name: str,
    entry_point: str,
    main: Parent,
    parameters: Mapping[str, str],
    tags: Mapping[str, str] | None = None,
) -> str:
    """Make the run of a child: its parent, name, source and owner, and its parameters as they are, not as quoted.

    `tags` go over those that every child has.
    """
    everyones = {
        **main.tags,
        **run_owner.tags(),
        PARENT: main.run_id,
        "mlflow.source.type": "PROJECT",
        MLFLOW_PROJECT_ENTRY_POINT: entry_point,
        "mlflow.project.backend": "local",
    }
    if parameters.get("model"):
        everyones[MODEL] = parameters["model"]
    with lifecycle.uninterrupted():
        run = client.create_run(main.experiment_id, tags={**everyones, **(tags or {})}, run_name=name)
    client.log_batch(run.info.run_id, params=[Param(name, value) for name, value in parameters.items() if value])
    return run.info.run_id


def start(
    client: MlflowClient,
    name: str,
    entry_point: str,
    run_id: str,
    main: Parent,
    parameters: Mapping[str, str],
    project: Path = PROJECT,
) -> Run:
    """Run an entry point in a run of ours, and wait for it.

    Parameters
    ----------
    client
        Of the store.
    name
        What it is called in errors, such as `hpo lightgbm`.
    entry_point, parameters
        Of MLproject.
    run_id
        Made beforehand.
    main
        What the child is started for, and how.
    project
        This one, or another tree of it.

    Raises
    ------
    StepFailed
        Where it did not end well, with the reason that it left in its run; the run is FAILED then.
    StepStopped
        Where this process is stopping what it has started; the run is KILLED then.
    """
    with lifecycle.call(run_id):
        error = _run(entry_point, run_id, main, parameters, project)
        if lifecycle.is_stopping():  # only now, since mlflow.run writes FAILED when it returns
            if client.get_run(run_id).info.status != "FINISHED":
                termination.mark(run_id, termination.STOPPED)
            raise StepStopped(name)
    if error is not None:
        raise _failed(client, name, run_id, error) from error
    return client.get_run(run_id)


def _run(entry_point: str, run_id: str, main: Parent, parameters: Mapping[str, str], project: Path) -> Exception | None:
    """`mlflow.run`, unless children are being stopped; what it raised."""
    if lifecycle.is_stopping():
        return None
    try:
        mlflow.run(
            str(project),
            entry_point=entry_point,
            parameters=dict(parameters),
            experiment_id=main.experiment_id,
            run_id=run_id,
            env_manager=main.env_manager,
            storage_dir=str(main.folder),
        )
    except Exception as error:
        return error
    return None


def _failed(client: MlflowClient, name: str, run_id: str, error: Exception) -> "StepFailed":
    """Why a step failed: what its own process said, else what can be said of it; the run is FAILED with it."""
    said = client.get_run(run_id).data.tags.get(REASON)
    reason = said
    if reason is None and isinstance(error, ExecutionException):
        reason = f"its process ended without a word; its run is {run_id}"
    elif reason is None:  # before its process began: an environment that cannot be built, a store out of reach
        reason = f"it could not be started: {first_line(error)}"
    client.log_batch(run_id, tags=[RunTag(REASON, reason)])
    client.set_terminated(run_id, "FAILED")
    return StepFailed(name, reason, said=said is not None)


class StepFailed(UserError):
    """A step that ended FAILED; `said` where its own process has written the reason on the terminal."""

    def __init__(self, step: str, reason: str, *, said: bool) -> None:
        super().__init__(f"{step}: {reason}")
        self.step = step
        self.said = said


class StepStopped(Exception):
    """A step that was stopped since another one failed, or the chain was ended."""
