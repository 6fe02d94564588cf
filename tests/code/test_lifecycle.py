"""The end of a process of ours: what a signal, a dead caller and a `kill -9` leave, without a chain around them."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from steps.process import identity, lifecycle
from steps.process.identity import Process
from tests.typed import popen

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
BEGIN = """
import os, signal, subprocess, sys, tempfile, threading, time
from steps.process import identity, lifecycle
lifecycle.begin()
"""
READY = "print('ready', flush=True)\n"
WAIT = READY + "time.sleep(300)\n"
# After which something that is waited for will not come: how fast a machine is has no say here.
MOST_SECONDS = 120


@pytest.fixture
def script(tmp_path):
    """Starts Python on a text that watches over itself; gives the process once it has said that it is ready."""
    started = []

    def start(text, *, between=()):
        own = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "TABULAR_"))}
        process = popen(
            [*between, sys.executable, "-c", BEGIN + text],
            cwd=PROJECT,
            env={**own, "TMPDIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_until(holds):
    until = time.monotonic() + MOST_SECONDS
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_gone(pid):
    with suppress(psutil.Error):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_process_with_one_line(script, number):
    process = script(WAIT)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 1
    assert (stdout, stderr) == ("", f"tabular: ended by {number.name}\n")


def test_a_hang_up_that_nohup_ignores_ends_nothing(script):
    process = script(WAIT, between=["nohup"])
    process.send_signal(signal.SIGHUP)
    process.terminate()
    assert process.communicate(timeout=MOST_SECONDS)[1].endswith("tabular: ended by SIGTERM\n")


def test_a_process_whose_caller_dies_ends_itself(script):
    inner = BEGIN + "time.sleep(300)"
    words = f"[sys.executable, '-c', {inner!r}]"
    outer = script(
        "environment = {**os.environ, lifecycle.CALLER: str(identity.me())}\n"
        f"print(subprocess.Popen({words}, env=environment).pid, file=open('/dev/stderr', 'w'), flush=True)\n" + WAIT
    )
    pid = int(outer.stderr.readline())
    outer.kill()
    wait_until(lambda: is_gone(pid))


def test_what_must_not_be_cut_in_two_is_finished_first(script):
    process = script(
        "lifecycle.UNINTERRUPTED_SECONDS = lifecycle.MOST_SECONDS = 100\n"
        "with lifecycle.uninterrupted():\n    "
        + READY
        + "    while not lifecycle.is_stopping():\n        time.sleep(0.01)\n    print('whole', flush=True)\n"
    )
    process.terminate()
    assert process.communicate(timeout=MOST_SECONDS)[0] == "whole\n"


def test_nothing_undisturbed_begins_once_an_end_has_begun(script):
    process = script(
        "begun = threading.Event()\nlifecycle.stop = lambda: begun.set() or time.sleep(1)\n" + READY + "begun.wait()\n"
        "with lifecycle.uninterrupted():\n    print('begun', flush=True)\n"
    )
    process.terminate()
    assert process.communicate(timeout=MOST_SECONDS)[0] == ""


LATE = "end = threading.Timer(0.2, lifecycle.end, [lambda: print('finished', flush=True)])\n"


def test_a_process_that_another_thread_ends_says_its_last_word_and_leaves_nothing(script, tmp_path):
    process = script(LATE + "with lifecycle.folder():\n    end.start()\n    " + WAIT.replace("\n", "\n    "))
    assert process.communicate(timeout=MOST_SECONDS)[0] == "finished\n"
    assert process.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_ends_by_itself_is_not_ended_by_another_thread(script):
    process = script(LATE + READY + "lifecycle.commit_exit()\nend.start()\nend.join()\nprint('done', flush=True)\n")
    assert process.communicate(timeout=MOST_SECONDS)[0] == "done\n"
    assert process.returncode == 0


def test_a_file_takes_its_place_when_it_is_whole_and_not_where_something_went_wrong(tmp_path):
    (tmp_path / "out").write_text("before")
    with suppress(ZeroDivisionError), lifecycle.replacing(tmp_path / "out") as beside:
        beside.write_text("half")
        1 / 0  # noqa: B018
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "before"
    with lifecycle.replacing(tmp_path / "out") as beside:
        beside.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "whole"


def test_a_process_that_is_ended_leaves_no_half_file(script, tmp_path):
    process = script(
        "from pathlib import Path\nplace = Path(os.environ['TMPDIR']) / 'out'\nplace.write_text('before')\n"
        "with lifecycle.replacing(place) as beside:\n    beside.write_text('half')\n    " + WAIT.replace("\n", "\n    ")
    )
    assert len(list(tmp_path.iterdir())) == 2
    process.terminate()
    process.communicate(timeout=MOST_SECONDS)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out", "before")]


def test_a_process_that_has_done_its_work_ends_by_itself(script):
    process = script("lifecycle.commit_exit()\n" + READY + "time.sleep(1)\nprint('done', flush=True)\n")
    process.terminate()
    assert process.communicate(timeout=MOST_SECONDS)[0] == "done\n"
    assert process.returncode == 0


SLOW_TO_GO = """
class Slow:
    def __del__(self, write=os.write, sleep=time.sleep):
        write(1, b"ready\\n")
        sleep(1)
