"""Comparison of a run with its replay: parameters, data, source, environment and results.

All files are read through MLflow and none by a local path, so that runs of another machine can be compared through the
tracking server.
"""

import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT
from mlflow.utils.uri import is_local_uri

from steps.chain import keys
from steps.model import flavor
from steps.pipeline import STEPS
from steps.replay import checkout
from steps.run import artifact_store, artifacts
from steps.run.tags import (
    ARGUMENTS,
    ARTIFACTS_DIGEST,
    CODE_DIGEST,
    DATA_DIGEST,
    DIGEST,
    LOCK,
    MET,
    MODEL,
    MODEL_DIGEST,
    MODEL_URI,
    OUTCOME,
    PARENT,
    REASON,
    TOO_LARGE,
    TRIAL,
    VERDICT,
    WINNER,
    lasting,
)
from tabular import digests
from tabular import problem as problems
from tabular.errors import UserError, first_line
from tabular.evaluation import equality
from tabular.problem import Problem
from tabular.sections.table import PLACE

SAME, DIFFERENT, NOT_COMPARED = "same", "different", "not compared"
# The task of a run of main.
MAIN = "main"
OF_MODEL = (MODEL_DIGEST, CODE_DIGEST)
CURVES = "_loss_by_iteration"
OF_VERDICT = (OUTCOME, WINNER, VERDICT, MET)
OF_LOCK = ("lock", "python", "packages")
# These are compared strictly on every machine: the inputs of a result, and recorded artifacts. Results may differ on
# another kind of processor.
EXACT_ANYWHERE = ("problem", "parameters", "source", "lock", "artifacts")


@dataclass(frozen=True)
class Finding:
    """The result of the comparison of one subject, such as the metrics of a task."""

    task: str
    subject: str
    result: str
    count: int  # number of values that were compared
    said: tuple[str, ...] = ()  # the differences with both values, or why it was not compared


class NotComparedError(UserError):
    """Raised with the reason why two results cannot be compared."""


