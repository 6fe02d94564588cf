"""Look-up of runs by their ids, and of what they hold for later steps: the problem, the chain, the data set."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

from steps.run import artifacts, kept, tracking
from steps.run.tags import LEFT_OUT, MODEL_URI, OUT_OF_MEMORY, OUT_OF_TIME, REASON, REUSED_FROM, SUMMARY, digest_tag
from tabular import digests
from tabular import problem as problems
from tabular.errors import OutOfMemoryError, OutOfTimeError, UserError
from tabular.problem import BLEND, REFIT, Problem

if TYPE_CHECKING:
    from steps.run.step import Step
    from tabular.data.datasets import Rows, Schema

T = TypeVar("T")


def run(client: MlflowClient, run_id: str, parameter: str, step: str | None = None) -> Run:
    """The run whose id a parameter gave; with `step`, a FINISHED run of that step.

    Parameters
    ----------
    client
        Client of the tracking store.
    run_id
        The value of the parameter.
    parameter
        Name of the parameter, for the error message.
    step
        Name of the step that the run has to be of; None: any run. A child of main that shows a reused run is
        replaced by the reused run.

    Raises
    ------
    UserError
        Where there is no such run, or `step` is given and the run is of another step or not FINISHED.
    """
    found = tried(client, run_id, parameter, step)
    if step is not None and is_left_out(found):
        raise _unfinished(found, parameter, step)
    return found


def fitted(client: MlflowClient, run_id: str, parameter: str) -> Run:
    """The run that holds a model: of train, blend or refit. Errors are those of `run`."""
    entry_point = tried(client, run_id, parameter).data.tags.get(MLFLOW_PROJECT_ENTRY_POINT)
    found = run(client, run_id, parameter, entry_point if entry_point in (BLEND, REFIT) else "train")
    if MODEL_URI not in found.data.tags:  # a blend of one candidate alone, or a winner that stays as it was judged
        raise UserError(f"{parameter}: run {run_id} holds no model: {found.data.tags.get(SUMMARY)}")
    return found


def given(step: "Step", parameter: str, of: str) -> list[Run]:
    """The runs of a step whose ids a parameter gave, separated by commas; none where it is empty. Errors: see `run`."""
    return [tried(step.client, run_id, parameter, of) for run_id in step.arguments[parameter].split(",") if run_id]


def tried(client: MlflowClient, run_id: str, parameter: str, step: str | None = None) -> Run:
    """As `run`, but the run may also be one that FAILED by its candidate alone: see `is_left_out`."""
    if not run_id:
        raise UserError(f"{parameter}: the id of a run{f' of {step}' if step else ''} is needed, and none was given")
    try:
        found = kept.run(client, run_id, ended=step is not None)
    except MlflowException as error:
        if error.error_code == tracking.FORBIDDEN:
            raise
        raise UserError(f"{parameter}: there is no run {run_id!r} in {tracking.address()}") from None
    if step is None:
        return found
    reused = found.data.tags.get(REUSED_FROM)
    if reused is not None:
        return tried(client, reused, parameter, step)
    entry_point = found.data.tags.get(MLFLOW_PROJECT_ENTRY_POINT)
    if entry_point != step:
        what = f"a run of {entry_point!r}" if entry_point else "no run of ours"
        raise UserError(f"{parameter}: run {run_id} is {what}, and one of {step!r} is needed")
    if found.info.status != "FINISHED" and not is_left_out(found):
        raise _unfinished(found, parameter, step)
    return found


def repeated(step: "Step", model: str) -> Run:
    """The run of the same step that a replay repeats, which the parameter `replays` names.

    Raises
    ------
    OutOfTimeError, OutOfMemoryError
        Where the chain's seconds or the memory were too short for that run: the replay has to fail too, however fast
        or large this machine is.
    """
    found = tried(step.client, step.arguments["replays"], "replays", step.name)
    if OUT_OF_TIME in found.data.tags:
        raise OutOfTimeError(model)
    if OUT_OF_MEMORY in found.data.tags:
        raise OutOfMemoryError(found.data.tags[REASON], found.data.tags[OUT_OF_MEMORY])
    return found


def is_left_out(found: Run) -> bool:
    """Whether a run of hpo or train FAILED by its candidate alone, so that later steps go on without the candidate."""
    return LEFT_OUT in found.data.tags and found.info.status == "FAILED"


def _unfinished(found: Run, parameter: str, step: str) -> UserError:
    said = f"run {found.info.run_id} of {step} is {found.info.status}, and a FINISHED one is needed"
    return UserError(f"{parameter}: {said}")


def shown(client: MlflowClient, run_id: str) -> Run | None:
    """A run to report on, or None where it no longer exists; a child that shows a reused run gives the reused run.

    A missing run is no error here: the caller reports that it is missing.
    """
    try:
        found = kept.run(client, run_id, ended=True)
    except MlflowException:
        return None
    reused = found.data.tags.get(REUSED_FROM)
    return found if reused is None else shown(client, reused)


def problem(found: Run, folder: Path) -> Problem:
    """The frozen problem that a run holds."""
    path = artifacts.artifact(found, artifacts.PROBLEM, folder)
    return problems.parse(path.read_text(encoding="utf-8"), f"{artifacts.PROBLEM} of run {found.info.run_id}")


def experiments(client: MlflowClient) -> list[str]:
    """The ids of all experiments that this account sees."""
    found = every(lambda page: client.search_experiments(max_results=1000, page_token=page))
    return [experiment.experiment_id for experiment in found]


def every(ask: Callable[[str | None], Iterable[T]]) -> Iterator[T]:
    """All that a store finds, page after page; `ask` is given the token of a page, None for the first."""
    token = None
    while token is None or token:
        page = ask(token)
        yield from page
        token = getattr(page, "token", None) or ""


def chain(main: Run, folder: Path) -> dict[str, str]:
    """The tasks of a run of main, {task: id of the run that did its work}."""
    found: dict[str, str] = artifacts.content(main, artifacts.CHAIN, folder)
    return found


def is_run_id(text: str) -> bool:
    """Whether a parameter's value has the form of a run's id."""
    return re.fullmatch("[0-9a-f]{32}", text) is not None


def schema(found: Run, folder: Path) -> "Schema":
    """The schema of the data set that a run of etl holds."""
    from tabular.data.datasets import Schema

    path = artifacts.artifact(found, f"{artifacts.DATASET}/schema.json", folder)
    schema = Schema.from_json(path.read_text(encoding="utf-8"))
    # it holds code that is run
    if schema.own is not None and digests.of_file(path) != found.data.tags.get(digest_tag("schema")):
        raise UserError(f"run {found.info.run_id}: its schema is not the one whose digest was recorded: not read")
    return schema


def rows(found: Run, part: str, of: "Schema", folder: Path, *, features: bool = True) -> "Rows":
    """The `train` or `holdout` rows of the data set that a run of etl holds; see `tabular.data.datasets.load`."""
    from tabular.data.datasets import load

    return load(rows_file(found, part, folder), of, features=features)


def rows_file(found: Run, part: str, folder: Path) -> Path:
    """The Parquet file with the `train` or `holdout` rows of the data set that a run of etl holds."""
    return artifacts.artifact(found, f"{artifacts.DATASET}/{part}.parquet", folder)
