"""Steps that are forked off a process which has imported what they need: as good as those that import themselves."""

import json
import os
import shutil
import signal
import socket
import struct
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
def tree(tmp_path_factory):
    """A copy of the project, to be edited, in a folder whose path is longer than a socket's may be."""
    folder = tmp_path_factory.mktemp("fork_server") / ("long" * 30)
    folder.mkdir()
    for name in ("steps", "tabular", "problems", "requirements.txt"):
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def server(store, tree):
    """The process that stands for main, and the pid of its fork server."""
    with kept_fork_server(tree, tree) as found:
        yield found


@pytest.fixture(scope="module")
def address(tree, server):
    return {fork_server.ADDRESS: str(tree / "fork_server")}


@pytest.fixture(scope="module")
def begin(store, address, tree):
    """Starts a step's process, as `mlflow run` does."""
    return lambda *words: subprocess.Popen(
        [sys.executable, "-m", "steps", *words],
        cwd=tree,
        env={**store.environment, **address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def etl(store, begin):
    process = begin("etl", "--data=sklearn:iris", "--target=target")
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
    nobody = {fork_server.ADDRESS: "nobody"}  # the tests have a fork server of their own
    alone = store.process("etl", env=nobody, data="sklearn:iris", target="target")
    kept = [name for name in alone.tags if name.startswith("tabular.digest") or name == "tabular.key"]
    assert kept
    assert {name: alone.tags[name] for name in kept} == {name: etl[2].data.tags[name] for name in kept}


def test_the_fork_server_holds_no_connection_to_the_store_that_it_has_opened(store, etl, server):
    asked = psutil.Process(server[1])
    assert not [file for file in asked.open_files() if file.path.startswith(str(store.folder))]


def test_a_step_that_fails_gives_its_line_and_its_exit_status(begin):
    process = begin("etl", "--data=sklearn:iris", "--target=nosuch")
    _, stderr = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 1
    assert [line for line in stderr.splitlines() if line.startswith("tabular: ")] == stderr.splitlines()
    assert "nosuch" in stderr


def test_a_step_ends_with_the_process_that_was_started(store, begin, etl):
    before = store.newest().info.run_id
    process = begin("hpo", f"--dataset={etl[2].info.run_id}", "--model=lightgbm", "--trials=5000")
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


ORDER = json.dumps({"words": ["etl"], "prefix": sys.prefix}).encode()
HEAD = struct.pack("!I", len(ORDER))


@pytest.mark.parametrize("sent", [b"", HEAD[:2], HEAD, HEAD + ORDER[:9], HEAD + ORDER])
def test_a_step_that_is_killed_while_it_asks_ends_no_other(tree, server, begin, sent):
    with socket.socket(socket.AF_UNIX) as line, fork_server._short(str(tree / "fork_server")) as path:
        os.kill(server[1], signal.SIGSTOP)  # so that the end of who asks comes first
        line.connect(path)
        line.sendall(sent)
    os.kill(server[1], signal.SIGCONT)
    process = begin("etl", "--data=sklearn:iris", "--target=nosuch")
    _, stderr = process.communicate(timeout=MOST_SECONDS)
    assert "nosuch" in stderr
    assert psutil.Process(server[1]).status() != psutil.STATUS_ZOMBIE


def test_a_module_is_loaded_as_it_is_when_the_step_begins(begin, tree):
    module = tree / "steps" / "etl.py"
    before = module.read_text()
    module.write_text(before + '\nprint("edited")\n')
    process = begin("etl", "--data=sklearn:iris", "--target=target")
    stdout, stderr = process.communicate(timeout=MOST_SECONDS)
    module.write_text(before)
    assert process.returncode == 0, stderr
    assert stdout.startswith("edited")


def test_the_fork_server_ends_when_main_is_killed(server):
    """Last: it takes the others' fork server away."""
    process, pid = server
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