@dataclass(frozen=True)
class Pair:
    """A run (`then`) and its replay (`now`)."""

    client: MlflowClient
    task: str  # name of the task in the chain, or `main`
    then: Run
    now: Run
    folder: Path

    @property
    def is_settled(self) -> bool:
        """Whether the pair stands for a register that was not run, as it had nothing to do: there is only a verdict."""
        return self.task == "register" and MLFLOW_PROJECT_ENTRY_POINT not in self.then.data.tags

    def tags(self, name: str) -> tuple[str | None, str | None]:
        """The value of a tag in each run, None where a run lacks the tag."""
        return self.then.data.tags.get(name), self.now.data.tags.get(name)

    def read(self, name: str) -> list[Path]:
        """An artifact of each run, not verified: an altered artifact shows as a difference and as damage."""
        return [artifacts.fetch(run, name, self.folder) for run in (self.then, self.now)]

    def json(self, name: str) -> list[Any]:
        """The values of a JSON artifact of each run."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in self.read(name)]


Compared = tuple[int, list[str]]


def findings(pair: Pair) -> list[Finding]:
    """Compare a run with its replay, subject by subject."""
    elsewhere = _elsewhere(pair)
    return [_finding(pair, subject, compare, elsewhere) for subject, compare in _subjects(pair).items()]


def absent(task: str, why: str) -> Finding:
    """The finding for a task that cannot be compared at all, for the reason `why`."""
    return Finding(task, "run", NOT_COMPARED, 0, (why,))


def failure(task: str, then: Run, now: Run) -> Finding:
    """The finding for a candidate that was left out: its replay has to fail for the same reason."""
    reasons = [run.data.tags.get(REASON, f"it is {run.info.status}") for run in (then, now)]
    said = () if reasons[0] == reasons[1] else (f"failed then: {reasons[0]}; now: {reasons[1]}",)
    return Finding(task, "failure", DIFFERENT if said else SAME, 1, said)


def _subjects(pair: Pair) -> dict[str, Callable[[Pair], Compared]]:
    if pair.is_settled:
        return {"metrics": _metrics, "verdict": _verdict}
    if pair.task == MAIN:
        own = {"problem": _problem, "lock": _lock_of_main, "metrics": _metrics, "verdict": _verdict}
        return {**own, "artifacts": _artifacts}
    by_step = {
        "hpo": {"trials": _trials},
        "train": {"model": _model},
        "blend": {"model": _model} if MODEL_URI in pair.then.data.tags else {},  # one candidate alone is no model
        "refit": {"model": _model} if MODEL_URI in pair.then.data.tags else {},
        "evaluate": {artifacts.PREDICTIONS: _predictions},
        "register": {"verdict": _verdict},
    }
    return {
        "data": _data,
        "problem": _problem,
        "parameters": _parameters,
        "source": partial(_parts, belongs=lambda name: name in ("step", "row", "model") or name.startswith("module ")),
        "lock": partial(_parts, belongs=lambda name: name in OF_LOCK or name.startswith("package ")),
        "metrics": _metrics,
        "digests": _digests,
        **by_step.get(pair.task.split()[0], {}),
        "artifacts": _artifacts,
    }


def _finding(pair: Pair, subject: str, compare: Callable[[Pair], Compared], elsewhere: str | None) -> Finding:
    try:
        count, said = compare(pair)
    except (UserError, MlflowException, OSError, ValueError, KeyError) as error:
        return Finding(pair.task, subject, NOT_COMPARED, 0, (first_line(error),))
    if said and elsewhere is not None and subject not in EXACT_ANYWHERE:
        return Finding(pair.task, subject, NOT_COMPARED, count, (elsewhere, *said))
    return Finding(pair.task, subject, DIFFERENT if said else SAME, count, tuple(said))


def _elsewhere(pair: Pair) -> str | None:
    """Why a difference proves nothing, where the run was made on another kind of processor; else None."""
    try:
        root = checkout.root(pair.client, pair.then)
        described = json.loads(artifacts.fetch(root, artifacts.ENVIRONMENT, pair.folder).read_text(encoding="utf-8"))
    except (UserError, MlflowException, OSError, ValueError):
        return None
    machine = described.get("machine")
    if machine in (None, platform.machine()):
        return None
    return f"it ran on {machine}, and this machine is {platform.machine()}"


def _mappings(then: Mapping[str, Any], now: Mapping[str, Any]) -> Compared:
    return len({*then, *now}), equality.differences(then, now)


def _both(pair: Pair, names: Sequence[str]) -> Compared:
    """Compare tags of both runs; a tag that only the replay has was not recorded by the run, and is an error."""
    then, now = ({n: run.data.tags[n] for n in names if n in run.data.tags} for run in (pair.then, pair.now))
    lacking = [name for name in now if name not in then]
    if lacking:
        raise NotComparedError(f"the run does not say its {lacking[0]}")
    return _mappings(then, now)


def _data(pair: Pair) -> Compared:
    """Compare the contents of a step's inputs: the table, and the results of earlier runs."""
    # only etl reads the table: where its bytes changed and the training rows did not, an earlier train is reused
    count, said = _both(pair, [DATA_DIGEST]) if pair.task == "etl" else (0, [])
    more, differ = _parts(pair, lambda name: name.startswith(keys.INPUT))
    return count + more, said + differ


def _problem(pair: Pair) -> Compared:
    """Compare the problems: for main all but the table's location and digest, for a step the parts that it reads.

    The table's contents are compared as data. The run of a step may have been made for another chain, whose problem
    differed in parts that the step does not read.
    """

    def asked(run: Run, problem: Problem) -> dict[str, Any]:
        if pair.task != MAIN:
            return dict(keys.read_of(problem, STEPS[pair.task.split()[0]], run.data.tags.get(MODEL)))
        whole = equality.leaves(problem.model_dump(mode="json"))
        return {path: value for path, value in whole.items() if not _is_of_place(path)}

    return _mappings(*(asked(run, one) for run, one in zip((pair.then, pair.now), _problems(pair), strict=True)))


