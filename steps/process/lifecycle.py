"""The early end of a process of ours: by a signal, or by the death of the process that called it.

MLflow passes no signal on, and the processes that it starts outlive it. So every process of the chain watches its
caller (main: the `mlflow run` that was typed; a step: main), by pid and start time. On the caller's death, or on
SIGINT, SIGTERM or SIGHUP, it stops the processes that it has started, marks its run KILLED, removes its folder and
exits. A thread does this, since the main thread may be deep in a fit. This module imports nothing that takes long, so
that the watch begins with the process's first line.
"""

import ctypes
import os
import re
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from steps import PROJECT
from steps.process import identity
from steps.process.identity import Process

# The variable in which a process of ours gives its identity to those that it starts; without it, the caller is the
# `mlflow run` that was typed.
CALLER = "TABULAR_CALLER"
# The variable with the identity of the process whose work a worker of the fork server does.
ASKER = "TABULAR_ASKER"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POLL_SECONDS = 0.5
# A chain is gone within 10 seconds, whatever delays a part of its end, such as a store that does not answer.
MOST_SECONDS = 9.0
UNINTERRUPTED_SECONDS = 2.5
CHILDREN_SECONDS = 4.0
KILLED_SECONDS = 1.0
# Options of prctl(2).
SET_PARENT_DEATH_SIGNAL = 1
SET_CHILD_SUBREAPER = 36


@dataclass
class _State:
    """The state of this process: who called it, and what has to be ended with it."""

    caller: Process | None = None
    asker: Process | None = None  # the process whose work this one does, where this is a worker of the fork server
    caller_is_ours: bool = False
    run_id: str | None = None
    # closes the run; set once MLflow is imported and this process has adopted the run
    mark: Callable[..., None] | None = None
    is_watched: bool = False
    is_committed: bool = False
    marker: int | None = None  # pid of the process that marks the run later; it is not stopped
    temporary: Path | None = None  # the folder for temporary files before `folder` replaced it
    folder: Path | None = None
    unfinished: Path | None = None  # a file that is removed unless it is finished
    calls: set[str] = field(default_factory=set)  # ids of the runs of children whose `mlflow.run` has not returned


_STATE = _State()
_STOPPING = threading.Event()
_UNINTERRUPTED = threading.RLock()
_STARTING = threading.Lock()  # held while the marker is started


def begin() -> None:
    """Begin to watch; called once, by the main thread, before anything is imported that takes long."""
    _STATE.run_id = os.environ.get("MLFLOW_RUN_ID")
    if ASKER in os.environ:
        _STATE.asker = Process.parse(os.environ.pop(ASKER))  # not inherited by this process's children
    if CALLER in os.environ:
        _STATE.caller, _STATE.caller_is_ours = Process.parse(os.environ[CALLER]), True
    elif _STATE.run_id is not None:
        _STATE.caller = _first_caller()
    tempfile.tempdir = None  # a forked process has the value of its parent
    _adopt_orphans()
    _STATE.is_watched = True
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup leaves SIGHUP
            signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked by the caller (`call`)
    threading.Thread(target=_watch, args=(read,), daemon=True, name="lifecycle").start()


