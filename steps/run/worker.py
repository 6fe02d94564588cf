"""What a worker of a Dask cluster runs: a step's calls, one at a time, on what the step has sent it once.

A worker is a process of this project's source: `python -m distributed.cli.dask_worker` in the project's folder.
"""

import contextlib
import os
import pickle
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from steps import PROJECT
from steps.run import environment, source_digest, thread_budget

# How often a rank is looked after.
POLL_SECONDS = 0.1
# One call at a time: the limits of BLAS's threads are of the whole process, and so is what is held.
_ALONE = threading.Lock()
# What this process holds, by the step that it is of; and the modules' digests when it was asked for them first.
_HOLDING: list["Held"] = []
_FIRST: dict[str, str] = {}


@dataclass(eq=False)
class Held:
    """What a step sends each worker once: `hold(work, share)` prepares it there, and keeps it for the calls.

    `name` is that of the step's client.
    """

    name: str
    hold: Callable[[Any, str], None]
    work: Any

    def take(self) -> None:
        """Hold the work in this process."""
        from distributed import get_worker

        if not any(one is self for one in _HOLDING):
            while _HOLDING:  # of a step that has ended without a word
                _HOLDING.pop().hold(None, "")
            worker = get_worker()
            share = Path(worker.local_directory) / "share"
            thread_budget.write(share, worker.state.nthreads, thread_budget.Time())
            self.hold(self.work, str(share))
            _HOLDING.append(self)


def about(step: str, estimators: Sequence[str]) -> dict[str, str]:
    """What results depend on, by name: Python, the packages of the lock, the step's source and that of estimators.

    Asked of a worker, the modules are told as they were when the first step asked, where they have changed since: the
    process may have imported them then.
    """
    packages = environment.installed()
    names = {one.name for one in environment.lock() if one.is_for_here} | {"dask", "distributed"}
    modules = source_digest.digests(step)
    for path in estimators:
        modules |= source_digest.of_estimator(path)
    for name, digest in modules.items():
        _FIRST.setdefault(name, digest)
    return {
        "Python": platform.python_version(),
        "the lock": environment.lock_digest(),
        **{name: packages.get(name, "none") for name in sorted(names)},
        **{name: digest if _FIRST[name] == digest else "changed since it began" for name, digest in modules.items()},
    }


def differences(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """In what a worker differs from this process: `lightgbm 4.6.0 (here 4.7.0)`, `tabular/model/boosting.py`."""
    found = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    digests = {"the lock", *(name for name in found if name.endswith((".py", ".html")))}
    return [
        name if name in digests else f"{name} {theirs.get(name, 'none')} (here {ours.get(name, 'none')})"
        for name in found
    ]


def perform(sent: Any, call: bytes) -> Any:
    """Perform a call, a pickled pair of a function and its arguments, on what the step has sent for it, or for all."""
    with _ALONE:
        function, arguments = pickle.loads(call)
        if sent is None:
            return function(*arguments)
        if isinstance(sent, Held):
            sent.take()
            return function(*arguments)
        return function(sent, *arguments)


def drop(name: str) -> None:
    """Let go of what this process holds of a step, unless a call is under way, which is not waited for."""
    if _ALONE.acquire(blocking=False):
        try:
            while _HOLDING and _HOLDING[0].name == name:
                _HOLDING.pop().hold(None, "")
        finally:
            _ALONE.release()


@dataclass
class _Rank:
    """A rank that is being learnt in a process of its own, below this one."""

    port: int
    machines: Sequence[str] = ()
    may_begin: threading.Event = field(default_factory=threading.Event)
    process: subprocess.Popen[bytes] | None = None

    def seconds(self) -> float:
        """The seconds that a core has worked for it."""
        with contextlib.suppress(psutil.Error):
            if self.process is not None:
                used = psutil.Process(self.process.pid).cpu_times()
                return used.user + used.system
        return 0.0


# The ranks at work below this process, by the name of the fit that they are of.
_RANKS: dict[str, _Rank] = {}


def learn_rank(part: Any, name: str) -> tuple[str, str]:
    """Learn a rank of a fit, once all are there (`begin_rank`); return what `part.read` says came of it.

    A rank is a process of its own, since nothing else can end LightGBM's wait for another rank. It is ended where the
    step has cancelled the call or is gone, and where this process dies.
    """
    from distributed import get_worker

    worker = get_worker()
    with socket.socket() as free:
        free.bind(("", 0))
        found = _RANKS[name] = _Rank(free.getsockname()[1])
    try:
        while not found.may_begin.wait(POLL_SECONDS):
            if _is_cancelled(worker):
                return "killed", ""
        with tempfile.TemporaryDirectory(dir=worker.local_directory) as folder:
            part.write(Path(folder), found.machines, found.port, worker.state.nthreads)
            path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")]))
            words = [sys.executable, "-m", part.program, folder]
            pipes: dict[str, Any] = {
                "stdin": subprocess.PIPE,
                "stdout": subprocess.DEVNULL,
                "stderr": subprocess.DEVNULL,
            }
            found.process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": path}, **pipes)
            try:
                while found.process.poll() is None and not _is_cancelled(worker):
                    time.sleep(POLL_SECONDS)
            finally:
                found.process.kill()
                found.process.wait()
            return part.read(Path(folder))
    finally:
        del _RANKS[name]


def begin_rank(name: str, machines: Sequence[str]) -> None:
    """Let a rank of a fit begin, whose ranks listen at `machines`."""
    _RANKS[name].machines = machines
    _RANKS[name].may_begin.set()


def rank_of(name: str) -> tuple[int, float] | None:
    """The port of a rank of a fit that is at work here, and the seconds that it has worked; None where none is."""
    found = _RANKS.get(name)
    return None if found is None else (found.port, found.seconds())


def _is_cancelled(worker: Any) -> bool:
    """Whether the call that this thread performs is wanted no more: the step has cancelled it, or is gone."""
    from distributed.worker import thread_state

    task = worker.state.tasks.get(thread_state.key)
    return task is None or task.state in ("cancelled", "resumed", "released")