slow = Slow()
lifecycle.commit_exit()
"""


@pytest.mark.parametrize("number", lifecycle.SIGNALS)
def test_a_signal_does_not_change_the_exit_status_of_one_that_is_as_good_as_gone(script, number):
    process = script(SLOW_TO_GO)  # the interpreter has given its signal handlers up, and takes its modules down
    process.send_signal(number)
    process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 0


def test_an_end_that_hangs_is_cut_short(script):
    process = script("lifecycle.MOST_SECONDS = 0.5\nlifecycle.stop = lambda: time.sleep(300)\n" + WAIT)
    process.terminate()
    process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 1


def test_an_end_is_cut_short_within_the_ten_seconds_that_are_promised():
    assert lifecycle.MOST_SECONDS < 10
    parts = (lifecycle.UNINTERRUPTED_SECONDS, lifecycle.CHILDREN_SECONDS, lifecycle.KILLED_SECONDS)
    assert sum(parts) < lifecycle.MOST_SECONDS


def test_stop_waits_for_a_process_whose_parent_goes_first(script, tmp_path):
    stubborn = tmp_path / "stubborn.py"
    stubborn.write_text("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAIT)
    process = script(
        "lifecycle.CHILDREN_SECONDS = 0.5\n"
        f"subprocess.Popen(['bash', '-c', f'{{sys.executable}} {stubborn}; true'])\n"
        "time.sleep(300)\n"
    )
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) == 2
    process.terminate()
    process.wait(timeout=MOST_SECONDS)
    wait_until(lambda: all(is_gone(each.pid) for each in below))


def test_an_end_removes_the_folder_that_another_thread_writes_to(script, tmp_path):
    process = script(
        "with lifecycle.folder() as folder:\n"
        "    " + READY + "    for i in range(10**9):\n"
        "        try:\n"
        "            (folder / f'{i % 50}').mkdir(exist_ok=True)\n"
        "        except OSError:\n"
        "            time.sleep(30)\n"
    )
    process.terminate()
    process.communicate(timeout=MOST_SECONDS)
    assert list(tmp_path.iterdir()) == []


def test_temporary_files_of_a_step_and_its_children_are_in_its_folder():
    before = os.environ.get("TMPDIR"), tempfile.gettempdir()
    with lifecycle.folder() as folder:
        assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(folder)
    assert (os.environ.get("TMPDIR"), tempfile.gettempdir()) == before
    assert not folder.exists()


def test_the_folder_of_a_killed_process_is_removed_by_the_next(script, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    text = "with lifecycle.folder() as folder:\n    (folder / 'file').touch()\n    " + WAIT.replace("\n", "\n    ")
    process = script(text)
    (stays,) = tmp_path.iterdir()
    (tmp_path / "tabular-data").mkdir()  # somebody else's
    lifecycle.forget()
    assert (stays / "file").exists()
    process.kill()
    process.communicate()
    lifecycle.forget()
    assert [path.name for path in tmp_path.iterdir()] == ["tabular-data"]


def test_a_process_is_known_by_its_pid_and_start():
    me = identity.me()
    assert Process.parse(str(me)) == me
    assert me.is_alive()
    assert not Process(me.pid, me.started - 60).is_alive()


def test_a_zombie_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = Process.of(psutil.Process(child.pid))
    wait_until(lambda: not process.is_alive())
    child.wait()