def leave() -> None:
    """Leave the watch in a process forked off one of ours, where the watching thread does not exist.

    Signals then end the process as they end any other, and so does the end of its parent.
    """
    _control(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def calling() -> psutil.Process | None:
    """The process that called this one, past a bash between them; None where it cannot be found."""
    with suppress(psutil.Error):
        asker = _STATE.asker.found() if _STATE.asker is not None else None
        parent = (asker or psutil.Process()).parent()
        while parent is not None and parent.cmdline()[:2] == ["bash", "-c"]:
            parent = parent.parent()
        return parent
    return None


def answer_for(run_id: str, mark: Callable[..., None]) -> None:
    """Set the run that this process owns: `mark(run_id, reason, is_step=…)` closes it when the process is ended."""
    _STATE.run_id, _STATE.mark = run_id, mark


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder that is removed at the end, whatever the end is.

    The temporary files of this process and its children land in the folder too. The folder's name holds its owner's
    identity, so that after a `kill -9` the next main can remove it (`forget`).
    """
    mine = identity.me()
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    root = Path(tempfile.gettempdir())
    name = f"tabular-{identity.pid_space() or 0}-{mine.pid}-{mine.started:.0f}-{secrets.token_hex(4)}"
    # noted before it is made: an end in between would leave the folder behind
    _STATE.temporary, _STATE.folder = root, root / name
    try:
        _STATE.folder.mkdir(mode=0o700)
        os.environ["TMPDIR"] = tempfile.tempdir = str(_STATE.folder)
        yield _STATE.folder
    finally:
        _restore(*before)
        shutil.rmtree(root / name, ignore_errors=True)
        _STATE.temporary = _STATE.folder = None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, which takes the place of `path` at the end.

    The file is removed where the block fails, or the process is ended.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    _STATE.unfinished = beside
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
        _STATE.unfinished = None


def forget() -> None:
    """Remove the temporary folders of processes of ours that were killed."""
    for place in (_STATE.temporary or Path(tempfile.gettempdir())).glob("tabular-*"):
        named = re.fullmatch(r"tabular-(\d+)-(\d+)-(\d+)-\w+", place.name)
        if (
            named
            and named[1] == (identity.pid_space() or "0")
            and not Process(int(named[2]), float(named[3])).is_alive()
        ):
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Protect a block that must not be cut in two, such as a version and its alias: an early end waits for it.

    The block does not begin once an early end has begun. So that end closes any run that was made in the block.
    """
    with _UNINTERRUPTED:
        yield


def commit_exit() -> None:
    """Let the process end by itself from here on; where an early end has begun, this never returns."""
    if _STATE.is_watched:
        _UNINTERRUPTED.acquire()
        _STATE.is_committed = True
        for number in SIGNALS:  # the interpreter drops handlers when it exits: a signal would change the exit status
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def call(run_id: str) -> Iterator[None]:
    """A block around a child's `mlflow.run`: `stop` and the early end of this process wait for its return.

    A Ctrl-C reaches the child as well. Until the child watches for itself, Python would answer it with a traceback, so
    this thread blocks SIGINT for that long; the child inherits the thread's signal mask.
    """
    os.environ[CALLER] = str(identity.me())
    _STATE.calls.add(run_id)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _STATE.calls.discard(run_id)


def end(finish: Callable[[], None]) -> None:
    """End this process in the middle of its work, with exit status 1: `finish` is called once its children are gone.

    Another thread than the main one calls this; where the process is about to end by itself, nothing happens.
    """
    if not _STATE.is_watched or not _UNINTERRUPTED.acquire(timeout=UNINTERRUPTED_SECONDS):
        return
    if _STATE.is_committed:
        _UNINTERRUPTED.release()
        return
    try:
        stop()
        finish()
        _remove_folder()
    finally:
        os._exit(1)


def is_stopping() -> bool:
    """Whether children are being stopped, so that no more may be started."""
    return _STOPPING.is_set()


def stop() -> None:
    """Stop every process below this one, and wait for the calls that started them to return.

    They get SIGTERM, and after `CHILDREN_SECONDS` SIGKILL.
    """
    _STOPPING.set()
    told: set[psutil.Process] = set()
    patience = time.monotonic() + CHILDREN_SECONDS
    # a process that has got SIGTERM is waited for also when its parent is gone: a bash between, for one, ends first
    while (alive := {process for process in {*told, *_below()} if identity.runs(process)}) or _STATE.calls:
        for process in alive:
            with suppress(psutil.Error):
                if time.monotonic() > patience:
                    process.kill()
                elif process not in told:
                    process.terminate()
        told |= alive
        if time.monotonic() > patience + KILLED_SECONDS:
            return
        time.sleep(0.05)


def _below() -> list[psutil.Process]:
    with suppress(psutil.Error), _STARTING:
        return [below for below in psutil.Process().children(recursive=True) if below.pid != _STATE.marker]
    return []


def _adopt_orphans() -> None:
    """Keep processes that lose their parent below this one, where the system can, so that `stop` finds them."""
    _control(SET_CHILD_SUBREAPER, 1)


def _control(option: int, value: int) -> None:
    """Call prctl(2) for this process, where the system is Linux."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _first_caller() -> Process:
    """The `mlflow run` that was typed; where it has died already, an identity that counts as dead."""
    found = calling()
    with suppress(psutil.Error):
        # a process that has lost its parent is given to process 1, which may be the caller itself in a container
        if found is not None and (found.pid != 1 or "mlflow" in " ".join(found.cmdline())):
            return Process.of(found)
    return Process(0, 0.0)


def _restore(variable: str | None, known: str | None) -> None:
    os.environ.pop("TMPDIR", None)
    if variable is not None:
        os.environ["TMPDIR"] = variable
    tempfile.tempdir = known


def _watch(signals: int) -> None:
    """The watching thread: wait for a signal or for the caller's death, then end the process."""
    caller = _STATE.caller.found() if _STATE.caller is not None else None
    while True:
        ready, _, _ = select.select([signals], [], [], POLL_SECONDS)
        number = os.read(signals, 1)[0] if ready else None
        if number in SIGNALS:
            _end(f"ended by {signal.Signals(number).name}")
        if _STATE.caller is not None and (caller is None or not identity.runs(caller)):
            _end(f"ended, since the process that called it ({_STATE.caller.pid}) has died")


def _end(reason: str) -> None:
    """Stop the children, mark the run, clean up, exit."""
    _STOPPING.set()
    last_resort = threading.Timer(MOST_SECONDS, os._exit, [1])
    last_resort.daemon = True
    last_resort.start()
    if not _UNINTERRUPTED.acquire(timeout=UNINTERRUPTED_SECONDS) and _STATE.is_committed:
        last_resort.join()  # the process has done its work, and is about to exit by itself
    try:
        if _STATE.run_id is not None and not _STATE.caller_is_ours:
            _mark_later(_STATE.run_id, reason)  # at once: the marker imports while the children end
        stop()
        if not _STATE.caller_is_ours:  # a caller of ours prints the reason
            _say(f"tabular: {reason}")
        if _STATE.run_id is not None:
            _mark_killed(_STATE.run_id, reason)
        _remove_folder()
        if _STATE.unfinished is not None:
            _STATE.unfinished.unlink(missing_ok=True)
    finally:
        os._exit(1)


def _remove_folder() -> None:
    """Remove this process's folder; it is renamed first, so that another thread cannot write into it any more."""
    if _STATE.folder is not None:
        gone = _STATE.folder.with_name(f"{_STATE.folder.name}gone")
        with suppress(OSError):
            _STATE.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _mark_killed(run_id: str, reason: str) -> None:
    """Mark the run KILLED, or leave the mark to another process.

    A live caller of ours marks the run when its `mlflow.run` has returned (`launch.start`). A run that was not adopted
    is left to `_mark_later`, since another thread may be importing MLflow. Such a run of a step is left to main, which
    closes it.
    """
    if _STATE.mark is None or (_STATE.caller_is_ours and _STATE.caller.is_alive()):
        return
    try:
        _STATE.mark(run_id, reason, is_step=_STATE.caller_is_ours)
    except Exception as error:  # the store may be gone; the next main closes the run
        _say(f"tabular: run {run_id} could not be marked KILLED ({error})")


def _mark_later(run_id: str, reason: str) -> None:
    """Start a process that marks the run once more, since `mlflow run` writes FAILED over the mark."""
    caller = _STATE.caller
    if caller is None or (_STATE.mark is not None and not caller.is_alive()):
        return
    environment = dict(os.environ)
    environment.pop(CALLER, None)
    environment.pop("TMPDIR", None)
    if _STATE.temporary is not None:
        environment["TMPDIR"] = str(_STATE.temporary)
    words = [sys.executable, "-m", "steps.run.termination", run_id, str(caller), reason]
    nothing = subprocess.DEVNULL
    with suppress(OSError), _STARTING:
        _STATE.marker = subprocess.Popen(
            words, cwd=PROJECT, env=environment, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
        ).pid


def _say(line: str) -> None:
    """Print a line on stderr over a progress bar that a step has left there; nothing where nobody reads any more."""
    with suppress(OSError, ValueError):
        _, is_read, _ = select.select([], [2], [], KILLED_SECONDS)
        if is_read:
            start = "\r\x1b[K" if os.isatty(2) else ""
            os.write(2, f"{start}{line}\n".encode())
