"""Chains that many tests read: run once for all the processes of a run of the tests; each module has its own store."""

import contextlib
import fcntl
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tests.running import PROJECT, Ended, Store

PROBLEM = """
name: small
data: {source: table.csv, target: y}
models:
  logistic_regression: {estimator: sklearn.linear_model.LogisticRegression}
  lightgbm:
    estimator: lightgbm.LGBMClassifier
    params: {n_estimators: 10, min_child_samples: 5}
    space: {num_leaves: {type: int, low: 2, high: 8}, learning_rate: {type: float, low: 0.05, high: 0.3}}
search: {trials: 6, folds: 2}
"""
# In this order: a chain, the same once more, and one of another seed.
CHAINS = {"first": {"jobs": 2}, "again": {}, "other": {"seed": 8}}


def git(folder, *words):
    """What git says in a folder."""
    done = subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


@dataclass(frozen=True)
class Chains:
    """A folder with a clone of this project, a table, a problem, and the artifacts of three chains of it.

    Artifacts are shared by all stores on the folder: what alters one puts it back, and is in one module alone.
    """

    folder: Path

    @property
    def clone(self) -> Path:
        """The project, its working files committed."""
        return self.folder / "project"

    def store(self, name: str, *, after: str, fork_server: str) -> tuple[Store, dict[str, Ended]]:
        """A database of its own, as it was after one of the chains; and the chains that are in it."""
        shutil.copy(self.folder / f"after {after}.db", self.folder / f"{name}.db")
        store = Store(self.folder, database=f"{name}.db", fork_server=fork_server)
        names = [*CHAINS][: [*CHAINS].index(after) + 1]
        said = {chain: json.loads((self.folder / f"{chain}.json").read_text()) for chain in names}
        return store, {
            chain: Ended(one["status"], one["stdout"], one["stderr"], store.client.get_run(one["run"]))
            for chain, one in said.items()
        }


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """By one process at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def built(root: Path, fork_server: str) -> Chains:
    """The chains below a folder that all processes of a run of the tests share; the first one that asks runs them."""
    folder = root / "chains"
    with alone(root / "chains.lock"):
        if not (folder / "after other.db").exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that has ended while it ran them
            folder.mkdir()
            _build(folder, fork_server)
    return Chains(folder)


def _build(folder: Path, fork_server: str) -> None:
    write_table(folder / "table.csv")
    (folder / "small.yaml").write_text(PROBLEM)
    clone_of_working_files(folder / "project")
    store = Store(folder, fork_server=fork_server)
    for chain, parameters in CHAINS.items():
        ended = store.project(uri=str(folder / "project"), problem="small.yaml", **parameters)
        assert ended.status == 0, ended.stderr
        said = {"status": ended.status, "stdout": ended.stdout, "stderr": ended.stderr, "run": ended.id}
        (folder / f"{chain}.json").write_text(json.dumps(said))
        shutil.copy(folder / "mlflow.db", folder / "copied.db")
        (folder / "copied.db").replace(folder / f"after {chain}.db")


def write_table(path: Path) -> None:
    """Two numbers and a kind, of which one number and a kind say something of the class."""
    generator = np.random.default_rng(5)
    x, z = generator.normal(size=(2, 120))
    kind = generator.choice(["a", "b", "c"], 120)
    y = np.where(x + (kind == "a") + generator.normal(size=120) > 0, "yes", "no")
    pd.DataFrame({"x": x, "z": z, "kind": kind, "y": y}).to_csv(path, index=False)


def clone_of_working_files(target: Path) -> None:
    """A clone of this project in which its working files are committed."""
    git(target.parent, "clone", "-q", str(PROJECT), str(target))
    git(target, "rm", "-rq", ".")
    listed = git(PROJECT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in listed:
        if name and (PROJECT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, target / name)
    git(target, "add", "-A")
    git(target, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "as it stands")