def _problems(pair: Pair) -> list[Problem]:
    """The problem that each run holds."""
    runs, texts = (pair.then, pair.now), (path.read_text(encoding="utf-8") for path in pair.read(artifacts.PROBLEM))
    return [
        problems.parse(text, f"{artifacts.PROBLEM} of run {run.info.run_id}")
        for run, text in zip(runs, texts, strict=True)
    ]


def _is_of_place(path: str) -> bool:
    """Whether a path in a problem says where the table lies."""
    section, _, key = path.partition(".")
    return section == "data" and key.split(".")[0] in PLACE


def _parameters(pair: Pair) -> Compared:
    """Compare the parameters that the step logged by itself, and the name of its model.

    The parameters that the step was given are left out: the contents of referenced runs are compared as data,
    parameters of conduct (`steps.pipeline`) do not count, and all others are in the problem.
    """
    passed = STEPS[pair.task.split()[0]].parameters
    then, now = (
        {name: value for name, value in run.data.params.items() if name not in passed} for run in (pair.then, pair.now)
    )
    given = [json.loads(run.data.tags.get(ARGUMENTS, "{}")).get("model") for run in (pair.then, pair.now)]
    return _mappings({**then, "model": given[0]}, {**now, "model": given[1]})


def _parts(pair: Pair, belongs: Callable[[str], bool]) -> Compared:
    """Compare the parts of the reuse key whose names `belongs` accepts."""
    then, now = ({name: v for name, v in parts.items() if belongs(name)} for parts in pair.json(artifacts.KEY_PARTS))
    return _mappings(then, now)


def _lock_of_main(pair: Pair) -> Compared:
    count, said = _both(pair, [LOCK])
    then, now = ({name: found[name] for name in ("lock", "python")} for found in pair.json(artifacts.ENVIRONMENT))
    more, differ = _mappings(then, now)
    return count + more, said + differ


def _metrics(pair: Pair) -> Compared:
    """Compare all metrics but durations; of a curve each point."""
    then, now = (lasting(run.data.metrics) for run in (pair.then, pair.now))
    for name in then.keys() & now.keys():
        if name.endswith(CURVES):
            then[name], now[name] = (
                [(point.step, point.value) for point in _history(pair.client, run, name)]
                for run in (pair.then, pair.now)
            )
    return _mappings(_by_point(then), _by_point(now))


def _history(client: MlflowClient, run: Run, name: str) -> list:
    return sorted(client.get_metric_history(run.info.run_id, name), key=lambda point: point.step)


def _by_point(metrics: Mapping[str, Any]) -> dict[str, float]:
    found = {}
    for name, value in metrics.items():
        if isinstance(value, list):
            found |= {f"{name} at {step}": loss for step, loss in value}
        else:
            found[name] = value
    return found


def _digests(pair: Pair) -> Compared:
    """Compare the digests of results that the steps recorded, but for those of the model."""
    tags = {*pair.then.data.tags, *pair.now.data.tags}
    return _both(pair, sorted(name for name in tags if name.startswith(DIGEST) and name not in OF_MODEL))


def _trials(pair: Pair) -> Compared:
    """Compare the trials of a search, by their numbers: hyperparameters and scores, in their table and in their runs.

    Which trials are runs is the problem's choice. Where the run of then was made for a problem that chose otherwise,
    those count that are runs of both.
    """
    then, now = (dict(_of_trials(pair.client, run)) for run in (pair.then, pair.now))
    if len({problem.tracking.trials for problem in _problems(pair)}) > 1:
        then, now = ({name: one[name] for name in one if name in other} for one, other in ((then, now), (now, then)))
    tables = (dict(_of_table(content)) for content in pair.json(artifacts.TRIALS))
    return _mappings(*({**runs, **table} for runs, table in zip((then, now), tables, strict=True)))


