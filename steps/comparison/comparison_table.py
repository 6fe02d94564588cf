"""Runs side by side: what each is, its metrics, and the parameters in which they differ."""

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
from steps.run.tags import COMMIT, MODEL, OUTCOME, PARENT, PROBLEM, TRIAL, WINNER
from tabular.errors import UserError
from tabular.evaluation import equality
from tabular.evaluation.varying_params import differing

MAIN = "main"
LONGEST_CELL = 24
ABSENT = "\N{EN DASH}"
# What the columns `problem` and `data` say of a main's problem.
SAID = ("name", "data.source", "data.sha256")
# What a model's name says, unless two runs of one model differ in it.
OF_MODEL = re.compile(r"estimator|preprocessing_\w+")
# What decides which rows a run was scored on, and what their answers are.
OF_ROWS = re.compile(r"problem|data|seed|folds|split_by|rows_\w+|split\..*|data\.(target|positive|duplicates)")


@dataclass(frozen=True)
class Board:
    """A table of runs in three parts, each of columns with a value a run; None where a run has none."""

    about: Mapping[str, list[Any]]
    metrics: Mapping[str, list[Any]]
    params: Mapping[str, list[Any]]

    @property
    def columns(self) -> dict[str, list[Any]]:
        """All of it as one table; what is named like a column before it is `metrics.<name>` or `params.<name>`."""
        found = dict(self.about)
        for part, columns in (("metrics", self.metrics), ("params", self.params)):
            found |= {name if name not in found else f"{part}.{name}": column for name, column in columns.items()}
        return found

    @property
    def names(self) -> list[str]:
        """What each run is called: `train lightgbm`."""
        parts = zip(self.about["what"], self.about["model"], strict=True)
        return [f"{what} {model or ''}".rstrip() for what, model in parts]

    @property
    def axes(self) -> dict[str, list[Any]]:
        """What may explain the scores: the model, the problem, the data where runs differ in it, and the parameters."""
        about = {name: self.about[name] for name in ("problem", "data", "model") if _differ(self.about[name])}
        return Board(about, {}, self.params).columns

    @property
    def remark(self) -> str:
        """What keeps the scores from being compared; "" where nothing does."""
        both = {**self.about, **self.params}
        found = [name for name, column in both.items() if OF_ROWS.fullmatch(name) and _differ(column)]
        return f"They differ in {', '.join(found)}: not all may be scored on the same rows." if found else ""

    def shown(self, metrics: Sequence[str]) -> list[dict[str, Any]]:
        """A row a run for people, with these metrics; what all runs are is left out, but for their model."""
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
    """A run, and what it was given: of main the whole problem, of other runs the parameters that they logged."""

    run: Run
    params: Mapping[str, Any]

    @property
    def work(self) -> Any:
        """What makes its work its own: what it was given and what came of it, but for the seconds that it took."""
        came = {name: value for name, value in self.run.data.metrics.items() if not name.endswith("_seconds")}
        about = (_door(self.run), _model(self.run), self.run.data.tags.get(PROBLEM))
        return about, repr(sorted(came.items())), repr(sorted(self.params.items()))


def entry(run: Run, folder: Path) -> Entry:
    """A run with what it was given; artifacts of it are fetched into `folder`."""
    return Entry(run, _problem(run, folder) if _door(run) == MAIN else _own_params(run))


def of_entries(client: MlflowClient, entries: Sequence[Entry], first: Sequence[str]) -> Board:
    """The runs in their order, with all of their metrics, these first."""
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
    """Such as `main`, or `trial 3`; the name of a run that is not ours."""
    number = run.data.tags.get(TRIAL)
    return f"trial {number}" if number is not None else _door(run) or run.info.run_name


def _model(run: Run) -> str:
    """The model that a run is about, of main the winner; "" where it is about none, or not ours."""
    return run.data.tags.get(WINNER if _door(run) == MAIN else MODEL, "")


def _time(run: Run) -> str:
    return datetime.fromtimestamp(run.info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _data(run: Run) -> str | None:
    """The first letters of the digest of the data set that a run names as its input."""
    entries = run.inputs.dataset_inputs if run.inputs else []
    return entries[0].dataset.digest[:8] if entries else None


def _searches(client: MlflowClient, runs: Sequence[Run]) -> list[Run | None]:
    """Of each run that is a trial the search that it is one of, deleted or not: its trials may outlive it."""
    parents = [run.data.tags[PARENT] if TRIAL in run.data.tags else None for run in runs]
    ids = {run_id for run_id in parents if run_id is not None}
    if not ids:
        return [None] * len(runs)
    asked = f"attributes.run_id IN ({', '.join(repr(run_id) for run_id in sorted(ids))})"
    found = client.search_runs([runs[0].info.experiment_id], asked, ViewType.ALL, max_results=len(ids))
    return [next((one for one in found if one.info.run_id == run_id), None) for run_id in parents]


def _params(entries: Sequence[Entry], searches: Sequence[Run | None]) -> dict[str, list[Any]]:
    given = [{**_of_search(search), **one.params} for one, search in zip(entries, searches, strict=True)]
    # a main is asked about all of its models, whichever wins
    models = ["" if _door(one.run) == MAIN else _model(one.run) for one in entries]
    found = differing(given, models)
    return {
        name: column
        for name, column in found.items()
        if not OF_MODEL.fullmatch(name) or len(set(zip(models, column, strict=True))) > len(set(models))
    }


def _of_search(search: Run | None) -> Mapping[str, str]:
    """What trials of several searches may differ in beside their own parameters: the folds that they are scored on."""
    params = search.data.params if search is not None else {}
    return {name: params[name] for name in ("seed", "folds") if name in params}


def _own_params(run: Run) -> Mapping[str, str]:
    """The parameters that a run has logged; of ours without the runs that it was given, and its model's name."""
    if PROBLEM not in run.data.tags:
        return run.data.params
    said = {"model_type", *(STEPS[_door(run)].parameters if _door(run) in STEPS else ())}
    return {name: value for name, value in run.data.params.items() if name not in said}


def _problem(run: Run, folder: Path) -> Mapping[str, Any]:
    """What a main was asked, defaults filled in, by dotted paths: what was typed says less.

    As plain values, since an earlier version's problem may be none today; nothing where it is gone.
    """
    try:
        text = artifacts.fetch(run, artifacts.PROBLEM, folder).read_text(encoding="utf-8")
        found = equality.leaves(yaml.safe_load(text))
    except (UserError, yaml.YAMLError):
        return {}
    return {name: value for name, value in found.items() if name not in SAID}


def _text(value: Any) -> str:
    """A value as a table shows it: a number short, a text on one line and cut in its middle, what is none as such."""
    if value is None:
        return ABSENT
    text = f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
    half = LONGEST_CELL // 2
    return text if len(text) <= LONGEST_CELL else f"{text[: half - 1]}…{text[-half:]}"
