"""What a fit will need, what memory there is, and what is said where the one is more than the other."""

from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from steps.model import memory_budget
from steps.model.dataset import DataSet
from steps.run import memory_room, shell, thread_budget
from steps.run.engine import Local
from tabular.data import size
from tabular.data.datasets import Column
from tabular.data.folds import Fold
from tabular.errors import OutOfMemoryError
from tabular.model.memory import Estimate, costliest, in_words, rows_within
from tabular.model.tasks import Classification
from tabular.model.training import Candidate
from tabular.sections.models import Model

FOREST = "sklearn.ensemble.RandomForestClassifier"
COLUMNS = (Column("x", "double", "number"), Column("z", "double", "number"), Column("town", "string", "category"))
GB = 10**9


def table(n: int = 1000) -> pd.DataFrame:
    towns = np.array([f"town {place}" for place in range(40)], dtype=object)
    return pd.DataFrame({"x": np.arange(n) * 1.0, "z": 1.0, "town": towns[np.arange(n) % 40]})


def candidate(estimator: str = FOREST, **params: Any) -> Candidate:
    return Candidate("forest", Model(estimator=estimator, params=params), {}, COLUMNS, Classification(2, 1), seed=0)


def test_more_rows_and_more_trees_need_more() -> None:
    few, many = (Estimate(candidate(n_estimators=trees), table()) for trees in (10, 200))
    assert few.of(10**6).whole < few.of(10**7).whole / 9
    assert few.of(10**6).whole < many.of(10**6).whole / 5


def test_trees_that_may_not_grow_need_what_their_nodes_do() -> None:
    grown = Estimate(candidate(n_estimators=200), table()).of(10**6)
    for limit in ({"max_depth": 8}, {"max_leaf_nodes": 200}, {"min_samples_leaf": 5000}, {"min_samples_leaf": 0.01}):
        small = Estimate(candidate(n_estimators=200, **limit), table()).of(10**6)
        assert small.fit < 0.1 * grown.fit
        assert small.encoded == grown.encoded
    half = Estimate(candidate(n_estimators=200, max_samples=0.5), table()).of(10**6)
    assert half.fit == pytest.approx(grown.fit / 2, rel=0.05)


def test_a_search_is_judged_by_the_largest_trees_that_it_may_try() -> None:
    space = {
        "min_samples_leaf": {"type": "int", "low": 1, "high": 50},
        "max_features": {"type": "float", "low": 0.1, "high": 1.0},
    }
    model = Model(estimator=FOREST, params={"min_samples_leaf": 50}, space=space)
    given = Candidate("forest", model, {"max_features": 0.2}, COLUMNS, Classification(2, 1), seed=0)
    found = costliest(given)
    assert found.params == {"min_samples_leaf": 1, "max_features": 0.2}
    assert Estimate(found, table()).of(10**6).fit > 5 * Estimate(given, table()).of(10**6).fit


def test_one_hot_encoded_rows_are_counted_as_the_sparse_matrix_that_they_are() -> None:
    linear = Estimate(candidate("sklearn.linear_model.LogisticRegression"), table())
    boosted = Estimate(candidate("sklearn.ensemble.HistGradientBoostingClassifier"), table())
    assert (linear.shape.columns, linear.shape.values) == (42, 3)
    assert (boosted.shape.columns, boosted.shape.values) == (3, 3)


def test_a_class_of_ones_own_has_an_estimate() -> None:
    assert Estimate(candidate("sklearn.naive_bayes.GaussianNB"), table()).of(10**6).whole > 40 * 10**6


def test_the_way_out_is_a_round_number_of_rows_that_fits() -> None:
    assert rows_within(2_400_000, lambda rows: rows <= 450_000) == 400_000
    assert rows_within(2_400_000, lambda rows: rows <= 10**9) == 2_000_000
    assert rows_within(2_400_000, lambda rows: False) == 0


def rows(n: int, monkeypatch: pytest.MonkeyPatch, room: float | None, cores: int = 2) -> DataSet:
    """A large table, on a machine of so much memory and so many cores."""
    monkeypatch.setattr(size, "LARGE_CELLS", 100)
    monkeypatch.setattr(memory_room, "room", lambda share: room)
    monkeypatch.setattr(thread_budget, "threads", lambda share: 2)
    monkeypatch.setattr(thread_budget, "cores", lambda: cores)
    nothing: Any = None
    return DataSet(nothing, nothing, nothing, nothing, table(n), nothing, None, "")


def test_what_would_not_fit_names_the_model_what_it_needs_what_there_is_and_ways_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(OutOfMemoryError) as told:
        memory_budget.check_fit(candidate(n_estimators=200), rows(1000, monkeypatch, 2 * GB, cores=4), 2_400_000)
    needs, found = str(told.value).split(", and this step has ")
    assert needs == told.value.need
    assert needs.startswith("models.forest: a fit on 2,400,000 rows of 3 encoded columns needs about 19")
    assert found.startswith("2.0 GB: models.forest.rows: 200000 lets it learn from a sample; -P jobs=1")
    assert found.endswith("or leave the model out")


