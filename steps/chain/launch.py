"""A step of the chain as a child run of main: made, started and watched until its end.

MLflow's own nesting (`mlflow.run` in an active run) takes the parent from the calling thread and cannot set a run's
name. Here the child's run is made first, with all its tags and parameters, and then handed to
`mlflow.run(run_id=…)`, which any thread may call.
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
from steps.run import connection, kept, memory_room, run_owner, termination
from steps.run.step import Step
from steps.run.tags import COMMIT, ENV_MANAGER, LEFT_OUT, MODEL, OUT_OF_MEMORY, PARENT, REASON, REPOSITORY, SOURCE
from tabular.errors import UserError, first_line


@dataclass(frozen=True)
class Parent:
    """The run that child runs are made for (main's, or that of reproduce), and how their steps are started."""

    run_id: str
    experiment_id: str
    tags: Mapping[str, str]
    env_manager: str
    folder: Path  # main's temporary folder, where MLflow puts the empty folder that it makes for each run


def parent(step: Step) -> Parent:
    """What child runs need of their parent's run; `mlflow run` keeps its environment manager in a tag of that run."""
    inherited = (SOURCE, COMMIT, REPOSITORY, ENV_MANAGER)
    tags = {name: step.tags[name] for name in inherited if name in step.tags}
    return Parent(step.run_id, step.experiment_id, tags, step.tags.get(ENV_MANAGER, "local"), step.folder)


def create(
    client: MlflowClient,
    name: str,
    entry_point: str,
    main: Parent,
    parameters: Mapping[str, str],
    tags: Mapping[str, str] | None = None,
) -> str:
    """Make the run of a child, with its parent, name, source, owner and parameters; return the run's id.

    The parameters are logged as they are: MLflow would log them quoted for the shell. `tags` override the tags that
    every child has.
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
    kept.keep(run)
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
    """Run an entry point in a run made by `create`, and wait for its end.

    Parameters
    ----------
    client
        Client of the tracking store.
    name
        Name of the task in errors, such as `hpo lightgbm`.
    entry_point, parameters
        Entry point of MLproject and its parameters.
    run_id
        Id of the child's run, made beforehand.
    main
        The parent that the child is started for.
    project
        Folder of the project: this one, or another tree of it.

    Returns
    -------
    Run
        The child's run, FINISHED.

    Raises
    ------
    StepFailed
        Where the step did not end well, with the reason that it left in its run; the run is then FAILED.
    StepStopped
        Where this process is stopping its children; the run is then KILLED, unless it had FINISHED.
    """
    killed = memory_room.killed()
    with lifecycle.call(run_id):
        error = _run(entry_point, run_id, main, parameters, project)
        if lifecycle.is_stopping():  # only now, since mlflow.run writes FAILED when it returns
            if client.get_run(run_id).info.status != "FINISHED":
                termination.mark(run_id, termination.STOPPED)
            raise StepStopped(name)
    left = None if error is None else kept.reason(run_id)
    if left is not None:  # the server was lost: neither the step nor main can write this to the step's run
        raise StepFailed(name, left, said=False) from connection.Lost(left)
    if error is not None:
        raise _failed(client, name, run_id, error, killed=memory_room.killed() > killed) from error
    return client.get_run(run_id)


def _run(entry_point: str, run_id: str, main: Parent, parameters: Mapping[str, str], project: Path) -> Exception | None:
    """Call `mlflow.run`, unless children are being stopped; return the error that it raised, or None."""
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


def _failed(client: MlflowClient, name: str, run_id: str, error: Exception, *, killed: bool) -> "StepFailed":
    """The error for a failed step: the reason that its process left, else what can be said; ends its run FAILED.

    Where the system has killed processes meanwhile, memory was short for a step that left no reason; of a candidate's
    fits that is the candidate's alone.
    """
    tags = client.get_run(run_id).data.tags
    said, told = tags.get(REASON), {}
    reason = said
    if reason is None and isinstance(error, ExecutionException) and killed:
        reason = _out_of_memory(tags.get(MODEL))
        told = {LEFT_OUT: tags[MODEL], OUT_OF_MEMORY: reason} if MODEL in tags else {}
    elif reason is None and isinstance(error, ExecutionException):
        reason = f"its process ended without a word; its run is {run_id}"
    elif reason is None:  # its process did not begin: an environment that cannot be built, a store out of reach
        reason = f"it could not be started: {first_line(error)}"
    told |= {REASON: reason}
    client.log_batch(run_id, tags=[RunTag(tag, value) for tag, value in told.items()])
    client.set_terminated(run_id, "FAILED")
    return StepFailed(name, reason, said=said is not None, is_candidates=LEFT_OUT in {**tags, **told})


def _out_of_memory(model: str | None) -> str:
    """Why the process of a step has ended that the system killed for its memory, and what to do."""
    fewer = "" if model is None else f"; models.{model}.rows lets it learn from a sample, or leave the model out"
    return f"memory ran out, and the system killed its process: -P jobs=1 gives each step all of it{fewer}"


class StepFailed(UserError):
    """A step that ended FAILED.

    Attributes
    ----------
    step, reason
        The task, and why it failed.
    said
        Whether the step's own process has printed the reason on the terminal.
    is_candidates
        Whether its candidate alone is at fault, so that a chain may go on with the others.
    """

    def __init__(self, step: str, reason: str, *, said: bool, is_candidates: bool = False) -> None:
        super().__init__(f"{step}: {reason}")
        self.step, self.reason = step, reason
        self.said, self.is_candidates = said, is_candidates


class StepStopped(Exception):
    """A step that was stopped because another one failed, or because the chain was ended."""
