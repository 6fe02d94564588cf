"""The process pool of a step, which is forked off a process that has worked before."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from steps.evaluation import plots
from steps.process import pool
from tabular.plots import classifier_plots
from tests.running import PROJECT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a step has no processes of its own")
LIGHTGBM = "import lightgbm; lightgbm.LGBMRegressor(n_estimators=3, n_jobs=2, verbose=-1).fit(X, X[:, 0])"
FOREST = "from sklearn.ensemble import HistGradientBoostingRegressor as Boosting; Boosting(max_iter=3).fit(X, X[:, 0])"


@pytest.mark.parametrize("work", [LIGHTGBM, FOREST], ids=["lightgbm", "scikit-learn"])
def test_its_processes_work_with_several_threads_where_their_parent_has_done_so(work: str) -> None:
    code = f"""
import numpy
from threadpoolctl import threadpool_limits
from steps.process import pool
X = numpy.random.default_rng(0).normal(size=(2000, 5))

def fit(number):
    with threadpool_limits(2):
        {work}
    return number

fit(0)
with pool.workers(2) as executor:
    print(sum(executor.map(fit, [1, 2, 3])))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=100
    )
    assert done.stdout == "6\n"


def test_a_pool_that_cannot_start_its_processes_says_so_where_it_was_asked_for() -> None:
    code = """
import os
from steps.process import pool

def none():
    raise BlockingIOError("no process left")

os.fork = none
try:
    with pool.workers(1):
        print("never")
except BlockingIOError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=100
    )
    assert done.stdout == "no process left\n"


def test_without_a_dev_shm_work_is_done_by_one_thread_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("multiprocessing.synchronize._multiprocessing", SimpleNamespace(SemLock=refuse))
    pool.forks.cache_clear()
    try:
        for _ in range(2):
            with pool.workers(2) as executor:
                assert executor.submit(os.getpid).result() == os.getpid()
    finally:
        pool.forks.cache_clear()
    assert capsys.readouterr().out.count("/dev/shm cannot be used (No such file or directory)") == 1


def test_pictures_are_drawn_by_processes_that_are_not_sent_the_rows(tmp_path: Path) -> None:
    def draw():  # cannot be sent, and what it draws need not be
        return classifier_plots.feature_importance({"x": 1.0}, kind="gain", title="x")

    plots._save({"a/b": draw, "c": draw}, tmp_path, 2)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")) == ["a/b.png", "c.png"]
