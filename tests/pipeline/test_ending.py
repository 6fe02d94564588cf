"""However a chain is ended, it leaves no process, no run that says RUNNING, and no folder; and the next one goes on."""

import errno
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from steps.chain import cleanup
from steps.process import identity
from steps.process.identity import Process
from steps.run import shell, termination
from steps.run.step import Step
from steps.run.tags import REASON
from tests.live import (
    FIRST_LINE,
    PROBLEM,
    begin,
    check_killed,
    family,
    hang_up,
    interrupt,
    terminate_outer,
    words_of,
    write_problem,
)
from tests.running import MOST_SECONDS, PROJECT

slow = pytest.mark.slow


@slow
@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (interrupt, "ended by SIGINT"),
        pytest.param(hang_up, "ended by SIGHUP", marks=pytest.mark.long),
    ],
)
def test_a_chain_that_is_ended_is_gone_and_killed(place, end, reason):
    live = begin(place, "train logistic …", jobs=2)  # beside the search
    end(live)
    check_killed(place, live, reason)


@slow
@pytest.mark.parametrize("end", [interrupt, terminate_outer])
@pytest.mark.long
def test_a_bash_between_changes_nothing(place, end):
    # with a trap to keep, bash stays in between, as it does where it activates an environment first
    (place.folder / "trap").write_text("trap true EXIT\n")
    place.store.environment["BASH_ENV"] = str(place.folder / "trap")
    live = begin(place, FIRST_LINE, jobs=1)
    assert live.main().parent().name() == "bash"
    assert live.wait_for("hpo lightgbm …"), live.said
    end(live)
    check_killed(place, live, "SIGINT" if end is interrupt else "has died")


# of an interpreter that starts slowly, as on a busy machine
SLOW_START = """
import sys, time
if sys.orig_argv[1:4] == ["-m", "steps", "etl"]:
    time.sleep(3)
"""


@slow
def test_an_interrupt_while_a_step_starts_is_no_traceback(place):
    (place.folder / "sitecustomize.py").write_text(SLOW_START)
    place.store.environment["PYTHONPATH"] = str(place.folder)
    live = begin(place, "etl …", jobs=1)
    while not live.steps():
        time.sleep(0.05)
    interrupt(live)
    check_killed(place, live, "SIGINT")


@slow
def test_a_step_that_is_killed_fails_the_chain_and_stops_those_beside_it(place):
    text = PROBLEM.replace("n_estimators: 20", "n_estimators: 100000")
    (place.folder / "ending.yaml").write_text(text)
    live = begin(place, "  train logistic …", jobs=2)
    while not (trains := [step for step in live.steps() if "--model=logistic" in words_of(step)]):
        time.sleep(0.05)
    trains[0].kill()
    live.wait_until_gone()
    main = place.store.client.get_run(live.run_id)
    assert main.info.status == "FAILED"
    assert main.data.tags["step.failed"] == "train logistic"
    left = {run.info.run_name: run.info.status for run in family(place, live) if run.info.run_id != live.run_id}
    assert left.pop("etl ending") == "FINISHED"
    assert left.pop("train logistic") == "FAILED"
    assert set(left.values()) <= {"KILLED", "FINISHED"}
    assert left["hpo lightgbm"] == "KILLED"
    assert [line for line in live.lines() if line.startswith("tabular: ")] == [f"tabular: {main.data.tags[REASON]}"]
    assert place.running() == []
    assert place.folders() == []
    assert "Traceback" not in live.said


@pytest.fixture
def connected(store, monkeypatch):
    """The shared store as the one that MLflow uses in this process."""
    import mlflow

    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    mlflow.set_tracking_uri(store.uri)
    yield store
    mlflow.set_tracking_uri(None)


def owned(store, experiment, host, process):
    """A run that is RUNNING, and says whose it is."""
    tags = {
        "tabular.owner.host": host,
        "tabular.owner.pid": str(process.pid),
        "tabular.owner.started": f"{process.started:.2f}",
    }
    return store.client.create_run(experiment, tags=tags).info.run_id


