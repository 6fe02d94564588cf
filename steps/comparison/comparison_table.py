"""The comparison table of runs: their descriptions, their metrics, and the parameters in which they differ."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

from steps.pipeline import STEPS
from steps.run import artifacts
from steps.run.tags import COMMIT, MODEL, OUTCOME, PARENT, PROBLEM, TRIAL, WINNER, lasting
from tabular.errors import UserError
from tabular.evaluation import equality
from tabular.evaluation.varying_params import differing

MAIN = "main"
LONGEST_CELL = 24
ABSENT = "\N{EN DASH}"
# Keys of main's problem that are left out, since the columns `problem` and `data` show them.
SAID = ("name", "data.source", "data.sha256")
# Parameters that follow from the model's name, and are left out unless two runs of one model differ in them.
OF_MODEL = re.compile(r"estimator|preprocessing_\w+")
# Columns that decide which rows a run was scored on, or the true classes of these rows.
OF_ROWS = re.compile(r"problem|data|seed|folds|split_by|rows_\w+|split\..*|data\.(target|positive|duplicates)")


@dataclass(frozen=True)
class Board:
    """A comparison table: three groups of columns, with a value for each run, None where it has none."""

    about: Mapping[str, list[Any]]
    metrics: Mapping[str, list[Any]]
    params: Mapping[str, list[Any]]

    @property
    def columns(self) -> dict[str, list[Any]]:
        """All columns as one table; a metric or parameter whose name is taken: `metrics.<name>` or `params.<name>`."""
        found = dict(self.about)
        for part, columns in (("metrics", self.metrics), ("params", self.params)):
            found |= {name if name not in found else f"{part}.{name}": column for name, column in columns.items()}
        return found

    @property
    def names(self) -> list[str]:
        """The name of each run, such as `train lightgbm`."""
        parts = zip(self.about["what"], self.about["model"], strict=True)
        return [f"{what} {model or ''}".rstrip() for what, model in parts]

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The columns that may explain the scores: problem, data and model where runs differ, and the parameters."""
        about = {name: self.about[name] for name in ("problem", "data", "model") if _differ(self.about[name])}
        return Board(about, {}, self.params).columns

    @property
    def remark(self) -> str:
        """A warning where the scores may not be comparable, with the columns that differ; else ""."""
        both = {**self.about, **self.params}
        found = [name for name, column in both.items() if OF_ROWS.fullmatch(name) and _differ(column)]
        return f"They differ in {', '.join(found)}: not all may be scored on the same rows." if found else ""

    def shown(self, metrics: Sequence[str]) -> list[dict[str, Any]]:
        """A table for people, one row for each run, without descriptions that all runs share, but for the model.

        Parameters
        ----------
        metrics
            The metrics that are shown.

        """
        about = {name: column for name, column in self.about.items() if _differ(column) or name in ("run", "model")}
        about["run"] = [run_id[:8] for run_id in self.about["run"]]
        chosen = {name: self.metrics[name] for name in metrics if name in self.metrics}
        columns = Board(
            {name: [_text(value) for value in column] for name, column in about.items()},
            {name: [ABSENT if value is None else value for value in column] for name, column in chosen.items()},
            {name: [_text(value) for value in column] for name, column in self.params.items()},
        ).columns
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@dataclass(frozen=True)
class Entry:
    """A run and its parameters: for main the keys of its whole problem, for other runs the logged parameters."""

    run: Run
    params: Mapping[str, Any]

    @property
    def work(self) -> Any:
        """The identity of the run's work: entry point, model, problem, parameters, and all metrics that last."""
        about = (_door(self.run), _model(self.run), self.run.data.tags.get(PROBLEM))
        return about, repr(lasting(self.run.data.metrics)), repr(sorted(self.params.items()))


def entry(run: Run, folder: Path) -> Entry:
    """The run with its parameters; artifacts are downloaded into `folder`."""
    return Entry(run, _problem(run, folder) if _door(run) == MAIN else _own_params(run))


