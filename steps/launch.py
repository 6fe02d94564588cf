"""A step of the chain as a child run: created, started, and its end read.

MLflow's own way of nesting (`mlflow.run` in an active run) takes the parent from the calling thread and knows no run
name; here the child's run is made first, with all that it should say, and handed to `mlflow.run(run_id=…)`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Param, RunTag
from mlflow.exceptions import ExecutionException
from mlflow.utils.time import get_current_time_millis

from steps import place
from steps.pipeline import Task
from steps.tracked import PARENT, REASON, SUMMARY, identity
from tabular.errors import UserError, first_line


@dataclass(frozen=True)
class Parent:
    """The run of main that a child is made for, and how its steps are started."""

    run_id: str
    experiment_id: str
    tags: Mapping[str, str]
    env_manager: str
    folder: Path  # of main: MLflow puts the empty folder that it makes for each run there


@dataclass(frozen=True)
class Ended:
    """A child run that has FINISHED."""

    run_id: str
    seconds: float
    summary: str


def parent(client: MlflowClient, run_id: str, folder: Path) -> Parent:
    """What children need of main's run; `mlflow run` left the environment manager it was called with in a tag."""
    run = client.get_run(run_id)
    inherited = ("mlflow.source.name", "mlflow.source.git.commit", "mlflow.source.git.repoURL", "mlflow.project.env")
    tags = {name: run.data.tags[name] for name in inherited if name in run.data.tags}
    manager = run.data.tags.get("mlflow.project.env", "local")
    return Parent(run_id, run.info.experiment_id, tags, manager, folder)


def create(client: MlflowClient, task: Task, main: Parent, parameters: Mapping[str, str]) -> str:
    """Make the run of a task: its parent, name, source and owner, and its parameters as they are, not as quoted."""
    tags = {
        **main.tags,
        **identity(),
        PARENT: main.run_id,
        "mlflow.source.type": "PROJECT",
        "mlflow.project.entryPoint": task.step.name,
        "mlflow.project.backend": "local",
    }
    run = client.create_run(main.experiment_id, tags=tags, run_name=task.name)
    client.log_batch(run.info.run_id, params=[Param(name, value) for name, value in parameters.items() if value])
    return run.info.run_id


def start(client: MlflowClient, task: Task, run_id: str, main: Parent, parameters: Mapping[str, str]) -> Ended:
    """Run a task's entry point in its run, and wait for it.

    Raises
    ------
    StepFailed
        Where it did not end well, with the reason that it left in its run; the run is FAILED then.
    """
    try:
        mlflow.run(
            str(place.PROJECT),
            entry_point=task.step.name,
            parameters=dict(parameters),
            experiment_id=main.experiment_id,
            run_id=run_id,
            env_manager=main.env_manager,
            storage_dir=str(main.folder),
        )
    except ExecutionException:
        reason = client.get_run(run_id).data.tags.get(REASON)
        if reason is not None:
            raise _failed(client, task, run_id, reason, said=True) from None
        raise _failed(client, task, run_id, f"its process ended without a word; its run is {run_id}") from None
    except Exception as error:  # before its process began: an environment that cannot be built, a store out of reach
        raise _failed(client, task, run_id, f"it could not be started: {first_line(error)}") from error
    run = client.get_run(run_id)
    ended = run.info.end_time or get_current_time_millis()
    return Ended(run_id, (ended - run.info.start_time) / 1000, run.data.tags.get(SUMMARY, ""))


def _failed(client: MlflowClient, task: Task, run_id: str, reason: str, *, said: bool = False) -> "StepFailed":
    client.log_batch(run_id, tags=[RunTag(REASON, reason)])
    client.set_terminated(run_id, "FAILED")
    return StepFailed(task.name, reason, said=said)


class StepFailed(UserError):
    """A step that ended FAILED; `said` where its own process has written the reason on the terminal."""

    def __init__(self, step: str, reason: str, *, said: bool) -> None:
        super().__init__(f"{step}: {reason}")
        self.step = step
        self.said = said