def test_runs_of_dead_processes_of_this_machine_alone_are_closed(connected, tmp_path, capsys):
    experiment = connected.client.create_experiment(f"swept {tmp_path.name}", artifact_location=str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = Process.of(psutil.Process(child.pid))
    child.communicate(b"\n")
    left = owned(connected, experiment, identity.host(), dead)
    alive = owned(connected, experiment, identity.host(), identity.me())
    elsewhere = owned(connected, experiment, "another machine", dead)
    nobodys = connected.client.create_run(experiment).info.run_id
    cleanup.sweep(Step("main", {}, "", experiment, tmp_path, connected.client, ""))
    closed = connected.client.get_run(left)
    assert closed.info.status == "KILLED"
    assert closed.data.tags[REASON] == f"its process ({dead.pid}) was killed"
    assert {connected.client.get_run(run).info.status for run in (alive, elsewhere, nobodys)} == {"RUNNING"}
    said = capsys.readouterr().out
    assert f"run {left} was RUNNING and its process ({dead.pid}) is dead: closed as KILLED" in said
    assert f"run {nobodys} of this experiment is RUNNING without an owner" in said


def test_what_a_dying_process_made_is_closed_with_it(connected, tmp_path):
    experiment = connected.client.create_experiment(f"closed {tmp_path.name}", artifact_location=str(tmp_path))
    run = connected.client.create_run(experiment).info.run_id
    child = owned(connected, experiment, identity.host(), identity.me())
    termination.end(run, "ended by SIGTERM", is_step=False)
    assert [connected.client.get_run(each).info.status for each in (run, child)] == ["KILLED", "KILLED"]
    assert connected.client.get_run(run).data.tags[REASON] == "ended by SIGTERM"


def test_a_step_that_main_has_ended_keeps_the_end_that_main_gave(connected, tmp_path):
    experiment = connected.client.create_experiment(f"ended {tmp_path.name}", artifact_location=str(tmp_path))
    run = connected.client.create_run(experiment).info.run_id
    connected.client.set_terminated(run, "FAILED")
    termination.end(run, "ended by SIGTERM", is_step=True)
    assert connected.client.get_run(run).info.status == "FAILED"


@pytest.mark.parametrize(
    ("reason", "status"), [("its process ended without a word", "FAILED"), (termination.STOPPED, "KILLED")]
)
def test_a_step_that_begins_when_main_has_ended_its_run_gets_the_end_that_main_gave(
    connected, tmp_path, reason, status
):
    experiment = connected.client.create_experiment(f"late {tmp_path.name}", artifact_location=str(tmp_path))
    run = connected.client.create_run(experiment, tags={REASON: reason}).info.run_id
    connected.client.set_terminated(run, status)
    connected.client.update_run(run, status="RUNNING")  # as mlflow.start_run does
    termination.end(run, "ended, since its caller has died", is_step=True)
    assert connected.client.get_run(run).info.status == status
    assert connected.client.get_run(run).data.tags[REASON] == reason


@pytest.fixture
def judged(store, undrawn, tmp_path):
    """A run of evaluate with a winner that nobody has registered; gives it and the name of its registered model."""
    name = f"cut_{tmp_path.name}".replace("-", "_")
    path = Path(write_problem(tmp_path))
    path.write_text(PROBLEM.replace("name: ending", f"name: {name}"))
    etl = store.step("etl", problem=str(path))
    train = store.step("train", dataset=etl.id, model="logistic")
    evaluation = store.step("evaluate", dataset=etl.id, models=train.id)
    assert evaluation.status == 0, evaluation.stderr
    return evaluation, f"{name}_classifier"


def test_a_registration_that_was_killed_before_its_alias_is_finished_by_the_next(store, judged, monkeypatch):
    evaluation, name = judged

    def die(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", die)
        assert store.step("register", evaluation=evaluation.id).status == 1
    assert [version.aliases for version in store.versions(name)] == [[]]
    ended = store.step("register", evaluation=evaluation.id)
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.outcome"] == "registered"
    assert len(store.versions(name)) == 1
    assert (
        str(store.client.get_model_version_by_alias(name, "champion").version) == ended.tags["tabular.champion.version"]
    )


REGISTER_SLOWLY = """
from steps.process import lifecycle
lifecycle.UNINTERRUPTED_SECONDS = lifecycle.MOST_SECONDS = 200
lifecycle.begin()
import sys, time
from mlflow import MlflowClient
give = MlflowClient.set_registered_model_alias
def slowly(*words):
    print("between", flush=True)
    while not lifecycle.is_stopping():
        time.sleep(0.01)
    give(*words)
MlflowClient.set_registered_model_alias = slowly
sys.argv = ["steps", f"--evaluation={sys.argv[1]}"]
from steps import register
from steps.run import shell
shell.run("register", register.register, lambda _: None)
"""


@slow
def test_a_registration_under_way_is_finished_before_a_signal_ends_it(store, judged):
    evaluation, name = judged
    words = [sys.executable, "-c", REGISTER_SLOWLY, evaluation.id]
    process = subprocess.Popen(words, cwd=PROJECT, env=store.environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "between\n"
    process.terminate()
    process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 1
    assert store.client.get_model_version_by_alias(name, "champion").version == 1
    assert store.newest().info.status == "KILLED"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "full", "/from", None, "/to"), "no space is left on the disk of /to: make some"),
        (OSError(errno.EROFS, "Read-only file system", "/there"), "/there may not be written (Read-only file system)"),
        (PermissionError(errno.EACCES, "Permission denied", "/there"), "/there may not be written (Permission denied)"),
        (MlflowException("(sqlite3.OperationalError) database or disk is full"), "disk of the tracking store"),
        (MlflowException("(sqlite3.OperationalError) attempt to write a readonly database"), "may not be written"),
    ],
)
def test_a_disk_that_takes_nothing_is_named_in_one_line_with_what_to_do(error, said):
    try:
        raise MlflowException("wrapped") from error
    except MlflowException as wrapped:
        line = shell.explain(error if isinstance(error, MlflowException) else wrapped)
    assert said in line
    assert "make some, then" in line or "give this user the right" in line
    assert len(line.splitlines()) == 1


def test_an_artifact_folder_that_may_not_be_written_fails_the_run_in_one_line(store, tmp_path, monkeypatch):
    # where nobody may make a folder, root included
    store.client.create_experiment(f"closed to all {tmp_path.name}", artifact_location="/sys/kernel/tabular")
    experiment = store.client.get_experiment_by_name(f"closed to all {tmp_path.name}")
    monkeypatch.setitem(store.environment, "MLFLOW_EXPERIMENT_NAME", experiment.name)
    ended = store.step("etl", problem=write_problem(tmp_path))
    assert ended.status == 1
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert "/sys/kernel/tabular may not be written" in ended.stderr
    (run,) = store.client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert "tabular.key" not in run.data.tags