def of_entries(client: MlflowClient, entries: Sequence[Entry], first: Sequence[str]) -> Board:
    """The comparison table of runs.

    Parameters
    ----------
    client
        Client of the tracking server.
    entries
        The runs, in the order of the rows.
    first
        Metrics whose columns come first; all others follow by name.

    """
    runs = [one.run for one in entries]
    searches = _searches(client, runs)
    about = {
        "run": [run.info.run_id for run in runs],
        "what": [_what(run) for run in runs],
        "model": [_model(run) or None for run in runs],
        "started": [_time(run) for run in runs],
        "problem": [run.data.tags.get(PROBLEM) for run in runs],
        "outcome": [run.data.tags.get(OUTCOME) for run in runs],
        "search": [search.info.run_id[:8] if search else None for search in searches],
        "data": [_data(search or run) for run, search in zip(runs, searches, strict=True)],
        "commit": [run.data.tags.get(COMMIT, "")[:8] or None for run in runs],
    }
    there = {name for run in runs for name in run.data.metrics}
    names = dict.fromkeys([*(name for name in first if name in there), *sorted(there)])
    metrics = {name: [run.data.metrics.get(name) for run in runs] for name in names}
    return Board(about, metrics, _params(entries, searches))


def _differ(column: Sequence[Any]) -> bool:
    return len(set(column)) > 1


def _door(run: Run) -> str:
    return run.data.tags.get(MLFLOW_PROJECT_ENTRY_POINT, "")


def _what(run: Run) -> str:
    """What the run is, such as `main` or `trial 3`; for a run not made by Tabular, its name."""
    number = run.data.tags.get(TRIAL)
    return f"trial {number}" if number is not None else _door(run) or run.info.run_name


def _model(run: Run) -> str:
    """The model of a run, for main the winner; "" where it has none or was not made by Tabular."""
    return run.data.tags.get(WINNER if _door(run) == MAIN else MODEL, "")


def _time(run: Run) -> str:
    return datetime.fromtimestamp(run.info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _data(run: Run) -> str | None:
    """The first 8 characters of the digest of the data set that is the run's input; None without one."""
    entries = run.inputs.dataset_inputs if run.inputs else []
    return entries[0].dataset.digest[:8] if entries else None


def _searches(client: MlflowClient, runs: Sequence[Run]) -> list[Run | None]:
    """The search of each run that is a trial, else None. Deleted searches count: their trials may outlive them."""
    parents = [run.data.tags[PARENT] if TRIAL in run.data.tags else None for run in runs]
    ids = {run_id for run_id in parents if run_id is not None}
    if not ids:
        return [None] * len(runs)
    asked = f"attributes.run_id IN ({', '.join(repr(run_id) for run_id in sorted(ids))})"
    found = client.search_runs([runs[0].info.experiment_id], asked, ViewType.ALL, max_results=len(ids))
    return [next((one for one in found if one.info.run_id == run_id), None) for run_id in parents]


def _params(entries: Sequence[Entry], searches: Sequence[Run | None]) -> dict[str, list[Any]]:
    given = [{**_of_search(search), **one.params} for one, search in zip(entries, searches, strict=True)]
    # the parameters of main are about all models of its problem, not only the winner
    models = ["" if _door(one.run) == MAIN else _model(one.run) for one in entries]
    found = differing(given, models)
    return {
        name: column
        for name, column in found.items()
        if not OF_MODEL.fullmatch(name) or len(set(zip(models, column, strict=True))) > len(set(models))
    }


def _of_search(search: Run | None) -> Mapping[str, str]:
    """The parameters of a search that its trials do not log: those that decide the folds."""
    params = search.data.params if search is not None else {}
    return {name: params[name] for name in ("seed", "folds") if name in params}


def _own_params(run: Run) -> Mapping[str, str]:
    """The parameters that a run logged; for a run made by Tabular, without its step's arguments and model name."""
    if PROBLEM not in run.data.tags:
        return run.data.params
    said = {"model_type", *(STEPS[_door(run)].parameters if _door(run) in STEPS else ())}
    return {name: value for name, value in run.data.params.items() if name not in said}


def _problem(run: Run, folder: Path) -> Mapping[str, Any]:
    """The problem of a run of main, with defaults filled in: dotted path: value; empty where it cannot be read.

    The YAML is not validated, since the problem of an earlier version may not be valid today.
    """
    try:
        text = artifacts.fetch(run, artifacts.PROBLEM, folder).read_text(encoding="utf-8")
        found = equality.leaves(yaml.safe_load(text))
    except (UserError, yaml.YAMLError):
        return {}
    return {name: value for name, value in found.items() if name not in SAID}


def _text(value: Any) -> str:
    """A value as text: a float with 4 digits, a long text on one line without its middle, None as `ABSENT`."""
    if value is None:
        return ABSENT
    text = f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
    half = LONGEST_CELL // 2
    return text if len(text) <= LONGEST_CELL else f"{text[: half - 1]}…{text[-half:]}"
