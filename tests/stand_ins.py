"""The steps' own work without the machinery: in its place stand the few names that computing modules use of it.

    python -m tests.stand_ins

runs steps one after the other in this process. Stdin tells as JSON of each its name, step and arguments, of which
`@NAME` is the run of an earlier one; the last line on stdout is JSON, the steps' runs by their names. Machinery that
has no stand-in cannot be imported.
"""

import contextlib
import importlib
import importlib.abc
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from steps.run.source_digest import MACHINERY
from tabular.errors import UserError
from tests.running import draw_pixels


@contextlib.contextmanager
def _one_process(most: int):
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as executor:
        yield executor


@contextlib.contextmanager
def _engine(step: Any, estimators: Any, ranks: int = 1):
    yield SimpleNamespace(at_most=1, free=3, give=lambda hold, work: hold(work, ""), workers=_one_process)


@contextlib.contextmanager
def _silence(*about: Any):
    yield SimpleNamespace(score=lambda *told, **more: None)


def _no_problem(arguments: Any) -> None:
    raise AssertionError("each step is given the run that holds its problem")


def _put(place: str, held: Path) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(place)
    repository.log_artifacts(str(held)) if held.is_dir() else repository.log_artifact(str(held))


def _fetch(uri: str, folder: Path | None) -> Path:
    import mlflow

    return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder and str(folder)))


# Machinery module: what computing modules use of it, and what stands there instead: nothing that makes a result.
STAND_INS: dict[str, dict[str, Any]] = {
    "steps.chain.keys": {"of_step": lambda step, source: None},
    "steps.model.memory_budget": {
        "check_fit": lambda candidate, rows, most: None,
        "of_search": lambda candidate, rows, parts, folds, most, place: SimpleNamespace(trials=most, folds=most),
    },
    "steps.process.lifecycle": {"uninterrupted": contextlib.nullcontext},
    "steps.process.pool": {"workers": _one_process, "forks": lambda: True},
    "steps.run.artifact_store": {"put": _put, "fetch": _fetch, "FetchError": type("FetchError", (UserError,), {})},
    "steps.run.engine": {"opened": _engine, "Engine": object},
    "steps.run.environment": {
        "describe": dict,
        "LOCK": "no lock",
        "Locked": object,
        "lock": tuple,
        "locks": list,
        "installed": lambda: dict.fromkeys(chain(*packages_distributions().values()), "0"),
    },
    "steps.run.kept": {
        "run": lambda client, run_id, ended=False: client.get_run(run_id),
        "artifact": lambda run_id, path: None,
        "keep_artifact": lambda run_id, path, held: None,
        "model": lambda model_id: None,
        "keep_model": lambda model_id, held: None,
    },
    "steps.run.part_readers": {"opened": lambda step, source, sha256: contextlib.nullcontext()},
    "steps.run.paths": {
        "as_own_yaml": lambda found: "",
        "cache": lambda: Path("nowhere"),
        "caller_folder": lambda: Path("nowhere"),
        "set_over": lambda found, arguments: found,
        "effective_problem": _no_problem,
    },
    "steps.run.run_owner": {"tags": lambda: {"mlflow.user": "nobody"}},
    "steps.run.source_digest": {"digests": lambda step: {}, "of_estimator": lambda path: {}},
    "steps.run.terminal": {"progress": _silence, "say": lambda text="": None},
    "steps.run.working_tree": {"PATCH": "changes.patch"},
    "steps.run.thread_budget": {
        "threads": lambda share: 3,
        "seconds_left": lambda share: float("inf"),
        "seconds_to_end": lambda share: float("inf"),
        "slowness": lambda share: 1.0,
    },
}


class _Refusal(importlib.abc.MetaPathFinder):
    """Refuses the machinery that has no stand-in."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if any(f"{name}.".startswith(f"{module}.") for module in MACHINERY):
            raise AssertionError(f"{name} is machinery, and is imported by what computes")


def install() -> None:
    """Put the stand-ins in the place of all machinery."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("steps", "tabular")]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Refusal())
    for name, names in STAND_INS.items():
        package = name.rpartition(".")[0]
        if package in MACHINERY:
            sys.modules.setdefault(package, ModuleType(package)).__path__ = []
        stand_in = ModuleType(name)
        vars(stand_in).update(names)
        sys.modules[name] = stand_in


def run(step: str, arguments: Mapping[str, str], folder: Path) -> str:
    """Do a step's work, and leave what it leaves; gives its run."""
    import mlflow
    from mlflow import MlflowClient
    from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

    from steps.run import artifacts
    from steps.run.step import Step

    with mlflow.start_run(tags={MLFLOW_PROJECT_ENTRY_POINT: step}) as active:
        info = active.info
        held = Step(step, arguments, info.run_id, info.experiment_id, folder, MlflowClient(), info.artifact_uri)
        getattr(importlib.import_module(f"steps.{step}"), step)(held)
        tags = artifacts.record(held)
        held.upload_artifacts()
        held.log(tags=tags)
        held.flush()
    return active.info.run_id


def main() -> None:
    """Run the steps that stdin tells of as JSON: name, step, arguments."""
    install()
    from steps.evaluation import plots

    plots._save = draw_pixels
    made: dict[str, str] = {}
    for told in json.load(sys.stdin):
        arguments = {
            name: ",".join(made[word[1:]] if word.startswith("@") else word for word in text.split(","))
            for name, text in told["arguments"].items()
        }
        folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
        made[told["name"]] = run(told["step"], arguments, folder)
    print(json.dumps(made))


if __name__ == "__main__":
    main()