def test_a_step_that_has_the_whole_machine_is_not_told_to_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutOfMemoryError) as told:
        memory_budget.check_fit(candidate(), rows(1000, monkeypatch, 1e6), 2_400_000)
    assert "jobs" not in str(told.value)
    assert ".rows" not in str(told.value)  # not even a thousand rows fit


@pytest.mark.parametrize("room", [None, 100 * GB])
def test_what_fits_runs_and_so_does_what_cannot_be_judged(room: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    memory_budget.check_fit(candidate(n_estimators=200), rows(1000, monkeypatch, room), 2_400_000)


def test_a_table_that_is_not_large_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    few = rows(1000, monkeypatch, 0.0)
    monkeypatch.setattr(size, "LARGE_CELLS", 10**9)
    memory_budget.check_fit(candidate(n_estimators=200), few, 2_400_000)


@pytest.mark.parametrize(("room", "trials", "folds"), [(100, 4, 4), (8, 3, 3), (4, 1, 1), (None, 4, 4)])
def test_as_many_trials_run_at_once_as_memory_holds(
    room: float | None, trials: int, folds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = rows(1000, monkeypatch, None if room is None else room * GB)
    cuts = [Fold(np.arange(800_000), np.arange(200_000))] * 5
    found = memory_budget.of_search(candidate(n_estimators=80), few, cuts[:1], cuts, 4, Local(""))
    assert (found.trials, found.folds) == (trials, folds)


def test_a_fold_that_is_encoded_anew_needs_more_than_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    few = rows(1000, monkeypatch, 0.4 * GB)
    cuts = [Fold(np.arange(800_000), np.arange(200_000))] * 5
    linear = candidate("sklearn.linear_model.LogisticRegression")
    found = memory_budget.of_search(linear, few, cuts[:1], cuts, 4, Local(""))
    assert (found.trials, found.folds) == (4, 3)


def test_a_search_that_does_not_fit_once_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    few = rows(1000, monkeypatch, 1 * GB)
    cuts = [Fold(np.arange(800_000), np.arange(200_000))] * 5
    with pytest.raises(OutOfMemoryError, match=r"a search with fits on 800,000 rows needs about .*rows: 300000 "):
        memory_budget.of_search(candidate(n_estimators=80), few, cuts[:1], cuts, 4, Local(""))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a made machine of 24 GB, of which 20 are free, where a step has one core of two."""
    monkeypatch.setattr(memory_room, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory_room, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=24 * GB, available=20 * GB))
    monkeypatch.setattr(thread_budget, "cores", lambda: 2)
    monkeypatch.setattr(thread_budget, "threads", lambda share: 1 if share else 2)
    return tmp_path


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_a_step_has_its_part_of_the_machine_and_no_more_than_is_free(machine: Path) -> None:
    assert memory_room.room("") == 20 * GB
    assert memory_room.room("share") == 12 * GB


def test_a_container_of_version_2_has_its_limit_and_what_it_can_drop_is_free(machine: Path) -> None:
    write(machine / "proc/self", cgroup="0::/pods/one")
    write(machine / "cgroup/pods/one", memory__max="max", memory__current=5 * GB, memory__stat="inactive_file 0")
    write(
        machine / "cgroup/pods", memory__max=8 * GB, memory__current=6 * GB, memory__stat=f"anon 1\ninactive_file {GB}"
    )
    assert memory_room.room("") == 3 * GB
    assert memory_room.room("share") == 3 * GB


def test_a_container_of_version_1_has_its_limit(machine: Path) -> None:
    write(machine / "proc/self", cgroup="4:memory:/docker/abc\n1:cpu:/docker/abc")
    stat = f"total_inactive_file {GB}"
    write(machine / "cgroup/memory", memory__limit_in_bytes=6 * GB, memory__usage_in_bytes=3 * GB, memory__stat=stat)
    assert memory_room.room("") == 4 * GB
    assert memory_room.room("share") == 3 * GB
    write(machine / "cgroup/memory", memory__limit_in_bytes=9223372036854771712)
    assert memory_room.room("") == 20 * GB


def test_where_the_system_does_not_say_what_it_has_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("no /proc")

    monkeypatch.setattr(psutil, "virtual_memory", fail)
    assert memory_room.room("") is None


def test_processes_that_were_killed_for_memory_are_counted(machine: Path) -> None:
    assert memory_room.killed() == 0
    write(machine / "proc", vmstat="nr_free_pages 3\noom_kill 2")
    write(machine / "proc/self", cgroup="0::/")
    assert memory_room.killed() == 2
    write(machine / "cgroup", memory__events="low 0\noom 4\noom_kill 3")
    assert memory_room.killed() == 3


def test_sizes_are_told_in_words() -> None:
    assert [in_words(size) for size in (14.23e9, 1.4e8, 3.4e7)] == ["14.2 GB", "0.1 GB", "34 MB"]


@pytest.mark.parametrize(
    ("error", "said"),
    [(BrokenProcessPool("ended abruptly"), "was killed; if memory ran out"), (MemoryError("9 TiB"), "ran out (9 TiB)")],
)
def test_a_step_that_dies_of_memory_says_what_to_do(error: Exception, said: str) -> None:
    line = shell.explain(error)
    assert said in line
    assert line.endswith("-P jobs=1 gives each step all of it")