def _of_table(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the table of a search says of each trial, but for durations."""
    for row in content["data"]:
        told = dict(zip(content["columns"], row, strict=True))
        for name, value in lasting(told).items():
            yield f"trial {told['trial']} {name} in {artifacts.TRIALS}", value


def _of_trials(client: MlflowClient, search: Run) -> Iterator[tuple[str, Any]]:
    asked = f"tags.`{PARENT}` = '{search.info.run_id}'"
    for run in client.search_runs([search.info.experiment_id], asked, max_results=50_000):
        number = run.data.tags.get(TRIAL)
        for name, value in {**run.data.params, **lasting(run.data.metrics)}.items():
            yield f"trial {number} {name}", value


def _model(pair: Pair) -> Compared:
    """Compare the digests of the model and of its code, as recorded and as computed from the logged model's files."""
    count, said = _both(pair, OF_MODEL)
    if TOO_LARGE in pair.then.data.tags:
        return count, said  # there are no files to look at
    claimed = {name.removeprefix(DIGEST): pair.then.data.tags.get(name) for name in OF_MODEL}
    found = _really(pair)
    said += [
        f"{name} of the logged model: {_short(claimed[name])} recorded, {_short(found[name])} found"
        for name in claimed
        if claimed[name] != found[name]
    ]
    return count + len(claimed), said


def _really(pair: Pair) -> dict[str, str]:
    uri = pair.then.data.tags[MODEL_URI]
    target = pair.folder / f"model-{pair.then.info.run_id}"
    target.mkdir(exist_ok=True)
    local = artifact_store.fetch(uri, target)
    return {"model": flavor.digest_of_parts(local / flavor.PARTS), "code": flavor.digest_of_carried(local)}


def _predictions(pair: Pair) -> Compared:
    """Compare each candidate's predictions for the holdout, bit by bit."""
    import pandas as pd

    then, now = (_names(pair.client, run) for run in (pair.then, pair.now))
    said = [f"{name}: only {'then' if name in then else 'now'}" for name in sorted(then ^ now)]
    count = 0
    for name in sorted(then & now):
        tables = [pd.read_parquet(path) for path in pair.read(name)]
        count += tables[0].size
        said += [f"{Path(name).stem} {line}" for line in equality.frames(*tables)]
    return count, said


def _names(client: MlflowClient, run: Run) -> set[str]:
    return {entry.path for entry in client.list_artifacts(run.info.run_id, artifacts.PREDICTIONS)}


def _verdict(pair: Pair) -> Compared:
    """Compare the verdicts: the winner, the champion, and the figures that decided."""
    names = [name for name in OF_VERDICT if pair.task != MAIN or name != MET]
    count, said = _both(pair, names)
    if pair.task == MAIN or pair.is_settled:
        return count, said
    then, now = (equality.leaves(_decided(verdict)) for verdict in pair.json(artifacts.VERDICT))
    more, differ = _mappings(then, now)
    return count + more, said + differ


def _decided(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """A verdict without ids of runs and without durations."""
    winner, served = (
        {name: value for name, value in entry.items() if name not in ("run_id", "model_uri")}
        for entry in (verdict["winner"], verdict["winner"].get("served", {}))  # a verdict of before has none
    )
    return {**verdict, "winner": {**winner, "served": served, "trained": lasting(winner.get("trained", {}))}}


def _artifacts(pair: Pair) -> Compared:
    """Check that the artifacts of the run are still those in its artifact manifest."""
    then = pair.then
    if ARTIFACTS_DIGEST not in then.data.tags:
        raise NotComparedError("the run did not record what it left")
    wrong = artifacts.damage(pair.client, then, pair.folder)
    if wrong is not None:
        return 1, [wrong]
    held = artifacts.read(then, pair.folder)["run"]
    if is_local_uri(then.info.artifact_uri):
        return len(held), []  # `damage` has read all contents already
    altered = (n for n in held if digests.of_file(artifacts.fetch(then, n, pair.folder)) != held[n][1])
    return len(held), [f"{name} has been altered" for name in altered]


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:12]
