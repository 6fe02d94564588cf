"""Smoke test of a challenger before its promotion: load it where it will serve, and predict its input example."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import Model
from mlflow.types import DataType

from steps import PROJECT
from steps.model import dataset, flavor
from steps.process import pool
from steps.run import lookup
from steps.run.step import Step
from steps.run.tags import ENV_MANAGER
from tabular.errors import UserError, first_line

EXAMPLE = "serving_input_example.json"
SECONDS = 900
# This makes the environment in the way of `mlflow models serve`, and keeps it for the next smoke test and for that
# command. `mlflow.models.predict` would delete its environment afterwards.
ASK = """
import sys
from mlflow.models.flavor_backend_registry import get_flavor_backend
model, example, out, manager = sys.argv[1:]
get_flavor_backend(model, env_manager=manager).predict(model, example, out, "json")
"""
Answer = list[dict[str, Any]]


def ask(step: Step, uri: str, data: str, *, code: str, learnt: str) -> None:
    """Run the smoke test: predict the model's input example without this repository, and compare with predictions here.

    Where the chain was started with `uv` or `virtualenv`, the model runs in an environment of its own, made of its
    pinned requirements; with `local`, in the environment of the chain.

    Parameters
    ----------
    step
        The step that runs the smoke test.
    uri
        URI of the model.
    data
        The id of the run of etl, whose first rows are predicted where the model was logged without an input example.
    code, learnt
        Digests of the model, as for `flavor.load`.

    Raises
    ------
    UserError
        Where the model has no input example or cannot predict it, or where the predictions differ.
    """
    compare(step, flavor.fetch(uri, step.folder, code=code, learnt=learnt), uri, data)


def compare(step: Step, model: Path, uri: str, data: str) -> None:
    """As `ask`, of a model whose files were fetched and checked into the folder `model`."""
    if Model.load(model).saved_input_example_info is None:
        _give_example(step, model, uri, data)
    if not (model / EXAMPLE).is_file():
        raise UserError(f"model {uri} holds no {EXAMPLE} to be tried with")
    manager = step.tags.get(ENV_MANAGER, "local")
    folder = Path(tempfile.mkdtemp(dir=step.folder))
    if manager == "local" and pool.forks():
        found = _of_a_fork(model, folder)
    else:
        found = _of_an_environment(model, manager, folder)
    expected = _answer(model)
    if not _agree(found, expected):
        raise UserError(f"where it has to serve, model {uri} answers {found[:1]}, and here {expected[:1]}")


def _give_example(step: Step, model: Path, uri: str, data: str) -> None:
    """Write the first rows of the data set beside a fetched model, as MLflow writes an input example."""
    try:
        rows = dataset.examples(step, lookup.run(step.client, data, "dataset", "etl"))
    except UserError as error:
        raise UserError(f"model {uri} holds no input example, and its data set cannot be had ({error})") from None
    text = mlflow.models.convert_input_example_to_serving_input(flavor.as_example(rows))
    (model / EXAMPLE).write_text(text, encoding="utf-8")


def _of_a_fork(model: Path, folder: Path) -> Answer:
    """Predictions of a fork of this process, which has the environment's modules in memory, and drops ours."""
    with pool.workers(1) as executor:
        try:
            return executor.submit(_alone, model, folder).result(SECONDS)
        except Exception as error:  # whatever a model may raise
            raise UserError(f"without this repository it does not answer ({first_line(error)})") from None


def _alone(model: Path, folder: Path) -> Answer:
    os.chdir(folder)
    sys.path[:] = [place for place in sys.path if place and Path(place).resolve() != PROJECT]
    for name in [name for name, module in sys.modules.items() if _is_ours(module)]:
        del sys.modules[name]
    return _answer(model)


def _is_ours(module: ModuleType) -> bool:
    """Whether a module belongs to this repository. An environment inside the repository's folder does not."""
    file = getattr(module, "__file__", None)
    return bool(file) and Path(file).is_relative_to(PROJECT) and "site-packages" not in Path(file).parts


def _of_an_environment(model: Path, manager: str, folder: Path) -> Answer:
    """Predictions of a process in the environment that MLflow makes for the model."""
    out = folder / "answer.json"
    words = [sys.executable, "-c", ASK, str(model), str(model / EXAMPLE), str(out), manager]
    # the process must not log to this run, nor import from this repository
    without = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in without}
    pipes = {"capture_output": True, "text": True, "timeout": SECONDS}
    try:
        done = subprocess.run(words, check=False, cwd=folder, env=environment, **pipes)
    except subprocess.TimeoutExpired:
        raise UserError(f"it did not answer within {SECONDS} s in an environment made by {manager!r}") from None
    if done.returncode or not out.is_file():
        raise UserError(f"in an environment made by {manager!r} it ended with {done.returncode}: {_why(done.stderr)}")
    answer: Answer = json.loads(out.read_text(encoding="utf-8"))["predictions"]
    return answer


def _why(said: str) -> str:
    """The first line that uv or pip marks as an error, with its cause, else the last line, which ends a traceback."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.lower().startswith("error"):
            return f"{line}: {following.removeprefix('cause: ')}" if following.startswith("cause: ") else line
    return lines[-1]


def _answer(model: Path) -> Answer:
    """The model's predictions for its input example, made in this process and passed through JSON."""
    split = json.loads((model / EXAMPLE).read_text(encoding="utf-8"))["dataframe_split"]
    loaded = mlflow.pyfunc.load_model(str(model), suppress_warnings=True)
    numbers = [column.name for column in loaded.metadata.get_input_schema().inputs if column.type == DataType.double]
    rows = pd.DataFrame(split["data"], columns=split["columns"]).astype(dict.fromkeys(numbers, "float64"))
    answer: Answer = json.loads(loaded.predict(rows).to_json(orient="records", double_precision=15))
    return answer


def _agree(one: Answer, other: Answer) -> bool:
    """Whether two answers are the same, up to the rounding of numbers in JSON."""
    if [list(row) for row in one] != [list(row) for row in other]:
        return False
    return all(_is_equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a)


def _is_equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=0, atol=1e-9))
    return bool(one == other)
