"""Fits at the workers of a Dask cluster: the same results, and what becomes of them where a worker or more dies."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from steps.run import cluster
from steps.search import trial_runs
from tests.running import MOST_SECONDS, PROJECT

pytest.importorskip("distributed", reason="requirements-dask.txt is not installed here")
N = 900
PROBLEM = """
name: far
data: {{source: {source}, target: y}}
models:
  lightgbm:
    estimator: lightgbm.LGBMClassifier
    params: {{min_child_samples: 5, n_estimators: 30}}
    space: {{num_leaves: {{type: int, low: 2, high: 16}}, learning_rate: {{type: float, low: 0.05, high: 0.3}}}}
search: {{metric: roc_auc, trials: 6, folds: 3, max_pending: 3}}
"""


@pytest.fixture(scope="module")
def etl(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("far")
    random = np.random.default_rng(5)
    rows = pd.DataFrame({"x": random.normal(size=N), "z": random.normal(size=N)})
    rows["town"] = random.choice(["Lisboa", "Porto", "Faro"], N)
    rows["y"] = (rows["x"] + rows["z"] ** 2 + (rows["town"] == "Faro") + random.normal(size=N) > 1).astype(int)
    rows.to_csv(folder / "table.csv", index=False)
    (folder / "far.yaml").write_text(PROBLEM.format(source=folder / "table.csv"))
    ended = store.step("etl", problem=str(folder / "far.yaml"))
    assert ended.status == 0, ended.stderr
    return ended


class Dask:
    """A scheduler and workers on this machine, each a process of its own, as they are started on several."""

    def __init__(self, folder: Path, scheme: str = "tcp", workers: int = 2, **environment: str) -> None:
        self.folder, self.environment, self.workers = folder, environment, []
        file = folder / "scheduler.json"
        about = ("--protocol", scheme, "--port", "0", "--no-dashboard", "--idle-timeout", "300")
        self.scheduler = self._start("scheduler", *about, "--scheduler-file", str(file))
        until = time.monotonic() + MOST_SECONDS
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.05)
        self.address = json.loads(file.read_text())["address"]
        self.begin(workers)

    def begin(self, workers: int, project: Path = PROJECT) -> None:
        """Start workers of a tree of the project."""
        about = ("--no-dashboard", "--nthreads", "1", "--no-nanny", "--memory-limit", "0")
        about += ("--local-directory", str(self.folder))  # that of the environment may be a step's, which is removed
        self.workers += [self._start("worker", self.address, *about, project=project) for _ in range(workers)]

    def _start(self, name: str, *words: str, project: Path = PROJECT) -> subprocess.Popen:
        environment = {**os.environ, **self.environment, "PYTHONPATH": str(project)}
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", "--host", "127.0.0.1", *words]
        with (self.folder / f"{name}.log").open("a") as said:
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=said, stderr=said)

    def kill(self, worker: int = 0) -> None:
        """Kill a worker, as the system does where memory runs out."""
        process = self.workers.pop(worker)
        process.kill()
        process.wait()

    def close(self) -> None:
        """End all of it."""
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    made = Dask(tmp_path_factory.mktemp("dask"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def searched(store, etl):
    """The search in processes of this machine."""
    return store.step("hpo", dataset=etl.id, model="lightgbm")


def same_trials(one, other) -> bool:
    names = [f"tabular.digest.{what}" for what in ("trials", "params", "cross_validation")]
    return [one.tags[name] for name in names] == [other.tags[name] for name in names]


def far(dask: Dask, **about: object) -> dict[str, object]:
    """The parameters of a search at a cluster."""
    return {"model": "lightgbm", "engine": "dask", "engine_address": dask.address, "resume": "false", **about}


def when_trials_have_ended(monkeypatch, trials: int, do) -> None:
    """Do something in the middle of a search."""
    log, ended = trial_runs.log, []

    def logged(*arguments):
        ended.append(arguments)
        if len(ended) == trials:
            do()
        return log(*arguments)

    monkeypatch.setattr(trial_runs, "log", logged)


def test_trials_are_the_same_wherever_they_are_evaluated(store, etl, searched, dask):
    ended = store.step("hpo", dataset=etl.id, **far(dask))
    assert ended.status == 0, ended.stderr
    assert same_trials(ended, searched)
    assert ended.tags["tabular.key"] == searched.tags["tabular.key"]


def test_a_worker_that_is_killed_costs_no_trial(store, etl, searched, dask, monkeypatch):
    when_trials_have_ended(monkeypatch, 2, dask.kill)
    ended = store.step("hpo", dataset=etl.id, **far(dask))
    dask.begin(1)
    assert ended.status == 0, ended.stderr
    assert same_trials(ended, searched)


def test_a_worker_of_another_source_is_refused_by_the_name_of_the_file(store, etl, dask, tmp_path):
    for name in ("steps", "tabular"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for lock in PROJECT.glob("requirements*.txt"):
        shutil.copy(lock, tmp_path)
    with (tmp_path / "tabular" / "data" / "folds.py").open("a") as module:
        module.write("\n\nEDITED = True\n")
    dask.begin(1, project=tmp_path)
    until = time.monotonic() + MOST_SECONDS
    with cluster.connected(dask.address, "hpo", []) as found:
        while not found.unfit and time.monotonic() < until:
            time.sleep(0.1)
        assert list(found.unfit.values()) == ["tabular/data/folds.py"]
        assert len(found.threads) == 2
    ended = store.step("hpo", dataset=etl.id, **far(dask))
    dask.kill(-1)
    assert ended.status == 1
    (line,) = ended.lines
    assert "is not as this machine: tabular/data/folds.py; give it the same commit" in line


def test_a_search_whose_scheduler_is_gone_ends_with_one_line(store, etl, dask, monkeypatch):
    monkeypatch.setattr(cluster, "LOST_SECONDS", 1.0)
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1.0)
    dask.begin(2)
    when_trials_have_ended(monkeypatch, 2, lambda: (dask.scheduler.kill(), dask.scheduler.wait()))
    ended = store.step("hpo", dataset=etl.id, **far(dask))
    assert ended.status == 1
    (line,) = ended.lines
    assert f"the Dask scheduler at {dask.address} does not answer any more: start it again" in line
