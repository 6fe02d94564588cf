"""What `mlflow run` does around us: where it is typed, where the store is, what steps/chain/launch.py relies on."""

import shutil
import subprocess

import pandas as pd
import pytest

from tests.running import PROJECT, Store

MLPROJECT = """
name: guard
entry_points:
  main:
    parameters: {text: string}
    command: "python -c 'import os, sys; print(os.environ[\\"MLFLOW_RUN_ID\\"], file=open(\\"seen\\", \\"w\\"))' {text}"
  fails:
    command: "exit 3"
"""


@pytest.fixture
def guarded(store, tmp_path, monkeypatch):
    """A project of one line, and a run made beforehand as steps/chain/launch.py makes it."""
    import mlflow

    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    mlflow.set_tracking_uri(store.uri)
    (tmp_path / "MLproject").write_text(MLPROJECT)
    tags = {"mlflow.parentRunId": "0" * 32, "mlflow.source.name": "ours"}
    run = store.client.create_run(store.experiment, tags=tags, run_name="made beforehand")
    yield tmp_path, run.info.run_id
    store.client.set_terminated(run.info.run_id)
    mlflow.set_tracking_uri(None)


def start(store, guarded, entry_point, **parameters):
    import mlflow

    folder, run_id = guarded
    return mlflow.run(
        str(folder),
        entry_point=entry_point,
        parameters=parameters,
        experiment_id=store.experiment,
        run_id=run_id,
        env_manager="local",
        storage_dir=str(folder),
    )


def test_mlflow_runs_a_project_in_the_run_that_it_is_given(store, guarded):
    submitted = start(store, guarded, "main", text="it's")
    folder, run_id = guarded
    assert submitted.run_id == run_id
    assert (folder / "seen").read_text().strip() == run_id


def test_mlflow_leaves_the_tags_and_parameters_of_a_given_run_alone(store, guarded):
    before = store.client.get_run(guarded[1])
    start(store, guarded, "main", text="it's")
    after = store.client.get_run(guarded[1])
    assert after.data.params == {}
    assert after.data.tags["mlflow.parentRunId"] == "0" * 32
    assert after.data.tags["mlflow.source.name"] == "ours"
    assert after.info.run_name == before.info.run_name


def test_mlflow_raises_where_the_process_of_a_given_run_fails(store, guarded):
    from mlflow.exceptions import ExecutionException

    with pytest.raises(ExecutionException):
        start(store, guarded, "fails")
    assert store.client.get_run(guarded[1]).info.status == "FAILED"


def table(folder):
    pd.DataFrame({"x": range(60), "y": ["a", "b"] * 30}).to_csv(folder / "t.csv", index=False)


def test_a_step_that_dies_without_a_word_has_a_reason_all_the_same(store, guarded, tmp_path):
    from steps.chain import launch
    from steps.pipeline import STEPS, Task
    from tabular.errors import UserError

    task = Task(STEPS["etl"], None, {})
    main = launch.Parent(guarded[1], store.experiment, {}, "local", tmp_path)
    run_id = launch.create(store.client, task.name, "etl", main, {"problem": "breast_cancer"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "no number")  # Python refuses to start
        with pytest.raises(UserError, match="ended without a word"):
            launch.start(store.client, task.name, "etl", run_id, main, {"problem": "breast_cancer"})
    run = store.client.get_run(run_id)
    assert run.info.status == "FAILED"
    assert "ended without a word" in run.data.tags["tabular.reason"]


@pytest.mark.parametrize("model", ["forest", ""])
def test_a_step_that_the_system_kills_for_its_memory_says_so_and_is_its_candidates_fault(
    store, guarded, tmp_path, monkeypatch, model
):
    from mlflow.exceptions import ExecutionException

    from steps.chain import launch
    from steps.run import memory_room

    def die(*about):
        kills.append(1)
        return ExecutionException("exited with -9")

    kills: list[int] = []
    monkeypatch.setattr(memory_room, "killed", lambda: len(kills))
    monkeypatch.setattr(launch, "_run", die)
    main = launch.Parent(guarded[1], store.experiment, {}, "local", tmp_path)
    run_id = launch.create(store.client, "a task", "train", main, {"model": model})
    with pytest.raises(launch.StepFailed, match=r"memory ran out.*-P jobs=1") as told:
        launch.start(store.client, "a task", "train", run_id, main, {})
    assert told.value.is_candidates is bool(model)
    assert ("models.forest.rows" in str(told.value)) is bool(model)
    tags = store.client.get_run(run_id).data.tags
    assert tags.get("tabular.left_out", "") == model
    assert ("tabular.out_of_memory" in tags) is bool(model)


def test_a_relative_store_is_one_line_where_the_project_is_in_another_folder(store, tmp_path, monkeypatch):
    table(tmp_path)
    monkeypatch.setitem(store.environment, "MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    ended = store.project("etl", cwd=tmp_path, data="t.csv", target="y")
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert "MLFLOW_TRACKING_URI=sqlite:///mlflow.db is relative" in ended.lines[0]
    assert f"sqlite:///{tmp_path / 'mlflow.db'}" in ended.lines[0]
    assert not (PROJECT / "mlflow.db").exists()


GIT_URL = "https://tabular.example/tabular.git"


@pytest.fixture(scope="module")
def clone_of(tmp_path_factory):
    """What makes git take a bare clone of this repository for what is at `GIT_URL`."""
    if shutil.which("git") is None or not (PROJECT / ".git").exists():
        pytest.skip("needs git and a clone of this repository")
    place = tmp_path_factory.mktemp("bare") / "tabular.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(PROJECT), str(place)], check=True)
    key = f"url.file://{place}.insteadOf"
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": key, "GIT_CONFIG_VALUE_0": GIT_URL}


def clones(folder):
    """Where MLflow puts the clone that it leaves behind."""
    (folder / "clones").mkdir()
    return {"TMPDIR": str(folder / "clones")}


def test_a_git_url_runs_with_the_store_and_the_data_of_the_caller(clone_of, tmp_path):
    table(tmp_path)
    callers = Store(tmp_path)
    callers.environment |= {**clone_of, **clones(tmp_path)}
    del callers.environment["MLFLOW_TRACKING_URI"]  # its default is mlflow.db where the command is typed
    ended = callers.project("etl", uri=GIT_URL, data="t.csv", target="y")
    assert ended.status == 0, ended.stderr
    assert ended.run.info.status == "FINISHED"
    assert ended.tags["mlflow.source.name"] == GIT_URL
    assert ended.tags["mlflow.source.git.commit"]


def test_a_git_url_with_a_relative_store_is_one_line(clone_of, store, tmp_path, monkeypatch):
    relative = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    for name, value in {**clone_of, **clones(tmp_path), **relative}.items():
        monkeypatch.setitem(store.environment, name, value)
    ended = store.project("etl", uri=GIT_URL, cwd=tmp_path)
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert "is relative" in ended.lines[0]
