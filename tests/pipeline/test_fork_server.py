"""Steps that are forked off a process which has imported what they need: as good as those that import themselves."""

import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from steps.process import fork_server
from tests.running import MOST_SECONDS, PROJECT, kept_fork_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="there is a fork server on Linux alone"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder whose path is longer than a socket's may be."""
    folder = tmp_path_factory.mktemp("fork_server") / ("long" * 30)
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def address(store, place):
    with kept_fork_server(place):
        yield {fork_server.ADDRESS: str(place / "fork_server")}


def begin(store, address, *words, project=PROJECT):
    """A step's process, as `mlflow run` starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "steps", *words],
        cwd=project,
        env={**store.environment, **address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def etl(store, address):
    process = begin(store, address, "etl", "--data=sklearn:iris", "--target=target")
    stdout, stderr = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 0, stderr
    return process, stdout, store.newest()


def until(holds):
    """Whether something comes to hold."""
    end = time.monotonic() + MOST_SECONDS
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


def test_a_step_works_in_another_process_than_the_one_that_was_started(etl):
    process, _, run = etl
    assert run.info.status == "FINISHED"
    assert run.data.tags["tabular.owner.pid"] != str(process.pid)


def test_what_a_step_says_is_said_by_the_process_that_was_started(etl):
    assert "120 train and 30 holdout rows" in etl[1]


def test_it_leaves_what_a_step_leaves_that_imports_for_itself(store, etl):
    alone = store.process("etl", data="sklearn:iris", target="target")
    kept = [name for name in alone.tags if name.startswith("tabular.digest") or name == "tabular.key"]
    assert kept
    assert {name: alone.tags[name] for name in kept} == {name: etl[2].data.tags[name] for name in kept}


def test_a_step_that_fails_gives_its_line_and_its_exit_status(store, address):
    process = begin(store, address, "etl", "--data=sklearn:iris", "--target=nosuch")
    _, stderr = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 1
    assert [line for line in stderr.splitlines() if line.startswith("tabular: ")] == stderr.splitlines()
    assert "nosuch" in stderr


def test_a_step_ends_with_the_process_that_was_started(store, address, etl):
    before = store.newest().info.run_id
    process = begin(store, address, "hpo", f"--dataset={etl[2].info.run_id}", "--model=lightgbm", "--trials=5000")
    assert until(lambda: store.newest().info.run_id != before)
    worker = psutil.Process(int(store.newest().data.tags["tabular.owner.pid"]))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    assert until(lambda: store.newest().info.status == "KILLED")


def test_an_environment_of_its_own_is_not_given_another_ones_step(address, monkeypatch):
    monkeypatch.setenv(fork_server.ADDRESS, address[fork_server.ADDRESS])
    monkeypatch.setattr(sys, "prefix", "/elsewhere")
    assert fork_server.ask(["etl", "--data=sklearn:iris", "--target=target"]) is None


def test_where_nobody_listens_a_step_imports_for_itself(tmp_path, monkeypatch):
    monkeypatch.setenv(fork_server.ADDRESS, str(tmp_path / "nobody"))
    assert fork_server.ask(["etl"]) is None


def test_a_module_is_loaded_as_it_is_when_the_step_begins(store, tmp_path):
    for name in ("steps", "tabular", "problems", "requirements.txt"):
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, tmp_path / name)
    with kept_fork_server(tmp_path, tmp_path):
        module = tmp_path / "steps" / "etl.py"
        module.write_text(module.read_text() + '\nprint("edited")\n')
        words = ("etl", "--data=sklearn:iris", "--target=target")
        process = begin(store, {fork_server.ADDRESS: str(tmp_path / "fork_server")}, *words, project=tmp_path)
        stdout, stderr = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 0, stderr
    assert stdout.startswith("edited")


def test_the_fork_server_ends_when_main_is_killed(store, tmp_path):
    with kept_fork_server(tmp_path) as (process, pid):
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
